"""A model and problems of the user's own: refused while nothing can be learned, run and resumed when forced."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from command import ROOT, Call, assert_fails, fingerprint
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers

from aha.policy.config import DenseConfig
from aha.policy.transformer import Transformer, initialise
from aha.prompts.tokenizer import Tokenizer
from aha.stages.run import Run
from aha.training.checkpoint import write_checkpoint

EXAMPLES = ROOT / "examples"
QUICK = [
    "--zero.iterations=3",
    "--zero.problems-per-iteration=2",
    "--zero.group-size=2",
    "--zero.max-new-tokens=12",
    "--zero.checkpoint-every=1",
    "--longer.iterations=1",
    "--longer.problems-per-iteration=2",
    "--longer.group-size=2",
    "--longer.max-new-tokens=12",
    "--validation.num-problems=2",
    "--validation.num-samples=2",
    "--validation.max-new-tokens=12",
    "--evaluation.num-problems=4",
    "--evaluation.num-samples=2",
    "--evaluation.max-new-tokens=12",
]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Word problems in the form of GSM8K."""
    path = tmp_path_factory.mktemp("rows") / "train.jsonl"
    names = ("Natalia", "Weng", "Betty", "Julie", "James")
    rows = [
        {
            "question": f"{names[n % 5]} sold {n} clips in April and {2 * n} in May. How many clips were that?",
            "answer": f"April {n}, May {2 * n}. <<{n}+{2 * n}={3 * n}>>{3 * n}\n#### {3 * n:,}",
        }
        for n in range(300, 360)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, rows: Path) -> Path:
    """A random Qwen2 with a byte-level tokenizer of its own."""
    raw = RawTokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([rows.read_text(encoding="utf-8")], trainer)
    tokenizer = Tokenizer(raw, end="<|endoftext|>")
    config = DenseConfig(
        model_type="qwen2",
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
    )
    policy = Transformer(config)
    initialise(policy, torch.Generator().manual_seed(0))
    folder = tmp_path_factory.mktemp("models") / "random"
    write_checkpoint(folder, policy, tokenizer, state={})
    return folder


def order(model: Path, rows: Path, folder: Path) -> list[str]:
    given = ["run", "r1_zero", "--model", str(model), "--problems", str(rows), "--run", str(folder)]
    return [*given, *QUICK, "--processes=1", "--json"]


@pytest.mark.full
def test_a_model_that_cannot_learn_is_refused_and_runs_when_forced(
    model: Path, rows: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = call(*order(model, rows, tmp_path / "refused"))
    assert refused.status == 1
    assert refused.err.startswith("aha: this run cannot learn: ")
    assert "answers-unparsable: " in refused.err
    assert "--force starts it all the same" in refused.err
    assert not (tmp_path / "refused").exists()

    whole = call(*order(model, rows, tmp_path / "whole"), "--force")
    assert whole.status == 0, whole.err
    assert json.loads(whole.out)["steps"] > 0
    known = json.loads((tmp_path / "whole" / "doctor.json").read_text(encoding="utf-8"))
    assert known["is_fit"] is False
    assert "cap-too-short" in {finding["code"] for finding in known["findings"]}

    torn = tmp_path / "torn"
    save = Run.save

    def save_then_fail(run: Run, *arguments: Any, **named: Any) -> None:
        save(run, *arguments, **named)
        raise RuntimeError("the power went out")

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", save_then_fail)
        assert_fails(call(*order(model, rows, torn), "--force"), "the power went out")
    resumed = call(*order(model, rows, torn), "--force")
    assert resumed.status == 0, resumed.err
    assert fingerprint(torn) == fingerprint(tmp_path / "whole")


@pytest.mark.full
def test_the_example_runs_as_its_file_says(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "own"
    monkeypatch.chdir(ROOT)
    ended = call(
        *("run", "r1_zero", "--config", str(EXAMPLES / "run.toml"), "--run", str(folder)),
        *(option for option in QUICK if "new-tokens" not in option),
        *(f"--{name}.max-new-tokens=48" for name in ("zero", "longer", "validation", "evaluation")),
        "--processes=1",
        "--json",
    )
    assert ended.status == 0, ended.err
    described = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert described["config"]["own"]["reward"] == ["examples/concise.py:concise=0.5"]
    assert described["seed"] == 1
