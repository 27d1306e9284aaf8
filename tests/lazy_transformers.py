"""The names of `transformers`, which is imported when the first of them is used: it takes two seconds of a process."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    return getattr(importlib.import_module("transformers"), name)
