"""What a command ends with: its exit status, one line where it failed, and its figures in words or as JSON."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from aha import cli
from aha.commands.option_files import WrongUseError
from aha.types import Report, Row

Outcome = tuple[int, str, str]
"""Exit status, standard output, standard error."""


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[[str], Outcome]:
    """Run a command line in this process."""

    def outcome(words: str) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            cli.main(words.split())
        assert isinstance(ended.value.code, int)
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return outcome


def fail_with(monkeypatch: pytest.MonkeyPatch, function: str, error: BaseException) -> None:
    """Let a function that a command calls raise an error."""

    def stand_in(*args: object, **named: object) -> None:
        del args, named
        raise error

    monkeypatch.setattr(function, stand_in)


FULL_DISK = OSError(errno.ENOSPC, "No space left on device", "model.safetensors")


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ValueError("row 3 has no answer"), 1, "row 3 has no answer"),
        (RuntimeError("a worker died"), 1, "a worker died"),
        (WrongUseError("--show must not be negative"), 2, "--show must not be negative"),
        (OSError("no name and no number"), 1, "no name and no number (nothing was lost)"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "rows.jsonl"),
            1,
            "No such file or directory: rows.jsonl (nothing was lost)",
        ),
        (
            FULL_DISK,
            1,
            "No space left on device: model.safetensors (free some space, then give the same command again: it "
            "resumes)",
        ),
        (KeyboardInterrupt(), 1, "stopped at once"),
    ],
    ids=["value", "runtime", "wrong-use", "nameless", "missing", "full-disk", "interrupt"],
)
def test_what_goes_wrong_is_one_line_and_a_status(
    error: BaseException, status: int, line: str, call: Callable[[str], Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(monkeypatch, "aha.commands.audits.audit_file", error)
    assert call("audit rows.jsonl") == (status, "", f"aha: {line}\n")


@pytest.mark.parametrize("words", ["run r1_zero", "run r1", "pretrain"])
def test_a_run_that_is_stopped_at_once_says_how_it_resumes(
    words: str, call: Callable[[str], Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(monkeypatch, "aha.commands.running.carry_out", KeyboardInterrupt())
    line = "aha: stopped at once; the same command resumes from the last checkpoint\n"
    assert call(words) == (1, "", line)


@pytest.mark.parametrize(("is_fit", "status"), [(True, 0), (False, 1)])
def test_the_doctor_ends_with_what_it_found(
    is_fit: bool, status: int, call: Callable[[str], Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aha.commands.doctor.examine", lambda *_, **__: None)
    monkeypatch.setattr("aha.commands.doctor.as_object", lambda _: {"is_fit": is_fit})
    monkeypatch.setattr("aha.commands.doctor.in_words", lambda _: "what it found")
    assert call("doctor") == (status, "what it found\n", "")


BENCH = "--threads must be at least 1 and --seconds above 0"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("bench --threads 0", f"{BENCH} (given: 0 and 10.0)"),
        ("bench --seconds 0", f"{BENCH} (given: 1 and 0.0)"),
        ("bench --seconds inf", f"{BENCH} (given: 1 and inf)"),
        ("bench --seconds nan", f"{BENCH} (given: 1 and nan)"),
        ("eval base --processes 0", "--processes must be at least 1 (given: 0)"),
        ("eval base --samples 0", "--samples: input should be greater than or equal to 1 (given: 0)"),
        ("run r1_zero --keep-rollouts 0", "--keep-rollouts must be at least 1 (given: 0)"),
        ("sample base", "give either --prompt (text as it is) or --question (inside the model's template)"),
        (
            "sample base --prompt p --question q",
            "give either --prompt (text as it is) or --question (inside the model's template)",
        ),
    ],
)
def test_wrong_use_is_refused_before_anything_is_computed(
    words: str, line: str, call: Callable[[str], Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    for function in ("benchmark.measure", "evaluation.evaluate_order", "running.carry_out", "evaluation.sample_once"):
        fail_with(monkeypatch, f"aha.commands.{function}", AssertionError("something is computed"))
    assert call(words) == (2, "", f"aha: {line}\n")


@pytest.mark.parametrize("words", ["bench --threads 1", "bench --seconds 0.001"])
def test_the_smallest_figures_of_a_benchmark_are_allowed(
    words: str, call: Callable[[str], Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aha.commands.benchmark.measure", lambda *_, **__: None)
    monkeypatch.setattr("aha.commands.benchmark.as_object", lambda _: {})
    monkeypatch.setattr("aha.commands.benchmark.in_words", lambda _: "figures")
    assert call(words) == (0, "figures\n", "")


def row(suite: str, metric: str, value: float) -> Row:
    return Row(suite=suite, metric=metric, value=value, low=value - 0.125, high=value + 0.125, n=64)


@pytest.mark.parametrize("remark", ["", "40 % of the responses are cut"])
def test_an_evaluation_prints_its_remark_and_then_its_figures(
    remark: str, call: Callable[[str], Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures of a part of the suite are for `--json` alone."""
    rows = (
        row("all", "pass@1", 0.5),
        row("aime", "pass@1", 0.25),
        row("geo", "pass@1", 0.25),
        row("all", "length", 64),
    )
    report = Report(rows=rows, checkpoint="", decoding={}, seed=0)
    monkeypatch.setattr("aha.commands.evaluation.evaluate_order", lambda order: (report, remark))
    figures = ["pass@1          0.500  [0.375, 0.625]", "length         64.000  [63.875, 64.125]"]
    assert call("eval base") == (0, "\n".join([*([remark] if remark else []), *figures, ""]), "")

    status, out, _ = call("eval base --json")
    assert (status, [one["suite"] for one in json.loads(out)["rows"]]) == (0, ["all", "aime", "geo", "all"])


@pytest.mark.parametrize("unknown", [[], list("abcdefghij")])
def test_a_sample_names_at_most_eight_unknown_words(
    unknown: list[str], call: Callable[[str], Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aha.commands.evaluation.sample_once", lambda order: {"text": "4", "unknown": unknown})
    words = "'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'"
    warning = f"aha: the model's vocabulary lacks {words}\n" if unknown else ""
    assert call("sample base --question q") == (0, "4\n", warning)

    status, out, err = call("sample base --question q --json")
    assert (status, json.loads(out), err) == (0, {"text": "4", "unknown": unknown}, warning)


def test_a_reader_that_left_ends_a_command_without_a_word() -> None:
    """As `aha list | head -0` does: what is not read is no error to write about."""
    reading, writing = os.pipe()
    os.close(reading)
    program = "from aha.cli import main; main(['list'])"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ended = subprocess.run(
        [sys.executable, "-c", program], stdout=writing, stderr=subprocess.PIPE, env=buffered, check=False
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (cli.FAILED, b"")


def test_without_arguments_of_its_own_a_program_has_those_of_its_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["aha", "list", "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert "r1_zero" in json.loads(capsys.readouterr().out)["recipes"]
