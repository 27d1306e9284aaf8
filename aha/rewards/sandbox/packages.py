"""Installed packages that programs in the sandbox may import.

By default there are none: a program is judged under the standard library alone, so that a verdict does not depend on
what happens to be installed, and no compiled code of others runs beside it. Packages are allowed by name, each with
what it requires; they are mounted one by one and read-only, and nothing else of the environment is seen.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

__all__ = ["NO_PACKAGES", "Packages", "find_packages"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Packages:
    """What may be imported.

    Attributes:
        versions: the packages asked for, as in `numpy==2.1.0`.
        modules: names of the modules by which they are imported.
        entries: files and folders of these packages, and of all that they require, below a folder of `sys.path`.
    """

    versions: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    entries: tuple[Path, ...] = ()

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of `sys.path` in which the entries lie."""
        return tuple(sorted({entry.parent for entry in self.entries}))


NO_PACKAGES = Packages()
"""The standard library alone."""


def find_packages(names: Sequence[str]) -> Packages:
    """The packages of this environment by their names, and all that they require.

    Args:
        names: as `pip` has them.

    Raises:
        ValueError: one is not installed, or only as a link to its sources.
    """
    asked = [_installed(name) for name in names]
    found: dict[str, Distribution] = {}
    waiting = list(asked)
    while waiting:
        one = waiting.pop()
        if one.name not in found:
            found[one.name] = one
            waiting += _required(one)

    return Packages(
        versions=tuple(sorted(f"{one.name}=={one.version}" for one in asked)),
        modules=tuple(sorted({module for one in asked for module in _modules(one)})),
        entries=tuple(sorted({entry for one in found.values() for entry in _entries(one)})),
    )


def _installed(name: str) -> Distribution:
    try:
        found = distribution(name)
    except (PackageNotFoundError, ValueError):
        raise ValueError(
            f"--allow-packages names {name!r}, which is not installed here; install it, or leave it out"
        ) from None
    if not _modules(found):
        raise ValueError(
            f"--allow-packages names {name!r}, of whose modules there is no list here, as of a package of the system "
            "or a link to its sources; install a copy with pip, or leave it out"
        )
    return found


def _required(one: Distribution) -> list[Distribution]:
    """What a package requires and is installed; what only an extra needs, or another system, is not."""
    found = []
    for line in one.requires or []:
        name = _NAME.match(line)
        if name is None or re.search(r"\bextra\s*==", line):
            continue
        try:
            found.append(distribution(name[0]))
        except PackageNotFoundError:
            continue
    return found


def _entries(one: Distribution) -> list[Path]:
    """The files and folders of a package below its folder of `sys.path`."""
    names = {path.parts[0] for path in one.files or []}
    # Beside them stand programs of the command line (above that folder), and links to sources elsewhere.
    names = {name for name in names if name not in ("..", "__pycache__") and not name.endswith(".pth")}
    entries = [Path(str(one.locate_file(name))) for name in names]
    return [entry for entry in entries if entry.exists()]


def _modules(one: Distribution) -> list[str]:
    """Names by which a package is imported; private ones are left out."""
    folders = [entry.name for entry in _entries(one) if (entry / "__init__.py").is_file()]
    # Files beside a folder are mostly programs.
    names = folders or [entry.stem for entry in _entries(one) if entry.suffix == ".py"]
    return [name for name in names if not name.startswith("_")]
