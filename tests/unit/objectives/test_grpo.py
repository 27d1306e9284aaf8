"""Both readings of GRPO: what they ignore, what they refuse, and where they meet."""

import math

import pytest
import torch
from torch import Tensor

from aha.objectives.grpo import grpo_loss, grpo_sequence_loss

LOSSES = [grpo_loss, grpo_sequence_loss]
KNOBS = {"clip_eps": 0.2, "kl_coef": 0.1}


def random_inputs(num_tokens: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(num_tokens)
    logp_BT, old_logp_BT, ref_logp_BT = (-torch.rand(3, 4, num_tokens, generator=generator, dtype=dtype)).unbind()
    adv_B1 = torch.randn(4, 1, generator=generator, dtype=dtype)
    signals = {"old_logp_BT": old_logp_BT, "ref_logp_BT": ref_logp_BT, "adv_BT": adv_B1.repeat(1, num_tokens)}
    return logp_BT.clone().requires_grad_(), signals


def value_and_gradient(loss, logp_BT: Tensor, signals: dict[str, Tensor], mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    logp_BT = logp_BT.detach().clone().requires_grad_()
    result = loss(logp_BT, **signals, mask_BT=mask_BT, **KNOBS)
    result.total.backward()
    return result.total.detach(), logp_BT.grad


@pytest.mark.parametrize("junk", [math.inf, -math.inf, math.nan, 1e30])
@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_outside_the_mask_is_read(loss, junk: float) -> None:
    logp_BT, signals = random_inputs(5)
    mask_BT = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    spoiled = {name: signal.masked_fill(~mask_BT, junk) for name, signal in signals.items()}
    clean_total, clean_grad = value_and_gradient(loss, logp_BT, signals, mask_BT)
    total, grad = value_and_gradient(loss, logp_BT.masked_fill(~mask_BT, junk), spoiled, mask_BT)
    assert torch.equal(total, clean_total)
    assert torch.equal(grad, clean_grad)
    assert torch.equal(grad[~mask_BT], torch.zeros(13, dtype=torch.float64))


@pytest.mark.parametrize("loss", LOSSES)
def test_metrics_do_not_read_outside_the_mask(loss) -> None:
    logp_BT, signals = random_inputs(5)
    mask_BT = torch.ones(4, 5, dtype=torch.bool).tril()
    spoiled = {name: signal.masked_fill(~mask_BT, math.nan) for name, signal in signals.items()}
    clean = loss(logp_BT, **signals, mask_BT=mask_BT, **KNOBS).metrics
    metrics = loss(logp_BT.masked_fill(~mask_BT, math.nan), **spoiled, mask_BT=mask_BT, **KNOBS).metrics
    assert {name: mean.total.item() for name, mean in metrics.items()} == {
        name: mean.total.item() for name, mean in clean.items()
    }


@pytest.mark.parametrize("loss", LOSSES)
def test_sequences_are_independent(loss) -> None:
    logp_BT, signals = random_inputs(5)
    mask_BT = torch.ones(4, 5, dtype=torch.bool)
    whole = loss(logp_BT, **signals, mask_BT=mask_BT, **KNOBS)
    halves = [
        loss(logp_BT[rows], **{k: v[rows] for k, v in signals.items()}, mask_BT=mask_BT[rows], **KNOBS)
        for rows in (slice(0, 1), slice(1, 4))
    ]
    assert sum(half.total.item() for half in halves) == pytest.approx(whole.total.item(), abs=1e-14)
    assert sum(half.count.item() for half in halves) == whole.count.item() == 4


def test_for_responses_of_one_token_the_two_readings_agree() -> None:
    logp_BT, signals = random_inputs(1)
    mask_BT = torch.ones(4, 1, dtype=torch.bool)
    tokens, sequences = (value_and_gradient(loss, logp_BT, signals, mask_BT) for loss in LOSSES)
    torch.testing.assert_close(tokens, sequences)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_without_a_response_is_zero_over_zero(loss) -> None:
    logp_BT, signals = random_inputs(3)
    result = loss(logp_BT, **signals, mask_BT=torch.zeros(4, 3, dtype=torch.bool), **KNOBS)
    assert (result.total.item(), result.count.item()) == (0.0, 0)
    assert result.total.requires_grad


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_type_of_the_inputs_is_kept(loss, dtype: torch.dtype) -> None:
    logp_BT, signals = random_inputs(3, dtype)
    result = loss(logp_BT, **signals, mask_BT=torch.ones(4, 3, dtype=torch.bool), **KNOBS)
    assert {result.total.dtype, *(mean.total.dtype for mean in result.metrics.values())} == {dtype}


def test_one_sequence_ratio_refuses_advantages_that_differ_by_token() -> None:
    logp_BT, signals = random_inputs(3)
    signals["adv_BT"] = signals["adv_BT"] + torch.arange(3)
    mask_BT = torch.ones(4, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="differs within a response"):
        grpo_sequence_loss(logp_BT, **signals, mask_BT=mask_BT, **KNOBS)
    assert math.isfinite(grpo_loss(logp_BT, **signals, mask_BT=mask_BT, **KNOBS).total.item())


@pytest.mark.parametrize("loss", [grpo_loss, grpo_sequence_loss])
@pytest.mark.parametrize(("advantage", "log_ratio"), [(0.0, 200.0), (0.0, -200.0), (1.0, 200.0), (-1.0, -200.0)])
@pytest.mark.parametrize("kl_coef", [0.0, 0.001])
def test_a_huge_ratio_that_is_not_learned_from_is_finite(loss, advantage, log_ratio, kl_coef) -> None:
    """exp(200) is infinite in float32: neither the clipped gain nor an advantage of 0 may multiply it by 0."""
    logp_BT = torch.full((1, 2), log_ratio, requires_grad=True)
    mask_BT = torch.tensor([[True, False]])
    signals = {
        "old_logp_BT": torch.zeros(1, 2),
        "ref_logp_BT": torch.full((1, 2), log_ratio if kl_coef else 0.0),
        "adv_BT": torch.full((1, 2), advantage),
        "mask_BT": mask_BT,
    }
    total = loss(logp_BT, **signals, clip_eps=0.2, kl_coef=kl_coef).total
    total.backward()
    clipped = min(max(0.0 if log_ratio < 0 else 2.0, 0.8), 1.2)
    assert total.item() == pytest.approx(-advantage * clipped)
    assert logp_BT.grad is not None
    assert logp_BT.grad.tolist() == [[0.0, 0.0]]
