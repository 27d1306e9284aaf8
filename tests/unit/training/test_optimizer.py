"""The schedule by hand, and every parameter in exactly one optimizer."""

import math

import pytest
import torch
from tiny import SHAPES, tiny_config, tiny_policy

from aha.training.config import OptimizerConfig
from aha.training.optimizer import adamw, learning_rate_factor, muon_and_adamw, set_learning_rate

FACTORIES = (adamw, muon_and_adamw)


def test_a_constant_rate() -> None:
    config = OptimizerConfig()
    assert [learning_rate_factor(step, 10, config) for step in range(12)] == [1.0] * 12


def test_linear_warm_up_reaches_the_base_rate_with_its_last_update() -> None:
    config = OptimizerConfig(warmup_steps=4)
    assert [learning_rate_factor(step, 10, config) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_a_cosine_from_one_to_the_final_share() -> None:
    config = OptimizerConfig(final_share=0.1, warmup_steps=2)
    factors = [learning_rate_factor(step, 10, config) for step in range(2, 13)]
    expected = [0.1 + 0.9 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(9)]
    assert factors == pytest.approx([*expected, 0.1, 0.1])
    assert factors[0] == 1.0
    assert factors[4] == pytest.approx(0.55)
    assert learning_rate_factor(0, 10, config) == 0.5


@pytest.mark.parametrize("warmup_steps", [0, 1, 5, 9])
def test_stages_shorter_than_their_warm_up_have_a_rate(warmup_steps: int) -> None:
    config = OptimizerConfig(warmup_steps=warmup_steps, final_share=0.5)
    for total_steps in (1, 2, 5):
        factors = [learning_rate_factor(step, total_steps, config) for step in range(total_steps)]
        assert all(0 < factor <= 1 for factor in factors)


def test_every_group_moves_with_its_own_base_rate() -> None:
    optimizers = muon_and_adamw(tiny_policy(tiny_config()), OptimizerConfig(learning_rate=0.5))
    optimizers[0].param_groups[0]["base_lr"] = 2.0
    for factor in (0.25, 0.25, 1.0):
        set_learning_rate(optimizers, factor)
        rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
        assert rates == [2.0 * factor, 0.5 * factor]


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_parameter_is_in_one_group(factory, shape: str, is_tied: bool) -> None:  # type: ignore[no-untyped-def]
    policy = tiny_policy(tiny_config(shape, tie_word_embeddings=is_tied))
    optimizers = factory(policy, OptimizerConfig())
    held = [id(weight) for optimizer in optimizers for group in optimizer.param_groups for weight in group["params"]]
    assert sorted(held) == sorted(id(weight) for weight in policy.parameters())
    assert all(group["base_lr"] == 3e-6 for optimizer in optimizers for group in optimizer.param_groups)


def test_only_matrices_decay() -> None:
    policy = tiny_policy(tiny_config("qwen2-grouped"))
    (optimizer,) = adamw(policy, OptimizerConfig(weight_decay=0.1, beta1=0.8, beta2=0.99))
    for group in optimizer.param_groups:
        assert {weight.dim() > 1 for weight in group["params"]} == {group["weight_decay"] == 0.1}
        assert group["betas"] == (0.8, 0.99)


def test_muon_takes_the_matrices_of_the_layers() -> None:
    policy = tiny_policy(tiny_config(tie_word_embeddings=False))
    muon, rest = muon_and_adamw(policy, OptimizerConfig(weight_decay=0.1))
    names = {id(weight): name for name, weight in policy.named_parameters()}
    in_muon = {names[id(weight)] for group in muon.param_groups for weight in group["params"]}
    assert len(in_muon) == 2 * 7
    assert all(".layers." in name and name.endswith("_proj.weight") for name in in_muon)
    assert {"model.embed_tokens.weight", "lm_head.weight"} <= {
        names[id(weight)] for group in rest.param_groups for weight in group["params"]
    }
    assert [group["weight_decay"] for group in (*muon.param_groups, *rest.param_groups)] == [0.1, 0.0]


def test_the_first_update_of_adamw_by_hand() -> None:
    """After one update m / sqrt(v) is the sign of the gradient; decay takes rate * decay * weight."""
    policy = tiny_policy(tiny_config())
    (optimizer,) = adamw(policy, OptimizerConfig(learning_rate=0.01, weight_decay=0.1))
    weight, norm = policy.head_VD, policy.model.norm.weight
    before, norm_before = weight.detach().clone(), norm.detach().clone()
    weight.grad, norm.grad = torch.full_like(weight, -3.0), torch.full_like(norm, 0.5)
    optimizer.step()
    assert torch.allclose(weight, before * (1 - 0.01 * 0.1) + 0.01, atol=1e-7)
    assert torch.allclose(norm, norm_before - 0.01, atol=1e-7)
