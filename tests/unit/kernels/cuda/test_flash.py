"""FlashAttention over a stream with shared prefixes: its plan on the CPU, its kernel on a GPU."""

import torch
from gpu_marks import needs_gpu
from torch import Tensor
from torch.nn import functional as F

from aha.kernels.cuda.flash import _sum_of_copies, flash_attention, plan
from aha.policy.layout import Layout, pack


def layout() -> Layout:
    """Six sequences of two prompts and of none."""
    tokens_BT = torch.randint(0, 5, (6, 12), generator=torch.Generator().manual_seed(0))
    tokens_BT[1:3, :4], tokens_BT[4, :3] = tokens_BT[0, :4], tokens_BT[3, :3]
    return pack(tokens_BT, torch.tensor([12, 9, 7, 10, 5, 6]), [4, 4, 4, 3, 3, 0])


def stream(num_tokens: int, size: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(num_tokens, heads, size, generator=generator).to(dtype).requires_grad_() for heads in (4, 2, 2)]


def test_the_plan_lays_out_what_each_segment_sees_and_brings_gradients_back() -> None:
    given = layout()
    q, k, v = stream(len(given.tokens_N), 16, torch.float64)
    slope = torch.randn(q.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = given.attend_in_blocks(q, k, v, 0.25)
    expected.backward(slope)
    how = plan(given.segments_S4, torch.device("cpu"))
    assert how.keys_M is not None
    copies = [x.detach().index_select(0, how.keys_M).requires_grad_() for x in (k, v)]
    queries, outs = q.detach().clone().requires_grad_(), []
    for segment in range(len(given.segments)):
        q_NHK = queries[how.query_ends_S[segment] : how.query_ends_S[segment + 1]]
        own = [x[how.key_ends_S[segment] : how.key_ends_S[segment + 1]].repeat_interleave(2, 1) for x in copies]
        is_seen = torch.ones(len(q_NHK), len(own[0]), dtype=torch.bool).tril(len(own[0]) - len(q_NHK))
        heads = (x.transpose(0, 1) for x in (q_NHK, *own))
        outs.append(F.scaled_dot_product_attention(*heads, attn_mask=is_seen, scale=0.25).transpose(0, 1))
    found = torch.cat(outs)
    found.backward(slope)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(queries.grad, q.grad)
    for copied, original in zip(copies, (k, v), strict=True):
        assert copied.grad is not None
        torch.testing.assert_close(_sum_of_copies(copied.grad, how), original.grad, atol=1e-6, rtol=1e-6)


def test_without_prefixes_nothing_is_copied() -> None:
    given = pack(torch.zeros(2, 5, dtype=torch.int64), torch.tensor([5, 3]))
    how = plan(given.segments_S4, torch.device("cpu"))
    assert how.keys_M is None
    assert how.key_ends_S.tolist() == how.query_ends_S.tolist() == [0, 3, 8]


@needs_gpu
def test_the_kernel_agrees_with_torch_and_gives_equal_bits() -> None:
    given = layout()
    plain = stream(len(given.tokens_N), 64, torch.float32)
    slope = torch.randn(plain[0].shape, generator=torch.Generator().manual_seed(2))
    expected = given.attend_in_blocks(*plain, 0.125)
    expected.backward(slope)
    how, results = plan(given.segments_S4, torch.device("cuda")), []
    for _ in range(2):
        half = [x.detach().cuda().bfloat16().requires_grad_() for x in plain]
        found = flash_attention(half[0], half[1], half[2], 0.125, how)
        found.backward(slope.cuda().bfloat16())
        results.append([found.detach(), *(x.grad for x in half)])
    for one, other, reference in zip(*results, [expected.detach(), *(x.grad for x in plain)], strict=True):
        assert torch.equal(one, other)
        assert (one.float().cpu() - reference).norm() / reference.norm() < 2e-2
