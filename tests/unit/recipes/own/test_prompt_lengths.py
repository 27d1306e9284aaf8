"""Prompts against the positions of a model: what just fits is kept, one token more is refused."""

from dataclasses import replace

import pytest
from tiny import letters_tokenizer

from aha.problems.datasets.sets import ProblemSet
from aha.prompts.templates import bare
from aha.recipes.base_model import open_base
from aha.recipes.own.prompt_lengths import PromptLimits, prompt_limits
from aha.recipes.scales import R1ZeroConfig
from aha.stages.config import EvaluationConfig, RLConfig
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


def numbered(*lengths: int) -> ProblemSet:
    """Problems p0, p1, ... with prompts of these lengths; the first of them comes from a line of a file."""
    problems = [
        Problem(id=f"p{number}", question=" ".join("a" * length), answer="1", domain="math")
        for number, length in enumerate(lengths)
    ]
    return ProblemSet(name="own", problems=problems, places={"p0": "own.jsonl:1"})


def refusal(problems: ProblemSet, limits: PromptLimits) -> str:
    with pytest.raises(ValueError, match="the prompt has") as refused:
        limits.fitting(problems, "train")
    return str(refused.value)


@pytest.mark.parametrize(
    ("positions", "lengths", "other_remedy", "remedy"),
    [
        (10, (9, 5), "", "lower --zero.max-new-tokens to 1 or less"),
        (10, (6, 5, 8), "", "lower --zero.max-new-tokens to 2 or less"),
        (10, (10, 5), "", "take a model with more positions"),
        (10, (12, 5), "", "take a model with more positions"),
        (10, (9, 5), "change the file", "lower --zero.max-new-tokens to 1 or less, or change the file"),
        (10, (10, 5), "change the file", "take a model with more positions, or change the file"),
    ],
)
def test_a_refusal_names_what_helps(positions: int, lengths: tuple[int, ...], other_remedy: str, remedy: str) -> None:
    given = replace(limits(cap=5, positions=positions), other_remedy=other_remedy)
    assert refusal(numbered(*lengths), given).endswith(
        f"prompts do not: {remedy}, or leave these problems out with --long-prompts skip"
    )
    assert refusal(numbered(*lengths), replace(given, has_choice=False)).endswith(f"prompts do not: {remedy}")


def test_a_refusal_says_where_the_first_one_is_and_how_many_there_are() -> None:
    message = (
        "{}: the prompt has 6 tokens, and with those of a response (--zero.max-new-tokens 5) it must fit into the "
        "10 positions of the model; {} train prompts do not: "
    )
    for lengths, place, count in (((6, 5, 8), "own.jsonl:1", "2 of 3"), ((5, 6), "p1", "1 of 2")):
        assert refusal(numbered(*lengths), limits(cap=5, positions=10)).startswith(message.format(place, count))


def test_what_is_too_long_is_left_out_where_the_user_says_so() -> None:
    skipping = replace(limits(cap=5, positions=10), on_long="skip")
    given = numbered(6, 5, 4, 8)
    kept, left_out = skipping.fitting(given, "train")
    assert [problem.id for problem in kept] == ["p1", "p2"]
    assert left_out == ["own.jsonl:1 (6 tokens)", "p3 (8 tokens)"]
    # Where nothing is left, skipping is no way out.
    assert "skip" not in refusal(numbered(6, 8), skipping)


def test_a_question_without_a_token_is_no_prompt() -> None:
    skipping = replace(limits(cap=5, positions=10), on_long="skip")
    assert skipping.fitting(numbered(0, 1), "train")[1] == ["own.jsonl:1 (0 tokens)"]


def test_a_use_for_which_nothing_is_sampled_has_no_limit() -> None:
    given = numbered(12)
    assert limits(cap=5, positions=10).fitting(given, "validation") == (given, [])


@pytest.mark.parametrize(
    ("iterations", "caps", "expected"),
    [
        ((1, 1), (8, 9), {"test": "evaluation 6", "train": "longer 9", "validation": "validation 7"}),
        ((1, 1), (9, 8), {"test": "evaluation 6", "train": "zero 9", "validation": "validation 7"}),
        ((1, 0), (8, 9), {"test": "evaluation 6", "train": "zero 8", "validation": "validation 7"}),
        ((0, 1), (9, 8), {"test": "evaluation 6", "train": "longer 8", "validation": "validation 7"}),
        ((0, 0), (8, 9), {"test": "evaluation 6"}),
    ],
)
def test_the_limits_of_a_run_are_those_of_the_parts_that_run(
    iterations: tuple[int, int], caps: tuple[int, int], expected: dict[str, str]
) -> None:
    zero, longer = (RLConfig(iterations=count, max_new_tokens=cap) for count, cap in zip(iterations, caps, strict=True))
    look = EvaluationConfig(num_problems=1)
    config = R1ZeroConfig(
        zero=zero,
        longer=longer,
        validation=look.model_copy(update={"max_new_tokens": 7}),
        evaluation=look.model_copy(update={"max_new_tokens": 6}),
    )
    found = prompt_limits(open_base(), config, bare, list, "skip")
    assert found.caps == {
        use: (f"--{text.split()[0]}.max-new-tokens", int(text.split()[1])) for use, text in expected.items()
    }
    assert (found.positions, found.on_long, found.template, found.wording) == (1024, "skip", bare, list)
