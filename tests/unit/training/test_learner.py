"""One step by hand, what it reports, and scoring under a reference."""

import math
from functools import partial

import pytest
import torch
from peers import make_batch, make_learner, objective, weights_of
from tiny import tiny_config, tiny_policy
from torch import Tensor

from aha.objectives.supervised import next_token_loss
from aha.policy.layout import rows
from aha.policy.scoring import score
from aha.policy.transformer import Transformer
from aha.training.batch import select, stack
from aha.training.learner import Learner, NonFiniteLossError, log_probabilities, reference_logp
from aha.types import Batch, Loss, Mean


def descend(
    policy: Transformer, *, rate: float = 0.5, grad_clip: float = 1e9, temperature: float = 1.0
) -> Learner[Transformer]:
    """A learner whose step is the plain gradient times a rate."""
    plain = torch.optim.SGD([{"params": list(policy.parameters()), "base_lr": rate}], lr=rate)
    return Learner(
        policy,
        [plain],
        factor=lambda step: 0.5**step,
        grad_clip=grad_clip,
        forward=partial(log_probabilities, temperature=temperature),
    )


def some_text() -> Batch:
    return stack([torch.tensor([3, 4]), torch.tensor([5])], [torch.tensor([6, 7, 1]), torch.tensor([8])])


def expected_gradient(policy: Transformer, batch: Batch, temperature: float) -> tuple[float, list[Tensor]]:
    """Mean negative log-likelihood by the plain layout, and its gradient."""
    logp_BT = score(policy, rows(batch.tokens_BT), batch.tokens_BT, batch.mask_BT, temperature=temperature)
    loss = -logp_BT[batch.mask_BT].mean()
    return loss.item(), list(torch.autograd.grad(loss, list(policy.parameters())))


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_a_step_goes_against_the_gradient_of_the_mean(temperature: float) -> None:
    policy = tiny_policy(tiny_config(), dtype=torch.float64)
    loss, grads = expected_gradient(policy, some_text(), temperature)
    before = weights_of(policy)
    metrics = descend(policy, temperature=temperature).step(some_text(), next_token_loss, name="a batch")
    for (name, weight), grad in zip(policy.named_parameters(), grads, strict=True):
        assert torch.allclose(weight, before[name] - 0.5 * grad, rtol=0, atol=1e-12), name
    norm = math.sqrt(sum(float(grad.square().sum()) for grad in grads))
    assert metrics == pytest.approx({"loss": loss, "grad_norm": norm, "learning_rate": 0.5}, rel=1e-9)


def test_a_step_that_fails_says_the_mean_loss() -> None:
    def steep(logp_BT: Tensor, **signals: Tensor) -> Loss:
        loss = next_token_loss(logp_BT, **signals)
        # Its value is 6, its gradient infinite.
        return Loss(total=6.0 + (loss.total * 0.0).sqrt(), count=loss.count * 0 + 3)

    with pytest.raises(NonFiniteLossError, match=r"^a batch: the loss is 2\.0, the gradient norm nan; nothing was"):
        descend(tiny_policy(tiny_config())).step(some_text(), steep, name="a batch")


def test_a_large_gradient_is_scaled_to_the_clip() -> None:
    policy = tiny_policy(tiny_config(), dtype=torch.float64)
    before = weights_of(policy)
    metrics = descend(policy, rate=1.0, grad_clip=0.01).step(some_text(), next_token_loss, name="a batch")
    moved = math.sqrt(sum(float((weights_of(policy)[n] - w).square().sum()) for n, w in before.items()))
    assert metrics["grad_norm"] > 0.1
    assert moved == pytest.approx(0.01, rel=1e-4)


def test_the_rate_follows_the_schedule_and_gradients_do_not_linger() -> None:
    policy = tiny_policy(tiny_config())
    learner = descend(policy)
    rates = [learner.step(some_text(), next_token_loss, name="a batch")["learning_rate"] for _ in range(3)]
    assert rates == [0.5, 0.25, 0.125]
    assert learner.num_steps == 3
    assert all(weight.grad is None for weight in policy.parameters())


def test_metrics_are_means_over_all_micro_batches() -> None:
    def counted(logp_BT: Tensor, *, mask_BT: Tensor) -> Loss:
        loss = next_token_loss(logp_BT, mask_BT=mask_BT)
        tokens = Mean(total=mask_BT.sum(), count=torch.tensor(1.0))
        nothing = Mean(total=torch.tensor(0.0), count=torch.tensor(0))
        return Loss(total=loss.total, count=loss.count, metrics={"tokens": tokens, "nothing": nothing})

    policy = tiny_policy(tiny_config())
    learner = Learner(policy, descend(policy).optimizers, factor=lambda step: 1.0, grad_clip=1.0, max_tokens=1)
    metrics = learner.step(some_text(), counted, name="a batch")
    assert (metrics["tokens"], metrics["nothing"]) == (2.0, 0.0)


def test_frozen_parameters_stay() -> None:
    policy = tiny_policy(tiny_config(tie_word_embeddings=False))
    policy.model.embed_tokens.weight.requires_grad_(False)
    before = weights_of(policy)
    descend(policy).step(some_text(), next_token_loss, name="a batch")
    after = weights_of(policy)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == before.keys() - {"model.embed_tokens.weight"}


def test_equal_steps_are_equal_bits() -> None:
    results = []
    for _ in range(2):
        learner = make_learner(max_tokens=20)
        metrics = [learner.step(make_batch(seed), objective, name="a batch") for seed in range(2)]
        results.append((metrics, weights_of(learner.model)))
    assert results[0][0] == results[1][0]
    assert all(torch.equal(results[0][1][name], weight) for name, weight in results[1][1].items())


@pytest.mark.parametrize("max_tokens", [1, 20, 10_000])
def test_a_reference_scores_each_sequence_in_its_place(max_tokens: int) -> None:
    policy, batch = tiny_policy(tiny_config()), make_batch()
    found_BT = reference_logp(policy, batch, temperature=0.7, max_tokens=max_tokens)
    with torch.no_grad():
        layout = rows(batch.tokens_BT)
        logp_BT = score(policy, layout, batch.tokens_BT, batch.mask_BT, temperature=0.7)
    assert not found_BT.requires_grad
    assert torch.allclose(found_BT, logp_BT, rtol=0, atol=1e-5)
    assert reference_logp(policy, select(batch, []), temperature=0.7).numel() == 0
