"""Looking at one model: its figures on the built-in world, and single responses."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aha.problems.world import held_out_problems
from aha.prompts.parsing import parse_response
from aha.prompts.templates import r1, template_of
from aha.recipes.base_model import open_base
from aha.rewards.summary import format_reward
from aha.rewards.table import RULES, rules
from aha.rollouts.engine import Decoding, Request
from aha.rollouts.local import LocalEngine
from aha.runs.folder import RunFolder
from aha.stages.config import EvaluationConfig
from aha.stages.evaluate import Setting, evaluate
from aha.stages.run import Run
from aha.training.checkpoint import read_model
from aha.types import Problem, Report

__all__ = ["evaluate_model", "sample_once"]


def evaluate_model(model: Path | None, split: str, config: EvaluationConfig, *, seed: int) -> Report:
    """Evaluate a model folder on held-out problems of the built-in world.

    Args:
        model: the folder; None for the built-in base.
        split: which problems.
        config: how many, and how they are sampled.
        seed: of the draws.
    """
    with tempfile.TemporaryDirectory(prefix="aha-") as folder:
        run = Run(folder=RunFolder(Path(folder)), seed=seed)
        problems, policy = held_out_problems(split, config.num_problems), open_base(model)
        template = template_of(read_model(policy.path)[1].chat_template)
        setting = Setting(template=template, reward=rules(form=format_reward) if template is r1 else RULES)
        return evaluate(run, split, policy=policy, problems=problems, config=config, setting=setting)


def sample_once(
    model: Path | None, *, prompt: str | None, question: str | None, decoding: Mapping[str, float], seed: int
) -> dict[str, Any]:
    """One response of a model.

    Args:
        model: the folder; None for the built-in base.
        prompt: text given as it is; or
        question: a question to put into the model's template.
        decoding: `temperature`, `top_p` and `max_new_tokens`.
        seed: of the draws.

    Returns:
        `prompt_tokens`, `tokens` (the end token included), `text`, its `thinking` and `summary`, `finish`, and
        `unknown`, the words that the vocabulary lacks.
    """
    policy, tokenizer = read_model(open_base(model).path)
    text = prompt if prompt is not None else template_of(tokenizer.chat_template)(question or "")
    how = Decoding(
        max_new_tokens=int(decoding["max_new_tokens"]), temperature=decoding["temperature"], top_p=decoding["top_p"]
    )
    problem = Problem(id=text, question=text, answer="", domain="")
    [[rollout]] = LocalEngine(policy, tokenizer).sample(
        [Request(problem=problem, prompt=text, seed=(seed, "sample"))], 1, how
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
