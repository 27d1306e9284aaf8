"""Chat templates of checkpoints: untrusted Jinja, rendered in a sandbox and within limits.

A template sees messages and special tokens, nothing else. The sandbox protects Python's internals and the arguments of
the template; limits on its steps and on the size of its values bound its time. Filters and functions are those of
`transformers`, so that the prompts agree letter for letter.
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

from aha.prompts.tokenizer import Tokenizer

__all__ = ["DATE", "ChatTemplate", "chat", "with_system"]

DATE = datetime(2024, 7, 26)
"""The date for templates that ask for one: the date that Llama's template uses when it cannot ask. Ours: the date of
the run would make its prompts differ from one day to the next."""

MAX_TEMPLATE = 200_000  # characters of a template; templates of released models have fewer than 20,000
MAX_STEPS = 100_000  # loop turns and calls of a rendering
MAX_SIZE = 1_000_000  # largest text, list or number that a template may make or ask for
MAX_FORMAT = 1000  # characters of a format string

# Filters and functions of Jinja that are slow or random; no chat template needs them.
_REFUSED = {"lipsum", "pprint", "random", "urlize", "wordwrap", "xmlattr"}

# Names of our own filters; they have blanks, so that no template can write them.
_TURNS = "turns of a loop"
_JOINED = "joined texts"

# Fields of a format that make long texts: a width of four digits, one that is an argument, and one that is computed.
_WIDTH = re.compile(r"[0-9]{4,}|\*|:[^{}]*\{")


class ChatTemplate:
    """A template in Jinja as a prompt template: a question is a turn of the user, the answer comes next.

    Attributes:
        source: the Jinja, as a checkpoint that was trained with it holds it.
    """

    def __init__(
        self, source: str, *, now: datetime, variables: Mapping[str, Any], system: str | None, origin: str
    ) -> None:
        """Compile a template.

        Args:
            source: the Jinja.
            now: the time for `strftime_now`.
            variables: what the template sees besides the messages.
            system: the system message; None leaves it to the template.
            origin: where the template stands, for errors.

        Raises:
            ValueError: the template cannot be compiled.
        """
        self.source = source
        self._origin = origin
        self._environment = _Sandbox(now)
        self._template = _compile(self._environment, source, origin)
        self._variables = variables
        self._before = [] if system is None else [{"role": "system", "content": system}]

    def __call__(self, question: str) -> str:
        """The text of a prompt.

        Raises:
            ValueError: the template fails, or exceeds its limits.
        """
        # Steps are counted from zero for each prompt: none may fail because of those before it.
        self._environment.steps = 0
        messages = [*self._before, {"role": "user", "content": question}]
        try:
            return _limited(self._template.generate(messages=messages, **self._variables))
        except _FAILURES as error:
            raise ValueError(
                f"{self._origin} fails ({type(error).__name__}: {str(error)[:200]}): correct it, or choose another "
                "prompt template"
            ) from None


def chat(
    tokenizer: Tokenizer,
    *,
    system: str | None = None,
    now: datetime = DATE,
    options: Mapping[str, Any] | None = None,
    origin: str = "chat_template.jinja of the checkpoint",
) -> ChatTemplate:
    """The chat template of a tokenizer as a prompt template.

    Args:
        tokenizer: the tokenizer of the checkpoint.
        system: the system message; None leaves it to the template.
        now: the time for `strftime_now`.
        options: variables of the template, such as `enable_thinking` of Qwen3.
        origin: where the template stands, for errors.

    Returns:
        A template that makes the text of a prompt from a question.

    Raises:
        ValueError: the template cannot be compiled; rendering raises it, too, if a template fails or exceeds its
            limits.
    """
    special = {"eos_token": tokenizer.end, "pad_token": tokenizer.pad}
    if tokenizer.begin is not None:
        special["bos_token"] = tokenizer.begin

    variables = {"add_generation_prompt": True, "tools": None, "documents": None, **special, **(options or {})}
    return ChatTemplate(tokenizer.chat_template, now=now, variables=variables, system=system, origin=origin)


def with_system(source: str, system: str) -> str:
    """A chat template that gives a conversation without a system message this one.

    The message is a part of the template, so that the checkpoint of a model that was trained with it is prompted in the
    same way by every program that renders its chat template.

    Args:
        source: the template, in Jinja.
        system: the message.
    """
    # Jinja reads JSON's escapes in a text; what is not ASCII stands for itself.
    text = json.dumps(system, ensure_ascii=False)
    message = f"{{'role': 'system', 'content': {text}}}"
    return (
        "{% if messages[0]['role'] != 'system' %}{% set messages = [" + message + "] + messages %}{% endif %}" + source
    )


# What a template can raise when it is rendered.
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


def _compile(environment: "_Sandbox", source: str, origin: str) -> jinja2.Template:
    """Compiles a template, with limits on its loops, filters and joined texts."""
    if len(source) > MAX_TEMPLATE:
        raise ValueError(f"{origin} has {len(source)} characters, more than {MAX_TEMPLATE}")

    try:
        tree = environment.parse(source)

        # Jinja's sandbox sees calls and operators, but neither loops nor `~`: every loop goes through a filter that
        # counts its turns, every `~` through one that limits the text.
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, _TURNS, [], [], None, None, lineno=loop.lineno)
        for joined in list(tree.find_all(nodes.Concat)):
            parts = nodes.List([*joined.nodes], lineno=joined.lineno)
            joined.nodes = [nodes.Filter(parts, _JOINED, [], [], None, None, lineno=joined.lineno)]
        return environment.from_string(tree)
    except (jinja2.TemplateError, RecursionError, SyntaxError, MemoryError) as error:
        raise ValueError(
            f"{origin} cannot be understood ({type(error).__name__}: {str(error)[:200]}): correct it, or choose "
            "another prompt template"
        ) from None


def _limited(pieces: Iterable[str]) -> str:
    """Joins the pieces of a text, and stops where it becomes too long."""
    accepted: list[str] = []
    size = 0
    for piece in pieces:
        accepted.append(piece)
        size += len(piece)
        if size > MAX_SIZE:
            raise SecurityError(f"it writes more than {MAX_SIZE} characters")
    return "".join(accepted)


class _Generation(Extension):
    """`{% generation %}` marks the text of an assistant; in a prompt it means nothing."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own type)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Parses the marked part as if it were not marked."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(ImmutableSandboxedEnvironment):
    """The Jinja environment of `transformers`, with limits.

    Attributes:
        steps: turns of loops, calls and operations so far.
    """

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self, now: datetime) -> None:
        """Make one for the template of one tokenizer."""
        extensions = [_Generation, loopcontrols]
        # `finalize` sees every value that is printed.
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions, finalize=_checked)
        self.steps = 0

        filters = {name: _bounded(function) for name, function in self.filters.items() if name not in _REFUSED}
        self.filters: dict[str, Callable[..., Any]] = {
            **filters,
            "tojson": _bounded(_to_json),
            "format": _format,
            _TURNS: self._turns,
            _JOINED: _joined,
        }

        for name in _REFUSED & self.globals.keys():
            del self.globals[name]

        self.globals |= {"raise_exception": _complain, "strftime_now": now.strftime}

    def count(self, number: int = 1) -> None:
        """Counts steps, and stops the rendering after too many."""
        self.steps += number
        if self.steps > MAX_STEPS:
            raise SecurityError(f"it takes more than {MAX_STEPS} steps")

    @jinja2.pass_context
    def _turns(self, context: Context, values: Iterable[Any]) -> list[Any]:
        """The values of a loop, counted."""
        # Jinja runs a filter of constants when it compiles, unless the filter takes the context.
        del context
        turns = list(itertools.islice(values, MAX_STEPS + 1))
        self.count(len(turns))
        return turns

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Calls a function or method of a template; the object of a method counts as an argument."""
        self.count()
        is_method = isinstance(obj, MethodType | BuiltinMethodType)
        receiver = [obj.__self__] if is_method else []
        _check(*receiver, *args, *kwargs.values())
        result = super().call(context, obj, *args, **kwargs)
        return _checked(result)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Computes an operation for a template."""
        # Products and formats are checked before they are computed: afterwards the memory would be full already.
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
    """A filter that refuses arguments and results that are too large."""

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        _check(*args, *kwargs.values())
        return _checked(function(*args, **kwargs))

    return checked


def _check(*values: Any) -> None:
    """Refuses values whose sizes multiply to something too large, such as a text and the width to centre it in."""
    size = 1
    for value in values:
        size *= max(1, _extent(value))
        if size > MAX_SIZE:
            raise SecurityError(f"it handles something larger than {MAX_SIZE} characters or items")


def _checked(value: Any) -> Any:
    """The value itself, unless it is too large."""
    _check(value)
    return value


def _extent(value: Any) -> int:
    """The size of a value as text: its characters; of a number its value, because it may be a width."""
    # Without recursion, and with an end at the limit, because a template can nest lists deeply.
    stack = [value]
    extent = 0
    while stack and extent <= MAX_SIZE:
        current = stack.pop()
        if isinstance(current, str | bytes | range):
            extent += len(current)
        elif isinstance(current, int):
            extent += abs(current)
        elif isinstance(current, Mapping):
            stack += [*current.keys(), *current.values()]
        elif isinstance(current, list | tuple | set):
            stack += current

        # Each item counts one besides, so that a long list of empty texts is large.
        extent += current is not value

    return extent


def _check_widths(text: str) -> None:
    """Refuses a format with wide fields."""
    if len(text) > MAX_FORMAT or _WIDTH.search(text):
        raise SecurityError("it formats text with fields that are too wide")


def _format(text: str, *args: Any, **kwargs: Any) -> str:
    """Jinja's filter `format`."""
    form = str(text)
    _check_widths(form)
    return str(_checked(form % (kwargs or args)))


@jinja2.pass_context
def _joined(context: Context, parts: list[Any]) -> str:
    """The text that `~` joins."""
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
    """The function `raise_exception` of a template."""
    raise jinja2.TemplateError(message)
