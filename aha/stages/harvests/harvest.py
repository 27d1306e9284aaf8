"""Data from samples, exactly once: sample shard by shard, pick, write, and go on after the last shard written.

Rejection sampling and the collection of preferences are harvests that differ in what they pick.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol

from aha.engines.engine import Decoding
from aha.prompts.templates import Template
from aha.rewards.table import RewardTable
from aha.runs.folder import as_json
from aha.runs.shards import Shard, read_shard, write_shard
from aha.stages.config import RejectionConfig
from aha.stages.groups import Sampling, record, sample_groups
from aha.stages.run import Interrupted, Run, stage_key
from aha.types import Checkpoint, Dataset, Demonstration, Group, Problem

__all__ = [
    "HarvestInputs",
    "Pick",
    "Selection",
    "Source",
    "different_ids",
    "harvest",
    "write_demonstrations",
    "write_shards",
]

Row = Mapping[str, Any]

NUM_SHOWN_GROUPS = 8
"""Groups of a shard whose rollouts are written as they are, for a reader; the data holds all that is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The rows that a pick keeps of some groups, and the counts of what it drops.

    Attributes:
        rows: what is kept, ready for JSON.
        dropped: how many rollouts were dropped, by reason.
    """

    rows: Sequence[Row]
    dropped: Mapping[str, int]


class Pick(Protocol):
    """Chooses what to keep of the groups of a shard."""

    @property
    def key(self) -> object:
        """What decides the choice: part of the stage's key."""
        ...

    def __call__(self, groups: Sequence[Group]) -> Selection:
        """What is kept of some groups, and why the rest is not."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HarvestInputs:
    """What a harvest samples, and from whom.

    Attributes:
        policy: samples.
        problems: different prompts; each is seeded by its id.
        reward: rewards of every rollout, which a pick may look at.
        template: the prompt around a question.
        stop: texts that end a response.
    """

    policy: Checkpoint
    problems: Sequence[Problem]
    reward: RewardTable
    template: Template
    stop: tuple[str, ...] = ()


def harvest(run: Run, name: str, *, inputs: HarvestInputs, pick: Pick, config: RejectionConfig) -> Dataset:
    """Sample every problem, keep what the pick keeps, and write it in shards.

    A row that equals an earlier one is dropped as `duplicate`. Shards are written whole and in order, and an
    interrupted harvest goes on after the last one: a kill loses nothing that was written, and nothing is written twice.

    Args:
        run: the run.
        name: of this stage.
        inputs: what is sampled from whom.
        pick: what is kept.
        config: samples, temperature, shards, and the type of the weights.

    Returns:
        The data.

    Raises:
        ValueError: two problems share an id, or a finished shard is damaged or belongs to other settings.
        Interrupted: the run was asked to stop; what was written stays.
    """
    ids = different_ids(name, inputs.problems)

    # Absent where there are none: folders from before there were stop strings keep their keys.
    stop = {"stop": list(inputs.stop)} if inputs.stop else {}
    key = stage_key(
        name,
        policy=inputs.policy.key,
        problems=ids,
        config=config.model_dump(),
        template=inputs.template(""),
        pick=pick.key,
        seed=run.seed,
        processes=run.num_processes,
        **stop,
    )
    if done := run.finished_data(name, key):
        return done

    def open_source() -> Source:
        actor = run.actors.policy(inputs.policy.path, max_new_tokens=config.max_new_tokens, precision=config.precision)
        decoding = Decoding(max_new_tokens=config.max_new_tokens, temperature=config.temperature, stop=inputs.stop)
        sampling = Sampling(num_samples=config.num_samples, decoding=decoding, seed=(run.seed, name))
        sample = partial(sample_groups, actor, sampling=sampling, reward=inputs.reward, template=inputs.template)
        return Source(sample=sample, flops_per_token=actor.forward_flops(1))

    write_shards(run, name, key, inputs.problems, pick, open_source, shard_size=config.shard_size)
    return run.finish_data(name, key, parents=(inputs.policy.key,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the responses of a harvest come from.

    Attributes:
        sample: from problems to their groups; every process calls it, and only what the writer gets is used.
        flops_per_token: of sampling, for the log.
    """

    sample: Callable[[Sequence[Problem]], Sequence[Group]]
    flops_per_token: float = 0.0


def write_shards(
    run: Run,
    name: str,
    key: str,
    problems: Sequence[Problem],
    pick: Pick,
    open_source: Callable[[], Source],
    *,
    shard_size: int,
) -> None:
    """Sample problems shard by shard, and write what is picked of each; go on after the last shard that was written.

    Args:
        run: the run.
        name: of the stage.
        key: of the stage.
        problems: different ones.
        pick: what is kept.
        open_source: where responses come from; called if a shard is missing.
        shard_size: problems of a shard.

    Raises:
        ValueError: a finished shard is damaged or belongs to other settings.
        Interrupted: the run was asked to stop; what was written stays.
    """
    path = run.folder.path / "stages" / name
    first = run.count_finished_shards(name)
    total = math.ceil(len(problems) / shard_size)

    # Which rows are duplicates is read off the earlier shards: nothing else is remembered (docs/decisions/0013).
    seen = _rows_of_earlier_shards(run, name, key, first)

    # A harvest whose shards are all there needs no model: only its entry in the run is missing.
    if first >= total:
        return

    source = open_source()
    for number in range(first, total):
        started = time.perf_counter()
        start = number * shard_size
        groups = source.sample(problems[start : start + shard_size])

        if run.folder.is_writer:
            shard = _shard(number, key, groups, pick, seen)

            # The shard comes last: what was logged for a shard that a kill prevented is rewound and logged again.
            run.folder.rewind(name, number)
            run.folder.write_rollouts(f"{name}-{number:06d}", record(groups[:NUM_SHOWN_GROUPS]))
            run.folder.append("metrics", _metrics_row(name, shard, groups, source.flops_per_token, started))
            write_shard(path, shard)
            run.report(name, number + 1, total, {"tokens": 0.0})

        if run.should_stop():
            raise Interrupted(f"stopped after shard {number + 1} of {total} of stage {name!r}")


def different_ids(name: str, problems: Sequence[Problem]) -> list[str]:
    """The ids of problems.

    Raises:
        ValueError: two are the same. Draws derive from a problem's id, so that both would be answered the same.
    """
    ids = [problem.id for problem in problems]
    if len(set(ids)) < len(ids):
        ((repeated_id, _),) = Counter(ids).most_common(1)
        raise ValueError(f"stage {name!r}: two problems have the same id {repeated_id!r}")
    return ids


def _rows_of_earlier_shards(run: Run, name: str, key: str, num_shards: int) -> set[str]:
    """The identities of the rows of earlier shards.

    Raises:
        ValueError: an earlier shard was made with other inputs or settings.
    """
    path = run.folder.path / "stages" / name
    seen = set[str]()
    for number in range(num_shards):
        shard = read_shard(path, number)
        if shard.key != key:
            raise ValueError(
                f"{path} holds data made with other inputs or settings: name another folder with --run, or use --fresh"
            )
        seen.update(_identity(row) for row in shard.rows)
    return seen


def _identity(row: Row) -> str:
    """A text that two rows share only where all of their fields are equal."""
    return as_json(dict(row))


def _shard(number: int, key: str, groups: Sequence[Group], pick: Pick, seen: set[str]) -> Shard:
    """A shard of the picked rows that are in no earlier shard; their identities are added to `seen`."""
    selection = pick(groups)
    num_items = sum(len(group.rollouts) for group in groups)
    counts: Counter[str] = Counter(items=num_items)
    counts.update(selection.dropped)

    rows: list[Row] = []
    for row in selection.rows:
        identity = _identity(row)
        if identity in seen:
            counts["duplicate"] += 1
        else:
            seen.add(identity)
            rows.append(row)

    counts["kept"] = len(rows)
    return Shard(number=number, key=key, counts=counts, rows=rows)


def _metrics_row(
    name: str, shard: Shard, groups: Sequence[Group], flops_per_token: float, started: float
) -> dict[str, Any]:
    """What is logged for a shard."""
    counts = {f"harvest_{reason}": count for reason, count in shard.counts.items()}
    num_tokens = sum(len(rollout.tokens) for group in groups for rollout in group.rollouts)

    # A prompt is computed once for all of its responses.
    num_prompt_tokens = sum(len(group.rollouts[0].prompt_tokens) for group in groups)
    return {
        "stage": name,
        "iteration": shard.number,
        "step": 0,
        **counts,
        "tokens": num_tokens,
        "trained_tokens": 0,
        "flops": flops_per_token * (num_tokens + num_prompt_tokens),
        "seconds": time.perf_counter() - started,
    }


def write_demonstrations(run: Run, name: str, written: Sequence[Demonstration], *, key: str) -> Dataset:
    """Write demonstrations that need no sampling as one shard.

    Args:
        run: the run.
        name: of this stage.
        written: the demonstrations.
        key: what decides them.

    Returns:
        The data. A stage that was finished before is not written again.
    """
    stage = stage_key(name, written=key)
    done = run.finished_data(name, stage)

    # All processes look before one of them writes: a late one would find the data and take another path than the rest.
    run.wait_for_all()
    if done:
        return done

    if run.folder.is_writer:
        rows = [asdict(demonstration) for demonstration in written]
        counts = {"items": len(rows), "kept": len(rows)}
        write_shard(run.folder.path / "stages" / name, Shard(number=0, key=stage, counts=counts, rows=rows))
    return run.finish_data(name, stage, parents=())
