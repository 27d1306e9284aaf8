"""Prompts against the positions of a model: what just fits is kept, one token more is refused."""

import pytest
from tiny import letters_tokenizer

from aha.problems.datasets.sets import ProblemSet
from aha.prompts.templates import bare
from aha.recipes.prompt_lengths import PromptLimits
from aha.types import Problem


def limits(cap: int, positions: int) -> PromptLimits:
    return PromptLimits(
        tokenizer=letters_tokenizer(),
        positions=positions,
        template=bare,
        wording=list,
        caps={"train": ("--zero.max-new-tokens", cap)},
        on_long="stop",
    )


def test_a_prompt_that_leaves_room_for_just_one_response_fits() -> None:
    problems = ProblemSet(name="own", problems=[Problem(id="p", question="a b c", answer="1", domain="math")])
    [length] = [len(ids) for ids in letters_tokenizer().encode_prompts([bare("a b c")])]
    assert limits(cap=20, positions=length + 20).fitting(problems, "train") == (problems, [])
    with pytest.raises(ValueError, match="max-new-tokens to 19 or less"):
        limits(cap=20, positions=length + 19).fitting(problems, "train")
