"""Conversations: lists of turns, in the two forms in which data sets write them.

| form | a turn |
|---|---|
| messages, as in OpenAI's interface | `{"role": "user", "content": "1+1?"}`; the content may be a list of text parts |
| ShareGPT | `{"from": "human", "value": "1+1?"}` |

The thinking of a reasoning model may stand in a field of its own (`reasoning_content`, as DeepSeek's interface returns
it, or `reasoning`, or `thinking`), or between OpenThoughts' marks. It is put into `<think>` tags before the reply.

Source: DeepSeek-R1, arXiv:2501.12948v2, B.3.2, and the released models, for `<think>`, thinking, `</think>`, reply.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aha.problems.datasets.fields import BadRow, Fields, find, text_field

__all__ = ["REASONING", "Turn", "has_messages", "question_of", "turns_of", "with_thinking"]

Role = Literal["system", "user", "assistant"]
"""Who speaks."""

_COLUMNS = ("prompt", "messages", "conversations", "conversation")

REASONING = ("reasoning_content", "reasoning", "thinking")
"""Fields that hold the thinking before a reply."""

# The names of the roles in both forms.
_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
}

# The marks of OpenThoughts, and what they mean in the format of R1.
_MARKS = {
    "<|begin_of_thought|>": "<think>",
    "<|end_of_thought|>": "</think>",
    "<|begin_of_solution|>": "",
    "<|end_of_solution|>": "",
}


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says.

    Attributes:
        role: who speaks.
        text: what is said, with the thinking in tags where there is some; may be empty.
    """

    role: Role
    text: str


def has_messages(fields: Fields) -> bool:
    """Whether a row holds a conversation."""
    return any(isinstance(fields.get(name), list) for name in _COLUMNS)


def turns_of(messages: Any, name: str) -> list[Turn]:
    """The turns of a conversation.

    Args:
        messages: the value of a field.
        name: of the field, for errors.

    Raises:
        BadRow: it is no list of messages, or a message has an unknown role or no text.
    """
    if not isinstance(messages, list) or not all(isinstance(message, Mapping) for message in messages):
        raise BadRow(f"field {name!r} is no list of messages")
    return [_turn(message) for message in messages]


def _turn(message: Mapping[str, Any]) -> Turn:
    """A message in either form."""
    is_sharegpt = "from" in message and "role" not in message
    who, what = ("from", "value") if is_sharegpt else ("role", "content")
    name = message.get(who)
    role = _ROLES.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        raise BadRow(f"a message of {str(name)[:40]!r}: only system, user and assistant are understood")

    content = message.get(what)
    # A list of parts, of which an image or a sound cannot be read.
    if isinstance(content, list):
        content = _text_of_parts(content)
    # An empty system message says nothing, and is left out by who reads the turns.
    if role == "system" and not content:
        return Turn(role, "")

    text = text_field({**message, what: content} if what in message else message, what)
    if role == "assistant":
        return Turn(role, with_thinking(message, text))
    return Turn(role, text)


def _text_of_parts(parts: Sequence[Any]) -> str:
    """The text of a content in parts."""
    texts = []
    for part in parts:
        if not isinstance(part, Mapping) or part.get("type") != "text":
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise BadRow(f"a message with a part of type {str(kind)[:40]!r}: only text can be read")
        texts.append(text_field(part, "text"))
    return "".join(texts)


def with_thinking(fields: Fields, response: str) -> str:
    """A response with its thinking in R1's tags before it, where there is some.

    Args:
        fields: what may hold the thinking, in one of the fields of `REASONING`.
        response: the reply, perhaps with OpenThoughts' marks.
    """
    for mark, tag in _MARKS.items():
        response = response.replace(mark, tag)

    texts = [fields[name].strip() for name in REASONING if isinstance(fields.get(name), str)]
    thinking = next(filter(None, texts), "")
    if not thinking or "<think>" in response:
        return response
    return f"<think>\n{thinking}\n</think>\n\n{response.strip()}"


def question_of(fields: Fields, *, system: str = "") -> str:
    """The question of a row: its field `question`, or else the user's turn of its conversation.

    A system message is put before the question. An answer of the assistant is left out.

    Args:
        fields: the row.
        system: a system message for a conversation that has none of its own.

    Raises:
        BadRow: there is no question, or the conversation has several turns of the user.
    """
    if "question" in fields:
        return text_field(fields, "question")

    # Where a row has several of the columns, the conversation is the first one that holds a list.
    lists = [name for name in _COLUMNS if isinstance(fields.get(name), list)]
    names = lists or [name for name in _COLUMNS if name in fields] or ["prompt"]
    turns = turns_of(find(fields, names[0]), names[0])

    # The assistant's answer is what the policy is to find on its own.
    said = [turn for turn in turns if turn.text]
    if said and said[-1].role == "assistant":
        said = said[:-1]

    if [turn.role for turn in said] not in (["user"], ["system", "user"]):
        raise BadRow(
            f"a conversation of {_roles(turns)}; one turn of the user is needed: leave such rows out with "
            "--bad-rows skip, or write the turns before the last into one question"
        )

    texts = [turn.text.strip() for turn in said]
    if system and said[0].role != "system":
        texts.insert(0, system)
    return "\n\n".join(texts)


def _roles(turns: Sequence[Turn]) -> str:
    return ", ".join(turn.role for turn in turns)[:60] or "no turns"
