"""Each instruction set is known by what the processor has, and takes the widths of real models."""

import pytest

from aha.kernels.cpu.instructions import AVX2, AVX512, NATIVE, InstructionSet, Width, choose_set, supported_sets

WIDTHS: tuple[Width, ...] = (
    *("norm", "swiglu", "rotary", "attention", "product"),
    *("packed hidden", "packed head", "packed intermediate"),
)


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (["fma", "avx2", "avx512f", "avx512bw"], (AVX512, AVX2)),
        (["fma", "avx", "avx2"], (AVX2,)),
        (["avx2"], (NATIVE,)),
        (["sse2"], (NATIVE,)),
        (["asimd", "sve"], (NATIVE,)),
        ([], (NATIVE,)),
    ],
    ids=["avx512", "avx2", "avx2 without fma", "old x86", "arm", "unknown"],
)
def test_the_best_set_comes_first(features: list[str], expected: tuple[InstructionSet, ...]) -> None:
    assert supported_sets(features) == expected


def test_a_set_is_chosen_by_name() -> None:
    features = ["fma", "avx2", "avx512f"]
    assert choose_set(None, features, asked_by="X") == choose_set("", features, asked_by="X") == AVX512
    assert choose_set("avx2", features, asked_by="X") == AVX2
    assert choose_set("native", ["sse2"], asked_by="X") == NATIVE


@pytest.mark.parametrize(
    ("name", "features", "has"),
    [
        ("avx512", ["avx2", "fma"], "avx2"),
        ("avx2", ["sse2"], "native"),
        ("avx512", ["asimd"], "native"),
        ("native", ["avx512f", "avx2", "fma"], "avx512 and avx2"),
    ],
)
def test_a_set_that_the_processor_lacks_is_refused(name: str, features: list[str], has: str) -> None:
    with pytest.raises(ValueError, match=f"X is '{name}', but this processor has {has}: .*unset X for the best"):
        choose_set(name, features, asked_by="X")


@pytest.mark.parametrize("instructions", [AVX512, AVX2, NATIVE], ids=lambda one: one.name)
def test_a_width_has_a_kernel_where_it_is_whole_vectors(instructions: InstructionSet) -> None:
    lanes = instructions.lanes
    for width in WIDTHS:
        multiple = instructions.multiple(width)
        assert multiple == {"rotary": 2, "packed hidden": 2 * lanes}.get(width, lanes)
        assert instructions.has_kernel(width, 3 * multiple)
        assert not instructions.has_kernel(width, 3 * multiple + 1)


SIZES = {
    "the built-in base": (128, 32, 256),
    "SmolLM2-135M": (576, 64, 1536),
    "SmolLM2-360M": (960, 64, 2560),
    "Qwen2.5-0.5B": (896, 64, 4864),
    "Qwen2.5-1.5B": (1536, 128, 8960),
    "Qwen3-0.6B": (1024, 128, 3072),
    "Llama-3.2-1B": (2048, 64, 8192),
    "heads of 80": (2560, 80, 6912),
    "heads of 96": (3072, 96, 8192),
}
"""Hidden size, size of a head and intermediate size."""


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("instructions", [AVX512, AVX2, NATIVE], ids=lambda one: one.name)
def test_real_models_have_kernels_in_every_set(instructions: InstructionSet, name: str) -> None:
    hidden, head, intermediate = SIZES[name]
    counts: dict[Width, int] = {"norm": hidden, "swiglu": intermediate, "rotary": head, "attention": head}
    counts |= {"packed hidden": hidden, "packed head": head, "packed intermediate": intermediate}
    assert all(instructions.has_kernel(width, count) for width, count in counts.items())
    assert all(instructions.has_kernel("product", count) for count in (hidden, intermediate, 4 * head))
