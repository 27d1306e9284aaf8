"""Problems and rewards of the user's own, as they are named on the command line."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Device", "FunctionReward", "OwnData", "as_record"]

Device = Literal["auto", "cpu", "cuda"]
"""Where to compute."""


class FunctionReward(str):
    """A reward that a Python program gives as a function; as a text, its name and weight, which a run records.

    Attributes:
        function: takes a problem and a rollout.
        weight: of its part of the reward.
    """

    function: Callable[..., Any]
    weight: float

    def __new__(cls, function: Callable[..., Any], weight: float = 1.0) -> "FunctionReward":
        """Name a function."""
        spec = super().__new__(cls, f"{function.__name__}={weight:g}")
        spec.function = function
        spec.weight = weight
        return spec

    def __reduce__(self) -> tuple[Any, ...]:
        # Copied and sent as what it was made of: its text alone could not make it again.
        return FunctionReward, (self.function, self.weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnData:
    """Problems and rewards of your own; the built-in world where no problems are given."""

    problems: tuple[str, ...] = ()
    """Training problems: JSONL or Parquet files, or hub:OWNER/NAME:FILE; see docs/problems.md."""
    test: tuple[str, ...] = ()
    """Held-out problems, of the same form; a share of the training problems is held out where none are given."""
    format: str = "auto"
    """What the files hold: auto tells gsm8k, math, aime, humaneval, choice and others by their fields."""
    fields: str = ""
    """Which fields hold what, as in question=problem,answer=solution."""
    bad_rows: Literal["stop", "skip"] = "stop"
    """What a row that cannot be used does."""
    long_prompts: Literal["stop", "skip"] = "stop"
    """What a prompt does that leaves the model no positions for a response of full length."""
    template: str = "auto"
    """Prompt around a question: r1_zero, r1, bare, chat (the checkpoint's own), or FILE.jinja; auto takes r1_zero."""
    system: str = ""
    """System message, for a chat template; the checkpoint remembers it."""
    stop: tuple[str, ...] | None = None
    """Texts that end a response besides the model's end token, such as </answer> for a base model that writes on;
    those that its checkpoint names where the option is not given, none where it is given alone."""
    reward: tuple[str, ...] = ()
    """Functions that join the reward: FILE.py:FUNCTION or MODULE:FUNCTION of your own, or `language` (does the thinking
    keep to the language of the question?), with =WEIGHT if it is not 1."""
    answer: str = "auto"
    """What of a response counts as its answer: auto (the answer block, or else the last box), tags (the answer block
    alone), box (the last box), last-number, or regex:PATTERN (the last match, or its first group); see docs/own.md."""
    weak_sandbox: bool = False
    """Run code of the model with less isolation where bubblewrap is missing."""
    allow_packages: tuple[str, ...] = ()
    """Installed packages that code of the model may import besides the standard library, such as numpy."""


def as_record(options: Any) -> dict[str, object]:
    """Options as a run records them.

    What counts as the answer is absent where nothing was chosen, as it is in runs from before there was a choice.

    Args:
        options: a dataclass with an option `answer`, or with an `OwnData` under the name `own`.
    """
    record: dict[str, Any] = asdict(options)
    for holder in (record, record.get("own", {})):
        if holder.get("answer") == "auto":
            del holder["answer"]
    return record
