"""The doctor: before compute is spent, a few groups are sampled and looked at for what would make learning impossible.

GRPO learns from differences inside a group. Where every response of every group gets the same reward, where no response
can ever end or be read, or where a verifier fails, an optimizer step is a step along noise: a run that starts like
that looks busy and learns nothing.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import torch

from aha.policy.transformer import Transformer
from aha.prompts.chat import opens_thinking
from aha.prompts.templates import Template
from aha.prompts.tokenizer import Tokenizer
from aha.rewards.table import RewardTable
from aha.rollouts.engine import Decoding
from aha.rollouts.local import LocalEngine
from aha.stages.groups import Sampling, sample_groups
from aha.training.batch import stack
from aha.training.learner import log_probabilities
from aha.training.world import World
from aha.types import VERDICT_KINDS, Group, Problem, Reward, Rollout

__all__ = ["Diagnosis", "Finding", "Patient", "diagnose"]

FORMAT_SAMPLE = "<think> a </think> <answer> b </answer>"
"""A response that keeps to R1-Zero's format: a tokenizer must be able to say it."""

END_TOKENS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|end|>", "</s>", "<eos>")
"""What ends a response in the families of checkpoints that are in use."""

MAX_MISMATCH_NATS = 0.02
"""Largest mean gap between the engine's log-probabilities and the learner's; bfloat16 stays below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that the doctor found.

    Attributes:
        code: its name.
        is_fatal: whether learning is impossible with it.
        what: what is so, with figures.
        remedy: what to change.
    """

    code: str
    is_fatal: bool
    what: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What the doctor says.

    Attributes:
        findings: the fatal ones first.
        figures: measured shares and means by name; `docs/metrics.md` defines each.
        parts: smallest, mean and largest score of each part of the reward.
        verdicts: how verifiers ended, by kind.
        responses: a few responses, as they were sampled.
    """

    findings: tuple[Finding, ...]
    figures: Mapping[str, float] = field(default_factory=dict)
    parts: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    verdicts: Mapping[str, int] = field(default_factory=dict)
    responses: tuple[str, ...] = ()

    @property
    def is_fit(self) -> bool:
        """Whether nothing was found that makes learning impossible."""
        return not any(finding.is_fatal for finding in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patient:
    """What is examined: a run before its first step.

    Attributes:
        policy: where it starts.
        tokenizer: of the policy.
        problems: a few of its training problems.
        template: the prompt around a question.
        reward: the reward functions.
        decoding: how training samples.
        group_size: responses for each problem.
        seed: of the draws.
    """

    policy: Transformer
    tokenizer: Tokenizer
    problems: Sequence[Problem]
    template: Template
    reward: RewardTable
    decoding: Decoding
    group_size: int
    seed: int


def diagnose(patient: Patient) -> Diagnosis:
    """Examine a run: first what can be seen without a sample, then a group for each problem.

    Args:
        patient: the run; nothing of it is changed, and its draws have a seed path of their own.

    Returns:
        The findings and figures. Where sampling itself is impossible, the figures are empty.
    """
    findings = [finding for check in _AT_REST for finding in check(patient)]
    if any(finding.is_fatal and finding.code in _HOPELESS for finding in findings):
        return Diagnosis(findings=tuple(findings))
    started = time.perf_counter()
    try:
        groups = _sample(patient)
    except Exception as error:  # a reward of the user's own may raise anything
        broken = Finding(
            code="reward-broken",
            is_fatal=True,
            what=f"scoring the first responses failed: {type(error).__name__}: {error}",
            remedy="mend the reward function or the reference answers that it names",
        )
        return Diagnosis(findings=(*findings, broken))
    seconds = time.perf_counter() - started
    figures = _figures(patient, groups, seconds)
    for check in _AT_WORK:
        findings.extend(check(patient, groups))
    findings.extend(_exactness(figures["logp_gap"]))
    rewards = [reward for group in groups for reward in group.rewards]
    return Diagnosis(
        findings=tuple(sorted(findings, key=lambda finding: not finding.is_fatal)),
        figures=figures,
        parts=_ranges(rewards),
        verdicts=_verdicts(rewards),
        responses=tuple(rollout.text for group in groups[:2] for rollout in group.rollouts[:2]),
    )


def _sample(patient: Patient) -> list[Group]:
    """A group for each problem."""
    return sample_groups(
        LocalEngine(patient.policy, patient.tokenizer),
        patient.problems,
        Sampling(num_samples=patient.group_size, decoding=patient.decoding, seed=(patient.seed, "doctor")),
        reward=patient.reward,
        template=patient.template,
        world=World(),
    )


# Before a sample


def _weights(patient: Patient) -> Iterator[Finding]:
    """Weights that are no numbers."""
    bad = [name for name, weight in patient.policy.named_parameters() if not bool(torch.isfinite(weight).all())]
    if bad:
        yield Finding(
            code="weights-not-finite",
            is_fatal=True,
            what=f"{len(bad)} tensors of the model hold infinities or NaN, {bad[0]} first",
            remedy="take another checkpoint, or load it in float32",
        )


def _lengths(patient: Patient) -> Iterator[Finding]:
    """Prompts that leave no room for the response."""
    limit, cap = patient.policy.config.max_position_embeddings, patient.decoding.max_new_tokens
    lengths = [len(patient.tokenizer.encode_prompt(prompt)) for prompt in _prompts(patient)]
    if not min(lengths) or max(lengths) + cap > limit:
        yield Finding(
            code="no-room",
            is_fatal=True,
            what=f"prompts of {min(lengths)} to {max(lengths)} tokens and {cap} new ones; the model has {limit} places",
            remedy=f"lower max-new-tokens to {max(0, limit - max(lengths))} or less, or leave out the longest problems",
        )


def _words(patient: Patient) -> Iterator[Finding]:
    """Words that the vocabulary lacks."""
    unknown = Counter(word for prompt in _prompts(patient) for word in patient.tokenizer.unknown_words(prompt))
    share = unknown.total() / max(1, sum(len(patient.tokenizer.encode_prompt(prompt)) for prompt in _prompts(patient)))
    if unknown:
        shown = ", ".join(repr(word) for word, _ in unknown.most_common(5))
        yield Finding(
            code="unknown-words",
            is_fatal=share > 0.1,
            what=f"{share:.0%} of the prompts' tokens are unknown to the vocabulary: {shown}",
            remedy="take a model whose tokenizer covers the problems",
        )


def _thinking(patient: Patient) -> Iterator[Finding]:
    """A template that writes the opening tag itself, so that no response can."""
    has_format = any(function.__name__.startswith("format") for row in patient.reward.values() for function in row)
    if has_format and opens_thinking(_prompts(patient)[0]):
        yield Finding(
            code="thinking-opened",
            is_fatal=True,
            what="the prompt ends inside an opened <think>: a response holds no <think>, and its format is never right",
            remedy="take --template r1_zero or r1, or a chat template that does not open the tag",
        )


def _tags(patient: Patient) -> Iterator[Finding]:
    """A tokenizer that swallows the tags of the format."""
    said = patient.tokenizer.decode(patient.tokenizer.encode(FORMAT_SAMPLE))
    lost = [tag for tag in FORMAT_SAMPLE.split() if tag.startswith("<") and tag not in said]
    if lost:
        yield Finding(
            code="format-unreachable",
            is_fatal=True,
            what=f"the tokenizer cannot say {', '.join(lost)}: it decodes {FORMAT_SAMPLE!r} as {said!r}",
            remedy="mark these tokens as not special in tokenizer.json, or take another model",
        )


def _stops(patient: Patient) -> Iterator[Finding]:
    """A turn that the chat template ends with a token at which sampling does not stop."""
    tokenizer = patient.tokenizer
    written = [token for token in END_TOKENS if token in tokenizer.chat_template]
    if written and not any(tokenizer.raw.token_to_id(token) in tokenizer.stop_ids for token in written):
        yield Finding(
            code="stop-token-missing",
            is_fatal=True,
            what=f"the chat template ends turns with {written[0]}, but sampling stops only at {tokenizer.end}",
            remedy=f"add the id of {written[0]} to eos_token_id in generation_config.json",
        )


# After the samples


def _endings(patient: Patient, groups: Sequence[Group]) -> Iterator[Finding]:
    """Responses that are cut."""
    rollouts = _rollouts(groups)
    cut, cap = fmean(rollout.finish == "length" for rollout in rollouts), patient.decoding.max_new_tokens
    if cut >= 0.3:
        tokenizer = patient.tokenizer
        ids = {tokenizer.raw.token_to_id(token): token for token in END_TOKENS}
        ends = {id: token for id, token in ids.items() if id is not None and id not in tokenizer.stop_ids}
        ignored = Counter(ends[token] for one in rollouts for token in one.tokens.tolist() if token in ends)
        passed = f"; {ignored.most_common(1)[0][0]} was written and ignored {ignored.total()} times" if ignored else ""
        yield Finding(
            code="stop-token-missing" if cut == 1.0 and ignored else "cap-too-short",
            is_fatal=cut >= 0.95,
            what=f"{cut:.0%} of the responses are cut at {cap} tokens{passed}",
            remedy="raise max-new-tokens, or see that the model knows its stop token (eos_token_id)",
        )


def _answers(patient: Patient, groups: Sequence[Group]) -> Iterator[Finding]:
    """Answers that cannot be read."""
    kinds = [reward.kinds["accuracy"] for group in groups for reward in group.rewards if "accuracy" in reward.kinds]
    unparsable = fmean(kind == "unparsable" for kind in kinds) if kinds else 0.0
    if unparsable >= 0.9:
        yield Finding(
            code="answers-unparsable",
            is_fatal=unparsable == 1.0,
            what=f"no answer can be read from {unparsable:.0%} of the responses",
            remedy="look at the responses: is the template the one that this model follows? A base model may need "
            "examples (cold start) before it can be rewarded",
        )


def _verifiers(patient: Patient, groups: Sequence[Group]) -> Iterator[Finding]:
    """Verifiers that fail."""
    counts = _verdicts([reward for group in groups for reward in group.rewards])
    failed = (counts["timeout"] + counts["crash"]) / max(1, sum(counts.values()))
    if failed > 0.05:
        yield Finding(
            code="verifier-fails",
            is_fatal=failed >= 0.5,
            what=f"the verifier failed on {failed:.0%} of the responses "
            f"({counts['timeout']} timeouts, {counts['crash']} crashes)",
            remedy="raise its deadline, or run `aha audit` on the responses",
        )


def _spread(patient: Patient, groups: Sequence[Group]) -> Iterator[Finding]:
    """Groups whose responses all get the same reward."""
    flat = [group for group in groups if len({reward.total for reward in group.rewards}) == 1]
    if len(flat) < len(groups):
        return
    totals = {group.rewards[0].total for group in flat}
    best = sum(weight for weight in flat[0].rewards[0].weights.values() if weight > 0)
    is_solved = totals == {best} and best > 0
    yield Finding(
        code="no-spread",
        is_fatal=True,
        what=f"every response of each of {len(groups)} groups gets the same reward "
        f"({', '.join(f'{total:g}' for total in sorted(totals))}): there is nothing to learn from",
        remedy="take harder problems" if is_solved else "take easier problems, a stronger model or a larger group",
    )


def _exactness(gap: float) -> Iterator[Finding]:
    """An engine that samples from something else than what is trained."""
    if not gap <= MAX_MISMATCH_NATS:
        yield Finding(
            code="mismatch",
            is_fatal=True,
            what=f"engine and learner disagree by {gap:.3g} nats a token",
            remedy="load the model in float32",
        )


_AT_REST: tuple[Callable[[Patient], Iterator[Finding]], ...] = (_weights, _lengths, _words, _thinking, _tags, _stops)
_AT_WORK: tuple[Callable[[Patient, Sequence[Group]], Iterator[Finding]], ...] = (
    _endings,
    _answers,
    _verifiers,
    _spread,
)
_HOPELESS = {"weights-not-finite", "no-room"}


def _prompts(patient: Patient) -> list[str]:
    return [patient.template(problem.question) for problem in patient.problems]


def _rollouts(groups: Sequence[Group]) -> list[Rollout]:
    return [rollout for group in groups for rollout in group.rollouts]


def _mismatch(patient: Patient, groups: Sequence[Group]) -> float:
    """Mean gap between the engine's log-probabilities and the learner's, nats."""
    rollouts = _rollouts(groups)[: patient.group_size]
    batch = stack([one.prompt_tokens for one in rollouts], [one.tokens for one in rollouts])
    temperature = patient.decoding.temperature
    with torch.no_grad():
        logp_BT = log_probabilities(patient.policy, batch, temperature=temperature).cpu()
    sampled = torch.cat([one.logp for one in rollouts])
    gap = float((logp_BT[batch.mask_BT] - sampled).abs().mean())
    return gap if math.isfinite(gap) else math.inf


def _figures(patient: Patient, groups: Sequence[Group], seconds: float) -> dict[str, float]:
    """What was measured."""
    rollouts = _rollouts(groups)
    num_tokens = sum(len(rollout.tokens) for rollout in rollouts)
    return {
        "responses": float(len(rollouts)),
        "length": num_tokens / len(rollouts),
        "truncated": fmean(rollout.finish == "length" for rollout in rollouts),
        "zero_spread": fmean(len({reward.total for reward in group.rewards}) == 1 for group in groups),
        "reward": fmean(reward.total for group in groups for reward in group.rewards),
        "logp_gap": _mismatch(patient, groups),
        "tokens_per_second": num_tokens / seconds,
    }


def _ranges(rewards: Sequence[Reward]) -> dict[str, tuple[float, float, float]]:
    """Smallest, mean and largest score of each part."""
    found: dict[str, list[float]] = {}
    for reward in rewards:
        for name, score in reward.parts.items():
            found.setdefault(name, []).append(score)
    return {name: (min(scores), fmean(scores), max(scores)) for name, scores in found.items()}


def _verdicts(rewards: Sequence[Reward]) -> dict[str, int]:
    """How verifiers ended, all kinds."""
    counts = Counter(kind for reward in rewards for kind in reward.kinds.values())
    return {kind: counts[kind] for kind in VERDICT_KINDS}
