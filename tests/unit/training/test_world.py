"""A world of one keeps to itself; worlds of several are in tests/parity/test_accumulation.py."""

import pickle

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from aha.training.world import World, pickle_items


def test_a_world_of_one_needs_no_peers() -> None:
    world, total = World(), torch.tensor([1.0, 2.0])
    world.add_up([total])
    world.add_up([])
    assert not dist.is_initialized()
    assert total.tolist() == [1.0, 2.0]
    assert (world.rank, world.size, world.is_first) == (0, 1, True)
    assert world.share(range(3)) == world.collect([0, 1, 2]) == [0, 1, 2]
    assert (world.agree(True), world.agree(False)) == (True, False)
    world.leave()


TENSORS = {
    "figures": torch.arange(12.0).view(3, 4),
    "a view": torch.arange(24).view(4, 6)[:, 1:3],
    "a flag": torch.tensor(True),
    "none": torch.zeros(0, 5, dtype=torch.float64),
    "bfloat16": torch.ones(3, dtype=torch.bfloat16),
    "a weight": torch.ones(3, requires_grad=True),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_are_read_as_they_were_written(name: str) -> None:
    given = TENSORS[name]
    ((found, text),) = pickle.loads(pickle_items([(given, "text")]))
    assert isinstance(found, Tensor)
    assert (found.dtype, found.requires_grad, text) == (given.dtype, given.requires_grad, "text")
    assert torch.equal(found, given)
    with torch.no_grad():
        found += found  # it is no view of what was read
