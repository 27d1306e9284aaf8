"""Votes of answers that no reader understands."""

import pytest

from aha.rewards import answers
from aha.rewards.answers import readable_value, votes


def boxed(*texts: str) -> list[str]:
    return [rf"<think> a </think> \boxed{{{text}}}" for text in texts]


def test_equal_answers_vote_together_and_the_first_gives_the_text() -> None:
    found = votes([*boxed("x + 1", "1 + x", "7.0", "7"), "no answer", *boxed("x + 2")])
    assert found[0] == found[1] is not None
    assert found[2] == found[3] == "7"
    assert found[4] is None
    assert found[5] not in found[:5]


@pytest.mark.parametrize("fault", [KeyError("a fault"), RecursionError("deep"), MemoryError()])
def test_a_fault_of_the_reader_costs_one_answer_alone(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be read votes by its text."""
    read = answers.read

    def faulty(text: str) -> object:
        if "8" in text:
            raise fault
        return read(text)

    monkeypatch.setattr(answers, "read", faulty)
    assert (readable_value("8"), readable_value("7") is None) == (None, False)
    assert votes(boxed("7", "8", "7.0", "8", r"8\,")) == ["7", "8", "7", "8", "8"]
