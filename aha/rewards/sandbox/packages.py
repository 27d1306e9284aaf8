"""Installed packages that programs in the sandbox may import.

By default there are none: programs have the standard library alone, so that a verdict does not depend on what happens
to be installed, and no foreign compiled code runs inside. Packages are allowed by name, each with its requirements.
They are mounted one by one and read-only; nothing else of the environment is visible.
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
    """The packages that may be imported.

    Attributes:
        versions: the requested packages, as in `numpy==2.1.0`.
        modules: names of the modules by which they are imported.
        entries: files and folders of these packages and of their requirements, below a folder of `sys.path`.
    """

    versions: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    entries: tuple[Path, ...] = ()

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of `sys.path` that hold the entries."""
        return tuple(sorted({entry.parent for entry in self.entries}))

    def mount_points(self) -> dict[Path, str]:
        """The name of the mount point of each folder, for cells in which it has to be mounted."""
        return {folder: f"packages-{index}" for index, folder in enumerate(self.folders)}


NO_PACKAGES = Packages()
"""The standard library alone."""


def find_packages(names: Sequence[str]) -> Packages:
    """Finds packages of this environment by their names, with all that they require.

    Args:
        names: as `pip` has them.

    Raises:
        ValueError: a package is not installed, or only as a link to its sources.
    """
    requested = [_find_package(name) for name in names]

    # By name, since requirements may go round in circles.
    packages: dict[str, Distribution] = {}
    queue = list(requested)
    while queue:
        package = queue.pop()
        if package.name not in packages:
            packages[package.name] = package
            queue += _requirements(package)

    modules = {module for package in requested for module in _modules(package)}
    entries = {entry for package in packages.values() for entry in _entries(package)}
    return Packages(
        versions=tuple(sorted(f"{package.name}=={package.version}" for package in requested)),
        modules=tuple(sorted(modules)),
        entries=tuple(sorted(entries)),
    )


def _find_package(name: str) -> Distribution:
    """A package of this environment.

    Raises:
        ValueError: it is not installed, or its files are not listed.
    """
    try:
        package = distribution(name)
    except (PackageNotFoundError, ValueError):
        raise ValueError(
            f"--allow-packages names {name!r}, which is not installed here; install it, or leave it out"
        ) from None

    if not _modules(package):
        raise ValueError(
            f"--allow-packages names {name!r}, of whose modules there is no list here, as of a package of the system "
            "or a link to its sources; install a copy with pip, or leave it out"
        )

    return package


def _requirements(package: Distribution) -> list[Distribution]:
    """The installed requirements of a package; those of an extra, or of another system, may be missing."""
    requirements = []
    for line in package.requires or []:
        name = _NAME.match(line)
        # Those of an extra were not asked for.
        if name is None or re.search(r"\bextra\s*==", line):
            continue
        try:
            requirements.append(distribution(name[0]))
        except PackageNotFoundError:
            continue

    return requirements


def _entries(package: Distribution) -> list[Path]:
    """The files and folders of a package, directly below its folder of `sys.path`."""
    names = {path.parts[0] for path in package.files or []}

    # A package also lists programs of the command line, which lie above that folder, and links to sources elsewhere.
    names = {name for name in names if name not in ("..", "__pycache__") and not name.endswith(".pth")}

    entries = [Path(str(package.locate_file(name))) for name in names]
    return [entry for entry in entries if entry.exists()]


def _modules(package: Distribution) -> list[str]:
    """The names by which a package is imported, without private ones."""
    entries = _entries(package)
    names = [entry.name for entry in entries if (entry / "__init__.py").is_file()]

    # Files beside a folder are mostly programs; they count only where there is no folder.
    if not names:
        names = [entry.stem for entry in entries if entry.suffix == ".py"]
    return [name for name in names if not name.startswith("_")]
