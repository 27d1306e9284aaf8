"""Questions in conversations: lists of messages, each with a role and a content."""

from collections.abc import Mapping
from typing import Any

from aha.problems.datasets.fields import BadRow, Fields, find, text_field

__all__ = ["has_messages", "question_of"]

_COLUMNS = ("prompt", "messages")


def has_messages(fields: Fields) -> bool:
    """Whether a row holds a conversation."""
    return any(isinstance(fields.get(name), list) for name in _COLUMNS)


def question_of(fields: Fields) -> str:
    """The question of a row: its field `question`, or else the user's turn of its conversation.

    A system message is put before the question. An answer of the assistant is left out.

    Raises:
        BadRow: there is no question, or the conversation has several turns of the user.
    """
    if "question" in fields:
        return text_field(fields, "question")

    # Where a row has both columns, the conversation is the one that holds a list.
    is_prompt = isinstance(fields.get("prompt"), list) or "messages" not in fields
    name = "prompt" if is_prompt else "messages"
    messages = find(fields, name)
    if not isinstance(messages, list) or not all(isinstance(message, Mapping) for message in messages):
        raise BadRow(f"field {name!r} is no list of messages")

    # An empty system message says nothing. The assistant's answer is what the policy is to find on its own.
    turns = [message for message in messages if message.get("role") != "system" or message.get("content")]
    if turns and turns[-1].get("role") == "assistant":
        turns = turns[:-1]

    if [message.get("role") for message in turns] not in (["user"], ["system", "user"]):
        raise BadRow(
            f"a conversation of {_roles(messages)}; one turn of the user is needed: leave such rows out with "
            "--bad-rows skip, or write the turns before the last into one question"
        )

    texts = [text_field(message, "content").strip() for message in turns]
    return "\n\n".join(texts)


def _roles(messages: list[Mapping[str, Any]]) -> str:
    roles = [str(message.get("role")) for message in messages]
    return ", ".join(roles)[:60] or "no turns"
