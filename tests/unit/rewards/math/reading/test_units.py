"""Words after a number: what they multiply it by, and which unit they name."""

import pytest

from aha.rewards.verifier import MathVerifier

SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
"""Zeros of each word."""


@pytest.mark.parametrize("word", SCALES)
def test_a_word_of_scale_multiplies_by_a_power_of_ten(word: str) -> None:
    verifier, zeros = MathVerifier(), SCALES[word]
    assert verifier.compare("7" + "0" * zeros, f"7 {word}").kind == "correct"
    assert verifier.compare(f"7 {word}", "7" + "0" * zeros).kind == "correct"
    for other in ("7", "7" + "0" * (zeros - 1), "7" + "0" * (zeros + 1), "6" + "9" * zeros):
        assert verifier.compare(other, f"7 {word}").kind == "wrong", other


def test_a_dozen_is_twelve() -> None:
    assert [MathVerifier().compare(str(number), "3 dozen").kind for number in (35, 36, 37)] == [
        "wrong",
        "correct",
        "wrong",
    ]


def test_powers_of_units_are_words_or_numbers() -> None:
    for gold, answer, kind in [
        ("5 cm^2", "5 square cm", "correct"),
        ("5 cm^2", "5 cm squared", "correct"),
        ("5 cm^2", "5 sq centimeters", "correct"),
        ("5 cm^3", "5 cubic centimetres", "correct"),
        ("5 cm^3", "5 cu cm", "correct"),
        ("5 cm^3", "5 cm cubed", "correct"),
        ("5 cm^3", "5 square cm", "wrong"),
        ("5 cm^2", "5 cubic cm", "wrong"),
        ("5 cm^2", "5 square ft", "wrong"),
        ("5 cm^2", "5 cm", "wrong"),
    ]:
        assert MathVerifier().compare(gold, answer).kind == kind, (gold, answer, kind)
