"""The cache attends as plain causal attention over each row's own tokens would."""

import pytest
import torch
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from tiny import tiny_config
from torch import Tensor
from torch.nn import functional as F

from aha.engines.cache import Cache

HEADS, SHARED, SIZE, LAYERS = 4, 2, 8, 2
EXACT = 1e-12


class Rows:
    """Prompts that begin alike, their keys and values in every layer, and a cache filled with them."""

    def __init__(self, rests: list[int], *, num_common: int, repeats: int, room: int, spare: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(0)
        config = tiny_config(num_key_value_heads=SHARED)
        self.cache = Cache(
            config,
            num_slots=len(rests) * repeats + spare,
            num_common=num_common,
            num_columns=max(rests) + room,
            like=torch.zeros(0, dtype=torch.float64),
        )
        self.common = self.random(2, LAYERS, num_common, SHARED, SIZE)
        self.cache.common_LGCK.copy_(self.common.transpose(2, 3))
        self.history: list[Tensor] = []
        for rest in rests:
            self.add(rest, repeats)

    def add(self, rest: int, repeats: int = 1) -> None:
        """Rows of a prompt with so many tokens after the common beginning."""
        own = self.random(2, LAYERS, rest, SHARED, SIZE)
        for _ in range(repeats):
            self.cache.add(own[0], own[1])
            self.history.append(torch.cat((self.common, own), dim=2))

    def random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def step(self) -> float:
        """One step of every row in every layer; the largest difference from plain attention."""
        num_rows, gaps = len(self.history), []
        new = self.random(2, LAYERS, num_rows, SHARED, SIZE)
        self.history = [torch.cat((old, new[:, :, row, None]), dim=2) for row, old in enumerate(self.history)]
        self.cache.open_column()
        for layer in range(LAYERS):
            q_BHK = self.random(num_rows, HEADS, SIZE)
            out_BHK = self.cache.attend(layer, q_BHK, new[0, layer], new[1, layer])
            for row, past in enumerate(self.history):
                keys, values = (
                    past[kind, layer].transpose(0, 1).repeat_interleave(HEADS // SHARED, 0) for kind in (0, 1)
                )
                expected_H1K = F.scaled_dot_product_attention(q_BHK[row][:, None], keys, values)
                gaps.append(float((out_BHK[row] - expected_H1K[:, 0]).abs().max()))
        return max(gaps)

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows, in this order."""
        self.cache.keep(torch.tensor(rows, dtype=torch.int64))
        self.history = [self.history[row] for row in rows]


@pytest.mark.parametrize("num_common", [0, 5])
@pytest.mark.parametrize("rests", [[3, 3], [1, 4, 2], [6], [1, 1]])
def test_steps_attend_to_everything_before_them(rests: list[int], num_common: int) -> None:
    rows = Rows(rests, num_common=num_common, repeats=3, room=4)
    assert [rows.step() < EXACT for _ in range(4)] == [True] * 4


@pytest.mark.parametrize("num_common", [0, 5])
def test_rows_that_stay_keep_their_own_past(num_common: int) -> None:
    rows = Rows([1, 4, 2], num_common=num_common, repeats=2, room=8)
    assert rows.step() < EXACT
    rows.keep([0, 5, 2, 3])
    assert rows.step() < EXACT
    assert rows.step() < EXACT
    rows.keep([3, 1])
    assert rows.step() < EXACT
    rows.keep([1])
    assert max(rows.step() for _ in range(3)) < EXACT
    assert len(rows.history) == 1


def test_rows_may_come_later_into_the_slots_of_others() -> None:
    rows = Rows([3, 2], num_common=2, repeats=2, room=9)
    assert max(rows.step() for _ in range(3)) < EXACT
    rows.keep([3, 1])
    rows.add(5)
    rows.add(1)
    assert max(rows.step() for _ in range(2)) < EXACT
    rows.keep([3, 2])
    assert max(rows.step() for _ in range(3)) < EXACT


def test_all_rows_may_leave_before_others_come() -> None:
    rows = Rows([3], num_common=1, repeats=2, room=4)
    rows.step()
    rows.keep([])
    rows.add(2, 2)
    assert rows.step() < EXACT


def test_keeping_all_rows_changes_nothing() -> None:
    rows = Rows([2, 3], num_common=2, repeats=1, room=3)
    rows.step()
    rows.keep([0, 1])
    assert rows.step() < EXACT


@with_settings(max_examples=30)
@given(order=st.permutations(range(6)), count=st.integers(1, 6))
def test_any_rows_may_stay(order: list[int], count: int) -> None:
    """Those that stay are the first ones, or come from further behind: nothing is overwritten before it is moved."""
    rows = Rows([2, 1, 3], num_common=2, repeats=2, room=3)
    rows.step()
    staying = set(order[:count])
    behind = sorted(row for row in staying if row >= count)
    rows.keep([place if place in staying else behind.pop() for place in range(count)])
    assert rows.step() < EXACT
