"""A gradient that is added to the one that is there is the gradient that is returned."""

import pytest
import torch
from tiny import random_tokens, tiny_config, tiny_policy

from aha.training.batch import stack
from aha.training.learner import log_probabilities


@pytest.mark.parametrize("vocab_size", [11, 1000])
@pytest.mark.parametrize("is_tied", [True, False])
def test_backward_adds_what_grad_returns(vocab_size: int, is_tied: bool) -> None:
    """With 1000 words, the embedding's gradient is sparse where one awaits it."""
    policy = tiny_policy(tiny_config(vocab_size=vocab_size, tie_word_embeddings=is_tied))
    prompts, responses = (
        random_tokens(sizes, vocab_size=vocab_size, seed=s) for s, sizes in enumerate([[3, 4], [9, 5]])
    )
    batch, weights = stack(prompts, responses), list(policy.parameters())
    expected = torch.autograd.grad(log_probabilities(policy, batch).sum(), weights)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    for _ in range(2):
        log_probabilities(policy, batch).sum().backward()
    for weight, grad in zip(weights, expected, strict=True):
        assert weight.grad is not None
        assert weight.grad.layout == torch.strided
        assert torch.allclose(weight.grad, 1 + 2 * grad, atol=1e-4, rtol=1e-4)
