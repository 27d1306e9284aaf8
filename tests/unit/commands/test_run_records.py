"""What a command does around a recipe: checks before the folder is claimed, what is recorded, and what is told.

The recipes are records made here; nothing is trained.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command import handlers_restored
from run_requests import single_request
from tiny import letters_tokenizer, tiny_config, tiny_policy

from aha.commands import running
from aha.commands.running import carry_out
from aha.recipes.own.own_data import OwnData
from aha.recipes.recipe import DoctorRequest, Recipe, RunRequest, TrainedStage
from aha.recipes.scales import R1_ZERO_SCALES
from aha.recipes.sft import SFT, SFTConfig, SFTOptions
from aha.runs.folder import RunFolder
from aha.stages.doctor.diagnosis import Diagnosis, Finding
from aha.stages.run import Run
from aha.training.checkpoint import write_checkpoint
from aha.training.world import World
from aha.types import Checkpoint

DOCTOR = DoctorRequest(model="somewhere", own=OwnData(template="bare"), config=R1_ZERO_SCALES["tiny"])
WARNING = Finding(code="short", is_fatal=False, what="responses are short", remedy="wait")
FATAL = Finding(code="no-spread", is_fatal=True, what="all the same", remedy="take others")


@dataclass
class Seen:
    """What happened, in order.

    Attributes:
        steps: names of what was called.
        runs: the runs that the recipe was given.
        examined: what the doctor was asked.
        disk: what the disk was asked for.
        inside: what happens inside the recipe.
    """

    steps: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    examined: list[dict[str, Any]] = field(default_factory=list)
    disk: list[dict[str, Any]] = field(default_factory=list)
    inside: Callable[[Run], None] = lambda run: None


Start = Callable[..., Checkpoint]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Seen]:
    """Stand-ins around a recipe that makes nothing."""
    seen = Seen()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        running, "check_disk", lambda *given, **named: seen.disk.append({"given": given, **named}) or ""
    )
    with handlers_restored():
        yield seen


@pytest.fixture
def start(seen: Seen, base: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Runs the recipe."""

    def run(run: Run, request: RunRequest[Any, Any], models: Sequence[Checkpoint]) -> Checkpoint:
        seen.steps.append("run")
        seen.runs.append(run)
        assert list(models) == [base]
        seen.inside(run)
        return replace(base, path=tmp_path / "made")

    recipe: Recipe[Any, Any] = replace(
        SFT,
        name="mine",
        run=run,
        open_models=lambda request: seen.steps.append("open") or [base],
        check=lambda request, models: seen.steps.append("check"),
        inputs=lambda request, models: {"files": "f"},
        trained_stages=lambda config: [TrainedStage(model=0, config=config.sft)],
    )

    def start(doctor: DoctorRequest | None = None, findings: Sequence[Finding] = (), **changes: Any) -> Checkpoint:
        def examine(model: str, own: OwnData, config: object, **given: Any) -> Diagnosis:
            seen.examined.append({"model": model, "own": own, "config": config, **given})
            return Diagnosis(findings=tuple(findings))

        monkeypatch.setattr(running, "examine", examine)
        monkeypatch.setattr(running, "recipe_named", lambda name: replace(recipe, doctor=lambda request: doctor))
        request = single_request(recipe, SFTConfig(), SFTOptions(), Path("run"), seed=7)
        return carry_out(replace(request, **changes))

    return start


def recorded(name: str) -> Any:
    return json.loads(Path("run", name).read_text(encoding="utf-8"))


def test_a_run_is_recorded_before_it_begins_and_when_it_has_ended(seen: Seen, start: Start, base: Checkpoint) -> None:
    def look(run: Run) -> None:
        described = recorded("run.json")
        assert (described["recipe"], described["scale"], described["seed"]) == ("mine", "tiny", 7)
        assert described["config"]["start"] == base.key
        assert described["config"]["files"] == "f"
        assert described["config"]["sft"] == json.loads(SFTConfig().sft.model_dump_json())
        assert "device" not in described["config"]
        assert not Path("run/result.json").exists()

    seen.inside = look
    assert start().path.name == "made"
    assert seen.steps == ["open", "check", "run"]
    (run,) = seen.runs
    assert (run.seed, run.folder.is_writer, run.keep_rollouts, run.num_processes) == (7, True, 1, 1)
    result = recorded("result.json")
    assert (Path(result["model"]), result["steps"]) == (Path("made").resolve(), 0)
    assert not Path("run/doctor.json").exists()


def test_the_device_is_recorded_where_it_is_no_cpu(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "device_of", lambda name, scale: f"{name} of {scale}")
    monkeypatch.setattr(running, "check_cards", lambda device, processes: None)
    monkeypatch.setattr(running, "_run_claimed", lambda *given: None)
    start(device="cuda", scale="gpu")
    assert recorded("run.json")["config"]["device"] == "cuda of gpu"


def test_a_finished_run_that_is_started_again_keeps_its_record(
    seen: Seen, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(DOCTOR)
    before = recorded("result.json")
    assert (len(seen.examined), seen.steps) == (1, ["open", "check", "run"])
    monkeypatch.setattr(running, "_num_steps", lambda folder: 99)
    start(DOCTOR)
    assert recorded("result.json") == before
    # What is refused was refused when the run began.
    assert (len(seen.examined), seen.steps[3:]) == (1, ["open", "run"])

    start(DOCTOR, fresh=True)
    assert (len(seen.examined), seen.steps[5:]) == (2, ["open", "check", "run"])
    assert recorded("result.json")["steps"] == 99


def test_what_the_doctor_finds_is_recorded_and_told(
    seen: Seen, start: Start, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "check_disk", lambda *_, **__: "disk: about 1 GiB")
    start(DOCTOR, [WARNING], is_quiet=False)
    assert [finding["code"] for finding in recorded("doctor.json")["findings"]] == ["short"]
    said = capsys.readouterr()
    assert said.err.splitlines()[:2] == ["disk: about 1 GiB", "doctor: short: responses are short"]
    assert seen.examined == [
        {"model": "somewhere", "own": DOCTOR.own, "config": DOCTOR.config, "seed": 7, "device": "cpu"}
    ]


def test_a_fatal_finding_ends_a_run_that_is_not_forced(seen: Seen, start: Start) -> None:
    with pytest.raises(ValueError, match="this run cannot learn: no-spread: all the same"):
        start(DOCTOR, [FATAL])
    assert not Path("run").exists()
    start(DOCTOR, [FATAL], force=True)
    assert seen.steps == ["open", "check", "open", "check", "run"]
    assert recorded("doctor.json")["is_fit"] is False


def test_the_disk_is_asked_for_what_the_stages_write(seen: Seen, start: Start, base: Checkpoint) -> None:
    start(force=True, keep_rollouts=5)
    (asked,) = seen.disk
    folder, stages, shapes = asked["given"]
    assert (folder, [stage.config for stage in stages]) == (Path("run"), [SFTConfig().sft])
    assert [shape.max_position_embeddings for shape in shapes] == [256]
    assert (asked["is_forced"], asked["keep_rollouts"]) == (True, 5)
    assert seen.runs[0].keep_rollouts == 5


def test_every_step_is_shown_and_its_time_kept(
    seen: Seen, start: Start, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed knows how long it took, and the next start goes on counting."""
    seconds = iter([100.0, 101.5, 103.25])
    monkeypatch.setattr(running, "time", SimpleNamespace(monotonic=lambda: next(seconds)))

    def step(run: Run) -> None:
        run.report("sft", 1, 2, {"tokens": 8.0})
        assert recorded("time.json") == {"seconds": 1.5}
        run.say("half of it is done")

    seen.inside = step
    start(is_quiet=False)
    assert capsys.readouterr().err.splitlines() == ["sft 1/2", "half of it is done"]
    assert (recorded("time.json"), recorded("result.json")["seconds"]) == ({"seconds": 3.25}, 3.2)

    seconds = iter([50.0, 51.0])
    os.remove("run/result.json")
    seen.inside = lambda run: None
    start()
    assert recorded("time.json") == {"seconds": 4.25}


def test_a_run_that_fails_leaves_its_folder_to_the_next_start(seen: Seen, start: Start) -> None:
    def fail(run: Run) -> None:
        raise OSError("no space")

    seen.inside = fail
    with pytest.raises(OSError, match="no space") as failure:
        start()
    assert not Path("run/result.json").exists()
    seen.inside = lambda run: None
    start()
    assert Path("run/result.json").exists()
    del failure


def test_another_process_runs_the_recipe_and_writes_nothing(
    seen: Seen, start: Start, base: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Any] = []

    def among_peers(job: Any) -> Any:
        jobs.append(job)
        raise ValueError("no peers here")

    monkeypatch.setattr(running, "among_peers", among_peers)
    with pytest.raises(ValueError, match="no peers here"):
        start(config=SFTConfig(processes=4))
    (job,) = jobs
    assert (job.num_processes, job.device_name) == (4, "cpu")
    seen.steps.clear()
    share = job.prepare()
    assert seen.steps == ["open"]
    world = World(rank=3)
    share(world)
    (run,) = seen.runs
    assert (run.folder.is_writer, run.folder.path, run.seed, run.world) == (False, Path("run"), 7, world)


def test_the_updates_of_all_stages_are_counted(tmp_path: Path) -> None:
    policy, tokenizer = tiny_policy(tiny_config()), letters_tokenizer()
    for stage, step in (("zero", 3), ("longer", 4)):
        write_checkpoint(tmp_path / "stages" / stage / "final", policy, tokenizer, state={"step": step})
    write_checkpoint(tmp_path / "stages" / "longer" / "iteration-000009", policy, tokenizer, state={"step": 9})
    assert running._num_steps(tmp_path) == 7
    assert running._num_steps(tmp_path / "stages") == 0


def test_the_clock_of_a_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    folder.write("time.json", {"seconds": 10.5})
    seconds = iter([5.0, 8.0, 8.0])
    monkeypatch.setattr(running, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    clock = running._Clock(folder)
    assert (clock.record(), clock.record()) == (13.5, 13.5)
    assert folder.read("time.json") == {"seconds": 13.5}
