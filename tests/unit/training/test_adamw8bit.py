"""Moments of 8 bits and on the host: what rounding costs, and that nothing is lost on disk."""

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peers import make_batch, objective
from tiny import letters_tokenizer, random_tokens, tiny_config, tiny_policy
from torch import Tensor

from aha.objectives.supervised import next_token_loss
from aha.policy.transformer import Transformer
from aha.training.adamw8bit import BLOCK, WHOLE, AdamW8bit, MasterAdamW, dequantise, join, quantise, split
from aha.training.batch import stack
from aha.training.checkpoint import read_model, read_state, restore_optimizers, write_checkpoint
from aha.training.config import OptimizerConfig, State
from aha.training.learner import Learner
from aha.training.optimizer import adamw

BETAS = (0.9, 0.95)


def drawn(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))


# Quantisation


def test_a_block_by_hand() -> None:
    """The largest entry of a block is exact, and 0; one in the top decade is off by at most half a step of 0.9 / 64."""
    values = torch.zeros(BLOCK)
    values[:4] = torch.tensor([-8.0, 8.0, 3.0, 0.0])
    codes, scales = quantise(values, is_signed=True)
    back = dequantise(codes, scales, is_signed=True)
    assert scales.tolist() == [8.0]
    assert back[1] == 8.0
    assert back[3] == 0.0
    assert back[0] == pytest.approx(-8.0 * (1 - 0.45 / 64))
    assert abs(float(back[2]) - 3.0) <= 8.0 * 0.45 / 64 * 1.05


@pytest.mark.parametrize("is_signed", [True, False])
@pytest.mark.parametrize("count", [1, BLOCK - 1, BLOCK, 3 * BLOCK + 7])
def test_quantising_again_changes_nothing(is_signed: bool, count: int) -> None:
    values = drawn(count) if is_signed else drawn(count).abs()
    values[0] = 9.0  # the scale of the first block, which stays the largest
    codes, scales = quantise(values, is_signed=is_signed)
    back = dequantise(codes, scales, is_signed=is_signed)
    again, others = quantise(back[:BLOCK], is_signed=is_signed)
    assert torch.equal(again, codes[:BLOCK])
    assert others[0] == scales[0]
    assert float((back - values).abs().max()) <= 9.0 * 0.9 / 64


def test_blocks_do_not_see_each_other() -> None:
    values = torch.cat((drawn(BLOCK) * 1e6, drawn(BLOCK, 1) * 1e-6))
    codes, scales = quantise(values, is_signed=True)
    back = dequantise(codes, scales, is_signed=True)[BLOCK:]
    assert float((back - values[BLOCK:]).abs().max()) <= float(values[BLOCK:].abs().max()) * 0.9 / 64


@given(st.floats(min_value=1e-30, max_value=1e30), st.floats(min_value=1e-30, max_value=1e30))
def test_a_root_never_becomes_zero(small: float, large: float) -> None:
    small, large = sorted((small, large))
    values = torch.full((BLOCK,), small)
    values[7] = large
    back = dequantise(*quantise(values, is_signed=False), is_signed=False)
    assert bool((back > 0).all()) or large * 1e-7 < 1e-37
    assert float(back[0]) >= 0.5 * min(small, large)


def test_a_block_of_zeros_stays_zero() -> None:
    assert not dequantise(*quantise(torch.zeros(BLOCK), is_signed=False), is_signed=False).any()


@given(st.lists(st.floats(width=32, min_value=-(2.0**100), max_value=2.0**100), min_size=1))
def test_split_and_joined_is_the_same_to_the_last_bit_but_one(numbers: list[float]) -> None:
    values = torch.tensor(numbers)
    rounded, rest = split(values)
    assert torch.equal(rounded, values.to(torch.bfloat16))
    difference = join(rounded, rest).view(torch.int32).long() - values.view(torch.int32).long()
    assert set(difference.tolist()) <= {0, -1}


# Updates


def updated(optimizer: torch.optim.Optimizer, weight: Tensor, num_steps: int) -> Tensor:
    for step in range(num_steps):
        weight.grad = (0.3 * drawn(weight.numel(), step) + 0.1 * drawn(weight.numel(), 99)).view_as(weight)
        optimizer.step()
    return weight.detach().clone()


def group(weight: Tensor, decay: float = 0.1) -> list[dict[str, object]]:
    return [{"params": [weight], "weight_decay": decay, "base_lr": 1e-2}]


def test_small_weights_are_updated_as_by_torch() -> None:
    start = drawn(WHOLE - 1)
    ours, theirs = start.clone().requires_grad_(True), start.clone().requires_grad_(True)
    one = updated(AdamW8bit(group(ours), 1e-2, betas=BETAS), ours, 20)
    other = updated(torch.optim.AdamW(group(theirs), lr=1e-2, betas=BETAS), theirs, 20)
    assert torch.allclose(one, other, rtol=0, atol=1e-6)


def test_large_weights_move_nearly_as_by_torch() -> None:
    start = drawn(8 * WHOLE)
    ours, theirs = start.clone().requires_grad_(True), start.clone().requires_grad_(True)
    one = updated(AdamW8bit(group(ours), 1e-2, betas=BETAS), ours, 20) - start
    other = updated(torch.optim.AdamW(group(theirs), lr=1e-2, betas=BETAS), theirs, 20) - start
    assert float((one - other).norm() / other.norm()) < 0.03


def test_a_rare_gradient_does_not_explode() -> None:
    """Entries whose gradient is a millionth of their block's: a second moment of 0 would move them by 1e-2 / 1e-8."""
    weight = torch.zeros(8 * WHOLE, requires_grad=True)
    optimizer = AdamW8bit(group(weight), 1e-2, betas=BETAS)
    for step in range(30):
        weight.grad = drawn(weight.numel(), step) * 1e-6
        weight.grad[::BLOCK] = 1e3
        optimizer.step()
        if step % 3 == 0:
            weight.grad.zero_()
            optimizer.step()
    assert float(weight.detach().abs().max()) < 30 * 2 * 1e-2


def test_bfloat16_weights_learn_from_updates_below_their_precision() -> None:
    """300 updates of 1e-5 at 1.0, where bfloat16 has steps of 2^-8: alone they vanish, together they are 0.003."""
    for factory in (AdamW8bit, MasterAdamW):
        weight = torch.ones(2 * WHOLE, dtype=torch.bfloat16, requires_grad=True)
        weight.grad_dtype = torch.float32
        optimizer = factory(group(weight, 0.0), 1e-5, betas=BETAS)
        for _ in range(300):
            weight.grad = torch.ones(2 * WHOLE)
            optimizer.step()
        assert float(weight.detach().float().mean()) == pytest.approx(1 - 2**-8)
        state = optimizer.state[weight]
        exact = state["master"] if "master" in state else join(weight.detach(), state["rest"])
        assert float(exact.mean()) == pytest.approx(1 - 0.003, rel=1e-5)


def test_other_types_are_refused() -> None:
    weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
    weight.grad = torch.ones(3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"not torch\.float64"):
        AdamW8bit(group(weight), 1e-2, betas=BETAS).step()


# In training


def learner_of(policy: Transformer, config: OptimizerConfig) -> Learner[Transformer]:
    return Learner(policy, adamw(policy, config), factor=lambda step: 1.0, grad_clip=1.0)


def trained(state: State, num_steps: int, *, width: int = 64) -> tuple[list[float], Transformer]:
    policy = tiny_policy(tiny_config(hidden_size=width, intermediate_size=4 * width))
    learner = learner_of(policy, OptimizerConfig(learning_rate=3e-3, weight_decay=0.1, state=state))
    texts = [stack(random_tokens([2] * 8, seed=seed), random_tokens([9] * 8, seed=seed + 9)) for seed in range(3)]
    losses = [learner.step(texts[step % 3], next_token_loss, name="a batch")["loss"] for step in range(num_steps)]
    return losses, policy


@pytest.mark.full
def test_on_the_host_is_as_on_the_device_bit_for_bit() -> None:
    (losses, policy), (others, other) = trained("float32", 12), trained("host", 12)
    assert losses == others
    assert all(torch.equal(one, two) for one, two in zip(policy.parameters(), other.parameters(), strict=True))


@pytest.mark.full
def test_losses_with_8_bits_are_near_those_with_32() -> None:
    (losses, _), (others, _) = trained("float32", 25), trained("8-bit", 25)
    assert losses[-1] < losses[0] - 1.0
    assert others == pytest.approx(losses, abs=0.03 * (losses[0] - losses[-1]))


@pytest.mark.full
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("state", ["8-bit", "host", "float32"])
def test_saved_and_restored_goes_on_bit_for_bit(state: State, dtype: torch.dtype, tmp_path: Path) -> None:
    precision = "bfloat16" if dtype == torch.bfloat16 else "float32"
    config = OptimizerConfig(learning_rate=1e-3, state=state, precision=precision)
    whole = learner_of(tiny_policy(tiny_config(hidden_size=64, intermediate_size=256), dtype=dtype), config)
    for step in range(2):
        whole.step(make_batch(step), objective, name="a batch")
    write_checkpoint(tmp_path / "saved", whole.model, letters_tokenizer(), state={}, optimizers=whole.optimizers)
    again = learner_of(read_model(tmp_path / "saved", dtype=dtype)[0], config)
    restore_optimizers(again.optimizers, read_state(tmp_path / "saved")[1])
    kept = copy.deepcopy(again.optimizers[0].state_dict()["state"])
    for index, moments in whole.optimizers[0].state_dict()["state"].items():
        assert moments.keys() == kept[index].keys()
        for name, value in moments.items():
            assert value.dtype == kept[index][name].dtype
            assert torch.equal(value, kept[index][name]), name
    for step in range(2, 4):
        whole.step(make_batch(step), objective, name="a batch")
        again.step(make_batch(step), objective, name="a batch")
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True))


def test_8_bits_take_a_quarter() -> None:
    policy = tiny_policy(tiny_config(hidden_size=256, intermediate_size=1024, vocab_size=512))
    sizes = {}
    for state in ("float32", "8-bit"):
        learner = learner_of(copy.deepcopy(policy), OptimizerConfig(state=state))
        batch = make_batch()
        learner.step(batch, objective, name="a batch")
        moments = learner.optimizers[0].state_dict()["state"].values()
        sizes[state] = sum(value.nbytes for one in moments for value in one.values())
    assert sizes["8-bit"] < 0.26 * sizes["float32"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("state", ["8-bit", "host", "float32"])
def test_training_on_a_gpu_is_near_that_on_the_cpu(state: State) -> None:
    config = OptimizerConfig(learning_rate=3e-3, state=state)
    losses = []
    for device in ("cpu", "cuda"):
        learner = learner_of(tiny_policy(tiny_config()).to(device), config)
        losses.append([learner.step(make_batch(step), objective, name="a batch")["loss"] for step in range(6)])
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)
