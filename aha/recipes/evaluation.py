"""Looking at one model: its figures on the built-in world, and single responses."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aha.policy.pretrained import read_config
from aha.problems.suites import open_suite
from aha.problems.world import held_out_problems
from aha.prompts.parsing import parse_response
from aha.prompts.pretrained import read_tokenizer
from aha.prompts.questions import worded
from aha.prompts.templates import CHAT_TEMPLATES, Template, r1, r1_zero, template_of
from aha.recipes.assignment import judges, named_template, rules_of
from aha.recipes.base_model import open_base
from aha.recipes.own_data import TemplateName
from aha.rewards.summary import format_reward
from aha.rewards.table import RULES, rules
from aha.rollouts.engine import Decoding, Request
from aha.rollouts.local import LocalEngine
from aha.runs.folder import RunFolder
from aha.stages.config import EvaluationConfig
from aha.stages.evaluate import Setting, evaluate
from aha.stages.run import Run
from aha.training.checkpoint import read_model
from aha.types import Checkpoint, Problem, Report

__all__ = ["SuiteOrder", "evaluate_model", "evaluate_suite", "sample_once"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteOrder:
    """A suite to evaluate on, as it is named on the command line.

    Attributes:
        name: as `aha.problems.suites.open_suite` reads it.
        data: folder of the named suites.
        fields: which fields of a file hold what.
        bad_rows: what a row that cannot be used does.
        weak_sandbox: run code also where it cannot be isolated well.
        limit: problems that are taken; all where None.
        num_samples: responses for each; the suite's where None.
        stop: texts that end a response.
    """

    name: str
    data: Path | None = None
    fields: str = ""
    bad_rows: Literal["stop", "skip"] = "stop"
    weak_sandbox: bool = False
    limit: int | None = None
    num_samples: int | None = None
    stop: tuple[str, ...] = ()


def evaluate_model(
    model: Path | str | None,
    split: str,
    config: EvaluationConfig,
    *,
    seed: int,
    template: TemplateName = "auto",
    stop: tuple[str, ...] = (),
) -> Report:
    """Evaluate a model on held-out problems of the built-in world.

    Args:
        model: its folder or its name at the hub; None for the built-in base.
        split: which problems.
        config: how many, and how they are sampled.
        seed: of the draws.
        template: the prompt; `auto` takes the one that the model was trained with.
        stop: texts that end a response.
    """
    policy, problems = open_base(model), held_out_problems(split, config.num_problems)
    prompt = _prompt(policy, template)
    setting = Setting(template=prompt, reward=rules(form=format_reward) if prompt is r1 else RULES, stop=stop)
    return _evaluate(policy, split, problems, config, setting, seed)


def evaluate_suite(
    model: Path | str | None,
    suite: SuiteOrder,
    config: EvaluationConfig,
    *,
    seed: int,
    template: TemplateName = "auto",
) -> tuple[Report, str]:
    """Evaluate a model on a suite.

    Args:
        model: its folder or its name at the hub; None for the built-in base.
        suite: the suite.
        config: how responses are sampled; the suite says how many.
        seed: of the draws.
        template: the prompt; `auto` takes R1-Zero's or R1's for a model trained with it, else the model's own.

    Returns:
        The figures, and what was read, in words.

    Raises:
        ValueError: model or suite cannot be read.
        RuntimeError: the suite is code, and nothing here isolates it.
    """
    policy = open_base(model)
    opened = open_suite(suite.name, data=suite.data, mapping=suite.fields, on_bad=suite.bad_rows, limit=suite.limit)
    prompt = _prompt(policy, template)
    problems = list(opened.problems) if prompt is r1_zero else worded(opened.problems)
    counts = {"num_problems": len(problems), "num_samples": suite.num_samples or opened.suite.num_samples}
    how = config.model_copy(update=counts)
    with ExitStack() as stack:
        functions = judges({one.domain for one in problems}, stack, allow_weak=suite.weak_sandbox)
        setting = Setting(template=prompt, reward=rules_of(functions, prompt), stop=suite.stop)
        report = _evaluate(policy, opened.suite.name, problems, how, setting, seed)
    return report, "; ".join(filter(None, (opened.problems.says, opened.note)))


def _prompt(policy: Checkpoint, name: TemplateName) -> Template:
    """A template by name; `auto` is R1-Zero's, R1's, or the checkpoint's own."""
    if name != "auto":
        return named_template(name, policy)
    known = read_tokenizer(policy.path, room=read_config(policy.path).vocab_size).chat_template
    return template_of(known) if known in CHAT_TEMPLATES.values() else named_template("chat", policy)


def _evaluate(
    policy: Checkpoint,
    name: str,
    problems: Sequence[Problem],
    config: EvaluationConfig,
    setting: Setting,
    seed: int,
) -> Report:
    """Evaluate outside of any run."""
    with tempfile.TemporaryDirectory(prefix="aha-") as folder:
        run = Run(folder=RunFolder(Path(folder)), seed=seed)
        return evaluate(run, name, policy=policy, problems=problems, config=config, setting=setting)


def sample_once(
    model: Path | str | None, *, prompt: str | None, question: str | None, decoding: Decoding, seed: int
) -> dict[str, Any]:
    """One response of a model.

    Args:
        model: the folder; None for the built-in base.
        prompt: text given as it is; or
        question: a question to put into the model's template.
        decoding: how the response is sampled.
        seed: of the draws.

    Returns:
        `prompt_tokens`, `tokens` (the end token included), `text`, its `thinking` and `summary`, `finish`, and
        `unknown`, the words that the vocabulary lacks.
    """
    start = open_base(model)
    policy, tokenizer = read_model(start.path)
    text = prompt if prompt is not None else _prompt(start, "auto")(question or "")
    problem = Problem(id=text, question=text, answer="", domain="")
    [[rollout]] = LocalEngine(policy, tokenizer).sample(
        [Request(problem=problem, prompt=text, seed=(seed, "sample"))], 1, decoding
    )
    parsed = parse_response(rollout.text)
    return {
        "prompt_tokens": rollout.prompt_tokens.tolist(),
        "tokens": rollout.tokens.tolist(),
        "text": rollout.text,
        "thinking": parsed.thinking,
        "summary": parsed.summary,
        "finish": rollout.finish,
        "unknown": tokenizer.unknown_words(text),
    }
