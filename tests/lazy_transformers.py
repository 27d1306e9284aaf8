"""The names of `transformers`, which is imported when the first of them is used: it takes two seconds of a process."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    # While it collects, pytest asks every object of a test module for marks of its own and for special names.
    if name.startswith(("_", "pytest")):
        raise AttributeError(name)
    return getattr(importlib.import_module("transformers"), name)
