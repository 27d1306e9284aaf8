"""Where preferences come from: memory, or the files of a stage that labelled responses."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from aha.runs.folder import as_json
from aha.runs.shards import read_rows
from aha.types import Dataset, Preference

__all__ = ["InMemoryPreferences", "PreferenceSource", "StoredPreferences"]


class PreferenceSource(Protocol):
    """Where preferences come from."""

    @property
    def key(self) -> str:
        """What decides them: part of the stage's key."""
        ...

    def __call__(self) -> Sequence[Preference]:
        """All of them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class InMemoryPreferences:
    """Preferences held in memory.

    Attributes:
        preferences: all of them.
    """

    preferences: Sequence[Preference]

    @property
    def key(self) -> str:
        """Hash of their content."""
        rows = [asdict(preference) for preference in self.preferences]
        return hashlib.sha256(as_json(rows).encode()).hexdigest()[:16]

    def __call__(self) -> Sequence[Preference]:
        """All of them."""
        return self.preferences


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPreferences:
    """Preferences that a stage wrote, a row each.

    Attributes:
        data: its sets.
    """

    data: Sequence[Dataset]

    @property
    def key(self) -> str:
        """The keys of the sets."""
        return " ".join(part.key for part in self.data)

    def __call__(self) -> Sequence[Preference]:
        """All rows, in order."""
        preferences: list[Preference] = []
        for part in self.data:
            preferences += [_preference(row) for row in read_rows(part.path)]
        return preferences


def _preference(row: Mapping[str, Any]) -> Preference:
    """A row of JSON as a preference."""
    # Field by field: JSON has lists where a preference has tuples.
    return Preference(
        problem_id=row["problem_id"],
        prompt=row["prompt"],
        responses=tuple(row["responses"]),
        qualities=tuple(row["qualities"]),
        source=row["source"],
    )
