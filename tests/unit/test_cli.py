"""What a command ends with: its exit status, one line where it failed, and its figures in words or as JSON."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aha import cli
from aha.commands.option_files import WrongUseError
from aha.recipes.catalogue import RECIPES
from aha.types import Checkpoint, Report, Row

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
        ("bench --seconds=-1", f"{BENCH} (given: 1 and -1.0)"),
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


@pytest.mark.full
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


FOR_CODE = "--code, --weak-sandbox and --allow-packages are for a file of code, not for a reward"
LIMITS = "--allow must be at least 0 and --threshold a finite number"
NO_REWARD = (
    "rows.jsonl names no reward function: write FILE.py:FUNCTION or the name of a reward before the rows, or leave out "
    "ROWS, --attacks, --beside, --threshold and --allow"
)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("audit rows.jsonl more.jsonl", NO_REWARD),
        ("audit rows.jsonl --attacks", NO_REWARD),
        ("audit rows.jsonl --allow 1", NO_REWARD),
        ("audit rows.jsonl --threshold 0.4", NO_REWARD),
        ("audit rows.jsonl --threshold 0.6", NO_REWARD),
        ("audit accuracy rows.jsonl --code", FOR_CODE),
        ("audit accuracy rows.jsonl --weak-sandbox", FOR_CODE),
        ("audit accuracy rows.jsonl --allow-packages numpy", FOR_CODE),
        ("audit accuracy rows.jsonl --allow -1", f"{LIMITS} (given: -1 and 0.5)"),
        ("audit accuracy rows.jsonl --threshold inf", f"{LIMITS} (given: 0 and inf)"),
        ("audit accuracy rows.jsonl --threshold nan", f"{LIMITS} (given: 0 and nan)"),
    ],
)
def test_options_of_another_audit_are_wrong_use(
    words: str, line: str, call: Callable[[str], Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    for function in ("audit_file", "audit_named_reward"):
        fail_with(monkeypatch, f"aha.commands.audits.{function}", AssertionError("something is computed"))
    assert call(words) == (2, "", f"aha: {line}\n")


def test_an_audit_of_a_reward_keeps_what_the_function_prints_apart(
    call: Callable[[str], Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []

    def audit(*arguments: object, **options: object) -> tuple[dict[str, object], str]:
        given.extend((arguments, options))
        print("said by the function")
        return {"is_fit": False}, "what it found"

    monkeypatch.setattr("aha.commands.audits.audit_named_reward", audit)
    words = "audit accuracy rows.jsonl --allow 0 --threshold 0.25 --attacks --show 3"
    assert call(words) == (1, "what it found\n", "said by the function\n")
    (name, rows), options = given
    assert (name, str(rows)) == ("accuracy", "rows.jsonl")
    assert options == {
        "beside": (), "threshold": 0.25, "with_attacks": True, "num_allowed": 0, "num_shown": 3
    }  # fmt: skip

    # What keeps the audit from being made is another status than a fault of the reward.
    fail_with(monkeypatch, "aha.commands.audits.audit_named_reward", ValueError("no such function"))
    assert call(words) == (2, "", "aha: no such function\n")


FIGURE = {"value": 0.25}


@pytest.mark.parametrize(
    ("figures", "lines"),
    [
        (
            {"start": {"pass@1": FIGURE, "hard": None}, "end": {"pass@1": {"value": 0.5}, "hard": FIGURE}},
            ["pass@1          0.250 ->    0.500", "hard                - ->    0.250"],
        ),
        ({"start": {"pass@1": FIGURE}, "end": None}, []),
        ({"start": None, "end": {"pass@1": FIGURE}}, []),
        ({"start": {"pass@1": FIGURE}, "end": {"pass@1": FIGURE}, "stages": []}, ["all models"]),
    ],
)
def test_a_report_in_words(
    figures: dict[str, object],
    lines: list[str],
    call: Callable[[str], Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[str] = []
    monkeypatch.setattr("aha.report.page.write_page", lambda folder: written.append(str(folder)))
    monkeypatch.setattr("aha.report.page.models_in_words", lambda folder: "all models")
    monkeypatch.setattr("aha.report.page.summary", lambda folder: {**figures, "model": "m", "page": "p"})
    assert call("report folder") == (0, "\n".join([*lines, "model: m", "report: p", ""]), "")
    assert written == ["folder"]


def test_a_list_names_recipes_and_scales(call: Callable[[str], Outcome]) -> None:
    status, out, err = call("list")
    lines = out.splitlines()
    assert (status, err, [line.split()[0] for line in lines]) == (0, "", [recipe.name for recipe in RECIPES])
    assert [line.partition("  (scales: ")[2] for line in lines[-2:]] == ["tiny, small, gpu, paper)", "tiny)"]
    assert {line.index(recipe.about) for line, recipe in zip(lines, RECIPES, strict=True)} == {17}
    assert json.loads(call("list --json")[1])["scales"] == ["tiny", "small", "gpu", "paper"]


def test_pretraining_publishes_where_it_is_told(
    call: Callable[[str], Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    orders: list[Any] = []
    published: list[tuple[str, ...]] = []

    def carry_out(order: Any) -> Checkpoint:
        orders.append(order)
        return Checkpoint(path=Path("made"), stage="base", step=0, key="")

    def publish(*paths: Path) -> Path:
        published.append(tuple(map(str, paths)))
        return paths[-1]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("aha.commands.running.carry_out", carry_out)
    monkeypatch.setattr("aha.report.page.write_page", lambda folder: None)
    monkeypatch.setattr("aha.recipes.base_model.publish", publish)
    assert call("pretrain --seed 4") == (0, "model: made\n", "")
    assert published == []
    assert (orders[0].recipe, orders[0].scale, str(orders[0].folder), orders[0].seed) == (
        "base", "tiny", "runs/base-4", 4
    )  # fmt: skip
    assert (orders[0].fresh, orders[0].is_quiet) == (False, False)

    status, out, _ = call("pretrain --run here --out there --json --fresh")
    assert (status, json.loads(out)) == (0, {"model": str(tmp_path / "there")})
    assert published == [("here", "made", "there")]
    assert (orders[1].fresh, orders[1].is_quiet) == (True, True)


def test_an_export_says_where_the_model_is_and_of_which_type(
    call: Callable[[str], Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aha.commands.export.export", lambda model, out, dtype: {"dtype": f"{dtype} of {model}"})
    assert call("export made --out there --dtype float16") == (0, "model: there (float16 of made)\n", "")


@pytest.mark.parametrize(("model", "scale"), [("base", "tiny"), ("runs/r1_zero-0", "gpu"), ("a", "gpu")])
def test_only_the_built_in_model_is_too_small_for_a_gpu(model: str, scale: str) -> None:
    assert cli._size_of(model) == scale
