"""The kernels against the plain forms in float64: values and gradients, at odd sizes, for one token and for none.

All of this in every instruction set that the processor has, and with kernels switched off. Which widths have kernels
depends on the set, so each test tries widths of all kinds and expects the kernel where `aha.kernels.cpu.instructions`
says that there is one, and the same values from torch elsewhere. What fails is named by its sizes.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product as combinations

import pytest
import torch
from torch import Tensor

from aha.kernels import attention
from aha.kernels import ops as fused
from aha.kernels.cpu import compiled
from aha.kernels.cpu import training as kernels
from aha.kernels.cpu.instructions import AVX2, AVX512, NATIVE, InstructionSet, Width, cpu_features
from aha.kernels.ops import MIN_ROWS, linear, normalise, product, rotate, swiglu
from aha.policy.layout import Layout, pack, rows

MIN_LANES = 8
"""Numbers in a vector of the narrowest set."""

WIDTHS = (7, 8, 16, 24, 40, 64, 80, 96, 128, 256)
"""Whole vectors in no set, in some, and in all."""

Operation = Callable[..., Tensor]
HasKernel = Callable[[Width, int], bool]


def forget_kernels() -> None:
    """What a process finds out about its kernels once is found out again."""
    for cached in (compiled.library, compiled.built_for, kernels._kernels, fused._scratch_floats):
        cached.cache_clear()


@pytest.fixture(
    scope="module", autouse=True, params=[AVX512, AVX2, NATIVE, None], ids=lambda one: one.name if one else "off"
)
def instructions(request: pytest.FixtureRequest) -> Iterator[InstructionSet | None]:
    """The instruction set that kernels are built for; None where they are switched off.

    `native` stands for processors of other kinds, so that it is built as if the processor had none of the others.
    """
    chosen: InstructionSet | None = request.param
    if chosen is not None and not chosen.features <= cpu_features():
        pytest.skip(f"this processor lacks {', '.join(sorted(chosen.features - cpu_features()))}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(compiled.SWITCH, "off" if chosen is None else chosen.name)
        if chosen is not None:
            patch.setattr(compiled, "cpu_features", lambda: chosen.features)
        forget_kernels()
        if compiled.built_for("kernels", "attention") != chosen:
            pytest.skip("no compiler here can build the kernels")
        yield chosen
    forget_kernels()


@pytest.fixture
def lanes(instructions: InstructionSet | None) -> int:
    """Numbers in a vector."""
    return instructions.lanes if instructions else MIN_LANES


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the kernels that are called."""
    names: list[str] = []
    call = kernels.call

    def watched(name: str, *arguments: object) -> int:
        names.append(name)
        return call(name, *arguments)

    for module in (fused, attention):
        monkeypatch.setattr(module, "call", watched)
    return names


@pytest.fixture
def has_kernel(instructions: InstructionSet | None) -> HasKernel:
    """Whether a width should have a kernel."""
    return lambda width, count: instructions is not None and instructions.has_kernel(width, count)


def draws(*shapes: tuple[int, ...], scale: float = 1.0, seed: int = 0) -> list[Tensor]:
    """Random float64 tensors that float32 can hold."""
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(shape, generator=generator) * scale).double() for shape in shapes]


def value_and_gradients(operation: Operation, inputs: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    leaves = [given.to(dtype).requires_grad_() for given in inputs]
    out = operation(*leaves)
    (slope,) = draws(tuple(out.shape), seed=1)
    return [out.detach(), *torch.autograd.grad(out, leaves, slope.to(dtype))]


def assert_as_plain(operation: Operation, inputs: Sequence[Tensor], sizes: object = "", limit: float = 2e-6) -> None:
    """Float32 agrees with float64, which has no kernels, relative to the largest entry; twice, bit for bit."""
    found, again = (value_and_gradients(operation, inputs, torch.float32) for _ in range(2))
    for one, other, exact in zip(found, again, value_and_gradients(operation, inputs, torch.float64), strict=True):
        assert torch.equal(one, other), sizes
        assert one.dtype == torch.float32, sizes
        largest = float(exact.abs().max()) if exact.numel() else 1.0
        assert torch.allclose(one.double(), exact, rtol=0, atol=limit * max(1.0, largest)), sizes


def test_norm(called: list[str], has_kernel: HasKernel) -> None:
    for num, width, scale in combinations((0, 1, 7), WIDTHS, (1e-4, 1.0, 1e4)):
        called.clear()
        inputs = draws((num, width), (width,))
        # The gradient grows as x shrinks: it is compared times the scale.
        operation: Operation = partial(scaled_norm, scale)
        assert_as_plain(operation, inputs, f"{num} rows of {width}, times {scale}", limit=5e-6)
        assert called == ["norm", "norm_backward"] * 2 * has_kernel("norm", width), width


def scaled_norm(scale: float, x_ND: Tensor, weight_D: Tensor) -> Tensor:
    return normalise(x_ND * scale, weight_D, 1e-6)


def test_swiglu(called: list[str], has_kernel: HasKernel) -> None:
    for num, width, scale in combinations((0, 1, 5), WIDTHS, (1.0, 30.0, 200.0)):
        called.clear()
        inputs = draws((num, width), (num, width), scale=scale)
        assert_as_plain(swiglu, inputs, f"{num} rows of {width}, times {scale}")
        assert called == ["swiglu", "swiglu_backward"] * 2 * has_kernel("swiglu", width), width


def test_rotation(called: list[str], has_kernel: HasKernel) -> None:
    for num, size in combinations((0, 1, 5), (6, 8, 16, 48, 64, 80, 96, 128)):
        called.clear()
        (angles_NK,) = draws((num, 1, size // 2), scale=10.0)
        assert_as_plain(partial(rotated, angles_NK), draws((num, 3, size)), f"{num} tokens with heads of {size}")
        assert called == ["rotary"] * 4 * has_kernel("rotary", size), size


def rotated(angles_NK: Tensor, x_NHK: Tensor) -> Tensor:
    return rotate(x_NHK, angles_NK.cos().to(x_NHK.dtype), angles_NK.sin().to(x_NHK.dtype))


@pytest.mark.parametrize("is_turned", [False, True])
def test_products(called: list[str], is_turned: bool, has_kernel: HasKernel, lanes: int) -> None:
    """Laid out either way, with what is added or without; twice, bit for bit."""
    num = MIN_ROWS + 1
    for depth, vectors in combinations((1, 13, 255, 300), (1, 3, 16)):
        called.clear()
        across = vectors * lanes
        sizes = f"{num} rows of {depth} by {across} columns"
        a_MK, b_KN, start_MN = draws((num, depth), (depth, across), (num, across))
        left_MK, right_KN = a_MK.float(), b_KN.float()
        if is_turned:
            right_KN = right_KN.T.contiguous().T
        for start in (None, start_MN, start_MN[0]):
            given = None if start is None else start.float()
            found_MN = product(left_MK, right_KN, given)
            exact_MN = a_MK @ b_KN + (0 if start is None else start)
            assert torch.allclose(found_MN.double(), exact_MN, rtol=0, atol=1e-5 * depth**0.5), sizes
            assert torch.equal(product(left_MK, right_KN, given), found_MN), sizes
        assert called.count("product") == 6 * has_kernel("product", across), sizes


def test_products_of_a_turned_matrix(called: list[str], has_kernel: HasKernel) -> None:
    for num, across in combinations((MIN_ROWS, 700), (1, 6, 40, 195)):
        called.clear()
        sizes = f"{num} rows of {across}, turned"
        a_KM, b_KN, start_MN = draws((num, across), (num, 48), (across, 48))
        sum_MN = start_MN.float()
        assert product(a_KM.float().T, b_KN.float(), sum_MN, sum_MN) is sum_MN
        assert torch.allclose(sum_MN.double(), start_MN + a_KM.T @ b_KN, rtol=0, atol=3e-4), sizes
        if across > 1:  # one column lies as one row does
            assert called.count("product") == has_kernel("product", 48), sizes


@pytest.mark.parametrize("widths", [(48, 32, 80), (40, 32, 80), (48, 24, 72)], ids=str)
def test_projections(called: list[str], widths: tuple[int, int, int], has_kernel: HasKernel) -> None:
    width, *across = widths
    are_known = all(has_kernel("product", count) for count in widths)

    def projected(x: Tensor, w: Tensor, v: Tensor, b: Tensor) -> Tensor:
        return torch.cat(linear(x, (w, None), (v, b)), dim=-1)

    for num in (MIN_ROWS, MIN_ROWS + 45):
        called.clear()
        inputs = draws((num, width), *((count, width) for count in across), (across[1],))
        assert_as_plain(projected, inputs, f"{num} rows", limit=5e-6)
        assert called.count("product") == 2 * (2 + 4) * are_known, num


def test_a_projection_adds_its_gradient_to_the_one_that_is_there() -> None:
    x_ND, weight_OD = (x.float().requires_grad_() for x in draws((MIN_ROWS, 16), (32, 16)))
    (expected,) = torch.autograd.grad(linear(x_ND, (weight_OD, None))[0].square().sum(), weight_OD)
    weight_OD.grad = torch.ones_like(weight_OD)
    place = weight_OD.grad.data_ptr()
    linear(x_ND, (weight_OD, None))[0].square().sum().backward()
    assert weight_OD.grad.data_ptr() == place
    assert torch.allclose(weight_OD.grad, 1 + expected, rtol=1e-5, atol=1e-4)


def test_few_rows_odd_sizes_and_several_threads_are_left_to_torch(called: list[str]) -> None:
    weight_OD = torch.randn(32, 16)
    linear(torch.randn(MIN_ROWS - 1, 16), (weight_OD, None))
    linear(torch.randn(MIN_ROWS, 16), (weight_OD[:31], None))
    linear(torch.randn(MIN_ROWS, 15), (weight_OD[:, :15], None))
    linear(torch.randn(16, MIN_ROWS).T, (weight_OD, None))
    linear(torch.randn(MIN_ROWS, 16).double(), (weight_OD.double(), None))
    product(torch.randn(MIN_ROWS, 0), torch.randn(0, 16))
    try:
        torch.set_num_threads(2)
        linear(torch.randn(MIN_ROWS, 16), (weight_OD, None))
    finally:
        torch.set_num_threads(1)
    assert called == []


def grouped(lengths: Sequence[int], prefixes: Sequence[int]) -> Layout:
    """Sequences that share what they begin with."""
    tokens_BT = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
    return pack(tokens_BT, torch.tensor(lengths), prefixes)


LAYOUTS = {
    "one token": lambda: rows(torch.zeros(1, 1, dtype=torch.int64)),
    "rows": lambda: rows(torch.zeros(3, 17, dtype=torch.int64)),
    "a tile and one more": lambda: rows(torch.zeros(1, 25, dtype=torch.int64)),
    "long": lambda: rows(torch.zeros(1, 301, dtype=torch.int64)),
    "a shared prompt": lambda: grouped([9, 30, 31, 70], [8, 8, 8, 8]),
    "two prompts": lambda: grouped([20, 4, 60, 33, 5], [19, 3, 19, 3, 3]),
    "without prompts": lambda: grouped([1, 2, 50], [0, 0, 0]),
}


HEADS = [(4, 2, 16), (3, 3, 8), (6, 2, 40), (2, 1, 64), (2, 2, 80), (1, 1, 96), (1, 1, 128)]
"""Heads, heads of keys and values, and their size."""


@pytest.mark.parametrize("name", LAYOUTS)
def test_attention(called: list[str], name: str, has_kernel: HasKernel) -> None:
    layout = LAYOUTS[name]()
    num = len(layout.tokens_N)
    for heads, shared, size in HEADS:
        called.clear()
        inputs = draws((num, heads, size), (num, shared, size), (num, shared, size), scale=2.0)
        attend: Operation = partial(attention_of, layout, size**-0.5)
        assert_as_plain(attend, inputs, f"{heads} heads of {size}", limit=1e-5)
        assert ({"attention", "attention_backward"} <= set(called)) == has_kernel("attention", size), size


def attention_of(layout: Layout, scale: float, q_NHK: Tensor, k_NJK: Tensor, v_NJM: Tensor) -> Tensor:
    return layout.attend(0, q_NHK, k_NJK, v_NJM, scale)


@pytest.mark.parametrize("name", LAYOUTS)
def test_scale_and_values_may_be_any(name: str) -> None:
    """As softmax says it, over all that each token of the stream may see."""
    layout = LAYOUTS[name]()
    num = len(layout.tokens_N)
    sees_NN = torch.zeros(num, num, dtype=torch.bool)
    for segment in layout.segments:
        for query in range(segment.length):
            sees_NN[segment.start + query, segment.indices[: segment.prefix_length + query + 1]] = True

    def plain(scale: float, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        scores_HNN = scale * torch.einsum("nhk,shk->hns", q, keys)
        weights_HNN = scores_HNN.masked_fill(~sees_NN, float("-inf")).softmax(-1)
        return torch.einsum("hns,shm->nhm", weights_HNN, values)

    for scale, key_size, value_size in ((0.05, 16, 16), (0.7, 24, 16), (0.7, 16, 40)):
        inputs = draws((num, 4, key_size), (num, 2, key_size), (num, 2, value_size))
        expected = value_and_gradients(partial(plain, scale), inputs, torch.float64)
        assert expected[0].shape == (num, 4, value_size)
        for dtype, limit in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
            found = value_and_gradients(partial(attention_of, layout, scale), inputs, dtype)
            for one, other in zip(found, expected, strict=True):
                largest = max(1.0, float(other.abs().max()))
                assert torch.allclose(one.double(), other, rtol=0, atol=limit * largest), (key_size, value_size, dtype)


def test_attention_of_no_token() -> None:
    inputs = draws((0, 4, 16), (0, 2, 16), (0, 2, 16))
    found = value_and_gradients(lambda *x: rows(torch.zeros(0, 5)).attend(0, *x, 0.25), inputs, torch.float32)
    assert [tuple(one.shape) for one in found] == [(0, 4, 16), *(tuple(given.shape) for given in inputs)]


def test_attention_of_large_scores() -> None:
    """A gradient is a difference of figures near 2000 times 20: what rounds off is not small beside 1."""
    inputs = draws((40, 2, 16), (40, 2, 16), (40, 2, 16), scale=20.0)
    assert_as_plain(lambda *x: rows(torch.zeros(1, 40)).attend(0, *x, 0.25), inputs, limit=1e-3)


def test_what_is_not_finite_stays_so() -> None:
    """The learner refuses a loss that is not a number: a kernel must not hide one."""
    x_ND = torch.full((2, 16), float("nan"))
    assert normalise(x_ND, torch.ones(16), 1e-6).isnan().all()
    assert swiglu(x_ND, torch.ones(2, 16)).isnan().all()
    assert linear(x_ND[:1].repeat(MIN_ROWS, 1), (torch.zeros(16, 16), None))[0].isnan().all()
    ones_NJK = torch.ones(2, 1, 16)
    assert rows(torch.zeros(1, 2)).attend(0, x_ND[:, None], ones_NJK, ones_NJK, 0.25).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_other_types_and_odd_sizes_are_left_to_torch(called: list[str], dtype: torch.dtype, lanes: int) -> None:
    layout = grouped([5, 7], [3, 3])
    for size, kind in ((2 * lanes, dtype), (7, torch.float32)):
        x_ND = torch.randn(9, size).to(kind)
        normalise(x_ND, torch.ones(size, dtype=kind), 1e-6)
        swiglu(x_ND, x_ND)
        even_ND = x_ND[:, : size // 2 * 2] if kind == dtype else x_ND.double()[:, :6]
        rotate(even_ND[:, None], even_ND[:, None, : size // 2], even_ND[:, None, : size // 2])
        layout.attend(0, x_ND[:, None], x_ND[:, None], x_ND[:, None], 0.25)
    assert called == []


@pytest.mark.full
def test_plain_forms_have_the_gradients_of_finite_differences(instructions: InstructionSet | None) -> None:
    if instructions is not None:
        pytest.skip("in float64 there are no kernels, so that once is enough")
    layout = grouped([4, 6], [2, 2])
    num = len(layout.tokens_N)
    gate, up, weight, angles = draws((num, 4), (num, 4), (4,), (num, 1, 2))
    q, k, v = draws((num, 2, 4), (num, 1, 4), (num, 1, 4))
    cases: list[tuple[Operation, tuple[Tensor, ...]]] = [
        (lambda x, w: normalise(x, w, 1e-6), (gate, weight)),
        (swiglu, (gate, up)),
        (lambda x: rotate(x, angles.cos(), angles.sin()), (q,)),
        (lambda *x: layout.attend(0, *x, 0.5), (q, k, v)),
    ]
    for operation, inputs in cases:
        assert torch.autograd.gradcheck(operation, tuple(x.requires_grad_() for x in inputs))


def test_threads_change_no_bit() -> None:
    layout = grouped([40, 50, 60], [30, 30, 30])
    num = len(layout.tokens_N)
    inputs = draws((num, 4, 16), (num, 2, 16), (num, 2, 16))
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(value_and_gradients(lambda *x: layout.attend(0, *x, 0.25), inputs, torch.float32))
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
