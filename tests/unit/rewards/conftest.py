"""Rollouts to judge."""

from collections.abc import Callable

import pytest
import torch

from aha.types import Rollout


@pytest.fixture
def rollout() -> Callable[[str], Rollout]:
    """A rollout with a given text."""

    def make(text: str) -> Rollout:
        tokens = torch.zeros(3, dtype=torch.int64)
        return Rollout(
            problem_id="p", prompt_tokens=tokens, tokens=tokens, logp=torch.zeros(3), text=text, finish="stop"
        )

    return make
