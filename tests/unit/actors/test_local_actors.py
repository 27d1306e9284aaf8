"""Actors as a stage opens them: how fast they learn, how much they compute at once, what is drawn from which seed."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peers import make_batch
from tiny import letters_tokenizer, tiny_config, tiny_policy
from torch import Tensor

from aha.actors import local_actors, trainable
from aha.actors.local import LocalActor
from aha.actors.local_actors import LocalActors, TrainingPlan
from aha.actors.workload import Demand
from aha.objectives.supervised import next_token_loss
from aha.policy.checkpointing import RecomputedLayer
from aha.policy.families import make_policy
from aha.policy.reward_model import from_policy
from aha.policy.transformer import initialise
from aha.training.checkpoint import read_model, write_checkpoint
from aha.training.config import LoRAConfig, OptimizerConfig
from aha.training.world import World
from aha.types import Loss

SHAPE = tiny_config()
DEMAND = Demand(sequence_tokens=77)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy to start from."""
    folder = tmp_path_factory.mktemp("start") / "model"
    write_checkpoint(folder, tiny_policy(SHAPE), letters_tokenizer(), state={})
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another policy of the same shape, as a checkpoint on the way."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    write_checkpoint(folder, tiny_policy(SHAPE, seed=9), letters_tokenizer(), state={})
    return folder


def plan(*, num_steps: int = 10, seed: int = 5, optimizer: OptimizerConfig | None = None, **given: Any) -> TrainingPlan:
    return TrainingPlan(
        **{"name": "zero", "num_steps": num_steps, "demand": DEMAND, "seed": seed} | given,
        optimizer=optimizer or OptimizerConfig(learning_rate=1e-2),
    )


def weights(actor: LocalActor[Any]) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in actor.model.named_parameters()}


def are_equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


# How fast they learn


def test_a_stage_that_goes_on_has_a_schedule_of_its_own(start: Path) -> None:
    """Its updates are counted over the whole training, and its learning rate from its own beginning."""
    optimizer = OptimizerConfig(learning_rate=1e-2, warmup_steps=4, final_share=0.1)
    alone, later = (plan(optimizer=optimizer, first_step=first) for first in (0, 7))
    factors = [alone.learning_rate_factor(step) for step in range(12)]
    assert [later.learning_rate_factor(7 + step) for step in range(12)] == factors
    assert factors[0] == 0.25
    assert factors[10] == factors[11] == pytest.approx(0.1)

    actor = LocalActors().trained_policy(start, None, later)
    actor.restore({}, num_steps=8)
    rates = [actor.update(make_batch(), next_token(), name="a")["learning_rate"] for _ in range(2)]
    assert rates == [pytest.approx(1e-2 * factor) for factor in factors[1:3]]
    assert actor.num_steps == 10


def next_token(seen: list[Tensor] | None = None) -> Callable[..., Loss]:
    """The loss of fine-tuning, whatever other signals a batch has; it may write down the log-probabilities it gets."""

    def loss(logp_BT: Tensor, *, mask_BT: Tensor, **_: Tensor) -> Loss:
        if seen is not None:
            seen.append(logp_BT.detach().clone())
        return next_token_loss(logp_BT, mask_BT=mask_BT)

    return loss


def test_the_gradient_is_clipped_as_configured(start: Path) -> None:
    """The first step of Adam hides the length of the gradient, so that the moments are looked at."""

    def moment_norm(grad_clip: float) -> tuple[float, float]:
        config = OptimizerConfig(learning_rate=1e-2, grad_clip=grad_clip)
        actor = LocalActors().trained_policy(start, None, plan(optimizer=config))
        norm = actor.update(make_batch(), next_token(), name="a")["grad_norm"]
        states = [state for optimizer in actor.learner.optimizers for state in optimizer.state.values()]
        return norm, float(torch.nn.utils.get_total_norm([state["exp_avg"] for state in states]))

    norm, clipped = moment_norm(0.25)
    _, whole = moment_norm(100.0)
    assert norm > 0.25
    assert clipped == pytest.approx(0.1 * 0.25, rel=1e-4)
    assert whole == pytest.approx(0.1 * norm, rel=1e-4)


@pytest.mark.parametrize(
    ("demand", "num_calls"),
    [(DEMAND, 1), (Demand(sequence_tokens=77, micro_batch_tokens=16), 4), (Demand(sequence_tokens=8), 1)],
)
def test_a_micro_batch_is_as_large_as_the_stage_asks(demand: Demand, num_calls: int, start: Path) -> None:
    """Eight sequences of eight tokens, two to a prompt."""
    seen: list[Tensor] = []
    LocalActors().trained_policy(start, None, plan(demand=demand)).update(make_batch(), next_token(seen), name="a")
    assert len(seen) == num_calls


def test_an_update_sees_the_temperature_of_the_samples(start: Path) -> None:
    actors, batch = LocalActors(), make_batch()
    warm = plan(temperature=2.0)
    actor = actors.trained_policy(start, None, warm)
    reference = actors.reference(start, actor, warm)
    sampled = actors.policy(start, max_new_tokens=8, temperature=2.0)
    logp_BT = actor.score(batch)
    for other in (reference, sampled):
        torch.testing.assert_close(other.score(batch), logp_BT)
    torch.testing.assert_close(actor.learner_logp(batch), logp_BT)
    assert not torch.allclose(actors.policy(start, max_new_tokens=8).score(batch), logp_BT, atol=0.01)

    seen: list[Tensor] = []
    actor.update(batch, next_token(seen), name="a")
    torch.testing.assert_close(seen[0].sum(), logp_BT.sum())


# How much is computed at once


def test_as_many_responses_are_decoded_as_fit_beside_prompts_of_512_tokens(
    start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(
        local_actors, "decoded_rows", lambda shape, tokens, *, size, device: asked.append((tokens, size)) or 8
    )
    actors = LocalActors()
    actors.policy(start, max_new_tokens=100)
    actors.policy(start, max_new_tokens=100, precision="bfloat16")
    assert asked == [(612, 4), (612, 2)]

    # A stage knows how long a prompt with its response may be.
    policy = actors.trained_policy(start, None, plan())
    actors.reference(start, policy, plan())
    actors.new_policy(SHAPE, letters_tokenizer(), None, plan())
    assert asked[2:] == [(77, 4)] * 3


@pytest.mark.parametrize(
    ("demand", "is_large"),
    [
        (Demand(sequence_tokens=64), False),
        (Demand(sequence_tokens=10**7), True),
        (Demand(sequence_tokens=64, micro_batch_tokens=10**7), True),
    ],
)
def test_what_does_not_fit_is_recomputed_and_announced(demand: Demand, is_large: bool, start: Path) -> None:
    """A sequence that is longer than a micro-batch is one by itself."""
    said: list[str] = []
    actor = LocalActors(say=said.append).trained_policy(start, None, plan(name="longer", demand=demand))
    assert all(isinstance(layer, RecomputedLayer) == is_large for layer in actor.model.model.layers)
    assert [line.startswith("longer: memory: about ") for line in said] == [True] * (len(said))
    if demand.micro_batch_tokens:
        assert len(said) == 1
    if not is_large:
        assert said == []


def test_each_process_decodes_its_part_of_the_responses(start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is announced of the cache; what else is announced depends on the kernels of the processor."""
    monkeypatch.setattr(trainable, "ANNOUNCED_ABOVE", 0)
    demand = Demand(sequence_tokens=60_000, micro_batch_tokens=64, num_responses=100)

    def cache_gib(num_processes: int) -> float:
        said: list[str] = []
        world = World()
        world.size = num_processes
        LocalActors(world=world, say=said.append).trained_policy(start, None, plan(demand=demand))
        (announced,) = said
        return float(re.search(r"cache ([0-9.]+)", announced)[1])

    assert cache_gib(1) > 1
    assert cache_gib(1) == pytest.approx(2 * cache_gib(2), abs=0.02)


# What they hold


def test_a_policy_goes_on_from_its_checkpoint_and_its_reference_begins_at_the_start(start: Path, saved: Path) -> None:
    actors = LocalActors()
    actor = actors.trained_policy(start, saved, plan())
    reference = actors.reference(start, actor, plan())
    first, later = (
        {name: weight for name, weight in read_model(folder)[0].named_parameters()} for folder in (start, saved)
    )
    assert are_equal(weights(actor), later)
    assert are_equal(weights(reference), first)
    assert (actor.origin, reference.num_steps) == (start, 0)
    with pytest.raises(ValueError, match="this model is not trained: it has no learner"):
        reference.update(make_batch(), next_token(), name="a")

    # Adapters are added to the weights of the start; the checkpoint has their values with the optimizer's.
    adapted = actors.trained_policy(start, saved, plan(optimizer=OptimizerConfig(lora=LoRAConfig(rank=2))))
    held = weights(adapted)
    assert all(torch.equal(held[name], weight) for name, weight in first.items())
    assert len(held) > len(first)


def test_new_weights_are_drawn_from_the_seed() -> None:
    def drawn(seed: int) -> dict[str, Tensor]:
        return weights(LocalActors().new_policy(SHAPE, letters_tokenizer(), None, plan(seed=seed)))

    expected = make_policy(SHAPE)
    initialise(expected, torch.Generator().manual_seed(5))
    assert are_equal(drawn(5), dict(expected.named_parameters()))
    assert are_equal(drawn(5 + 2**63), drawn(5))
    assert not are_equal(drawn(6), drawn(5))


def test_new_weights_are_trained_with_muon_and_go_on_from_their_checkpoint(saved: Path) -> None:
    actor = LocalActors().new_policy(SHAPE, letters_tokenizer(), saved, plan())
    assert are_equal(weights(actor), dict(read_model(saved)[0].named_parameters()))
    assert [type(one).__name__ for one in actor.learner.optimizers] == ["Muon", "AdamW"]
    before = weights(actor)
    actor.update(make_batch(), next_token(), name="a")
    assert not are_equal(weights(actor), before)


def test_a_reward_model_has_the_weights_of_its_policy_and_a_head_from_the_seed(start: Path) -> None:
    def made(seed: int) -> dict[str, Tensor]:
        return weights(LocalActors().reward_model(start, None, plan(seed=seed), reads="summary"))

    one, other = made(5), made(6)
    assert [name for name in one if not torch.equal(one[name], other[name])] == ["score.weight"]
    assert are_equal(made(5 + 2**63), one)
    expected = from_policy(read_model(start)[0], torch.Generator().manual_seed(5), reads="summary")
    assert are_equal(one, dict(expected.named_parameters()))
    policy = dict(read_model(start)[0].named_parameters())
    assert {name.removeprefix("backbone.") for name in one} - policy.keys() == {"score.weight"}


def test_a_reward_model_goes_on_from_its_checkpoint_and_scores_as_it_did(start: Path, tmp_path: Path) -> None:
    actors, batch = LocalActors(), make_batch()
    model = actors.reward_model(start, None, plan(), reads="response")
    model.update(batch, rewarding, name="a")
    model.save(tmp_path / "saved", {}, with_training=True)
    again = actors.reward_model(start, tmp_path / "saved", plan(), reads="response")
    assert are_equal(weights(again), weights(model))
    assert (again.model.reads, model.num_steps, again.num_steps) == ("response", 1, 0)

    prompts, responses = [batch.tokens_BT[0, :4]] * 2, [batch.tokens_BT[row, 4:8] for row in (0, 1)]
    before = model.score_responses(prompts, responses)
    assert before[0] != before[1]
    with torch.no_grad():
        model.shift_scores(0.5)
    assert model.score_responses(prompts, responses) == pytest.approx([score - 0.5 for score in before])


def rewarding(scores_B: Tensor, *, mask_BT: Tensor, **_: Tensor) -> Loss:
    """A loss that is lower the higher the scores are."""
    del mask_BT
    return Loss(total=-scores_B.sum(), count=torch.tensor(float(len(scores_B))), metrics={})
