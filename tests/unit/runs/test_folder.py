"""A run folder belongs to one run, is never half written, and forgets exactly what will be done again."""

import gzip
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from house_rules import ROOT

from aha.runs.folder import RunFolder, as_json, differences, naming, write_atomically

DESCRIBED = {
    "recipe": "r1_zero",
    "scale": "tiny",
    "seed": 0,
    "config": {"rl": {"iterations": 3, "families": ("pair", "linear")}, "start": None},
    "provenance": {"revision": "abc"},
    "started": "2025-01-01",
}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    """A claimed run folder."""
    folder = RunFolder(tmp_path / "run")
    folder.claim(DESCRIBED)
    yield folder
    folder.release()


def claim_again(folder: RunFolder, *, fresh: bool = False, **changes: object) -> None:
    """What a second command for the same folder does, once the first has ended."""
    folder.release()
    again = RunFolder(folder.path)
    try:
        again.claim({**DESCRIBED, **changes}, fresh=fresh)
    finally:
        again.release()


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# Claiming


def test_a_new_folder_says_whose_it_is(folder: RunFolder) -> None:
    written = json.loads((folder.path / "run.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(DESCRIBED))


def test_the_same_run_may_go_on_in_its_folder(folder: RunFolder) -> None:
    before = (folder.path / "run.json").read_bytes()
    claim_again(folder, provenance={"revision": "def"}, started="2025-02-02")
    assert (folder.path / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, r"seed: 0 -> 1"),
        ({"scale": "small"}, r"scale: tiny -> small"),
        ({"recipe": "r1"}, r"recipe: r1_zero -> r1"),
        (
            {"config": {"rl": {"iterations": 4, "families": ["pair", "linear"]}, "start": None}},
            r"config\.rl\.iterations: 3 -> 4",
        ),
        (
            {"config": {"rl": {"iterations": 3, "families": ["pair"]}, "start": None}},
            r"config\.rl\.families: \['pair', 'linear'\] -> \['pair'\]",
        ),
        ({"config": {"rl": None, "start": None, "new": 5}}, r"config\.new: None -> 5; config\.rl: .* -> None"),
    ],
)
def test_another_run_is_refused_and_told_what_differs(
    folder: RunFolder, changes: dict[str, object], named: str
) -> None:
    with pytest.raises(ValueError, match=rf"holds a run with other settings \({named}\): name another folder"):
        claim_again(folder, **changes)


def test_the_larger_difference_is_told_first(folder: RunFolder) -> None:
    with pytest.raises(
        ValueError, match=r"\(recipe: r1_zero -> r1; seed: 0 -> 1; config\.other: None -> 1; config\.rl: "
    ):
        claim_again(folder, recipe="r1", seed=1, config={"other": 1})


def test_a_folder_that_was_refused_is_not_held(folder: RunFolder) -> None:
    folder.release()
    other = RunFolder(folder.path)
    with pytest.raises(ValueError, match="holds a run with other settings"):
        other.claim({**DESCRIBED, "seed": 1})
    claim_again(folder)


def test_differences_are_found_at_any_depth() -> None:
    before = {"a": 1, "b": {"c": {"d": 2, "same": 0}}, "gone": 3}
    now = {"a": 1, "b": {"c": {"d": 5, "same": 0}}, "new": [4]}
    assert differences(before, now) == ["b.c.d: 2 -> 5", "gone: 3 -> None", "new: None -> [4]"]
    assert differences(before, before) == []


def test_a_folder_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    for fresh in (False, True):
        folder = RunFolder(tmp_path)
        with pytest.raises(ValueError, match=r"is not empty and holds no run \(thesis\.tex\)"):
            folder.claim(DESCRIBED, fresh=fresh)
        folder.release()
    assert (tmp_path / "thesis.tex").exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(ValueError, match="is a file: name a folder with --run"):
        RunFolder(tmp_path / "run").claim(DESCRIBED)


@pytest.mark.parametrize("content", [b"", b'{"recipe": "r1', b"[1]", b"\xff\xfe"])
def test_a_damaged_record_is_no_riddle(folder: RunFolder, content: bytes) -> None:
    (folder.path / "run.json").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"run\.json is damaged: name another folder with --run, or start over with --fresh"
    ):
        claim_again(folder)
    claim_again(folder, fresh=True)
    assert json.loads((folder.path / "run.json").read_text(encoding="utf-8"))["recipe"] == "r1_zero"


def test_fresh_throws_an_earlier_run_away(folder: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    folder.append("metrics", {"stage": "zero"})
    folder.write("stages/zero/state.json", {})
    (folder.path / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    claim_again(folder, fresh=True, seed=1)
    assert sorted(path.name for path in folder.path.iterdir()) == [".lock", "run.json"]
    assert json.loads((folder.path / "run.json").read_text(encoding="utf-8"))["seed"] == 1
    assert (tmp_path / "elsewhere" / "kept").exists()


def test_a_folder_in_use_is_refused(folder: RunFolder) -> None:
    code = (
        "import sys; from pathlib import Path; from aha.runs.folder import RunFolder\n"
        "try: RunFolder(Path(sys.argv[1])).claim({})\n"
        "except ValueError as error: sys.exit(str(error))"
    )
    command = [sys.executable, "-c", code, str(folder.path)]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert second.stderr.strip() == (
        f"{folder.path} is in use by another process: wait for it, or name another folder with --run"
    )
    other = RunFolder(folder.path)
    with pytest.raises(ValueError, match="in use"):
        other.claim(DESCRIBED, fresh=True)
    folder.append("metrics", {"the first": "writes on"})
    folder.release()
    third = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "holds a run with other settings" in third.stderr


def test_a_process_that_was_killed_no_longer_uses_its_folder(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from aha.runs.folder import RunFolder\n"
        "folder = RunFolder(Path(sys.argv[1])); folder.claim({'recipe': 'r1_zero'}); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], cwd=ROOT, check=False)
    folder = RunFolder(tmp_path / "run")
    folder.claim({"recipe": "r1_zero"})
    folder.release()
    assert (tmp_path / "run" / "run.json").exists()


def test_a_process_that_does_not_write_leaves_no_trace(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", is_writer=False)
    folder.claim(DESCRIBED)
    folder.append("metrics", {})
    folder.write("result.json", {})
    folder.write_rollouts("zero-000000", [{}])
    folder.rewind("zero", 0)
    assert not (tmp_path / "run").exists()
    assert folder.read("result.json") is None


# Logging


def log(folder: RunFolder) -> None:
    """Two stages that have logged three and two iterations, and an evaluation."""
    for stage, count in (("cold", 2), ("zero", 3)):
        for iteration in range(count):
            folder.append("metrics", {"stage": stage, "iteration": iteration, "note": "等 \u2028 \x85"})
            folder.write_rollouts(f"{stage}-{iteration:06d}", [{"text": "对"}])
    folder.append("evaluations", {"stage": "evaluation-start", "iteration": 0, "name": "start"})
    folder.append("evaluations", {"stage": "zero", "iteration": 2, "name": "validation"})
    folder.write_rollouts("evaluation-start", [{}])
    folder.write_rollouts("zero-longer-000001", [{}])


def logged(folder: RunFolder, name: str) -> list[tuple[object, object]]:
    return [
        (line["stage"], line["iteration"])
        for line in map(json.loads, (folder.path / name).read_bytes().split(b"\n")[:-1])
    ]


def test_rewinding_forgets_what_comes_again_and_nothing_else(folder: RunFolder) -> None:
    log(folder)
    folder.rewind("zero", 1)
    assert logged(folder, "metrics.jsonl") == [("cold", 0), ("cold", 1), ("zero", 0)]
    assert logged(folder, "evaluations.jsonl") == [("evaluation-start", 0)]
    assert sorted(path.name.removesuffix(".jsonl.gz") for path in (folder.path / "rollouts").iterdir()) == [
        "cold-000000",
        "cold-000001",
        "evaluation-start",
        "zero-000000",
        "zero-longer-000001",
    ]
    before = (folder.path / "metrics.jsonl").read_bytes()
    folder.rewind("zero", 1)
    assert (folder.path / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("torn", [b'{"stage": "cold", "iter', b'{"stage": "\xe7\xad', b"\x00\x00\x00", b"17", b"\n"])
def test_rewinding_drops_a_torn_line(folder: RunFolder, torn: bytes) -> None:
    log(folder)
    with (folder.path / "metrics.jsonl").open("ab") as file:
        file.write(torn)
    folder.rewind("zero", 2)
    folder.append("metrics", {"stage": "zero", "iteration": 2})
    assert logged(folder, "metrics.jsonl") == [("cold", 0), ("cold", 1), ("zero", 0), ("zero", 1), ("zero", 2)]
    assert "等 \u2028 \x85" in (folder.path / "metrics.jsonl").read_text(encoding="utf-8")


def test_rewinding_an_empty_folder_does_nothing(folder: RunFolder) -> None:
    folder.rewind("zero", 0)
    assert sorted(path.name for path in folder.path.iterdir()) == [".lock", "run.json"]


def test_rollouts_are_gzipped_lines_and_the_same_bytes_for_the_same_rows(folder: RunFolder) -> None:
    rows = [{"text": "try 7 + 23 = 30 ? 41 no 等", "logp": [-0.25], "tokens": [1, 2]}, {"text": "line\nbreak"}]
    folder.write_rollouts("zero-000001", rows)
    folder.write_rollouts("zero-000002", iter(rows))
    first, second = (folder.path / "rollouts" / f"zero-00000{n}.jsonl.gz" for n in (1, 2))
    assert first.read_bytes() == second.read_bytes()
    with gzip.open(first, "rt", encoding="utf-8") as file:
        assert [json.loads(line) for line in file] == rows
    assert sorted(path.name for path in first.parent.iterdir()) == [first.name, second.name]


# Files


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "a.json", "等")
    assert (tmp_path / "a.json").read_bytes() == "等".encode()

    def fail(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_bytes() == "等".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_json_files_are_read_as_they_were_written(folder: RunFolder) -> None:
    folder.write("stages/evaluation-start.json", {"key": "等", "report": {"rows": [0.1]}})
    assert folder.read("stages/evaluation-start.json") == {"key": "等", "report": {"rows": [0.1]}}
    assert folder.read("stages/gone.json") is None
    (folder.path / "torn.json").write_text('{"key": ', encoding="utf-8")
    with pytest.raises(ValueError, match=r"torn\.json is damaged"):
        folder.read("torn.json")


def test_lines_are_appended(folder: RunFolder) -> None:
    folder.append("metrics", {"stage": "zero", "note": "等"})
    folder.append("metrics", {"stage": "zero", "reward": 0.5})
    assert lines(folder.path / "metrics.jsonl") == [{"stage": "zero", "note": "等"}, {"stage": "zero", "reward": 0.5}]


# Words and numbers


def test_a_number_that_is_not_finite_is_null() -> None:
    row = {"high": math.inf, "rows": [{"low": -math.inf}, (math.nan, 1.5, 2, True, None)], "text": "inf 等"}
    assert as_json(row) == '{"high": null, "rows": [{"low": null}, [null, 1.5, 2, true, null]], "text": "inf 等"}'
    assert as_json({"a": 0.1 + 0.2}) == '{"a": 0.30000000000000004}'


def test_all_files_can_be_read_by_anyone(folder: RunFolder) -> None:
    row = {"stage": "end", "high": math.inf}
    folder.append("evaluations", row)
    folder.write("stages/end.json", row)
    folder.write_rollouts("end", [row])
    rollouts = gzip.decompress((folder.path / "rollouts" / "end.jsonl.gz").read_bytes()).decode()
    texts = [(folder.path / name).read_text(encoding="utf-8") for name in ("evaluations.jsonl", "stages/end.json")]
    assert [json.loads(text) for text in (*texts, rollouts)] == [{"stage": "end", "high": None}] * 3


def test_an_error_that_names_no_file_gets_a_name(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match=r"^\[Errno 28\] No space left on device: '.*/target'$") as named,
        naming(tmp_path / "target"),
    ):
        raise OSError(28, "No space left on device")
    assert named.value.errno == 28
    with pytest.raises(FileNotFoundError, match="other"), naming(tmp_path / "target"):
        (tmp_path / "other").read_bytes()
    with pytest.raises(OSError, match=r"^only words$"), naming(tmp_path / "target"):
        raise OSError("only words")
