"""The user's cache: model folders that are made of something else, each when it is first asked for."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["cached_folder"]


def cached_folder(kind: str, name: str, make: Callable[[Path], None], *, cache: Path | None = None) -> Path:
    """A folder of the cache, made whole or not at all.

    Args:
        kind: what such folders are made of, in a word.
        name: of the folder; it has to hold a digest of all that the contents depend on.
        make: writes the contents into a new folder at the path that it is given.
        cache: where folders are kept; `aha/KIND` in the user's cache where None (`XDG_CACHE_HOME`).

    Raises:
        OSError: the cache cannot be written.
    """
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = (cache or user_cache / "aha" / kind) / name
    if folder.exists():
        return folder

    folder.parent.mkdir(parents=True, exist_ok=True)
    # Made aside and renamed: all processes of a run may need the same folder at the same time.
    with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
        made = Path(aside) / name
        make(made)
        try:
            made.rename(folder)
        except OSError:
            # Another process was faster; what is left aside goes with its folder.
            if not folder.exists():
                raise
    return folder
