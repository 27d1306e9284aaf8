"""Splits are disjoint in any language or wording, every reference answer is right, equal seeds give equal problems."""

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
import torch
from tiny import world_tokenizer

from aha.problems.world.families import FAMILIES, Content
from aha.problems.world.questions import (
    SPLITS,
    TrainingProblems,
    draw_content,
    draw_problem,
    held_out_problems,
    question,
    split_of,
)
from aha.rewards.accuracy import accuracy
from aha.types import Problem, Rollout

HELD_OUT = ("validation", "test", "hard")
COUNT = 200


@pytest.fixture(scope="module")
def by_split() -> dict[str, list[Problem]]:
    """Many problems of each split."""
    return {
        "train": [problem for iteration in range(4) for problem in TrainingProblems(seed=0)(iteration, 400)],
        **{split: held_out_problems(split, COUNT) for split in HELD_OUT},
    }


def answered(problem: Problem, answer: str) -> float:
    """What the accuracy reward says of an answer."""
    nothing = torch.empty(0, dtype=torch.int64)
    text = f"<think> </think> <answer> {answer} </answer>"
    rollout = Rollout(
        problem_id=problem.id, prompt_tokens=nothing, tokens=nothing, logp=torch.empty(0), text=text, finish="stop"
    )
    return accuracy(problem, rollout).score


# Splits


def test_splits_share_no_problem(
    by_split: dict[str, list[Problem]], identities: Callable[[str], set[tuple[object, ...]]]
) -> None:
    found = {split: [identities(problem.question) for problem in problems] for split, problems in by_split.items()}
    assert all(len(each) == 1 for each in found.values() for each in each)
    sets = {split: set().union(*each) for split, each in found.items()}
    assert len(sets["train"]) > 1000
    for split in SPLITS:
        for other in SPLITS:
            assert split == other or not sets[split] & sets[other], (split, other)


@pytest.mark.parametrize("split", SPLITS)
def test_a_problem_is_in_one_split_in_both_languages(
    split: str, identities: Callable[[str], set[tuple[object, ...]]]
) -> None:
    rng = Random(1)
    for _ in range(200):
        content = draw_content(rng, split)
        assert split_of(content) == split
        assert identities(question(content, "en")) == identities(question(content, "zh"))


def test_the_split_depends_on_what_the_problem_is_and_not_on_how_it_is_put() -> None:
    rng = Random(2)
    for _ in range(100):
        content = draw_content(rng, "train", ("pair", "countdown"))
        given = rng.sample(content.numbers, len(content.numbers))
        again = Content(
            family=content.family,
            level=content.level,
            numbers=tuple(given),
            target=content.target,
            answer="",
            key=f"{content.family} {sorted(given)} {content.target}",
        )
        assert again.key == content.key
        assert split_of(again) == "train"


def test_the_splits_stay_as_they_are() -> None:
    keys = {
        "arithmetic 3 + 4 - 2": "validation",
        "arithmetic 7 - 2 + 11": "train",
        "linear x + 3 = 10": "train",
        "pair [7, 16, 18, 23] 41": "validation",
        "countdown [2, 3, 8] 9": "train",
        "quadratic 1 5 6": "train",
        "quadratic 1 7 10": "test",
    }
    for key, split in keys.items():
        family = key.split()[0]
        content = Content(family=family, level=FAMILIES[family].levels[0], numbers=(), answer="", key=key)
        assert split_of(content) == split, key


def test_four_fifths_are_for_training() -> None:
    rng, counts = Random(3), Counter()
    for name, family in FAMILIES.items():
        if name != "quadratic":
            counts.update(split_of(family.draw(rng, rng.choice(family.levels))) for _ in range(1000))
    total = counts.total()
    assert counts["train"] / total == pytest.approx(0.8, abs=0.03)
    assert counts["validation"] / total == pytest.approx(0.1, abs=0.03)
    assert counts["test"] / total == pytest.approx(0.1, abs=0.03)


def test_hard_problems_are_beyond_the_training_range(by_split: dict[str, list[Problem]]) -> None:
    for split, problems in by_split.items():
        for problem in problems:
            family = FAMILIES[problem.domain]
            assert problem.split == split
            assert problem.level in (family.hard_levels if split == "hard" else family.levels)


# Answers and words


@pytest.mark.full
def test_every_reference_answer_is_right(by_split: dict[str, list[Problem]]) -> None:
    tokenizer = world_tokenizer()
    for problems in by_split.values():
        for problem in problems:
            assert answered(problem, problem.answer) == 1.0, problem
            assert answered(problem, tokenizer.decode(tokenizer.encode(problem.answer))) == 1.0, problem


def test_another_answer_is_wrong(by_split: dict[str, list[Problem]]) -> None:
    for problem in by_split["test"]:
        for wrong in ("", "0 + 0", "49", f"{problem.answer} + 1", f"{problem.answer} , 48"):
            assert answered(problem, wrong) == 0.0 or problem.answer == wrong, (problem, wrong)


def test_questions_are_in_the_vocabulary_and_in_their_language(by_split: dict[str, list[Problem]]) -> None:
    for problems in by_split.values():
        for problem in problems:
            assert world_tokenizer().unknown_words(f"{problem.question} {problem.answer}") == []
            is_chinese = any("\u4e00" <= character <= "\u9fff" for character in problem.question)
            assert is_chinese == (problem.language == "zh"), problem
        share = sum(problem.language == "zh" for problem in problems) / len(problems)
        assert share == pytest.approx(0.4, abs=0.1)


def test_ids_name_the_problem(by_split: dict[str, list[Problem]]) -> None:
    for split in HELD_OUT:
        assert len({problem.id for problem in by_split[split]}) == COUNT
    for problem in by_split["train"]:
        assert problem.id == f"{problem.domain}/{problem.language}/{problem.question}"


# Determinism


def test_training_problems_depend_on_the_seed_and_the_iteration() -> None:
    stream = TrainingProblems(seed=5)
    assert stream(3, 20) == TrainingProblems(seed=5)(3, 20)
    assert stream(3, 20) != stream(4, 20)
    assert stream(3, 20) != TrainingProblems(seed=6)(3, 20)
    assert stream.key == TrainingProblems(seed=5).key
    keys = {stream.key, TrainingProblems(seed=6).key, TrainingProblems(seed=5, families=("pair",)).key}
    assert len({*keys, TrainingProblems(seed=5, is_shuffled=True).key}) == 4


def test_training_problems_stay_as_they_are() -> None:
    first = TrainingProblems(seed=0)(0, 4)
    assert all(problem.split == "train" for problem in first)
    assert [problem.id for problem in first] == [problem.id for problem in TrainingProblems(seed=0)(0, 4)]


def test_every_family_has_its_share() -> None:
    for count in (50, 100):
        for iteration in range(5):
            counts = Counter(problem.domain for problem in TrainingProblems(seed=0)(iteration, count))
            for name, family in FAMILIES.items():
                assert abs(counts[name] - family.share * count) <= 1 + 1e-9, (name, counts)


def test_families_can_be_chosen() -> None:
    for families in (("pair",), ("linear", "quadratic")):
        assert {p.domain for p in TrainingProblems(seed=0, families=families)(0, 30)} == set(families)
        assert {p.domain for p in held_out_problems("hard", 30, families=families)} == set(families)
        assert {draw_problem(Random(0), "train", families=families).domain} <= set(families)


def test_shuffled_answers_are_of_the_family_and_say_nothing_about_the_question() -> None:
    plain = TrainingProblems(seed=0)(0, 200)
    shuffled = TrainingProblems(seed=0, is_shuffled=True)(0, 200)
    assert [p.question for p in plain] == [p.question for p in shuffled]
    assert [p.id for p in plain] == [p.id for p in shuffled]
    is_right = [answered(a, b.answer) == 1.0 for a, b in zip(plain, shuffled, strict=True)]
    assert sum(is_right) < 20
    assert all(answered(problem, problem.answer) == 1.0 for problem in shuffled if problem.domain != "pair")


def test_held_out_problems_are_a_fixed_set() -> None:
    assert held_out_problems("test", 30) == held_out_problems("test", 30)
    assert held_out_problems("test", 30) != held_out_problems("test", 30, seed=1)
    assert held_out_problems("test", 30) != held_out_problems("validation", 30)


@pytest.mark.full
def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no split 'dev': the built-in world has train, validation, test, hard"):
        held_out_problems("dev", 3)
    with pytest.raises(ValueError, match=r"the test split has fewer than 60 different problems of quadratic"):
        held_out_problems("test", 60, families=("quadratic",))
