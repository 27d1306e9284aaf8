"""Chat templates of checkpoints: Jinja that strangers wrote, rendered in a sandbox and within bounds.

A template sees messages and special tokens, nothing else. The sandbox keeps it from Python's internals and from
changing what it is given; bounds on its steps and on the size of what it makes keep it from never ending. What it may
use is what `transformers` gives it, so that the prompts agree letter for letter.
"""

import functools
import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import BuiltinMethodType, MethodType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from aha.prompts.templates import Template
from aha.prompts.tokenizer import Tokenizer

__all__ = ["DATE", "chat"]

DATE = datetime(2024, 7, 26)
"""The day a template is told where it asks: the one that Llama's template names when it cannot ask. Ours: the day of
the run would make prompts differ between two days of it."""

MAX_TEMPLATE = 200_000
"""Characters of a template; those of released models have fewer than 20,000."""

MAX_STEPS = 100_000
"""Turns of loops and calls of one rendering."""

MAX_SIZE = 1_000_000
"""Largest text, list or number that a template may make or ask for."""

MAX_FORMAT = 1000
"""Characters of a text that a template may use as a format."""

_REFUSED = {"lipsum", "pprint", "random", "urlize", "wordwrap", "xmlattr"}
"""Filters and functions of Jinja that take long, or draw lots; no chat template needs them."""

_TURNS = "turns of a loop"
_JOINED = "joined texts"
_WIDTH = re.compile(r"[0-9]{4,}|\*|:[^{}]*\{")


def chat(
    tokenizer: Tokenizer, *, system: str | None = None, now: datetime = DATE, options: Mapping[str, Any] | None = None
) -> Template:
    """The chat template of a tokenizer as a prompt template: a question is a user's turn, and the answer comes next.

    Args:
        tokenizer: the tokenizer of the checkpoint.
        system: what stands before the question in a turn of its own; None leaves it to the template.
        now: what `strftime_now` tells a template that asks.
        options: variables of the template, such as `enable_thinking` of Qwen3.

    Returns:
        From a question to the text of a prompt.

    Raises:
        ValueError: the template cannot be understood; rendering raises it, too, where a template fails or goes beyond
            its bounds.
    """
    environment = _Sandbox(now)
    template = _understood(environment, tokenizer.chat_template)
    before = [] if system is None else [{"role": "system", "content": system}]
    special = {"eos_token": tokenizer.end, "pad_token": tokenizer.pad}

    if tokenizer.begin is not None:
        special["bos_token"] = tokenizer.begin

    given = {"add_generation_prompt": True, "tools": None, "documents": None, **special, **(options or {})}

    def prompt(question: str) -> str:
        environment.steps = 0
        messages = [*before, {"role": "user", "content": question}]
        try:
            return _limited(template.generate(messages=messages, **given))
        except _FAILURES as error:
            raise ValueError(
                f"the chat template of the checkpoint fails ({type(error).__name__}: {str(error)[:200]}): correct "
                "chat_template.jinja, or choose another prompt template"
            ) from None

    return prompt


_FAILURES = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a template can raise when it is rendered."""


def _understood(environment: "_Sandbox", source: str) -> jinja2.Template:
    """A template compiled, with its loops, filters and joined texts inside the bounds."""
    if len(source) > MAX_TEMPLATE:
        raise ValueError(f"the chat template of the checkpoint has {len(source)} characters, more than {MAX_TEMPLATE}")

    try:
        tree = environment.parse(source)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, _TURNS, [], [], None, None, lineno=loop.lineno)
        for joined in list(tree.find_all(nodes.Concat)):
            parts = nodes.List([*joined.nodes], lineno=joined.lineno)
            joined.nodes = [nodes.Filter(parts, _JOINED, [], [], None, None, lineno=joined.lineno)]
        return environment.from_string(tree)
    except (jinja2.TemplateError, RecursionError, SyntaxError, MemoryError) as error:
        raise ValueError(
            f"the chat template of the checkpoint cannot be understood ({type(error).__name__}: {str(error)[:200]}): "
            "correct chat_template.jinja, or choose another prompt template"
        ) from None


def _limited(pieces: Iterable[str]) -> str:
    """The pieces of a text as long as it does not become too long."""
    kept: list[str] = []
    size = 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if size > MAX_SIZE:
            raise SecurityError(f"it writes more than {MAX_SIZE} characters")
    return "".join(kept)


class _Generation(Extension):
    """`{% generation %}` marks what an assistant wrote; for a prompt it means nothing."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own type)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The marked part as if it were not marked."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja as `transformers` sets it up, with bounds.

    Attributes:
        steps: turns of loops, calls and operations so far.
    """

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self, now: datetime) -> None:
        """Make one for the template of one tokenizer."""
        extensions = [_Generation, loopcontrols]
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions, finalize=_checked)
        self.steps = 0

        own: dict[str, Callable[..., Any]] = {
            "tojson": _bounded(_to_json),
            "format": _format,
            _TURNS: self._turns,
            _JOINED: _joined,
        }

        kept = {name: _bounded(function) for name, function in self.filters.items() if name not in _REFUSED}
        self.filters: dict[str, Callable[..., Any]] = {**kept, **own}
        for name in _REFUSED & self.globals.keys():
            del self.globals[name]

        self.globals |= {"raise_exception": _complain, "strftime_now": now.strftime}

    def count(self, number: int = 1) -> None:
        """Count steps.

        Raises:
            SecurityError: there were too many.
        """
        self.steps += number
        if self.steps > MAX_STEPS:
            raise SecurityError(f"it takes more than {MAX_STEPS} steps")

    @jinja2.pass_context
    def _turns(self, context: Context, values: Iterable[Any]) -> list[Any]:
        """What a loop goes through, counted."""
        del context
        turns = list(itertools.islice(values, MAX_STEPS + 1))
        self.count(len(turns))
        return turns

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call something for a template; a method counts what it belongs to among its arguments."""
        self.count()
        own = [obj.__self__] if isinstance(obj, MethodType | BuiltinMethodType) else []
        _check(*own, *args, *kwargs.values())
        return _checked(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute an operation for a template."""
        self.count()
        if operator == "**":
            raise SecurityError("powers are not allowed")
        if operator == "*":
            _check(left, right)
        if operator == "%" and isinstance(left, str):
            _check_widths(left)
        return _checked(super().call_binop(context, operator, left, right))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`str.format` for a template."""
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            _check_widths(value.__self__)
        return wrapped


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that refuses to work on, or to make, what is too large."""

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        _check(*args, *kwargs.values())
        return _checked(function(*args, **kwargs))

    return checked


def _check(*values: Any) -> None:
    """Refuse what may multiply to something too large, such as a text to be centred, and its width."""
    size = 1
    for value in values:
        size *= max(1, _extent(value))
        if size > MAX_SIZE:
            raise SecurityError(f"it handles something larger than {MAX_SIZE} characters or items")


def _checked(value: Any) -> Any:
    """The same value, if it is not too large."""
    _check(value)
    return value


def _extent(value: Any) -> int:
    """How large a value is when it is written out: characters, or what a number makes when it is a width."""
    todo = [value]
    extent = 0
    while todo and extent <= MAX_SIZE:
        one = todo.pop()
        if isinstance(one, str | bytes | range):
            extent += len(one)
        elif isinstance(one, int):
            extent += abs(one)
        elif isinstance(one, Mapping):
            todo += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set):
            todo += one

        extent += one is not value

    return extent


def _check_widths(text: str) -> None:
    """Refuse a format that asks for wide fields."""
    if len(text) > MAX_FORMAT or _WIDTH.search(text):
        raise SecurityError("it formats text with fields that are too wide")


def _format(text: str, *args: Any, **kwargs: Any) -> str:
    """Jinja's filter of this name."""
    _check_widths(str(text))
    return str(_checked(str(text) % (kwargs or args)))


@jinja2.pass_context
def _joined(context: Context, parts: list[Any]) -> str:
    """What `~` makes."""
    del context
    _check(parts)
    return "".join(map(str, parts))


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as `transformers` writes it for templates: nothing is escaped for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _complain(message: str) -> None:
    """What `raise_exception` does in a template."""
    raise jinja2.TemplateError(message)
