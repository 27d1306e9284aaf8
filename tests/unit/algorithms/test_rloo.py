"""RLOO: the KL to the reference is a part of the reward, before the others' mean is subtracted."""

import math

import pytest
import torch
from tiny import policy_actor, tiny_config, tiny_policy

from aha.algorithms.algorithm import Sampled
from aha.algorithms.rloo import RLOO
from aha.training.batch import stack


def test_the_kl_to_the_reference_is_taken_from_the_reward() -> None:
    """Rewards 1 and 0; log(pi_old / pi_ref) sums to 0.5 and -0.25, so R = 1 - 0.1 x 0.5 and 0 + 0.1 x 0.25."""
    prompts = [torch.tensor([3, 4])] * 2
    responses = [torch.tensor([5, 6]), torch.tensor([7])]
    reference = policy_actor(tiny_policy(tiny_config()))
    batch = stack(prompts, responses, {"old_logp_BT": [torch.zeros(2), torch.zeros(1)]})
    ref_logp_BT = reference.score(batch)
    old_logp_BT = ref_logp_BT + torch.tensor([[0, 0, 0.25, 0.25], [0, 0, -0.25, 0.0]])
    batch.signals["old_logp_BT"].copy_(old_logp_BT)  # type: ignore[index]

    sampled = Sampled(batch=batch, rewards_PG=torch.tensor([[1.0, 0.0]]), max_new_tokens=4)
    signals = RLOO(kl_coef=0.1).signals(sampled, {"policy": reference, "reference": reference})
    difference = 0.95 - 0.025
    expected = [[0, 0, difference, difference], [0, 0, -difference, 0]]
    torch.testing.assert_close(signals["adv_BT"], torch.tensor(expected), atol=1e-6, rtol=0)
    torch.testing.assert_close(signals["ref_logp_BT"], ref_logp_BT)


def test_without_kl_it_needs_the_policy_alone_and_equal_rewards_need_no_pass() -> None:
    algorithm = RLOO(kl_coef=0.0)
    assert algorithm.roles == ()
    batch = stack([torch.tensor([3])] * 4, [torch.tensor([5])] * 4, {"old_logp_BT": [torch.zeros(1)] * 4})
    sampled = Sampled(batch=batch, rewards_PG=torch.tensor([[1.0, 0.0], [0.5, 0.5]]), max_new_tokens=4)
    signals = algorithm.signals(sampled, {})
    assert signals["adv_BT"][:, 1].tolist() == [1.0, -1.0, 0.0, 0.0]
    with_signals = type(batch)(
        tokens_BT=batch.tokens_BT, mask_BT=batch.mask_BT, lengths_B=batch.lengths_B, signals=signals
    )
    assert algorithm.needs_pass(with_signals).tolist() == [True, True, False, False]


def test_a_coefficient_of_nothing_or_less_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        RLOO(kl_coef=-math.ulp(0.0))
