"""What becomes of the rows of well-known files, and how a file's format is told."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.problems.datasets.fields import BadRow, boxed, final_number
from aha.problems.datasets.formats import DOMAINS, Format, formats
from aha.problems.datasets.mapping import choose_format, parse_mapping

GSM8K = {"question": "How many?", "answer": "Two and two.\n#### 1,234"}
MATH = {"problem": "What?", "solution": r"So $\boxed{\frac{1}{2}}$.", "level": "Level 5"}
AIME = {"id": 60, "problem": "Find it.", "answer": "073"}
HUMANEVAL = {"task_id": "HumanEval/0", "prompt": "def f():\n", "test": "def check(f): ...", "entry_point": "f"}
MMLU = {"question": "Which?", "choices": ["red", "green", "blue"], "answer": 2}
ARC = {"id": "q1", "question": "Which?", "choices": {"text": ["red", "green"], "label": ["1", "2"]}, "answerKey": "2"}
GPQA = {"Question": "Which?", "Correct Answer": "x", **{f"Incorrect Answer {n}": f"w{n}" for n in (1, 2, 3)}}
VERL = {
    "data_source": "openai/gsm8k",
    "prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "How many?"}],
    "ability": "math",
    "reward_model": {"style": "rule", "ground_truth": "72"},
    "extra_info": {"index": 0},
}
APPS = {"question": "Double it.", "input_output": '{"inputs": ["1\\n"], "outputs": ["2\\n"]}'}
DEEPCODER = {"problem": "Double it.", "tests": [{"input": "1", "output": "2", "testtype": "stdin"}]}
USER, REPLY = {"role": "user", "content": "How many?"}, {"role": "assistant", "content": "Seven."}
SYSTEM = {"role": "system", "content": "Be kind."}
TURNS = {"messages": [SYSTEM, USER, REPLY], "answer": 7}
COUNTDOWN = {"nums": [19, 36, 55, 7], "target": 65}
PUZZLE = {"question": "Who?", "answer": "bob", "metadata": {"source_dataset": "zebra_puzzles"}}


QUESTION = (
    "Write 65 as an expression of the numbers 19, 36, 55, 7, each used exactly once, with + - * / and parentheses."
)


def normal(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"_".join(name.lower().split()): value for name, value in row.items()}


def told(*rows: Mapping[str, Any], name: str = "", mapping: str = "", seed: int | None = None) -> Format:
    return choose_format([normal(row) for row in rows], name=name, mapping=parse_mapping(mapping), options_seed=seed)


def test_a_format_is_told_by_the_fields() -> None:
    for row, name, domain, question, answer in [
        (GSM8K, "gsm8k", "math", "How many?", "1234"),
        (MATH, "math", "math", "What?", r"\frac{1}{2}"),
        ({**MATH, "answer": "0.5"}, "math", "math", "What?", "0.5"),
        (AIME, "math", "math", "Find it.", "073"),
        (HUMANEVAL, "humaneval", "code", "def f():\n", "f"),
        ({**HUMANEVAL, "entry_point": "Solution().f"}, "humaneval", "code", "def f():\n", "Solution().f"),
        (MMLU, "choice", "choice", "Which?\n\nA) red\nB) green\nC) blue", "C"),
        (ARC, "choice", "choice", "Which?\n\nA) red\nB) green", "B"),
        (VERL, "chat", "math", "Be kind.\n\nHow many?", "72"),
        (APPS, "stdio", "stdio", "Double it.", ""),
        (DEEPCODER, "stdio", "stdio", "Double it.", ""),
        (PUZZLE, "puzzle", "text", "Who?", "bob"),
        (COUNTDOWN, "countdown", "countdown", QUESTION, "65 from 19, 36, 55, 7"),
        (TURNS, "messages", "math", "Be kind.\n\nHow many?", "7"),
        ({"prompt": [USER], "answer": "Two and two.\n#### 1,234"}, "messages", "math", "How many?", "1234"),
        ({"prompt": "not this", "messages": [USER], "answer": "a cow"}, "messages", "text", "How many?", "a cow"),
        ({"question": "Who?", "messages": [USER], "answer": "a cow"}, "plain", "text", "Who?", "a cow"),
        ({**MATH, "messages": [USER, REPLY]}, "math", "math", "What?", r"\frac{1}{2}"),
        ({**VERL, "messages": [USER], "answer": "7"}, "chat", "math", "Be kind.\n\nHow many?", "72"),
        ({"question": "1+1?", "answer": 2}, "plain", "math", "1+1?", "2"),
        ({"question": "1+1?", "answer": 2.0}, "plain", "math", "1+1?", "2"),
        ({"question": "Half?", "answer": r"\frac12"}, "plain", "math", "Half?", r"\frac12"),
        ({"question": "Capital?", "answer": " Paris "}, "plain", "text", "Capital?", "Paris"),
    ]:
        format = told(row)
        problem = format.build(normal(row))
        assert (format.name, problem.domain, problem.question, problem.answer) == (name, domain, question, answer), (
            row,
            name,
            domain,
            question,
            answer,
        )


def test_what_else_rows_hold() -> None:
    assert told(MATH).build(MATH).level == 5
    assert told(AIME, name="aime").build(AIME).answer == "73"
    assert told(AIME).build(AIME).id == "60"
    code = told(HUMANEVAL).build(HUMANEVAL)
    assert (code.id, code.starter, code.tests) == ("HumanEval/0", "def f():\n", ("def check(f): ...",))
    for row in (APPS, DEEPCODER):
        assert told(row).build(row).tests[0].replace("\\n", "") == '{"stdin": "1", "stdout": "2"}'


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        # The longest texts are proposed as the questions.
        (
            [{"text": "a long one", "label": 1}],
            "the columns label, text fit no known format.*--fields question=text,answer=label",
        ),
        ([{"alone": "a"}], "question=COLUMN,answer=COLUMN"),
        ([{"question": "a", "choices": [], "answer": "A", "tests": []}], r"fit several formats \(stdio, choice\)"),
        (
            [{"question": "a", "answer": "12"}, {"question": "b", "answer": "a dog"}],
            "'a dog'.*domain=math or domain=text",
        ),
    ],
)
def test_a_file_that_is_not_clear_is_refused_with_its_columns(rows: Sequence[Mapping[str, Any]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        told(*rows)


def test_a_mapping_names_the_columns() -> None:
    row = {"Prompt Text": "How many?", "meta": {"gold": "so\n#### 7"}, "number": "n1", "answer": "not this"}
    format = told(row, mapping="question=Prompt Text, answer=meta.gold, id=number, language=zh")
    problem = format.build(normal(row))
    assert (problem.question, problem.answer, problem.id, problem.language) == ("How many?", "7", "n1", "zh")
    assert (format.name, format.reads >= {"prompt_text", "meta", "number"}) == ("gsm8k", True)
    assert "question is prompt_text" in format.says


def test_a_mapping_decides_between_formats_and_domains() -> None:
    row = {"question": "Which?", "choices": ["x", "y"], "tests": [], "answer": "12"}
    assert told(row, mapping="question=question,answer=answer").name == "plain"
    assert told(row, mapping="question=question,answer=answer,domain=text").build(row).domain == "text"
    assert told(row, name="choice").name == "choice"
    both = [{"question": "a", "answer": "12"}, {"question": "b", "answer": "a dog"}]
    assert told(*both, mapping="domain=math").build(both[1]).domain == "math"


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ("question", "write FIELD=COLUMN"),
        ("quest=a", "with a field of"),
        ("question=a,question=b", "given twice"),
        ("domain=maths", "no domain 'maths'.*math, choice"),
        ("language=fr", "en or zh"),
        ("question=nope,answer=answer", "no column 'nope': the columns are answer, question"),
    ],
)
def test_a_mapping_that_says_nothing_is_refused(mapping: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        told({"question": "a", "answer": "b"}, mapping=mapping)


def test_messages_may_stand_under_another_name_and_need_no_answer_where_own_rewards_judge() -> None:
    row = {"Talk": [SYSTEM, USER], "gold": "a cow"}
    problem = told(row, mapping="messages=talk,answer=gold").build(normal(row))
    assert (problem.question, problem.answer, problem.domain) == ("Be kind.\n\nHow many?", "a cow", "text")
    for mapping, prompts in (("domain=own", {"prompt": [USER]}), ("messages=talk,domain=own", {"Talk": [USER]})):
        asked = told(prompts, mapping=mapping).build(normal(prompts))
        assert (asked.question, asked.answer, asked.domain) == ("How many?", "", "own")


def test_an_empty_text_of_the_system_is_none() -> None:
    row = {"messages": [{"role": "system", "content": ""}, USER], "answer": 7}
    assert told(row).build(row).question == "How many?"


def test_answers_to_messages_that_are_numbers_and_words_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'a cow'.*domain=math or domain=text"):
        told(TURNS, {"messages": [USER], "answer": "a cow"})


def test_an_unknown_format_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no format 'gsm': humaneval, .*gsm8k"):
        told(GSM8K, name="gsm")


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("gsm8k", {"question": "a"}, "no field 'answer'"),
        ("gsm8k", {"question": "", "answer": "#### 1"}, "field 'question' is empty"),
        ("gsm8k", {"question": ["a"], "answer": "#### 1"}, "field 'question' is a list, not text"),
        ("gsm8k", {"question": "a", "answer": "1"}, "no '####'"),
        ("gsm8k", {"question": "a", "answer": "1\n#### "}, "nothing follows"),
        ("math", {"problem": "a", "solution": "1"}, r"no \\boxed"),
        ("math", {"problem": "a", "solution": r"\boxed{1"}, "has no end"),
        ("math", {"problem": "a", "solution": r"\boxed{ }"}, "empty"),
        ("aime", {"problem": "a", "answer": 1000}, "no integer of 0 to 999"),
        ("plain", {"question": "a", "answer": True}, "a truth value, neither"),
        ("plain", {"question": "a", "answer": None}, "no answer"),
        ("plain", {"question": "a", "answer": ["1"]}, "a list, neither"),
        ("humaneval", {**HUMANEVAL, "entry_point": "a b"}, "no name of a function"),
        ("choice", {**MMLU, "answer": 3}, "no index of 3 options"),
        ("choice", {**MMLU, "answer": "D"}, "names none of the options"),
        ("choice", {**MMLU, "choices": ["B", "A", "c"], "answer": "A"}, "names several of the options"),
        ("choice", {**MMLU, "choices": ["x", "x", "y"]}, "two options are the same"),
        ("choice", {**MMLU, "choices": ["x"]}, "1 options"),
        ("choice", {**MMLU, "choices": "abc"}, "no list of texts"),
        ("choice", {**ARC, "choices": {"text": ["a", "b"], "label": ["1"]}}, "labels are not one"),
        ("stdio", {"question": "a", "tests": "{"}, "no JSON"),
        ("stdio", {"question": "a", "tests": []}, "no tests"),
        ("stdio", {"question": "a", "tests": [{"input": 1, "output": "2"}]}, "is no text"),
        ("stdio", {"question": "a", "tests": {"fn_name": "f", "inputs": [], "outputs": []}}, "call a function"),
        ("stdio", {"question": "a", "tests": {"inputs": ["1"], "outputs": []}}, "1 inputs, but 0 outputs"),
        ("puzzle", {**PUZZLE, "metadata": {"source_dataset": "n_queens"}}, "'n_queens' has several right answers"),
        ("puzzle", {**PUZZLE, "metadata": {"source_dataset": "new"}}, "'new' is not known"),
        ("chat", {**VERL, "prompt": [USER, USER]}, "one turn of the user"),
        ("chat", {**VERL, "prompt": [{"role": "user"}]}, "no field 'content'"),
        ("messages", {**TURNS, "messages": [{"role": "tool", "content": "7"}]}, "a message of 'tool'"),
        (
            "messages",
            {**TURNS, "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "a part of type 'image_url': only text",
        ),
        ("messages", {**TURNS, "messages": []}, "a conversation of no turns; one turn of the user is needed"),
        ("messages", {**TURNS, "messages": [USER, REPLY, USER]}, "user, assistant, user; one turn .* --bad-rows skip"),
        ("messages", {**TURNS, "messages": [REPLY, USER]}, "assistant, user; one turn of the user"),
        ("messages", {**TURNS, "messages": "How many?"}, "field 'messages' is no list of messages"),
        ("messages", {**TURNS, "messages": ["How many?"]}, "field 'messages' is no list of messages"),
        ("messages", {**TURNS, "messages": [{"role": "user", "content": None}]}, "field 'content' is empty"),
        ("messages", {**TURNS, "answer": None}, "no answer"),
        ("countdown", {**COUNTDOWN, "nums": []}, "no numbers"),
        ("chat", {**VERL, "reward_model": {}}, "no field 'reward_model.ground_truth'"),
    ],
)
def test_a_row_that_is_no_problem_says_why(name: str, row: Mapping[str, Any], said: str) -> None:
    with pytest.raises(BadRow, match=said):
        formats()[name].build(normal(row))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("x #### 5\n#### $1,000.50 ", "1000.50"),
        ("#### -3", "-3"),
        ("#### 1,2", "1,2"),
        ("####2 dogs, 3 cats", "2 dogs, 3 cats"),
    ],
)
def test_the_final_number(answer: str, expected: str) -> None:
    assert final_number(answer) == expected


@pytest.mark.parametrize(
    ("solution", "expected"),
    [
        (r"\boxed{1} then \boxed{\text{a}^{2}}", r"\text{a}^{2}"),
        (r"$\boxed 5$ it is", "5"),
        (r"\fbox{7}", "7"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
    ],
)
def test_the_last_box(solution: str, expected: str) -> None:
    assert boxed(solution) == expected


def test_the_order_of_options_is_drawn_only_where_asked() -> None:
    row = {"question": "Which?", "choices": [f"o{n}" for n in range(8)], "answer": "D"}
    plain = formats()["choice"].build(row)
    orders = {formats(seed)["choice"].build(row).question for seed in range(5)}
    assert "\nD) o3\n" in plain.question
    assert len(orders) == 5
    for seed in range(5):
        problem = formats(seed)["choice"].build(row)
        assert f"\n{problem.answer}) o3" in problem.question
        assert problem == formats(seed)["choice"].build(row)


def test_the_right_answer_of_gpqa_is_not_always_the_first() -> None:
    rows = [normal({**GPQA, "Question": f"Which {n}?"}) for n in range(40)]
    problems = [formats()["gpqa"].build(row) for row in rows]
    assert {problem.answer for problem in problems} == set("ABCD")
    assert all(f"\n{problem.answer}) x" in problem.question for problem in problems)


KEYS = sorted({name for format in formats().values() for name in format.reads})
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text("A1#x{}\\ ", max_size=12))
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "label", "role", "content", "input", "output", "fn_name"]), inner)
    ),
    max_leaves=6,
)


ROWS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=10)


@settings(max_examples=40)
@given(name=st.sampled_from(list(formats())), row=ROWS)
def test_any_row_is_a_problem_or_says_why_not(name: str, row: dict[str, Any]) -> None:
    format = formats(options_seed=1)[name]
    full = {part.split(".")[0]: "A" for one in format.columns for part in one.split("|")} | row
    try:
        problem = format.build(full)
    except BadRow:
        return
    assert all(isinstance(text, str) for text in (problem.id, problem.question, problem.answer, *problem.tests))
    assert problem.domain in DOMAINS


@pytest.mark.full
@settings(max_examples=40)
@given(rows=st.lists(ROWS | st.just({"question": "a", "answer": 1, "metadata": 5}), min_size=1, max_size=4))
def test_any_rows_have_a_format_or_are_refused(rows: list[dict[str, Any]]) -> None:
    try:
        format = told(*rows)
    except ValueError as error:
        assert "the columns" in str(error) or "some answers are" in str(error)  # noqa: PT017  # both ends are right
        return
    assert format.says
