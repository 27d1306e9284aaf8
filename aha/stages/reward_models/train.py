"""Reward models: learn from preferences which responses are better, or which are safe.

All responses to one prompt are learned from at once, and the prompt is computed once for all of them.

Source: DeepSeek-R1, arXiv:2501.12948v2, section 3.1 (two models, both with a learning rate of 6e-6, batches of 256, one
epoch, 8,192 tokens); InstructGPT, arXiv:2203.02155, section 3.5 and appendix C.2 (comparisons of a prompt together).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import fmean

import torch
from torch import Tensor

from aha.actors.local import LocalRewardModel
from aha.actors.local_actors import TrainingPlan
from aha.actors.workload import Demand
from aha.evaluation.calibration import calibration_error, in_bins
from aha.evaluation.metrics import mean_interval
from aha.objectives.reward_model import pointwise_loss, ranking_loss
from aha.policy.pretrained import read_config
from aha.policy.reward_model import Reads, end_response
from aha.prompts.pretrained import read_tokenizer
from aha.prompts.templates import continuation
from aha.prompts.tokenizer import Tokenizer
from aha.runs.seeds import derive_seed, generator
from aha.stages.config import SupervisedConfig
from aha.stages.reward_models.sources import PreferenceSource
from aha.stages.run import Run, stage_key
from aha.stages.updates import begin_updates, make_updates
from aha.training.batch import stack
from aha.training.learner import Objective
from aha.training.packing import best_fit
from aha.types import Batch, Checkpoint, Loss, Preference

__all__ = [
    "HARMLESSNESS",
    "HELPFULNESS",
    "REWARD_MODEL_METRICS",
    "RewardModelSpec",
    "reward_model",
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
        predictions: from the scores and the labels of the responses to one prompt to what the model predicts, each with
            its probability and whether it is so.
        has_origin: whether a score of 0 has a meaning; where only differences have, it is given one in the end.
    """

    reads: Reads
    objective: Objective
    signals: Callable[[Tensor, Tensor], Mapping[str, Tensor]]
    accuracy: str
    predictions: Callable[[Sequence[float], Sequence[float]], list[tuple[float, bool]]]
    has_origin: bool


def _ranking_signals(group_B: Tensor, quality_B: Tensor) -> Mapping[str, Tensor]:
    """The inputs of the ranking loss: which responses answer one prompt, and how good they are."""
    return {"group_B": group_B, "quality_B": quality_B}


def _safety_signals(group_B: Tensor, quality_B: Tensor) -> Mapping[str, Tensor]:
    """The input of the point-wise loss: whether each response is safe, whatever its prompt.

    Raises:
        ValueError: a label is neither 0 nor 1.
    """
    del group_B
    is_label_B = (quality_B == 0) | (quality_B == 1)
    if not is_label_B.all():
        labels = sorted(set(quality_B.tolist()))
        raise ValueError(f"a safety label is 1 (safe) or 0; got {labels[:4]}")
    return {"is_safe_B": quality_B == 1}


def _predicted_orders(scores: Sequence[float], qualities: Sequence[float]) -> list[tuple[float, bool]]:
    """Of each two responses that differ: sigmoid(|r1 - r2|), and whether the one with the higher score is better."""
    predictions = []
    for first, second in combinations(range(len(scores)), 2):
        gap = scores[first] - scores[second]
        if qualities[first] != qualities[second]:
            is_right = (gap > 0) == (qualities[first] > qualities[second])
            predictions.append((_sigmoid(abs(gap)), is_right))
    return predictions


def _predicted_safety(scores: Sequence[float], labels: Sequence[float]) -> list[tuple[float, bool]]:
    """Of each response: sigmoid(r), and whether it is safe."""
    return [(_sigmoid(score), label == 1) for score, label in zip(scores, labels, strict=True)]


def _sigmoid(value: float) -> float:
    # The form with tanh overflows nowhere.
    return 0.5 * (1 + math.tanh(value / 2))


HELPFULNESS = RewardModelSpec(
    reads="summary",
    objective=ranking_loss,
    signals=_ranking_signals,
    accuracy="pair_accuracy",
    predictions=_predicted_orders,
    has_origin=False,
)
"""Pairs of responses, of which the model is shown the summary. Source: R1 v2 3.1."""

HARMLESSNESS = RewardModelSpec(
    reads="response",
    objective=pointwise_loss,
    signals=_safety_signals,
    accuracy="accuracy",
    predictions=_predicted_safety,
    has_origin=True,
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
        return len(self.prompt) + sum(len(response) for response in self.responses)


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
        processes=run.num_processes,
    )
    if done := run.finished(name, key):
        return done

    resumed = run.resume(name, key)
    shape = read_config(policy.path)
    tokenizer = read_tokenizer(policy.path, room=shape.vocab_size)

    # Held-out preferences are read before the training: a label that cannot be used ends the run before it costs much.
    max_tokens = min(config.max_tokens, shape.max_position_embeddings)
    examples = _examples(name, data(), kind, tokenizer, max_tokens)
    held_out_examples = _examples(name, held_out(), kind, tokenizer, max_tokens)
    updates = _prompts_by_update(run, name, config, len(examples))

    plan = TrainingPlan(
        name=name,
        optimizer=config.optimizer,
        num_steps=len(updates),
        demand=Demand(sequence_tokens=max_tokens, micro_batch_tokens=config.max_tokens),
        seed=derive_seed(run.seed, name, "head"),
    )
    actor = run.actors.reward_model(policy.path, resumed.folder if resumed else None, plan, reads=kind.reads)

    def update(step: int) -> dict[str, float]:
        # Processes share whole prompts: the comparisons of a prompt need all of its responses in one place.
        examples_of_update = [examples[index] for index in updates[step]]
        share = actor.share_items(examples_of_update)
        micro_batches = _micro_batches(share, kind, config.max_tokens)
        return actor.update_on(micro_batches, kind.objective, name=f"stage {name!r}, update {step}")

    steps = range(begin_updates(actor, resumed), len(updates))
    saved = make_updates(run, name, key, actor, update, steps=steps, checkpoint_every=config.checkpoint_every)

    # The shift changes the weights that are saved below, and no comparison of two responses.
    _centre(actor, examples, kind)
    _examine(run, name, key, actor, held_out_examples, kind)
    return run.finish(name, key, saved, parents=(policy.key, data.key))


def _examples(
    name: str, preferences: Sequence[Preference], kind: RewardModelSpec, tokenizer: Tokenizer, max_tokens: int
) -> list[_Example]:
    """Preferences as tokens; those without anything to learn, such as equal labels where pairs count, are left out."""
    for preference in preferences:
        qualities = preference.qualities
        if len(preference.responses) != len(qualities) or not all(map(math.isfinite, qualities)):
            raise ValueError(
                f"stage {name!r}: the {len(preference.responses)} responses of preference {preference.problem_id!r} "
                f"need a finite label each, not {qualities}"
            )

    examples: list[_Example] = []
    for preference in preferences:
        if preference.responses:
            example = _example(preference, tokenizer, max_tokens)
            if _has_loss(example, kind):
                examples.append(example)
    if not examples:
        raise ValueError(f"stage {name!r}: none of {len(preferences)} preferences has anything to learn")
    return examples


def _has_loss(example: _Example, kind: RewardModelSpec) -> bool:
    """Whether an example counts in the objective."""
    # What counts depends on the labels alone, so any scores tell it.
    any_scores = [0.0] * len(example.responses)
    loss = _loss(any_scores, example, kind)
    return bool(loss.count > 0)


def _example(preference: Preference, tokenizer: Tokenizer, max_tokens: int) -> _Example:
    """A preference as tokens."""
    prompt_T = tokenizer.encode_prompt(preference.prompt)
    prompts: list[Tensor] = []
    responses: list[Tensor] = []
    for text in preference.responses:
        # Where the prompt opens the thinking, the response goes on from there.
        response_T = tokenizer.encode(continuation(preference.prompt, text))
        fitting_prompt_T, ended_response_T = end_response(
            prompt_T, response_T, end_id=tokenizer.end_id, max_tokens=max_tokens
        )
        prompts.append(fitting_prompt_T)
        responses.append(ended_response_T)

    # All responses of an example share one prompt: it is cut, if at all, at the same place for each of them.
    return _Example(prompt=prompts[0], responses=tuple(responses), qualities=preference.qualities)


def _prompts_by_update(run: Run, name: str, config: SupervisedConfig, num_examples: int) -> list[list[int]]:
    """The indices of the prompts of every update; every epoch has an order of its own."""
    updates = []
    for epoch in range(config.epochs):
        order = list(range(num_examples))
        generator(run.seed, name, "order", epoch).shuffle(order)

        # The last update of an epoch has fewer prompts: no update mixes two epochs.
        for start in range(0, num_examples, config.batch_size):
            updates.append(order[start : start + config.batch_size])
    return updates


def _micro_batches(examples: Sequence[_Example], kind: RewardModelSpec, max_tokens: int) -> list[Batch]:
    """Micro-batches of whole examples."""
    lengths = [example.num_tokens for example in examples]

    # Responses to one prompt are compared with each other: an example that is too long alone is not cut.
    capacity = max([max_tokens, *lengths])

    micro_batches: list[Batch] = []
    for chunk in best_fit(lengths, capacity):
        members = [examples[index] for index in chunk]
        micro_batches.append(_batch(members, kind))
    return micro_batches


def _batch(examples: Sequence[_Example], kind: RewardModelSpec) -> Batch:
    """All responses of some examples, with the objective's signals."""
    prompts, responses = _prompts_and_responses(examples)
    return stack(prompts, responses, _signals(examples, kind))


def _prompts_and_responses(examples: Sequence[_Example]) -> tuple[list[Tensor], list[Tensor]]:
    """Every response of some examples, and the prompt of each."""
    prompts = [example.prompt for example in examples for _ in example.responses]
    responses = [response for example in examples for response in example.responses]
    return prompts, responses


def _signals(examples: Sequence[_Example], kind: RewardModelSpec) -> Mapping[str, Tensor]:
    """The objective's signals for all responses of some examples."""
    groups: list[int] = []
    qualities: list[float] = []
    for group, example in enumerate(examples):
        groups += [group] * len(example.responses)
        qualities += example.qualities

    # In float64, as the labels are: rounded to float32, two different ones could become equal.
    return kind.signals(torch.tensor(groups), torch.tensor(qualities, dtype=torch.float64))


def _loss(scores: Sequence[float], example: _Example, kind: RewardModelSpec) -> Loss:
    """The objective of one example whose responses have these scores."""
    return kind.objective(torch.tensor(scores), mask_BT=None, **_signals([example], kind))


def _scores(actor: LocalRewardModel, examples: Sequence[_Example]) -> list[list[float]]:
    """The score of every response of every example; each process scores a part of them."""
    share = actor.share_items(examples)

    # All responses are scored at once, then dealt out to their examples again.
    scores = actor.score_responses(*_prompts_and_responses(share))
    scores_by_example: list[list[float]] = []
    start = 0
    for example in share:
        end = start + len(example.responses)
        scores_by_example.append(scores[start:end])
        start = end
    return actor.collect(scores_by_example)


def _centre(actor: LocalRewardModel, examples: Sequence[_Example], kind: RewardModelSpec) -> None:
    """Give the score 0 a meaning where it has none: the mean of the best response to each training prompt.

    Source: InstructGPT, arXiv:2203.02155, section 3.5, where demonstrations have mean 0. Ours: the best response stands
    for a demonstration. A point-wise score is the log odds of being safe, and stays that.
    """
    if kind.has_origin:
        return

    best_scores = []
    for example, scores in zip(examples, _scores(actor, examples), strict=True):
        best = example.qualities.index(max(example.qualities))
        best_scores.append(scores[best])
    actor.shift_scores(fmean(best_scores))


def _examine(
    run: Run, name: str, key: str, actor: LocalRewardModel, examples: Sequence[_Example], kind: RewardModelSpec
) -> None:
    """Write down the accuracy on held-out prompts, with its interval over prompts, and the calibration."""
    accuracies = []
    predictions: list[tuple[float, bool]] = []
    for example, scores in zip(examples, _scores(actor, examples), strict=True):
        mean = _loss(scores, example, kind).metrics[kind.accuracy]
        accuracies.append(float(mean.total / mean.count))
        predictions += kind.predictions(scores, example.qualities)

    # An interval over prompts, not over pairs: the pairs of a prompt share its responses and are no draws of their own.
    value, low, high = mean_interval(accuracies, bounds=(0.0, 1.0))
    held_out = {"accuracy": value, "low": low, "high": high, "n": len(accuracies)}

    probabilities, outcomes = zip(*predictions, strict=True)
    bins = in_bins(probabilities, outcomes)
    calibration = {"error": calibration_error(bins), "bins": [asdict(each) for each in bins]}
    run.folder.write(f"stages/{name}.json", {"key": key, "held_out": held_out, "calibration": calibration})
    interval = f"{low:.3f} to {high:.3f}, {len(accuracies)} prompts"
    run.say(f"{name}: held-out accuracy {value:.3f} ({interval}), calibration error {calibration['error']:.3f}")
