"""What the doctor finds in the first responses of a run: how they end, what can be read, how rewards differ."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from aha.rewards.custom import CustomReward
from aha.rewards.table import part_name
from aha.stages.doctor.diagnosis import END_TOKENS, Finding, RunCandidate
from aha.stages.groups import has_spread
from aha.types import VERDICT_KINDS, Group, Reward, Rollout

__all__ = ["count_verdicts", "findings_after_sampling"]

MAX_MISMATCH_NATS = 0.02
"""Largest mean gap between the engine's log-probabilities and the learner's; bfloat16 stays below it."""

MAX_FAILED = 0.05
"""Largest share of verdicts that a verifier may leave open before a run is told."""

RARE = 0.05
"""Share of responses with another reward than the rest that a diagnosis of no spread has to rule out."""

CERTAINTY = 0.95
"""Probability with which it has to rule them out."""

_ANSWERED = re.compile(r"</answer>\s*\S")
_KIND_OF_ERROR = re.compile(r".*?:\d+: [^:]*")


def findings_after_sampling(
    candidate: RunCandidate, groups: Sequence[Group], figures: Mapping[str, float]
) -> list[Finding]:
    """All that is wrong with the first responses.

    Args:
        candidate: the run.
        groups: its first responses with their rewards.
        figures: what was measured on them; `logp_gap` is read.
    """
    findings: list[Finding] = []
    for check in (_endings, _answers, _verifiers, _unsupported, _custom_rewards, _spread):
        findings += check(candidate, groups)
    findings += _exactness(figures["logp_gap"])
    return findings


def count_verdicts(rewards: Sequence[Reward], except_parts: frozenset[str] = frozenset()) -> dict[str, int]:
    """How verifiers ended, all kinds; the parts of these names are left out."""
    counts: Counter[str] = Counter()
    for reward in rewards:
        counts.update(kind for name, kind in reward.kinds.items() if name not in except_parts)
    return {kind: counts[kind] for kind in VERDICT_KINDS}


def _endings(candidate: RunCandidate, groups: Sequence[Group]) -> Iterator[Finding]:
    """Responses that are cut at the length cap."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    cut_share = fmean(rollout.finish == "length" for rollout in rollouts)
    if cut_share < 0.3:
        return

    ignored = _ignored_end_tokens(candidate, rollouts)
    cut_texts = [rollout.text for rollout in rollouts if rollout.finish == "length"]
    num_answered = sum(_ANSWERED.search(text) is not None for text in cut_texts)

    what = f"{cut_share:.0%} of the responses are cut at {candidate.decoding.max_new_tokens} tokens"
    remedy = "raise max-new-tokens, or see that the model knows its stop token (eos_token_id)"
    # Random text has any token now and then: only what ends many responses would have been their end.
    is_ignored = ignored.total() >= len(rollouts) / 2
    if is_ignored:
        ((end_token, _),) = ignored.most_common(1)
        what += f"; {end_token} was written and ignored {ignored.total()} times"

    # A longer cap would not help a model that has answered and goes on.
    if num_answered:
        what += f"; {num_answered} of them go on behind </answer>"
        remedy = "let the answer end a response: --stop '</answer>'"
    yield Finding(
        code="stop-token-missing" if cut_share == 1.0 and is_ignored else "cap-too-short",
        is_fatal=cut_share >= 0.95,
        what=what,
        remedy=remedy,
    )


def _ignored_end_tokens(candidate: RunCandidate, rollouts: Sequence[Rollout]) -> Counter[str]:
    """How often each end token of other families was written, of those at which sampling does not stop."""
    tokenizer = candidate.tokenizer
    end_tokens: dict[int, str] = {}
    for token in END_TOKENS:
        token_id = tokenizer.raw.token_to_id(token)
        if token_id is not None and token_id not in tokenizer.stop_ids:
            end_tokens[token_id] = token

    ignored: Counter[str] = Counter()
    for rollout in rollouts:
        ignored.update(end_tokens[token_id] for token_id in rollout.tokens.tolist() if token_id in end_tokens)
    return ignored


def _answers(candidate: RunCandidate, groups: Sequence[Group]) -> Iterator[Finding]:
    """Answers that cannot be read."""
    del candidate
    rewards = [reward for group in groups for reward in group.rewards]
    kinds = [reward.kinds["accuracy"] for reward in rewards if "accuracy" in reward.kinds]
    unparsable = fmean(kind == "unparsable" for kind in kinds) if kinds else 0.0
    if unparsable < 0.9:
        return

    remedy = (
        "look at the responses: is the template the one that this model follows, and does --answer say where its "
        "answers stand? A base model may need examples (cold start) before it can be rewarded"
    )

    # A response that is cut before its answer cannot be read either: then the cap comes first.
    cut_share = fmean(rollout.finish == "length" for group in groups for rollout in group.rollouts)
    if cut_share > 0.5:
        remedy = f"raise max-new-tokens first ({cut_share:.0%} are cut before their end); then {remedy}"
    yield Finding(
        code="answers-unparsable",
        is_fatal=unparsable == 1.0,
        what=f"no answer can be read from {unparsable:.0%} of the responses",
        remedy=remedy,
    )


def _verifiers(candidate: RunCandidate, groups: Sequence[Group]) -> Iterator[Finding]:
    """Verifiers that fail."""
    rewards = [reward for group in groups for reward in group.rewards]
    counts = count_verdicts(rewards, except_parts=_custom_parts(candidate))
    failed_share = (counts["timeout"] + counts["crash"]) / max(1, sum(counts.values()))
    if failed_share > MAX_FAILED:
        yield Finding(
            code="verifier-fails",
            is_fatal=failed_share >= 0.5,
            what=f"the verifier failed on {failed_share:.0%} of the responses "
            f"({counts['timeout']} timeouts, {counts['crash']} crashes)",
            remedy="raise its deadline, or run `aha audit` on the responses",
        )


def _unsupported(candidate: RunCandidate, groups: Sequence[Group]) -> Iterator[Finding]:
    """Responses, or tests of them, of a form that their judge cannot judge: they count as wrong, whatever they are."""
    custom_parts = _custom_parts(candidate)
    rewards = [reward for group in groups for reward in group.rewards]
    counts = count_verdicts(rewards, except_parts=custom_parts)
    if counts["unsupported"] <= MAX_FAILED * sum(counts.values()):
        return

    reasons: Counter[str] = Counter()
    for reward in rewards:
        for name, kind in reward.kinds.items():
            if kind == "unsupported" and name not in custom_parts:
                reasons[reward.reasons.get(name, "no reason")] += 1

    ((main_reason, _),) = reasons.most_common(1)
    yield Finding(
        code="unsupported",
        is_fatal=False,
        what=f"{counts['unsupported']} of {len(rewards)} responses cannot be judged and count as wrong "
        f"(most often: {main_reason})",
        remedy="write the tests in a form that docs/own.md lists, or leave those problems out",
    )


def _custom_rewards(candidate: RunCandidate, groups: Sequence[Group]) -> Iterator[Finding]:
    """Reward functions of the user's own that raise, each kind of error once."""
    custom_parts = _custom_parts(candidate)
    rewards = [reward for group in groups for reward in group.rewards]

    # Errors of one line differ in what they quote of a response; they are one kind of error.
    failures: dict[str, list[str]] = {}
    for reward in rewards:
        for name in custom_parts & reward.kinds.keys():
            if reward.kinds[name] == "crash":
                reason = reward.reasons[name]
                match = _KIND_OF_ERROR.match(reason)
                kind = match[0] if match else name
                failures.setdefault(kind, []).append(reason)

    if failures:
        descriptions = [f"{reasons[0]} ({len(reasons)} times)" for reasons in failures.values()]
        yield Finding(
            code="reward-broken",
            is_fatal=True,
            what="; ".join(descriptions),
            remedy="mend the reward function; it may return None for a response that it cannot judge",
        )


def _custom_parts(candidate: RunCandidate) -> frozenset[str]:
    """Names of the parts of the reward that are the user's own."""
    names: set[str] = set()
    for row in candidate.reward.values():
        names.update(part_name(function) for function in row if isinstance(function, CustomReward))
    return frozenset(names)


def _spread(candidate: RunCandidate, groups: Sequence[Group]) -> Iterator[Finding]:
    """Groups whose responses all get the same reward."""
    if any(has_spread(group) for group in groups):
        return

    # If one response in twenty had another reward than the rest, at least one group would have shown it with this
    # probability. Below 95 % the samples are too few to call the run hopeless.
    flat_group = RARE**candidate.group_size + (1 - RARE) ** candidate.group_size
    certainty = 1 - flat_group ** len(groups)

    # No group has a spread, so its first reward stands for all of them.
    rewards = [group.rewards[0] for group in groups]
    totals = sorted({reward.total for reward in rewards})
    shown_totals = ", ".join(f"{total:g}" for total in totals)

    best = sum(weight for weight in rewards[0].weights.values() if weight > 0)
    is_solved = totals == [best] and best > 0
    yield Finding(
        code="no-spread",
        is_fatal=certainty >= CERTAINTY,
        what=f"every response of each of {len(groups)} groups of {candidate.group_size} gets the same reward "
        f"({shown_totals}): there is nothing to learn from (if {RARE:.0%} of the "
        f"responses had another reward, a group would have shown it with probability {certainty:.1%})",
        remedy="take harder problems" if is_solved else "take easier problems, a stronger model or a larger group",
    )


def _exactness(gap: float) -> Iterator[Finding]:
    """An engine that samples from another policy than the one that is trained."""
    # Not `gap > ...`, which a NaN would pass.
    if not gap <= MAX_MISMATCH_NATS:
        yield Finding(
            code="mismatch",
            is_fatal=True,
            what=f"engine and learner disagree by {gap:.3g} nats a token",
            remedy="load the model in float32",
        )
