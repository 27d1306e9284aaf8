"""The kernels compute what the transformer computes, and a row's bits are its own."""

import ctypes
import os
import subprocess
import sys
from itertools import product as combinations

import pytest
import torch
from tiny import SHAPES, random_tokens, tiny_config, tiny_policy
from torch import Tensor

from aha.kernels.cpu.compiled import SWITCH, built_for, library
from aha.kernels.cpu.instructions import cpu_features, supported_sets
from aha.policy.fast.packed import ROW_FIELDS, PackedPolicy
from aha.policy.fast.paths import can_be_packed
from aha.policy.layout import rows
from aha.policy.lora import add_lora
from aha.policy.transformer import Transformer

INSTRUCTIONS = built_for("decode")

pytestmark = pytest.mark.skipif(INSTRUCTIONS is None, reason="there is no compiler, or kernels are switched off")

LANES = INSTRUCTIONS.lanes if INSTRUCTIONS else 8

WIDE = {"hidden_size": 64, "head_dim": 16}
"""Whole vectors in every instruction set."""

CLOSE = 1e-5


def packed_states(policy: Transformer, tokens_T: Tensor, cuts: tuple[int, int] = (0, 0)) -> Tensor:
    """Hidden states of one sequence, all tokens in one call: the first `cuts` tokens lie in segments of their own."""
    packed, num = PackedPolicy(policy, len(tokens_T)), len(tokens_T)
    spans = [(0, cuts[0]), (cuts[0], cuts[1]), (cuts[1], num)]
    memories = [torch.full((packed.segment_floats(stop - start),), torch.nan) for start, stop in spans]
    hidden = []
    for number, (start, stop) in enumerate(spans):
        if start == stop:
            continue
        rows_BF = torch.zeros(stop - start, ROW_FIELDS, dtype=torch.int64)
        for earlier, (first, last) in list(enumerate(spans))[:number]:
            rows_BF[:, earlier], rows_BF[:, 3 + earlier] = memories[earlier].data_ptr(), last - first
            rows_BF[:, 6 + earlier] = packed.room(last - first)
        rows_BF[:, 2], rows_BF[:, 8] = memories[number].data_ptr(), packed.room(stop - start)
        rows_BF[:, 5], rows_BF[:, 9] = torch.arange(1, stop - start + 1), tokens_T[start:stop]
        rows_BF[:, 10] = torch.arange(start, stop)
        hidden.append(packed.forward(rows_BF, num))
    return torch.cat(hidden)


@pytest.mark.parametrize("shape", [*SHAPES, "llama-biased"])
def test_a_pass_is_the_transformers(shape: str) -> None:
    more = {"attention_bias": True} if shape == "llama-biased" else {}
    policy = tiny_policy(tiny_config("llama-grouped" if more else shape, **WIDE, **more))
    for length in (1, 7, 8, 33, 100):
        assert_same_pass(policy, length)


@pytest.mark.parametrize("head", [32, 64, 80, 96, 128])
def test_a_pass_with_heads_as_large_as_in_real_models_is_the_transformers(head: int) -> None:
    assert_same_pass(tiny_policy(tiny_config("qwen3-grouped", hidden_size=64, head_dim=head)), 21)


def assert_same_pass(policy: Transformer, length: int) -> None:
    (tokens_T,) = random_tokens([length])
    layout = rows(tokens_T[None])
    with torch.no_grad():
        expected_TD = policy(layout.tokens_N, layout.positions_N, layout)
        found_TD = packed_states(policy, tokens_T)
        assert float((found_TD - expected_TD).abs().max()) < CLOSE, f"{length} tokens"
        logits_TV = PackedPolicy(policy, 1).logits(found_TD)
        assert logits_TV.shape == (length, policy.config.vocab_size)
        assert float((logits_TV - expected_TD @ policy.head_VD.T).abs().max()) < CLOSE, f"{length} tokens"


@pytest.mark.parametrize("cuts", [(1, 1), (9, 20), (16, 32), (0, 39)])
def test_bits_do_not_depend_on_where_a_sequence_is_cut(cuts: tuple[int, int]) -> None:
    policy = tiny_policy(tiny_config("qwen3-grouped", **WIDE))
    (tokens_T,) = random_tokens([40])
    assert torch.equal(packed_states(policy, tokens_T, cuts), packed_states(policy, tokens_T))


@pytest.mark.parametrize("num_shared", [1, 2, 3, 6])
def test_any_number_of_heads_may_share_keys(num_shared: int) -> None:
    config = tiny_config(
        "qwen2-grouped", hidden_size=96, head_dim=16, num_attention_heads=6, num_key_value_heads=num_shared
    )
    policy = tiny_policy(config)
    (tokens_T,) = random_tokens([21])
    layout = rows(tokens_T[None])
    with torch.no_grad():
        expected_TD = policy(layout.tokens_N, layout.positions_N, layout)
    assert float((packed_states(policy, tokens_T) - expected_TD).abs().max()) < CLOSE


def test_extreme_activations_stay_finite_and_right() -> None:
    policy = tiny_policy(tiny_config("llama-grouped", **WIDE))
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "gate_proj" in name or "q_proj" in name:
                weight.mul_(200.0)
        (tokens_T,) = random_tokens([30])
        layout = rows(tokens_T[None])
        expected_TD = policy(layout.tokens_N, layout.positions_N, layout)
        found_TD = packed_states(policy, tokens_T)
    assert torch.isfinite(found_TD).all()
    assert float((found_TD - expected_TD).abs().max()) < 1e-3


def test_a_product_has_the_same_bits_in_any_company() -> None:
    kernels = library("decode")
    assert kernels is not None
    panel = 2 * LANES
    x_BK, w_JKP = torch.randn(13, 40), torch.randn(3, 40, panel)

    def product(x: Tensor) -> Tensor:
        y = torch.empty(len(x), 3 * panel)
        sizes = (len(x), 3 * panel, 40, 0)
        kernels.matmul(
            ctypes.c_void_p(x.data_ptr()),
            ctypes.c_int64(40),
            ctypes.c_void_p(w_JKP.data_ptr()),
            None,
            ctypes.c_void_p(y.data_ptr()),
            *(ctypes.c_int64(size) for size in sizes),
        )
        return y

    together = product(x_BK)
    for count in range(1, 13):
        assert torch.equal(product(x_BK[:count].contiguous()), together[:count])
    expected = x_BK.double() @ w_JKP.transpose(0, 1).flatten(1).double()
    assert float((together - expected).abs().max()) < 1e-4


def test_what_the_kernels_cannot_compute_is_known_before() -> None:
    policy = tiny_policy(tiny_config("qwen3-grouped", **WIDE))
    assert can_be_packed(policy)
    assert not can_be_packed(tiny_policy(tiny_config(hidden_size=36)))
    assert not can_be_packed(tiny_policy(tiny_config(head_dim=6, **{"hidden_size": 64})))
    assert not can_be_packed(tiny_policy(tiny_config(intermediate_size=50)))
    assert not can_be_packed(policy.double())
    policy = tiny_policy(tiny_config("qwen3-grouped", **WIDE))
    assert not can_be_packed(tiny_policy(policy.config, dtype=torch.bfloat16))
    with pytest.raises(ValueError, match="cannot compute this policy"):
        PackedPolicy(tiny_policy(tiny_config(hidden_size=36)), 4)
    add_lora(policy, rank=2, alpha=4.0, generator=torch.Generator())
    assert not can_be_packed(policy)


def test_the_sizes_that_fit_are_those_of_the_instruction_set() -> None:
    assert INSTRUCTIONS is not None
    for hidden, head, intermediate in combinations((32, 48, 64, 80), (6, 8, 16, 24, 80), (50, 64, 72)):
        policy = tiny_policy(tiny_config(hidden_size=hidden, head_dim=head, intermediate_size=intermediate))
        are_known = (
            INSTRUCTIONS.has_kernel("packed hidden", hidden)
            and INSTRUCTIONS.has_kernel("packed head", head)
            and INSTRUCTIONS.has_kernel("packed intermediate", intermediate)
        )
        assert can_be_packed(policy) == are_known, (hidden, head, intermediate)


@pytest.mark.full
@pytest.mark.parametrize("name", [one.name for one in supported_sets(cpu_features()) if one is not INSTRUCTIONS])
def test_all_of_this_holds_in_the_other_instruction_sets_of_this_processor(name: str) -> None:
    """A process has the kernels of one set, so each other one has a process of its own."""
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-m", "not full and not slow", __file__]
    tested = subprocess.run(command, env={**os.environ, SWITCH: name}, capture_output=True, text=True, timeout=300)
    assert tested.returncode == 0, tested.stdout[-2000:]
    assert "skipped" not in tested.stdout
