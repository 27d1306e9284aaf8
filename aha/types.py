"""The nouns of the house: what flows from a question to a gradient.

Tensors end in their shape, a letter for each dimension: `logp_BT` is [sequences, tokens]. A digit is a size of its own.
One legend for the whole package; where a letter has a second meaning, the room that uses it so is named.

    B  sequences: all P * G of an iteration, those of a mini-batch, or the rows that are decoded at once
    C  leading tokens common to all prompts; kernels and slots: a few entries of each row
    D  width of the model
    E  experts of a mixture
    F  fields that describe a row to a kernel
    G  rollouts per problem
    H  query heads
    I  inner width of a feed-forward block
    J  key-value heads; kernels: several projections side by side
    K  size of a query or key head, rotary angles: half of it; 8-bit moments: blocks
    L  layers
    M  size of a value head, after J; elsewhere entries that were picked out, such as the tokens that the loss counts
    N  tokens of several sequences laid end to end
    O  outputs of a linear map
    P  problems, and their prompts
    Q  queries of a padded row
    R  rows of a padded block, new rows of a batch; adapters: the rank; a cache: query heads of a key-value head
    S  slots; attention: keys that a query may see, and segments of the stream
    T  tokens of a sequence, or its positions
    U  tokens that several sequences share
    V  vocabulary
    X  any other dimensions

Entry t of any `_BT` array is about token t, never about the position that predicts it; only `aha.policy.scoring`
and its fast twin `aha.policy.fast.packed_scoring` shift.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor

__all__ = [
    "VERDICT_KINDS",
    "Batch",
    "Checkpoint",
    "Dataset",
    "Demonstration",
    "Draft",
    "Group",
    "Loss",
    "Mean",
    "Preference",
    "Problem",
    "Report",
    "Reward",
    "Rollout",
    "Row",
    "Verdict",
    "VerdictKind",
]

VerdictKind = Literal["correct", "wrong", "unparsable", "timeout", "crash", "unsupported"]
"""How a verifier ended: `timeout`, `crash` and `unsupported` (it cannot judge such a thing) are its own failures, and
never the answer's merit."""

VERDICT_KINDS: tuple[VerdictKind, ...] = ("correct", "wrong", "unparsable", "timeout", "crash", "unsupported")
"""All of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One question whose answer can be checked (q in the papers).

    Attributes:
        id: unique within its source; every random draw for this problem is seeded by it.
        question: the text put to the model, before any template.
        answer: a reference answer; the accuracy reward knows how to compare with it.
        domain: picks the row of the reward table.
        language: language of the question, `en` or `zh`.
        level: graded difficulty within the domain, 0 where unknown.
        tests: unit tests, for code problems.
        starter: code that a response continues or repeats, for code problems that give it.
        split: `train`, `validation`, `test` or `hard`.
    """

    id: str
    question: str
    answer: str
    domain: str
    language: str = "en"
    level: int = 0
    tests: tuple[str, ...] = ()
    starter: str = ""
    split: str = "train"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rollout:
    """One sampled response (o_i in the papers).

    Attributes:
        problem_id: the problem that was answered (the id of the engine's request).
        prompt_tokens: [T0], int64.
        tokens: [T], int64, as sampled, the end token included when there is one.
        logp: [T], float32, nats, under the tempered and untruncated policy that sampled.
        text: the whole response, decoded, the end token left out; a `<think>` that the prompt wrote is part of it.
        finish: `stop` (end token), `length` (cut at the cap) or `error`.
        policy_version: updates the policy had seen when it sampled.
        request_id: number of the request at the engine; None where no engine sampled.
        experts: for a mixture of experts the experts that each of its modules chose, by the module's name, so that the
            learner can choose the same: [T0 + T - 1, experts per token] of an integer type, a row for each token that
            was computed, those of the prompt first. None for dense policies. An engine that samples from a mixture
            would fill it; none here does.
        nucleus: the token ids that top-p left, one tensor of any length, int64, for each of the T tokens, so that the
            learner can renormalise over the same set. None where it was not recorded. An engine whose samples with
            top-p are trained on would fill it; none here does.
    """

    problem_id: str
    prompt_tokens: Tensor
    tokens: Tensor
    logp: Tensor
    text: str
    finish: Literal["stop", "length", "error"]
    policy_version: int = 0
    request_id: int | None = None
    experts: Mapping[str, Tensor] | None = None
    nucleus: tuple[Tensor, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one reward function says of one rollout.

    Attributes:
        score: what counts.
        reason: why, in words a reader can check.
        kind: how a verifier came to it; empty for a function that does not say.
    """

    score: float
    reason: str
    kind: VerdictKind | Literal[""] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """The reward of one rollout (r_i in the papers), kept in parts.

    Attributes:
        parts: score of each reward function by name; one that abstained has none.
        weights: weight of each part, the same keys.
        reasons: each part explained in words.
        kinds: how verifiers came to their parts, where they say.
    """

    parts: Mapping[str, float]
    weights: Mapping[str, float]
    reasons: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, VerdictKind] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Weighted sum of the parts."""
        return sum(self.weights[name] * score for name, score in self.parts.items())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """One problem with its G rollouts and their rewards: the unit of GRPO."""

    problem: Problem
    rollouts: tuple[Rollout, ...]
    rewards: tuple[Reward, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """Responses to one prompt with a label each: what a reward model learns from.

    Attributes:
        problem_id: the problem that was answered.
        prompt: the prompt text, template included.
        responses: K texts, each as the model is to read it: the summary alone, or the whole response.
        qualities: a label for each response, higher is better; for a point-wise model 1.0 is safe and 0.0 is not.
        source: where the labels come from.
    """

    problem_id: str
    prompt: str
    responses: tuple[str, ...]
    qualities: tuple[float, ...]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Sequences to learn from.

    Attributes:
        tokens_BT: [B, T], int64, prompt then response, padded on the right with any valid token.
        mask_BT: [B, T], bool, True where the loss counts.
        lengths_B: [B], int64, tokens of each sequence without padding, its prompt included; `mask_BT.sum(1)` are those
            of the response.
        signals: extra tensors of the objective ([B, T] or [B]), keyed by its parameter names.
    """

    tokens_BT: Tensor
    mask_BT: Tensor
    lengths_B: Tensor
    signals: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A metric as total and count, so that micro-batches and ranks add up exactly."""

    total: Tensor
    count: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loss:
    """What an objective returns: `total / count` is taken once per step, after summing micro-batches and ranks.

    Attributes:
        total: [], sum of the per-sequence or per-token losses, differentiable.
        count: [], how many were summed.
        metrics: detached figures by name.
    """

    total: Tensor
    count: Tensor
    metrics: Mapping[str, Mean] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A trained policy on disk: one arrow of the paper's Figure 2.

    Attributes:
        path: a Hugging Face model folder.
        stage: name of the stage that wrote it.
        step: optimizer updates of that stage.
        key: hash of the inputs and the configuration that led to it.
        parents: keys of the checkpoints it came from.
    """

    path: Path
    stage: str
    step: int
    key: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """One response to imitate, as text: every model that learns from it has its own tokenizer and template.

    Attributes:
        problem_id: the problem that it answers.
        question: the question, before any template.
        response: the response without its end token.
        domain: domain of the problem.
        language: language of the question.
        source: who wrote it: a stage, or a hand of the built-in world.
    """

    problem_id: str
    question: str
    response: str
    domain: str
    language: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A raw chain of thought with its answer, before an editor makes it readable."""

    problem: Problem
    thinking: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Data that a stage wrote: another arrow of the paper's Figure 2.

    Attributes:
        path: folder of its shards.
        stage: name of the stage that wrote it.
        key: hash of the inputs and the configuration that led to it.
        num_rows: rows in it.
        parents: keys of what it came from.
    """

    path: Path
    stage: str
    key: str
    num_rows: int
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One evaluated figure with its 95 % interval over n problems."""

    suite: str
    metric: str
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """An evaluation: its rows, and what they belong to.

    Attributes:
        rows: the figures.
        checkpoint: folder of the model.
        decoding: numbers of problems and samples, length cap, temperature, nucleus and precision.
        seed: of the draws.
        weights: hash of the model's weights; empty for a policy in training.
        template: hash of the prompt template; empty for a policy in training, whose stage names it.
    """

    rows: tuple[Row, ...]
    checkpoint: str
    decoding: Mapping[str, float]
    seed: int
    weights: str = ""
    template: str = ""

    def row(self, metric: str, suite: str = "all") -> Row:
        """The row of one metric.

        Raises:
            KeyError: no such row.
        """
        for row in self.rows:
            if row.metric == metric and row.suite == suite:
                return row
        raise KeyError(f"no row {metric!r} for suite {suite!r}")
