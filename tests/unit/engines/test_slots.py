"""Slots are filled, read and freed, and rows stay in the order that the decoder is told."""

import numpy as np
import torch

from aha.engines.slots import Slots

CPU = torch.device("cpu")


def write(slots: Slots, tokens: list[int], logp: list[float] | None = None, last: list[bool] | None = None) -> None:
    count = len(tokens)
    slots.write(torch.tensor(tokens), torch.tensor(logp or [0.0] * count), torch.tensor(last or [False] * count))


def filled(orders: list[int], *, num_slots: int = 4, cap: int = 3) -> Slots:
    slots = Slots(num_slots, cap, CPU)
    slots.fill(orders, [np.arange(cap) / 10 + order / 100 for order in orders])
    return slots


def test_each_row_draws_from_its_own_seed_in_turn() -> None:
    slots = filled([5, 2])
    assert torch.allclose(slots.uniforms_B, torch.tensor([0.05, 0.02], dtype=torch.float64))
    write(slots, [7, 8], [-1.0, -2.0])
    assert torch.allclose(slots.uniforms_B, torch.tensor([0.15, 0.12], dtype=torch.float64))
    assert slots.length_B.tolist() == [1, 1]


def test_a_row_is_read_as_it_was_written() -> None:
    slots = filled([5, 2])
    for step in range(3):
        assert slots.is_over_B.tolist() == [False, False]
        write(slots, [10 + step, 20 + step], [-0.5 * step, -0.25])
    assert slots.is_over_B.tolist() == [True, True]
    (_, (order, tokens_T, logp_T)) = slots.read()
    assert (order, tokens_T.tolist(), logp_T.tolist()) == (2, [20, 21, 22], [-0.25] * 3)


def test_what_is_written_behind_an_end_is_not_read() -> None:
    slots = filled([5, 2])
    write(slots, [7, 8], last=[True, False])
    for step in range(4):
        write(slots, [70 + step, 80 + step])
    assert slots.length_B.tolist() == [1, 3]
    assert [(order, tokens_T.tolist()) for order, tokens_T, _ in slots.read()] == [(5, [7]), (2, [8, 80, 81])]


def test_the_last_rows_take_the_free_places_and_slots_are_used_again() -> None:
    slots = filled([0, 1, 2, 3])
    write(slots, [10, 11, 12, 13], last=[True, False, True, False])
    assert [(order, tokens_T.tolist()) for order, tokens_T, _ in slots.read()] == [(0, [10]), (2, [12])]
    assert slots.drop().tolist() == [3, 1]
    assert (slots.request_B.tolist(), slots.num_free, len(slots)) == ([3, 1], 2, 2)
    slots.fill([4, 5], [np.zeros(3)] * 2)
    assert (slots.request_B.tolist(), slots.length_B.tolist(), slots.num_free) == ([3, 1, 4, 5], [1, 1, 0, 0], 0)
    write(slots, [23, 21, 14, 15], last=[True] * 4)
    assert [tokens_T.tolist() for _, tokens_T, _ in slots.read()] == [[13, 23], [11, 21], [14], [15]]


def test_all_rows_may_leave_at_once() -> None:
    slots = filled([0, 1])
    write(slots, [0, 0], last=[True, True])
    assert slots.drop().tolist() == []
    assert (len(slots), slots.num_free) == (0, 4)
