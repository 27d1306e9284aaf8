"""No question of one split is asked in another, in any wording but for upper case and blanks."""

from collections.abc import Iterable
from itertools import combinations

import pytest

from aha.problems.world.families import FAMILIES
from aha.problems.world.general import GENERAL_DOMAINS, GeneralProblems, every_prompt
from aha.problems.world.questions import SPLITS, held_out_problems
from aha.recipes.r1.rewards import preference_prompts
from aha.types import Problem


def asked(problems: Iterable[Problem]) -> set[str]:
    """Questions, but for upper case and blanks."""
    return {" ".join(problem.question.casefold().split()) for problem in problems}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_splits_of_a_family_are_apart(family: str) -> None:
    questions = {split: asked(held_out_problems(split, 4, families=(family,))) for split in SPLITS}

    for one, other in combinations(SPLITS, 2):
        assert not questions[one] & questions[other], (one, other)


def test_general_prompts_that_are_learned_from_are_never_asked_in_an_examination() -> None:
    learned, examined, watched = set(), set(), set()
    for domain in GENERAL_DOMAINS:
        examined |= asked(every_prompt(domain, "test"))
        watched |= asked(every_prompt(domain, "validation"))
    for seed in (0, 1):
        # Demonstrations are written for the part of the stream before its first problem.
        learned |= asked(GeneralProblems(seed=seed)(-1, 200)) | asked(GeneralProblems(seed=seed)(0, 200))
        for is_helpful in (True, False):
            learned |= asked(preference_prompts("train", 20, seed=seed, is_helpful=is_helpful))
            watched |= asked(preference_prompts("validation", 8, seed=seed, is_helpful=is_helpful))

    assert learned
    assert examined
    assert watched
    assert not learned & examined
    assert not learned & watched
    assert not watched & examined


def test_validation_prompts_of_reward_models_do_not_depend_on_the_run_seed() -> None:
    for is_helpful in (True, False):
        watched = [preference_prompts("validation", 8, seed=seed, is_helpful=is_helpful) for seed in (0, 1)]
        assert watched[0] == watched[1]
        trained = [preference_prompts("train", 20, seed=seed, is_helpful=is_helpful) for seed in (0, 1)]
        assert trained[0] != trained[1]
