"""Reward models: learn from preferences which responses are better, or which are safe.

All responses to one prompt are learned from at once, and the prompt is computed once for all of them.

Source: DeepSeek-R1, arXiv:2501.12948v2, section 3.1 (two models, both with a learning rate of 6e-6, batches of 256, one
epoch, 8,192 tokens); InstructGPT, arXiv:2203.02155, section 3.5 and appendix C.2 (comparisons of a prompt together).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from aha.evaluation.metrics import mean_interval
from aha.objectives.reward_model import pointwise_loss, ranking_loss
from aha.policy.reward_model import Reads, RewardModel, ended, from_policy, score_responses
from aha.prompts.templates import Template, continuation
from aha.prompts.tokenizer import Tokenizer
from aha.rewards.learned import LearnedReward
from aha.runs.seeds import derive_seed, generator
from aha.stages.config import SupervisedConfig
from aha.stages.preference_sources import PreferenceSource
from aha.stages.run import Resumed, Run, stage_key
from aha.stages.updates import begin_updates, make_updates
from aha.training.batch import layout_of, stack
from aha.training.checkpoint import read_model, read_scorer
from aha.training.config import Precision
from aha.training.cost import cost_of_training, num_stream_tokens
from aha.training.learner import Learner, Objective
from aha.training.optimizer import adamw, learning_rate_factor
from aha.training.packing import best_fit
from aha.training.trainable import DTYPES
from aha.types import Batch, Checkpoint, Loss, Preference

__all__ = [
    "HARMLESSNESS",
    "HELPFULNESS",
    "REWARD_MODEL_METRICS",
    "RewardModelSpec",
    "learned_reward",
    "reward_model",
    "score_last",
]

REWARD_MODEL_METRICS = (
    "loss",
    "pair_accuracy",
    "margin",
    "accuracy",
    "grad_norm",
    "learning_rate",
    "tokens",
    "trained_tokens",
    "flops",
    "seconds",
)
"""What is logged for every update; `pair_accuracy` and `margin` by the helpful model, `accuracy` by the safe one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardModelSpec:
    """What a reward model reads, and how it learns.

    Attributes:
        reads: what of a response it will be shown when it is used; the texts of its preferences are the same.
        objective: the loss.
        signals: the objective's own inputs, from the number of the prompt and the label of each response.
        accuracy: name of the objective's metric that says how much the model has learned.
        has_origin: whether a score of 0 has a meaning; where only differences have, it is given one in the end.
    """

    reads: Reads
    objective: Objective
    signals: Callable[[Tensor, Tensor], Mapping[str, Tensor]]
    accuracy: str
    has_origin: bool


def _ranked(group_B: Tensor, quality_B: Tensor) -> Mapping[str, Tensor]:
    return {"group_B": group_B, "quality_B": quality_B}


def _labelled(group_B: Tensor, quality_B: Tensor) -> Mapping[str, Tensor]:
    del group_B
    if not ((quality_B == 0) | (quality_B == 1)).all():
        raise ValueError(f"a safety label is 1 (safe) or 0; got {sorted(set(quality_B.tolist()))[:4]}")
    return {"is_safe_B": quality_B == 1}


HELPFULNESS = RewardModelSpec(
    reads="summary", objective=ranking_loss, signals=_ranked, accuracy="pair_accuracy", has_origin=False
)
"""Pairs of responses, of which the model is shown the summary. Source: R1 v2 3.1."""

HARMLESSNESS = RewardModelSpec(
    reads="response", objective=pointwise_loss, signals=_labelled, accuracy="accuracy", has_origin=True
)
"""Safe and unsafe responses, of which the model is shown all. Source: R1 v2 3.1."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Example:
    """One prompt with its responses, as tokens.

    Attributes:
        prompt: the prompt.
        responses: with their end tokens.
        qualities: their labels.
    """

    prompt: Tensor
    responses: tuple[Tensor, ...]
    qualities: tuple[float, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens that are computed for it."""
        return len(self.prompt) + sum(map(len, self.responses))


def reward_model(
    run: Run,
    name: str,
    *,
    policy: Checkpoint,
    data: PreferenceSource,
    held_out: PreferenceSource,
    config: SupervisedConfig,
    kind: RewardModelSpec,
) -> Checkpoint:
    """Train a reward model that starts from a policy; its accuracy on held-out prompts goes to `stages/NAME.json`.

    Args:
        run: the run.
        name: of this stage.
        policy: whose weights it starts from.
        data: what it learns from; `batch_size` prompts make an update.
        held_out: prompts that it does not learn from.
        config: epochs, batches and optimizer; `max_tokens` is the longest prompt with a response, and the size of a
            micro-batch, which holds one prompt with all its responses at least.
        kind: `HELPFULNESS` or `HARMLESSNESS`.

    Returns:
        A reward model.

    Raises:
        ValueError: a preference is not labelled as it should be, or there is nothing to learn.
        Interrupted: the run was asked to stop; it has saved.
    """
    key = stage_key(
        name,
        policy=policy.key,
        data=[data.key, held_out.key],
        config=config.model_dump(exclude={"checkpoint_every"}),
        kind=[kind.reads, kind.objective.__qualname__],
        seed=run.seed,
        processes=run.world.size,
    )
    if done := run.finished(name, key):
        return done
    resumed = run.resume(name, key)
    dtype = DTYPES[config.optimizer.precision]
    model, tokenizer = _begin(run, name, policy, kind, resumed, dtype)
    limit = min(config.max_tokens, model.config.max_position_embeddings)
    examples, unseen = (_examples(name, source(), kind, tokenizer, limit) for source in (data, held_out))
    updates = _order(run, name, config, len(examples))
    learner = _learner(run, model, config, len(updates))

    def update(step: int) -> dict[str, float]:
        parts = _parts(run.world.share([examples[place] for place in updates[step]]), kind, config.max_tokens)
        metrics = learner.step_on(parts, kind.objective, name=f"stage {name!r}, update {step}")
        num_tokens = sum(run.world.collect([sum(map(num_stream_tokens, parts))]))
        return metrics | cost_of_training(model, num_tokens)

    progress = begin_updates(learner, tokenizer, resumed, total=len(updates), checkpoint_every=config.checkpoint_every)
    saved = make_updates(run, name, key, progress, update)
    _centre(run, model, examples, kind)
    _examine(run, name, key, model, unseen, kind)
    return run.finish(name, key, saved, parents=(policy.key, data.key))


def score_last(model: RewardModel, batch: Batch) -> Tensor:
    """Score of each sequence of a batch, read at its last token, [B]: a `Forward`."""
    scores_B: Tensor = model(layout_of(batch), batch.lengths_B)
    return scores_B


def learned_reward(
    checkpoint: Checkpoint,
    *,
    name: str,
    template: Template,
    device: torch.device | str = "cpu",
    precision: Precision = "float32",
) -> LearnedReward:
    """The reward function of a trained reward model.

    Args:
        checkpoint: the reward model.
        name: name of its part of the reward: `helpfulness` or `harmlessness`.
        template: the prompt around a question, as in its preferences.
        device: where it computes.
        precision: type of the weights that compute; scores are float32 in any case.

    Raises:
        ValueError: the checkpoint is damaged, or no reward model.
    """
    model, tokenizer = read_scorer(checkpoint.path, device=device, dtype=DTYPES[precision])
    return LearnedReward(
        name=name, model=model, tokenizer=tokenizer, key=checkpoint.key, reads=model.reads, template=template
    )


def _begin(
    run: Run, name: str, policy: Checkpoint, kind: RewardModelSpec, resumed: Resumed | None, dtype: torch.dtype
) -> tuple[RewardModel, Tokenizer]:
    """The reward model as at the start, or as it was saved."""
    if resumed:
        return read_scorer(resumed.folder, device=run.world.device, dtype=dtype)
    start, tokenizer = read_model(policy.path, device=run.world.device, dtype=dtype)
    head = torch.Generator().manual_seed(derive_seed(run.seed, name, "head") % 2**63)
    return from_policy(start, head, reads=kind.reads), tokenizer


def _learner(run: Run, model: RewardModel, config: SupervisedConfig, total_steps: int) -> Learner[RewardModel]:
    """The learner, as at the start."""
    return Learner(
        model,
        adamw(model, config.optimizer),
        factor=lambda step: learning_rate_factor(step, total_steps, config.optimizer),
        grad_clip=config.optimizer.grad_clip,
        forward=score_last,
        world=run.world,
    )


def _examples(
    name: str, preferences: Sequence[Preference], kind: RewardModelSpec, tokenizer: Tokenizer, max_tokens: int
) -> list[_Example]:
    """Preferences as tokens; those without anything to learn, such as equal labels where pairs count, are left out."""
    for one in preferences:
        if len(one.responses) != len(one.qualities) or not all(map(math.isfinite, one.qualities)):
            raise ValueError(
                f"stage {name!r}: the {len(one.responses)} responses of preference {one.problem_id!r} need a finite "
                f"label each, not {one.qualities}"
            )
    examples = [_example(one, tokenizer, max_tokens) for one in preferences if one.responses]
    found = [one for one in examples if _loss([0.0] * len(one.responses), one, kind).count > 0]
    if not found:
        raise ValueError(f"stage {name!r}: none of {len(preferences)} preferences has anything to learn")
    return found


def _example(one: Preference, tokenizer: Tokenizer, max_tokens: int) -> _Example:
    """A preference as tokens."""
    prompt_T, end_id = tokenizer.encode_prompt(one.prompt), tokenizer.end_id
    written = [tokenizer.encode(continuation(one.prompt, text)) for text in one.responses]
    fitted = [ended(prompt_T, response_T, end_id=end_id, max_tokens=max_tokens) for response_T in written]
    return _Example(prompt=fitted[0][0], responses=tuple(r for _, r in fitted), qualities=one.qualities)


def _order(run: Run, name: str, config: SupervisedConfig, num_examples: int) -> list[list[int]]:
    """The prompts of every update; every epoch has an order of its own."""
    updates = []
    for epoch in range(config.epochs):
        order = list(range(num_examples))
        generator(run.seed, name, "order", epoch).shuffle(order)
        updates += [order[start : start + config.batch_size] for start in range(0, num_examples, config.batch_size)]
    return updates


def _parts(examples: Sequence[_Example], kind: RewardModelSpec, max_tokens: int) -> list[Batch]:
    """Micro-batches of whole examples."""
    costs = [example.num_tokens for example in examples]
    chunks = best_fit(costs, max([max_tokens, *costs]))
    return [_batch([examples[place] for place in chunk], kind) for chunk in chunks]


def _batch(examples: Sequence[_Example], kind: RewardModelSpec) -> Batch:
    """All responses of some examples, with the objective's signals."""
    return stack(
        [example.prompt for example in examples for _ in example.responses],
        [response for example in examples for response in example.responses],
        _signals(examples, kind),
    )


def _signals(examples: Sequence[_Example], kind: RewardModelSpec) -> Mapping[str, Tensor]:
    """The objective's signals for all responses of some examples."""
    group_B = torch.tensor([group for group, example in enumerate(examples) for _ in example.responses])
    quality_B = torch.tensor([label for example in examples for label in example.qualities], dtype=torch.float64)
    return kind.signals(group_B, quality_B)


def _loss(scores: Sequence[float], example: _Example, kind: RewardModelSpec) -> Loss:
    """The objective of one example whose responses have these scores."""
    return kind.objective(torch.tensor(scores), mask_BT=None, **_signals([example], kind))


def _scores(run: Run, model: RewardModel, examples: Sequence[_Example]) -> list[list[float]]:
    """The score of every response of every example; each process scores a part of them."""
    mine: list[_Example] = run.world.share(examples)
    prompts = [example.prompt for example in mine for _ in example.responses]
    responses = [response for example in mine for response in example.responses]
    scores = iter(score_responses(model, prompts, responses).tolist())
    return run.world.collect([[next(scores) for _ in example.responses] for example in mine])


def _centre(run: Run, model: RewardModel, examples: Sequence[_Example], kind: RewardModelSpec) -> None:
    """Give the score 0 a meaning where it has none: the mean of the best response to each training prompt.

    Source: InstructGPT, arXiv:2203.02155, section 3.5, where demonstrations have mean 0. Ours: the best response stands
    for a demonstration. A point-wise score is the log odds of being safe, and stays that.
    """
    if kind.has_origin:
        return
    places = [max(range(len(one.qualities)), key=one.qualities.__getitem__) for one in examples]
    scores = _scores(run, model, examples)
    model.bias.add_(fmean(of_one[place] for of_one, place in zip(scores, places, strict=True)))


def _examine(
    run: Run, name: str, key: str, model: RewardModel, examples: Sequence[_Example], kind: RewardModelSpec
) -> None:
    """Write down the accuracy on held-out prompts, with its interval over prompts."""
    losses = [_loss(scores, one, kind) for scores, one in zip(_scores(run, model, examples), examples, strict=True)]
    shares = [loss.metrics[kind.accuracy] for loss in losses]
    value, low, high = mean_interval([float(share.total / share.count) for share in shares], bounds=(0.0, 1.0))
    found = {"accuracy": value, "low": low, "high": high, "n": len(shares)}
    run.folder.write(f"stages/{name}.json", {"key": key, "held_out": found})
    run.say(f"{name}: held-out accuracy {value:.3f} ({low:.3f} to {high:.3f}, {len(shares)} prompts)")
