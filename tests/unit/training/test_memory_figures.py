"""The estimate of memory in many settings as a table, and its words; parts of it are worked by hand beside this."""

from dataclasses import asdict
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from tables import assert_as_in_table
from tiny import tiny_config

from aha.policy.config import DenseConfig
from aha.policy.families import make_policy
from aha.policy.fast.paths import MAX_BYTES
from aha.training import memory
from aha.training.config import LoRAConfig, OptimizerConfig
from aha.training.memory import GIB, Estimate, Workload, decoded_rows, describe, estimate

SHAPES = {
    "tiny qwen3": tiny_config(),
    "qwen2 of 0.5 billion": DenseConfig(
        model_type="qwen2",
        vocab_size=151936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        head_dim=64,
        rope_theta=1e6,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
    ),
}
OPTIMIZERS = {
    "float32": OptimizerConfig(),
    "8-bit bfloat16": OptimizerConfig(state="8-bit", precision="bfloat16"),
    "host": OptimizerConfig(state="host"),
    "adapters": OptimizerConfig(lora=LoRAConfig(rank=4, targets=("q_proj", "down_proj"))),
}
LOADS = {
    "short": Workload(micro_batch_tokens=100, sequence_tokens=60, num_rows=7, has_reference=True),
    "long": Workload(
        micro_batch_tokens=2000, sequence_tokens=3000, num_rows=300, num_tokens=10**9, tokens_per_second=1500.0
    ),
}


@pytest.mark.parametrize("has_kernels", [True, False])
def test_no_figure_of_an_estimate_changes_unnoticed(has_kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether there are kernels depends on the processor, so that it is said here."""
    monkeypatch.setattr(memory, "_has_kernels", lambda *_: has_kernels)
    monkeypatch.setattr(memory, "has_packed_sizes", lambda _, num_bytes: has_kernels and num_bytes <= MAX_BYTES)
    monkeypatch.setattr(memory, "available_bytes", lambda _: 24 * GIB)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    # An estimate reads the shapes of a model and changes nothing in it.
    monkeypatch.setattr(memory, "make_policy", cache(make_policy))
    found: dict[str, Any] = {}
    for shape, optimizer, load, device in product(SHAPES, OPTIMIZERS, LOADS, ("cpu", "cuda")):
        one = estimate(SHAPES[shape], OPTIMIZERS[optimizer], LOADS[load], torch.device(device))
        found[f"{shape}, {optimizer}, {load}, {device}"] = asdict(one) | {"peak": one.peak}
    path = Path(__file__).with_name(f"memory_{'with' if has_kernels else 'without'}_kernels.json")
    assert_as_in_table(found, path)


def test_rows_that_are_decoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda _: 10 * GIB)
    shape = SHAPES["qwen2 of 0.5 billion"]
    numbers = [
        [decoded_rows(shape, tokens, size=size, device=torch.device(device)) for tokens in (100, 5000, 10**6)]
        for device, size in (("cpu", 4), ("cpu", 2), ("cuda", 2))
    ]
    row = {(tokens, size): 2 * size * 24 * 2 * 64 * tokens + 24 * 151936 for tokens in (100, 5000) for size in (2, 4)}
    assert numbers == [
        [512, 4 * GIB // row[5000, 4], 1],
        [512, 4 * GIB // row[5000, 2], 1],
        [3 * GIB // row[100, 2], 3 * GIB // row[5000, 2], 1],
    ]


def figures(**parts: int) -> Estimate:
    nothing = dict.fromkeys(
        ("weights", "reference", "optimizer", "gradients", "activations", "logits", "cache", "copies"), 0
    )
    return Estimate(**{**nothing, "host_optimizer": 0, "recomputes": False, "seconds": 0.0, **parts})


def test_an_estimate_in_words() -> None:
    everything = figures(
        weights=3 * GIB, reference=2 * GIB, optimizer=GIB, gradients=4 * GIB, activations=GIB // 4, logits=GIB // 100,
        cache=GIB // 2, copies=GIB, host_optimizer=6 * GIB, recomputes=True, seconds=5400.0,
    )  # fmt: skip
    assert describe(everything, 12 * GIB).splitlines() == [
        "memory: about 10.8 of 12.0 GiB",
        "  held: weights 3.00, reference 2.00, optimizer 1.00",
        "  while updating: gradients 4.00, activations 0.25, logits 0.01",
        "  while sampling: cache 0.50, copied weights 1.00",
        "  layers are recomputed in the backward pass",
        "  in the host's memory: optimizer 6.00",
        "time: about 1.5 hours",
    ]

    # What is less than a two-hundredth of a GiB is left out.
    small = figures(weights=GIB // 200 + 1, optimizer=GIB // 200)
    assert describe(small).splitlines() == ["memory: about 0.5 GiB", "  held: weights 0.01"]

    # It fits up to the last byte.
    assert "does not fit" not in describe(everything, everything.peak)
    assert describe(everything, everything.peak - 1).endswith("16, or a lower length cap")


def test_sampling_or_updating_takes_most() -> None:
    held = {"weights": 5, "reference": 3, "optimizer": 2}
    assert figures(**held, gradients=7, activations=4, logits=1, cache=6, copies=5).peak == 10 + 12 + GIB // 2
    assert figures(**held, gradients=7, activations=4, logits=1, cache=6, copies=7).peak == 10 + 13 + GIB // 2
