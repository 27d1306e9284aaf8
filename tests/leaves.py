"""The settings of a configuration one by one, by their dotted paths: their values, and other values for them."""

from collections.abc import Iterator
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import ValidationError

from aha.runs.config import Config

SomeConfig = TypeVar("SomeConfig", bound=Config)


def leaves(config: Config, prefix: str = "") -> Iterator[str]:
    """Dotted paths of all settings of a configuration. The name of an algorithm is none: it has one value only."""
    for name, value in config:
        if isinstance(value, Config):
            yield from leaves(value, f"{prefix}{name}.")
        elif not _is_fixed(type(config).model_fields[name].annotation):
            yield prefix + name


def _is_fixed(kind: object) -> bool:
    """Whether a field has one value only, which tells configurations apart."""
    return get_origin(kind) is Literal and len(get_args(kind)) == 1


def value_of(config: Config, path: str) -> Any:
    """The value of a field, by its dotted path."""
    value: Any = config
    for name in path.split("."):
        value = dict(value)[name]
    return value


def with_value(config: SomeConfig, path: str, value: object) -> SomeConfig:
    """The configuration with another value at a dotted path, checked as the command line would."""
    first, _, rest = path.partition(".")
    old = dict(config)[first]
    new = with_value(old, rest, value) if rest else value
    assert new != old
    return type(config).model_validate({**dict(config), first: new})


def with_another_value(config: SomeConfig, path: str) -> SomeConfig:
    """The configuration with another value at a dotted path, whichever is allowed there.

    The field's own configuration is checked. Those around it are not: two parts that must agree may differ here.
    """
    first, _, rest = path.partition(".")
    old = dict(config)[first]
    if rest:
        return config.model_copy(update={first: with_another_value(old, rest)})
    for value in _other_values(old, type(config).model_fields[first].annotation):
        try:
            return type(config).model_validate({**dict(config), first: value})
        except ValidationError:
            continue
    raise ValueError(f"no other value was found for {path} = {old!r}: extend `_other_values`")


def _other_values(old: object, kind: object) -> list[object]:
    """Values of the same type, the first of which is mostly allowed."""
    if get_origin(kind) is Literal:
        return [value for value in get_args(kind) if value != old]
    match old:
        case bool():
            return [not old]
        case int():
            return [old + 1, old - 1, 2 * old]
        case float():
            return [old / 2 or 0.5]
        case tuple():
            return [old[:-1]]
    return []
