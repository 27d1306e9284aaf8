"""Rotary frequencies: plain ones, and those that Llama 3.1 stretches to longer sequences."""

import math

import torch
from torch import Tensor

from aha.policy.config import PositionConfig, RopeConfig

__all__ = ["frequencies", "turns"]


def frequencies(config: PositionConfig, size: int, device: torch.device) -> Tensor:
    """Angle per position of each pair of entries that turn, [K/2], radians, float32.

    f_k = theta ^ (-2k / K), and stretched where the configuration says so.

    Args:
        config: where the policy's tokens stand.
        size: entries of a head that turn (K): all of them in the dense family.
        device: where the result goes.

    Source: RoFormer, arXiv:2104.09864, section 3.2.2.
    """
    even_K = torch.arange(0, size, 2, dtype=torch.float32, device=device)
    exponents_K = even_K / size
    plain_K = 1.0 / config.rope_theta**exponents_K
    if config.rope_scaling is None:
        return plain_K
    return _stretch(plain_K, config.rope_scaling)


def turns(config: PositionConfig, size: int, positions_N: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles at some positions, [N, 1, K/2] each; arguments as for `frequencies`."""
    # In float32 whatever the policy's type: bfloat16 cannot tell positions above 256 apart.
    frequencies_K = frequencies(config, size, positions_N.device)
    angles_NK = positions_N.float()[:, None] * frequencies_K

    # The axis of size 1 is that of the heads, which all turn by the same angles.
    angles_N1K = angles_NK[:, None, :]
    return angles_N1K.cos().to(dtype), angles_N1K.sin().to(dtype)


def _stretch(plain_K: Tensor, rope: RopeConfig) -> Tensor:
    """Low frequencies divided by the factor, high ones as they are, a linear passage between the two.

    Source: Llama 3.1's reference implementation (`apply_scaling`); The Llama 3 Herd of Models, arXiv:2407.21783,
    section 3.2, for the base. The order of operations is that of `transformers`, so that the bits agree.
    """
    length = rope.original_max_position_embeddings
    low = rope.low_freq_factor
    high = rope.high_freq_factor
    wavelengths_K = 2 * math.pi / plain_K
    is_low_K = wavelengths_K > length / low
    is_high_K = wavelengths_K < length / high
    scaled_K = torch.where(is_low_K, plain_K / rope.factor, plain_K)

    # Between the two the frequency itself is interpolated, by the turns over the original length.
    turns_K = length / wavelengths_K
    share_K = (turns_K - low) / (high - low)
    between_K = (1 - share_K) * scaled_K / rope.factor + share_K * scaled_K
    return torch.where(is_low_K | is_high_K, scaled_K, between_K)
