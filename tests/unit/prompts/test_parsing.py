"""Responses taken apart, and how hostile ones are refused."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aha.prompts.parsing import KEPT, TAGS, answer_block, last_boxed, outside_thinking, parse_response

GOOD = "<think> try 23 + 18 = 41 ? 41 yes </think> <answer> 23 + 18 </answer>"
FLOOD = 10_000


def test_a_good_response_is_taken_apart() -> None:
    parsed = parse_response(GOOD)
    assert parsed.is_well_formed
    assert parsed.reason == "each tag once, in order"
    assert parsed.thinking == "try 23 + 18 = 41 ? 41 yes"
    assert parsed.answer == "23 + 18"


@pytest.mark.parametrize(
    "text",
    [
        "<think>a</think><answer>b</answer>",
        "\n <think>a\n</think>\n\n<answer>\tb </answer>\n",
        "<think> </think> <answer> </answer>",
        "<think> 1 < 2 , <b> , \\boxed{7} </think> <answer> <ANSWER> </answer>",
    ],
)
def test_blanks_and_other_text_inside_the_blocks_are_allowed(text: str) -> None:
    assert parse_response(text).is_well_formed


def test_what_breaks_the_format_is_said_in_words() -> None:
    for text, reason in [
        ("", "no <think>, no </think>, no <answer>, no </answer>"),
        ("23 + 18", "no <think>, no </think>, no <answer>, no </answer>"),
        ("a </think> <answer> b </answer>", "no <think>"),
        ("<think> a <answer> b </answer>", "no </think>"),
        ("<think> a </think> b </answer>", "no <answer>"),
        ("<think> a </think> <answer> b", "no </answer>"),
        ("<think> a </think> b", "no <answer>, no </answer>"),
        ("< think > a < / think > <answer> b </answer>", "no <think>, no </think>"),
        ("<Think> a </Think> <answer> b </answer>", "no <think>, no </think>"),
        (f"{GOOD} {GOOD}", "2 <think>, 2 </think>, 2 <answer>, 2 </answer>"),
        ("<think> a </think> <answer> b </answer> <answer> b </answer>", "2 <answer>, 2 </answer>"),
        ("<think> a </think> <answer> b </answer> </answer>", "2 </answer>"),
        ("<think> a <think> b </think> </think> <answer> c </answer>", "2 <think>, 2 </think>"),
        ("<answer> b </answer> <think> a </think>", "tags out of order: <answer> </answer> <think> </think>"),
        ("<think> a <answer> b </answer> </think>", "tags out of order: <think> <answer> </answer> </think>"),
        ("<think> a <answer> b </think> </answer>", "tags out of order: <think> <answer> </think> </answer>"),
        ("so <think> a </think> <answer> b </answer>", "text before <think>"),
        ("<think> a </think> so <answer> b </answer>", "text between </think> and <answer>"),
        ("<think> a </think> <answer> b </answer> .", "text after </answer>"),
        (". <think> a </think> <answer> b </answer> .", "text before <think>, text after </answer>"),
        ("<think> a </think>\u200b<answer> b </answer>", "text between </think> and <answer>"),
    ]:
        parsed = parse_response(text)
        assert not parsed.is_well_formed, (text, reason)
        assert parsed.reason == reason, (text, reason)


def test_the_only_answer_outside_the_thinking_is_found_in_any_format() -> None:
    for text, answer in [
        ("<answer> 5 </answer>", "5"),
        ("so it is <answer>5</answer> .", "5"),
        ("<answer> 5 </answer> <think> a </think>", "5"),
        ("a </think> <answer> 5 </answer>", "5"),
        ("<think> <answer> 4 </answer> </think> <answer> 5 </answer>", "5"),
        ("<think> a </think> <think> b </think> <answer> 5 </answer>", "5"),
        ("<think> a <think> b </think> c </think> <answer> 5 </answer>", "5"),
        ("<think> a </think> <answer> </answer>", ""),
        ("<think> a </think> <answer> <b>5</b> </answer>", "<b>5</b>"),
    ]:
        assert parse_response(text).answer == answer, (text, answer)


def test_no_answer_is_read_where_there_is_not_exactly_one() -> None:
    for text in [
        "",
        "5",
        "<think> a </think> 5",
        "<answer> 4 </answer> <answer> 5 </answer>",
        "<answer> 5 </answer> <answer> 5 </answer>",
        "<answer> 4 <answer> 5 </answer>",
        "<answer> <answer> 5 </answer> </answer>",
        "<answer> 5 </answer> </answer>",
        "<answer> 5",
        "5 </answer>",
        "</answer> 5 <answer>",
        "<think> <answer> 5 </answer>",
        "<think> <answer> 5 </answer> </think>",
        "<think> a <answer> 5 </think> </answer>",
        "<think> a <think> b </think> <answer> 5 </answer>",
        "<think> a </think> <think> <answer> 5 </answer>",
        "<answer> <think> a </think> 5 </answer>",
        "<answer> 5 </think> </answer>",
        "<answer> <think> 5 </answer> </think>",
    ]:
        assert parse_response(text).answer is None, text


@pytest.mark.parametrize(
    ("text", "thinking"),
    [
        ("<answer> 5 </answer>", None),
        ("a </think> <answer> 5 </answer>", None),
        ("</think> <think> a </think>", "a"),
        ("<think> a", "a"),
        ("<think> a <answer> 5 </answer>", "a <answer> 5 </answer>"),
        ("<think> a <think> b </think> c </think> d", "a <think> b </think> c"),
        ("<think> a </think> <think> b </think>", "a"),
    ],
)
def test_thinking_is_the_first_outermost_block(text: str, thinking: str | None) -> None:
    assert parse_response(text).thinking == thinking


@pytest.mark.full
@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>" * FLOOD, None),
        ("</think>" * FLOOD, None),
        ("<answer>" * FLOOD, None),
        ("<answer> 5 </answer>" * FLOOD, None),
        ("<think></think>" * FLOOD + "<answer>5</answer>", "5"),
        ("<think>" * FLOOD + "</think>" * FLOOD + "<answer>5</answer>", "5"),
        ("<think>" * FLOOD + "</think>" * (FLOOD - 1) + "<answer>5</answer>", None),
        ("<" * FLOOD + "<answer>5</answer>", "5"),
        (" " * FLOOD + "<answer>5</answer>" + " " * FLOOD, "5"),
        ("<think" * FLOOD, None),
        ("<answer>" + "9" * FLOOD + "</answer>", "9" * FLOOD),
    ],
)
def test_floods_of_tags_get_a_verdict(text: str, answer: str | None) -> None:
    parsed = parse_response(text)
    assert parsed.answer == answer
    assert not parsed.is_well_formed


def test_a_long_good_response_is_good() -> None:
    text = f"<think> {'wait ' * FLOOD} </think> <answer> 5 </answer>"
    assert parse_response(text).is_well_formed


@given(st.lists(st.sampled_from([*TAGS, " ", "a", "5", "<", ">", "\n"])).map("".join))
@example("<think>a</think><answer>5</answer>")
@settings(deadline=None, derandomize=True, max_examples=100)
def test_any_arrangement_of_tags_agrees_with_the_definition(text: str) -> None:
    parsed = parse_response(text)
    rest = text.strip()
    is_well_formed = (
        all(text.count(tag) == 1 for tag in TAGS)
        and rest.startswith("<think>")
        and rest.endswith("</answer>")
        and "</think><answer>" in "".join(text.split())
    )
    assert parsed.is_well_formed == is_well_formed
    assert parsed.is_well_formed == (parsed.reason == KEPT["answer"])
    if parsed.is_well_formed:
        assert parsed.answer is not None
        assert parsed.thinking is not None


@given(st.text())
@settings(deadline=None, derandomize=True)
def test_any_text_is_taken_apart_without_an_error(text: str) -> None:
    parsed = parse_response(text)
    assert parsed.reason
    assert parsed.answer is None or parsed.answer in text
    boxed = last_boxed(text)
    assert boxed is None or boxed in text


def test_the_last_balanced_box_is_found() -> None:
    for text, content in [
        (r"so \boxed{42} .", "42"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{ \frac{1}{2} }", r"\frac{1}{2}"),
        (r"\boxed {5}", "5"),
        (r"\boxed{}", ""),
        (r"\boxed{a \boxed{b} c}", "b"),
        (r"\boxed{1} and \boxed{2", "1"),
        (r"\boxed{1} and \boxed{{2}", "1"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ 1 \right.}", r"\left\{ 1 \right."),
        (r"} } \boxed{3} {", "3"),
        (r"{ { \boxed{3}", "3"),
        (r"\boxed{1", None),
        (r"\boxed 5", None),
        (r"boxed{5}", None),
        (r"{5}", None),
        ("", None),
    ]:
        assert last_boxed(text) == content, (text, content)


def test_floods_of_braces_get_a_verdict() -> None:
    for text, content in [
        ("{" * FLOOD, None),
        ("}" * FLOOD + r"\boxed{5}", "5"),
        (r"\boxed{" * FLOOD, None),
        (r"\boxed{" * FLOOD + "5" + "}" * FLOOD, "5"),
        (r"\boxed{" + "{" * FLOOD + "}" * FLOOD + "}", "{" * FLOOD + "}" * FLOOD),
        (r"\boxed" * FLOOD, None),
        (r"\boxed" + " " * FLOOD, None),
        ("\\" * (2 * FLOOD) + r"\boxed{5}", "5"),
    ]:
        assert last_boxed(text) == content, (text, content)


# R1's format


def test_the_format_of_r1() -> None:
    kept = "thinking in its tags, then a summary"
    for text, reason in [
        ("<think> a </think> b", kept),
        ("<think></think>b", kept),
        (" \n<think> a </think>\n\nb\n", kept),
        ("<think> a </think>", "no summary"),
        ("<think> a </think> \n ", "no summary"),
        ("b", "no <think>, no </think>"),
        ("<think> a b", "no </think>"),
        ("a </think> b", "no <think>"),
        ("so <think> a </think> b", "text before <think>"),
        ("so <think> a </think>", "text before <think>, no summary"),
        ("<think> a </think> b <think> c </think> d", "2 <think>, 2 </think>"),
        ("<think> a <think> b </think> c", "2 <think>"),
        ("</think> a <think> b", "tags out of order: </think> <think>"),
        ("<think> a </think> <answer> 5 </answer>", "<answer> in a summary, </answer> in a summary"),
        ("<think> <answer> </think> 5", "<answer> in a summary"),
    ]:
        parsed = parse_response(text, ending="summary")
        assert (parsed.reason, parsed.is_well_formed) == (reason, reason == kept), (text, reason)


def test_the_summary_is_what_a_reader_is_shown() -> None:
    for text, summary in [
        ("<think> a </think> b c .", "b c ."),
        ("<think> a </think> <answer> 5 </answer>", "5"),
        ("<think> a </think> so <answer> 5 </answer> .", "5"),
        ("<think> a <think> b </think> c </think> d", "d"),
        ("<think> a </think> b <think> c </think> d", "b <think> c </think> d"),
        ("no thinking at all", "no thinking at all"),
        ("a </think> b", "a </think> b"),
        ("<think> never ends", None),
        ("<think> a </think>", None),
        ("", None),
    ]:
        assert parse_response(text).summary == parse_response(text, ending="summary").summary == summary, (
            text,
            summary,
        )


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"<think> 2 + 3 </think> so the answer is \boxed { 5 } .", "5"),
        (r"<think> \boxed{4} </think> \boxed{5} or \boxed{6}", "6"),
        (r"<think> \boxed{4} </think> five", None),
        (r"<think> \boxed{4}", None),
        (r"\boxed{5}", "5"),
        (r"<think> a </think> <answer> 7 </answer> \boxed{5}", "7"),
        (r"<think> a </think> <answer> 7 \boxed{5}", None),
    ],
)
def test_the_answer_is_the_block_or_else_the_last_box_of_the_summary(text: str, answer: str | None) -> None:
    assert parse_response(text).answer == answer


@given(st.lists(st.sampled_from([*TAGS, "a", " ", r"\boxed{", "}", "5"]), max_size=12).map("".join))
def test_the_parts_do_not_depend_on_the_format_asked_for(text: str) -> None:
    one, other = parse_response(text), parse_response(text, ending="summary")
    assert (one.thinking, one.answer, one.summary) == (other.thinking, other.answer, other.summary)
    assert not (one.is_well_formed and other.is_well_formed)


@pytest.mark.parametrize(
    ("text", "outside"),
    [
        ("a", "a"),
        ("", ""),
        ("x <think> a </think> b", " b"),
        ("<think> a </think>", ""),
        ("<think> a <think> b </think> c </think> d", " d"),
        ("<think> a </think>1<think> b </think>2", "1\n2"),
        ("<think> a </think>1<think> b", "1"),
        ("a </think> b", "a </think> b"),
        ("<think> a </think> b </think> c", " b </think> c"),
        ("<think> a </think> <answer> b </answer>", " <answer> b </answer>"),
        ("<think> a", None),
        ("x <think> a <think> b </think>", None),
    ],
)
def test_what_follows_the_thinking_is_kept_without_later_thinking(text: str, outside: str | None) -> None:
    assert outside_thinking(text) == outside


@pytest.mark.parametrize(
    ("text", "block"),
    [
        (GOOD, "23 + 18"),
        ("<answer> b </answer>", "b"),
        ("<answer></answer>", ""),
        ("<think> <answer> a </answer> </think> <answer> b </answer>", "b"),
        ("<answer> b </answer> <answer> b </answer>", None),
        ("</answer> b <answer>", None),
        ("<answer> <think> </think> b </answer>", None),
        ("<think> <answer> a </answer>", None),
        (r"\boxed{b}", None),
    ],
)
def test_an_answer_block_counts_where_it_is_the_only_one_outside_the_thinking(text: str, block: str | None) -> None:
    assert answer_block(text) == block


@given(st.lists(st.sampled_from([*TAGS, "a", " ", "\\boxed{", "}"]), max_size=20).map("".join))
def test_the_parts_of_a_response_agree_with_each_other(text: str) -> None:
    parsed = parse_response(text)
    block, outside = answer_block(text), outside_thinking(text)
    if block is not None:
        assert parsed.answer == block
    if outside is None:
        assert parsed.thinking is not None
    else:
        assert "<think>" not in outside
