"""Which problems the R1 recipe samples for its reasoning data, with and without a judge."""

import pytest

from aha.problems.world.general import GENERAL_SPLITS, every_prompt
from aha.problems.world.questions import held_out_problems
from aha.recipes.r1.built_in import JUDGED_DOMAINS, problems_to_harvest
from aha.recipes.r1.rewards import num_examined
from aha.rewards.accuracy import has_rule
from aha.stages.config import RejectionConfig


def test_without_a_judge_all_problems_have_a_rule() -> None:
    problems = problems_to_harvest(200, seed=3, is_judged=False)
    assert problems == held_out_problems("train", 200, seed=3)
    assert all(has_rule(problem.domain) for problem in problems)


def test_with_a_judge_general_questions_follow_the_same_reasoning_problems() -> None:
    problems = problems_to_harvest(200, seed=3, is_judged=True)
    questions = problems[200:]
    assert problems[:200] == held_out_problems("train", 200, seed=3)
    assert len(questions) == len({question.id for question in questions}) == 20
    assert {question.domain for question in questions} == {*JUDGED_DOMAINS}
    assert not any(has_rule(question.domain) for question in questions)
    assert all(question.answer for question in questions)


@pytest.mark.parametrize("count", [1, 4000])
def test_there_is_one_general_question_at_least_and_no_more_than_the_training_split_has(count: int) -> None:
    prompts = {split: {p for domain in JUDGED_DOMAINS for p in every_prompt(domain, split)} for split in GENERAL_SPLITS}
    questions = problems_to_harvest(count, seed=0, is_judged=True)[count:]
    assert len(questions) == (1 if count == 1 else len(prompts["train"]))
    assert {*questions} <= prompts["train"]
    held_out = prompts["validation"] | prompts["test"]
    assert {question.question for question in questions}.isdisjoint(prompt.question for prompt in held_out)


def test_the_seed_of_the_run_draws_the_general_questions() -> None:
    first, second = (problems_to_harvest(100, seed=seed, is_judged=True)[100:] for seed in (0, 1))
    assert first != second


def test_a_reward_model_is_examined_on_one_prompt_for_every_five() -> None:
    counts = {number: num_examined(RejectionConfig(num_problems=number)) for number in (1, 4, 5, 9, 10, 900)}
    assert counts == {1: 1, 4: 1, 5: 1, 9: 1, 10: 2, 900: 180}
