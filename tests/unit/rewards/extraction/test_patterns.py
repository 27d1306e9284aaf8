"""The last match of a pattern is the answer, whatever the pattern and the text are."""

import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.rewards.extraction.patterns import MAX_CHARS, compile_pattern


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"(?i)answer\s*[:=]\s*(-?[\d,]+(?:\.\d+)?)", "Answer: 7. No, the ANSWER = -1,234.5.", "-1,234.5"),
        (r"####\s*(.+)", "so\n#### 18\n", "18"),
        (r"\d+", "7 and 18", "18"),
        (r"答案是(\d+)", "答案是42。", "42"),
        (r"x\{2\}|y", "x{2}", "x{2}"),
        (r"(?:a|(b))c", "bc ac", None),
        (r"(\d)(\d)", "12 34", "3"),
        (r"\d+", "none", None),
        (r"\d+", "", None),
    ],
)
def test_the_last_match_counts_or_its_first_group(pattern: str, text: str, found: str | None) -> None:
    assert compile_pattern(pattern).last_match(text) == found


@given(text=st.text(alphabet="ab1. \nA]{é答\ud800", max_size=30))
def test_a_text_may_hold_anything(text: str) -> None:
    found = compile_pattern(r"[ab]+1?").last_match(text)
    matches = re.findall(r"[ab]+1?", text)
    assert found == (matches[-1] if matches else None)


@pytest.mark.parametrize("pattern", ["(a|a)*b", "(a+)+b", "(?:a|aa)+$b", ".*.*.*.*.*x", "a[^b]*b"])
def test_a_pattern_that_would_keep_re_busy_for_ever_ends(pattern: str) -> None:
    assert compile_pattern(pattern).last_match("a" * 100_000) is None


def test_the_end_of_a_long_text_is_searched() -> None:
    pattern = compile_pattern(r"x1*")
    near = "x" + "1" * (MAX_CHARS - 1)
    assert pattern.last_match(near) == near
    assert pattern.last_match(f"{near} ") is None


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("(", r"cannot be searched for: missing \)"),
        ("[", "cannot be searched for: missing ]"),
        ("*a", "cannot be searched for: no argument for repetition"),
        (r"(a)\1", "cannot be searched for: invalid escape"),
        ("a(?=b)", r"cannot be searched for: invalid perl operator: \(\?="),
        ("(?<!b)a", "cannot be searched for: invalid"),
        ("", "matches the empty text, which is no answer"),
        ("a*", "matches the empty text"),
        ("x|$", "matches the empty text"),
        ("a{1000000}", "cannot be searched for: invalid repetition size"),
        ("(?:(?:a{50}){50}){50}", "cannot be searched for: invalid repetition size"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_with_the_reason(pattern: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        compile_pattern(pattern)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(ValueError, match=r"extra `regex`: pip install 'aha\[regex\]'"):
        compile_pattern("a")
