"""What a user types wrong, or finds broken, costs one clear message and nothing else; `--json` is for programs."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from command import ROOT, Call, assert_fails, executable, one_object

from aha.commands.doctor import DOCTOR_METRICS
from aha.engines.engine import Decoding, Request, sample
from aha.engines.local import LocalEngine
from aha.kernels.cpu.compiled import SWITCH, kernels_in_use
from aha.policy.pretrained import read_config, read_policy
from aha.prompts.pretrained import read_tokenizer
from aha.recipes.base_model import BUILT_IN, open_base
from aha.recipes.catalogue import RECIPES
from aha.recipes.scales import R1_ZERO_SCALES
from aha.runs.folder import RunFolder
from aha.stages.evaluate import EVALUATION_METRICS
from aha.training.checkpoint import MANIFEST, weights_digest

MountDisk = Callable[[str], Path]

COMMANDS = ("run", "doctor", "audit", "bench", "pretrain", "eval", "sample", "export", "report", "list")
SCRIBBLE = ["--pretrain.drill-tokens=64", "--pretrain.problem-tokens=64", "--pretrain.batch-tokens=64"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder to do harm to."""
    return Path(shutil.copytree(BUILT_IN, tmp_path / "model"))


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, and what is in them."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# Help and JSON


@pytest.mark.full
@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=" ".join)
def test_every_command_has_help(command: tuple[str, ...], call: Call) -> None:
    ended = call(*command, "--help")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith(" ".join(("usage: aha", *command[:1])))
    if not command:
        assert [name for name in COMMANDS if not re.search(rf"^\W*{name} +[A-Z]", ended.out, re.MULTILINE)] == []


@pytest.mark.full
def test_help_tells_the_defaults_of_the_scale_that_is_named(call: Call) -> None:
    shown = call("run", "r1_zero", "--scale=paper", "--help").out
    assert "(default: 65536)" in shown
    assert "(default: 128)" not in shown


def test_list_as_json(call: Call) -> None:
    listed = one_object(call("list", "--json"))
    assert list(listed["recipes"]) == [recipe.name for recipe in RECIPES]
    assert listed["scales"] == ["tiny", "small", "gpu", "paper"]


def test_eval_as_json(call: Call) -> None:
    evaluated = one_object(
        call("eval", "base", "--problems", 2, "--samples", 2, "--max-new-tokens", 12, "--seed", 5, "--json")
    )
    assert set(evaluated) == {"rows", "checkpoint", "decoding", "seed", "weights", "template"}
    assert evaluated["weights"] == weights_digest(BUILT_IN)
    assert evaluated["seed"] == 5
    assert evaluated["decoding"]["max_new_tokens"] == 12
    overall = {row["metric"]: row for row in evaluated["rows"] if row["suite"] == "all"}
    expected = {name.replace("@k", "@2") for name in EVALUATION_METRICS}
    # Only programs can be of a form that cannot be judged.
    assert expected - {"unsupported"} == set(overall)
    assert all(row["n"] == 2 for row in overall.values())


@pytest.mark.full
def test_an_evaluation_is_the_same_by_several_processes(call: Call) -> None:
    words = ("eval", "base", "--problems", 3, "--samples", 4, "--max-new-tokens", 12, "--json", "--processes")
    assert one_object(call(*words, 2)) == one_object(call(*words, 1))
    assert_fails(call(*words, 3), "--samples 4 cannot be shared out evenly by --processes 3")


def test_eval_of_a_suite_of_ones_own_as_json(call: Call, tmp_path: Path) -> None:
    rows = [{"question": f"compute {n} + 2", "answer": str(n + 2)} for n in range(4, 8)]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    given = ("--suite", path, "--problems", 3, "--samples", 2, "--max-new-tokens", 24, "--json")
    evaluated = one_object(call("eval", "base", *given))
    assert {row["n"] for row in evaluated["rows"] if row["suite"] == "all"} == {3}
    assert {row["suite"] for row in evaluated["rows"]} == {"all", "math", "math/0"}

    # Without a cap of its own the suite's is taken, as far as the model has positions.
    *given, _, _, _ = given
    capped = one_object(call("eval", "base", *given[:2], "--problems", 1, "--samples", 2, "--json"))
    positions = read_config(BUILT_IN).max_position_embeddings
    assert 300 < capped["decoding"]["max_new_tokens"] < positions
    assert_fails(call("eval", "base", *given, "--max-new-tokens", positions), "leaves", "lower --max-new-tokens")
    assert_fails(call("eval", "base", "--suite", tmp_path / "none.jsonl"), "is neither a suite", "nor a file")


@pytest.mark.full
def test_the_doctor_as_json(call: Call) -> None:
    told = one_object(call("doctor", "--groups", 2, "--zero.group-size", 16, "--json"))
    assert told["is_fit"] is True
    assert told["findings"] == []
    assert told["figures"]["responses"] == 32
    assert tuple(told["figures"]) == DOCTOR_METRICS


@pytest.mark.full
def test_the_doctor_ends_with_a_status_of_its_own(call: Call) -> None:
    ended = call("doctor", "--groups", 2, "--zero.max-new-tokens", 2)
    assert (ended.status, ended.err) == (1, "")
    assert "fatal: cap-too-short: " in ended.out


@pytest.mark.full
def test_a_run_that_cannot_learn_is_refused_before_it_begins(call: Call, tmp_path: Path) -> None:
    ended = call("run", "r1_zero", "--run", tmp_path / "run", "--zero.max-new-tokens", 2)
    complaint, *responses = ended.err.splitlines(keepends=True)
    assert_fails(
        replace(ended, err=complaint), "this run cannot learn", "cap-too-short", "--force starts it all the same"
    )
    assert sum(line.startswith("response ") for line in responses) == 3
    assert not (tmp_path / "run").exists()


def test_an_audit_as_json(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"gold": "1/2", "answer": "0.5", "correct": true}\n', encoding="utf-8")
    told = one_object(call("audit", path, "--json"))
    assert (told["num_rows"], told["false_negatives"], told["false_positives"]) == (1, 0, 0)
    assert_fails(call("audit", tmp_path / "none.jsonl"), "none.jsonl", "there is no such file")


def test_the_audit_of_a_reward_ends_as_a_script_expects(call: Call, tmp_path: Path) -> None:
    """0 where nothing is wrong, 1 where something is, 2 where there was no audit."""
    mine, rows = tmp_path / "mine.py", tmp_path / "rows.jsonl"
    mine.write_text("def contains(problem, rollout):\n    return float(problem.answer in rollout.text)\n")
    rows.write_text(
        '{"question": "6 * 7", "answer": "42", "response": "it is 42", "correct": true}\n'
        '{"question": "6 * 7", "answer": "42", "response": "not 42", "correct": false}\n'
    )
    words = ("audit", f"{mine}:contains", rows)

    ended = call(*words)
    assert (ended.status, ended.err) == (1, "")
    assert f"{rows}:2: false positive" in ended.out
    told = one_object(call(*words, "--allow", 1, "--json"))
    assert (told["is_fit"], told["false_positives"], told["paid_attacks"]) == (True, 1, 0)
    attacked = call(*words, "--attacks", "--allow", 1, "--json")
    assert (attacked.status, attacked.err) == (1, "")
    assert json.loads(attacked.out)["paid_attacks"] > 1

    rows.write_text('{"question": "6 * 7", "answer": "42"}\n')
    refused = call(*words)
    assert (refused.status, refused.out) == (2, "")
    assert f"{rows}:1: no field 'response'" in refused.err
    assert refused.err.count("\n") == 1


@pytest.mark.full
def test_what_a_reward_prints_is_no_part_of_the_audit(call: Call, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("print('read')\ndef same(problem, rollout):\n    print('called')\n    return 1\n")
    ended = call("audit", f"{mine}:same", "--allow", 1000, "--json")
    assert one_object(ended)["unpaid_honest_answers"] > 0
    assert ended.err.startswith("read\ncalled\n")


def test_the_page_shows_what_the_audit_of_a_reward_says(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (ROOT / "docs" / "own.md").read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("    $ cat mine.py"))
    command = next(number for number, line in enumerate(lines) if line.startswith("    $ aha audit"))
    end = lines.index("", command)
    (tmp_path / "mine.py").write_text("".join(f"{line[4:]}\n" for line in lines[start + 1 : command]))
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)

    ended = call(*lines[command].split()[2:])
    shown = [line[4:] for line in lines[command + 1 : end] if line != "    ..."]
    assert len(shown) > 5
    assert [line for line in shown if line not in ended.out.splitlines()] == []


@pytest.mark.full
def test_a_benchmark_as_json_and_in_words(call: Call) -> None:
    told = one_object(call("bench", "--seconds", 0.1, "--json"))
    assert (told["prompts"], told["threads"], told["rounds"]) == ("built-in world", 1, 1)
    assert told["decoder"] == "plain" or told["decoder"].startswith("compiled (")
    assert list(told["parts"]) == ["generation", "reference", "update"]
    for part in told["parts"].values():
        assert set(part) == {"seconds", "tokens", "tokens_per_second", "gflops", "share_of_ceiling"}
        assert 0 < part["share_of_ceiling"] < 1
    ended = call("bench", "base", "--seconds", 0.1)
    assert (ended.status, ended.err) == (0, "")
    for text in ("488,128 parameters on cpu, 1 thread", "fastest matrix product", "generation", "memory: "):
        assert text in ended.out


def test_an_exported_model_is_sampled_as_the_model_is(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported = one_object(call("export", "base", "--out", out, "--json"))
    assert (exported["model"], exported["dtype"], exported["run"]) == (str(out), "float32", None)
    words = ("--prompt", "compute 3 + 4", "--max-new-tokens", 8, "--json")
    assert one_object(call("sample", out, *words)) == one_object(call("sample", "base", *words))
    assert call("export", "base", "--out", tmp_path / "half", "--dtype", "bfloat16").out.endswith("half (bfloat16)\n")

    assert_fails(call("export", "base", "--out", out), f"--out {out} is not empty", "name a new folder")
    assert_fails(call("export", tmp_path, "--out", tmp_path / "new"), "it is not a model folder")
    assert not (tmp_path / "new").exists()


def test_a_sample_as_json_is_the_same_for_the_same_seed(call: Call) -> None:
    words = ("sample", "base", "--question", "compute 3 + 4", "--max-new-tokens", 30, "--json", "--seed")
    first, again, other = (one_object(call(*words, seed)) for seed in (1, 1, 2))
    assert set(first) == {"prompt", "prompt_tokens", "tokens", "text", "thinking", "summary", "finish", "unknown"}
    assert first == again != other
    assert first["prompt_tokens"] == other["prompt_tokens"]
    assert 0 < len(first["tokens"]) <= 30


def test_words_that_the_model_does_not_know_are_named(call: Call) -> None:
    ended = call("sample", "base", "--prompt", "compute heteroscedasticity", "--max-new-tokens", 4, "--json")
    assert one_object(ended)["unknown"] == ["heteroscedasticity"]
    assert ended.err == "aha: the model's vocabulary lacks 'heteroscedasticity'\n"


def test_a_sample_at_temperature_0_is_greedy_decoding(call: Call) -> None:
    prompt = "Question : find two of 7 23 16 18 that make 41 Answer :"
    words = ("sample", BUILT_IN, "--prompt", prompt, "--temperature", 0, "--max-new-tokens", 60, "--json")
    sampled, with_another_seed = (one_object(call(*words, "--seed", seed)) for seed in (0, 1))
    assert sampled == with_another_seed

    policy = read_policy(BUILT_IN)
    tokenizer = read_tokenizer(BUILT_IN, room=policy.config.vocab_size)
    request = Request(id="", prompt=prompt, seed=(), decoding=Decoding(max_new_tokens=60, temperature=0.0))
    [[greedy]] = sample(LocalEngine(policy, tokenizer), [request], 1)
    assert sampled["prompt_tokens"] == greedy.prompt_tokens.tolist()
    assert sampled["tokens"] == greedy.tokens.tolist()
    assert sampled["text"] == greedy.text
    assert len(sampled["tokens"]) > 2


@pytest.mark.full
def test_pretraining_by_two_processes_as_json(tmp_path: Path, call: Call) -> None:
    out = tmp_path / "base"
    made = one_object(call("pretrain", "--run", tmp_path / "run", "--out", out, *SCRIBBLE, "--processes", 2, "--json"))
    assert made == {"model": str(out)}
    provenance = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
    assert (provenance["seed"], provenance["updates"]) == (0, 2)
    assert len(one_object(call("sample", out, "--prompt", "hello", "--max-new-tokens", 3, "--json"))["tokens"]) == 3


@pytest.mark.full
def test_a_reader_who_has_left_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with (tmp_path / "err").open("w+") as err:
        status = subprocess.run([executable(), "list"], stdout=writing, stderr=err, check=False).returncode
        os.close(writing)
        err.seek(0)
        assert (status, err.read()) == (1, "")


# Wrong use


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        ("", ["subcommand", "run, doctor, audit, bench, pretrain, eval, sample, export, report, list"]),
        ("train", ["Unrecognized options: train"]),
        ("run", ["{r1_zero,r1_zero_control,r1,sft,distill,rejection,reward_model,base}"]),
        ("run r2_zero", ["'r2_zero'", "recipe"]),
        ("run r1_zero --scale huge", ["'huge'", "--scale", "'tiny'", "'paper'"]),
        ("run r1_zero --clip-eps 0.1", ["--clip-eps"]),
        ("run r1_zero --seed one", ["--seed", "'one'"]),
        ("run r1_zero --zero.group-size many", ["--zero.group-size", "'many'"]),
        (
            "run r1_zero --zero.group-size 1",
            ["--zero.group-size: input should be greater than or equal to 2 (given: 1)"],
        ),
        (
            "run r1_zero --zero.algorithm.kl-coef nan",
            ["--zero.algorithm.kl-coef: input should be a finite number (given: nan)"],
        ),
        ("run r1_zero --processes 3", ["--zero.group-size: 16 cannot be shared out evenly by --processes 3"]),
        ("run r1_zero --processes 0", ["--processes: input should be greater than or equal to 1 (given: 0)"]),
        ("pretrain --pretrain.hidden-size 100", ["--pretrain.hidden-size", "multiple of 16 (given: 100)"]),
        ("pretrain --scale tiny", ["--scale"]),
        ("eval", ["MODEL"]),
        ("bench base --threads 0", ["--threads must be at least 1"]),
        ("bench base --seconds 0", ["--seconds above 0 (given: 1 and 0.0)"]),
        ("audit", ["PATH"]),
        ("audit mine.py", ["mine.py: write FILE.py:FUNCTION or MODULE:FUNCTION"]),
        ("audit mine.py:f", ["there is no file mine.py"]),
        ("audit accuracy none.jsonl", ["none.jsonl: there is no such file"]),
        ("audit rows.jsonl --attacks", ["rows.jsonl names no reward function: write FILE.py:FUNCTION"]),
        ("audit accuracy --code", ["--code", "are for a file of code, not for a reward"]),
        ("audit accuracy --allow -1", ["--allow must be at least 0", "(given: -1 and 0.5)"]),
        ("audit accuracy --threshold nan", ["--threshold a finite number"]),
        ("audit accuracy --beside math=x", ["math=x: 'x' is no weight"]),
        ("run r1_zero --config no.toml", ["no.toml cannot be read", "--config takes a TOML file"]),
        ("run r1_zero --bad-rows maybe", ["'maybe'", "--bad-rows", "'stop', 'skip'"]),
        ("eval base --split train", ["'train'", "--split"]),
        ("eval base --samples 0", ["--samples: input should be greater than or equal to 1 (given: 0)"]),
        ("sample base", ["either --prompt", "or --question"]),
        ("sample base --prompt a --question b", ["either --prompt", "or --question"]),
        ("sample base --prompt a --temperature -1", ["--temperature: input should be", "(given: -1.0)"]),
        ("sample base --prompt a --top-p 1.5", ["--top-p: input should be less than or equal to 1 (given: 1.5)"]),
        ("sample base --prompt a --max-new-tokens 0", ["--max-new-tokens: input should be", "(given: 0)"]),
        ("export base", ["--out"]),
        ("export base --out there --dtype int8", ["'int8'", "--dtype"]),
        ("report", ["PATH"]),
    ],
)
def test_wrong_use_is_told_and_changes_nothing(
    words: str, texts: list[str], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = call(*words.split())
    assert (ended.status, ended.out) == (2, "")
    without_frame = " ".join(ended.err.translate({ord(sign): " " for sign in "│╭╮╰╯─"}).split())
    assert [text for text in texts if text not in without_frame] == []
    assert not list(tmp_path.iterdir())


# Models that cannot be used


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "half the weights": ("model.safetensors", halve),
    "no weights": ("model.safetensors", Path.unlink),
    "empty weights": ("model.safetensors", lambda path: os.truncate(path, 0)),
    "no tokenizer": ("tokenizer.json", Path.unlink),
    "half a tokenizer": ("tokenizer.json", halve),
    "no config": ("config.json", Path.unlink),
    "a broken config": ("config.json", lambda path: path.write_text('{"model_type": ')),
    "a config that is no object": ("config.json", lambda path: path.write_text("[]")),
    "special tokens that are no object": ("tokenizer_config.json", lambda path: path.write_text("[]")),
}
"""What happens to a file. One flipped bit, too, but only checksums can tell."""


@pytest.mark.parametrize(
    ("damage", "command"),
    [
        *((damage, "sample") for damage in DAMAGE.values()),
        *((("model.safetensors", flip), command) for command in ("sample", "eval", "run")),
    ],
    ids=[*DAMAGE, *(f"one flipped bit, {command}" for command in ("sample", "eval", "run"))],
)
def test_a_damaged_checkpoint_is_refused(
    damage: tuple[str, Callable[[Path], None]], command: str, model: Path, call: Call
) -> None:
    name, harm = damage
    harm(model / name)
    before = contents(model.parent)
    arguments: dict[str, list[object]] = {
        "sample": ["sample", model, "--prompt", "hello"],
        "eval": ["eval", model, "--problems", 1],
        "run": ["run", "r1_zero", "--base", model, "--run", model.parent / "run"],
    }
    assert_fails(call(*arguments[command]), model, name, "the checkpoint is damaged; use an earlier one")
    assert contents(model.parent) == before
    assert not (model.parent / "run").exists()


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_model_from_elsewhere_is_refused(
    damage: tuple[str, Callable[[Path], None]], model: Path, call: Call
) -> None:
    (model / MANIFEST).unlink()
    name, harm = damage
    harm(model / name)
    before = contents(model)
    assert_fails(call("sample", model, "--prompt", "hello"), model, name.split(".")[0].split("_")[0])
    assert contents(model) == before


@pytest.mark.parametrize(
    "words", [("sample", "{}", "--prompt", "a"), ("eval", "{}"), ("run", "r1_zero", "--base", "{}", "--run", "run")]
)
def test_a_model_folder_that_is_not_there(
    words: tuple[str, ...], tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("text")
    for missing in (tmp_path / "nowhere", tmp_path / "file"):
        assert_fails(call(*(word.format(missing) for word in words)), f"no model folder at {missing}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.full
def test_a_scale_that_is_too_large_for_the_model(tmp_path: Path, call: Call) -> None:
    failed = call("run", "r1_zero", "--scale", "paper", "--run", tmp_path / "run", "--json", "--force")
    assert_fails(failed, "1,024 positions of the model", "lower --longer.max-new-tokens to ")


# Run folders that cannot be used


@pytest.fixture
def claimed(tmp_path: Path) -> Iterator[RunFolder]:
    """The folder of a run of seed 5 at the scale `tiny`, which has just begun and is still going on."""
    folder = RunFolder(tmp_path / "run")
    config = {**R1_ZERO_SCALES["tiny"].model_dump(), "start": open_base().key}
    folder.claim({"recipe": "r1_zero", "scale": "tiny", "seed": 5, "config": config})
    yield folder
    folder.release()


def test_a_run_folder_in_use(claimed: RunFolder, call: Call) -> None:
    before = contents(claimed.path)
    assert_fails(call("run", "r1_zero", "--seed", 5, "--run", claimed.path), claimed.path, "in use by another process")
    assert_fails(call("pretrain", "--fresh", "--run", claimed.path), claimed.path, "in use by another process")
    assert contents(claimed.path) == before


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        ("run r1_zero --seed 6", "seed: 5 -> 6"),
        ("run r1_zero --seed 5 --zero.algorithm.kl-coef 0.5", "config.zero.algorithm.kl_coef: 0.001 -> 0.5"),
        ("run r1_zero_control --seed 5", "recipe: r1_zero -> r1_zero_control"),
        ("run r1_zero --seed 5 --scale paper", "scale: tiny -> paper"),
        ("pretrain --seed 5", "recipe: r1_zero -> base"),
    ],
)
def test_a_run_folder_of_another_run(words: str, difference: str, claimed: RunFolder, call: Call) -> None:
    claimed.release()
    before = contents(claimed.path)
    ended = call(*words.split(), "--run", claimed.path)
    assert_fails(ended, f"{claimed.path} holds a run with other settings", difference, "--run", "--fresh")
    assert contents(claimed.path) == before


def test_a_run_folder_of_another_model(claimed: RunFolder, model: Path, call: Call) -> None:
    claimed.release()
    flip(model / "model.safetensors")
    (model / MANIFEST).unlink()
    before = contents(claimed.path)
    ended = call("run", "r1_zero", "--seed", 5, "--base", model, "--run", claimed.path)
    assert_fails(ended, claimed.path, f"config.start: {open_base().key} -> {open_base(model).key}")
    assert contents(claimed.path) == before


def test_a_run_folder_of_another_instruction_set(tmp_path: Path, call: Call) -> None:
    """Each adds up in an order of its own: a run that went on with another would have other bits than one without."""
    ours = kernels_in_use()
    other = "avx2" if ours != "avx2" else "avx512"
    config = {**R1_ZERO_SCALES["tiny"].model_dump(), "start": open_base().key}
    folder = RunFolder(tmp_path / "run")
    folder.claim({"recipe": "r1_zero", "scale": "tiny", "seed": 0, "config": {**config, SWITCH: other}})
    folder.release()
    before = contents(folder.path)
    ended = call("run", "r1_zero", "--run", folder.path)
    assert_fails(ended, f"other settings (config.AHA_KERNELS: {other} -> {ours})", "--run", "--fresh")
    assert contents(folder.path) == before


def test_a_run_folder_that_is_something_else(tmp_path: Path, call: Call) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("years of work")
    before = contents(tmp_path)
    assert_fails(call("pretrain", "--run", tmp_path / "file"), f"{tmp_path / 'file'} is a file")
    assert_fails(call("pretrain", "--run", tmp_path / "file" / "below"), tmp_path / "file" / "below")
    for words in ([], ["--fresh"]):
        ended = call("pretrain", *words, "--run", tmp_path / "folder")
        assert_fails(ended, f"{tmp_path / 'folder'} is not empty and holds no run (thesis.tex)")
    assert {path: text for path, text in contents(tmp_path).items() if not path.endswith(".lock")} == before


def test_a_report_of_nothing(tmp_path: Path, call: Call) -> None:
    (tmp_path / "file").write_text("text")
    for path in (tmp_path / "nowhere", tmp_path / "file", tmp_path):
        assert_fails(call("report", path), f"{path} is no run folder")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_written(mount_disk: MountDisk, call: Call) -> None:
    disk = mount_disk("size=4m")
    shutil.copytree(BUILT_IN, disk / "model")
    mount_disk("ro")
    before = contents(disk)
    assert_fails(call("pretrain", "--run", disk / "run"), "Read-only file system", disk / "run")
    assert one_object(call("sample", disk / "model", "--prompt", "hello", "--max-new-tokens", 2, "--json"))["tokens"]
    assert contents(disk) == before
