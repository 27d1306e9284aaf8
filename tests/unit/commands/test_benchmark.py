"""A benchmark of a tiny model: figures that hang together, prompts that it can read, and nothing that stays behind."""

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import letters_tokenizer, tiny_config, tiny_policy, world_tokenizer

from aha.commands.benchmark import PASSES, as_object, in_words, measure
from aha.prompts.tokenizer import Tokenizer
from aha.training.checkpoint import weights_digest, write_checkpoint


def write(folder: Path, tokenizer: Tokenizer, **shape: int) -> str:
    """A random model with this tokenizer."""
    policy = tiny_policy(tiny_config(vocab_size=tokenizer.vocab_size, **shape))
    write_checkpoint(folder, policy, tokenizer, state={})
    return str(folder)


@pytest.fixture(autouse=True)
def passes_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short responses, and small matrices, which are still multiplied faster than a model computes."""
    monkeypatch.setattr("aha.commands.benchmark.MAX_NEW_TOKENS", 8)
    monkeypatch.setattr("aha.commands.benchmark.PRODUCT", 512)


@pytest.mark.full
@pytest.mark.parametrize(
    ("tokenizer", "room", "prompts"),
    [
        (world_tokenizer(), 256, "built-in world"),
        pytest.param(world_tokenizer(), 64, "random", marks=pytest.mark.full),
        pytest.param(letters_tokenizer(), 256, "random", marks=pytest.mark.full),
        (letters_tokenizer(), 16, "random"),
    ],
    ids=["world", "no room for its prompts", "letters", "little room"],
)
def test_any_model_is_measured_with_prompts_that_it_can_read(
    tokenizer: Tokenizer, room: int, prompts: str, tmp_path: Path
) -> None:
    model = write(tmp_path / "model", tokenizer, max_position_embeddings=room)
    before, digest = torch.get_num_threads(), weights_digest(Path(model))
    found = measure(model, seconds=0.01, threads=1)
    assert (found.prompts, found.device, found.threads, found.rounds) == (prompts, "cpu", 1, 1)
    assert list(found.parts) == list(PASSES)
    assert weights_digest(Path(model)) == digest
    assert torch.get_num_threads() == before


@pytest.mark.full
def test_rates_are_what_was_done_by_the_time_that_it_took(tmp_path: Path) -> None:
    found = measure(write(tmp_path / "model", letters_tokenizer()), seconds=0.01, threads=1)
    for part in found.parts.values():
        assert part.tokens_per_second == pytest.approx(part.tokens / part.seconds)
        assert part.share_of_ceiling == pytest.approx(part.gflops / found.ceiling_gflops)
        assert 0 < part.share_of_ceiling < 1
    reference, update = found.parts["reference"], found.parts["update"]
    assert reference.tokens == update.tokens > found.parts["generation"].tokens > 0
    assert update.gflops * update.seconds == pytest.approx(3 * reference.gflops * reference.seconds)

    # A pass over a prompt is work of generation too, though its tokens are not counted as generated ones.
    generation = found.parts["generation"]
    work_of_a_token = reference.gflops * reference.seconds / reference.tokens
    num_computed = generation.gflops * generation.seconds / work_of_a_token
    assert generation.tokens < num_computed <= generation.tokens + reference.tokens


@pytest.mark.full
def test_a_model_of_many_positions_is_trained_as_its_short_responses_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers are recomputed where sequences are long, which those of a benchmark are not."""
    monkeypatch.setattr("aha.actors.trainable.checkpoint_activations", lambda _: pytest.fail("layers are recomputed"))
    model = write(tmp_path / "model", letters_tokenizer(), max_position_embeddings=1 << 20)
    assert measure(model, seconds=0.01, threads=1).rounds == 1


@pytest.mark.full
def test_more_time_is_more_rounds_and_all_of_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock that goes one second further with each look at it.
    clock = SimpleNamespace(monotonic=itertools.count(10.0).__next__)
    monkeypatch.setattr("aha.commands.benchmark.time", clock)
    found = measure(write(tmp_path / "model", letters_tokenizer()), seconds=4.0, threads=1)
    assert found.rounds == 4
    assert found.peak_gib > 0.05
    assert found.estimated_gib > 0.5
    text = in_words(found)
    assert "1 thread, " in text
    assert f"medians of {found.rounds} rounds" in text
    assert "2 threads, " in in_words(replace(found, threads=2))
    assert in_words(replace(found, rounds=1)).splitlines()[1].endswith("medians of 1 round")
    assert [line.split()[0] for line in text.splitlines()[3:6]] == list(PASSES)
    assert as_object(found)["parts"]["update"]["seconds"] == found.parts["update"].seconds


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no model folder"):
        measure(str(tmp_path / "nowhere"), seconds=1.0, threads=1)
