"""Advantages from a group of rollouts of one problem, in place of a learned critic.

`group_advantages` is GRPO's; `leave_one_out_advantages` is RLOO's, the closest relative, which subtracts a baseline
and does not divide by the spread; `centred_advantages` is Dr. GRPO's, which subtracts the mean alone.
"""

import torch
from torch import Tensor

__all__ = ["centred_advantages", "group_advantages", "leave_one_out_advantages"]


def group_advantages(rewards_PG: Tensor, *, eps: float = 1e-6, ddof: int = 0) -> Tensor:
    """Reward of each rollout relative to its own group.

    A_i = (r_i - mean(r)) / (std(r) + eps)

    Args:
        rewards_PG: total reward, any real unit, P >= 0, G >= 2.
        eps: added to the standard deviation, in the unit of the reward, >= 0.
        ddof: the variance is divided by G - ddof: 0 for the population's, 1 for the sample's.

    Returns:
        Advantages in standard deviations, [P, G], detached, float32 (computed in float64). A group of equal rewards
        gets exact zeros, also where its floating-point mean is not the common value.

    Raises:
        ValueError: not a matrix, G < 2, or a reward is not finite.

    Source: DeepSeek-R1, arXiv:2501.12948v1, Eq. 3. Ours: eps and the exact zeros (the paper has 0/0); the population
    standard deviation as the default (the papers do not say).
    """
    rewards_PG = _check_rewards(rewards_PG)
    centred_PG = _centre(rewards_PG)

    # Bessel's correction: 1 for the population's variance.
    num_rollouts = rewards_PG.shape[1]
    correction = num_rollouts / (num_rollouts - ddof)
    mean_square_P1 = centred_PG.square().mean(dim=1, keepdim=True)
    variance_P1 = mean_square_P1 * correction
    adv_PG = centred_PG / (variance_P1.sqrt() + eps)
    return _zero_without_spread(adv_PG, rewards_PG)


def leave_one_out_advantages(rewards_PG: Tensor) -> Tensor:
    """Reward of each rollout against the mean reward of the others in its group.

    A_i = r_i - 1/(G - 1) sum_(j != i) r_j = G/(G - 1) (r_i - mean(r))

    Args:
        rewards_PG: total reward, any real unit, P >= 0, G >= 2.

    Returns:
        Advantages in the unit of the reward, [P, G], detached, float32 (computed in float64). A group of equal
        rewards gets exact zeros.

    Raises:
        ValueError: not a matrix, G < 2, or a reward is not finite.

    Source: RLOO, arXiv:2402.14740. The R1 paper does not use it.
    """
    rewards_PG = _check_rewards(rewards_PG)

    # The second form of the equation, which needs one mean a group.
    centred_PG = _centre(rewards_PG)
    num_rollouts = rewards_PG.shape[1]
    adv_PG = centred_PG * (num_rollouts / (num_rollouts - 1))
    return _zero_without_spread(adv_PG, rewards_PG)


def centred_advantages(rewards_PG: Tensor) -> Tensor:
    """Reward of each rollout less the mean of its group.

    A_i = r_i - mean(r)

    Args:
        rewards_PG: total reward, any real unit, P >= 0, G >= 2.

    Returns:
        Advantages in the unit of the reward, [P, G], detached, float32 (computed in float64). A group of equal rewards
        gets exact zeros.

    Raises:
        ValueError: not a matrix, G < 2, or a reward is not finite.

    Source: Dr. GRPO, arXiv:2503.20783, section 3: without the division by the deviation, which weighs questions that
    are almost always or almost never answered rightly more than others.
    """
    rewards_PG = _check_rewards(rewards_PG)
    adv_PG = _centre(rewards_PG)
    return _zero_without_spread(adv_PG, rewards_PG)


def _check_rewards(rewards_PG: Tensor) -> Tensor:
    """The rewards in float64, without a gradient.

    Raises:
        ValueError: they are no matrix, G < 2, or one of them is not finite.
    """
    shape = list(rewards_PG.shape)
    if len(shape) != 2 or shape[1] < 2:
        raise ValueError(f"rewards_PG must be [P, G] with G >= 2 to compare rollouts, not {shape}")

    is_wrong_PG = ~torch.isfinite(rewards_PG)
    if is_wrong_PG.any():
        problem, rollout = is_wrong_PG.nonzero()[0].tolist()
        value = rewards_PG[problem, rollout].item()
        raise ValueError(f"rewards must be finite; problem {problem}, rollout {rollout} has {value}")

    return rewards_PG.detach().double()


def _centre(rewards_PG: Tensor) -> Tensor:
    """The rewards less the mean of their group, [P, G]."""
    mean_P1 = rewards_PG.mean(dim=1, keepdim=True)
    return rewards_PG - mean_P1


def _zero_without_spread(adv_PG: Tensor, rewards_PG: Tensor) -> Tensor:
    """The advantages in float32, with exact zeros for groups of equal rewards."""
    # The mean of equal rewards may differ from them by rounding, which a tiny standard deviation would blow up. So the
    # rewards are compared, which is exact.
    highest_P1 = rewards_PG.amax(dim=1, keepdim=True)
    lowest_P1 = rewards_PG.amin(dim=1, keepdim=True)
    has_no_spread_P1 = highest_P1 == lowest_P1
    return adv_PG.masked_fill(has_no_spread_P1, 0.0).float()
