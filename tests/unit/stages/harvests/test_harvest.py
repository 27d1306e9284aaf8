"""Harvests: rejection sampling and preferences, exactly once whatever is killed."""

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from processes import CONTEXT, run_processes
from tiny import letters_tokenizer, tiny_config, tiny_policy

from aha.prompts.templates import bare, r1
from aha.recipes.base_model import open_base
from aha.runs.folder import RunFolder
from aha.runs.shards import count_shards, read_rows, read_shard
from aha.stages.config import RejectionConfig
from aha.stages.harvests.harvest import HarvestInputs, Selection, harvest, write_demonstrations
from aha.stages.harvests.labelling import Labelled
from aha.stages.run import Interrupted, Run
from aha.training.checkpoint import write_checkpoint
from aha.training.world import World
from aha.types import Dataset, Group, Problem, Rollout

CONFIG = RejectionConfig(num_problems=12, num_samples=4, num_kept=4, max_new_tokens=6, shard_size=5)


def problems(count: int = 12) -> list[Problem]:
    letters = "abcdefgh"
    return [
        Problem(
            id=f"p{n}",
            question=" ".join(letters[n // 8**place % 8] for place in range(4)),
            answer="a",
            domain="letters",
        )
        for n in range(count)
    ]


class Everything:
    """Keeps every rollout, with its place."""

    key = "everything"

    def __call__(self, groups: Sequence[Group]) -> Selection:
        rows = [
            {"problem_id": group.problem.id, "index": index, "question": group.problem.question, "response": one.text}
            for group in groups
            for index, one in enumerate(group.rollouts)
        ]
        return Selection(rows=rows, dropped={})


def model_in(folder: Path) -> Path:
    tokenizer = letters_tokenizer()
    write_checkpoint(folder, tiny_policy(tiny_config(vocab_size=tokenizer.vocab_size)), tokenizer, state={})
    return folder


def reap(run: Path, model: Path, config: RejectionConfig = CONFIG, count: int = 12) -> Dataset:
    inputs = HarvestInputs(policy=open_base(model), problems=problems(count), reward={"letters": {}}, template=bare)
    return harvest(Run(folder=RunFolder(run), seed=0), "kept", inputs=inputs, pick=Everything(), config=config)


def test_every_item_is_there_once(tmp_path: Path) -> None:
    data = reap(tmp_path / "run", model_in(tmp_path / "model"))
    rows = list(read_rows(data.path))
    assert data.num_rows == len(rows) == 48
    assert Counter((row["problem_id"], row["index"]) for row in rows) == Counter(
        (f"p{n}", index) for n in range(12) for index in range(4)
    )
    assert count_shards(data.path) == 3


def test_the_size_of_a_shard_changes_no_row(tmp_path: Path) -> None:
    model = model_in(tmp_path / "model")
    one, other = reap(tmp_path / "a", model), reap(tmp_path / "b", model, CONFIG.model_copy(update={"shard_size": 12}))
    assert list(read_rows(one.path)) == list(read_rows(other.path))


def test_a_finished_harvest_is_not_repeated_and_a_lost_shard_is_made_again(tmp_path: Path) -> None:
    model = model_in(tmp_path / "model")
    data = reap(tmp_path / "run", model)
    whole = {path.name: path.read_bytes() for path in sorted(data.path.glob("shard-*"))}
    (data.path / "data.json").unlink()
    (data.path / "shard-000002.jsonl").unlink()
    assert reap(tmp_path / "run", model) == data
    assert {path.name: path.read_bytes() for path in sorted(data.path.glob("shard-*"))} == whole


def test_a_harvest_samples_in_the_precision_that_it_is_told(tmp_path: Path) -> None:
    model = model_in(tmp_path / "model")
    half = CONFIG.model_copy(update={"precision": "bfloat16"})
    precise, rounded = reap(tmp_path / "a", model), reap(tmp_path / "b", model, half)
    assert list(read_rows(precise.path)) != list(read_rows(rounded.path))


class Answers:
    """Keeps what is answered, whoever was asked: equal answers are equal rows."""

    key = "answers"

    def __call__(self, groups: Sequence[Group]) -> Selection:
        texts = [one.text for group in groups for one in group.rollouts]
        return Selection(rows=[{"response": text} for text in texts], dropped={})


def test_a_row_of_an_earlier_shard_is_not_kept_again_also_after_a_stop(tmp_path: Path) -> None:
    """Responses of two letters repeat within a shard, between shards, and between what two runs of the stage sample."""
    model, config = open_base(model_in(tmp_path / "model")), CONFIG.model_copy(update={"max_new_tokens": 2})
    inputs = HarvestInputs(policy=model, problems=problems(), reward={"letters": {}}, template=bare)
    run = Run(folder=RunFolder(tmp_path / "run"), seed=0, _asked_to_stop=True)
    with pytest.raises(Interrupted, match="after shard 1 of 3"):
        harvest(run, "kept", inputs=inputs, pick=Answers(), config=config)
    run = Run(folder=RunFolder(tmp_path / "run"), seed=0)
    data = harvest(run, "kept", inputs=inputs, pick=Answers(), config=config)

    shards = [read_shard(data.path, number) for number in range(3)]
    rows = [row["response"] for shard in shards for row in shard.rows]
    assert len(rows) == len(set(rows)) == data.num_rows
    counts = sum((Counter(shard.counts) for shard in shards), Counter[str]())
    assert (counts["items"], counts["kept"], counts["duplicate"]) == (48, len(rows), 48 - len(rows))
    assert all(shard.counts["duplicate"] > 0 for shard in shards)


def test_other_settings_are_refused(tmp_path: Path) -> None:
    model = model_in(tmp_path / "model")
    reap(tmp_path / "run", model)
    with pytest.raises(ValueError, match=r"changed: config\.temperature: 1\.0 -> 0\.5"):
        reap(tmp_path / "run", model, CONFIG.model_copy(update={"temperature": 0.5}))
    (tmp_path / "run/stages/kept/data.json").unlink()
    with pytest.raises(ValueError, match=r"kept holds data made with other inputs or settings"):
        reap(tmp_path / "run", model, CONFIG.model_copy(update={"temperature": 0.5}))


def test_equal_ids_are_refused(tmp_path: Path) -> None:
    inputs = HarvestInputs(
        policy=open_base(model_in(tmp_path / "m")), problems=problems(2) * 2, reward={"letters": {}}, template=bare
    )
    with pytest.raises(ValueError, match="two problems have the same id 'p0'"):
        harvest(
            Run(folder=RunFolder(tmp_path / "run"), seed=0), "kept", inputs=inputs, pick=Everything(), config=CONFIG
        )


NUM_PROBLEMS = 250
KILLS = 2


def reap_many(run: Path, model: Path) -> None:
    """A harvest of a thousand items in forty shards."""
    reap(run, model, CONFIG.model_copy(update={"shard_size": 25}), NUM_PROBLEMS)


@pytest.mark.full
def test_killed_in_the_middle_of_1000_items_none_is_lost_and_none_is_there_twice(tmp_path: Path) -> None:
    model, run = model_in(tmp_path / "model"), tmp_path / "run"
    rng, kills = random.Random(0), 0
    shards = run / "stages" / "kept"
    while not (shards / "data.json").exists():
        process = CONTEXT.Process(target=reap_many, args=(run, model))
        process.start()
        if kills < KILLS:
            before, deadline = count_shards(shards), time.monotonic() + 60
            while count_shards(shards) < before + 3 and process.is_alive() and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(rng.random() * 0.05)
            process.kill()
            process.join()
            kills += process.exitcode == -signal.SIGKILL
        else:
            process.join()
            assert process.exitcode == 0
    rows = list(read_rows(shards))
    assert (kills, len(rows)) == (KILLS, 1000)
    assert Counter((row["problem_id"], row["index"]) for row in rows) == Counter(
        (f"p{n}", index) for n in range(NUM_PROBLEMS) for index in range(4)
    )
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in logged] == list(range(10))
    undisturbed = reap(tmp_path / "other", model, CONFIG.model_copy(update={"shard_size": 25}), NUM_PROBLEMS)
    assert rows == list(read_rows(undisturbed.path))
    assert [path.read_bytes() for path in sorted(shards.glob("shard-*"))] == [
        path.read_bytes() for path in sorted(undisturbed.path.glob("shard-*"))
    ]


def come_late(rank: int, folder: Path) -> None:
    """Write data as one process of two, the second of which does so half a second later."""
    world = World(rank, 2, str(folder / "rendezvous"))
    time.sleep(rank / 2)
    run = Run(folder=RunFolder(folder / "run", is_writer=rank == 0), seed=0, world=world)
    write_demonstrations(run, "given", [], key="")
    assert world.collect(["after"]) == ["after", "after"]
    world.leave()


@pytest.mark.full
def test_a_process_that_comes_late_to_written_data_stays_in_step(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    run_processes(come_late, tmp_path)


# Labels


def rollout(text: str, *, finish: str = "stop") -> Rollout:
    tokens = torch.tensor([1])
    return Rollout(problem_id="p", prompt_tokens=tokens, tokens=tokens, logp=torch.zeros(1), text=text, finish=finish)  # type: ignore[arg-type]


FIVE = Problem(id="p", question="compute 2 + 3", answer="5", domain="arithmetic")


def group(*texts: str, problem: Problem = FIVE) -> Group:
    return Group(problem=problem, rollouts=tuple(rollout(text) for text in texts), rewards=())


def by_length(problem: Problem, texts: Sequence[str]) -> list[float] | None:
    return None if problem.id == "odd" else [float(len(text)) for text in texts]


@pytest.mark.parametrize(
    ("reads", "shown"), [("summary", ["b", "ccc"]), ("response", ["<think> a </think> b", "<think> a </think> ccc"])]
)
def test_a_labeller_sees_what_the_reward_model_will_read(reads: str, shown: list[str]) -> None:
    pick = Labelled(source="test", reads=reads, template=r1, label=by_length, is_comparison=True)  # type: ignore[arg-type]
    picked = pick([group("<think> a </think> b", "<think> a </think> ccc", "<think> a </think> b", "<think> a")])
    assert picked.rows == [
        {
            "problem_id": "p",
            "prompt": "<｜User｜>compute 2 + 3<｜Assistant｜>",
            "responses": (*shown, *(["<think> a"] if reads == "response" else [])),
            "qualities": tuple(float(len(text)) for text in (*shown, *(["<think> a"] if reads == "response" else []))),
            "source": "test",
        }
    ]


def test_what_cannot_be_compared_is_counted() -> None:
    pick = Labelled(source="test", reads="summary", template=bare, label=by_length, is_comparison=True)
    odd = Problem(id="odd", question="", answer="", domain="fact")
    picked = pick([group("ab", "cd"), group("a", "bb", problem=odd), group("a", "bb", "bb")])
    assert len(picked.rows) == 1
    assert +Counter(picked.dropped) == Counter({"equally good": 2, "not labelled": 2, "unreadable or repeated": 1})


def test_shards_hold_their_counts(tmp_path: Path) -> None:
    data = reap(tmp_path / "run", model_in(tmp_path / "model"))
    for number in range(3):
        counts = read_shard(data.path, number).counts
        assert counts["items"] == counts["kept"] == (20, 20, 8)[number]
