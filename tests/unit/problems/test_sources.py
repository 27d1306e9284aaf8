"""Problems by address."""

import json
from pathlib import Path

import pytest

from aha.problems.sources import open_problems, open_splits


def test_a_path_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"q": "Capital?", "a": "Paris"}) + "\n{\n")
    found = open_problems(str(path), mapping="question=q,answer=a", on_bad="skip", format="auto")
    assert ([problem.answer for problem in found], found.num_faults) == (["Paris"], 1)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("hub:openai/gsm8k", r"write hub:NAME\[@REVISION\]:FILES"),
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
