"""Settings that the stages of a kind share: `--rl.temperature 0.7` is the temperature of all reinforcement learning.

A stage has each of them under its own name too (`--STAGE.temperature 0.5`), which holds over the shared one wherever
it stands on the command line. The help of a command shows a shared setting once, and of a single stage only what
usually differs from one stage to the next.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Any

import tyro
from pydantic import Field, create_model

from aha.runs.config import Config
from aha.stages.config import STAGE_KINDS

__all__ = ["abridged", "with_shared_options"]

OWN_SETTINGS = (
    "iterations",
    "max_new_tokens",
    "epochs",
    "num_problems",
    "num_samples",
    "optimizer.learning_rate",
)
"""Settings that usually differ between the stages of a kind: the help shows them of every stage."""


def with_shared_options(words: Sequence[str], config: type[Config]) -> list[str]:
    """The options of a command line, each shared one replaced by those of the stages that it stands for.

    They are put before all others, so that an option of a single stage holds over them.

    Args:
        words: options and their values, as given.
        config: the configuration whose stages are meant.
    """
    stages = _stages_by_kind(config)
    # Of two equal options the last one holds, so the shared ones come first.
    shared: list[str] = []
    others: list[str] = []
    # Words before the first option, such as -h, come as an option that no stage has.
    for option, *values in _options_in(words):
        kind, _, setting = option.removeprefix("--").partition(".")
        # What is no setting of the kind is left to the parser, which complains in the words of the user.
        is_shared = kind in stages and _first_name(setting) in STAGE_KINDS[kind].model_fields
        if is_shared:
            for stage in stages[kind]:
                shared += [f"--{stage}.{setting}", *values]
        else:
            others += [option, *values]
    return [*shared, *others]


def abridged(numbers: Config) -> Config:
    """The numbers of a scale as the help shows them: shared settings once, then what differs between stages.

    What comes back is for the help alone: it lacks settings.
    """
    stages = _stages_by_kind(type(numbers))
    if not stages:
        return numbers

    inside_stages = tuple(f"{stage}." for paths in stages.values() for stage in paths)
    shown_settings = {stage + setting for stage in inside_stages for setting in OWN_SETTINGS}
    # Optimizers have the same details in every kind of stage: the first kind explains them for all.
    with_optimizer = [kind for kind in stages if "optimizer" in STAGE_KINDS[kind].model_fields]

    def is_shown_of_a_stage(path: str) -> bool:
        if path.startswith(inside_stages):
            return path in shown_settings
        return not (with_optimizer and _is_detail_of_optimizer(path))

    fields: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for kind, paths in stages.items():
        blocks = [_at(numbers, path) for path in paths]
        block = _shared_block(blocks, has_details=kind in with_optimizer[:1])
        about = (
            f"For {', '.join(paths)} at once. Each of them takes every setting under its own name too, as in "
            f"--{paths[0]}.SETTING, which holds over this one."
        )
        fields[kind] = (type(block), Field(description=about))
        values[kind] = block

    rest = _reduced(numbers, is_shown_of_a_stage)
    fields |= {name: (info.annotation, info) for name, info in type(rest).model_fields.items()}
    return _for_help(type(numbers), fields, values | dict(rest))


def _first_name(setting: str) -> str:
    """The field that the name of a setting begins with: `optimizer` of `optimizer.beta1=0.9`."""
    name, _, _ = setting.partition("=")
    first, _, _ = name.partition(".")
    return first.replace("-", "_")


def _options_in(words: Sequence[str]) -> Iterator[list[str]]:
    """Each option with the values after it; words before the first option come as one of them."""
    starts = [index for index, word in enumerate(words) if index == 0 or word.startswith("--")]
    for start, end in pairwise([*starts, len(words)]):
        yield list(words[start:end])


def _stages_by_kind(config: type[Config]) -> dict[str, list[str]]:
    """Paths of the stages of each kind of which there are at least two."""
    blocks = list(_blocks(config))
    stages: dict[str, list[str]] = {}
    for name, kind in STAGE_KINDS.items():
        # The class itself: a reward model's training derives from fine-tuning, and is no stage of that kind.
        paths = [path for path, block in blocks if block is kind]
        # A field of the recipe keeps its name.
        if len(paths) > 1 and name not in config.model_fields:
            stages[name] = paths
    return stages


def _blocks(config: type[Config], prefix: str = "") -> Iterator[tuple[str, type[Config]]]:
    """Every configuration inside a configuration, with its path."""
    for name, info in config.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Config):
            yield prefix + name, info.annotation
            yield from _blocks(info.annotation, f"{prefix}{name}.")


def _at(config: Any, path: str) -> Any:
    """What stands at a path of a configuration."""
    for name in path.split("."):
        config = dict(config)[name]
    return config


def _is_detail_of_optimizer(path: str) -> bool:
    """Whether a setting is one of an optimizer's other than its learning rate; the help explains them once for all."""
    return "optimizer." in path and not path.endswith("optimizer.learning_rate")


def _shared_block(stages: Sequence[Config], *, has_details: bool) -> Config:
    """The settings of a kind of stages, with the default where all stages have the same.

    Args:
        stages: the stages of the kind.
        has_details: whether it also explains the details of optimizers.
    """
    differing = tyro.conf.arg(help_behavior_hint="(default: each stage's own)")

    def is_shown(path: str) -> bool:
        return has_details or not _is_detail_of_optimizer(path)

    def extra(path: str) -> tuple[Any, ...]:
        first = _at(stages[0], path)
        are_equal = all(_at(stage, path) == first for stage in stages)
        return () if are_equal else (differing,)

    return _reduced(stages[0], is_shown, extra)


def _reduced(
    config: Config,
    is_shown: Callable[[str], bool],
    extra: Callable[[str], tuple[Any, ...]] = lambda path: (),
    prefix: str = "",
) -> Config:
    """A configuration without the settings that are not shown; a block that loses all of its settings goes.

    Args:
        config: the configuration, or a block of it.
        is_shown: whether the setting at a path is shown.
        extra: what is added to the annotation of the setting at a path.
        prefix: what stands before the paths of a block.
    """
    fields: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for name, value in config:
        path = prefix + name
        info = type(config).model_fields[name]

        if isinstance(value, Config):
            value = _reduced(value, is_shown, extra, f"{path}.")
            annotation: Any = type(value)
            # An empty block would be a heading without options.
            if not annotation.model_fields:
                continue
        elif is_shown(path):
            # pydantic keeps the bounds of a field apart from its type; the help wants them together again.
            annotation = info.annotation
            for mark in (*info.metadata, *extra(path)):
                annotation = Annotated[annotation, mark]
        else:
            continue

        fields[name] = (annotation, Field(description=info.description))
        values[name] = value

    return _for_help(type(config), fields, values)


def _for_help(kind: type[Config], fields: dict[str, Any], values: dict[str, Any]) -> Config:
    """A configuration with these fields, for the help: it has the name and the text of another kind."""
    shown: Any = create_model(kind.__name__, __base__=Config, __doc__=kind.__doc__, **fields)
    # Without validation: a configuration that lacks settings may break the rules between them.
    numbers: Config = shown.model_construct(**values)
    return numbers
