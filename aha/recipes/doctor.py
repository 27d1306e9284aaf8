"""The doctor for a whole run: model, problems, rewards and numbers as they were ordered."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch

from aha.policy.config import PolicyConfig
from aha.recipes.assignment import assigned
from aha.recipes.base_model import open_base
from aha.recipes.own_data import OwnData
from aha.recipes.scales import R1ZeroConfig
from aha.rollouts.engine import Decoding
from aha.stages.doctor import Diagnosis, Finding, Patient, diagnose
from aha.stages.workload import workload
from aha.training.checkpoint import read_model
from aha.training.memory import GIB, available_bytes, estimate

__all__ = ["DOCTOR_METRICS", "as_object", "examine", "in_words", "refuse"]

DOCTOR_METRICS = (
    "responses",
    "length",
    "truncated",
    "zero_spread",
    "reward",
    "logp_gap",
    "tokens_per_second",
    "memory_gib",
    "sampling_hours",
)
"""What an examination measures; `docs/metrics.md` defines each."""

SMALL_MODEL = 50_000_000
"""Parameters up to which a model is small enough to be sampled as often as one likes."""


def examine(
    model: str | None,
    own: OwnData,
    config: R1ZeroConfig,
    *,
    seed: int,
    num_groups: int | None = None,
    device: str = "cpu",
) -> Diagnosis:
    """Examine the first stage of R1-Zero before its first step.

    Args:
        model: folder or name of the model; None for the built-in base.
        own: problems and rewards of the user's own.
        config: the numbers.
        seed: run seed.
        num_groups: problems that are sampled; 8, or 2 for a large model, where none is given.
        device: where it computes.

    Raises:
        ValueError: model, problems or rewards cannot be read.
    """
    start, stage = open_base(model), config.zero
    policy, tokenizer = read_model(start.path, device=device)
    is_small = sum(weight.numel() for weight in policy.parameters()) <= SMALL_MODEL
    num_groups = num_groups or (8 if is_small else 2)
    with assigned(own, start, config, seed=seed, is_checked=True) as assignment:
        found = diagnose(
            Patient(
                policy=policy,
                tokenizer=tokenizer,
                problems=assignment.problems(0, num_groups),
                template=assignment.template,
                reward=assignment.reward,
                decoding=Decoding(
                    max_new_tokens=stage.max_new_tokens, temperature=stage.temperature, stop=assignment.stop
                ),
                group_size=stage.group_size if is_small else min(4, stage.group_size),
                seed=seed,
            )
        )
    return _with_costs(found, policy.config, config, torch.device(device))


def _with_costs(found: Diagnosis, shape: PolicyConfig, config: R1ZeroConfig, device: torch.device) -> Diagnosis:
    """The diagnosis with what the run will take: memory of all its processes, and time of sampling."""
    stages, limit = (config.zero, config.longer), available_bytes(device)
    loads = [(one, workload(shape, one, device, num_processes=config.processes)) for one in stages]
    peak = config.processes * max(estimate(shape, one.optimizer, load, device).peak for one, load in loads)
    figures = {**found.figures, "memory_gib": peak / GIB}
    if "length" in figures:
        num_responses = sum(one.iterations * one.problems_per_iteration * one.group_size for one in stages)
        figures["sampling_hours"] = num_responses * figures["length"] / figures["tokens_per_second"] / 3600
    if peak <= limit:
        return replace(found, figures=figures)
    misfit = Finding(
        code="does-not-fit",
        is_fatal=True,
        what=f"training takes about {peak / GIB:.1f} GiB, and there are {limit / GIB:.1f}",
        remedy="set optimizer.state 8-bit, optimizer.precision bfloat16 or optimizer.lora.rank 16 of zero and longer, "
        "fewer processes, or a lower length cap",
    )
    return replace(found, figures=figures, findings=(misfit, *found.findings))


def in_words(diagnosis: Diagnosis) -> str:
    """What the doctor says, for people."""
    lines = [f"{name:18} {value:10.4g}" for name, value in diagnosis.figures.items()]
    for name, (low, mean, high) in diagnosis.parts.items():
        lines.append(f"{f'reward {name}':18} {mean:10.4g}   ({low:g} to {high:g})")
    verdicts = [f"{count} {kind}" for kind, count in diagnosis.verdicts.items() if count]
    lines += [f"verdicts           {', '.join(verdicts)}"] if verdicts else []
    for finding in diagnosis.findings:
        weight = "fatal" if finding.is_fatal else "warning"
        lines.append(f"{weight}: {finding.code}: {finding.what}\n    {finding.remedy}")
    return "\n".join([*lines, "nothing found that stands in the way" if not diagnosis.findings else ""]).rstrip()


def as_object(diagnosis: Diagnosis) -> Mapping[str, Any]:
    """What the doctor says, for programs."""
    return {"is_fit": diagnosis.is_fit, **asdict(diagnosis)}


def refuse(diagnosis: Diagnosis) -> None:
    """Refuse a run that cannot learn.

    Raises:
        ValueError: something fatal was found; says what, and what to change.
    """
    fatal = [f"{finding.code}: {finding.what}; {finding.remedy}" for finding in diagnosis.findings if finding.is_fatal]
    if fatal:
        raise ValueError(f"this run cannot learn: {' | '.join(fatal)} | --force starts it all the same")
