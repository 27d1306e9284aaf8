"""A world of one keeps to itself; worlds of several are in tests/parity/test_accumulation.py."""

import torch
import torch.distributed as dist

from aha.training.world import World


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
