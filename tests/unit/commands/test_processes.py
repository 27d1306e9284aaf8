"""Where each process of a command computes."""

from dataclasses import dataclass
from typing import Never

import pytest

from aha.commands.processes import among_peers, device_of_rank


@pytest.mark.parametrize(
    ("rank", "name", "num_processes", "num_cards", "device"),
    [
        (0, "cpu", 1, 0, "cpu"),
        (3, "cpu", 4, 2, "cpu"),
        (0, "cuda", 1, 8, "cuda"),
        (0, "cuda", 2, 2, "cuda:0"),
        (1, "cuda", 2, 8, "cuda:1"),
    ],
)
def test_each_process_has_a_card_of_its_own(
    rank: int, name: str, num_processes: int, num_cards: int, device: str
) -> None:
    assert device_of_rank(rank, name=name, num_processes=num_processes, num_cards=num_cards) == device


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_fewer_cards_than_processes_are_refused_in_every_process(rank: int) -> None:
    with pytest.raises(ValueError, match=r"4 processes needs a card for each, and torch finds 2: .* to 2"):
        device_of_rank(rank, name="cuda", num_processes=4, num_cards=2)


@dataclass(frozen=True)
class Wide:
    """A job of more processes than any machine has cards; none may be started, so none of it can be done."""

    num_processes: int = 10_000
    device_name: str = "cuda"

    def prepare(self) -> Never:
        raise AssertionError


def test_a_job_with_too_few_cards_starts_nothing() -> None:
    with pytest.raises(ValueError, match="10000 processes needs a card for each"), among_peers(Wide()):
        pass
