"""A model to serve: alone in a folder of its own, in the type of the weights that its training began with."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import lazy_transformers as transformers
import pytest
import torch
from run_requests import zero_request
from tiny import tiny_config, tiny_policy, world_tokenizer
from torch import Tensor

from aha.commands.evaluation import EvaluationOrder, SampleOrder, evaluate_order, sample_once
from aha.commands.export import STARTS, export, original_dtype, record_starts
from aha.commands.running import carry_out
from aha.engines.engine import Decoding
from aha.policy.layout import rows
from aha.policy.reward_model import from_policy
from aha.policy.transformer import Transformer
from aha.policy.weights import stored_dtype
from aha.prompts.templates import r1
from aha.recipes.base_model import BUILT_IN, open_base
from aha.recipes.own.own_data import OwnData
from aha.recipes.scales import R1_ZERO_SCALES, R1ZeroConfig
from aha.runs.folder import RunFolder
from aha.stages.config import EvaluationConfig, RLConfig
from aha.stages.doctor.diagnosis import Diagnosis
from aha.training.checkpoint import read_model, read_scorer, weights_digest, write_checkpoint
from aha.training.config import LoRAConfig
from aha.types import Checkpoint

os.environ["HF_HUB_OFFLINE"] = "1"

LOOK = EvaluationConfig(num_problems=1, num_samples=2, max_new_tokens=4)
MODEL_FILES = {
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "provenance.json",
    "tokenizer.json",
    "tokenizer_config.json",
}
STOP = ("<answer>",)


def one_iteration(folder: Path, start: Path, *, lora_rank: int = 0) -> Path:
    """A run of one tiny iteration in float32, which no doctor examines."""
    loop = R1_ZERO_SCALES["tiny"].zero.model_copy(
        update={"iterations": 1, "problems_per_iteration": 2, "group_size": 2, "max_new_tokens": 8}
    )
    if lora_rank:
        adapted = loop.optimizer.model_copy(update={"lora": LoRAConfig(rank=lora_rank)})
        loop = loop.model_copy(update={"optimizer": adapted})
    config = R1ZeroConfig(zero=loop, longer=RLConfig(iterations=0), validation=LOOK, evaluation=LOOK)
    request = zero_request(config, folder, own=OwnData(stop=STOP))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aha.commands.running.examine", lambda *_, **__: Diagnosis(findings=()))
        carry_out(replace(request, model=str(start)))
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in base in bfloat16."""
    folder = tmp_path_factory.mktemp("start") / "model"
    policy, tokenizer = read_model(BUILT_IN, dtype=torch.bfloat16)
    write_checkpoint(folder, policy, tokenizer, state={})
    return folder


@pytest.fixture(scope="module")
def trained(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that started from it, in a folder that is not there any more."""
    moved = shutil.copytree(start, tmp_path_factory.mktemp("moved") / "start")
    folder = one_iteration(tmp_path_factory.mktemp("runs") / "run", moved)
    shutil.rmtree(moved)
    return folder


@pytest.fixture(scope="module")
def further(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with adapters that started from the result of that one."""
    return one_iteration(tmp_path_factory.mktemp("further") / "run", final(trained), lora_rank=2)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """The same run, moved."""
    return shutil.copytree(trained, tmp_path / "moved")


def final(run: Path) -> Path:
    return run / "stages" / "zero" / "final"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def record(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "provenance.json").read_text(encoding="utf-8")))


# The type of the weights


def test_a_run_goes_back_to_the_type_of_its_start_which_need_not_be_there(run: Path, tmp_path: Path) -> None:
    assert stored_dtype(final(run)) == torch.float32
    for number, name in enumerate((run, final(run))):
        told = export(str(name), tmp_path / f"out{number}")
        assert told["dtype"] == "bfloat16"
        assert stored_dtype(tmp_path / f"out{number}") == torch.bfloat16


def test_the_type_can_be_chosen(run: Path, tmp_path: Path) -> None:
    for dtype in ("float32", "bfloat16", "float16"):
        export(str(run), tmp_path / dtype, dtype)
        assert str(stored_dtype(tmp_path / dtype)) == f"torch.{dtype}"
        config = json.loads((tmp_path / dtype / "config.json").read_text(encoding="utf-8"))
        assert config["torch_dtype"] == dtype


def test_a_run_of_an_earlier_version_learns_it_when_it_goes_on(start: Path, run: Path) -> None:
    (run / "starts.json").unlink()
    assert original_dtype(final(run)) == torch.float32
    one_iteration(run, start)
    assert original_dtype(final(run)) == torch.bfloat16


@pytest.mark.full
def test_a_training_that_goes_on_in_another_run_goes_back_to_the_first_start(further: Path) -> None:
    assert original_dtype(final(further)) == torch.bfloat16


def test_a_model_of_another_start_does_not_take_the_type_of_this_one(run: Path) -> None:
    """As the built-in students, which are pretrained within the run."""
    made = {"qwen2": {"seed": 0}, "qwen2-distilled": {"sources": ["qwen2", "data"]}, "qwen2-rl": {"policy": "qwen2"}}
    for stage, inputs in made.items():
        shutil.copytree(run / "stages" / "zero", run / "stages" / stage)
        content = json.dumps({"key": stage, "inputs": inputs})
        (run / "stages" / stage / "inputs.json").write_text(content, encoding="utf-8")
    assert {original_dtype(run / "stages" / stage / "final") for stage in made} == {torch.float32}


def test_a_student_goes_back_to_its_own_start(run: Path) -> None:
    starts = json.loads((run / "starts.json").read_text(encoding="utf-8"))
    (run / "starts.json").write_text(json.dumps({**starts, "student": "float16"}), encoding="utf-8")
    key = json.loads((run / "stages" / "zero" / "inputs.json").read_text(encoding="utf-8"))["key"]
    made = {"tuned": {"sources": ["student", key]}, "further": {"policy": "tuned"}, "dev": {"sources": [key, "data"]}}
    for stage, inputs in made.items():
        shutil.copytree(run / "stages" / "zero", run / "stages" / stage)
        content = json.dumps({"key": stage, "inputs": inputs})
        (run / "stages" / stage / "inputs.json").write_text(content, encoding="utf-8")
    types = {stage: original_dtype(run / "stages" / stage / "final") for stage in made}
    assert types == {"tuned": torch.float16, "further": torch.float16, "dev": torch.bfloat16}


def test_weights_that_float16_cannot_hold_are_refused(tmp_path: Path) -> None:
    policy, tokenizer = read_model(BUILT_IN)
    with torch.no_grad():
        policy.model.norm.weight[0] = 1e6
    write_checkpoint(tmp_path / "model", policy, tokenizer, state={})
    with pytest.raises(ValueError, match=r"model.norm.weight .* not finite in float16: take --dtype bfloat16"):
        export(str(tmp_path / "model"), tmp_path / "out", "float16")
    assert names(tmp_path) == {"model"}


# What is written


def test_the_model_is_alone(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    export(str(run), out)
    assert names(out) == MODEL_FILES
    assert json.loads((out / "generation_config.json").read_text(encoding="utf-8"))["stop_strings"] == [*STOP]
    told = record(out)
    assert told["run"] == {"folder": "moved", "recipe": "r1_zero", "scale": "tiny", "seed": 0}
    assert (told["stage"], told["step"], told["dtype"]) == ("zero", 2, "bfloat16")
    assert told["weights"] == weights_digest(final(run))


def test_a_model_of_no_run_is_exported_too(tmp_path: Path) -> None:
    export("base", tmp_path / "out")
    assert names(tmp_path / "out") == MODEL_FILES - {"chat_template.jinja"} | names(BUILT_IN) & {"chat_template.jinja"}
    assert record(tmp_path / "out")["run"] is None
    assert read_model(tmp_path / "out")[0].config == read_model(BUILT_IN)[0].config


def test_a_run_with_adapters_is_exported_with_them_merged(start: Path, further: Path, tmp_path: Path) -> None:
    export(str(further), tmp_path / "out", "float32")
    folders = (start, final(further), tmp_path / "out")
    before, merged, exported = (read_model(folder)[0].state_dict() for folder in folders)
    assert exported.keys() == before.keys()
    assert all(torch.equal(exported[name], merged[name]) for name in exported)


@torch.no_grad()
def logits(policy: Transformer, tokens_BT: Tensor) -> Tensor:
    layout = rows(tokens_BT)
    hidden_ND = policy(layout.tokens_N, layout.positions_N, layout)
    logits_BTV: Tensor = (hidden_ND @ policy.head_VD.T).view(*tokens_BT.shape, -1)
    return logits_BTV


@pytest.mark.full
@torch.no_grad()
def test_transformers_reads_it_with_the_same_logits(run: Path, tmp_path: Path) -> None:
    """In bfloat16 both round, each in its own order: the same weights have the same logits where nothing is rounded."""
    export(str(run), tmp_path / "out")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    ours, tokenizer = read_model(tmp_path / "out", dtype="auto")
    assert theirs.dtype == ours.head_VD.dtype == torch.bfloat16
    weights = dict(ours.named_parameters())
    assert all(torch.equal(weights[name], weight) for name, weight in theirs.named_parameters())

    prompt = r1("compute 3 + 4")
    tokens_BT = tokenizer.encode_prompt(prompt)[None]
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out")(prompt)["input_ids"] == tokens_BT[0].tolist()
    rounded = [theirs(tokens_BT).logits, logits(ours, tokens_BT)]
    exact = [theirs.float()(tokens_BT).logits, logits(ours.float(), tokens_BT)]
    torch.testing.assert_close(exact[0], exact[1], rtol=0, atol=1e-5)
    errors = [float((each - exact[0]).abs().max()) for each in rounded]
    assert errors[1] < 2 * errors[0] < 0.5


def test_it_is_evaluated_and_sampled_as_the_run_is(run: Path, tmp_path: Path) -> None:
    export(str(run), tmp_path / "out", "float32")
    reports = [
        evaluate_order(EvaluationOrder(model=str(name), config=LOOK, seed=0)) for name in (run, tmp_path / "out")
    ]
    assert reports[0][0].rows == reports[1][0].rows
    assert "responses end at '<answer>'" in reports[1][1]
    decoding = Decoding(max_new_tokens=8)
    texts = [
        sample_once(SampleOrder(model=str(name), prompt="<think>", decoding=decoding, seed=0))
        for name in (run, tmp_path / "out")
    ]
    assert texts[0] == texts[1]


@pytest.mark.full
def test_a_reward_model_is_exported(tmp_path: Path) -> None:
    tokenizer = world_tokenizer()
    policy = tiny_policy(tiny_config(vocab_size=tokenizer.vocab_size))
    model = from_policy(policy, reads="summary", generator=torch.Generator().manual_seed(0))
    write_checkpoint(tmp_path / "model", model, tokenizer, state={})
    export(str(tmp_path / "model"), tmp_path / "out", "bfloat16")
    assert "reward_model.json" in names(tmp_path / "out")
    ours, _ = read_scorer(tmp_path / "out", dtype=torch.bfloat16)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", dtype="auto")
    assert ours.reads == "summary"
    assert torch.equal(theirs.score.weight, ours.score.weight)


# What is refused


def test_a_folder_with_something_in_it_is_left_as_it_is(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    for occupied in (out, out / "notes.txt", run, final(run)):
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        with pytest.raises(ValueError, match=rf"^--out {occupied} is not empty: name a new folder$"):
            export(str(run), occupied)
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_an_empty_folder_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    export("base", Path("."))
    assert "model.safetensors" in names(tmp_path / "out")
    assert names(tmp_path) == {"out"}


def test_what_is_no_model_is_refused(run: Path, tmp_path: Path) -> None:
    (run / "result.json").unlink()
    cases = {
        tmp_path / "none": "no model folder at",
        run / "stages": "has no model.safetensors: it is not a model folder",
        run: r"moved is a run without a result so far: name one of its models, such as \S+moved/stages/zero/final$",
    }
    for name, complaint in cases.items():
        with pytest.raises(ValueError, match=complaint):
            export(str(name), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_without_any_model_says_so(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"is a run without a result so far, and holds no model yet$"):
        open_base(tmp_path)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["os.replace", "os.fsync", "aha.training.checkpoint.write_tokenizer"])
def test_what_is_interrupted_leaves_nothing_behind(
    error: BaseException, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(step, fail)
        with pytest.raises(type(error)):
            export("base", tmp_path / "out")
    assert names(tmp_path) == set()


def test_what_a_kill_left_half_written_is_no_model_and_goes_with_the_next_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_written = tmp_path / "half-written"

    def keep_and_fail(_: object, folder: Path) -> None:
        assert folder.name == ".out.part"
        shutil.copytree(folder, half_written)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("aha.training.checkpoint.write_tokenizer", keep_and_fail)
        with pytest.raises(KeyboardInterrupt):
            export("base", tmp_path / "out")
    half_written.rename(tmp_path / ".out.part")
    export("base", tmp_path / "out")
    assert names(tmp_path) == {"out"}
    assert names(tmp_path / "out") >= MODEL_FILES - {"chat_template.jinja"}


def test_starts_are_recorded_once_and_only_where_there_are_some(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    record_starts(folder, [])
    assert not list(tmp_path.iterdir())

    folder.write(STARTS, {"an earlier start": "float16"})
    record_starts(folder, [Checkpoint(path=tmp_path / "nowhere", stage="", step=0, key="another")])
    assert folder.read(STARTS) == {"an earlier start": "float16"}
