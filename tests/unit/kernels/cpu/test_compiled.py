"""Kernels are built once, kept where only the user can write, and done without where they cannot be built."""

import os
import shutil
import stat
from pathlib import Path

import pytest
import torch

from aha.kernels.cpu import compiled
from aha.kernels.cpu.compiled import SWITCH
from aha.kernels.cpu.instructions import NATIVE, cpu_features, supported_sets

SUPPORTED = supported_sets(cpu_features())

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No library is known yet, and the cache is empty."""
    for cached in ("library", "built_for"):
        monkeypatch.setattr(compiled, cached, vars(compiled)[cached].__wrapped__)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv(SWITCH, raising=False)


def built(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "aha").glob("*"))


@needs_compiler
def test_a_library_is_built_once(tmp_path: Path) -> None:
    assert compiled.library("sampling") is not None
    (place,) = built(tmp_path)
    before = place.stat().st_mtime_ns
    assert compiled.library("sampling") is not None
    assert [place.stat().st_mtime_ns for place in built(tmp_path)] == [before]
    assert not stat.S_IMODE(place.parent.stat().st_mode) & 0o077


def test_the_switch_turns_kernels_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(SWITCH, "off")
    assert compiled.library("sampling") is None
    assert compiled.kernels_in_use() == "off"
    assert built(tmp_path) == []


@needs_compiler
def test_without_the_switch_the_best_set_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiled.instruction_set() == SUPPORTED[0]
    assert compiled.built_for("sampling") == SUPPORTED[0]
    monkeypatch.setenv(SWITCH, "")
    assert compiled.instruction_set() == SUPPORTED[0]


@pytest.mark.parametrize("asked", ["on", "AVX2", "no"])
def test_a_switch_that_names_no_set_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: str) -> None:
    monkeypatch.setenv(SWITCH, asked)
    names = " and ".join(one.name for one in SUPPORTED)
    with pytest.raises(ValueError, match=rf"AHA_KERNELS is '{asked}', but this processor has {names}: .*'off'"):
        compiled.library("sampling")
    assert built(tmp_path) == []


@pytest.mark.full
@needs_compiler
def test_every_set_of_this_processor_and_the_plain_one_compute_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each is built beside the others, and draws by inversion from 300 equal logits."""
    for features in ([], *(one.features for one in SUPPORTED)):
        monkeypatch.setattr(compiled, "cpu_features", lambda features=features: features)
        found = compiled.functions("sampling", {"draw": "piiifpppp"})
        assert found is not None
        logits, uniforms = torch.zeros(3, 300), torch.tensor([0.0, 0.5, 0.999], dtype=torch.float64)
        tokens, logp, scratch = torch.zeros(3, dtype=torch.int64), torch.zeros(3), torch.empty(300 + 128)
        addresses = [x.data_ptr() for x in (uniforms, scratch, tokens, logp)]
        found["draw"](logits.data_ptr(), 3, 300, 300, 1.0, *addresses)
        assert tokens.tolist() == [0, 150, 299]
        assert torch.allclose(logp, -torch.tensor(300.0).log().expand(3), rtol=1e-6)
    names = {place.name.split("-")[1] for place in built(tmp_path)}
    assert names == {NATIVE.name, *(one.name for one in SUPPORTED)}


@pytest.mark.parametrize("compiler", ["/nowhere/cc", "false"])
def test_without_a_compiler_that_works_there_is_no_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiler: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    assert compiled.library("sampling") is None
    assert compiled.kernels_in_use() == "off"
    assert built(tmp_path) == []


@needs_compiler
def test_a_folder_that_others_can_write_is_not_trusted(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "aha"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert compiled.library("sampling") is not None
    assert built(tmp_path) == []


@needs_compiler
def test_a_home_that_cannot_be_written_is_no_obstacle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert compiled.library("sampling") is not None
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.full
@needs_compiler
def test_functions_take_and_return_what_their_signature_says() -> None:
    found = compiled.functions("attention", {"attention_scratch": "ii:i"})
    assert found is not None
    assert found["attention_scratch"](32, 3) == 32 * (6 * 3 + 2 * 24)
    with pytest.raises(TypeError):
        found["attention_scratch"](32)


def test_without_kernels_there_are_no_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "off")
    assert compiled.functions("sampling", {"draw": "piiifpppp"}) is None
