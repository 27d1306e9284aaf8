"""High frequencies stay, low ones are divided, and between the two is a passage."""

import pytest
import torch
from tiny import tiny_config

from aha.policy.config import RopeConfig
from aha.policy.rope import frequencies

CPU = torch.device("cpu")
ROPE = RopeConfig(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=128)


def test_plain_frequencies_fall_from_one() -> None:
    found = frequencies(tiny_config(rope_theta=10000.0), 8, CPU)
    assert found.tolist() == pytest.approx([1.0, 0.1, 0.01, 0.001])


def test_stretched_frequencies() -> None:
    """Turns over 128 tokens are 20.4, 2.04, 0.204 and 0.0204: kept, between the two, divided, divided.

    The second: share = (2.0372 - 1) / (4 - 1) = 0.34573, so 0.1 * (0.65427 / 8 + 0.34573) = 0.042751.
    """
    found = frequencies(tiny_config(rope_theta=10000.0, rope_scaling=ROPE), 8, CPU)
    assert found.tolist() == pytest.approx([1.0, 0.042751, 0.01 / 8, 0.001 / 8], rel=1e-4)


def test_a_factor_of_one_stretches_nothing() -> None:
    plain = frequencies(tiny_config(), 8, CPU)
    same = frequencies(tiny_config(rope_scaling=ROPE.model_copy(update={"factor": 1.0})), 8, CPU)
    assert torch.allclose(plain, same)
