"""The command line: parse, call a recipe or a stage, print what came of it.

Options and help derive from the typed configurations. Every command takes `--json` and then prints one JSON object
and nothing else on standard output. Exit status: 0, 1 (failed) or 2 (wrong use).
"""

import errno
import io
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args

import tyro
from pydantic import ValidationError

from aha.recipes.r1_scales import R1_SCALES, R1Config
from aha.recipes.scales import BASE_SCALES, R1_ZERO_SCALES, BaseConfig, R1ZeroConfig
from aha.runs.folder import as_json
from aha.stages.config import EvaluationConfig

if TYPE_CHECKING:
    from aha.recipes.assistant import OtherModel

__all__ = ["main"]

DESCRIPTION = "The DeepSeek-R1 training system as one program."
FAILED, WRONG_USE = 1, 2
_ILLEGAL = re.compile(
    r"config\.?(\S*?): \d+ validation errors? for \w+ (\w+) (.*?) \[type=\w+, input_value=(.*?), input_type"
)


class WrongUseError(ValueError):
    """Options that do not go together."""


RECIPES = {
    "r1_zero": "R1-Zero: pure reinforcement learning on a base model, rule-based rewards",
    "r1_zero_control": "its negative control: the same on shuffled answers",
    "r1": "the whole of R1: R1-Zero, Dev1, Dev2, Dev3, R1 and distilled students, as in the paper's Figure 2",
}


@dataclass(frozen=True, kw_only=True)
class RunCommand:
    """Run a recipe; the same command again resumes it. Each recipe has options of its own: `aha run RECIPE --help`."""

    recipe: tyro.conf.Positional[Literal["r1", "r1_zero", "r1_zero_control"]]
    """What to run; see `aha list`."""
    scale: Literal["tiny", "gpu", "paper"] = "tiny"
    """Where the numbers come from that are not given here."""
    run: Path | None = None
    """Run folder; runs/RECIPE-SEED where none is given."""
    seed: int = 0
    """Run seed: every random draw derives from it."""
    base: Path | None = None
    """Model folder to start from; the built-in base where none is given."""
    fresh: bool = False
    """Throw away an earlier run in the folder."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True, kw_only=True)
class ZeroCommand(RunCommand):
    """Run a recipe; the same command again resumes it. Each recipe has options of its own: `aha run RECIPE --help`."""

    config: Annotated[R1ZeroConfig, tyro.conf.arg(name="")]


@dataclass(frozen=True, kw_only=True)
class R1Command(RunCommand):
    """Run the whole of R1; the same command again resumes it."""

    config: Annotated[R1Config, tyro.conf.arg(name="")]
    students: tuple[Path, ...] = ()
    """Two model folders to distil into, Qwen2-shaped and Llama-shaped; the built-in students where none are given."""
    assistant: str | None = None
    """Address of an OpenAI-compatible endpoint that rewrites, judges and compares; by rule where none is given."""
    assistant_model: str = "default"
    """Name of the model at that endpoint."""
    assistant_per_minute: float | None = None
    """Most requests per minute to that endpoint."""


@dataclass(frozen=True, kw_only=True)
class PretrainCommand:
    """Train the built-in base model from scratch."""

    config: Annotated[BaseConfig, tyro.conf.arg(name="")]
    out: Path | None = None
    """Model folder to write, with its provenance."""
    run: Path | None = None
    """Run folder; runs/base-SEED where none is given."""
    seed: int = 0
    """Run seed."""
    fresh: bool = False
    """Throw away an earlier run in the folder."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True, kw_only=True)
class EvalCommand:
    """Evaluate a model on the built-in world."""

    model: tyro.conf.Positional[Path]
    """Model folder."""
    split: Literal["test", "hard", "validation"] = "test"
    """Which held-out problems; `hard` lies beyond the training range."""
    problems: int = 200
    """How many."""
    samples: int = 16
    """Responses for each (k)."""
    temperature: float = 0.6
    """0 takes the most likely token."""
    top_p: float = 0.95
    """Nucleus."""
    max_new_tokens: int = 192
    """Length cap of a response."""
    seed: int = 0
    """Seed of the draws."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True, kw_only=True)
class SampleCommand:
    """Sample one response."""

    model: tyro.conf.Positional[Path]
    """Model folder; `base` is the built-in one."""
    prompt: str | None = None
    """Text given to the model as it is."""
    question: str | None = None
    """A question, given to the model inside its template: R1's chat template, or R1-Zero's."""
    temperature: float = 0.6
    """0 takes the most likely token."""
    top_p: float = 1.0
    """Nucleus."""
    max_new_tokens: int = 192
    """Length cap of the response."""
    seed: int = 0
    """Seed of the draws."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """Write a run's page and print its figures."""

    run: tyro.conf.Positional[Path]
    """Run folder."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True, kw_only=True)
class ListCommand:
    """List recipes and scales."""

    json: bool = False
    """Print one JSON object."""


Command = ZeroCommand | R1Command | PretrainCommand | EvalCommand | SampleCommand | ReportCommand | ListCommand


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `aha`; ends the process with the command's exit status."""
    sys.exit(_main(list(sys.argv[1:] if arguments is None else arguments)))


def _main(given: list[str]) -> int:
    """Parse, carry out, and turn what went wrong into one line and an exit status."""
    try:
        command = _parse(given)
        result, text = _carry_out(command)
        print(as_json(result) if command.json else text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        is_run = given[:1] in (["run"], ["pretrain"])
        return _fail(f"stopped at once{'; the same command resumes from the last checkpoint' if is_run else ''}")
    except OSError as error:
        advice = (
            "free some space, then give the same command again: it resumes"
            if error.errno == errno.ENOSPC
            else "nothing was lost"
        )
        return _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''} ({advice})")
    except WrongUseError as error:
        _fail(str(error))
        return WRONG_USE
    except (ValueError, RuntimeError) as error:
        return _fail(str(error))
    return 0


def _fail(text: str) -> int:
    """One clear line on standard error."""
    print(f"aha: {text}", file=sys.stderr)
    return FAILED


def _parse(given: list[str]) -> Command:
    """The command, typed; the options of `run` are those of its recipe, with the defaults of its scale."""
    is_r1 = "r1" in given[:2]
    scales: Mapping[str, R1ZeroConfig | R1Config] = R1_SCALES if is_r1 else R1_ZERO_SCALES
    scale = scales.get(_peek(given, "--scale"), scales["tiny"])
    run: type[Any] = R1Command if is_r1 else ZeroCommand
    defaults: dict[type[Any], Any] = {
        run: run(recipe=tyro.MISSING, config=scale),
        PretrainCommand: PretrainCommand(config=BASE_SCALES["tiny"]),
    }
    names = {kind: kind.__name__.removesuffix("Command").lower() for kind in get_args(Command)[2:]}
    kinds = tuple(
        Annotated[kind, tyro.conf.subcommand(name, **({"default": defaults[kind]} if kind in defaults else {}))]
        for kind, name in {run: "run", **names}.items()
    )
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            union: Any = Union[kinds]  # noqa: UP007  # made from a tuple
            command: Command = tyro.cli(union, args=given, prog="aha", description=DESCRIPTION)
            return command
    except ValidationError as error:
        _fail(_illegal_value(error))
        raise SystemExit(WRONG_USE) from None
    except SystemExit as ended:
        text = _without_box(complaint.getvalue())
        sys.stderr.write(text)
        raise SystemExit(WRONG_USE if ended.code else 0) from None


def _illegal_value(error: ValidationError) -> str:
    """What a configuration finds wrong first, in one line."""
    first = error.errors()[0]
    what = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return what
    option = ".".join(map(str, first["loc"])).replace("_", "-")
    return f"--{option}: {what[:1].lower()}{what[1:]} (given: {first['input']})"


def _without_box(text: str) -> str:
    """A complaint about an illegal value of a configuration in one line; any other complaint as it is."""
    flat = " ".join(text.translate({ord(sign): " " for sign in "│╭╮╰╯─"}).split())
    illegal = _ILLEGAL.search(flat)
    if not illegal:
        return text
    where, field, what, value = illegal.groups()
    option = ".".join(part for part in (where, field) if part).replace("_", "-")
    return f"aha: --{option}: {what[:1].lower()}{what[1:]} (given: {value})\n"


def _peek(given: Sequence[str], option: str) -> str:
    """Value of an option before the real parse."""
    for place, word in enumerate(given):
        if word == option and place + 1 < len(given):
            return given[place + 1]
        if word.startswith(f"{option}="):
            return word.split("=", 1)[1]
    return ""


def _carry_out(command: Command) -> tuple[dict[str, Any], str]:
    """A command's result for programs, and for people."""
    match command:
        case ZeroCommand() | R1Command():
            return _run(command)
        case PretrainCommand():
            return _pretrain(command)
        case EvalCommand():
            return _eval(command)
        case SampleCommand():
            return _sample(command)
        case ReportCommand():
            return _report(command.run)
        case ListCommand():
            text = "\n".join(
                f"{name:16} {about}  (scales: {', '.join(R1_ZERO_SCALES)})" for name, about in RECIPES.items()
            )
            return {"recipes": RECIPES, "scales": list(R1_ZERO_SCALES)}, text


def _run(command: ZeroCommand | R1Command) -> tuple[dict[str, Any], str]:
    from aha.recipes.running import Order, carry_out

    folder = command.run or Path("runs") / f"{command.recipe}-{command.seed}"
    order = Order(
        recipe=command.recipe,
        scale=command.scale,
        config=command.config,
        folder=folder,
        seed=command.seed,
        start=command.base,
        students=command.students if isinstance(command, R1Command) else (),
        assistant=_assistant(command) if isinstance(command, R1Command) else None,
        fresh=command.fresh,
        is_quiet=command.json,
    )
    carry_out(order)
    return _report(folder)


def _assistant(command: R1Command) -> "OtherModel | None":
    """The endpoint that a command names."""
    from aha.recipes.assistant import OtherModel

    if command.assistant is None:
        return None
    return OtherModel(
        base_url=command.assistant, model=command.assistant_model, per_minute=command.assistant_per_minute
    )


def _pretrain(command: PretrainCommand) -> tuple[dict[str, Any], str]:
    from aha.recipes.base_model import publish
    from aha.recipes.running import Order, carry_out

    folder = command.run or Path("runs") / f"base-{command.seed}"
    order = Order(
        recipe="base",
        scale="tiny",
        config=command.config,
        folder=folder,
        seed=command.seed,
        fresh=command.fresh,
        is_quiet=command.json,
    )
    model = carry_out(order).path
    if command.out:
        model = publish(folder, model, command.out)
    return {"model": str(model.resolve())}, f"model: {model}"


def _eval(command: EvalCommand) -> tuple[dict[str, Any], str]:
    from aha.recipes.evaluation import evaluate_model

    how = _decoding(command, num_problems=command.problems, num_samples=command.samples)
    report = evaluate_model(_model(command.model), command.split, how, seed=command.seed)
    overall = [row for row in report.rows if row.suite == "all"]
    text = "\n".join(f"{row.metric:12} {row.value:8.3f}  [{row.low:.3f}, {row.high:.3f}]" for row in overall)
    return asdict(report), text


def _sample(command: SampleCommand) -> tuple[dict[str, Any], str]:
    from aha.recipes.evaluation import sample_once

    if (command.prompt is None) == (command.question is None):
        raise WrongUseError("give either --prompt (text as it is) or --question (inside the model's template)")
    how = _decoding(command)
    sampled = sample_once(
        _model(command.model),
        prompt=command.prompt,
        question=command.question,
        decoding={"temperature": how.temperature, "top_p": how.top_p, "max_new_tokens": how.max_new_tokens},
        seed=command.seed,
    )
    if sampled["unknown"]:
        print(f"aha: the model's vocabulary lacks {', '.join(map(repr, sampled['unknown'][:8]))}", file=sys.stderr)
    return sampled, str(sampled["text"])


def _decoding(command: EvalCommand | SampleCommand, **counts: int) -> EvaluationConfig:
    """How a command samples; an illegal value is wrong use."""
    names = ("temperature", "top_p", "max_new_tokens")
    given = {name: value for name, value in asdict(command).items() if name in names}
    try:
        return EvaluationConfig.model_validate(given | counts)
    except ValidationError as error:
        raise WrongUseError(_illegal_value(error).replace("--num-", "--")) from None


def _model(path: Path) -> Path | None:
    """A model folder; None for the built-in base."""
    return None if str(path) == "base" and not path.exists() else path


def _report(folder: Path) -> tuple[dict[str, Any], str]:
    from aha.runs.page import models_in_words, summary, write_page

    write_page(folder)
    figures = summary(folder)
    start, end = figures["start"], figures["end"]
    lines = [models_in_words(folder)] if "stages" in figures else []
    if not lines and isinstance(start, dict) and isinstance(end, dict):
        for name in start:
            before, after = (f"{part[name]['value']:.3f}" if part[name] else "-" for part in (start, end))
            lines.append(f"{name:12} {before:>8} -> {after:>8}")
    return figures, "\n".join([*lines, f"model: {figures['model']}", f"report: {figures['page']}"])
