"""Problems by address."""

import json
from pathlib import Path

import pytest

from aha.problems.sources import open_problems


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
