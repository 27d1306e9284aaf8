"""Reward models learn what can be learned, learn nothing from shuffled labels, and resume bit for bit."""

import json
import math
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import run_processes
from tiny import LETTERS, letters_tokenizer, tiny_config, tiny_policy

from aha.actors.local import score_last
from aha.actors.local_actors import LocalActors
from aha.objectives.reward_model import ranking_loss
from aha.policy.layout import rows as rows_of_one_length
from aha.policy.reward_model import from_policy
from aha.prompts.templates import bare
from aha.runs.folder import RunFolder
from aha.runs.seeds import generator
from aha.runs.shards import Shard, write_shard
from aha.stages.config import SupervisedConfig
from aha.stages.reward_models.sources import InMemoryPreferences, StoredPreferences
from aha.stages.reward_models.train import (
    HARMLESSNESS,
    HELPFULNESS,
    REWARD_MODEL_METRICS,
    RewardModelSpec,
    _Example,
    _micro_batches,
    reward_model,
)
from aha.stages.run import Interrupted, Run
from aha.training.batch import stack
from aha.training.checkpoint import read_scorer, write_checkpoint
from aha.training.config import OptimizerConfig
from aha.training.world import World
from aha.types import Checkpoint, Dataset, Preference

CONFIG = SupervisedConfig(
    epochs=2,
    batch_size=8,
    max_tokens=256,
    checkpoint_every=3,
    optimizer=OptimizerConfig(learning_rate=5e-3, final_share=0.1),
)


def letters(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(LETTERS[2:], k=count))


def ranked(count: int, *, name: str, is_shuffled: bool = False, num_responses: int = 3) -> InMemoryPreferences:
    """Prompts with a few responses each; the more often one says `a`, the better it is."""
    preferences = []
    for number in range(count):
        rng = generator("ranked", name, number)
        qualities = list(range(num_responses))
        texts = [" ".join([letters(rng, rng.randint(2, 5)), *["a"] * quality]) for quality in qualities]
        if is_shuffled:
            rng.shuffle(qualities)
        preferences.append(
            Preference(
                problem_id=f"{name}-{number}",
                prompt=letters(rng, rng.randint(2, 4)),
                responses=tuple(texts),
                qualities=tuple(map(float, qualities)),
                source="test",
            )
        )
    return InMemoryPreferences(preferences=preferences)


def labelled(count: int, *, name: str) -> InMemoryPreferences:
    """Prompts with a safe and an unsafe response, or with only one of them; what says `b` is unsafe."""
    preferences = []
    for number, one in enumerate(ranked(count, name=name).preferences):
        kinds = [(1.0, ""), (0.0, " b")][: 1 + number % 2] if number % 4 else [(0.0, " b")]
        texts = tuple(letters(generator(name, number, index), 3) + end for index, (_, end) in enumerate(kinds))
        preferences.append(replace(one, responses=texts, qualities=tuple(label for label, _ in kinds)))
    return InMemoryPreferences(preferences=preferences)


def start(folder: Path) -> Checkpoint:
    """A random policy to start from."""
    path = folder / "policy"
    if not path.exists():
        write_checkpoint(path, tiny_policy(tiny_config()), letters_tokenizer(), state={})
    return Checkpoint(path=path, stage="sft", step=0, key="policy")


def make_run(folder: Path, *, is_interrupted: bool = False, world: World | None = None, **told: Any) -> Run:
    folder.mkdir(parents=True, exist_ok=True)
    world = world or World()
    writer = RunFolder(folder, is_writer=world.is_first)
    return Run(folder=writer, seed=0, world=world, _asked_to_stop=is_interrupted, **told)


def train(
    run: Run, policy: Checkpoint, data: InMemoryPreferences, held_out: InMemoryPreferences, **changes: Any
) -> Checkpoint:
    given: dict[str, Any] = {"config": CONFIG, "kind": HELPFULNESS} | changes
    return reward_model(run, "rm", policy=policy, data=data, held_out=held_out, **given)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def held_out_of(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "stages" / "rm.json").read_text(encoding="utf-8"))["held_out"]
    return found


# Learning


@pytest.mark.full
def test_it_learns_what_is_better(tmp_path: Path) -> None:
    data, said = ranked(48, name="train"), []
    checkpoint = train(make_run(tmp_path, say=said.append), start(tmp_path), data, ranked(16, name="new"))
    found = held_out_of(tmp_path)
    assert found["accuracy"] > 0.8
    assert found["low"] <= found["accuracy"] <= found["high"]
    assert found["n"] == 16
    assert said[-1].startswith(f"rm: held-out accuracy {found['accuracy']:.3f}")
    logged = rows(tmp_path)
    assert [row["step"] for row in logged] == list(range(1, 13))
    assert logged[0]["loss"] > 2 * logged[-1]["loss"]
    assert logged[-1]["pair_accuracy"] > 0.9
    assert logged[-1]["learning_rate"] < 0.2 * logged[0]["learning_rate"]
    expected = {"stage", "iteration", "step", *REWARD_MODEL_METRICS} - {"accuracy"}
    assert all(set(row) == expected and row["tokens"] == 0 < row["flops"] for row in logged)
    assert (checkpoint.step, checkpoint.parents) == (12, ("policy", data.key))


@pytest.mark.full
def test_it_learns_nothing_from_shuffled_labels(tmp_path: Path) -> None:
    """As long a training; the share of 100 new pairs is within three standard deviations of a coin's."""
    data, held_out = (
        ranked(count, name=name, is_shuffled=True, num_responses=2) for count, name in ((96, "train"), (100, "new"))
    )
    train(make_run(tmp_path), start(tmp_path), data, held_out)
    assert abs(held_out_of(tmp_path)["accuracy"] - 0.5) < 3 * math.sqrt(0.25 / 100)
    assert held_out_of(tmp_path)["n"] == 100


@pytest.mark.full
def test_it_learns_what_is_safe(tmp_path: Path) -> None:
    checkpoint = train(
        make_run(tmp_path), start(tmp_path), labelled(64, name="train"), labelled(24, name="new"), kind=HARMLESSNESS
    )
    assert held_out_of(tmp_path)["accuracy"] > 0.8
    assert set(rows(tmp_path)[0]) == {"stage", "iteration", "step", *REWARD_MODEL_METRICS} - {"pair_accuracy", "margin"}
    model, _ = read_scorer(checkpoint.path)
    assert (model.reads, model.bias.item()) == ("response", 0.0)


@pytest.mark.full
def test_it_learns_and_scores_in_bfloat16_with_a_precise_bias(tmp_path: Path) -> None:
    half = CONFIG.model_copy(update={"optimizer": CONFIG.optimizer.model_copy(update={"precision": "bfloat16"})})
    checkpoint = train(
        make_run(tmp_path), start(tmp_path), ranked(40, name="train"), ranked(16, name="new"), config=half
    )
    assert held_out_of(tmp_path)["accuracy"] > 0.8

    reward = LocalActors().learned_reward(checkpoint, name="helpfulness", template=bare, precision="bfloat16")
    assert {weight.dtype for weight in reward.model.parameters()} == {torch.bfloat16}
    assert reward.model.bias.dtype == torch.float32
    bias = reward.model.bias.item()
    assert bias == read_scorer(checkpoint.path)[0].bias.item() != torch.tensor(bias).bfloat16().item()
    assert (
        LocalActors().learned_reward(checkpoint, name="helpfulness", template=bare).model.score.weight.dtype
        == torch.float32
    )


# The same, whichever way


@pytest.mark.full
def test_interrupted_after_every_update_it_ends_bit_for_bit_the_same(tmp_path: Path) -> None:
    policy, data, held_out = start(tmp_path), ranked(10, name="train"), ranked(2, name="new")
    whole = train(make_run(tmp_path / "whole"), policy, data, held_out)
    for _ in range(4):
        with pytest.raises(Interrupted):
            train(make_run(tmp_path / "parts", is_interrupted=True), policy, data, held_out)
    parts = train(make_run(tmp_path / "parts"), policy, data, held_out)
    for name in ("model.safetensors", "reward_model.json", "config.json", "trainer.json"):
        assert (parts.path / name).read_bytes() == (whole.path / name).read_bytes(), name
    for one, other in zip(rows(tmp_path / "parts"), rows(tmp_path / "whole"), strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert held_out_of(tmp_path / "parts") == held_out_of(tmp_path / "whole")


def test_a_finished_stage_is_not_repeated_and_others_inputs_are_refused(tmp_path: Path) -> None:
    policy, data, held_out = start(tmp_path), ranked(8, name="train"), ranked(4, name="new")
    first = train(make_run(tmp_path), policy, data, held_out)
    assert train(make_run(tmp_path), policy, data, held_out) == first
    assert len(rows(tmp_path)) == 2
    assert (
        train(make_run(tmp_path), policy, data, held_out, config=CONFIG.model_copy(update={"checkpoint_every": 1}))
        == first
    )
    for changes in (
        {"data": ranked(8, name="other")},
        {"held_out": ranked(4, name="other")},
        {"kind": HARMLESSNESS},
        {"config": CONFIG.model_copy(update={"batch_size": 4})},
        {"policy": replace(policy, key="another")},
    ):
        given: dict[str, Any] = {"policy": policy, "data": data, "held_out": held_out} | changes
        with pytest.raises(ValueError, match="'rm'"):
            train(make_run(tmp_path), **given)


@pytest.mark.full
def test_micro_batches_change_nothing_but_rounding(tmp_path: Path) -> None:
    """Sequences have at most 12 tokens: 16 cut none of them, and put every prompt into a micro-batch of its own."""
    policy, data, held_out = start(tmp_path), ranked(8, name="train"), ranked(2, name="new")
    found = []
    for max_tokens in (256, 16):
        folder = tmp_path / str(max_tokens)
        train(make_run(folder), policy, data, held_out, config=CONFIG.model_copy(update={"max_tokens": max_tokens}))
        found.append([[row[name] for name in ("loss", "grad_norm", "trained_tokens")] for row in rows(folder)])
    assert torch.allclose(torch.tensor(found[0]), torch.tensor(found[1]), rtol=1e-3)


def test_a_prompt_that_is_shared_gives_the_scores_of_one_by_one() -> None:
    model = from_policy(
        tiny_policy(tiny_config(), dtype=torch.float64), torch.Generator().manual_seed(1), reads="summary"
    )
    tokenizer = letters_tokenizer()
    preferences = ranked(5, name="some").preferences
    sequences = [
        (tokenizer.encode(one.prompt), tokenizer.encode(text)) for one in preferences for text in one.responses
    ]
    batch = stack([prompt for prompt, _ in sequences], [response for _, response in sequences])
    expected = []
    for prompt, response in sequences:
        tokens_BT, lengths_B = torch.cat((prompt, response))[None], torch.tensor([len(prompt) + len(response)])
        expected.append(model(rows_of_one_length(tokens_BT), lengths_B))
    group_B, quality_B = torch.arange(5).repeat_interleave(3), torch.arange(3.0).repeat(5)
    losses = [
        ranking_loss(scores_B, group_B=group_B, quality_B=quality_B)
        for scores_B in (score_last(model, batch), torch.cat(expected))
    ]
    assert losses[0].total.item() == pytest.approx(losses[1].total.item(), abs=1e-12)
    grads = [torch.autograd.grad(loss.total, list(model.parameters())) for loss in losses]
    assert max(float((one - other).abs().max()) for one, other in zip(*grads, strict=True)) < 1e-11


def take_part(rank: int, folder: Path) -> None:
    """The training of one process of two."""
    torch.set_num_threads(1)
    world = World(rank, 2, str(folder / "rendezvous"))
    train(make_run(folder / "two", world=world), start(folder), ranked(9, name="train"), ranked(3, name="new"))
    world.leave()


@pytest.mark.full
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    """The last update of an epoch has a single prompt, so that one process has none."""
    policy = start(tmp_path)
    train(make_run(tmp_path / "one"), policy, ranked(9, name="train"), ranked(3, name="new"))
    run_processes(take_part, tmp_path)
    for one, two in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        for name in ("loss", "pair_accuracy", "margin", "grad_norm", "trained_tokens"):
            assert two[name] == pytest.approx(one[name], rel=1e-3), (one["step"], name)
    assert held_out_of(tmp_path / "one") == pytest.approx(held_out_of(tmp_path / "two"))


# What is refused, and what is left out


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (HELPFULNESS, {"qualities": (1.0, 2.0)}, r"3 responses of preference 'train-0' need a finite label each"),
        (HELPFULNESS, {"qualities": (1.0, 2.0, math.nan)}, "finite label"),
        (HARMLESSNESS, {"qualities": (1.0, 0.0, 0.5)}, r"a safety label is 1 \(safe\) or 0; got \[0.0, 0.5, 1.0\]"),
        (HELPFULNESS, {"qualities": (1.0, 1.0, 1.0)}, "none of 1 preferences has anything to learn"),
        (HARMLESSNESS, {"responses": (), "qualities": ()}, "none of 1 preferences has anything to learn"),
    ],
)
def test_labels_that_cannot_be(kind: RewardModelSpec, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    bad = InMemoryPreferences(preferences=[replace(ranked(1, name="train").preferences[0], **changes)])
    with pytest.raises(ValueError, match=message):
        train(make_run(tmp_path), start(tmp_path), bad, ranked(2, name="new"), kind=kind)


def test_prompts_without_a_pair_make_no_update(tmp_path: Path) -> None:
    """Eight prompts with pairs and eight without are one update of eight an epoch, not two."""
    some = list(ranked(16, name="train").preferences)
    some[::2] = [replace(one, qualities=(1.0, 1.0, 1.0)) for one in some[::2]]
    train(make_run(tmp_path), start(tmp_path), InMemoryPreferences(preferences=some), ranked(2, name="new"))
    assert len(rows(tmp_path)) == 2


def test_stored_preferences_are_the_given_ones(tmp_path: Path) -> None:
    preferences = list(ranked(3, name="train").preferences)
    for number in range(2):
        rows_of_it = [asdict(one) for one in preferences[2 * number : 2 * number + 2]]
        write_shard(tmp_path, Shard(number=number, key="k1", counts={}, rows=rows_of_it))
    stored = StoredPreferences(data=(Dataset(path=tmp_path, stage="pairs", key="k1", num_rows=3),))
    assert list(stored()) == preferences
    assert stored.key == "k1"
    assert InMemoryPreferences(preferences=preferences).key == InMemoryPreferences(preferences=tuple(preferences)).key
    assert InMemoryPreferences(preferences=preferences).key != InMemoryPreferences(preferences=preferences[:2]).key


def test_micro_batches_hold_prompts_with_all_of_their_responses_up_to_the_limit() -> None:
    """A prompt counts once: examples of 3 + 2 * 2 tokens, of which three fit into 21 and two into 20."""

    def sizes(max_tokens: int) -> list[int]:
        two = (torch.tensor([5, 6]), torch.tensor([7, 8]))
        example = _Example(prompt=torch.tensor([1, 2, 3]), responses=two, qualities=(0.0, 1.0))
        return sorted(len(part.lengths_B) for part in _micro_batches([example] * 3, HELPFULNESS, max_tokens))

    assert [sizes(21), sizes(20), sizes(7), sizes(1)] == [[6], [2, 4], [2, 2, 2], [2, 2, 2]]


def test_a_ranking_predicts_each_order_with_the_probability_of_bradley_and_terry() -> None:
    """P(a before b) = e^a / (e^a + e^b); the two equal ones are not compared."""
    scores, qualities = [2.0, -1.0, 0.5], [1.0, 0.0, 1.0]
    predicted = HELPFULNESS.predictions(scores, qualities)
    expected = [math.exp(2.0) / (math.exp(2.0) + math.exp(-1.0)), math.exp(0.5) / (math.exp(-1.0) + math.exp(0.5))]
    assert [share for share, _ in predicted] == pytest.approx(expected)
    assert [is_right for _, is_right in predicted] == [True, True]
    assert HELPFULNESS.predictions([0.0, 3.0], [1.0, 0.0]) == [(pytest.approx(1 / (1 + math.exp(-3))), False)]


def test_a_model_of_safety_predicts_with_the_sigmoid_of_its_score() -> None:
    predicted = HARMLESSNESS.predictions([0.0, -2.0, 800.0], [1.0, 0.0, 1.0])
    assert [share for share, _ in predicted] == pytest.approx([0.5, 1 / (1 + math.exp(2)), 1.0])
    assert [is_safe for _, is_safe in predicted] == [True, False, True]
