"""A run: what all its stages share, and how a stage begins, saves, resumes and ends.

A stage is memoised: its key is a hash of its inputs and its configuration, a finished stage with that key is skipped,
and an interrupted one goes on at its last checkpoint.
"""

import hashlib
import json
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from aha.actors.local import LocalActor, LocalPolicy
from aha.actors.local_actors import LocalActors
from aha.runs.folder import RunFolder, differences
from aha.runs.shards import count_shards, read_shard
from aha.stages.training_state import Resumed
from aha.training.checkpoint import read_state
from aha.training.world import World
from aha.types import Checkpoint, Dataset

__all__ = ["Interrupted", "Run", "Saved", "StageKey", "stage_key"]

KEPT = 2
"""Checkpoints kept of a stage in progress: the last one, and one before it should the last be damaged."""

LONG = 160
"""Letters of a changed setting that an error shows."""


class Interrupted(RuntimeError):
    """The run was asked to stop, has saved, and can be resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What a stage in progress saves.

    Attributes:
        actor: the policy, or a reward model.
        reference: the reference policy, None where the stage has none.
        iteration: iterations done in this stage.
        step: updates done in this stage.
        training: what another stage needs to go on with this training, as JSON: see `training_state`.
    """

    actor: LocalActor[Any]
    reference: LocalPolicy | None = None
    iteration: int
    step: int
    training: Mapping[str, Any] | None = None


class StageKey(str):
    """Hash of everything that decides a stage's result, which remembers what it was made of.

    Attributes:
        inputs: what decides the result, by name.
    """

    inputs: Mapping[str, Any]


def stage_key(stage: str, **inputs: Any) -> StageKey:
    """Hash of everything that decides a stage's result.

    Args:
        stage: its name.
        inputs: keys of what it starts from, its settings, the run's seed: anything that JSON or `str` can write.
    """
    text = json.dumps([stage, inputs], sort_keys=True, ensure_ascii=False, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    key = StageKey(digest)

    # As they are read back from the disk: a tuple is a list by then, and would be told as a change.
    _, key.inputs = json.loads(text)
    return key


@dataclass(slots=True, kw_only=True)
class Run:
    """A run in progress.

    Attributes:
        folder: where it writes.
        seed: its seed.
        world: its processes.
        report: told of every iteration: stage, iterations done, iterations in all, figures to show.
        say: told of every evaluation and every finished stage, a line of text.
        keep_rollouts: the rollouts of every how-many-th iteration of a stage of reinforcement are written, the first
            ones included. It changes no result, so it is part of no stage's key.
    """

    folder: RunFolder
    seed: int
    world: World = field(default_factory=World)
    report: Callable[[str, int, int, Mapping[str, float]], None] = field(
        default=lambda stage, done, total, figures: None
    )
    say: Callable[[str], None] = field(default=lambda text: None)
    keep_rollouts: int = 1
    _asked_to_stop: bool = False

    def stop_on_signals(self) -> None:
        """Let Ctrl-C and SIGTERM end the run after the iteration in progress; Ctrl-C after that ends it at once."""

        def ask(number: int, frame: FrameType | None) -> None:
            del frame
            if self._asked_to_stop:
                # `timeout` sends SIGTERM twice, to the command and to its process group: that is still one request.
                if number == signal.SIGINT:
                    raise KeyboardInterrupt
                return

            # Only a flag is set: the iteration in progress is not lost, and all processes stop after the same one.
            self._asked_to_stop = True
            self.say("stopping after this iteration (Ctrl-C again to stop at once) ...")

        signal.signal(signal.SIGINT, ask)
        signal.signal(signal.SIGTERM, ask)

    @property
    def actors(self) -> LocalActors:
        """Opens the models of the run, each where the run computes."""
        return LocalActors(world=self.world, say=self.say)

    @property
    def num_processes(self) -> int:
        """Processes that share the work."""
        return self.world.size

    def wait_for_all(self) -> None:
        """Wait until every process has come this far."""
        self.world.collect([self.world.rank])

    def count_finished_shards(self, stage: str) -> int:
        """Shards of a stage's data that are written, as the first process finds them."""
        return int(self.world.collect([count_shards(self._stage(stage))])[0])

    def should_stop(self) -> bool:
        """Whether any process was asked to stop."""
        return self.world.agree(self._asked_to_stop)

    def finished(self, stage: str, key: str) -> Checkpoint | None:
        """The result of a stage that ran to its end with this key, or None."""
        path = self._stage(stage) / "final"
        if not path.exists():
            return None

        try:
            state, _ = read_state(path)
        except ValueError as error:
            raise ValueError(f"{error}, or remove {path}: the same command then makes it again") from None
        if state["key"] != key:
            raise self._stale(stage, key)

        # A kill between the result and the end of `finish` leaves checkpoints that nobody needs.
        self._remove(self._steps(stage))
        return _checkpoint(path, state)

    def resume(self, stage: str, key: str) -> Resumed | None:
        """The last good checkpoint of an interrupted stage, or None; what was logged after it is forgotten.

        Raises:
            ValueError: every checkpoint is damaged, or they belong to other settings.
        """
        # A checkpoint is written under a hidden name and renamed when it is whole: a kill leaves the hidden one.
        self._remove(list(self._stage(stage).glob(".*")))

        damaged = []
        for path in reversed(self._steps(stage)):
            try:
                state, tensors = read_state(path)
            except ValueError as error:
                damaged.append(str(error))
                continue

            if state["key"] != key:
                raise self._stale(stage, key)
            if damaged:
                self.say(f"{damaged[0]}; going on from {path.name}")

            self.folder.rewind(stage, state["iteration"])
            self._write_inputs(stage, key)
            return Resumed(
                folder=path,
                iteration=state["iteration"],
                step=state["step"],
                tensors=tensors,
                training=state.get("training") or {},
            )

        # Where there were checkpoints, starting again in silence would throw away what they cost.
        if damaged:
            raise ValueError(f"{damaged[0]}. No earlier one is left: start over with --fresh")

        # From -1 on: the evaluation of the start is logged at that iteration.
        self.folder.rewind(stage, -1)
        self._write_inputs(stage, key)
        return None

    def save(self, stage: str, key: str, saved: Saved) -> None:
        """Write a checkpoint of a stage in progress, and drop those that are no longer needed."""
        if not self.folder.is_writer:
            return

        path = self._stage(stage) / f"iteration-{saved.iteration:06d}"
        state = _state_of(stage, key, saved, ())
        saved.actor.save(path, state, reference=saved.reference, with_training=True)
        self._remove(self._steps(stage)[:-KEPT])

    def finish(self, stage: str, key: str, saved: Saved, parents: tuple[str, ...]) -> Checkpoint:
        """Write the result of a stage, and drop its checkpoints.

        The result of a training that another stage may continue holds moments and reference too.
        """
        path = self._stage(stage) / "final"
        state = _state_of(stage, key, saved, parents)
        if self.folder.is_writer:
            # The adapters first: a stage counts as finished as soon as its result is there, and would lack them.
            saved.actor.save_adapter(self._stage(stage) / "adapter")

            can_go_on = saved.training is not None
            saved.actor.save(path, state, reference=saved.reference, with_training=can_go_on)
            self._remove(self._steps(stage))

        # The next stage reads the result in every process.
        self.wait_for_all()
        return _checkpoint(path, state)

    def checkpoint(
        self,
        stage: str,
        key: str,
        saved: Callable[[int], Saved],
        *,
        done: int,
        total: int,
        every: int,
        unit: str = "iteration",
    ) -> None:
        """Save where a checkpoint is due, and stop where the run was asked to.

        Args:
            stage: the stage.
            key: of the stage.
            saved: what a checkpoint after this many iterations holds.
            done: iterations done.
            total: iterations of the stage; after the last one its result is written in place of a checkpoint.
            every: iterations between checkpoints.
            unit: what is counted.

        Raises:
            Interrupted: the run was asked to stop; it has saved.
        """
        # Asked once: every process must take the same branches below, whenever its signal arrives.
        should_stop = self.should_stop()
        if should_stop or (done < total and done % every == 0):
            self.save(stage, key, saved(done))
        if should_stop:
            raise Interrupted(f"stopped after {unit} {done} of {total} of stage {stage!r}")

    def skip(self, stage: str) -> None:
        """Write down that a stage has no iterations, so that a report does not wait for it."""
        self.folder.write(f"stages/{stage}/skipped.json", {"iterations": 0})

    def finished_data(self, stage: str, key: str) -> Dataset | None:
        """The data of a stage that ran to its end with this key, or None.

        Raises:
            ValueError: the data was made from other inputs or settings; says which.
        """
        content = self.folder.read(f"stages/{stage}/data.json")
        if content is None:
            self._write_inputs(stage, key)
            return None

        if content["key"] != key:
            raise self._stale(stage, key)
        return Dataset(
            path=self._stage(stage),
            stage=stage,
            key=key,
            num_rows=content["num_rows"],
            parents=tuple(content["parents"]),
        )

    def finish_data(self, stage: str, key: str, parents: tuple[str, ...]) -> Dataset:
        """Seal the data of a stage: its shards are all there."""
        path = self._stage(stage)
        if self.folder.is_writer:
            shards = [read_shard(path, number) for number in range(count_shards(path))]
            counts = sum((Counter(shard.counts) for shard in shards), Counter[str]())
            num_rows = sum(len(shard.rows) for shard in shards)

            content = {"key": key, "parents": list(parents), "num_rows": num_rows, "counts": dict(counts)}
            self.folder.write(f"stages/{stage}/data.json", content)
            shown_counts = [f"{count} {name}" for name, count in counts.items()]
            self.say(f"{stage}: {', '.join(shown_counts)}")

        self.wait_for_all()
        data = self.finished_data(stage, key)
        assert data is not None
        return data

    def _write_inputs(self, stage: str, key: str) -> None:
        """Write down what a stage is made of, so that a stale key can be explained."""
        if isinstance(key, StageKey):
            self.folder.write(f"stages/{stage}/inputs.json", {"key": key, "inputs": key.inputs})

    def _stale(self, stage: str, key: str) -> ValueError:
        """Why a stage that was begun or finished here is not the one that is asked for."""
        # Without a list of the inputs, only the fact can be told.
        recorded = self.folder.read(f"stages/{stage}/inputs.json")
        changed: list[str] = []
        if recorded is not None and isinstance(key, StageKey):
            changed = differences(recorded["inputs"], key.inputs)

        # One changed setting may be a whole template: a few of them, cut short, still fit a terminal.
        shown = [line if len(line) < LONG else f"{line[:LONG]} ..." for line in changed[:4]]
        what = f"; changed: {'; '.join(shown)}" if shown else ""
        return ValueError(
            f"stage {stage!r} in {self.folder.path} was made from other inputs or settings{what}: name another folder "
            "with --run, or start over with --fresh"
        )

    def _remove(self, paths: Sequence[Path]) -> None:
        """Remove checkpoints that are no longer needed, or that a kill left half written."""
        if not self.folder.is_writer:
            return
        for path in paths:
            shutil.rmtree(path)

    def _stage(self, stage: str) -> Path:
        return self.folder.path / "stages" / stage

    def _steps(self, stage: str) -> list[Path]:
        return sorted(self._stage(stage).glob("iteration-*"))


def _state_of(stage: str, key: str, saved: Saved, parents: Sequence[str]) -> dict[str, Any]:
    """The figures of a checkpoint."""
    state = {"stage": stage, "key": key, "iteration": saved.iteration, "step": saved.step, "parents": list(parents)}
    if saved.training is not None:
        state["training"] = dict(saved.training)
    return state


def _checkpoint(path: Path, state: Mapping[str, Any]) -> Checkpoint:
    return Checkpoint(
        path=path, stage=state["stage"], step=state["step"], key=state["key"], parents=tuple(state["parents"])
    )
