"""Kernels of decoding on GPUs against torch."""

import math

import pytest
import torch
from gpu_marks import DEVICE, needs_triton, quiet
from torch import Tensor
from torch.nn import functional as F

from aha.engines.sampling import sample_tokens

pytestmark = [needs_triton, quiet]

HEADS, SHARED, SIZE, COLUMNS, PROMPT_COLUMNS = 6, 2, 16, 160, 80


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


@pytest.mark.parametrize("has_update", [True, False])
def test_add_norm(has_update: bool) -> None:
    from aha.kernels.cuda import decoding as gpu_decoding

    x, update, weight = drawn(4, 48), drawn(4, 48, seed=1), drawn(48, seed=2)
    total, normed = gpu_decoding.add_norm(x, update if has_update else None, weight, 1e-6)
    expected = x + update if has_update else x
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(normed, F.rms_norm(expected, (48,), weight, 1e-6))


def test_draws_are_those_of_torch() -> None:
    from aha.kernels.cuda import decoding as gpu_decoding

    logits = drawn(40, 9001) * 2
    logits[0, 4096:], logits[1, :8000] = -torch.inf, -torch.inf
    uniforms = torch.rand(40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    uniforms[:3] = torch.tensor([1 - 1e-16, 0.0, 1 - 1e-16])
    tokens, logp = gpu_decoding.draw(logits, uniforms.to(DEVICE), 0.8)
    expected = sample_tokens(logits.cpu(), uniforms, temperature=0.8)
    assert torch.equal(tokens.cpu(), expected[0])
    torch.testing.assert_close(logp.cpu(), expected[1], atol=1e-5, rtol=1e-5)


def test_an_impossible_token_is_never_drawn() -> None:
    from aha.kernels.cuda import decoding as gpu_decoding

    logits = torch.full((3, 5000), -torch.inf, device=DEVICE)
    logits[:, 4500] = 0.0
    tokens, logp = gpu_decoding.draw(logits, torch.tensor([0.0, 0.5, 1 - 1e-16], dtype=torch.float64).to(DEVICE), 1.0)
    assert tokens.tolist() == [4500] * 3
    assert logp.tolist() == [0.0] * 3


def plain_attention(
    qkv_J: Tensor,
    row: list[int],
    cos: Tensor,
    sin: Tensor,
    norms: tuple[Tensor, Tensor] | None,
    prompts: Tensor,
    own: Tensor,
) -> Tensor:
    """One row by itself, [H, K]."""
    slot, length, prompt, prompt_length = row
    position = length + prompt_length

    def placed(x_HK: Tensor, norm: Tensor | None) -> Tensor:
        x_HK = x_HK if norm is None else F.rms_norm(x_HK, (SIZE,), norm, 1e-6)
        first, second = x_HK.chunk(2, dim=-1)
        c, s = cos[position], sin[position]
        return torch.cat((first * c - second * s, second * c + first * s), dim=-1)

    q, k, v = qkv_J.view(-1, SIZE).split([HEADS, SHARED, SHARED])
    q, k = placed(q, norms[0] if norms else None), placed(k, norms[1] if norms else None)
    keys = torch.cat((prompts[0, prompt, :, :prompt_length], own[0, slot, :, :length], k[:, None]), dim=1)
    values = torch.cat((prompts[1, prompt, :, :prompt_length], own[1, slot, :, :length], v[:, None]), dim=1)
    keys, values = (x.repeat_interleave(HEADS // SHARED, 0) for x in (keys, values))
    return F.scaled_dot_product_attention(q[:, None], keys, values)[:, 0]


@pytest.mark.parametrize("has_norm", [True, False])
@pytest.mark.parametrize("part", [1024, 64])
def test_a_row_attends_to_its_prompt_and_to_itself(has_norm: bool, part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from aha.kernels.cuda import decoding as gpu_decoding

    monkeypatch.setattr(gpu_decoding, "PART", part)
    rows = torch.tensor(
        [[3, 0, 2, 4, 5, 5], [0, 149, 64, 63, 0, 0], [0, 1, 2, 1, 0, 0], [70, 3, 64, 0, 5, 0]], dtype=torch.int32
    )
    shapes = (3, SHARED, PROMPT_COLUMNS), (6, SHARED, COLUMNS)
    parts = drawn(2, sum(map(math.prod, shapes)), SIZE, seed=3).split(list(map(math.prod, shapes)), dim=1)
    prompts, own = (part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True))
    before = own.clone()
    angles = drawn(300, SIZE // 2, seed=5)
    norms = (drawn(SIZE, seed=6), drawn(SIZE, seed=7)) if has_norm else None
    qkv = drawn(5, (HEADS + 2 * SHARED) * SIZE, seed=8)
    there = rows.to(DEVICE)
    q = gpu_decoding.place(qkv, angles.cos(), angles.sin(), norms, own, there, num_heads=HEADS, eps=1e-6)
    found = gpu_decoding.attend(q, prompts, own, there, scale=SIZE**-0.5)
    for row in range(5):
        one = rows[:, row].tolist()
        expected = plain_attention(qkv[row], one, angles.cos(), angles.sin(), norms, prompts, before)
        torch.testing.assert_close(found[row], expected, atol=2e-5, rtol=1e-4)
    assert torch.equal(own[:, 1], before[:, 1]), "a slot without a row was written to"
