"""A reward model from a user's preferences: it learns, and is refused before anything is computed."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from command import Call, Ended, one_object

from aha.policy.reward_model import read_reward_model
from aha.recipes.reward_model import REWARD_MODEL
from aha.types import Checkpoint

QUICK = [
    "--training.epochs=3",
    "--training.batch-size=4",
    "--training.max-tokens=128",
    "--training.checkpoint-every=2",
    "--training.optimizer.learning-rate=0.01",
    "--training.optimizer.warmup-steps=0",
]
NUMBERS = range(2, 42)
RANKED = [{"prompt": f"compute 2 + {n}", "chosen": str(n + 2), "rejected": "no no no"} for n in NUMBERS]
LABELLED = [
    {"question": f"compute 2 + {n}", "response": "no" if n % 2 else str(n + 2), "is_safe": n % 2 == 0} for n in NUMBERS
]

Train = Callable[..., Ended]


def written(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def train(call: Call, base: Checkpoint, tmp_path: Path) -> Train:
    """Trains a tiny reward model in a folder."""

    def give(folder: str, *words: object) -> Ended:
        given = ["--model", base.path, "--run", tmp_path / folder]
        return call("run", "reward_model", *given, *QUICK, *words)

    return give


def held_out_of(folder: Path) -> dict[str, float]:
    """What the model was examined on, and how it did."""
    content = json.loads((folder / "stages" / "reward-model.json").read_text(encoding="utf-8"))
    assert 0 <= content["calibration"]["error"] <= 1
    assert sum(each["n"] for each in content["calibration"]["bins"]) >= content["held_out"]["n"]
    held_out: dict[str, float] = content["held_out"]
    return held_out


@pytest.mark.full
@pytest.mark.parametrize(
    ("option", "rows", "reads"), [("--preferences", RANKED, "summary"), ("--safety", LABELLED, "response")]
)
def test_it_learns_and_is_examined_on_questions_that_it_has_not_seen(
    option: str, rows: list[object], reads: str, train: Train, tmp_path: Path
) -> None:
    file = written(tmp_path / "rows.jsonl", rows)
    ended = one_object(train("run", option, file, "--json"))
    assert held_out_of(tmp_path / "run") == {"accuracy": 1.0, "low": pytest.approx(0.51, abs=0.01), "high": 1.0, "n": 4}
    model = Path(ended["model"])
    assert read_reward_model(model).reads == reads
    assert model.parts[-3:] == ("stages", "reward-model", "final")
    page = Path(ended["page"]).read_text(encoding="utf-8")
    assert [node.title for node in REWARD_MODEL.figure if node.title not in page] == []
    assert "held-out 100.0" in page
    assert "What reward models predict" in page


@pytest.mark.full
def test_rows_may_be_given_to_examine_it_on(train: Train, tmp_path: Path) -> None:
    rows = written(tmp_path / "rows.jsonl", RANKED[:12])
    held_out = written(tmp_path / "other.jsonl", RANKED[9:15])
    ended = train("run", "--preferences", rows, "--held-out", held_out, "--reads", "response", "--training.epochs=1")
    assert ended.status == 0, ended.err
    assert "3 rows left out whose question the examination asks too" in ended.out + ended.err
    assert held_out_of(tmp_path / "run")["n"] == 6
    assert read_reward_model(tmp_path / "run" / "stages" / "reward-model" / "final").reads == "response"


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        ([], ["--preferences FILE.jsonl", "--safety FILE"]),
        (["--preferences", "rows.jsonl", "--safety", "rows.jsonl"], ["either rankings"]),
        (["--preferences", "none.jsonl"], ["none.jsonl does not exist"]),
        (["--preferences", "rows.jsonl"], ["rows.jsonl:2: the response is empty", "--bad-rows skip"]),
        (["--preferences", "one.jsonl"], ["one question alone"]),
        (["--preferences", "one.jsonl", "--held-out", "one.jsonl"], ["every question of the training rows"]),
        (["--preferences", "endless.jsonl"], ["no response has a summary: --reads response"]),
        (["--safety", "rows.jsonl"], ["it has chosen, prompt, rejected: --safety-fields"]),
        (["--preferences", "good.jsonl", "--template", "none.jinja"], ["--template none.jinja: neither auto, r1_zero"]),
        (["--preferences", "one.jsonl", "--training.optimizer.lora.rank=2"], ["reward models take 0"]),
    ],
)
def test_what_cannot_be_learned_from_is_refused_before_anything_is_computed(
    words: list[str], texts: list[str], train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "rows.jsonl", [RANKED[0], {**RANKED[1], "chosen": " "}])
    written(tmp_path / "one.jsonl", [RANKED[0]])
    written(tmp_path / "good.jsonl", RANKED[:3])
    endless = [{**row, "chosen": "<think> so", "rejected": "<think> no"} for row in RANKED[:3]]
    written(tmp_path / "endless.jsonl", endless)
    ended = train("run", *words)
    assert ended.status != 0
    assert [text for text in texts if text not in ended.err] == []
    assert not (tmp_path / "run").exists()
