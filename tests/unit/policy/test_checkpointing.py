"""Recomputed layers: the same bits, the same names, less memory."""

import copy

import pytest
import torch
from tiny import SHAPES, random_tokens, tiny_config, tiny_policy
from torch import Tensor

from aha.policy.checkpointing import checkpoint_activations
from aha.policy.layout import pack
from aha.policy.scoring import score
from aha.policy.transformer import Transformer
from aha.training.batch import stack


def gradients(policy: Transformer) -> tuple[Tensor, list[Tensor]]:
    """Log-probabilities of some text, and the gradient of their sum."""
    batch = stack(random_tokens([3, 3, 4]), random_tokens([5, 7, 6], seed=1))
    layout = pack(batch.tokens_BT, batch.lengths_B, [2, 2, 3])
    logp_BT = score(policy, layout, batch.tokens_BT, batch.mask_BT)
    return logp_BT.detach(), list(torch.autograd.grad(logp_BT.sum(), list(policy.parameters())))


def kept_bytes(policy: Transformer) -> int:
    """Bytes that the forward pass keeps for the gradient, each storage once, the parameters' left out."""
    sizes: dict[int, int] = {}
    own = {weight.untyped_storage().data_ptr() for weight in policy.parameters()}

    def pack_hook(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack_hook, lambda tensor: tensor):
        tokens = torch.stack(random_tokens([64] * 4))
        layout = pack(tokens, torch.full((4,), 64))
        hidden = policy(layout.tokens_N, layout.positions_N, layout)
    del hidden
    return sum(size for pointer, size in sizes.items() if pointer not in own)


@pytest.mark.parametrize("shape", SHAPES)
def test_value_and_gradient_are_equal_bit_for_bit(shape: str) -> None:
    plain = tiny_policy(tiny_config(shape))
    recomputed = copy.deepcopy(plain)
    checkpoint_activations(recomputed)
    (value, grads), (other, others) = gradients(plain), gradients(recomputed)
    assert torch.equal(value, other)
    assert all(torch.equal(grad, one) for grad, one in zip(grads, others, strict=True))


def test_names_and_weights_stay() -> None:
    plain = tiny_policy(tiny_config())
    recomputed = copy.deepcopy(plain)
    checkpoint_activations(recomputed)
    checkpoint_activations(recomputed)
    twin = copy.deepcopy(recomputed)
    assert [name for name, _ in twin.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert twin.state_dict().keys() == plain.state_dict().keys()
    with torch.no_grad():
        for weight in twin.parameters():
            weight.zero_()
    assert torch.equal(gradients(recomputed)[0], gradients(plain)[0])
    assert not torch.equal(gradients(twin)[0], gradients(plain)[0])


def test_less_is_kept() -> None:
    plain = tiny_policy(tiny_config(num_hidden_layers=6))
    recomputed = copy.deepcopy(plain)
    checkpoint_activations(recomputed)
    assert kept_bytes(recomputed) < 0.25 * kept_bytes(plain)
