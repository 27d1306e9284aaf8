"""The command line: parse, call a recipe or a stage, print what came of it.

Options and help derive from the typed configurations. Every command takes `--json` and then prints one JSON object
and nothing else on standard output. Exit status: 0, 1 (failed) or 2 (wrong use).
"""

import errno
import math
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from aha.commands.command_line import WRONG_USE, parse
from aha.commands.option_files import WrongUseError
from aha.commands.options import (
    AuditCommand,
    BenchCommand,
    Command,
    DoctorCommand,
    EvalCommand,
    ExportCommand,
    ListCommand,
    ModelChoice,
    PretrainCommand,
    ReportCommand,
    RunCommand,
    SampleCommand,
)
from aha.recipes.catalogue import RECIPES
from aha.recipes.pretraining_recipe import BASE
from aha.recipes.recipe import RunRequest
from aha.runs.complaints import illegal_value
from aha.runs.folder import as_json
from aha.stages.config import EvaluationConfig

__all__ = ["carry_out_command", "main", "report_of", "request_of"]

FAILED = 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `aha`; ends the process with the command's exit status."""
    sys.exit(_main(list(sys.argv[1:] if arguments is None else arguments)))


def _main(arguments: list[str]) -> int:
    """Parse, carry out, and turn what went wrong into one line and an exit status."""
    try:
        command = parse(arguments)
        result, text = carry_out_command(command)
        print(as_json(result) if command.json else text, flush=True)
        # The doctor refuses a run, the audit a reward.
        is_refused = isinstance(command, DoctorCommand | AuditCommand) and not result.get("is_fit", True)
    except BrokenPipeError:
        # Whoever read the output is gone, as after `| head`. Python flushes it once more when it ends, which must not
        # fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        # `command` may not be there yet, so the words are asked.
        is_run = arguments[:1] in (["run"], ["pretrain"])
        advice = "; the same command resumes from the last checkpoint" if is_run else ""
        return _fail(f"stopped at once{advice}")
    except OSError as error:
        return _fail(_os_error_in_words(error))
    # A `WrongUseError` is a `ValueError`, so it comes first.
    except WrongUseError as error:
        _fail(str(error))
        return WRONG_USE
    except (ValueError, RuntimeError) as error:
        return _fail(str(error))
    return FAILED if is_refused else 0


def _os_error_in_words(error: OSError) -> str:
    """What the operating system refused, with the file and what to do."""
    refusal = str(error.strerror or error)
    if error.filename:
        refusal += f": {error.filename}"

    if error.errno == errno.ENOSPC:
        return f"{refusal} (free some space, then give the same command again: it resumes)"
    return f"{refusal} (nothing was lost)"


def _fail(text: str) -> int:
    """One clear line on standard error."""
    print(f"aha: {text}", file=sys.stderr)
    return FAILED


def carry_out_command(command: Command) -> tuple[dict[str, Any], str]:  # noqa: C901  # a line for each command
    """A command's result for programs, and for people."""
    # The functions import what they need inside: `aha --help` must not wait for torch.
    match command:
        case RunCommand():
            return _run(command)
        case DoctorCommand():
            return _doctor(command)
        case AuditCommand():
            return _audit(command)
        case BenchCommand():
            return _bench(command)
        case PretrainCommand():
            return _pretrain(command)
        case EvalCommand():
            return _eval(command)
        case SampleCommand():
            return _sample(command)
        case ExportCommand():
            return _export(command)
        case ReportCommand():
            return report_of(command.run)
        case ListCommand():
            return _list()


def _run(command: RunCommand) -> tuple[dict[str, Any], str]:
    from aha.commands.running import carry_out

    request = request_of(command)
    carry_out(request)
    return report_of(request.folder)


def request_of(command: RunCommand) -> RunRequest[Any, Any]:
    """What a command asks for."""
    if command.keep_rollouts < 1:
        raise WrongUseError(f"--keep-rollouts must be at least 1 (given: {command.keep_rollouts})")

    return RunRequest(
        recipe=command.recipe,
        scale=command.scale,
        config=command.config,
        options=command.options,
        folder=command.run or Path("runs") / f"{command.recipe}-{command.seed}",
        seed=command.seed,
        device=command.device,
        model=command.model if isinstance(command, ModelChoice) else None,
        fresh=command.fresh,
        force=command.force,
        keep_rollouts=command.keep_rollouts,
        is_quiet=command.json,
        fit=command.fit,
    )


def _pretrain(command: PretrainCommand) -> tuple[dict[str, Any], str]:
    from aha.commands.running import carry_out
    from aha.recipes.base_model import publish
    from aha.report.page import write_page

    request = RunRequest(
        recipe=BASE.name,
        scale=next(iter(BASE.scales)),
        config=command.config,
        options=None,
        folder=command.run or Path("runs") / f"{BASE.name}-{command.seed}",
        seed=command.seed,
        fresh=command.fresh,
        is_quiet=command.json,
    )

    model = carry_out(request).path
    write_page(request.folder)

    if command.out:
        model = publish(request.folder, model, command.out)
    return {"model": str(model.resolve())}, f"model: {model}"


def _doctor(command: DoctorCommand) -> tuple[dict[str, Any], str]:
    from aha.commands.doctor import as_object, examine, in_words
    from aha.commands.processes import device_of
    from aha.recipes.fitting import fit_in_words

    device = device_of(command.device, command.scale)
    diagnosis = examine(
        command.model, command.own, command.config, seed=command.seed, num_groups=command.groups, device=device
    )
    lines = [fit_in_words(command.fit, command.config), in_words(diagnosis)]
    return dict(as_object(diagnosis)), "\n".join(filter(None, lines))


def _audit(command: AuditCommand) -> tuple[dict[str, Any], str]:
    from aha.commands.audits import audit_file, names_reward

    if names_reward(str(command.file)):
        return _audit_reward(command)

    # Options of another kind of audit are refused, since they would change nothing.
    is_of_reward = command.rows or command.attacks or command.beside or command.allow
    if is_of_reward or command.threshold != AuditCommand.threshold:
        raise WrongUseError(
            f"{command.file} names no reward function: write FILE.py:FUNCTION or the name of a reward before the rows, "
            "or leave out ROWS, --attacks, --beside, --threshold and --allow"
        )

    return audit_file(
        command.file,
        is_code=command.code,
        weak_sandbox=command.weak_sandbox,
        packages=command.allow_packages,
        num_shown=command.show,
    )


def _audit_reward(command: AuditCommand) -> tuple[dict[str, Any], str]:
    """The audit of a reward; status 1 says that something is wrong with it, so what keeps it from being made is 2."""
    from aha.commands.audits import audit_named_reward

    if command.code or command.weak_sandbox or command.allow_packages:
        raise WrongUseError("--code, --weak-sandbox and --allow-packages are for a file of code, not for a reward")
    if command.allow < 0 or not math.isfinite(command.threshold):
        raise WrongUseError(
            "--allow must be at least 0 and --threshold a finite number "
            f"(given: {command.allow} and {command.threshold})"
        )
    try:
        # What the user's function prints goes to standard error, so that the output is the audit's alone.
        with redirect_stdout(sys.stderr):
            return audit_named_reward(
                str(command.file),
                command.rows,
                beside=command.beside,
                threshold=command.threshold,
                with_attacks=command.attacks,
                num_allowed=command.allow,
                num_shown=command.show,
            )
    except ValueError as error:
        raise WrongUseError(str(error)) from error


def _bench(command: BenchCommand) -> tuple[dict[str, Any], str]:
    from aha.commands.benchmark import as_object, in_words, measure
    from aha.commands.processes import device_of

    if command.threads < 1 or not 0 < command.seconds < float("inf"):
        raise WrongUseError(
            f"--threads must be at least 1 and --seconds above 0 (given: {command.threads} and {command.seconds})"
        )
    # Whatever the model, `auto` means CUDA where there is one: only scale `tiny` would stay on the CPU.
    device = device_of(command.device, "gpu")
    benchmark = measure(command.model, seconds=command.seconds, threads=command.threads, device=device)
    return as_object(benchmark), in_words(benchmark)


def _eval(command: EvalCommand) -> tuple[dict[str, Any], str]:
    from aha.commands.evaluation import EvaluationOrder, SuiteOrder, evaluate_order
    from aha.commands.processes import device_of

    if command.processes < 1:
        raise WrongUseError(f"--processes must be at least 1 (given: {command.processes})")

    # The numbers of the built-in world. A suite has its own, and takes from here none that was not asked for.
    counts = {"num_problems": 200, "num_samples": 16, "max_new_tokens": 192}
    asked_for = {
        "num_problems": command.problems,
        "num_samples": command.samples,
        "max_new_tokens": command.max_new_tokens,
    }
    counts |= {name: number for name, number in asked_for.items() if number is not None}

    suite = None
    if command.suite is not None:
        suite = SuiteOrder(
            name=command.suite,
            data=command.data,
            fields=command.fields,
            bad_rows=command.bad_rows,
            weak_sandbox=command.weak_sandbox,
            packages=command.allow_packages,
            limit=command.problems,
            num_samples=command.samples,
            max_new_tokens=command.max_new_tokens,
        )

    order = EvaluationOrder(
        model=command.model,
        config=_decoding(command, **counts),
        seed=command.seed,
        split=command.split,
        suite=suite,
        template=command.template,
        system=command.system,
        stop=command.stop,
        answer=command.answer,
        num_processes=command.processes,
        device_name=device_of(command.device, _size_of(command.model)),
    )

    report, remarks = evaluate_order(order)
    # The figures of single domains are for programs; people see those of all problems.
    overall = [row for row in report.rows if row.suite == "all"]
    lines = [f"{row.metric:12} {row.value:8.3f}  [{row.low:.3f}, {row.high:.3f}]" for row in overall]
    return asdict(report), "\n".join([remarks, *lines] if remarks else lines)


def _sample(command: SampleCommand) -> tuple[dict[str, Any], str]:
    from aha.commands.evaluation import SampleOrder, sample_once
    from aha.commands.processes import device_of
    from aha.stages.evaluate import sampling_of

    if (command.prompt is None) == (command.question is None):
        raise WrongUseError("give either --prompt (text as it is) or --question (inside the model's template)")

    config = _decoding(command, max_new_tokens=command.max_new_tokens)
    order = SampleOrder(
        model=command.model,
        prompt=command.prompt,
        question=command.question,
        decoding=sampling_of(config, ()).decoding,
        seed=command.seed,
        template=command.template,
        system=command.system,
        stop=command.stop,
        device=device_of(command.device, _size_of(command.model)),
        precision=command.precision,
    )

    sampled = sample_once(order)
    if sampled["unknown"]:
        words = ", ".join(repr(word) for word in sampled["unknown"][:8])
        print(f"aha: the model's vocabulary lacks {words}", file=sys.stderr)
    return sampled, str(sampled["text"])


def _export(command: ExportCommand) -> tuple[dict[str, Any], str]:
    from aha.commands.export import export

    exported = export(command.model, command.out, command.dtype)
    return exported, f"model: {command.out} ({exported['dtype']})"


def _size_of(model: str) -> str:
    """The scale whose device suits a model: the built-in one is too small for a GPU."""
    return "tiny" if model == "base" else "gpu"


def _decoding(command: EvalCommand | SampleCommand, **counts: int) -> EvaluationConfig:
    """How a command samples; an illegal value is wrong use."""
    try:
        return EvaluationConfig.model_validate(
            {"temperature": command.temperature, "top_p": command.top_p, "precision": command.precision, **counts}
        )
    except ValidationError as error:
        # The fields are called `num_problems` and `num_samples`, the options --problems and --samples.
        raise WrongUseError(illegal_value(error).replace("--num-", "--")) from None


def report_of(folder: Path) -> tuple[dict[str, Any], str]:
    """Write the page of a run, and give its figures for programs and for people."""
    from aha.report.page import models_in_words, summary, write_page

    write_page(folder)
    figures = summary(folder)
    start, end = figures["start"], figures["end"]

    # A recipe with models on the way has a table of them all; one with a start and an end has figures of both.
    lines = []
    if "stages" in figures:
        lines.append(models_in_words(folder))
    elif isinstance(start, dict) and isinstance(end, dict):
        # A run without problems to examine its model on has none of the figures.
        for name in [name for name in start if start[name] or end[name]]:
            before, after = _value_in_words(start[name]), _value_in_words(end[name])
            lines.append(f"{name:12} {before:>8} -> {after:>8}")

    return figures, "\n".join([*lines, f"model: {figures['model']}", f"report: {figures['page']}"])


def _value_in_words(figure: Any) -> str:
    """A figure of the report; an evaluation that could not measure it has a dash."""
    return f"{figure['value']:.3f}" if figure else "-"


def _list() -> tuple[dict[str, Any], str]:
    lines = [f"{recipe.name:16} {recipe.about}  (scales: {', '.join(recipe.scales)})" for recipe in RECIPES]
    abouts = {recipe.name: recipe.about for recipe in RECIPES}
    scales = dict.fromkeys(scale for recipe in RECIPES for scale in recipe.scales)
    return {"recipes": abouts, "scales": list(scales)}, "\n".join(lines)
