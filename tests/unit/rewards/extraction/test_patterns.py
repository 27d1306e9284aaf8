"""A pattern finds what `re` finds, and takes time in proportion to the text."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aha.rewards.extraction.patterns import MAX_CHARS, MAX_STEPS, Pattern, compile_pattern

ATOMS = (
    "a",
    "b",
    "1",
    ".",
    r"\d",
    "[^a]",
    "[a-b1]",
    r"\w",
    r"\b",
    r"\B",
    "^",
    "$",
    r"\.",
    "[]a]",
    "[^]]",
    r"\x61",
    "{",
)
REPEATS = ("*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{0,2}?", "{2,}", "{,2}")


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Patterns made of smaller ones."""
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
        inner.map(lambda one: f"(?P<name>{one})" if "name" not in one else f"({one})"),
        st.tuples(inner, st.sampled_from(REPEATS)).map(lambda two: f"(?:{two[0]}){two[1]}"),
    )


PATTERNS = st.tuples(
    st.sampled_from(["", "", "(?i)", "(?m)", "(?si)"]), st.recursive(st.sampled_from(ATOMS), larger, max_leaves=12)
).map("".join)


def last_by_re(pattern: str, text: str) -> str | None:
    """The first group of the last match, or else the whole of it, as `re` finds it."""
    last = next(iter([*re.finditer(pattern, text)][::-1]), None)
    return None if last is None else last[min(1, len(last.groups()))]


@given(pattern=PATTERNS, text=st.text(alphabet="ab1. \nA]{é", max_size=14))
@example(pattern="(a|ab)(c|bcd)?", text="abcd")
@example(pattern="(?:(a)|b)+", text="ab")
@example(pattern="(a)?b", text="ab b")
@example(pattern="(?m)^a$", text="a\na\nb")
@example(pattern="a.*?b", text="a1b2b")
@example(pattern="a.+?b", text="ab1b")
@example(pattern="a.*b", text="a1b2b")
@example(pattern="1a??", text="1a")
@example(pattern="1a?", text="1a")
@example(pattern="a{1,2}?", text="aa")
@example(pattern="a{2,}?", text="aaaaa")
@example(pattern="(?:aa|a)+", text="aaa a")
@example(pattern="a+|b", text="aab")
@settings(max_examples=600)
def test_a_pattern_finds_what_re_finds(pattern: str, text: str) -> None:
    # What repeats nothing, or matches nothing, is refused: another test shows that.
    try:
        compiled = compile_pattern(pattern)
    except ValueError:
        return
    assert compiled.last_match(text) == last_by_re(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"(?i)answer\s*[:=]\s*(-?[\d,]+(?:\.\d+)?)", "Answer: 7. No, the ANSWER = -1,234.5.", "-1,234.5"),
        (r"####\s*(.+)", "so\n#### 18\n", "18"),
        (r"\d+", "7 and 18", "18"),
        (r"答案是(\d+)", "答案是42。", "42"),
        (r"x\{2\}|y", "x{2}", "x{2}"),
        (r"(?:a|(b))c", "bc ac", None),
        (r"\d+", "none", None),
        (r"\d+", "", None),
    ],
)
def test_the_last_match_counts_or_its_first_group(pattern: str, text: str, found: str | None) -> None:
    assert compile_pattern(pattern).last_match(text) == found


class Counted(str):
    """A text that counts how often one of its characters is looked at."""

    num_looks = 0

    def __getitem__(self, key: object) -> str:
        self.num_looks += 1
        return str.__getitem__(self, key)  # type: ignore[index]  # any key that a text takes


HOSTILE = ("(a|a)*b", "(a+)+b", "(?:a|aa)+$b", ".*.*.*.*.*x", "(?:(?:a|b|ab)+c?)+d", "a.*b|a")


@pytest.mark.parametrize("text", ["a" * 3000, "ab" * 1500, "aab " * 700], ids=["a", "ab", "aab"])
@pytest.mark.parametrize("pattern", HOSTILE)
def test_no_text_is_looked_at_more_often_than_the_pattern_is_long(pattern: str, text: str) -> None:
    """With `re` most of these would not end in a lifetime."""
    counted = Counted(text)
    compiled = compile_pattern(pattern)
    compiled.last_match(counted)
    assert 0 < counted.num_looks <= len(compiled.steps) * (len(text) + 1)


def test_a_match_begins_near_the_end() -> None:
    compiled = compile_pattern(r"\bx1*")
    near = "x" + "1" * (MAX_CHARS - 1)
    assert compiled.last_match(near) == near
    assert compiled.last_match(f"{near} ") is None
    # What stands before the place where the search begins is still seen by what looks back.
    assert compile_pattern(r"^1+").last_match(f"x{'1' * MAX_CHARS}") is None


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("(", r"is no regular expression: missing \)"),
        ("[", "is no regular expression: unterminated character set"),
        ("*a", "is no regular expression: nothing to repeat"),
        ("(" * 5000 + "a" + ")" * 5000, "has too many groups inside each other"),
        ("(?:" * 300 + "a" + ")" * 300, "has too many groups inside each other"),
        ("a{99999999999999999999}", "is no regular expression"),
        (r"(a)\1", r"has \\1 at position 3, which is not understood here"),
        ("a(?=b)", r"has \(\?= at position 1"),
        ("(?<!b)a", r"has \(\?< at position 0"),
        ("(?x) a", r"has \(\?x at position 0"),
        ("(?i:a)", r"has \(\?i at position 0"),
        ("a*+b", r"has \*\+, which is not understood here"),
        ("a{2}+", r"has \{2\}\+"),
        ("(?:a?)*b", "repeats with .* what can match the empty text"),
        ("(?:a|b*){2,3}c", "repeats with .* what can match the empty text"),
        ("", "matches the empty text, which is no answer"),
        ("a*", "matches the empty text"),
        ("x|$", "matches the empty text"),
        ("a{1000000}", f"more than {MAX_STEPS} steps"),
        ("(?:(?:a{50}){50}){50}", f"more than {MAX_STEPS} steps"),
        ("a" * MAX_STEPS, f"more than {MAX_STEPS} steps"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_with_the_reason(pattern: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        compile_pattern(pattern)


def test_the_longest_pattern_is_taken() -> None:
    compiled: Pattern = compile_pattern("a" * (MAX_STEPS - 1))
    assert compiled.last_match("a" * MAX_STEPS) == "a" * (MAX_STEPS - 1)
