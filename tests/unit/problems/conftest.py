"""What makes two questions the same problem, found in their words alone."""

import re
from collections.abc import Callable

import pytest

Identity = tuple[object, ...]

_PATTERNS = (
    ("pair", re.compile(r"(?:find two of|从) ((?:\d+ )+)(?:that make|选两个得) (\d+)")),
    ("countdown", re.compile(r"(?:use|用) ((?:\d+ )+)(?:to make|得) (\d+)")),
    ("formula", re.compile(r"(?:compute|solve|计算|解) ((?:\d+|[x^+=-])(?: (?:\d+|[x^+=-]))*)")),
)


@pytest.fixture
def identities() -> Callable[[str], set[Identity]]:
    """All problems that a text asks, in any language, order of numbers or wording."""

    def find(text: str) -> set[Identity]:
        found: set[Identity] = set()
        for family, pattern in _PATTERNS:
            for match in pattern.finditer(text):
                if family == "formula":
                    found.add((family, match[1]))
                else:
                    found.add((family, tuple(sorted(map(int, match[1].split()))), int(match[2])))
        return found

    return find
