"""GRPO in its plainest form, beside DeepSeekMath, arXiv:2402.03300, Algorithm 1.

    A_i  = (r_i - mean(r)) / std(r), over the responses to one question
    rho  = pi(o_it) / pi_old(o_it),  r = pi_ref(o_it) / pi(o_it)
    loss = -1/B sum_i 1/|o_i| sum_t { min[rho A_i, clip(rho, 1 - eps, 1 + eps) A_i] - beta (r - log r - 1) }

It is given what a run recorded (prompts, sampled tokens and the log-probabilities of pi_old) and computes all the rest.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import torch
from forms.plain_draws import shuffled
from forms.plain_evaluation import answer_of, has_format, is_right
from forms.plain_policy import Config, Weights, num_matrix_parameters, read_config, read_weights, response_logp
from forms.plain_update import PlainAdamW
from torch import Tensor

Row = Mapping[str, Any]

WEIGHTS = {"accuracy": 1.0, "format": 0.5}
"""Of the parts of the reward."""


@dataclass(frozen=True)
class Iteration:
    """What one iteration leaves: metrics, advantages, and the state of training; the policy also as it sampled."""

    metrics: dict[str, float]
    advantages: list[float]
    sampled_by: Weights
    policy: Weights
    moments: tuple[Weights, Weights]
    reference: Weights


def reward_of(row: Row) -> float:
    """The weighted sum of the parts."""
    return WEIGHTS["accuracy"] * is_right(row) + WEIGHTS["format"] * has_format(row["text"])


def advantages_of(rows: Sequence[Row]) -> list[float]:
    """Each reward relative to those of the same question; 0 where all are equal."""
    advantages: list[float] = []
    for _, group in groupby(rows, key=lambda row: row["problem_id"]):
        rewards = [reward_of(row) for row in group]
        mean, std = fmean(rewards), pstdev(rewards)
        advantages += [(reward - mean) / (std + 1e-6) if std else 0.0 for reward in rewards]
    return advantages


def mini_batches(count: int, num: int, order: Sequence[int]) -> list[Sequence[int]]:
    """The rows of each mini-batch: an order cut into equal parts; the tests use counts that can be."""
    assert count % num == 0
    return [order[start : start + count // num] for start in range(0, count, count // num)]


def grpo(
    logps: Sequence[Tensor], rows: Sequence[Row], advantages: Sequence[float], ref_logps: Sequence[Tensor], clip: float
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Gain and divergence of each token of each response: sums to be weighed, and what is logged by token."""
    gains, figures = [], {"kl": [], "ratio": [], "clip_fraction": []}
    for logp_T, row, advantage, ref_logp_T in zip(logps, rows, advantages, ref_logps, strict=True):
        ratio_T = (logp_T - torch.tensor(row["logp"], dtype=torch.float64)).exp()
        plain_T, cut_T = ratio_T * advantage, ratio_T.clamp(1 - clip, 1 + clip) * advantage
        gains.append(torch.minimum(plain_T, cut_T))
        log_r_T = ref_logp_T - logp_T
        figures["kl"].append(log_r_T.exp() - log_r_T - 1)
        figures["ratio"].append(ratio_T)
        figures["clip_fraction"].append((cut_T < plain_T).double())
    return gains, figures


def plain_rl(
    folder: Path, iterations: Sequence[Sequence[Row]], settings: Mapping[str, Any], *, seed: int, stage: str
) -> Iterator[Iteration]:
    """Every iteration, from the rows of its rollout file."""
    config, start = read_config(folder), read_weights(folder)
    optimizer, num_parts = settings["optimizer"], settings["num_minibatches"]
    clip_eps, kl_coef = settings["algorithm"]["clip_eps"], settings["algorithm"]["kl_coef"]
    training, reference = PlainAdamW(start, optimizer, settings["iterations"] * num_parts), start

    for number, rows in enumerate(iterations):
        # Advantages come from all rollouts, before these are split into mini-batches.
        sampled_by, advantages = training.copy(), advantages_of(rows)
        order = shuffled(len(rows), seed, stage, number, "mini-batches")
        updates: list[dict[str, float]] = []

        for part in mini_batches(len(rows), num_parts, order):
            own = [rows[place] for place in part]
            logps = [logp_of(training.weights, config, row, settings) for row in own]
            with torch.no_grad():
                ref_logps = [logp_of(reference, config, row, settings) for row in own]
            gains, figures = grpo(logps, own, [advantages[place] for place in part], ref_logps, clip_eps)
            losses = [(kl_coef * kl_T - gain_T).mean() for gain_T, kl_T in zip(gains, figures["kl"], strict=True)]
            means = {name: float(torch.cat(values).detach().mean()) for name, values in figures.items()}
            updates.append(means | training.update(torch.stack(losses).mean()))
            if training.num_updates % settings["reference_every"] == 0:
                reference = training.copy()

        learned = {name: fmean(one[name] for one in updates) for name in updates[0]}
        yield Iteration(
            metrics={**learned, **described(rows, advantages), **cost(rows, start)},
            advantages=advantages,
            sampled_by=sampled_by,
            policy=training.copy(),
            moments=training.moments(),
            reference=reference,
        )


def logp_of(weights: Weights, config: Config, row: Row, settings: Mapping[str, Any]) -> Tensor:
    """Log-probabilities of a response at the temperature of sampling, [T]."""
    return response_logp(weights, config, row["prompt_tokens"], row["tokens"], temperature=settings["temperature"])


def described(rows: Sequence[Row], advantages: Sequence[float]) -> dict[str, float]:
    """What is logged of the responses themselves; all groups have the same size."""
    num_tokens, size = sum(len(row["tokens"]) for row in rows), 1 + max(row["index"] for row in rows)
    groups = [advantages[start : start + size] for start in range(0, len(rows), size)]
    return {
        "reward": fmean(reward_of(row) for row in rows),
        "accuracy": fmean(is_right(row) for row in rows),
        "format": fmean(has_format(row["text"]) for row in rows),
        "unparsable": fmean(answer_of(row["text"]) is None for row in rows),
        "timeout": 0.0,
        "crash": 0.0,
        "unsupported": 0.0,
        "length": num_tokens / len(rows),
        "truncated": fmean(row["finish"] == "length" for row in rows),
        "zero_spread": fmean(not any(group) for group in groups),
        "entropy": -sum(sum(row["logp"]) for row in rows) / num_tokens,
        "tokens": num_tokens,
    }


def cost(rows: Sequence[Row], weights: Weights) -> dict[str, float]:
    """Tokens that are trained on, each prompt once, and operations: sampling, reference, forward and twice backward."""
    prompts = {tuple(row["prompt_tokens"]) for row in rows}
    num_tokens = sum(map(len, prompts)) + sum(len(row["tokens"]) for row in rows)
    return {"trained_tokens": num_tokens, "flops": (1 + 1 + 3) * 2.0 * num_matrix_parameters(weights) * num_tokens}
