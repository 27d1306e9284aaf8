"""Kernels are built once, kept where only the user can write, and done without where they cannot be built."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from aha.policy import compiled
from aha.policy.compiled import SWITCH, library

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No library is known yet, and the cache is empty."""
    monkeypatch.setattr(compiled, "library", library.__wrapped__)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv(SWITCH, raising=False)


def built(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "aha").glob("*"))


@needs_compiler
def test_a_library_is_built_once(tmp_path: Path) -> None:
    assert compiled.library("decode") is not None
    (place,) = built(tmp_path)
    before = place.stat().st_mtime_ns
    assert compiled.library("decode") is not None
    assert [place.stat().st_mtime_ns for place in built(tmp_path)] == [before]
    assert not stat.S_IMODE(place.parent.stat().st_mode) & 0o077


@needs_compiler
def test_the_switch_turns_kernels_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(SWITCH, "off")
    assert compiled.library("decode") is None
    monkeypatch.setenv(SWITCH, "no")
    with pytest.raises(ValueError, match=r"AHA_KERNELS is 'no'; it must be 'on' or 'off'"):
        compiled.library("decode")
    assert built(tmp_path) == []


@pytest.mark.parametrize("compiler", ["/nowhere/cc", "false"])
def test_without_a_compiler_that_works_there_is_no_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiler: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    assert compiled.library("decode") is None
    assert built(tmp_path) == []


@needs_compiler
def test_a_folder_that_others_can_write_is_not_trusted(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "aha"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert compiled.library("decode") is not None
    assert built(tmp_path) == []


@needs_compiler
def test_a_home_that_cannot_be_written_is_no_obstacle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert compiled.library("decode") is not None
    assert os.listdir(tmp_path) == ["file"]


@needs_compiler
def test_functions_take_and_return_what_their_signature_says() -> None:
    found = compiled.functions("sampling", {"lanes": ":i", "draw": "piiifpppp"})
    assert found is not None
    assert found["lanes"]() in (8, 16)
    with pytest.raises(TypeError):
        found["draw"](1, 2)


def test_without_kernels_there_are_no_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "off")
    assert compiled.functions("sampling", {"lanes": ":i"}) is None
