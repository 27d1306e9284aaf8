"""The doctor: before compute is spent, a few groups are sampled and looked at for what would make learning impossible.

GRPO learns from differences inside a group. Where every response of every group gets the same reward, where no response
can ever end or be read, or where a verifier fails, an optimizer step is a step along noise: a run that starts like
that looks busy and learns nothing.
"""

import math
import time
from collections.abc import Sequence
from statistics import fmean

import torch

from aha.rewards.extraction.reader import reader_of
from aha.stages.doctor.diagnosis import Diagnosis, ExampleResponse, Finding, RunCandidate
from aha.stages.doctor.findings_after_sampling import count_verdicts, findings_after_sampling
from aha.stages.doctor.findings_before_sampling import findings_before_sampling
from aha.stages.groups import Sampling, has_spread, sample_groups
from aha.stages.metrics import columns
from aha.training.batch import stack
from aha.types import Group, Problem, Reward, Rollout

__all__ = ["MAX_RESPONSES", "MAX_TOKENS", "diagnose"]

MAX_RESPONSES = 128
"""Responses to sample at most in search of a group with spread. So many miss a policy that is right one time in twenty
with a probability of .0014."""

MAX_TOKENS = 200_000
"""Tokens after which that search ends, which bounds its time where responses are long."""

NUM_EXAMPLES = 3
"""Responses that are shown."""


def diagnose(candidate: RunCandidate) -> Diagnosis:
    """Examine a run: first what can be seen without a sample, then a group for each problem.

    Args:
        candidate: the run; nothing of it is changed, and its draws have a seed path of their own.

    Returns:
        The findings and figures. Where sampling itself is impossible, the figures are empty.
    """
    # With these two there is nothing to sample from, or no position to put it.
    findings = findings_before_sampling(candidate)
    if any(finding.code in ("weights-not-finite", "no-room") for finding in findings):
        return Diagnosis(findings=_fatal_first(findings))

    started = time.perf_counter()
    try:
        groups = _sample_until_spread(candidate)
    except Exception as error:  # a reference answer may be unreadable, a function of the table may raise anything
        broken = Finding(
            code="reward-broken",
            is_fatal=True,
            what=f"judging the first responses failed: {type(error).__name__}: {error}",
            remedy="mend the reward function or the reference answers that it names",
        )
        return Diagnosis(findings=_fatal_first([*findings, broken]))
    seconds = time.perf_counter() - started

    figures = _figures(candidate, groups, seconds)
    findings += findings_after_sampling(candidate, groups, figures)

    rewards = [reward for group in groups for reward in group.rewards]
    return Diagnosis(
        findings=_fatal_first(findings),
        figures=figures,
        parts=_ranges(rewards),
        verdicts=count_verdicts(rewards),
        responses=_examples(groups, candidate),
    )


def _fatal_first(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings with the fatal ones first, otherwise in the order of the checks."""
    return tuple(sorted(findings, key=lambda finding: not finding.is_fatal))


def _sample_until_spread(candidate: RunCandidate) -> list[Group]:
    """A group for each of the first problems; then twice as many each time, until a group shows a spread of rewards.

    Without one, sampling ends with the problems or with the budget.
    """
    max_groups = MAX_RESPONSES // candidate.group_size
    groups = _sample(candidate, candidate.problems[: candidate.num_groups])
    while not any(has_spread(group) for group in groups):
        num_tokens = sum(len(rollout.tokens) for group in groups for rollout in group.rollouts)
        num_groups = min(2 * len(groups), max_groups)
        more_problems = candidate.problems[len(groups) : num_groups]
        if not more_problems or num_tokens >= MAX_TOKENS:
            break
        groups += _sample(candidate, more_problems)
    return groups


def _sample(candidate: RunCandidate, problems: Sequence[Problem]) -> list[Group]:
    """A group for each problem."""
    # A seed path that no stage has: a run has the same bits whether or not it was examined.
    seed = (candidate.seed, "doctor")
    sampling = Sampling(num_samples=candidate.group_size, decoding=candidate.decoding, seed=seed)
    return sample_groups(candidate.policy, problems, sampling, reward=candidate.reward, template=candidate.template)


def _examples(groups: Sequence[Group], candidate: RunCandidate) -> tuple[ExampleResponse, ...]:
    """Three responses: the first one of each verdict, then the first ones of further groups.

    They answer different problems as far as there are any.
    """
    samples: list[tuple[Problem, Rollout, Reward]] = []
    for group in groups:
        samples += [(group.problem, *pair) for pair in zip(group.rollouts, group.rewards, strict=True)]

    chosen: list[tuple[Problem, Rollout, Reward]] = []
    for kind in ("correct", "wrong", "unsupported", "unparsable"):
        samples_of_kind = [sample for sample in samples if sample[2].kinds.get("accuracy") == kind]
        asked = {problem.id for problem, _, _ in chosen}
        to_other_problems = [sample for sample in samples_of_kind if sample[0].id not in asked]
        chosen += (to_other_problems or samples_of_kind)[:1]

    first_of_each_group = samples[:: len(groups[0].rollouts)]
    asked = {problem.id for problem, _, _ in chosen}
    to_other_problems = [sample for sample in first_of_each_group if sample[0].id not in asked]
    for sample in (*to_other_problems, *samples):
        # By identity: rollouts hold tensors, which have no single truth value when they are compared.
        if not any(sample is other for other in chosen):
            chosen.append(sample)
    return tuple(_example(*sample, candidate) for sample in chosen[:NUM_EXAMPLES])


def _example(problem: Problem, rollout: Rollout, reward: Reward, candidate: RunCandidate) -> ExampleResponse:
    """A response with what was read as its answer."""
    # Shown is what was judged, by the reader of the judge itself.
    reading = reader_of(candidate.reward.get(problem.domain, {})).read(problem, rollout)

    kind = reward.kinds.get("accuracy", "")
    reason = reward.reasons.get("accuracy", "")
    verdict = ": ".join(filter(None, (kind, reason)))
    return ExampleResponse(
        question=problem.question,
        text=rollout.text,
        reference=problem.answer,
        answer=reading.answer,
        source=reading.source if reading.answer is not None else "",
        verdict=verdict,
        reward=reward.total,
        prompt=candidate.template(problem.question),
    )


def _figures(candidate: RunCandidate, groups: Sequence[Group], seconds: float) -> dict[str, float]:
    """What was measured."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    num_tokens = sum(len(rollout.tokens) for rollout in rollouts)

    # The gap is measured on one group alone: it costs a forward pass of the learner.
    return {
        "responses": float(len(rollouts)),
        "length": num_tokens / len(rollouts),
        "truncated": fmean(rollout.finish == "length" for rollout in rollouts),
        "zero_spread": fmean(not has_spread(group) for group in groups),
        "reward": fmean(reward.total for group in groups for reward in group.rewards),
        "logp_gap": _mismatch(candidate, rollouts[: candidate.group_size]),
        "tokens_per_second": num_tokens / seconds,
    }


def _mismatch(candidate: RunCandidate, rollouts: Sequence[Rollout]) -> float:
    """Mean gap between the engine's log-probabilities and the learner's, nats."""
    batch = stack([rollout.prompt_tokens for rollout in rollouts], [rollout.tokens for rollout in rollouts])
    logp_BT = candidate.policy.learner_logp(batch)
    sampled = torch.cat([rollout.logp for rollout in rollouts])

    # A NaN would compare as neither large nor small: a broken policy has an infinite gap.
    gap = float((logp_BT[batch.mask_BT] - sampled).abs().mean())
    return gap if math.isfinite(gap) else math.inf


def _ranges(rewards: Sequence[Reward]) -> dict[str, tuple[float, float, float]]:
    """Smallest, mean and largest score of each part."""
    scores = columns(reward.parts for reward in rewards)
    return {name: (min(values), fmean(values), max(values)) for name, values in scores.items()}
