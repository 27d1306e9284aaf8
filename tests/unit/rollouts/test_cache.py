"""The cache attends as plain causal attention over each row's own tokens would."""

import pytest
import torch
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from tiny import tiny_config
from torch import Tensor
from torch.nn import functional as F

from aha.rollouts.cache import Cache

HEADS, SHARED, SIZE, LAYERS = 4, 2, 8, 2
EXACT = 1e-12


class Rows:
    """Prompts that begin alike, their keys and values in every layer, and a cache filled with them."""

    def __init__(self, rests: list[int], *, num_common: int, repeats: int, room: int) -> None:
        self.generator = torch.Generator().manual_seed(0)
        starts = [num_common + sum(rests[:place]) for place in range(len(rests))]
        spans = [(start, start + rest) for start, rest in zip(starts, rests, strict=True)]
        self.stream = self.random(2, LAYERS, num_common + sum(rests), SHARED, SIZE)
        config = tiny_config(num_key_value_heads=SHARED)
        self.cache = Cache(
            config,
            num_rows=len(rests) * repeats,
            num_common=num_common,
            num_columns=max(rests) + room,
            like=self.stream,
        )
        self.cache.fill(self.stream[0], self.stream[1], spans, repeats)
        self.history = [
            torch.cat((self.stream[:, :, :num_common], self.stream[:, :, start:stop]), dim=2)
            for start, stop in spans
            for _ in range(repeats)
        ]

    def random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def step(self) -> float:
        """One step of every row in every layer; the largest difference from plain attention."""
        num_rows, gaps = len(self.history), []
        new = self.random(2, LAYERS, num_rows, SHARED, SIZE)
        self.history = [torch.cat((old, new[:, :, row, None]), dim=2) for row, old in enumerate(self.history)]
        for layer in range(LAYERS):
            q_BHK = self.random(num_rows, HEADS, SIZE)
            out_BHK = self.cache.attend(layer, q_BHK, new[0, layer], new[1, layer])
            for row, past in enumerate(self.history):
                keys, values = (
                    past[kind, layer].transpose(0, 1).repeat_interleave(HEADS // SHARED, 0) for kind in (0, 1)
                )
                expected_H1K = F.scaled_dot_product_attention(q_BHK[row][:, None], keys, values)
                gaps.append(float((out_BHK[row] - expected_H1K[:, 0]).abs().max()))
        self.cache.column += 1
        return max(gaps)

    def keep(self, rows: list[int]) -> list[int]:
        """Let only these rows go on; where they are from then on, in terms of where they were."""
        is_open_B = torch.zeros(len(self.history), dtype=torch.bool)
        is_open_B[rows] = True
        kept: list[int] = self.cache.keep(is_open_B).tolist()
        self.history = [self.history[row] for row in kept]
        return kept


@pytest.mark.parametrize("num_common", [0, 5])
@pytest.mark.parametrize("rests", [[3, 3], [1, 4, 2], [6], [1, 1]])
def test_steps_attend_to_everything_before_them(rests: list[int], num_common: int) -> None:
    rows = Rows(rests, num_common=num_common, repeats=3, room=4)
    assert [rows.step() < EXACT for _ in range(4)] == [True] * 4


@pytest.mark.parametrize("num_common", [0, 5])
def test_rows_that_stay_keep_their_own_past(num_common: int) -> None:
    rows = Rows([1, 4, 2], num_common=num_common, repeats=2, room=8)
    assert rows.step() < EXACT
    assert sorted(rows.keep([0, 2, 3, 5])) == [0, 2, 3, 5]
    assert rows.step() < EXACT
    assert rows.step() < EXACT
    assert sorted(rows.keep([1, 3])) == [1, 3]
    assert rows.step() < EXACT
    assert rows.keep([1]) == [1]
    assert max(rows.step() for _ in range(3)) < EXACT
    assert len(rows.history) == 1


def test_keeping_all_rows_changes_nothing() -> None:
    rows = Rows([2, 3], num_common=2, repeats=1, room=3)
    rows.step()
    assert rows.keep([0, 1]) == [0, 1]
    assert rows.step() < EXACT


@with_settings(max_examples=30)
@given(is_open=st.lists(st.booleans(), min_size=6, max_size=6).filter(any))
def test_any_rows_may_stay(is_open: list[bool]) -> None:
    rows = Rows([2, 1, 3], num_common=2, repeats=2, room=3)
    rows.step()
    staying = [row for row in range(6) if is_open[row]]
    assert sorted(rows.keep(staying)) == staying
    assert rows.step() < EXACT


def test_the_next_column_follows_the_longest_rest() -> None:
    rows = Rows([2, 5], num_common=1, repeats=1, room=2)
    assert rows.cache.column == 5
    rows.step()
    assert rows.cache.column == 6
