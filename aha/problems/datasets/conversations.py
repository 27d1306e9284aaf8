"""Questions that stand in conversations: lists of messages, each with the role of who speaks and what is said."""

from collections.abc import Mapping
from typing import Any

from aha.problems.datasets.fields import BadRow, Fields, find, text_field

__all__ = ["has_messages", "question_of"]

_COLUMNS = ("prompt", "messages")


def has_messages(fields: Fields) -> bool:
    """Whether a row holds a conversation."""
    return any(isinstance(fields.get(name), list) for name in _COLUMNS)


def question_of(fields: Fields) -> str:
    """The question of a row: in words where it has a field `question`, else the user's turn of its conversation.

    A text of the system stands before the question. What an assistant answers is no part of it.

    Raises:
        BadRow: there is no question, or the conversation has several turns of the user.
    """
    if "question" in fields:
        return text_field(fields, "question")
    name = "prompt" if isinstance(fields.get("prompt"), list) or "messages" not in fields else "messages"
    messages = find(fields, name)
    if not isinstance(messages, list) or not all(isinstance(one, Mapping) for one in messages):
        raise BadRow(f"field {name!r} is no list of messages")

    asked = [one for one in messages if one.get("role") != "system" or one.get("content")]
    if asked and asked[-1].get("role") == "assistant":
        asked = asked[:-1]
    if [one.get("role") for one in asked] not in (["user"], ["system", "user"]):
        raise BadRow(
            f"a conversation of {_roles(messages)}; one turn of the user is needed: leave such rows out with "
            "--bad-rows skip, or write the turns before the last into one question"
        )
    return "\n\n".join(text_field(one, "content").strip() for one in asked)


def _roles(messages: list[Mapping[str, Any]]) -> str:
    return ", ".join(str(one.get("role")) for one in messages)[:60] or "no turns"
