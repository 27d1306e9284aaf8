"""The processes of a run: one, or several that each run the same stage on their share of the work.

A run of several is the run of one, divided: every process draws the same problems, samples and learns from its part,
and adds up with the others before a step. Process 0 alone writes.
"""

import io
import os
import pickle
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["World", "pickle_items"]

_NUMBERS = (torch.float32, torch.float64, torch.int64, torch.bool)


class _Pickler(pickle.Pickler):
    """Writes plain tensors as numpy does.

    torch's own way takes a tenth of a millisecond for each tensor, and a rollout has three.
    """

    def reducer_override(self, obj: Any) -> Any:
        """The function and the arguments that make an object again; `NotImplemented` asks for pickle's own way."""
        is_plain = type(obj) is Tensor and obj.device.type == "cpu" and not obj.requires_grad
        if is_plain and obj.dtype in _NUMBERS:
            return torch.from_numpy, (obj.numpy(),)
        return NotImplemented


def pickle_items(items: Any) -> bytes:
    """Items as bytes, from which `pickle.loads` makes them again in another process; their tensors can be changed."""
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(items)
    return buffer.getvalue()


class World:
    """This process among its peers.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
        device: where this process computes.
    """

    def __init__(self, rank: int = 0, size: int = 1, rendezvous: str = "", device: torch.device | str = "cpu") -> None:
        """Join the peers.

        Args:
            rank: number of this process.
            size: number of processes; 1 needs no peers.
            rendezvous: path of a file through which the peers find each other, the same for all.
            device: where this process computes.
        """
        self.rank = rank
        self.size = size
        self.device = torch.device(device)
        if size > 1:
            # The peers are on this machine, and its other interfaces may not reach it.
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
            dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=size)

    @property
    def is_first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def share(self, items: Sequence[Any]) -> list[Any]:
        """This process's part of a list: every `size`-th item from `rank` on."""
        return list(items[self.rank :: self.size])

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Sum each tensor over the processes, in place, in one message."""
        if self.size == 1 or not tensors:
            return

        sizes = [tensor.numel() for tensor in tensors]
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)

        parts = torch.split(flat, sizes)
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def collect(self, items: Sequence[Any]) -> list[Any]:
        """All processes' parts put together again, in the order that `share` divided."""
        if self.size == 1:
            return list(items)

        # The bytes are pickled again on their way, which is quick; tensors pickled by torch would not be.
        pickled = pickle_items(list(items))
        pickled_parts: list[Any] = [None] * self.size
        dist.all_gather_object(pickled_parts, pickled)
        parts = [pickle.loads(part) for part in pickled_parts]

        # `share` deals items out in turn, so they are put together in turn. The first parts may be one item longer.
        collected: list[Any] = []
        longest = max(len(part) for part in parts)
        for index in range(longest):
            collected += [part[index] for part in parts if index < len(part)]
        return collected

    def agree(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        num_set = torch.tensor([float(flag)])
        self.add_up([num_set])
        return bool(num_set.item() > 0)

    def leave(self) -> None:
        """Part from the peers; does nothing when it is called again."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()
