"""Audits of rewards by name: files of rows, what they say of rows that are none, and what is printed."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from aha.commands.audits import REWARDS, audit_named_reward, names_reward
from aha.rewards.audits.reward import AttackCount, Finding, RewardAudit
from aha.types import Problem

EXAMPLES = Path(__file__).parents[3] / "examples"
QUESTION = "What is $18 + 24$?"
SOURCE = """
def contains(problem, rollout):
    return float(problem.answer in rollout.text)

def domain(problem, rollout):
    return float(problem.domain == rollout.text)

def language(problem, rollout):
    return float(problem.language == rollout.text)

def raises(problem, rollout):
    return [1.0][len(rollout.text)]
"""


def row(response: str, correct: bool, **others: object) -> dict[str, object]:
    return {"question": QUESTION, "answer": "42", "response": response, "correct": correct, **others}


def answered(text: str) -> str:
    return f"<think>I add.</think> <answer>{text}</answer>"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def write(folder: Path, *rows: dict[str, object]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return path


@pytest.fixture
def no_attack_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Huge responses, which are judged at full length in `rewards/audits/test_reward.py`, take most of the time."""
    monkeypatch.setattr("aha.rewards.audits.attacks.HUGE_CHARS", 1000)


def test_a_reward_of_the_users_own_is_held_against_rows(mine: Path, tmp_path: Path) -> None:
    path = write(tmp_path, row("42", True), row("forty-two", True), row("not 42", False), row("7", False))
    figures, text = audit_named_reward(f"{mine}:contains", path)
    assert (figures["num_rows"], figures["num_correct"]) == (4, 2)
    assert (figures["false_positives"], figures["false_negatives"], figures["num_findings"]) == (1, 1, 2)
    assert [one["place"] for one in figures["findings"]] == [f"{path}:2", f"{path}:3"]
    assert f"{path}:2: false negative: earned 0: 'forty-two': contains: contains says 0" in text
    assert f"{path}:3: false positive: earned 1: 'not 42': contains: contains says 1" in text
    assert figures["seconds_per_call"]["mean"] <= figures["seconds_per_call"]["largest"]
    json.dumps(figures, allow_nan=False)


@pytest.mark.parametrize(("num_allowed", "is_fit"), [(0, False), (1, False), (2, True)])
def test_so_many_findings_are_allowed(mine: Path, tmp_path: Path, num_allowed: int, is_fit: bool) -> None:
    path = write(tmp_path, row("forty-two", True), row("not 42", False))
    assert audit_named_reward(f"{mine}:contains", path, num_allowed=num_allowed)[0]["is_fit"] is is_fit


def test_only_so_many_findings_are_shown(mine: Path, tmp_path: Path) -> None:
    path = write(tmp_path, row("forty-two", True), row("not 42", False))
    figures, text = audit_named_reward(f"{mine}:contains", path, num_shown=1)
    assert len(figures["findings"]) == 2
    assert "false negative:" in text
    assert "false positive:" not in text
    assert text.endswith("and 1 more; --show N lists more, --json all")


@pytest.mark.usefixtures("no_attack_is_long")
def test_paid_attacks_are_counted_by_kind(mine: Path, tmp_path: Path) -> None:
    path = write(tmp_path, row("42", True))
    figures, text = audit_named_reward(f"{mine}:contains", path, with_attacks=True)
    assert figures["num_problems_attacked"] == 1
    assert 0 < figures["attacks"]["spam"]["paid"] == figures["attacks"]["spam"]["made"]
    assert figures["attacks"]["empty"]["paid"] == 0
    assert figures["paid_attacks"] == sum(count["paid"] for count in figures["attacks"].values())
    assert "  spam: 3 of 3\n" in text
    assert "[spam]: earned 1 (honest answer: 1)" in text
    assert "  empty" not in text


@pytest.mark.usefixtures("no_attack_is_long")
def test_labelled_responses_are_listed_before_attacks(mine: Path, tmp_path: Path) -> None:
    path = write(tmp_path, row("42", True), row("not 42", False))
    figures, text = audit_named_reward(f"{mine}:contains", path, with_attacks=True, num_shown=1)
    assert figures["findings"][0]["attack"]
    assert f"{path}:2: false positive" in text


@pytest.mark.usefixtures("no_attack_is_long")
def test_without_rows_the_reward_is_attacked_on_examples(mine: Path) -> None:
    figures, text = audit_named_reward(f"{mine}:contains", None)
    assert figures["num_rows"] == 0
    assert figures["paid_attacks"] > 0
    assert "\nrows" not in text


@pytest.mark.usefixtures("no_attack_is_long")
@pytest.mark.parametrize("name", ["accuracy", "math", "choice"])
def test_what_judges_answers_here_is_paid_for_no_attack(name: str) -> None:
    figures, _ = audit_named_reward(name, None)
    assert (figures["findings"], figures["is_fit"], figures["unpaid_honest_answers"]) == ([], True, 0)
    assert figures["num_problems_attacked"] >= 2


@pytest.mark.full
@pytest.mark.usefixtures("no_attack_is_long")
@pytest.mark.parametrize("name", ["format", "summary", "language"])
def test_what_does_not_judge_answers_is_paid_and_told_about(name: str) -> None:
    figures, _ = audit_named_reward(name, None)
    assert figures["attacks"]["format alone"]["paid"] > 0
    beside, _ = audit_named_reward(name, None, beside=("accuracy",))
    assert beside["paid_attacks"] < figures["paid_attacks"]


@pytest.mark.full
@pytest.mark.usefixtures("no_attack_is_long")
def test_a_reward_that_looks_at_no_answer_gets_advice(mine: Path) -> None:
    assert "--beside accuracy" in audit_named_reward("format=0", None)[1]
    assert "--beside accuracy" not in audit_named_reward("accuracy", None)[1]


def test_the_weighted_sum_is_audited(mine: Path, tmp_path: Path) -> None:
    path = write(tmp_path, row(answered("41, not 42"), False), row(answered("42"), True))
    figures, _ = audit_named_reward(f"{mine}:contains=0.25", path, beside=("accuracy=2", "format=0.5"), threshold=2.75)
    assert figures["findings"] == []
    lower, _ = audit_named_reward(f"{mine}:contains=0.25", path, beside=("accuracy=2", "format=0.5"), threshold=0.75)
    assert [one["reward"] for one in lower["findings"]] == [0.75]


def test_the_domain_picks_the_accuracy_reward(tmp_path: Path) -> None:
    """`1/2` is `0.5` in mathematics and another text elsewhere; a letter may stand on a line `Answer: C`."""
    half: dict[str, Any] = {"question": "?", "answer": "1/2", "response": answered("0.5")}
    letter: dict[str, Any] = {"question": "?", "answer": "C", "response": "<think>x</think>\nAnswer: C"}
    path = write(
        tmp_path,
        half | {"correct": True},
        half | {"domain": "text", "correct": False},
        letter | {"domain": "choice", "correct": True},
    )
    assert audit_named_reward("accuracy", path)[0]["findings"] == []


@pytest.mark.parametrize(
    ("function", "others", "expected"),
    [
        ("domain", {}, "math"),
        ("domain", {"domain": "own"}, "own"),
        ("language", {}, "en"),
        ("language", {"question": "\u8ba1\u7b97 1 + 1"}, "zh"),
        ("language", {"question": "\u8ba1\u7b97 1 + 1", "language": "en"}, "en"),
    ],
)
def test_domain_and_language_reach_the_function(
    mine: Path, tmp_path: Path, function: str, others: dict[str, object], expected: str
) -> None:
    path = write(tmp_path, row(expected, True) | others, row("another", False) | others)
    assert audit_named_reward(f"{mine}:{function}", path)[0]["findings"] == []


def test_a_number_is_a_reference_too(mine: Path, tmp_path: Path) -> None:
    assert audit_named_reward("math", write(tmp_path, row(answered("42"), True, answer=42)))[0]["is_fit"]


def test_exceptions_are_told_by_kind(mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = SOURCE.splitlines().index("    return [1.0][len(rollout.text)]") + 1
    figures, text = audit_named_reward(f"{mine}:raises", write(tmp_path, row("", True), row("4", False)))
    assert figures["exceptions"] == {f"{mine}:{line}: IndexError": 1}
    assert not figures["is_fit"]
    assert f"exceptions       1\n  {mine}:{line}: IndexError: 1\n" in text
    assert capsys.readouterr().err.count("IndexError") == 1


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ({"question": None}, "field 'question' is empty"),
        ({"answer": ""}, "field 'answer' is empty"),
        ({"answer": True}, "field 'answer'"),
        ({"response": 42}, "field 'response': 42 is no text"),
        ({"correct": "yes"}, "field 'correct': 'yes' is not true or false"),
        ({"correct": 1}, "field 'correct': 1 is not true or false"),
        ({"domain": "maths"}, "no domain 'maths': math, choice"),
        ({"domain": "code"}, "programs are audited by `aha audit FILE --code`"),
        ({"domain": "countdown"}, "leave out the row or --attacks"),
        ({"language": 3}, "field 'language'"),
        ({"response": "\ud83d"}, "field 'response' holds half a character (a lone surrogate)"),
        ({"question": "\ud83d"}, "field 'question' holds half a character (a lone surrogate)"),
    ],
)
def test_a_row_that_is_none_is_named_by_file_and_line(
    mine: Path, tmp_path: Path, bad: dict[str, object], complaint: str
) -> None:
    path = write(tmp_path, row("42", True), row("42", True) | bad)
    with pytest.raises(ValueError, match=r"rows.jsonl:2: ") as error:
        audit_named_reward(f"{mine}:contains", path, with_attacks=True)
    assert complaint in str(error.value)
    assert str(error.value).count(str(path)) == 1


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"question": "1"', r"rows.jsonl:1: no JSON"),
        ('{"question": "1", "answer": "1", "correct": true}\n', r"rows.jsonl:1: no field 'response'; each row needs"),
        ("", "no rows"),
        (None, "there is no such file"),
    ],
)
def test_a_file_of_another_form_is_refused(mine: Path, tmp_path: Path, content: str | None, complaint: str) -> None:
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=complaint) as error:
        audit_named_reward(f"{mine}:contains", path)
    assert str(path) in str(error.value)


def test_a_reference_that_cannot_be_judged_is_named_by_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, row("C", True, domain="choice"))
    with pytest.raises(ValueError, match=r"rows.jsonl:1: .*'42' is no letter"):
        audit_named_reward("accuracy", path)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("{mine}", r"write FILE.py:FUNCTION .*rewards of the package: accuracy, math"),
        ("{mine}:nothing", "has no function 'nothing'; it has: contains, domain"),
        ("{mine}x.py:contains", "there is no file"),
        ("accuracy=much", "'much' is no weight"),
    ],
)
def test_a_reward_that_cannot_be_loaded_says_what_to_write(mine: Path, spec: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as error:
        audit_named_reward(spec.format(mine=mine), None)
    assert "--reward" not in str(error.value)


def test_a_word_is_a_reward_or_a_file(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rewards = [
        *REWARDS,
        "accuracy=0.5",
        f"{mine}:contains",
        "mine.py:contains=2",
        "mine.py",
        "aha.rewards.format:format",
    ]
    assert [word for word in rewards if not names_reward(word)] == []
    (tmp_path / "a:b.jsonl").touch()
    (tmp_path / "math").touch()
    assert [word for word in ("rows.jsonl", "folder/rows.jsonl", "a:b.jsonl", "math") if names_reward(word)] == []


def test_a_function_that_returns_nothing_does_not_pass(mine: Path, tmp_path: Path) -> None:
    mine.write_text("def forgets(problem, rollout):\n    problem.answer in rollout.text\n", encoding="utf-8")
    path = write(tmp_path, row("42", True))
    figures, text = audit_named_reward(f"{mine}:forgets", path)
    assert (figures["num_findings"], figures["abstentions"], figures["is_fit"]) == (0, 1, False)
    assert "abstained from every response" in text
    assert not audit_named_reward(f"{mine}:forgets", path, beside=("accuracy",))[0]["is_fit"]


def test_what_a_model_wrote_is_printed_without_commands_for_the_terminal(tmp_path: Path) -> None:
    path = write(tmp_path, row(answered("\x1b[2J\nred\u202e"), True, domain="text"))
    _, text = audit_named_reward("accuracy", path)
    assert r"\x1b[2J" in text
    assert all(line.isprintable() for line in text.splitlines())


@pytest.mark.full
def test_the_example_of_a_reward_passes_beside_the_accuracy() -> None:
    spec, path = f"{EXAMPLES / 'concise.py'}:concise=0.5", EXAMPLES / "responses.jsonl"
    figures, _ = audit_named_reward(spec, path, beside=("accuracy",), with_attacks=True)
    assert (figures["num_rows"], figures["num_problems_attacked"], figures["findings"]) == (9, 4, [])


def test_a_reward_for_one_kind_of_answer_is_attacked_on_problems_of_that_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    attacked: list[set[str]] = []

    def attack(table: object, problems: list[Problem]) -> RewardAudit:
        attacked.append({problem.domain for problem in problems})
        return RewardAudit()

    monkeypatch.setattr("aha.commands.audits.attack_reward", attack)
    for spec in ("accuracy", "math=2", "choice", "choice=0.5", "format"):
        audit_named_reward(spec, None)
    assert attacked == [{"math"}, {"math"}, {"choice"}, {"choice"}, {"math"}]


@pytest.mark.parametrize(
    ("question", "language"),
    [("What is 18 + 24?", "en"), ("\u8ba1\u7b97 1 + 1", "zh"), ("1 + 1", "en"), ("\u7b97 add", "en")],
)
def test_the_language_of_a_question_is_that_of_most_of_its_words(
    question: str, language: str, mine: Path, tmp_path: Path
) -> None:
    path = write(tmp_path, row(language, True, question=question))
    assert audit_named_reward(f"{mine}:language", path)[0]["findings"] == []


def test_a_problem_of_the_users_own_needs_a_reference_only_where_it_is_attacked(mine: Path, tmp_path: Path) -> None:
    for empty in (None, ""):
        path = write(tmp_path, row("own", True, domain="own", answer=empty))
        assert audit_named_reward(f"{mine}:domain", path)[0]["is_fit"]
        with pytest.raises(ValueError, match="field 'answer'"):
            audit_named_reward(f"{mine}:domain", path, with_attacks=True)


@pytest.mark.parametrize(("threshold", "num_findings"), [(0.5, 0), (1.0, 0), (1.01, 1)])
def test_a_response_is_rewarded_from_the_threshold_on(
    threshold: float, num_findings: int, mine: Path, tmp_path: Path
) -> None:
    path = write(tmp_path, row("42", True), row("7", False))
    figures, _ = audit_named_reward(f"{mine}:contains", path, threshold=threshold)
    assert (figures["threshold"], figures["num_findings"]) == (threshold, num_findings)


FINDING = {"place": "rows:1", "attack": "", "reward": 1.0, "honest": None, "reason": "why", "num_chars": 3}


def test_an_audit_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line that there can be, with the times in milliseconds."""
    found: list[dict[str, Any]] = [
        {"faults": ("paid attack",), "response": "a" * 79, "attack": "spam", "honest": 0.5},
        {"faults": ("false positive", "unstable"), "response": "b" * 78},
        {"faults": ("exception",), "response": "c\n", "reward": None, "reason": "it\nbroke"},
    ]
    result = RewardAudit(
        num_rows=3,
        num_correct=2,
        num_problems=4,
        false_positives=5,
        false_negatives=6,
        abstentions=7,
        unstable=8,
        unpaid_honest=9,
        unjudged_honest=10,
        attacks={"spam": AttackCount(made=12, paid=11), "empty": AttackCount(made=3)},
        exceptions=Counter({"mine.py:3: KeyError": 2, "mine.py:4: OSError": 1}),
        num_calls=7,
        seconds=0.014,
        largest_seconds=0.0055,
        slowest="rows:9, 12 characters",
        findings=[Finding(**FINDING | each) for each in found],
    )
    monkeypatch.setattr("aha.commands.audits.audit_reward", lambda *_, **__: result)
    figures, text = audit_named_reward("accuracy", write(tmp_path, row("42", True)), beside=("format=2",), num_shown=3)
    assert text.splitlines() == [
        "reward           accuracy + format=2",
        "rows             3 (2 correct)",
        "false positives  5",
        "false negatives  6",
        "abstentions      7",
        "unstable         8",
        "exceptions       3",
        "  mine.py:3: KeyError: 2",
        "  mine.py:4: OSError: 1",
        "time per call    2.00 ms on average, 5.50 ms at most (rows:9, 12 characters)",
        "problems         4",
        "paid attacks     11 of 15",
        "  spam: 11 of 12",
        "note: problems whose honest answer earns no more than an empty response: 9; the reward alone does not teach "
        "right answers (audit it --beside accuracy), or reads another form of answer",
        "note: problems not attacked, as the reward abstains from the honest answer: 10",
        "note: a function abstained from every response, as one does that returns nothing",
        # A text is cut after 80 characters, its quotation marks among them.
        f"rows:1: false positive, unstable: earned 1: '{'b' * 78}': why",
        r"rows:1: exception: abstained: 'c\n': it\nbroke",
        f"rows:1: paid attack [spam]: earned 1 (honest answer: 0.5): '{'a' * 79} ...: why",
    ]
    assert (figures["reward"], figures["beside"], figures["threshold"]) == ("accuracy", ["format=2"], 0.5)
    assert figures["seconds_per_call"] == {
        "mean": pytest.approx(0.002),
        "largest": 0.0055,
        "slowest": "rows:9, 12 characters",
    }
    assert figures["attacks"] == {"spam": {"made": 12, "paid": 11}, "empty": {"made": 3, "paid": 0}}
    assert (figures["paid_attacks"], figures["num_findings"], figures["is_fit"]) == (11, 3, False)
    assert not audit_named_reward("accuracy", write(tmp_path, row("42", True)), num_allowed=3)[0]["is_fit"]


def test_twenty_findings_are_shown_unless_more_are_asked_for(mine: Path, tmp_path: Path) -> None:
    path = write(tmp_path, *(row(f"no {number}", True) for number in range(21)))
    _, text = audit_named_reward(f"{mine}:contains", path)
    assert text.count("false negative:") == 20
    assert text.endswith("and 1 more; --show N lists more, --json all")
    _, text = audit_named_reward(f"{mine}:contains", path, num_shown=21)
    assert text.count("false negative:") == 21
    assert "more; --show" not in text
