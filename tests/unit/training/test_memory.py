"""The estimate's parts by hand, and what it says."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import random_tokens, tiny_config, tiny_policy

from aha.kernels.cpu.compiled import built_for
from aha.policy.config import DenseConfig
from aha.policy.fast.paths import can_be_packed
from aha.policy.layout import rows
from aha.training import memory
from aha.training.config import LoRAConfig, OptimizerConfig, State
from aha.training.memory import (
    CACHE_SHARE,
    MAX_ROWS,
    Workload,
    activation_bytes,
    available_bytes,
    decoded_rows,
    describe,
    estimate,
)

QWEN_1_5B = DenseConfig(
    model_type="qwen2",
    vocab_size=151936,
    hidden_size=1536,
    intermediate_size=8960,
    num_hidden_layers=28,
    num_attention_heads=12,
    num_key_value_heads=2,
    head_dim=128,
    rope_theta=1e6,
    max_position_embeddings=32768,
)
COUNT = 1_543_714_304
"""Parameters of Qwen2.5-1.5B, as its model card has it: 1.54 billion."""

LOAD = Workload(micro_batch_tokens=4096, sequence_tokens=1024, num_rows=64, has_reference=True)
GIB = 1 << 30


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of which the estimates here are: whether layers are recomputed depends on its memory."""
    monkeypatch.setattr(memory, "available_bytes", lambda device: 24 * GIB)


def test_all_weights_in_float32() -> None:
    found = estimate(QWEN_1_5B, OptimizerConfig(), LOAD)
    assert (found.weights, found.reference, found.gradients, found.optimizer) == (
        4 * COUNT,
        4 * COUNT,
        4 * COUNT,
        8 * COUNT,
    )
    assert found.recomputes
    assert found.copies == 0
    assert found.cache == 64 * (2 * 4 * 28 * 2 * 128 * 1024 + 24 * 151936)


@pytest.mark.parametrize(
    ("state", "precision", "weights", "optimizer", "on_host"),
    [
        ("float32", "float32", 4, 8, 0),
        ("8-bit", "float32", 4, 2, 0),
        ("host", "float32", 4, 0, 12),
        ("float32", "bfloat16", 2, 12, 0),
        ("8-bit", "bfloat16", 2, 4, 0),
        ("host", "bfloat16", 2, 0, 12),
    ],
)
def test_bytes_a_parameter(state: State, precision: str, weights: int, optimizer: int, on_host: int) -> None:
    config = OptimizerConfig.model_validate({"state": state, "precision": precision})
    found = estimate(QWEN_1_5B, config, LOAD)
    assert (found.weights, found.optimizer, found.host_optimizer) == (
        weights * COUNT,
        optimizer * COUNT,
        on_host * COUNT,
    )
    assert found.gradients == 4 * COUNT


def test_adapters_are_counted_and_share_the_reference() -> None:
    lora = LoRAConfig(rank=16, targets=("q_proj", "down_proj"))
    found = estimate(QWEN_1_5B, OptimizerConfig(lora=lora), LOAD)
    num_adapters = 28 * 16 * (1536 + 1536 + 8960 + 1536)
    assert found.weights == 4 * (COUNT + num_adapters)
    assert found.reference == found.gradients == 4 * num_adapters
    assert found.optimizer == 12 * num_adapters
    assert found.copies == 4 * 28 * (1536 * 1536 + 8960 * 1536)


@pytest.mark.full
def test_a_card_of_24_gib_holds_what_the_manual_says() -> None:
    small = Workload(micro_batch_tokens=4096, sequence_tokens=1024, num_rows=64, has_reference=True)
    fitting = [
        OptimizerConfig(state="host", precision="bfloat16"),
        OptimizerConfig(state="8-bit", precision="bfloat16"),
        OptimizerConfig(lora=LoRAConfig(rank=16)),
    ]
    assert all(estimate(QWEN_1_5B, config, small).peak <= 24 * GIB for config in fitting)
    assert estimate(QWEN_1_5B, OptimizerConfig(), small).peak > 24 * GIB


def test_recomputing_keeps_less() -> None:
    assert activation_bytes(QWEN_1_5B, 4096, recomputes=True) < 0.2 * activation_bytes(QWEN_1_5B, 4096)
    assert not estimate(tiny_config(), OptimizerConfig(), LOAD).recomputes


SIZES = {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 3, "head_dim": 32, "num_attention_heads": 4}
WIDE, NORMED = (tiny_config(f"{family}-grouped", vocab_size=64, **SIZES) for family in ("qwen2", "qwen3"))
"""In whole vectors of every instruction set: the kernels take them."""


@pytest.mark.parametrize("shape", [WIDE, NORMED], ids=["qwen2", "qwen3"])
@pytest.mark.parametrize("kernels", ["on", "off"])
def test_activations_are_what_a_forward_pass_keeps(
    kernels: str, shape: DenseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of the layers in the formula stands for gradients, and is not there yet."""
    if kernels == "off":
        monkeypatch.setattr("aha.kernels.cpu.training.built_for", lambda *names: None)
    policy, tokens_BT = tiny_policy(shape), torch.stack(random_tokens([64] * 4, vocab_size=64))
    weights, kept = {weight.data_ptr() for weight in policy.parameters()}, dict[int, int]()

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    layout = rows(tokens_BT)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden_ND = policy(layout.tokens_N, layout.positions_N, layout)
    measured = sum(size for place, size in kept.items() if place not in weights)
    expected = activation_bytes(shape, 256) * 3 / 4
    assert hidden_ND.requires_grad
    assert 0.85 * expected < measured < 1.1 * expected


def test_kernels_and_their_copy_of_the_weights_are_on_the_cpu_only() -> None:
    here, there = (estimate(WIDE, OptimizerConfig(), LOAD, torch.device(name)) for name in ("cpu", "cuda"))
    has_kernels = built_for("kernels", "attention", "decode") is not None
    assert (here.copies, there.copies) == (here.weights * has_kernels, 0)
    assert (here.activations < 0.8 * there.activations) == has_kernels
    assert estimate(WIDE, OptimizerConfig(precision="bfloat16"), LOAD).copies == 0


@pytest.mark.parametrize("hidden", [40, 48, 64])
def test_weights_are_copied_where_the_kernels_decode_a_policy_of_these_sizes(hidden: int) -> None:
    config = tiny_config(vocab_size=64, **SIZES | {"hidden_size": hidden})
    found = estimate(config, OptimizerConfig(), LOAD)
    assert found.copies == found.weights * can_be_packed(tiny_policy(config))


def test_rows_are_as_many_as_their_cache_allows() -> None:
    assert decoded_rows(tiny_config(), 128) == MAX_ROWS
    num_rows = decoded_rows(QWEN_1_5B, 4096)
    assert num_rows == 4 * GIB // (2 * 4 * 28 * 2 * 128 * 4096 + 24 * 151936)
    assert decoded_rows(QWEN_1_5B, 4096, size=2) > 1.9 * num_rows
    assert decoded_rows(QWEN_1_5B, 10**9) == 1


def test_a_gpu_gives_a_share_of_its_memory_to_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its limit of rows is twice that of a CPU."""
    row, cuda = 2 * 2 * 28 * 2 * 128 * 4096 + 24 * 151936, torch.device("cuda")
    for num_gib in (8, 80):
        monkeypatch.setattr("aha.training.memory.available_bytes", lambda device, size=num_gib * GIB: size)
        expected = int(CACHE_SHARE * num_gib * GIB) // row
        assert 1 < expected < 2 * MAX_ROWS
        assert decoded_rows(QWEN_1_5B, 4096, size=2, device=cuda) == expected
        assert decoded_rows(tiny_config(), 16, device=cuda) == 2 * MAX_ROWS


def test_it_says_whether_it_fits_and_what_to_do() -> None:
    found = estimate(QWEN_1_5B, OptimizerConfig(), LOAD)
    text = describe(found, 24 * GIB)
    assert text.startswith(f"memory: about {found.peak / GIB:.1f} of 24.0 GiB")
    assert "weights 5.75, reference 5.75, optimizer 11.50" in text
    assert "does not fit" in text
    assert "does not fit" not in describe(found, 200 * GIB)
    timed = Workload(micro_batch_tokens=64, sequence_tokens=64, num_tokens=7200, tokens_per_second=1.0)
    assert "time: about 2.0 hours" in describe(estimate(tiny_config(), OptimizerConfig(state="host"), timed))


def test_a_container_has_the_memory_that_it_may_take(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`available_bytes` as it was imported here, before the fixture put another one into its module."""
    limits = (tmp_path / "new", tmp_path / "old")
    monkeypatch.setattr(memory, "CONTAINER_LIMITS", limits)
    whole = available_bytes(torch.device("cpu"))
    assert whole > GIB // 4
    for content, expected in (("max\n", whole), (f"{1 << 62}\n", whole), (f"{GIB // 8}\n", GIB // 8)):
        limits[1].write_text(content)
        assert available_bytes(torch.device("cpu")) == expected
    limits[0].write_text("7\n")
    assert available_bytes(torch.device("cpu")) == 7


@pytest.mark.parametrize(
    ("device", "num_processes", "expected"),
    [
        # Nine tenths of a card, and each process has its own; half of a computer, which the processes share.
        ("cuda", 1, [True, False, False]),
        ("cuda", 2, [True, False, False]),
        ("cpu", 1, [True, True, False]),
        ("cpu", 2, [True, True, True]),
    ],
)
def test_layers_are_recomputed_where_else_they_would_not_fit(
    device: str, num_processes: int, expected: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    load = replace(LOAD, num_processes=num_processes)
    recomputes = []
    for num_gib in (24, 80, 160):
        monkeypatch.setattr(memory, "available_bytes", lambda device, size=num_gib * GIB: size)
        recomputes.append(estimate(QWEN_1_5B, OptimizerConfig(), load, torch.device(device)).recomputes)
    assert recomputes == expected


@pytest.mark.parametrize("optimizer", [OptimizerConfig(), OptimizerConfig(lora=LoRAConfig(rank=4))])
def test_layers_are_recomputed_exactly_where_the_sum_of_the_parts_is_too_large(
    optimizer: OptimizerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(memory, "available_bytes", lambda device: 1000 * GIB)
    whole = estimate(QWEN_1_5B, optimizer, LOAD, cpu)
    held = whole.weights + whole.reference + whole.optimizer + whole.gradients + whole.activations + whole.logits
    unmasked = activation_bytes(QWEN_1_5B, LOAD.micro_batch_tokens, device=cpu) - whole.activations
    needed = held + unmasked + memory.RUNTIME

    recomputes = []
    for available in (2 * needed, 2 * needed - 16):
        monkeypatch.setattr(memory, "available_bytes", lambda device, size=available: size)
        recomputes.append(estimate(QWEN_1_5B, optimizer, LOAD, cpu).recomputes)
    assert recomputes == [False, True]


def test_a_gpu_that_is_not_here_is_estimated_without_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    cuda = torch.device("cuda")
    found = []
    for num_gib in (1, 1000):
        monkeypatch.setattr(memory, "available_bytes", lambda device, size=num_gib * GIB: size)
        found.append(estimate(QWEN_1_5B, OptimizerConfig(), LOAD, cuda))
    assert found[0] == found[1]
    assert found[0].recomputes
