"""Inversion draws from exactly the distribution, and the log-probability is that of the whole distribution."""

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from torch import Tensor

from aha.engines import sampling
from aha.engines.sampling import _nucleus_of_several, sample_tokens
from aha.kernels.cpu.compiled import library

ALMOST_ONE = 1 - 2**-53
"""The largest draw that a generator of doubles in [0, 1) makes."""


@pytest.fixture(scope="module", params=["kernel", "torch"], autouse=True)
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """All of it holds for the kernel and for torch."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "torch":
            patch.setattr(sampling, "_kernel", lambda: None)
        elif library("sampling") is None:
            pytest.skip("there is no C compiler")
        yield


def draw(
    logits: Tensor, uniforms: list[float], *, temperature: float = 1.0, top_p: float = 1.0
) -> tuple[list[int], Tensor]:
    """Tokens and log-probabilities of one distribution at several draws."""
    logits_BV = logits.expand(len(uniforms), -1)
    tokens_B, logp_B = sample_tokens(
        logits_BV, torch.tensor(uniforms, dtype=torch.float64), temperature=temperature, top_p=top_p
    )
    return tokens_B.tolist(), logp_B


def grid(count: int) -> list[float]:
    return [(place + 0.5) / count for place in range(count)]


def enumerated(probabilities: list[float], uniform: float) -> int:
    """The first token at which the running sum exceeds the draw, in exact float64 arithmetic of its own."""
    total, reached = math.fsum(probabilities), 0.0
    for token, probability in enumerate(probabilities):
        reached += probability / total
        if uniform < reached:
            return token
    return len(probabilities) - 1


def test_shares_are_the_probabilities() -> None:
    probabilities = [0.5, 0.125, 0.25, 0.125]
    tokens, logp_B = draw(torch.tensor(probabilities).log(), grid(8000))
    assert [tokens.count(token) for token in range(4)] == [4000, 1000, 2000, 1000]
    assert tokens == sorted(tokens)
    assert logp_B.exp().tolist() == pytest.approx([probabilities[token] for token in tokens], rel=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_shares_are_those_of_the_tempered_distribution(temperature: float) -> None:
    logits = torch.tensor([0.3, -1.0, 2.0, 0.0, -4.0])
    expected = (logits.double() / temperature).softmax(-1)
    tokens, logp_B = draw(logits, grid(20_000), temperature=temperature)
    for token, probability in enumerate(expected.tolist()):
        assert tokens.count(token) / 20_000 == pytest.approx(probability, abs=1e-4)
    assert torch.allclose(logp_B.double(), expected.log()[tokens], rtol=0, atol=2e-6)


@with_settings(max_examples=50)
@given(
    logits=st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=9),
    uniform=st.floats(0, ALMOST_ONE, allow_subnormal=False),
)
def test_a_draw_is_the_enumerated_one(logits: list[float], uniform: float) -> None:
    probabilities = torch.tensor(logits).log_softmax(-1).exp().tolist()
    (token,), _ = draw(torch.tensor(logits), [uniform])
    edges = [math.fsum(probabilities[: n + 1]) / math.fsum(probabilities) for n in range(len(logits))]
    if min(abs(uniform - edge) for edge in edges) > 1e-12:
        assert token == enumerated(probabilities, uniform)


@with_settings(max_examples=50)
@given(
    logits=st.lists(st.one_of(st.floats(-60, 60, width=32), st.just(-math.inf)), min_size=1, max_size=9).filter(
        lambda logits: max(logits) > -math.inf
    ),
    top_p=st.sampled_from([0.1, 0.5, 0.95, 1.0]),
    uniform=st.sampled_from([0.0, 2**-53, 0.5, 1 - 2**-30, ALMOST_ONE]),
)
def test_a_token_without_probability_is_never_drawn(logits: list[float], top_p: float, uniform: float) -> None:
    probabilities = torch.tensor(logits).softmax(-1)
    (token,), logp_B = draw(torch.tensor(logits), [uniform], top_p=top_p)
    assert probabilities[token] > 0
    assert math.isfinite(float(logp_B[0]))
    assert float(probabilities[probabilities > probabilities[token]].double().sum()) < top_p + 1e-6


def test_the_ends_of_the_unit_interval() -> None:
    logits = torch.tensor([-math.inf, 0.0, 1.0, -math.inf])
    assert draw(logits, [0.0, ALMOST_ONE])[0] == [1, 2]
    even = torch.zeros(3)
    assert draw(even, [0.0, ALMOST_ONE])[0] == [0, 2]
    assert draw(even, [1 / 3 - 1e-9, 1 / 3 + 1e-9, 2 / 3 - 1e-9, 2 / 3 + 1e-9])[0] == [0, 1, 1, 2]


def test_a_rare_token_is_drawn_as_often_as_it_should() -> None:
    rare = 1e-9
    tokens, logp_B = draw(torch.tensor([1 - rare, rare]).log(), [1 - 2 * rare, 1 - rare / 2])
    assert tokens == [0, 1]
    assert float(logp_B[1].exp()) == pytest.approx(rare, rel=1e-4)


def test_the_nucleus_is_the_fewest_tokens_that_reach_it() -> None:
    logits = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()
    nuclei = {0.05: [1], 0.39: [1], 0.41: [1, 3], 0.69: [1, 3], 0.75: [1, 2, 3], 0.95: [0, 1, 2, 3]}
    for top_p, nucleus in nuclei.items():
        tokens, logp_B = draw(logits, grid(9000), top_p=top_p)
        assert sorted(set(tokens)) == nucleus, top_p
        kept = {token: [0.1, 0.4, 0.2, 0.3][token] for token in nucleus}
        for token, probability in kept.items():
            assert tokens.count(token) / 9000 == pytest.approx(probability / sum(kept.values()), abs=2e-4)
        assert torch.allclose(logp_B, logits[tokens], rtol=0, atol=2e-6)


def test_equal_probabilities_enter_the_nucleus_in_the_order_of_the_vocabulary() -> None:
    assert sorted(set(draw(torch.zeros(4), grid(100), top_p=0.5)[0])) == [0, 1]


def test_temperature_zero_takes_the_most_likely_token() -> None:
    logits = torch.tensor([0.0, 3.0, 1.0, 3.0])
    tokens, logp_B = draw(logits, [0.0, 0.5, ALMOST_ONE], temperature=0.0, top_p=0.5)
    assert tokens == [1, 1, 1]
    assert torch.allclose(logp_B, logits.log_softmax(-1)[1].expand(3))


def test_rows_are_drawn_on_their_own() -> None:
    logits_BV = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    tokens_B, logp_B = sample_tokens(logits_BV, torch.tensor([0.75, 0.75, 0.25], dtype=torch.float64), temperature=1.0)
    assert tokens_B.tolist() == [1, 0, 1]
    assert (tokens_B.dtype, logp_B.dtype) == (torch.int64, torch.float32)
    assert logp_B.tolist() == pytest.approx([math.log(0.5), 0.0, 0.0])


def test_half_precision_logits_are_read_as_float32() -> None:
    logits_BV = torch.randn(3, 40, generator=torch.Generator().manual_seed(0)).bfloat16()
    uniforms_B = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    tokens_B, logp_B = sample_tokens(logits_BV, uniforms_B, temperature=0.7)
    expected = sample_tokens(logits_BV.float(), uniforms_B, temperature=0.7)
    assert torch.equal(tokens_B, expected[0])
    assert torch.equal(logp_B, expected[1])


def test_rows_that_need_no_sorting_draw_as_if_they_were_sorted() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_BV = torch.randn(200, 7, generator=generator) * torch.linspace(0, 8, 200)[:, None]
    logits_BV[::5, 3] = logits_BV[::5].amax(-1)  # equal maxima
    logp_BV, uniforms_B = logits_BV.log_softmax(-1), torch.rand(200, generator=generator, dtype=torch.float64)
    for top_p in (0.3, 0.5, 0.95, 0.999):
        tokens_B, _ = sample_tokens(logits_BV, uniforms_B, temperature=1.0, top_p=top_p)
        assert torch.equal(tokens_B, _nucleus_of_several(logp_BV, uniforms_B, top_p))


def test_the_largest_draw_takes_the_last_token_that_is_possible() -> None:
    logits = torch.cat((torch.tensor([0.0, 1.0]), torch.full((300,), -torch.inf)))[None]
    tokens, _ = sample_tokens(logits, torch.tensor([1 - 2.0**-53], dtype=torch.float64), temperature=1.0)
    assert tokens.tolist() == [1]


@pytest.mark.parametrize("temperature", [0.6, 1.0])
@pytest.mark.parametrize("count", [1, 31, 128, 129, 5003])
def test_the_kernel_draws_what_torch_draws(count: int, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(count)
    logits_BV = torch.randn(300, count + 3, generator=generator)[:, :count] * torch.linspace(0, 12, 300)[:, None]
    uniforms_B = torch.rand(300, generator=generator, dtype=torch.float64)
    tokens_B, logp_B = sample_tokens(logits_BV, uniforms_B, temperature=temperature)
    monkeypatch.setattr(sampling, "_kernel", lambda: None)
    expected_B, expected_logp_B = sample_tokens(logits_BV, uniforms_B, temperature=temperature)
    assert torch.equal(tokens_B, expected_B)
    assert torch.allclose(logp_B, expected_logp_B, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("count", [5, 129, 1000])
def test_a_row_has_the_same_bits_in_any_company(count: int) -> None:
    logits_BV = torch.randn(40, count + 1, generator=torch.Generator().manual_seed(0))
    uniforms_B = torch.linspace(0, 0.99, 40, dtype=torch.float64)
    tokens_B, logp_B = sample_tokens(logits_BV, uniforms_B, temperature=0.8)
    for row in range(0, 40, 7):
        token, logp = sample_tokens(logits_BV[row : row + 1], uniforms_B[row : row + 1], temperature=0.8)
        assert torch.equal(token[0], tokens_B[row])
        assert torch.equal(logp[0], logp_B[row])
    strided_BV = logits_BV.T.contiguous().T
    assert torch.equal(sample_tokens(strided_BV, uniforms_B, temperature=0.8)[1], logp_B)


def test_logits_that_are_no_numbers_give_a_token_of_the_vocabulary() -> None:
    for broken in (math.nan, math.inf, -math.inf):
        tokens, _ = draw(torch.full((200,), broken), [0.0, 0.5, ALMOST_ONE])
        assert all(0 <= token < 200 for token in tokens)
