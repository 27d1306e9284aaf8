"""Initial values, rotation, and the parameters that each family has."""

import math

import pytest
import torch
from tiny import SHAPES, tiny_config, tiny_policy

from aha.kernels.ops import rotate
from aha.policy.layout import rows
from aha.policy.transformer import Transformer, initialise


@pytest.mark.parametrize("shape", SHAPES)
def test_each_family_has_its_parameters(shape: str) -> None:
    names = {name.split(".self_attn.")[-1] for name, _ in Transformer(tiny_config(shape)).named_parameters()}
    assert ("q_proj.bias" in names) == shape.startswith("qwen2")
    assert ("q_norm.weight" in names) == shape.startswith("qwen3")
    assert "o_proj.bias" not in names


def test_fresh_weights_have_the_stated_spread() -> None:
    config = tiny_config("qwen2-multi-head", hidden_size=256, intermediate_size=256, vocab_size=300, head_dim=64)
    policy = Transformer(config)
    initialise(policy, torch.Generator().manual_seed(0))
    for name, weight in policy.named_parameters():
        if name.endswith("bias"):
            assert (weight == 0).all(), name
        elif weight.dim() == 1:
            assert (weight == 1).all(), name
        else:
            expected = 0.02 if "embed" in name else 1 / 16
            expected *= 0.5 if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
            assert weight.std().item() == pytest.approx(expected, rel=0.03), name


def test_equal_generators_give_equal_weights() -> None:
    policies = [Transformer(tiny_config()) for _ in range(3)]
    for policy, seed in zip(policies, (0, 0, 1), strict=True):
        initialise(policy, torch.Generator().manual_seed(seed))
    same, other = (
        [torch.equal(a, b) for a, b in zip(policies[0].parameters(), policy.parameters(), strict=True) if a.dim() > 1]
        for policy in policies[1:]
    )
    assert all(same)
    assert not any(other)


def test_a_tied_head_is_the_embedding() -> None:
    tied, untied = (Transformer(tiny_config(tie_word_embeddings=is_tied)) for is_tied in (True, False))
    assert tied.head_VD is tied.model.embed_tokens.weight
    assert untied.head_VD is not untied.model.embed_tokens.weight


def test_rotation_by_hand() -> None:
    """The halves of (1, 2, 3, 4) are paired as (1, 3) and (2, 4); a quarter turn of the first makes it (-3, 1)."""
    x_NHK = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    angles = torch.tensor([[[math.pi / 2, 0.0]]])
    assert torch.allclose(rotate(x_NHK, angles.cos(), angles.sin()), torch.tensor([[[-3.0, 2.0, 1.0, 4.0]]]), atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_only_distances_matter(shape: str) -> None:
    policy, tokens_1T = tiny_policy(tiny_config(shape), dtype=torch.float64), torch.tensor([[3, 4, 5, 6, 7]])
    layout = rows(tokens_1T)
    with torch.no_grad():
        here, there = (policy(layout.tokens_N, layout.positions_N + shift, layout) for shift in (0, 90))
        reversed_ND = policy(layout.tokens_N, layout.positions_N.flip(0), layout)
    assert torch.allclose(here, there, atol=1e-4)
    assert not torch.allclose(here, reversed_ND, atol=1e-2)
