"""The arrows of the paper's Figure 2, found again in what a small run leaves: who sampled, asked how, judged by what.

A recorded response has the log-probabilities of exactly one model; the first loss of fine-tuning is that of exactly one
model on exactly one set of data. So nothing of the recipe has to be believed.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from forms.plain_draws import rows_of
from forms.plain_evaluation import TEMPLATE
from forms.plain_policy import read_config, read_weights, response_logp
from forms.plain_reward_model import score
from forms.plain_sft import plain_sft
from run_requests import train_built_in
from tokenizers import Tokenizer

from aha.evaluation.contamination import Contamination
from aha.problems.world.general import GENERAL_DOMAINS, GeneralProblems
from aha.problems.world.questions import TrainingProblems, held_out_problems
from aha.recipes.base_model import open_base
from aha.recipes.r1.assistant import BUILT_IN
from aha.recipes.r1.scales import R1_SCALES, R1Config
from aha.runs.folder import RunFolder
from aha.stages.run import Run
from aha.types import Problem

CHAT = "<｜User｜>{question}<｜Assistant｜>"
BASE = ""
"""The model that the run starts from."""

SAMPLED_BY = {
    "evaluation-start": BASE,
    "zero": BASE,
    "longer": "zero",
    "evaluation-zero": "longer",
    "cold": "longer",
    "evaluation-dev1": "dev1",
    "dev2": "dev1",
    "evaluation-dev2": "dev2",
    "dev2-plain": "dev1",
    "evaluation-dev2-plain": "dev2-plain",
    "kept": "dev2",
    "evaluation-dev3": "dev3",
    "helpfulness-train": "dev3",
    "helpfulness-validation": "dev3",
    "harmlessness-train": "dev3",
    "harmlessness-validation": "dev3",
    "reasoning": "dev3",
    "r1": "reasoning",
    "evaluation-r1": "r1",
    "evaluation-qwen2": "qwen2",
    "evaluation-qwen2-distilled": "qwen2-distilled",
    "evaluation-llama": "llama",
    "evaluation-llama-distilled": "llama-distilled",
    "qwen2-rl": "qwen2",
    "evaluation-qwen2-rl": "qwen2-rl",
    "qwen2-distilled-rl": "qwen2-distilled",
    "evaluation-qwen2-distilled-rl": "qwen2-distilled-rl",
}
"""Which model every rollout file comes from."""

IN_ZERO_TEMPLATE = {
    *("evaluation-start", "zero", "longer", "evaluation-zero", "cold"),
    *("evaluation-qwen2", "evaluation-llama", "qwen2-rl", "evaluation-qwen2-rl"),
}
"""Stages whose prompts are in R1-Zero's template; all others have R1's."""

RULES = {"accuracy", "format"}
REWARDED_BY = {
    "zero": RULES,
    "longer": RULES,
    "dev2": RULES | {"language"},
    "dev2-plain": RULES,
    "reasoning": RULES | {"language"},
    "r1": RULES | {"language"},
    "qwen2-rl": RULES,
    "qwen2-distilled-rl": RULES | {"language"},
}
"""Parts of the reward for reasoning."""

LEARNED_FROM = {
    "dev1": (BASE, ["cold"]),
    "dev3": (BASE, ["kept", "general"]),
    "qwen2-distilled": ("qwen2", ["kept", "general"]),
    "llama-distilled": ("llama", ["kept", "general"]),
}
"""Where fine-tuning starts, and on what."""


def scale() -> R1Config:
    """The recipe with a few updates of everything, each large enough to tell models apart."""
    settings = R1_SCALES["tiny"].model_dump()
    zero, students, rewards = settings["zero"], settings["students"], settings["rewards"]
    loops = [zero["zero"], zero["longer"], settings["dev2"], settings["reasoning"], settings["scenarios"]]
    for loop in (*loops, students["direct"], students["further"]):
        loop |= {"iterations": 1, "problems_per_iteration": 4, "group_size": 4, "num_minibatches": 1}
        loop |= {"max_new_tokens": 24, "evaluate_every": 2}
        loop["optimizer"] |= {"learning_rate": 1e-3, "warmup_steps": 0}
    for loop in (zero["zero"], zero["longer"]):
        loop |= {"problems_per_iteration": 8, "max_new_tokens": 32}
    settings["scenarios"] |= {"problems_per_iteration": 12, "max_new_tokens": 48}
    for lessons in (settings["dev1"], settings["dev3"], rewards["training"], students["qwen2"], students["llama"]):
        lessons |= {"epochs": 1, "batch_size": 4, "max_tokens": 96}
        lessons["optimizer"] |= {"learning_rate": 2e-3, "warmup_steps": 0}
    for samples in (settings["cold"], settings["kept"], rewards["helpful"], rewards["safety"]):
        samples |= {"num_problems": 24, "num_samples": 4, "num_kept": 4, "max_new_tokens": 48, "shard_size": 24}
    rewards["helpful"]["num_problems"] = rewards["safety"]["num_problems"] = 6
    for look in (zero["validation"], zero["evaluation"]):
        look |= {"num_problems": 1, "num_samples": 2, "max_new_tokens": 4}
    students["pretrain"] |= {"drill_tokens": 512, "problem_tokens": 512, "batch_tokens": 256}
    students["pretrain"] |= {"hidden_size": 32, "num_layers": 1}
    zero["processes"] = 1
    return R1Config.model_validate({**settings, "num_general": 12})


def by_length(problem: Problem, texts: Sequence[str]) -> list[float]:
    """Labels that differ also where a model has learned next to nothing."""
    del problem
    return [float(len(text)) for text in texts]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run of R1."""
    folder = tmp_path_factory.mktemp("r1")
    labeller = replace(BUILT_IN, helpfulness=by_length)
    train_built_in(Run(folder=RunFolder(folder), seed=5), open_base(), scale(), assistant=labeller)
    return folder


def model(run: Path, name: str) -> Path:
    """The folder of a model of the run."""
    return run / "stages" / name / "final" if name else open_base().path


def first_rows(run: Path, stage: str) -> list[dict[str, Any]]:
    """The first rollout file of a stage, or of an evaluation."""
    iterations = sorted((run / "rollouts").glob(f"{stage}-000000.jsonl.gz"))
    return rows_of(iterations[0] if iterations else run / "rollouts" / f"{stage}.jsonl.gz")


def temperature(stage: str) -> float:
    """At which a stage samples."""
    if stage.startswith("evaluation"):
        return scale().zero.evaluation.temperature
    return {"reasoning": scale().reasoning.temperature, "r1": scale().scenarios.temperature}.get(stage, 1.0)


def test_every_stage_samples_from_the_model_before_it(run: Path) -> None:
    for stage, name in SAMPLED_BY.items():
        weights, config = read_weights(model(run, name)), read_config(model(run, name))
        for row in first_rows(run, stage)[:2]:
            prompt, response = row["prompt_tokens"], row["tokens"]
            logp_T = response_logp(weights, config, prompt, response, temperature=temperature(stage))
            assert row["logp"] == pytest.approx(logp_T.tolist(), abs=1e-4), stage


def test_every_model_of_the_chain_has_learned_something(run: Path) -> None:
    """Or one could be taken for the other."""
    for stage in ("zero", "longer", "dev1", "dev2", "dev2-plain", "dev3", "reasoning", "r1"):
        assert rows_of(run / "metrics.jsonl", stage=stage)[0]["grad_norm"] > 0.1, stage


def test_every_stage_asks_in_its_template(run: Path) -> None:
    tokenizer = Tokenizer.from_file(str(open_base().path / "tokenizer.json"))
    names = {path.name.removesuffix(".jsonl.gz").removesuffix("-000000") for path in (run / "rollouts").iterdir()}
    assert names == SAMPLED_BY.keys() | {f"{name}-general" for name in SAMPLED_BY if name.startswith("evaluation")}
    for name in names:
        row = first_rows(run, name)[0]
        template = TEMPLATE if name.removesuffix("-general") in IN_ZERO_TEMPLATE else CHAT
        reader = tokenizer
        if "qwen2" in name or "llama" in name:
            reader = Tokenizer.from_file(str(model(run, "qwen2") / "tokenizer.json"))
        assert row["prompt_tokens"] == reader.encode(template.format(question=row["question"])).ids, name


def test_every_stage_has_the_rewards_of_the_figure(run: Path) -> None:
    for stage, parts in REWARDED_BY.items():
        for row in first_rows(run, stage):
            if row["domain"] not in GENERAL_DOMAINS:
                assert row["reward"]["parts"].keys() == parts, stage
                continue
            assert stage == "r1"
            learned = "harmlessness" if row["domain"] == "harmful" else "helpfulness"
            assert row["reward"]["parts"].keys() == {learned, "format", "language"}
    assert {row["domain"] in GENERAL_DOMAINS for row in first_rows(run, "r1")} == {True, False}


def test_general_prompts_join_with_their_first_one_while_reasoning_goes_on(run: Path) -> None:
    rows = first_rows(run, "r1")
    general, reasoning = (
        list(dict.fromkeys(row["question"] for row in rows if (row["domain"] in GENERAL_DOMAINS) == is_general))
        for is_general in (True, False)
    )
    assert general == [problem.question for problem in GeneralProblems(seed=5)(0, len(general))]
    num_asked = scale().reasoning.problems_per_iteration
    assert reasoning == [problem.question for problem in TrainingProblems(seed=5)(num_asked, len(reasoning))]


def test_a_general_response_has_the_reward_of_the_model_that_was_trained_for_it(run: Path) -> None:
    """The safe one reads all of a response, the helpful one what follows the thinking, both after the question."""
    tokenizer = Tokenizer.from_file(str(open_base().path / "tokenizer.json"))
    judged = set()
    for row in first_rows(run, "r1"):
        name = "harmlessness" if row["domain"] == "harmful" else "helpfulness"
        text = row["text"] if name == "harmlessness" else summary(row["text"])
        if row["domain"] not in GENERAL_DOMAINS or text is None:
            continue
        folder = model(run, name)
        bias = json.loads((folder / "reward_model.json").read_text(encoding="utf-8"))["bias"]
        prompt = CHAT.format(question=row["question"])
        found = score(read_weights(folder), read_config(folder), tokenizer, prompt, text).item()
        assert row["reward"]["parts"][name] == pytest.approx(1 / (1 + math.exp(bias - found)), abs=1e-4)
        judged.add(name)
    assert judged == {"helpfulness", "harmlessness"}, [row["text"] for row in first_rows(run, "r1")]


def summary(text: str) -> str | None:
    """What follows the thinking, all of a response that does not think; None where that is not plain to see."""
    tags = re.findall(r"</?(?:think|answer)>", text)
    if tags == ["<think>", "</think>"]:
        return text.partition("</think>")[2].strip() or None
    return None if tags else text.strip()


def test_every_lesson_starts_where_the_figure_says_and_has_its_data(run: Path) -> None:
    lessons = {"dev1": scale().dev1, "dev3": scale().dev3}
    lessons |= {"qwen2-distilled": scale().students.qwen2, "llama-distilled": scale().students.llama}
    for stage, (name, sets) in LEARNED_FROM.items():
        data = [
            row for part in sets for row in rows_of(run / "stages" / part / "shard-000000.jsonl") if "response" in row
        ]
        form = plain_sft(model(run, name), data, lessons[stage].model_dump(), seed=5, stage=stage)
        _, metrics = next(form)
        logged = rows_of(run / "metrics.jsonl", stage=stage)[0]
        assert {key: logged[key] for key in metrics} == pytest.approx(metrics, rel=1e-4), stage


def test_nothing_that_is_examined_is_harvested(run: Path) -> None:
    """Problems of the examination and of validation, and general prompts: their words are kept out of both harvests."""
    asked = {row["question"] for path in (run / "rollouts").glob("evaluation-*") for row in rows_of(path)}
    asked |= {problem.question for problem in held_out_problems("validation", 1)}
    for stage in ("cold", "kept"):
        inputs = json.loads((run / "stages" / stage / "inputs.json").read_text(encoding="utf-8"))["inputs"]
        assert Contamination(asked).key in inputs["pick"], stage


def test_reward_models_learn_from_questions_in_their_template(run: Path) -> None:
    for name in ("helpfulness", "harmlessness"):
        questions = {row["problem_id"]: row["question"] for row in first_rows(run, f"{name}-train")}
        rows = [row for row in rows_of(run / "stages" / f"{name}-train" / "shard-000000.jsonl") if "responses" in row]
        known = [row for row in rows if row["problem_id"] in questions]
        assert known
        for row in known:
            assert row["prompt"] == CHAT.format(question=questions[row["problem_id"]])
