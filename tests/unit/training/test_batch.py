"""Batches hold what they were given, and cutting or dealing them loses nothing and doubles nothing."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from aha.training.batch import cut_micro_batches, layout_of, partition_rows, select, stack
from aha.types import Batch

sequences = st.lists(
    st.tuples(
        st.sampled_from([(1,), (1, 2), (3, 4, 5), (3, 4, 5, 6, 7)]), st.lists(st.integers(0, 9), min_size=1, max_size=9)
    ),
    min_size=1,
    max_size=12,
)


def batch_of(given_sequences: list[tuple[tuple[int, ...], list[int]]]) -> Batch:
    """A batch that remembers the row of each sequence, once per token and once per sequence."""
    responses = [torch.tensor(response) for _, response in given_sequences]
    rows = [torch.full((len(response),), float(row)) for row, response in enumerate(responses)]
    prompts = [torch.tensor(prompt) for prompt, _ in given_sequences]
    return stack(prompts, responses, {"row_BT": rows, "row_B": torch.arange(len(rows))})


def content(batch: Batch) -> list[tuple[int, list[int], list[int]]]:
    """Each sequence as its row, its prompt and its response; checks that everything in it belongs together."""
    found = []
    parts = (batch.lengths_B, batch.mask_BT, batch.tokens_BT, batch.signals["row_BT"], batch.signals["row_B"])
    for length, mask, tokens, rows, number in zip(*(part.tolist() for part in parts), strict=True):
        assert rows == [number * is_counted for is_counted in mask]
        start = mask.index(True)
        assert mask == [start <= place < length for place in range(len(tokens))]
        found.append((number, tokens[:start], tokens[start:length]))
    return found


@with_settings(max_examples=25)
@given(sequences)
def test_stacking_keeps_every_sequence(given_sequences: list[tuple[tuple[int, ...], list[int]]]) -> None:
    batch = batch_of(given_sequences)
    expected = [(row, list(prompt), response) for row, (prompt, response) in enumerate(given_sequences)]
    assert content(batch) == expected
    assert batch.tokens_BT.shape == batch.mask_BT.shape == batch.signals["row_BT"].shape
    assert batch.tokens_BT.shape[1] == int(batch.lengths_B.max())


@with_settings(max_examples=25)
@given(sequences, st.data())
def test_selecting_keeps_the_rows_and_trims_them(
    given_sequences: list[tuple[tuple[int, ...], list[int]]], data: st.DataObject
) -> None:
    batch = batch_of(given_sequences)
    rows = data.draw(st.lists(st.sampled_from(range(len(given_sequences))), min_size=1, max_size=8))
    part = select(batch, rows)
    assert content(part) == [content(batch)[row] for row in rows]
    assert part.tokens_BT.shape[1] == int(part.lengths_B.max())


@with_settings(max_examples=25)
@given(sequences, st.integers(1, 60))
def test_micro_batches_hold_every_sequence_once_within_the_limit(
    given_sequences: list[tuple[tuple[int, ...], list[int]]], max_tokens: int
) -> None:
    batch = batch_of(given_sequences)
    parts = cut_micro_batches(batch, max_tokens)
    assert sorted(entry for part in parts for entry in content(part)) == content(batch)
    for part in parts:
        num_tokens = len(layout_of(part).tokens_N)
        assert num_tokens <= max_tokens or len(part.lengths_B) == 1
    if max_tokens >= int(batch.lengths_B.sum()):
        assert len(parts) == 1


@with_settings(max_examples=25)
@given(sequences, st.integers(1, 5))
def test_dealing_gives_every_sequence_to_one_process_and_evenly(
    given_sequences: list[tuple[tuple[int, ...], list[int]]], num_ranks: int
) -> None:
    batch = batch_of(given_sequences)
    hands = partition_rows(batch, num_ranks)
    assert len(hands) == num_ranks
    assert sorted(row for hand in hands for row in hand) == list(range(len(given_sequences)))
    counted = [len(response) for _, response in given_sequences]
    for hand in hands:
        assert abs(sum(counted[row] for row in hand) - sum(counted) / num_ranks) <= max(counted)


def test_equal_prompts_come_together() -> None:
    prompts = [torch.tensor(prompt) for prompt in ([7, 7], [1, 2], [7, 7], [1, 2])]
    batch = stack(prompts, [torch.tensor([row, row]) for row in range(4)])
    assert [sorted(hand) for hand in partition_rows(batch, 2)] == [[1, 3], [0, 2]]
    assert [Counter(map(tuple, part.tokens_BT[:, :2].tolist())) for part in cut_micro_batches(batch, 6)] == [
        {(1, 2): 2},
        {(7, 7): 2},
    ]


def test_shared_prompts_are_counted_once() -> None:
    prompt = torch.arange(20)
    batch = stack([prompt] * 4, [torch.tensor([1, 2])] * 4)
    assert [len(part.lengths_B) for part in cut_micro_batches(batch, 28)] == [4]
    assert [len(part.lengths_B) for part in cut_micro_batches(batch, 24)] == [2, 2]
    assert [len(part.lengths_B) for part in cut_micro_batches(batch, 3)] == [1, 1, 1, 1]


def test_micro_batches_are_as_few_as_can_be_and_even() -> None:
    batch = stack([torch.arange(3)] * 64, [torch.arange(10)] * 64)
    assert [len(part.lengths_B) for part in cut_micro_batches(batch, 153)] == [13, 13, 13, 13, 12]
    assert [len(part.lengths_B) for part in cut_micro_batches(batch, 643)] == [64]
    assert [len(part.lengths_B) for part in cut_micro_batches(batch, 642)] == [32, 32]


def test_an_empty_hand_is_an_empty_batch() -> None:
    batch = stack([torch.tensor([1])], [torch.tensor([2, 3])], {"adv_BT": [torch.ones(2)], "row_B": torch.arange(1)})
    empty = select(batch, [])
    assert empty.tokens_BT.shape == empty.signals["adv_BT"].shape == (0, 0)
    assert empty.signals["row_B"].shape == (0,)
    assert cut_micro_batches(empty, 10) == []
    assert partition_rows(empty, 2) == [[], []]


def test_signals_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RuntimeError):
        stack([torch.tensor([1])], [torch.tensor([2, 3])], {"adv_BT": [torch.ones(1)]})
    with pytest.raises(ValueError, match="shorter"):
        stack([torch.tensor([1])], [])


def test_sequences_without_a_counted_token_can_be_dealt() -> None:
    batch = stack([torch.tensor([1, 2])] * 2, [torch.empty(0, dtype=torch.int64)] * 2)
    assert sorted(row for hand in partition_rows(batch, 2) for row in hand) == [0, 1]
    assert sum(len(part.lengths_B) for part in cut_micro_batches(batch, 100)) == 2
