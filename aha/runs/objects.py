"""JSON objects of a model folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["read_object", "write_object"]


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ValueError: the file holds none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    # Thousands of nested brackets are a RecursionError; the file may come from anywhere.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}): the checkpoint is damaged") from None

    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object: the checkpoint is damaged")
    return content


def write_object(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object into a file."""
    path.write_text(json.dumps(dict(content), indent=2, sort_keys=True) + "\n", encoding="utf-8")
