"""Rejection sampling: what is kept, why the rest is not, and what a judge and an editor are asked."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace

import pytest
import torch

from aha.evaluation.contamination import Contamination
from aha.evaluation.readability import READABLE, faults
from aha.prompts.parsing import parse_response
from aha.rewards.accuracy import accuracy
from aha.stages.harvests.harvest import Selection
from aha.stages.harvests.rejection import Rejection
from aha.types import Demonstration, Draft, Group, Problem, Rollout

GOOD = r"<think> 2 + 3 = 5 </think> so the answer is \boxed { 5 } ."
FIVE = Problem(id="p", question="compute 2 + 3", answer="5", domain="arithmetic")
CHOICE = Problem(id="c", question="which one ? a ) x b ) y", answer="B", domain="choice")
GRASS = Problem(id="g", question="what is grass", answer="green", domain="fact")
"""No rule compares its answers."""


def rollout(text: str, *, finish: str = "stop") -> Rollout:
    tokens = torch.tensor([1])
    return Rollout(problem_id="p", prompt_tokens=tokens, tokens=tokens, logp=torch.zeros(1), text=text, finish=finish)  # type: ignore[arg-type]


def group(*texts: str, problem: Problem = FIVE) -> Group:
    return Group(problem=problem, rollouts=tuple(rollout(text) for text in texts), rewards=())


class Judge:
    """Finds right what says `green`, wrong what says `red`, and does not know otherwise; remembers what it is asked."""

    def __init__(self) -> None:
        self.calls: list[list[tuple[str, str]]] = []

    def __call__(self, asked: Sequence[tuple[Problem, str]]) -> list[bool | None]:
        self.calls.append([(problem.id, prediction) for problem, prediction in asked])
        return [True if "green" in text else False if "red" in text else None for _, text in asked]


# What is kept


def test_rejection_keeps_what_is_right_and_readable_and_counts_the_rest() -> None:
    texts = [
        GOOD,
        GOOD.replace("boxed { 5 }", "boxed { 6 }"),
        GOOD.replace("2 + 3 = 5", "试 2 + 3 = 5"),
        GOOD.replace("2 + 3 = 5", "``` 2 + 3 ```"),
        GOOD.replace("2 + 3 = 5", "check " * 201),
        GOOD.replace("<think>", ""),
        GOOD,
        GOOD,
    ]
    keep = Rejection(source="Dev2", num_kept=2)
    members = group(*texts)
    cut = Group(problem=FIVE, rollouts=(rollout(GOOD, finish="length"),), rewards=())
    picked = keep([members, cut])
    assert [row["response"] for row in picked.rows] == [GOOD, GOOD]
    assert +Counter(picked.dropped) == Counter(
        {"incorrect": 1, "mixed languages": 1, "code block": 1, "repetition": 1, "malformed": 1, "surplus": 1, "cut": 1}
    )


def test_what_stands_in_a_test_split_is_dropped() -> None:
    words = "one two three four five six seven eight nine ten"
    asked = Problem(id="p", question=f"{words} 2 + 3", answer="5", domain="arithmetic")
    keep = Rejection(source="Dev2", num_kept=2, contamination=Contamination([f"so {words} eleven"]))
    assert keep([group(GOOD, problem=asked)]).dropped["contaminated"] == 1
    assert len(keep([group(GOOD)]).rows) == 1


@pytest.mark.parametrize(
    ("edited", "fault"),
    [
        (None, "not rewritten"),
        ("so 5", "malformed by the editor"),
        (GOOD.replace("{ 5 }", "{ 6 }"), "made wrong by the editor"),
        (GOOD.replace("<think>", "<think> 试"), "unreadable after the editor"),
        (GOOD.replace("<think>", "<think> first"), ""),
    ],
)
def test_what_an_editor_spoils_is_dropped(edited: str | None, fault: str) -> None:
    def editor(drafts: Sequence[Draft]) -> list[str | None]:
        assert [(draft.thinking, draft.answer) for draft in drafts] == [("2 + 3 = 5", "5")]
        return [edited]

    keep = Rejection(source="cold", num_kept=1, ending="answer", editor=editor)
    picked = keep([group("<think> 2 + 3 = 5 </think> <answer> 5 </answer>")])
    assert [row["response"] for row in picked.rows] == ([edited] if not fault else [])
    assert +Counter(picked.dropped) == Counter([fault] if fault else [])


# Without a judge


def plain_pick(keep: Rejection, groups: Sequence[Group]) -> Selection:
    """What is kept without a judge, one response after the other, in the order of the paper's filters."""
    dropped: Counter[str] = Counter()
    rows, drafts, kept = [], [], []
    for members in groups:
        good = 0
        for one in members.rollouts:
            parts = parse_response(one.text, ending=keep.ending)
            fault = plain_fault(keep, members.problem, one)
            good += not fault
            if fault:
                dropped[fault] += 1
            elif good <= keep.num_kept:
                kept.append((members.problem, one))
                answer = parts.answer or parts.summary or ""
                drafts.append(Draft(problem=members.problem, thinking=parts.thinking or "", answer=answer))
        dropped["surplus"] += max(0, good - keep.num_kept)
    texts = [one.text for _, one in kept] if keep.editor is None else keep.editor(drafts)
    for (problem, one), text in zip(kept, texts, strict=True):
        fault = plain_fault_of_edit(keep, problem, one, text) if keep.editor else ""
        if fault:
            dropped[fault] += 1
        else:
            rows.append(asdict(row_of(problem, text or "")))
    return Selection(rows=rows, dropped=dropped)


def plain_fault(keep: Rejection, problem: Problem, one: Rollout) -> str:
    if one.finish != "stop":
        return "cut"
    if keep.contamination.overlaps(problem.question):
        return "contaminated"
    if accuracy(problem, one).score != 1.0:
        return "incorrect"
    if not parse_response(one.text, ending=keep.ending).is_well_formed:
        return "malformed"
    return (*faults(one.text, problem.language, keep.limits), "")[0]


def plain_fault_of_edit(keep: Rejection, problem: Problem, one: Rollout, text: str | None) -> str:
    if text is None:
        return "not rewritten"
    if not parse_response(text, ending="summary").is_well_formed:
        return "malformed by the editor"
    if accuracy(problem, replace(one, text=text)).score != 1.0:
        return "made wrong by the editor"
    return "unreadable after the editor" if faults(text, problem.language, keep.limits) else ""


def row_of(problem: Problem, text: str) -> Demonstration:
    return Demonstration(
        problem_id=problem.id,
        question=problem.question,
        response=text,
        domain=problem.domain,
        language=problem.language,
        source="Dev2",
    )


def rewrite(drafts: Sequence[Draft]) -> list[str | None]:
    """Spoils responses in every way in turn."""
    good = [f"<think> I see {draft.thinking} </think> it is \\boxed {{ {draft.answer} }} ." for draft in drafts]
    ways = [
        lambda text: text,
        lambda text: None,
        lambda text: text.replace("<think>", ""),
        lambda text: text.replace("boxed {", "boxed { 7"),
        lambda text: text.replace("I see", "试"),
    ]
    return [ways[number % len(ways)](text) for number, text in enumerate(good)]


@pytest.mark.parametrize("ending", ["summary", "answer"])
@pytest.mark.parametrize("editor", [None, rewrite])
@pytest.mark.parametrize("seed", range(2))
def test_without_a_judge_every_response_is_filtered_on_its_own(ending: str, editor: object, seed: int) -> None:
    """The same rows, and the same counts in the same order, as if there had never been a judge."""
    rng = random.Random(seed)
    problems = [FIVE, CHOICE, GRASS, replace(FIVE, id="q", question=" ".join("abcdefghij"))]
    thoughts = ["2 + 3 = 5", "试 2 + 3 = 5", "``` 2 + 3 ```", "check " * 201, "", "2 + 3 </think> = 5"]
    groups = []
    for number in range(120):
        problem = replace(rng.choice(problems), id=str(number))
        answers = [problem.answer, problem.answer, "6"]
        form = "so \\boxed {{ {} }} ." if ending == "summary" else "<answer> {} </answer>"
        texts = [f"<think> {rng.choice(thoughts)} </think> {form.format(rng.choice(answers))}" for _ in range(4)]
        finishes = rng.choices(["stop", "length"], [9, 1], k=4)
        rollouts = tuple(rollout(text, finish=end) for text, end in zip(texts, finishes, strict=True))
        groups.append(Group(problem=problem, rollouts=rollouts, rewards=()))

    keep = Rejection(
        source="Dev2",
        num_kept=2,
        limits=replace(READABLE, min_consistency=0.9),
        ending=ending,  # type: ignore[arg-type]
        contamination=Contamination([" ".join("abcdefghij")]),
        editor=editor,  # type: ignore[arg-type]
    )
    picked, plain = keep(groups), plain_pick(keep, groups)
    assert list(picked.rows) == list(plain.rows)
    assert list(picked.dropped.items()) == list(plain.dropped.items())
    assert len(picked.rows) > 5
    reasons = {"cut", "contaminated", "incorrect", "malformed", "mixed languages", "code block", "surplus"}
    reasons |= {"malformed by the editor", "made wrong by the editor", "not rewritten"} if editor else set()
    assert reasons - {*picked.dropped} == set()


# With a judge


def thoughtful(summary: str) -> str:
    return f"<think> 7 </think> {summary}"


def test_a_judge_decides_where_there_is_no_rule() -> None:
    judge = Judge()
    texts = [thoughtful(f"it is {word} .") for word in ("green", "red", "odd")]
    picked = Rejection(source="Dev2", num_kept=9, judge=judge)([group(*texts, problem=GRASS)])
    assert judge.calls == [[("g", f"it is {word} .") for word in ("green", "red", "odd")]]
    assert [row["response"] for row in picked.rows] == texts[:1]
    assert +Counter(picked.dropped) == Counter({"incorrect": 1, "no verdict": 1})


def test_a_judge_is_not_asked_where_there_is_a_rule() -> None:
    judge = Judge()
    keep = Rejection(source="Dev2", judge=judge)
    picked = keep([group(GOOD), group(GOOD.replace("{ 5 }", "{ B }"), problem=CHOICE)])
    assert len(picked.rows) == 2
    assert judge.calls == []


def test_a_judge_is_asked_once_and_only_for_what_could_be_kept() -> None:
    judge = Judge()
    words = " ".join("abcdefghij")
    keep = Rejection(source="Dev2", num_kept=9, judge=judge, contamination=Contamination([words]))
    good = thoughtful("it is green .")
    picked = keep(
        [
            group(good, "<think> 7 it is green .", "<think> 试 </think> it is green .", problem=GRASS),
            group(GOOD, GOOD.replace("{ 5 }", "{ 6 }")),
            Group(problem=GRASS, rollouts=(rollout(good, finish="length"),), rewards=()),
            group(good, problem=replace(GRASS, question=words)),
            group(thoughtful("it is red ."), good, problem=replace(GRASS, id="h")),
        ]
    )
    assert judge.calls == [[("g", "it is green ."), ("h", "it is red ."), ("h", "it is green .")]]
    assert [row["problem_id"] for row in picked.rows] == ["g", "p", "h"]
    reasons = ["malformed", "mixed languages", "cut", "contaminated"]
    assert +Counter(picked.dropped) == Counter({"incorrect": 2, **dict.fromkeys(reasons, 1)})


def test_a_judge_is_asked_once_more_about_what_the_editor_rewrote() -> None:
    judge = Judge()
    written = {
        "a": "<think> so </think> green it is .",
        "b": "<think> so </think> red it is .",
        "c": "<think> so </think> who knows .",
        "d": "<think> so",
        "e": "<think> 试 </think> green .",
    }

    def editor(drafts: Sequence[Draft]) -> list[str | None]:
        return [written[draft.problem.id] for draft in drafts]

    groups = [group(thoughtful("it is green ."), problem=replace(GRASS, id=name)) for name in written]
    picked = Rejection(source="cold", editor=editor, judge=judge)([*groups, group(GOOD.replace("5 }", "6 }"))])
    first, second = judge.calls
    assert first == [(name, "it is green .") for name in written]
    assert second == [("a", "green it is ."), ("b", "red it is ."), ("c", "who knows .")]
    assert [row["response"] for row in picked.rows] == [written["a"]]
    reasons = ["made wrong by the editor", "no verdict", "malformed by the editor", "unreadable after the editor"]
    assert +Counter(picked.dropped) == Counter(["incorrect", *reasons])
