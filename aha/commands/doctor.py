"""The doctor for a whole run: model, problems, rewards and numbers as they were ordered."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from aha.actors.local_actors import LocalActors
from aha.engines.engine import Decoding
from aha.policy.config import PolicyConfig
from aha.policy.families import slowness
from aha.recipes.base_model import open_base
from aha.recipes.fitting import TINY_MODEL, memory_of_stage
from aha.recipes.own.assignment import assigned
from aha.recipes.own.own_data import OwnData
from aha.recipes.scales import R1_ZERO_SCALES, R1ZeroConfig
from aha.stages.doctor.diagnose import MAX_RESPONSES, diagnose
from aha.stages.doctor.diagnosis import Diagnosis, ExampleResponse, Finding, RunCandidate
from aha.stages.task import ProblemSource
from aha.training.memory import GIB, available_bytes
from aha.training.world import World
from aha.types import Problem

__all__ = ["DOCTOR_METRICS", "as_object", "examine", "in_words", "prompts_left_out", "refuse", "toy_numbers"]

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

NUM_PLACES = 5
"""Places of prompts that a finding names."""

LONGEST_SHOWN = 300
"""Characters of a question or a response that are shown."""


def examine(
    model: str | None,
    own: OwnData,
    config: R1ZeroConfig,
    *,
    seed: int,
    num_groups: int | None = None,
    device: str = "cpu",
) -> Diagnosis:
    """Examine the first part of R1-Zero that runs, before its first step.

    Args:
        model: folder or name of the model; None for the built-in base.
        own: problems and rewards of the user's own.
        config: the numbers.
        seed: run seed.
        num_groups: problems that are sampled in any case; 8, or 2 for a large model, where none is given. More are
            sampled while no group shows a spread of rewards.
        device: where it computes.

    Raises:
        ValueError: model, problems or rewards cannot be read, or no part of the training runs.
    """
    if not config.parts:
        options = " or ".join(f"--{name}.iterations" for name in config.all_parts)
        raise ValueError(f"nothing is trained: set {options} to 1 at least")

    start = open_base(model)
    stage = next(iter(config.parts.values()))
    actors = LocalActors(world=World(device=device))
    policy = actors.policy(start.path, max_new_tokens=stage.max_new_tokens, temperature=stage.temperature)

    # A large model samples slowly, and a few responses already show what keeps it from learning.
    is_small = policy.num_parameters <= SMALL_MODEL
    num_groups = num_groups or (8 if is_small else 2)
    group_size = stage.group_size if is_small else min(4, stage.group_size)

    with assigned(own, start, config, seed=seed) as assignment:
        candidate = RunCandidate(
            policy=policy,
            problems=_some_problems(assignment.problems, num_groups, MAX_RESPONSES // group_size),
            num_groups=num_groups,
            template=assignment.template,
            reward=assignment.reward,
            decoding=Decoding(max_new_tokens=stage.max_new_tokens, temperature=stage.temperature, stop=assignment.stop),
            group_size=group_size,
            seed=seed,
        )
        diagnosis = diagnose(candidate)

    warnings = [
        toy_numbers(policy.num_parameters, config, device),
        prompts_left_out(assignment.left_out),
        _through_transformers(policy.shape),
    ]
    findings = [*diagnosis.findings, *(warning for warning in warnings if warning is not None)]
    diagnosis = replace(diagnosis, findings=tuple(findings))
    return _with_costs(diagnosis, policy.shape, config, torch.device(device))


def _some_problems(source: ProblemSource, num_groups: int, max_groups: int) -> list[Problem]:
    """Different training problems, those of the first iteration first; as many as may be sampled."""
    problems: dict[str, Problem] = {}
    # A stream is asked by how many of its problems came before. It may ask one twice, as a short file does.
    for start in range(0, max(max_groups, num_groups), num_groups):
        for problem in source(start, num_groups):
            problems.setdefault(problem.id, problem)
    return list(problems.values())


def prompts_left_out(prompts: Sequence[str]) -> Finding | None:
    """Prompts that were left out because they are too long."""
    if not prompts:
        return None

    named = ", ".join(prompts[:NUM_PLACES])
    others = f" and {len(prompts) - NUM_PLACES:,} more" if len(prompts) > NUM_PLACES else ""
    return Finding(
        code="prompts-left-out",
        is_fatal=False,
        what=f"{len(prompts):,} prompts are too long and left out: {named}{others}",
        remedy="lower the max-new-tokens of the stages, of validation or of evaluation, if they are needed",
    )


def _through_transformers(shape: PolicyConfig) -> Finding | None:
    """A model of another architecture, which has no kernels here."""
    notice = slowness(shape)
    if not notice:
        return None
    return Finding(
        code="through-transformers",
        is_fatal=False,
        what=notice,
        remedy="take a model of one of these families where time matters",
    )


def toy_numbers(num_parameters: int, config: R1ZeroConfig, device: str) -> Finding | None:
    """Numbers of scale tiny under a model for which they were not made."""
    if num_parameters <= TINY_MODEL or not config.parts:
        return None

    name, stage = next(iter(config.parts.items()))
    toy = R1_ZERO_SCALES["tiny"].parts[name]
    toy_settings, remedies = [], []
    # Adapters take rates of this size, so there it may be meant.
    if stage.optimizer.learning_rate == toy.optimizer.learning_rate and not stage.optimizer.lora.rank:
        toy_settings.append(f"learning rate {stage.optimizer.learning_rate:g}")
        remedies.append(f"--{name}.optimizer.learning-rate 1e-6")
    if stage.max_new_tokens == toy.max_new_tokens:
        toy_settings.append(f"length cap {stage.max_new_tokens} tokens")
        remedies.append(f"--{name}.max-new-tokens 2048")
    if not toy_settings:
        return None
    # A CPU by itself is no toy: scale `small` is made for it.
    if device == "cpu":
        toy_settings.append("device cpu")
        remedies.append("--device cuda")

    # The remedies are for the first stage that runs; the user has to look at the others as well.
    others = "".join(f"; the stage `{other}` has numbers of its own" for other in list(config.parts)[1:])
    return Finding(
        code="toy-numbers",
        is_fatal=False,
        what=f"{', '.join(toy_settings)}: these are for the built-in model of half a million parameters, and this "
        f"model has {num_parameters / 1e6:,.0f} million",
        remedy=f"leave --scale out, or set {' and '.join(remedies)}{others}",
    )


def _with_costs(diagnosis: Diagnosis, shape: PolicyConfig, config: R1ZeroConfig, device: torch.device) -> Diagnosis:
    """The diagnosis with what the run will take: memory of all its processes, and time of sampling."""
    stages = tuple(config.parts.values())
    # The stages run one after the other.
    peak = max(memory_of_stage(stage, shape, device, num_processes=config.processes) for stage in stages)
    figures = {**diagnosis.figures, "memory_gib": peak / GIB}
    # There is no length where nothing could be sampled.
    if "length" in figures:
        num_responses = sum(stage.iterations * stage.problems_per_iteration * stage.group_size for stage in stages)
        figures["sampling_hours"] = num_responses * figures["length"] / figures["tokens_per_second"] / 3600

    limit = available_bytes(device)
    if peak <= limit:
        return replace(diagnosis, figures=figures)

    misfit = Finding(
        code="does-not-fit",
        is_fatal=True,
        what=f"training takes about {peak / GIB:.1f} GiB, and there are {limit / GIB:.1f}",
        remedy="set optimizer.state 8-bit, optimizer.precision bfloat16 or optimizer.lora.rank 16 of "
        f"{' and '.join(config.parts)}, fewer processes, or a lower length cap",
    )
    return replace(diagnosis, figures=figures, findings=(misfit, *diagnosis.findings))


def in_words(diagnosis: Diagnosis) -> str:
    """What the doctor says, for people."""
    lines = [f"{name:18} {value:10.4g}" for name, value in diagnosis.figures.items()]
    for name, (low, mean, high) in diagnosis.parts.items():
        lines.append(f"{f'reward {name}':18} {mean:10.4g}   ({low:g} to {high:g})")

    verdicts = [f"{count} {kind}" for kind, count in diagnosis.verdicts.items() if count]
    if verdicts:
        lines.append(f"verdicts           {', '.join(verdicts)}")

    lines += _responses_in_words(diagnosis.responses)

    for finding in diagnosis.findings:
        weight = "fatal" if finding.is_fatal else "warning"
        lines.append(f"{weight}: {finding.code}: {finding.what}\n    {finding.remedy}")

    if not diagnosis.findings:
        lines.append("nothing found that stands in the way")
    return "\n".join(lines)


def _responses_in_words(responses: Sequence[ExampleResponse]) -> list[str]:
    """Responses with what was read as their answer, four lines each."""
    # The prompts differ by their questions alone, so that one shows the template and the system message.
    lines = [f"prompt of response 1  {_shortened(response.prompt)!r}" for response in responses[:1] if response.prompt]
    for number, response in enumerate(responses, 1):
        answer = "nothing" if response.answer is None else repr(_shortened(response.answer))
        source = f" ({response.source})" if response.source else ""
        # `repr` shows what a terminal would hide or obey.
        lines += [
            f"response {number} to       {_shortened(response.question)}",
            f"    says           {_shortened(response.text)!r}",
            f"    answer read    {answer}{source}; the reference is {_shortened(response.reference)!r}",
            f"    verdict        {response.verdict or 'none'}; reward {response.reward:g}",
        ]
    return lines


def _shortened(text: str) -> str:
    """A text in one line, without its middle where it is long: how a response begins and how it ends is seen."""
    line = " ".join(text.split())
    if len(line) <= LONGEST_SHOWN:
        return line
    half = LONGEST_SHOWN // 2
    return f"{line[:half]} [...] {line[-half:]}"


def as_object(diagnosis: Diagnosis) -> Mapping[str, Any]:
    """What the doctor says, for programs."""
    return {"is_fit": diagnosis.is_fit, **asdict(diagnosis)}


def refuse(diagnosis: Diagnosis) -> None:
    """Refuse a run that cannot learn.

    Raises:
        ValueError: something fatal was found; says what, what to change, and what the model answered.
    """
    fatal = [f"{finding.code}: {finding.what}; {finding.remedy}" for finding in diagnosis.findings if finding.is_fatal]
    if fatal:
        headline = f"this run cannot learn: {' | '.join(fatal)} | --force starts it all the same"
        raise ValueError("\n".join([headline, *_responses_in_words(diagnosis.responses)]))
