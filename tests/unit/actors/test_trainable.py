"""A policy that is read as its configuration says."""

from bisect import bisect_left
from pathlib import Path

import pytest
import torch
from tiny import letters_tokenizer, tiny_config, tiny_policy

from aha.actors.trainable import memory_notice, read_reference, read_trainable
from aha.policy.checkpointing import RecomputedLayer
from aha.training import memory
from aha.training.checkpoint import write_checkpoint
from aha.training.config import LoRAConfig, OptimizerConfig
from aha.training.memory import GIB, Workload, estimate

CPU = torch.device("cpu")


@pytest.fixture
def start(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "start", tiny_policy(tiny_config()), letters_tokenizer(), state={})
    return tmp_path / "start"


def test_all_weights_in_the_type_that_was_asked_for(start: Path) -> None:
    for config in (OptimizerConfig(), OptimizerConfig(precision="bfloat16")):
        policy, _ = read_trainable(start, None, config, device=CPU, seed=0, max_tokens=64)
        reference = read_reference(start, policy, config, device=CPU)
        wanted = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
        assert {weight.dtype for weight in (*policy.parameters(), *reference.parameters())} == {wanted}
        assert {id(weight) for weight in policy.parameters()}.isdisjoint(map(id, reference.parameters()))


def test_adapters_begin_at_the_start_and_depend_on_the_seed_alone(start: Path, tmp_path: Path) -> None:
    config = OptimizerConfig(lora=LoRAConfig(rank=2))
    other = tmp_path / "other"
    write_checkpoint(other, tiny_policy(tiny_config(), seed=7), letters_tokenizer(), state={})
    one, again, third = (
        read_trainable(start, saved, config, device=CPU, seed=seed, max_tokens=64)[0]
        for saved, seed in ((None, 1), (other, 1), (None, 2))
    )
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), third.parameters(), strict=True))
    reference = read_reference(start, one, config, device=CPU)
    assert reference.head_VD is one.head_VD


def test_layers_are_recomputed_where_a_micro_batch_is_too_large(start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda device: 8 * GIB)
    for max_tokens, is_large in ((4096, False), (10**7, True)):
        policy, _ = read_trainable(start, None, OptimizerConfig(), device=CPU, seed=0, max_tokens=max_tokens)
        assert all(isinstance(layer, RecomputedLayer) == is_large for layer in policy.model.layers)


def test_a_need_of_more_than_four_gibibytes_is_announced() -> None:
    config = tiny_config(vocab_size=32_000)

    def load(num_tokens: int) -> Workload:
        return Workload(micro_batch_tokens=num_tokens, sequence_tokens=64, has_reference=True)

    # How many tokens fill 4 GiB depends on the kernels, which need more memory for some steps and less for others.
    counts = range(0, 8_000_000, 1_000)
    least = bisect_left(
        counts, True, lo=1, key=lambda count: estimate(config, OptimizerConfig(), load(count), CPU).peak > 4 * GIB
    )
    assert memory_notice(config, OptimizerConfig(), load(counts[least - 1]), CPU) == ""
    assert memory_notice(config, OptimizerConfig(), load(counts[least] + 30_000), CPU).startswith("memory: about 4.")
