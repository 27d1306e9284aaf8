"""The functions for Python programs: options and rows arrive as on the command line, and a reward may be a function."""

import ast
import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import aha
from aha import library
from aha.library import Result, run
from aha.recipes.own.own_data import FunctionReward
from aha.recipes.recipe import RunRequest
from aha.types import Problem, Rollout

ROOT = Path(__file__).parents[2]
ROWS = [{"question": f"compute 2 + {number}", "answer": str(2 + number)} for number in range(2, 40)]


def brief(problem: Problem, rollout: Rollout) -> float:
    return 1.0


def other(problem: Problem, rollout: Rollout) -> float:
    return 0.0


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[RunRequest[Any, Any]]:
    """What was to be run; nothing is."""
    requests: list[RunRequest[Any, Any]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("aha.commands.running.carry_out", requests.append)
    monkeypatch.setattr("aha.cli.report_of", lambda folder: ({"model": "m", "page": "p.html"}, ""))
    return requests


def test_options_settings_and_rows_arrive(requested: list[RunRequest[Any, Any]], tmp_path: Path) -> None:
    settings = {"zero.iterations": 3, "rl.temperature": 0.9, "longer.iterations": 0}
    options: dict[str, object] = {"seed": 4, "bad_rows": "skip", "fresh": True, "force": False, "stop": ["a", "b"]}
    result = run("r1_zero", problems=ROWS, test="t.jsonl", model=None, settings=settings, folder="mine", **options)
    assert result == Result(folder=Path("mine"), model=Path("m"), page=Path("p.html"), figures=result.figures)
    (request,) = requested
    config, own = request.config, request.options.own
    assert (config.zero.iterations, config.longer.iterations) == (3, 0)
    assert config.zero.temperature == config.longer.temperature == 0.9
    assert (request.seed, request.fresh, request.force, request.folder) == (4, True, False, Path("mine"))
    assert (own.test, own.bad_rows, own.stop, own.problems) == (
        ("t.jsonl",),
        "skip",
        ("a", "b"),
        ("mine-data/problems.jsonl",),
    )
    lines = (tmp_path / "mine-data" / "problems.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == ROWS


def test_without_a_folder_it_is_that_of_the_command_line(requested: list[RunRequest[Any, Any]]) -> None:
    assert run("sft", demonstrations="d.jsonl", seed=7).folder == Path("runs/sft-7")
    assert requested[0].folder == Path("runs/sft-7")


@pytest.mark.parametrize(
    ("reward", "specs"),
    [
        (brief, ["brief=1"]),
        ([brief, other], ["brief=1", "other=1"]),
        ({brief: 0.5, "language": 2}, ["brief=0.5", "language=2"]),
        ("f.py:f", ["f.py:f"]),
        ((), []),
    ],
)
def test_rewards_are_functions_or_named(reward: Any, specs: list[str], requested: list[RunRequest[Any, Any]]) -> None:
    run("r1_zero", reward=reward)
    given = requested[0].options.own.reward
    assert list(given) == specs
    functions = [spec.function for spec in given if isinstance(spec, FunctionReward)]
    assert functions == [one for one in (brief, other) if any(one.__name__ in spec for spec in specs)]
    # A function of this program is known to no other process.
    assert requested[0].config.processes == (1 if functions else 2)


def test_a_function_keeps_itself_when_it_is_copied_or_sent() -> None:
    spec = FunctionReward(brief, 0.5)
    for again in (copy.deepcopy(spec), pickle.loads(pickle.dumps(spec))):
        assert (again, again.function, again.weight) == ("brief=0.5", brief, 0.5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"recipe": "r2"}, "r2"),
        ({"settings": {"zero.iteration": 3}}, "zero.iteration"),
        ({"settings": {"zero.iterations": "x"}}, "zero.iterations"),
        ({"reward": 3}, "reward: a function, FILE.py:FUNCTION, or several of them are needed, not 3"),
        ({"reward": [3]}, "reward: 3 is no function"),
        ({"reward": brief, "settings": {"processes": 2}}, "known to no other process: leave processes out"),
        ({"recipe": "sft", "reward": brief}, "the recipe sft takes no rewards of your own"),
        ({"problems": [{"question": {1}}]}, r"problems: a row cannot be written as JSON"),
        ({"keep_rollouts": 0}, "--keep-rollouts must be at least 1"),
    ],
)
def test_wrong_use_is_a_value_error(
    given: dict[str, Any], said: str, requested: list[RunRequest[Any, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=said):
        run(given.pop("recipe", "r1_zero"), **given)
    assert requested == []
    assert capsys.readouterr() == ("", "")


def test_the_package_has_their_names() -> None:
    assert (aha.run, aha.evaluate, aha.sample) == (library.run, library.evaluate, library.sample)
    assert (aha.Problem, aha.Rollout) == (Problem, Rollout)
    with pytest.raises(AttributeError, match="module 'aha' has no attribute 'train'"):
        aha.train  # type: ignore[attr-defined]  # noqa: B018  # that is what is asked


def test_the_package_and_its_functions_are_imported_without_torch() -> None:
    code = "import sys, aha\nassert 'aha.library' not in sys.modules\naha.run\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_notebook_shows_the_page_in_a_frame(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text('<p class="x">A & B</p>', encoding="utf-8")
    shown = Result(folder=tmp_path, model=tmp_path, page=page, figures={})._repr_html_()
    assert 'srcdoc="&lt;p class=&quot;x&quot;&gt;A &amp; B&lt;/p&gt;"' in shown
    assert 'sandbox="allow-scripts"' in shown


@pytest.mark.full
def test_a_model_is_sampled_and_evaluated() -> None:
    response = library.sample("base", "compute 2 + 2", max_new_tokens=8, seed=3)
    assert response.prompt.endswith("User: compute 2 + 2. Assistant:")
    assert response.finish in ("stop", "length")
    figures = library.evaluate("base", ROWS[:2], samples=2, max_new_tokens=8)
    assert (figures["rows"][0]["metric"], figures["rows"][0]["n"]) == ("pass@1", 2)


@pytest.mark.full
def test_the_example_of_the_page_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = ROOT / "docs" / "python.md"
    code = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    (tmp_path / "example.py").write_text(
        code.replace("range(2, 40)", "range(2, 9)").replace('iterations": 5', 'iterations": 1'), encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    import runpy

    runpy.run_path(str(tmp_path / "example.py"), run_name="__main__")
    metrics = (tmp_path / "runs" / "sums" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert ["reward_brief" in json.loads(line) for line in metrics] == [True]


@pytest.mark.full
def test_the_notebook_runs_and_shows_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Cell by cell, with what stands at the end of a cell as its value, as a notebook does."""
    notebook = json.loads((ROOT / "examples" / "notebook.ipynb").read_text(encoding="utf-8"))
    sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for number, source in enumerate(sources):
        # In a file, since the source of a reward is a part of the run's key.
        path = tmp_path / f"cell_{number}.py"
        path.write_text(source.replace('"zero.iterations": 5', '"zero.iterations": 1'), encoding="utf-8")
        *statements, last = ast.parse(path.read_text(encoding="utf-8")).body
        if not isinstance(last, ast.Expr):
            statements.append(last)
        exec(compile(ast.Module(statements, []), str(path), "exec"), names)
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), str(path), "eval"), names))

    before, result, after, figures = shown
    assert "<iframe" in result._repr_html_()
    assert isinstance(before, str)
    assert isinstance(after, str)
    assert 0 <= figures["pass@1"] <= 1
