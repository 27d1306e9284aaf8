"""An actor on this machine: its part of the samples, what counts in an update, and what it writes and takes back."""

import json
from pathlib import Path

import pytest
import torch
from peers import make_batch
from tiny import letters_tokenizer, policy_actor, requests_for, tiny_config, tiny_policy
from torch import Tensor

from aha.actors.local import LocalPolicy
from aha.engines.engine import Decoding
from aha.policy.lora import add_lora
from aha.policy.transformer import Transformer
from aha.training.checkpoint import read_state
from aha.training.config import LoRAConfig, OptimizerConfig
from aha.training.learner import Learner
from aha.training.optimizer import adamw
from aha.training.world import World
from aha.types import Loss

REQUESTS = requests_for(["a b c d e", "a b"], Decoding(max_new_tokens=6))


def learning(policy: Transformer, config: OptimizerConfig | None = None, world: World | None = None) -> LocalPolicy:
    """A policy that is trained, in one process of a world."""
    optimizers = adamw(policy, config or OptimizerConfig(learning_rate=1e-2))
    learner = Learner(policy, optimizers, factor=lambda step: 1.0, grad_clip=1.0)
    return LocalPolicy(policy, letters_tokenizer(), world or World(), num_rows=64, learner=learner, origin=Path("base"))


def process(rank: int, size: int) -> World:
    """One process of several that do not talk to each other."""
    world = World(rank)
    world.size = size
    return world


def summed(logp_BT: Tensor, *, mask_BT: Tensor, **_: Tensor) -> Loss:
    """The sum of all log-probabilities, counted by sequence."""
    return Loss(total=-(logp_BT * mask_BT).sum(), count=torch.tensor(float(len(logp_BT))), metrics={})


# Samples


def test_the_processes_sample_together_what_one_would() -> None:
    policy = tiny_policy(tiny_config())
    whole = policy_actor(policy).sample(REQUESTS, 6)
    assert [len(group) for group in whole] == [6, 6]
    shared: list[list[list[int]]] = [[], []]
    for rank in range(3):
        part = LocalPolicy(policy, letters_tokenizer(), process(rank, 3), num_rows=64).sample(REQUESTS, 6)
        for texts, group in zip(shared, part, strict=True):
            texts += [rollout.tokens.tolist() for rollout in group]
    assert shared == [[rollout.tokens.tolist() for rollout in group] for group in whole]


def test_samples_that_cannot_be_divided_are_refused() -> None:
    actor = LocalPolicy(tiny_policy(tiny_config()), letters_tokenizer(), process(0, 4), num_rows=64)
    with pytest.raises(ValueError, match=r"^6 samples per problem cannot be divided among 4 processes$"):
        actor.sample(REQUESTS, 6)


def test_a_rollout_knows_how_many_updates_its_policy_had_seen() -> None:
    actor = learning(tiny_policy(tiny_config()))
    versions = []
    for _ in range(2):
        versions.append(actor.sample(REQUESTS[:1], 1)[0][0].policy_version)
        actor.update(make_batch(), summed, name="a batch")
    assert versions == [0, 1]
    assert (actor.num_steps, policy_actor(tiny_policy(tiny_config())).num_steps) == (2, 0)


def test_of_adapters_the_merged_weights_are_sampled_from() -> None:
    policy = tiny_policy(tiny_config())
    plain = [rollout.tokens.tolist() for rollout in policy_actor(policy).sample(REQUESTS, 4)[0]]
    actor = learning(adapted(policy), OptimizerConfig(lora=LoRAConfig(rank=2)))
    found = actor.sample(REQUESTS, 4)[0]
    assert [rollout.tokens.tolist() for rollout in found] != plain


def adapted(policy: Transformer) -> Transformer:
    """The policy with adapters that change what it says."""
    add_lora(policy, rank=2, alpha=64.0, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if name.endswith("lora_B"):
                weight.normal_(0.0, 0.2, generator=torch.Generator().manual_seed(2))
    return policy


# Updates


@pytest.mark.parametrize(("rank", "share"), [(0, 0.5), (1, 1.0)])
def test_what_was_left_out_of_a_batch_is_counted_by_one_process_alone(rank: int, share: float) -> None:
    """Eight sequences, and eight that have no loss: their mean is half as large, where they are counted."""
    losses = [
        learning(tiny_policy(tiny_config()), world=process(rank, 1)).update(
            make_batch(), summed, name="a batch", extra_count=extra_count
        )["loss"]
        for extra_count in (0.0, 8.0)
    ]
    assert losses[1] == pytest.approx(share * losses[0])


def test_an_update_on_given_micro_batches_says_what_it_cost() -> None:
    """Eight sequences of eight tokens, of which two at a time share a prompt of 4, 3, 5 or 2 tokens."""
    actor = learning(tiny_policy(tiny_config()))
    batch = make_batch()
    metrics = actor.update_on([batch], summed, name="a batch")
    num_tokens = 8 * 8 - (4 + 3 + 5 + 2)
    assert metrics["trained_tokens"] == num_tokens
    assert metrics["flops"] == 3 * actor.forward_flops(num_tokens)
    assert metrics.keys() >= {"loss", "grad_norm", "learning_rate"}

    twice = learning(tiny_policy(tiny_config())).update_on([batch, batch], summed, name="a batch")
    assert twice["trained_tokens"] == 2 * num_tokens
    assert twice["loss"] == pytest.approx(metrics["loss"])


def test_the_sizes_of_an_actor_are_those_of_its_model() -> None:
    config = tiny_config(max_position_embeddings=99)
    actor = policy_actor(tiny_policy(config))
    assert (actor.shape, actor.max_positions) == (config, 99)
    assert actor.num_parameters == sum(weight.numel() for weight in tiny_policy(config).parameters())


def test_a_share_holds_every_sequence_once_with_equal_prompts_together() -> None:
    batch = make_batch()
    shares = [
        LocalPolicy(tiny_policy(tiny_config()), letters_tokenizer(), process(rank, 2), num_rows=8).share(batch)
        for rank in range(2)
    ]
    rows = [row for share in shares for row in share.tokens_BT.tolist()]
    assert sorted(rows) == sorted(batch.tokens_BT.tolist())
    assert [len(share.lengths_B) for share in shares] == [4, 4]


def test_scores_are_in_the_order_of_the_batch() -> None:
    actor, batch = policy_actor(tiny_policy(tiny_config())), make_batch()
    torch.testing.assert_close(actor.score_all(batch), actor.score(batch))
    torch.testing.assert_close(actor.learner_logp(batch), actor.score(batch))
    assert (actor.score(batch) != 0).equal(batch.mask_BT)


# Checkpoints


@pytest.mark.parametrize(("with_training", "has_reference"), [(True, True), (True, False), (False, True)])
def test_a_checkpoint_holds_moments_and_reference_where_a_training_goes_on(
    with_training: bool, has_reference: bool, tmp_path: Path
) -> None:
    actor = learning(tiny_policy(tiny_config()))
    actor.update(make_batch(), summed, name="a batch")
    reference = policy_actor(tiny_policy(tiny_config(), seed=4)) if has_reference else None
    actor.save(tmp_path / "saved", {"step": 1}, reference=reference, with_training=with_training)
    state, tensors = read_state(tmp_path / "saved")
    assert state["step"] == 1
    assert any("exp_avg" in name for name in tensors) == with_training
    assert any(name.startswith("reference.") for name in tensors) == (with_training and has_reference)

    # What is taken back goes on as if it had never stopped.
    if with_training and reference is not None:
        again = learning(tiny_policy(tiny_config()))
        again.load(actor)
        again.restore(tensors, num_steps=1)
        other = policy_actor(tiny_policy(tiny_config(), seed=8))
        other.restore_reference(tensors)
        batch = make_batch(3)
        assert actor.update(batch, summed, name="a") == again.update(batch, summed, name="a")
        assert (again.num_steps, torch.equal(actor.score(batch), again.score(batch))) == (2, True)
        assert torch.equal(other.score(batch), reference.score(batch))


def test_a_model_that_is_not_trained_has_no_moments_to_write(tmp_path: Path) -> None:
    policy_actor(tiny_policy(tiny_config())).save(tmp_path / "saved", {}, with_training=True)
    assert read_state(tmp_path / "saved")[1] == {}


def test_what_a_checkpoint_lacks_of_a_reference_stays_as_it_is() -> None:
    actor, batch = policy_actor(tiny_policy(tiny_config())), make_batch()
    before = actor.score(batch)
    actor.restore_reference({"model.norm.weight": torch.zeros(32)})
    assert torch.equal(actor.score(batch), before)
    actor.restore_reference({"reference.model.norm.weight": torch.zeros(32)})
    assert not torch.allclose(actor.score(batch), before)


def test_only_adapters_are_written_alone(tmp_path: Path) -> None:
    learning(tiny_policy(tiny_config())).save_adapter(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    learning(adapted(tiny_policy(tiny_config())), OptimizerConfig(lora=LoRAConfig(rank=2))).save_adapter(tmp_path / "a")
    written = json.loads((tmp_path / "a" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (written["base_model_name_or_path"], written["r"]) == ("base", 2)


def test_weights_that_are_no_numbers_are_named() -> None:
    policy = tiny_policy(tiny_config())
    assert policy_actor(policy).parameters_not_finite() == []
    with torch.no_grad():
        policy.model.norm.weight[3] = float("nan")
        policy.model.embed_tokens.weight[0, 0] = float("inf")
    assert policy_actor(policy).parameters_not_finite() == ["model.embed_tokens.weight", "model.norm.weight"]
