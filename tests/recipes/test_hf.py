"""Models of other architectures, by the commands that a native model is given: trained, examined, resumed, sampled."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lazy_transformers as transformers
import pytest
import torch
from command import Call, Ended, assert_fails, fingerprint, one_object
from hf_models import quiet, write_their_model
from tiny import world_tokenizer

from aha.problems.world.questions import held_out_problems
from aha.stages.run import Run
from aha.training import memory

pytestmark = pytest.mark.full

KINDS = ("gpt_neox", "phi3", "olmo2", "gemma")
QUICK = [
    "--zero.iterations=2",
    "--zero.problems-per-iteration=2",
    "--zero.group-size=2",
    "--zero.max-new-tokens=12",
    "--zero.checkpoint-every=1",
    "--zero.optimizer.learning-rate=0.01",
    "--longer.iterations=0",
    "--validation.num-problems=2",
    "--validation.num-samples=2",
    "--validation.max-new-tokens=12",
    "--evaluation.num-problems=4",
    "--evaluation.num-samples=2",
    "--evaluation.max-new-tokens=12",
    "--force",
]
LESSON = [
    "--sft.epochs=2",
    "--sft.batch-size=4",
    "--sft.max-tokens=128",
    "--sft.checkpoint-every=2",
    "--sft.optimizer.learning-rate=0.01",
    "--sft.optimizer.warmup-steps=0",
    "--evaluation.num-problems=4",
    "--evaluation.num-samples=2",
    "--evaluation.max-new-tokens=24",
]

REWARD = "def evenness(problem, rollout):\n    return float((rollout.tokens % 2 == 0).float().mean())\n"
"""A reward that differs within nearly every group, whatever a random model says."""

Make = Callable[[str], Path]
Train = Callable[..., Ended]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes the folder of a random model that knows the words of the built-in world."""

    def give(kind: str) -> Path:
        write_their_model(tmp_path / kind, kind, world_tokenizer())
        return tmp_path / kind

    return give


@pytest.fixture
def train(tmp_path: Path, call: Call) -> Train:
    """Trains a model by reinforcement, in a folder."""
    reward = tmp_path / "reward.py"
    reward.write_text(REWARD, encoding="utf-8")

    def give(model: Path, folder: str, *words: str) -> Ended:
        given = ["--model", model, "--run", tmp_path / folder, "--reward", f"{reward}:evenness"]
        return call("run", "r1_zero", *given, *QUICK, *words)

    return give


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A context in which a run fails as soon as it has saved for the first time."""
    save = Run.save

    def save_then_fail(run: Run, *arguments: Any, **named: Any) -> None:
        save(run, *arguments, **named)
        raise RuntimeError("the power went out")

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", save_then_fail)
        yield


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def differs(one: Path, other: Path) -> bool:
    """Whether two model folders of one architecture hold different weights, as `transformers` reads them."""
    with quiet():
        models = [transformers.AutoModelForCausalLM.from_pretrained(path) for path in (one, other)]
    assert type(models[0]) is type(models[1])
    return any(not torch.equal(weight, models[1].state_dict()[name]) for name, weight in models[0].state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_reinforcement_resumes_to_the_same_bits(
    kind: str, make: Make, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(kind)
    whole = train(model, "whole", "--processes=1")
    assert whole.status == 0, whole.err
    assert whole.err.count("is run through transformers") == 1
    rows = metrics(tmp_path / "whole")
    assert len(rows) == 2
    assert all(row["logp_gap"] < 1e-5 for row in rows)

    final = tmp_path / "whole" / "stages" / "zero" / "final"
    described = json.loads((final / "config.json").read_text(encoding="utf-8"))
    source = json.loads((model / "config.json").read_text(encoding="utf-8"))
    assert (described["model_type"], described["architectures"]) == (kind, source["architectures"])
    assert differs(model, final)

    with failing(monkeypatch):
        assert_fails(train(model, "torn", "--processes=1", "--json"), "the power went out")
    resumed = train(model, "torn", "--processes=1")
    assert resumed.status == 0, resumed.err
    assert fingerprint(tmp_path / "torn") == fingerprint(tmp_path / "whole")


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_fine_tuned_examined_exported_and_sampled(kind: str, make: Make, tmp_path: Path, call: Call) -> None:
    model = make(kind)
    problems = held_out_problems("train", 24, seed=1)
    rows = [{"question": p.question, "response": f"<think> so </think> {p.answer}"} for p in problems]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    given = ["--model", model, "--demonstrations", tmp_path / "rows.jsonl", "--run", tmp_path / "sft"]
    tuned = call("run", "sft", *given, *LESSON)
    assert tuned.status == 0, tuned.err
    assert tuned.err.count(f"{kind} is run through transformers") == 1
    losses = [row["loss"] for row in metrics(tmp_path / "sft")]
    assert losses[-1] < 0.7 * losses[0]

    examined = call("eval", tmp_path / "sft", "--problems=4", "--samples=2", "--max-new-tokens=16", "--json")
    assert 0 <= one_object(examined)["rows"][0]["value"] <= 1
    assert examined.err.count(f"aha: {kind} is run through transformers") == 1

    sampled = call("sample", tmp_path / "sft", "--question=compute 3 + 4", "--max-new-tokens=8", "--json")
    assert one_object(sampled)["tokens"]
    assert sampled.err.count(f"aha: {kind} is run through transformers") == 1

    exported = call("export", tmp_path / "sft", "--out", tmp_path / "mine", "--dtype=bfloat16", "--json")
    assert one_object(exported)["dtype"] == "bfloat16"
    with quiet():
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "mine")
    assert next(theirs.parameters()).dtype == torch.bfloat16


def test_the_doctor_says_it(make: Make, call: Call) -> None:
    ended = call("doctor", "--model", make("olmo2"), *(option for option in QUICK if option != "--force"))
    assert "warning: through-transformers: olmo2 is run through transformers" in ended.out
    assert "memory_gib" in ended.out


def test_adapters_and_recomputed_layers_resume_to_the_same_bits(
    make: Make, train: Train, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make("gpt_neox")
    monkeypatch.setitem(memory.FILLED_SHARE, "cpu", 0.0)
    options = ["--processes=1", "--zero.optimizer.lora.rank=2", "--zero.algorithm.kl-coef=0.01"]
    whole = train(model, "whole", *options)
    assert whole.status == 0, whole.err
    final = tmp_path / "whole" / "stages" / "zero" / "final"
    assert differs(model, final)

    with failing(monkeypatch):
        assert train(model, "torn", *options).status == 1
    assert train(model, "torn", *options).status == 0
    assert fingerprint(tmp_path / "torn") == fingerprint(tmp_path / "whole")

    adapter = final.parent / "adapter"
    sampled = call("sample", adapter, "--question=compute 3 + 4", "--max-new-tokens=8", "--json")
    assert one_object(sampled)["tokens"]


def test_a_reward_model_is_trained_on_it(make: Make, tmp_path: Path, call: Call) -> None:
    rows = [{"prompt": f"compute 2 + {n}", "chosen": str(n + 2), "rejected": "no no no"} for n in range(2, 42)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ended = call(
        *("run", "reward_model", "--model", make("phi3"), "--run", tmp_path / "run"),
        *("--preferences", tmp_path / "pairs.jsonl", "--training.epochs=3", "--training.batch-size=4"),
        *("--training.max-tokens=128", "--training.optimizer.learning-rate=0.01", "--json"),
    )
    assert ended.status == 0, ended.err
    [folder] = (tmp_path / "run" / "stages").glob("*/final")
    with quiet():
        theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    assert type(theirs).__name__ == "Phi3ForSequenceClassification"


def test_two_processes_train_it_as_one_does(make: Make, train: Train, tmp_path: Path) -> None:
    model = make("gpt_neox")
    for count in (1, 2):
        ended = train(model, str(count), f"--processes={count}")
        assert ended.status == 0, ended.err
        assert ended.err.count("is run through transformers") == 1
    one, two = (metrics(tmp_path / name) for name in ("1", "2"))
    for first, second in zip(one, two, strict=True):
        assert first["loss"] == pytest.approx(second["loss"], abs=1e-4)
        assert first["grad_norm"] == pytest.approx(second["grad_norm"], rel=1e-3)
        assert first["length"] == second["length"]


def test_what_a_policy_does_not_have_is_refused_by_every_command(make: Make, tmp_path: Path, call: Call) -> None:
    model = make("gpt_neox")
    described = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (model / "config.json").write_text(json.dumps({**described, "hidden_dropout": 0.1}), encoding="utf-8")
    for words in (
        ("run", "r1_zero", "--model", model, "--run", tmp_path / "run"),
        ("doctor", "--model", model),
        ("eval", model),
        ("sample", model, "--question=compute 3 + 4"),
    ):
        assert_fails(call(*words), "gpt_neox: hidden_dropout 0.1 is not supported")
    assert not (tmp_path / "run").exists()
