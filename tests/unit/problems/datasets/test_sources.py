"""Problems by address."""

import json
from pathlib import Path

import pytest

from aha.problems.datasets.sources import open_problems, open_splits
from aha.problems.datasets.suites import open_suite


def test_a_path_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"q": "Capital?", "a": "Paris"}) + "\n{\n")
    found = open_problems(str(path), mapping="question=q,answer=a", on_bad="skip", format="auto")
    assert ([problem.answer for problem in found], found.num_faults) == (["Paris"], 1)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("hub:openai/gsm8k:", r"write hub:NAME\[@REVISION\]\[:FILES\]"),
        ("hub::a.jsonl", r"write hub:NAME"),
        ("hub:openai/gsm8k:run.py", "'run.py' names no data files"),
        ("hub:openai/gsm8k:../a.json", "names no data files"),
        ("hub:../gsm8k:a.json", "neither a folder nor a name on the hub"),
        ("gym:", "write gym:FAMILY or gym:FAMILY:NUMBER"),
        ("gym:countdown:x", "write gym:FAMILY"),
        ("gym:n_queens", "'n_queens' has several right answers"),
        ("gym:nothing", "no family 'nothing' of reasoning-gym: take one of acre, aiw"),
        ("gym:gcd:0", "one problem at least, not 0"),
        ("nowhere.jsonl", "nowhere.jsonl does not exist"),
    ],
)
def test_an_address_that_names_nothing_is_refused(address: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        open_problems(address)


def test_a_family_takes_no_mapping() -> None:
    with pytest.raises(ValueError, match="takes neither a format nor a mapping"):
        open_problems("gym:gcd", mapping="question=a")


LINE = '{"question": "What is %s?", "answer": "%s"}\n'


def on_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: tuple[int, ...]) -> None:
    """A cached data set `own/data` of the hub; file names have `/` for `__`. Nothing else can be reached."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    data = folder / "datasets--own--data"
    (data / "refs").mkdir(parents=True)
    (data / "refs" / "main").write_text("0" * 40)
    for name, numbers in files.items():
        path = data / "snapshots" / ("0" * 40) / f"{name.replace('__', '/')}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(LINE % (n, n) for n in numbers))
    (data / "snapshots" / ("0" * 40) / "dataset_infos.json").write_text('{"default": {}}')


PARTS = {"test-1-of-2": (7, 8), "test-0-of-2": (5, 6), "train-0-of-1": (1, 2), "train__extra": (3,)}


@pytest.mark.parametrize("address", ["hub:own/data", "hub:own/data@main", "hub:own/data:*.jsonl"])
def test_all_files_of_the_test_split_of_a_data_set_are_a_suite(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_hub(tmp_path, monkeypatch, **PARTS)
    for text in (address, f"mine={address}"):
        opened = open_suite(text)
        assert [problem.answer for problem in opened.problems] == ["5", "6", "7", "8"]
        assert {problem.split for problem in opened.problems} == {"test"}
    assert "test: 2 files" in opened.problems.says
    assert [problem.answer for problem in open_suite(f"mine={address}", limit=3).problems] == ["5", "6", "7"]


def test_all_files_of_the_training_split_of_a_data_set_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_hub(tmp_path, monkeypatch, **PARTS)
    found = open_splits("hub:own/data")
    assert [problem.answer for problem in found["train"]] == ["3", "1", "2"]
    assert [problem.answer for problem in found["test"]] == ["5", "6", "7", "8"]


def test_a_data_set_of_several_configurations_is_told_how_to_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_hub(tmp_path, monkeypatch, main__test=(1, 2), socratic__test=(1, 2), main__train=(3,), socratic__train=(3,))
    with pytest.raises(ValueError, match=r"several sets of files \(main, socratic\).*hub:own/data:main/\*\.jsonl"):
        open_suite("hub:own/data")
    with pytest.raises(ValueError, match="several sets of files"):
        open_splits("hub:own/data")
    assert [problem.answer for problem in open_suite("hub:own/data:main/*.jsonl").problems] == ["1", "2"]


def test_a_data_set_without_a_test_file_is_no_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_hub(tmp_path, monkeypatch, train=(1, 2), train2=(3,))
    with pytest.raises(ValueError, match="hub:own/data holds no test file, only train"):
        open_suite("hub:own/data")
    assert len(open_suite("hub:own/data:train.jsonl").problems) == 2


def rows_file(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_what_save_to_disk_wrote_is_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    for split, question in (("train", "Capital of France?"), ("test", "Capital of Spain?")):
        (tmp_path / split).mkdir()
        table = pyarrow.table({"question": [question], "answer": ["Paris"]})
        path = tmp_path / split / "data-00000-of-00001.arrow"
        with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        (tmp_path / split / "state.json").write_text("{}")
        (tmp_path / split / "dataset_info.json").write_text("{}")
    (tmp_path / "dataset_dict.json").write_text("{}")
    assert [problem.question for problem in open_problems(str(tmp_path / "train"))] == ["Capital of France?"]
    found = open_splits(str(tmp_path))
    assert {split: [p.question for p in one] for split, one in found.items()} == {
        "train": ["Capital of France?"],
        "test": ["Capital of Spain?"],
    }
