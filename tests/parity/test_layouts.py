"""The fast ways to score are the plain way, value and gradient: packed = padded = prefix-shared, chunked = whole."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from tiny import SHAPES, random_tokens, tiny_config, tiny_policy
from torch import Tensor

from aha.policy import layout as layouts
from aha.policy import scoring
from aha.policy.layout import Layout, pack, rows
from aha.policy.scoring import chosen_logp, score
from aha.policy.transformer import Transformer
from aha.training.batch import layout_of, stack
from aha.types import Batch

LAYOUTS: dict[str, Callable[[Batch], Layout]] = {
    "padded": lambda batch: rows(batch.tokens_BT),
    "packed": lambda batch: pack(batch.tokens_BT, batch.lengths_B),
    "prefix-shared": layout_of,
}

EXACT = {torch.float64: 1e-11, torch.float32: 1e-5}
"""Largest difference allowed, relative to the largest entry where that exceeds 1."""


def batch_of(prompts: Sequence[Sequence[int]], response_lengths: Sequence[int]) -> Batch:
    return stack([torch.tensor(prompt) for prompt in prompts], random_tokens(response_lengths))


def value_and_gradient(policy: Transformer, batch: Batch, layout: Layout) -> tuple[Tensor, list[Tensor]]:
    """Log-probabilities, and the gradient of a sum in which each has a weight of its own."""
    logp_BT = score(policy, layout, batch.tokens_BT, batch.mask_BT, temperature=0.8)
    weights_M = torch.linspace(-1.0, 1.0, int(batch.mask_BT.sum()), dtype=logp_BT.dtype)
    total = (logp_BT[batch.mask_BT] * weights_M).sum()
    return logp_BT.detach(), list(torch.autograd.grad(total, list(policy.parameters())))


def distance(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach(), expected.detach()
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1.0))


def assert_all_layouts_agree(policy: Transformer, batch: Batch) -> None:
    dtype = policy.head_VD.dtype
    results = {name: value_and_gradient(policy, batch, make(batch)) for name, make in LAYOUTS.items()}
    logp_BT, grads = results["padded"]
    assert logp_BT.dtype == dtype
    assert (logp_BT[batch.mask_BT] < 0).all()
    assert (logp_BT[~batch.mask_BT] == 0).all()
    for name in ("packed", "prefix-shared"):
        assert distance(results[name][0], logp_BT) < EXACT[dtype], name
        for (weight, _), found, expected in zip(policy.named_parameters(), results[name][1], grads, strict=True):
            assert distance(found, expected) < EXACT[dtype], (name, weight)


prompts_and_lengths = st.lists(
    st.tuples(
        st.sampled_from([(3,), (3, 4), (3, 4, 5, 6), (7, 8, 9, 10, 3, 4, 5), (4, 3)]),
        st.integers(1, 12),
    ),
    min_size=1,
    max_size=7,
)


@with_settings(max_examples=10)
@given(
    sequences=prompts_and_lengths, max_rows=st.sampled_from([1, 2, 64]), max_stretch=st.sampled_from([1.0, 1.25, 9.0])
)
@example(sequences=[((3, 4), 1)], max_rows=64, max_stretch=1.25)
@example(sequences=[((3, 4), 1)] * 5, max_rows=64, max_stretch=1.25)
@example(sequences=[((3, 4, 5, 6), 5)] * 4, max_rows=64, max_stretch=1.25)
@example(sequences=[((3,), 2), ((3, 4), 2), ((4, 3), 3)], max_rows=64, max_stretch=1.25)
def test_layouts_agree(sequences: list[tuple[tuple[int, ...], int]], max_rows: int, max_stretch: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layouts, "MAX_ROWS", max_rows)
        patch.setattr(layouts, "MAX_STRETCH", max_stretch)
        batch = batch_of([prompt for prompt, _ in sequences], [length for _, length in sequences])
        assert_all_layouts_agree(tiny_policy(tiny_config(), dtype=torch.float64), batch)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_layouts_agree_in_every_shape(shape: str, dtype: torch.dtype) -> None:
    batch = batch_of([[3, 4, 5]] * 3 + [[3, 4]] * 2 + [[9]], [7, 1, 4, 2, 9, 5])
    assert_all_layouts_agree(tiny_policy(tiny_config(shape, tie_word_embeddings=False), dtype=dtype), batch)


def test_what_is_shared_is_computed_once() -> None:
    prompt = [3, 4, 5, 6, 7]
    batch = batch_of([prompt] * 4 + [[5, 5]], [2, 2, 3, 9, 1])
    assert len(layout_of(batch).tokens_N) == 5 + (2 + 2 + 3 + 9) + 2 + 1
    assert len(pack(batch.tokens_BT, batch.lengths_B).tokens_N) == int(batch.lengths_B.sum())
    where_BT = layout_of(batch).where_BT
    assert (where_BT[:4, :5] == where_BT[0, :5]).all()
    assert len(set(where_BT[:4, 5].tolist())) == 4


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_places_every_token(name: str) -> None:
    batch = batch_of([[3, 4, 5]] * 2 + [[3, 4], [8]], [3, 6, 1, 2])
    layout = LAYOUTS[name](batch)
    for row, length in enumerate(batch.lengths_B.tolist()):
        places = layout.where_BT[row, :length]
        assert layout.tokens_N[places].tolist() == batch.tokens_BT[row, :length].tolist()
        assert layout.positions_N[places].tolist() == list(range(length))


def test_rows_are_a_padded_layout_without_padding() -> None:
    policy = tiny_policy(tiny_config(), dtype=torch.float64)
    tokens_RT = torch.stack(random_tokens([9, 9, 9]))
    mask_RT = torch.ones_like(tokens_RT, dtype=torch.bool)
    mask_RT[:, 0] = False
    batch = Batch(tokens_BT=tokens_RT, mask_BT=mask_RT, lengths_B=torch.tensor([9, 9, 9]))
    logp_RT, grads = value_and_gradient(policy, batch, rows(tokens_RT))
    expected_RT, expected_grads = value_and_gradient(policy, batch, pack(tokens_RT, batch.lengths_B))
    assert distance(logp_RT, expected_RT) < EXACT[torch.float64]
    assert max(map(distance, grads, expected_grads)) < EXACT[torch.float64]


def test_tokens_that_come_later_do_not_matter() -> None:
    policy = tiny_policy(tiny_config(), dtype=torch.float64)
    batch = batch_of([[3, 4]] * 2, [6, 6])
    tokens_BT = batch.tokens_BT.clone()
    tokens_BT[1] = tokens_BT[0]
    tokens_BT[1, 5:] = (tokens_BT[0, 5:] + 1) % 11
    layout = pack(tokens_BT, batch.lengths_B, [2, 2])
    logp_BT = score(policy, layout, tokens_BT, batch.mask_BT)
    assert torch.allclose(logp_BT[0, :5], logp_BT[1, :5], rtol=0, atol=1e-13)
    assert not torch.isclose(logp_BT[0, 5:], logp_BT[1, 5:]).any()


def test_the_first_token_cannot_be_scored() -> None:
    policy, tokens_BT = tiny_policy(tiny_config()), torch.tensor([[1, 2]])
    with pytest.raises(ValueError, match="first token"):
        score(policy, rows(tokens_BT), tokens_BT, torch.ones(1, 2, dtype=torch.bool))


def test_a_prefix_is_part_of_its_sequence() -> None:
    with pytest.raises(ValueError, match="part of its sequence"):
        pack(torch.tensor([[1, 2]]), torch.tensor([2]), [3])


def test_a_prefix_may_be_all_of_its_sequence() -> None:
    """As that of a response of one token is, where last tokens are left out."""
    layout = pack(torch.tensor([[1, 2, 0], [1, 2, 3]]), torch.tensor([2, 3]), [2, 2])
    assert layout.tokens_N.tolist() == [1, 2, 3]
    assert layout.where_BT.tolist() == [[0, 1, 0], [0, 1, 2]]
    assert [segment.length for segment in layout.segments] == [2, 1]


# Chosen log-probabilities


def plain_logp(hidden_MD: Tensor, head_VD: Tensor, targets_M: Tensor, temperature: float) -> Tensor:
    logp_MV = torch.log_softmax(hidden_MD @ head_VD.T / temperature, dim=-1)
    return logp_MV.gather(-1, targets_M[:, None])[:, 0]


def hidden_head_targets(num_tokens: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(num_tokens)
    hidden_MD = torch.randn(num_tokens, 5, generator=generator, dtype=dtype).requires_grad_()
    head_VD = torch.randn(7, 5, generator=generator, dtype=dtype).requires_grad_()
    return hidden_MD, head_VD, torch.randint(0, 7, (num_tokens,), generator=generator)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("chunk", [1, 3, 4, 11, 100])
def test_chunks_are_the_whole(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, chunk: int) -> None:
    monkeypatch.setattr(scoring, "MAX_LOGITS", 7 * chunk)
    hidden_MD, head_VD, targets_M = hidden_head_targets(11, dtype)
    for temperature in (0.5, 1.0, 2.0):
        results = []
        for function in (chosen_logp, plain_logp):
            logp_M = function(hidden_MD, head_VD, targets_M, temperature)
            grads = torch.autograd.grad((logp_M * torch.arange(1.0, 12.0)).sum(), (hidden_MD, head_VD))
            results.append((logp_M, *grads))
        for found, expected in zip(*results, strict=True):
            assert found.dtype == dtype
            assert distance(found, expected) < EXACT[dtype], temperature


@pytest.mark.parametrize("chunk", [2, 100])
def test_gradient_is_that_of_finite_differences(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(scoring, "MAX_LOGITS", 7 * chunk)
    hidden_MD, head_VD, targets_M = hidden_head_targets(5, torch.float64)
    assert torch.autograd.gradcheck(
        lambda hidden, head: chosen_logp(hidden, head, targets_M, 0.7), (hidden_MD, head_VD)
    )


@pytest.mark.full
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="no peak of memory to be read")
def test_a_large_vocabulary_needs_one_chunk_of_logits() -> None:
    """Forward and backward, and not two of them: neither a copy nor the chunk before."""
    hidden_MD, head_VD = torch.ones(200, 8, requires_grad=True), torch.ones(150_000, 8, requires_grad=True)
    head_VD.grad = torch.zeros_like(head_VD)
    before = resident_kib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    logp_M = chosen_logp(hidden_MD, head_VD, torch.arange(200), adds_up=True)
    assert resident_kib("VmHWM") - before < 64 << 10
    logp_M.sum().backward()
    assert resident_kib("VmHWM") - before < 64 << 10


def resident_kib(figure: str) -> int:
    """Present (VmRSS) or largest (VmHWM) resident memory."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition(f"{figure}:")[2].split()[0])


def test_nothing_to_score_is_no_error() -> None:
    hidden_MD, head_VD, targets_M = hidden_head_targets(0, torch.float32)
    logp_M = chosen_logp(hidden_MD, head_VD, targets_M)
    grad_hidden, grad_head = torch.autograd.grad(logp_M.sum(), (hidden_MD, head_VD))
    assert (logp_M.shape, grad_hidden.shape) == ((0,), (0, 5))
    assert (grad_head == 0).all()


def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    hidden_MD, head_VD, targets_M = hidden_head_targets(3, torch.float64)
    total = chosen_logp(hidden_MD, head_VD, targets_M).square().sum()
    (grad,) = torch.autograd.grad(total, hidden_MD, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_half_precision_scores_in_float32() -> None:
    hidden_MD, head_VD, targets_M = hidden_head_targets(6, torch.float32)
    hidden, head = (x.detach().bfloat16().requires_grad_() for x in (hidden_MD, head_VD))
    logp_M = chosen_logp(hidden, head, targets_M)
    grads = torch.autograd.grad(logp_M.sum(), (hidden, head))
    assert logp_M.dtype == torch.float32
    assert [grad.dtype for grad in grads] == [torch.bfloat16] * 2
    expected_M = plain_logp((hidden @ head.T).float(), torch.eye(7), targets_M, 1.0)
    assert distance(logp_M, expected_M) < 1e-6
