"""What a run shows where there is no terminal."""

import pytest

from aha.runs import console
from aha.runs.console import Display


def reported(capsys: pytest.CaptureFixture[str], *, is_quiet: bool = False) -> list[str]:
    """Standard error, which is no terminal here, after three iterations of one stage and one of another."""
    display = Display(is_quiet=is_quiet)
    for done in (1, 2, 3):
        display.report("zero", done, 3, {"accuracy": done / 4, "tokens": 50.0, "seconds": 0.5})
    display.report("longer", 1, 9, {"accuracy": 1.0})
    display.close()
    return capsys.readouterr().err.splitlines()


def test_without_a_terminal_every_iteration_gets_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.0)
    assert reported(capsys) == [
        "zero 1/3  accuracy 0.25  tokens_per_second 100",
        "zero 2/3  accuracy 0.5  tokens_per_second 100",
        "zero 3/3  accuracy 0.75  tokens_per_second 100",
        "longer 1/9  accuracy 1",
    ]


def test_quick_iterations_share_a_line_but_a_stage_begins_and_ends_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert [line.split("  ")[0] for line in reported(capsys)] == ["zero 1/3", "zero 3/3", "longer 1/9"]


def test_a_quiet_run_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert reported(capsys, is_quiet=True) == []
