"""A decoding is checked when it is made."""

import pytest

from aha.engines.engine import Decoding


@pytest.mark.parametrize(
    "illegal",
    [
        {"max_new_tokens": 0},
        {"max_new_tokens": 4, "temperature": -0.1},
        {"max_new_tokens": 4, "top_p": 0.0},
        {"max_new_tokens": 4, "top_p": 1.01},
    ],
)
def test_what_cannot_be_decoded_is_refused(illegal: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"max_new_tokens >= 1, temperature >= 0 and 0 < top_p <= 1 are needed"):
        Decoding(**illegal)  # type: ignore[arg-type]  # floats for an int


def test_the_ends_of_the_ranges_are_allowed() -> None:
    decoding = Decoding(max_new_tokens=1, temperature=0.0, top_p=1.0)
    assert (decoding.max_new_tokens, decoding.temperature, decoding.top_p) == (1, 0.0, 1.0)
