"""Programs import what was allowed by name, and nothing else that is installed."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from aha.rewards.code import CodeReward
from aha.rewards.sandbox.isolation import Limits, probe
from aha.rewards.sandbox.packages import NO_PACKAGES, find_packages
from aha.rewards.sandbox.sandbox import Sandbox

FULL = probe()
LIMITS = Limits(seconds=30.0)

needs_bubblewrap = pytest.mark.skipif(FULL.strength != "full", reason=f"bubblewrap does not work: {FULL.reason}")

# Packages as they lie in an environment: their files, and what they require.
INSTALLED = {
    "Wanted": (["wanted/__init__.py", "wanted.libs/x.so", "../bin/wanted"], ["needed>=1", "gone; sys_platform == 'x'"]),
    "needed": (["needed.py", "__pycache__/needed.pyc"], ["aside; extra == 'all'", "wanted"]),
    "aside": (["aside/__init__.py"], []),
    "linked": (["__editable__.linked.pth"], []),
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, which nobody else may read."""
    folder = tmp_path / "site-packages"
    for name, (files, required) in INSTALLED.items():
        about = folder / f"{name}-1.0.dist-info"
        about.mkdir(parents=True)
        lines = [f"Name: {name}", "Version: 1.0", *(f"Requires-Dist: {line}" for line in required)]
        (about / "METADATA").write_text("\n".join(lines) + "\n")
        (about / "RECORD").write_text("".join(f"{file},,\n" for file in (*files, f"{about.name}/METADATA")))
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(f"from_package = {name!r}\n")
    monkeypatch.syspath_prepend(folder)
    return folder


def test_a_package_comes_with_what_it_requires_and_no_more(installed: Path) -> None:
    found = find_packages(["wanted"])
    assert found.versions == ("Wanted==1.0",)
    assert found.modules == ("wanted",)
    names = ["Wanted-1.0.dist-info", "needed-1.0.dist-info", "needed.py", "wanted", "wanted.libs"]
    assert found.entries == tuple(installed / name for name in names)
    assert found.folders == (installed,)
    assert find_packages(["needed"]).modules == ("needed",)
    assert find_packages([]) == NO_PACKAGES


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("gone", "not installed here"),
        ("no such; name", "not installed here"),
        ("", "not installed"),
        ("linked", "link"),
    ],
)
def test_a_package_that_cannot_be_shared_is_refused(name: str, fault: str) -> None:
    with pytest.raises(ValueError, match=rf"--allow-packages names {name!r}.*{fault}"):
        find_packages([name])


@pytest.mark.full
@needs_bubblewrap
@pytest.mark.usefixtures("installed")
def test_programs_import_what_is_allowed_and_cannot_change_it() -> None:
    if not FULL.can_share_packages:
        pytest.skip("the interpreter inside is another one")
    program = (
        "import os, wanted, needed\nprint(wanted.from_package, needed.from_package)\n"
        "for name in ('aside', 'numpy'):\n"
        "    try:\n        __import__(name)\n        print('ESCAPED', name)\n    except ImportError:\n        pass\n"
        "for path in ('/packages/new', wanted.__file__, needed.__file__):\n"
        "    try:\n        open(path, 'a')\n        print('ESCAPED', path)\n    except OSError:\n        pass\n"
        "print(sorted(os.listdir('/packages')))\n"
    )
    with Sandbox(limits=LIMITS, isolation=FULL, packages=["wanted"]) as sandbox:
        lines = sandbox.run(program).output.splitlines()
        assert lines[0] == "Wanted needed"
        assert lines[1:] == [str([entry.name for entry in sandbox.packages.entries])]
        assert sandbox.run_each("import needed\nprint(needed.from_package)", [""])[0].output == "needed\n"
        found = sandbox.examine("import wanted\ndef f(): return wanted.from_package", ["assert f() == 'Wanted'"])
        assert found.passed == (True,), found
        key = CodeReward(sandbox).key
    with Sandbox(limits=LIMITS, isolation=FULL) as sandbox:
        assert "No module named 'wanted'" in sandbox.run("import wanted").errors
        assert CodeReward(sandbox).key + ",Wanted==1.0" == key


@pytest.mark.full
@needs_bubblewrap
def test_numpy_computes_within_the_default_limits() -> None:
    if not FULL.can_share_packages:
        pytest.skip("the interpreter inside is another one")
    program = "import numpy\na = numpy.arange(10_000.0).reshape(100, 100)\nprint(int((a @ a.T).trace()))"
    with Sandbox(limits=LIMITS, isolation=FULL, packages=["numpy"]) as sandbox:
        assert sandbox.run(program).output == f"{sum(number**2 for number in range(10_000))}\n"


@needs_bubblewrap
def test_a_package_that_does_not_work_inside_is_refused_at_once(installed: Path) -> None:
    (installed / "wanted" / "__init__.py").write_text("raise ImportError('it needs a server')\n")
    with pytest.raises(
        RuntimeError, match=r"Wanted==1.0 cannot be imported in the sandbox: ImportError: it needs a ser"
    ):
        Sandbox(limits=LIMITS, isolation=FULL, packages=["wanted"])


@needs_bubblewrap
@pytest.mark.usefixtures("installed")
def test_another_interpreter_gets_no_packages() -> None:
    if not os.access("/usr/bin/python3", os.X_OK) or FULL.interpreter == Path("/usr/bin/python3"):
        pytest.skip("there is no other interpreter")
    other = replace(FULL, interpreter=Path("/usr/bin/python3"), is_private=False)
    with pytest.raises(RuntimeError, match="the interpreter inside is /usr/bin/python3, and not the one"):
        Sandbox(limits=LIMITS, isolation=other, packages=["wanted"])
