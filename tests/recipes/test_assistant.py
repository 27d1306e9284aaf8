"""The whole of R1 with another model as editor, judge and comparer: a real server, asked over the OpenAI protocol."""

import json
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from endpoint_server import Server, forget_the_outside, reply, serving
from run_requests import train_built_in

from aha.engines.endpoint import Endpoint
from aha.problems.world.general import every_prompt
from aha.problems.world.writers import write
from aha.prompts.parsing import parse_response
from aha.recipes.base_model import open_base
from aha.recipes.r1.assistant import OtherModel
from aha.recipes.r1.built_in import JUDGED_DOMAINS, RIGHT_AND_READABLE, problems_to_harvest
from aha.recipes.r1.scales import R1_SCALES, R1Config
from aha.rewards.accuracy import has_rule
from aha.runs.folder import RunFolder
from aha.runs.ledger import request_key
from aha.runs.shards import count_shards, read_rows
from aha.stages.harvests.assistance import judging
from aha.stages.harvests.harvest import write_demonstrations
from aha.stages.harvests.rejection import Sampling, rejection
from aha.stages.run import Run
from aha.stages.sft import sft
from aha.types import Checkpoint, Demonstration

SEED = 5
MODEL = "m"


def settings() -> dict[str, Any]:
    """The numbers of a run in which every stage does next to nothing, but for those that teach Dev2 its format."""
    found = R1_SCALES["tiny"].model_dump()
    zero, students, rewards = found["zero"], found["students"], found["rewards"]
    loops = [zero["zero"], zero["longer"], found["dev2"], found["reasoning"], found["scenarios"]]
    for loop in (*loops, students["direct"], students["further"]):
        loop |= {"iterations": 1, "problems_per_iteration": 4, "group_size": 4, "num_minibatches": 1}
        loop |= {"max_new_tokens": 24, "evaluate_every": 2}
        loop["optimizer"] |= {"learning_rate": 1e-5, "warmup_steps": 0}
    for lessons in (found["dev1"], found["dev3"], rewards["training"], students["qwen2"], students["llama"]):
        lessons |= {"epochs": 1, "batch_size": 4, "max_tokens": 96}
        lessons["optimizer"] |= {"learning_rate": 5e-4, "warmup_steps": 0}
    for samples in (found["cold"], found["kept"], rewards["helpful"], rewards["safety"]):
        samples |= {"num_problems": 10, "num_samples": 4, "num_kept": 4, "max_new_tokens": 48, "shard_size": 8}
    for look in (zero["validation"], zero["evaluation"]):
        look |= {"num_problems": 2, "num_samples": 2, "max_new_tokens": 16}
    students["pretrain"] |= {"drill_tokens": 512, "problem_tokens": 512, "batch_tokens": 256}
    students["pretrain"] |= {"hidden_size": 32, "num_layers": 1}
    zero["processes"] = 1
    found["cold"] |= {"num_problems": 150, "shard_size": 75}
    found["dev1"] |= {"epochs": 15}
    found["kept"] |= {"num_problems": 100}
    return {**found, "num_general": 12}


SCALE = R1Config.model_validate(settings())


def base_that_thinks(folder: Path) -> Checkpoint:
    """The built-in base, taught by a few demonstrations to think before it answers general questions."""
    run, shown = Run(folder=RunFolder(folder), seed=SEED), []
    for domain in JUDGED_DOMAINS:
        for number, problem in enumerate(every_prompt(domain, "train")[::3]):
            text = write(random.Random(number), problem, {"careful": 1.0})
            shown.append(
                Demonstration(
                    problem_id=problem.id,
                    question=problem.question,
                    response=f"<think> {text.thinking} </think> {text.summary}",
                    domain=domain,
                    language=problem.language,
                    source=text.hand,
                )
            )
    data = write_demonstrations(run, "shown", shown, key="shown")
    lessons = SCALE.dev1.model_copy(update={"epochs": 5, "batch_size": 2})
    lessons = lessons.model_copy(update={"optimizer": lessons.optimizer.model_copy(update={"learning_rate": 1e-3})})
    return sft(run, "start", policy=open_base(), data=[data], config=lessons)


# The other model


def quoted(prompt: str, name: str) -> str:
    """A text that an instruction holds between fences."""
    found = re.search(rf"^The {name}:\n(~+)\n(.*?)\n\1$", prompt, re.DOTALL | re.MULTILINE)
    assert found, prompt
    return found[2]


def role(prompt: str) -> str:
    """What the other model is asked to be."""
    starts = {"Below are a question": "editor", "Judge whether": "judge", "Two assistants": "comparer"}
    return next(name for start, name in starts.items() if prompt.startswith(start))


def verdict_on(reference: str, prediction: str) -> str:
    """Right is what holds the reference answer; the judge refuses what it does not like, and fails on `rice`."""
    if "rice" in prediction or "水" in prediction:
        return "no verdict"
    return "correct" if reference in prediction else "incorrect"


def act(prompt: str, asked_before: int) -> object:
    """What the other model says; the same to the same prompt."""
    del asked_before
    if role(prompt) == "editor":
        thinking, answer = quoted(prompt, "thinking"), quoted(prompt, "answer")
        return 200, reply(f"<think> {thinking} </think> so the answer is \\boxed {{ {answer} }} .")
    if role(prompt) == "judge":
        verdict = verdict_on(quoted(prompt, "reference answer"), quoted(prompt, "prediction"))
        return (400, {}) if verdict == "no verdict" else (200, reply(json.dumps({"correctness": verdict})))
    is_longer = len(quoted(prompt, "response A")) > len(quoted(prompt, "response B"))
    return 200, reply("[[A>>B]]" if is_longer else "[[B>>A]]")


# The run


@dataclass(frozen=True)
class Assisted:
    """A finished run, where it began, and the server that it asked."""

    folder: Path
    start: Checkpoint
    server: Server

    @property
    def judged_rows(self) -> list[Any]:
        return [row for row in read_rows(self.folder / "stages" / "kept") if not has_rule(row["domain"])]


def carry_out(folder: Path, start: Checkpoint, server: Server) -> None:
    assistant = OtherModel(base_url=server.url, model=MODEL).assistant(RunFolder(folder), SEED)
    try:
        train_built_in(Run(folder=RunFolder(folder), seed=SEED), start, SCALE, assistant=assistant)
    finally:
        assistant.close()


@pytest.fixture(scope="module")
def assisted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Assisted]:
    start = base_that_thinks(tmp_path_factory.mktemp("start"))
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch, serving() as server:
        forget_the_outside(patch)
        server.act = act
        carry_out(folder, start, server)
        yield Assisted(folder=folder, start=start, server=server)


@pytest.mark.full
def test_editor_judge_and_comparer_are_all_reached(assisted: Assisted) -> None:
    asked = Counter(role(prompt) for prompt in assisted.server.prompts)
    assert {*asked} == {"editor", "judge", "comparer"}
    cold = list(read_rows(assisted.folder / "stages" / "cold"))
    assert cold
    assert all("so the answer is" in row["response"] for row in cold)
    labelled = list(read_rows(assisted.folder / "stages" / "helpfulness-train"))
    assert {row["source"] for row in labelled} == {f"comparing({MODEL}, 4)"}


@pytest.mark.full
def test_the_judge_decides_what_of_the_general_questions_is_kept(assisted: Assisted) -> None:
    answers = {prompt.id: prompt.answer for domain in JUDGED_DOMAINS for prompt in every_prompt(domain, "train")}
    kept = {(row["problem_id"], parse_response(row["response"]).summary) for row in assisted.judged_rows}
    assert kept
    assert {verdict_on(answers[problem_id], summary or "") for problem_id, summary in kept} == {"correct"}

    judged = [prompt for prompt in assisted.server.prompts if role(prompt) == "judge"]
    verdicts = Counter(verdict_on(quoted(one, "reference answer"), quoted(one, "prediction")) for one in judged)
    assert len(judged) == len(set(judged))
    assert min(verdicts[name] for name in ("correct", "incorrect", "no verdict")) > 0, verdicts
    counts = counts_of(assisted.folder / "stages" / "kept")
    assert counts["no verdict"] >= verdicts["no verdict"]
    assert counts["incorrect"] >= verdicts["incorrect"]


@pytest.mark.full
def test_a_run_that_was_killed_while_the_judge_was_asked_goes_on_to_the_same_data(
    assisted: Assisted, tmp_path: Path
) -> None:
    """Of the last shards nothing is left, and of the answers about them one half: only the others are asked for."""
    folder = tmp_path / "killed"
    shutil.copytree(assisted.folder, folder)
    kept = folder / "stages" / "kept"
    whole = {path.name: path.read_bytes() for path in kept.iterdir() if path.is_file()}
    last = count_shards(kept)
    (kept / "data.json").unlink()
    for number in (last - 2, last - 1):
        (kept / f"shard-{number:06d}.jsonl").unlink()

    lines = (folder / "answers.jsonl").read_text().splitlines(keepends=True)
    bodies = [body for body in assisted.server.bodies if role(body["messages"][-1]["content"]) == "judge"]
    ledger = [json.loads(line)["key"] for line in lines]
    forgotten = {key for key in (f"{request_key(body)}-0" for body in bodies) if key in ledger}
    forgotten = {*sorted(forgotten)[::2]}
    assert forgotten
    kept_lines = [line for line, key in zip(lines, ledger, strict=True) if key not in forgotten]
    (folder / "answers.jsonl").write_text("".join(kept_lines))

    before = len(assisted.server.bodies)
    carry_out(folder, assisted.start, assisted.server)
    assert {path.name: path.read_bytes() for path in kept.iterdir() if path.is_file()} == whole
    again = {f"{request_key(body)}-0" for body in assisted.server.bodies[before:]}
    refused = {f"{request_key(body)}-0" for body in bodies} - {*ledger}
    assert again == forgotten | refused


@pytest.mark.full
def test_where_the_judge_cannot_be_reached_there_is_no_verdict_and_the_rest_is_the_same(
    assisted: Assisted, tmp_path: Path
) -> None:
    """Rejection sampling once more, from the same Dev2, with an address at which nobody answers."""
    with Endpoint("http://127.0.0.1:9/v1", MODEL, api_key="k", max_retries=1, pause_seconds=0.001) as nobody:
        data = rejection(
            Run(folder=RunFolder(tmp_path), seed=SEED),
            "kept",
            policy=open_base(str(assisted.folder / "stages" / "dev2" / "final")),
            sampling=Sampling(
                problems=problems_to_harvest(SCALE.kept.num_problems, seed=SEED + 1, is_judged=True),
                keep=replace(RIGHT_AND_READABLE, num_kept=SCALE.kept.num_kept, judge=judging(nobody)),
            ),
            config=SCALE.kept,
        )
        assert nobody.failures.keys() == {"connection"}

    rows = list(read_rows(assisted.folder / "stages" / "kept"))
    assert list(read_rows(data.path)) == [row for row in rows if has_rule(row["domain"])]
    without, with_judge = counts_of(data.path), counts_of(assisted.folder / "stages" / "kept")
    assert without["no verdict"] > with_judge["no verdict"]
    by_judge = ("kept", "duplicate", "surplus", "incorrect", "no verdict")
    assert sum(without[name] for name in by_judge) == sum(with_judge[name] for name in by_judge)
    others = (without.keys() | with_judge.keys()) - {*by_judge}
    assert {name: without[name] for name in others} == {name: with_judge[name] for name in others}


def counts_of(folder: Path) -> Counter[str]:
    """What became of all samples of a harvest."""
    return Counter(json.loads((folder / "data.json").read_text())["counts"])
