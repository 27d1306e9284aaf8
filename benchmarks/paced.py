"""An engine whose responses end where they are told to: the one place that knows how the engine draws."""

from collections.abc import Sequence
from unittest.mock import patch

import torch
from torch import Tensor
from workload import END_ID, Unit

from aha.engines import batch as running_batches
from aha.engines.batch import RunningBatch
from aha.engines.local import LocalEngine
from aha.engines.sampling import DecodingGroup, sample_rows
from aha.policy.transformer import Transformer
from aha.prompts.tokenizer import Tokenizer
from aha.training.world import World
from aha.types import Rollout


class PacedEngine(LocalEngine):
    """The local engine, with responses of given lengths.

    Only the choice of the token differs: before its length a row samples any token but the end token, and at its
    length it gets the end token. All that follows from an end, such as leaving the batch, is the engine's own. The
    log-probabilities are those of the policy as it is, end token included.
    """

    def __init__(self, policy: Transformer, tokenizer: Tokenizer, ends_B: Tensor) -> None:
        """Take the length at which each row ends, [B]; a length above the cap never ends."""
        super().__init__(policy, tokenizer)
        self._ends_B = ends_B
        self._opened: RunningBatch | None = None

    def step(self) -> list[Rollout]:
        """As the engine's own step, with other draws."""
        # A batch takes no function that draws, since nothing but this benchmark has another one.
        with patch.object(running_batches, "sample_rows", self._sample_rows):
            return super().step()

    def _open_batch(self) -> RunningBatch | None:
        self._opened = super()._open_batch()
        return self._opened

    def _sample_rows(
        self, logits_BV: Tensor, uniforms_B: Tensor, decoding_groups: Sequence[DecodingGroup]
    ) -> tuple[Tensor, Tensor]:
        logp_BV = logits_BV.log_softmax(-1)
        logits_BV[:, END_ID] = -torch.inf
        tokens_B, _ = sample_rows(logits_BV, uniforms_B, decoding_groups)
        # Requests are numbered on from one sampling to the next, and each asks for all rows.
        slots = self._opened._slots
        row_B = slots.request_B % len(self._ends_B)
        tokens_B = tokens_B.masked_fill(self._ends_B[row_B] == slots.length_B + 1, END_ID)
        return tokens_B, logp_BV.gather(-1, tokens_B[:, None])[:, 0]


def ends_of(unit: Unit, world: World) -> Tensor:
    """Where the rows of this process end, [B]: its part of every group, in the order of the prompts."""
    ends_PG = torch.from_numpy(unit.lengths_B + (unit.kind == "fixed")).view(-1, unit.group_size)
    return ends_PG.chunk(world.size, dim=1)[world.rank].flatten()
