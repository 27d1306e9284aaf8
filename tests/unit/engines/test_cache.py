"""The cache attends as plain causal attention over each row's own tokens would."""

import pytest
import torch
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from aha.engines.cache import Cache
from aha.policy.config import CacheSpec

HEADS, SHARED, SIZE, LAYERS = 4, 2, 8, 2
SCALE = 0.3
EXACT = 1e-12

GROUPED = CacheSpec(num_layers=LAYERS, num_heads=SHARED, key_size=SIZE, value_size=SIZE)
SPECS = {
    "grouped": GROUPED,
    "small values": CacheSpec(num_layers=LAYERS, num_heads=SHARED, key_size=SIZE, value_size=3),
    "large values": CacheSpec(num_layers=LAYERS, num_heads=SHARED, key_size=SIZE, value_size=11),
    "latent": CacheSpec(num_layers=LAYERS, num_heads=1, key_size=SIZE, value_size=5, value_is_prefix=True),
}


class Rows:
    """Prompts that begin alike, their keys and values in every layer, and a cache filled with them."""

    def __init__(
        self, rests: list[int], *, num_common: int, repeats: int, room: int, spec: CacheSpec = GROUPED
    ) -> None:
        self.generator, self.spec = torch.Generator().manual_seed(0), spec
        self.cache = Cache(
            spec,
            num_slots=len(rests) * repeats,
            num_common=num_common,
            num_columns=max(rests) + room,
            like=torch.zeros(0, dtype=torch.float64),
        )
        self.common = self.keys_and_values(num_common)
        self.cache.set_common(*self.common)
        self.history: list[tuple[Tensor, Tensor]] = []
        for rest in rests:
            self.add(rest, repeats)

    def add(self, rest: int, repeats: int = 1) -> None:
        """Rows of a prompt with so many tokens after the common beginning."""
        own = self.keys_and_values(rest)
        for _ in range(repeats):
            self.cache.add(*own)
            self.history.append(joined(self.common, own))

    def keys_and_values(self, num_tokens: int) -> tuple[Tensor, Tensor]:
        """Keys and values of so many tokens in every layer."""
        shape = (LAYERS, num_tokens, self.spec.num_heads)
        keys = self.random(*shape, self.spec.key_size)
        if self.spec.value_is_prefix:
            return keys, keys[..., : self.spec.value_size]
        return keys, self.random(*shape, self.spec.value_size)

    def random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def step(self) -> float:
        """One step of every row in every layer; the largest difference from plain attention."""
        num_rows, gaps = len(self.history), []
        keys, values = self.keys_and_values(num_rows)
        for row, old in enumerate(self.history):
            self.history[row] = joined(old, (keys[:, row, None], values[:, row, None]))
        self.cache.open_column()
        for layer in range(LAYERS):
            q_BHK = self.random(num_rows, HEADS, SIZE)
            out_BHM = self.cache.attend(layer, q_BHK, keys[layer], values[layer], SCALE)
            for row, past in enumerate(self.history):
                repeat = HEADS // self.spec.num_heads
                heads = [kind[layer].transpose(0, 1).repeat_interleave(repeat, 0) for kind in past]
                expected_H1M = F.scaled_dot_product_attention(q_BHK[row][:, None], *heads, scale=SCALE)
                gaps.append(float((out_BHM[row] - expected_H1M[:, 0]).abs().max()))
        return max(gaps)

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows, in this order."""
        self.cache.keep(torch.tensor(rows, dtype=torch.int64))
        self.history = [self.history[row] for row in rows]


def joined(before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Keys and values of some tokens and of those that follow."""
    return torch.cat((before[0], after[0]), dim=1), torch.cat((before[1], after[1]), dim=1)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("num_common", [0, 5])
def test_steps_attend_to_everything_before_them(num_common: int, spec: CacheSpec) -> None:
    for rests in ([3, 3], [1, 4, 2], [6], [1, 1]):
        rows = Rows(rests, num_common=num_common, repeats=3, room=4, spec=spec)
        assert [rows.step() < EXACT for _ in range(4)] == [True] * 4, rests


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("num_common", [0, 5])
def test_rows_that_stay_keep_their_own_past(num_common: int, spec: CacheSpec) -> None:
    rows = Rows([1, 4, 2], num_common=num_common, repeats=2, room=8, spec=spec)
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


@with_settings(max_examples=15)
@given(order=st.permutations(range(6)), count=st.integers(1, 6))
def test_any_rows_may_stay(order: list[int], count: int) -> None:
    """Those that stay are the first ones, or come from further behind: nothing is overwritten before it is moved."""
    rows = Rows([2, 1, 3], num_common=2, repeats=2, room=3)
    rows.step()
    staying = set(order[:count])
    behind = sorted(row for row in staying if row >= count)
    rows.keep([place if place in staying else behind.pop() for place in range(count)])
    assert rows.step() < EXACT


@pytest.mark.parametrize("num_common", [2, 5])
def test_the_first_common_tokens_are_read_alone(num_common: int) -> None:
    """As by prompts that are computed before all of the common beginning is known."""
    rows = Rows([1], num_common=5, repeats=1, room=1, spec=SPECS["latent"])
    keys_CJK, values_CJM = rows.cache.common(1, num_common)
    assert torch.equal(keys_CJK, rows.common[0][1, :num_common])
    assert torch.equal(values_CJM, rows.common[1][1, :num_common])


def test_what_is_a_part_of_the_keys_is_not_stored() -> None:
    assert [SPECS[name].numbers_per_token for name in SPECS] == [2 * 2 * 16, 2 * 2 * 11, 2 * 2 * 19, 2 * 8]
    with pytest.raises(ValueError, match="value of 9 numbers is no prefix of a key of 8"):
        CacheSpec(num_layers=1, num_heads=1, key_size=8, value_size=9, value_is_prefix=True)
