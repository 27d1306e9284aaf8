"""Slots are filled, read and freed, and rows stay in the order that the decoder is told."""

import numpy as np
import torch

from aha.rollouts.slots import Slots

CPU = torch.device("cpu")


def filled(orders: list[int], *, num_slots: int = 4, cap: int = 3) -> Slots:
    slots = Slots(num_slots, cap, CPU)
    slots.fill(orders, [np.arange(cap) / 10 + order / 100 for order in orders])
    return slots


def test_each_row_draws_from_its_own_seed_in_turn() -> None:
    slots = filled([5, 2])
    assert torch.allclose(slots.uniforms_B, torch.tensor([0.05, 0.02], dtype=torch.float64))
    slots.write(torch.tensor([7, 8]), torch.tensor([-1.0, -2.0]))
    assert torch.allclose(slots.uniforms_B, torch.tensor([0.15, 0.12], dtype=torch.float64))
    assert slots.length_B.tolist() == [1, 1]


def test_a_row_is_read_as_it_was_written() -> None:
    slots = filled([5, 2])
    for step in range(3):
        assert slots.is_full_B.tolist() == [False, False]
        slots.write(torch.tensor([10 + step, 20 + step]), torch.tensor([-0.5 * step, -0.25]))
    assert slots.is_full_B.tolist() == [True, True]
    order, tokens_T, logp_T = slots.read(1)
    assert (order, tokens_T.tolist(), logp_T.tolist()) == (2, [20, 21, 22], [-0.25] * 3)


def test_the_last_rows_take_the_free_places_and_slots_are_used_again() -> None:
    slots = filled([0, 1, 2, 3])
    slots.write(torch.tensor([10, 11, 12, 13]), torch.zeros(4))
    kept_B = slots.drop(torch.tensor([True, False, True, False]))
    assert kept_B.tolist() == [3, 1]
    assert (slots.order_B.tolist(), slots.num_free, len(slots)) == ([3, 1], 2, 2)
    slots.fill([4, 5], [np.zeros(3)] * 2)
    assert (slots.order_B.tolist(), slots.length_B.tolist(), slots.num_free) == ([3, 1, 4, 5], [1, 1, 0, 0], 0)
    slots.write(torch.tensor([23, 21, 14, 15]), torch.zeros(4))
    assert [slots.read(row)[1].tolist() for row in range(4)] == [[13, 23], [11, 21], [14], [15]]


def test_all_rows_may_leave_at_once() -> None:
    slots = filled([0, 1])
    slots.write(torch.zeros(2, dtype=torch.int64), torch.zeros(2))
    assert slots.drop(torch.tensor([True, True])).tolist() == []
    assert (len(slots), slots.num_free) == (0, 4)
