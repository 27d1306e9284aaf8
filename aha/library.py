"""The program as a Python library: the commands of the command line for scripts and notebooks.

    import aha

    trained = aha.run("r1_zero", problems="train.jsonl", reward=concise, settings={"zero.iterations": 20})
    print(aha.evaluate(trained.model, "test.jsonl"))
    print(aha.sample(trained.model, "How many legs have three cats?").text)

Options have the names of the command line, with `_` for `-`; what a command line takes as a file may also be given as
rows, and a reward as a function. Errors are those of the command line.
"""

import html
import inspect
import io
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from aha import cli
from aha.commands.command_line import parse
from aha.commands.options import EvalCommand, RunCommand, SampleCommand
from aha.recipes.own.own_data import FunctionReward, OwnData
from aha.runs.folder import write_atomically

if TYPE_CHECKING:
    # It imports torch.
    from aha.types import Problem, Rollout

__all__ = ["Response", "Result", "evaluate", "run", "sample"]

RewardSource = str | Callable[["Problem", "Rollout"], object]
"""A reward: a function of the program, or `FILE.py:FUNCTION` as on the command line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run ended with.

    Attributes:
        folder: the run folder.
        model: folder of the model that it ended with.
        page: the page of the run.
        figures: what `aha run --json` prints.
    """

    folder: Path
    model: Path
    page: Path
    figures: Mapping[str, Any]

    def _repr_html_(self) -> str:
        """The page inside a notebook, in a frame of its own, since it has a script."""
        page = html.escape(self.page.read_text(encoding="utf-8"), quote=True)
        return f'<iframe srcdoc="{page}" width="100%" height="800" sandbox="allow-scripts"></iframe>'


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A sampled response.

    Attributes:
        prompt: the whole prompt.
        text: the response.
        thinking: what stands in its thinking tags; None where there are none.
        summary: what follows the thinking, or stands in the answer tags; None where that is empty.
        finish: `stop`, or `length` where it was cut.
    """

    prompt: str
    text: str
    thinking: str | None
    summary: str | None
    finish: str


def run(
    recipe: str,
    *,
    folder: Path | str | None = None,
    reward: RewardSource | Sequence[RewardSource] | Mapping[RewardSource, float] = (),
    settings: Mapping[str, object] | None = None,
    **options: object,
) -> Result:
    """Run a recipe to its end, or from where it was interrupted.

    Args:
        recipe: its name, such as `r1_zero`, `sft` or `distill`.
        folder: the run folder; `runs/RECIPE-SEED` where none is given. The same call with the same folder resumes.
        reward: functions that join the reward, with weights where they are not 1. A function of the program itself
            runs in this process, so that the run has one.
        settings: numbers by their name on the command line: `{"zero.iterations": 20, "rl.temperature": 0.9}`.
        options: any other option of `aha run RECIPE`. Files may be given as rows, which are written beside the run
            folder, in `FOLDER-data`: `problems=[{"question": "1+1?", "answer": "2"}]`.

    Returns:
        What the run ended with.

    Raises:
        ValueError: an option, a row or a model cannot be used; says what to do.
        Interrupted: the run was asked to stop; it has saved.
        RuntimeError: the loss is not finite, or an extra is not installed.
    """
    seed = options.get("seed", 0)
    folder = Path(folder) if folder is not None else Path("runs") / f"{recipe}-{seed}"
    specs = _specs(reward)
    numbers = dict(settings or {})
    if any(isinstance(spec, FunctionReward) for spec in specs):
        numbers = _in_one_process(recipe, numbers)

    data = folder.with_name(f"{folder.name}-data")
    words = ["run", recipe, "--run", str(folder), *_words(numbers, data), *_words(options, data)]
    command = _parsed(words)
    assert isinstance(command, RunCommand)

    from aha.commands.running import carry_out

    request = cli.request_of(command)
    if specs:
        request = replace(request, options=_with_rewards(recipe, request.options, specs))
    carry_out(request)
    figures, _ = cli.report_of(folder)
    return Result(folder=folder, model=Path(str(figures["model"])), page=Path(str(figures["page"])), figures=figures)


def evaluate(model: Path | str, problems: object = None, **options: object) -> dict[str, Any]:
    """Evaluate a model.

    Args:
        model: its folder, that of a finished run, a GGUF file, `hub:OWNER/NAME`, or `base` for the built-in one.
        problems: a suite, a file, or rows; the built-in world where none are given.
        options: any option of `aha eval`, such as `samples=16` or `temperature=0.6`.

    Returns:
        What `aha eval --json` prints: rows of figures with their intervals, the decoding, and digests.

    Raises:
        ValueError: the model, an option or a row cannot be used; says what to do.
        RuntimeError: an extra is not installed, or nothing isolates the code that is to be judged.
    """
    with tempfile.TemporaryDirectory(prefix="aha-") as folder:
        words = _words({"suite": problems, **options}, Path(folder))
        command = _parsed(["eval", str(model), *words])
        assert isinstance(command, EvalCommand)
        figures, _ = cli.carry_out_command(command)
    return figures


def sample(model: Path | str, question: str | None = None, **options: object) -> Response:
    """Sample one response.

    Args:
        model: as in `evaluate`.
        question: put into the template that the model was trained with; or give `prompt`, which is taken as it is.
        options: any option of `aha sample`, such as `max_new_tokens=512` or `system="Be brief."`.

    Raises:
        ValueError: the model or an option cannot be used; says what to do.
    """
    words = _words({"question": question, **options}, Path())
    command = _parsed(["sample", str(model), *words])
    assert isinstance(command, SampleCommand)
    sampled, _ = cli.carry_out_command(command)
    return Response(**{name: sampled[name] for name in Response.__dataclass_fields__})


def _parsed(words: list[str]) -> object:
    """The command of some words; a complaint of the command line becomes a `ValueError`."""
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            return parse(words)
    except SystemExit:
        text = complaint.getvalue().strip().removeprefix("aha: ")
        raise ValueError(text or "this is no command") from None


def _words(options: Mapping[str, object], data: Path) -> list[str]:
    """Options as the words of a command line; rows are written into files of a folder.

    Args:
        options: by name, with `_` for `-`; None leaves an option at its default.
        data: folder for the rows.
    """
    words: list[str] = []
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is None or value is False:
            continue
        if value is True:
            words.append(option)
        elif _are_rows(value):
            file = data / f"{name}.jsonl"
            _write_rows(file, value)
            words += [option, str(file)]
        elif isinstance(value, Mapping):
            pairs = (f"{field}={column}" for field, column in value.items())
            words += [option, ",".join(pairs)]
        elif isinstance(value, Sequence) and not isinstance(value, str):
            words += [option, *map(str, value)]
        else:
            words += [option, str(value)]
    return words


def _are_rows(value: object) -> TypeGuard[Sequence[Mapping[str, object]]]:
    """Whether a value is a list of rows; an empty list is an empty option."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return False
    return all(isinstance(row, Mapping) for row in value)


def _write_rows(file: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows as JSON lines, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        lines = [json.dumps(dict(row), ensure_ascii=False) + "\n" for row in rows]
    except TypeError as error:
        raise ValueError(f"{file.stem}: a row cannot be written as JSON ({error})") from None
    write_atomically(file, "".join(lines))


def _specs(reward: object) -> list[str]:
    """Rewards as the options of a run hold them."""
    if isinstance(reward, Mapping):
        return [_spec(source, float(weight)) for source, weight in reward.items()]
    if isinstance(reward, str) or callable(reward):
        return [_spec(reward)]
    if isinstance(reward, Sequence):
        return [_spec(source) for source in reward]
    raise ValueError(f"reward: a function, FILE.py:FUNCTION, or several of them are needed, not {reward!r}")


def _spec(source: object, weight: float = 1.0) -> str:
    if isinstance(source, str):
        return source if weight == 1.0 else f"{source}={weight:g}"
    if not inspect.isroutine(source):
        raise ValueError(f"reward: {source!r} is no function")
    return FunctionReward(source, weight)


def _in_one_process(recipe: str, settings: dict[str, object]) -> dict[str, object]:
    """The settings of a run whose reward is a function of this program, which other processes do not have."""
    name = "zero.processes" if recipe == "r1" else "processes"
    if settings.setdefault(name, 1) != 1:
        raise ValueError(
            f"reward: a function of this program is known to no other process: leave {name} out, or write the function "
            "into a file and give FILE.py:FUNCTION"
        )
    return settings


def _with_rewards(recipe: str, options: Any, specs: Sequence[str]) -> Any:
    """The options of a recipe with more rewards."""
    own = vars(options).get("own") if options is not None else None
    if not isinstance(own, OwnData):
        raise ValueError(f"the recipe {recipe} takes no rewards of your own")
    return replace(options, own=replace(own, reward=(*own.reward, *specs)))
