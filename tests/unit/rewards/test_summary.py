"""The format reward of R1, and that rewards are merged by domain."""

import pytest
import torch

from aha.rewards.accuracy import COMPARERS
from aha.rewards.format import format_reward as zero_format
from aha.rewards.language import language_reward
from aha.rewards.summary import format_reward
from aha.rewards.table import merge_tables, rules, score
from aha.types import Problem, Rollout

FIVE = Problem(id="p", question="compute 2 + 3", answer="5", domain="arithmetic")


def rollout(text: str) -> Rollout:
    tokens = torch.tensor([1])
    return Rollout(problem_id="p", prompt_tokens=tokens, tokens=tokens, logp=torch.zeros(1), text=text, finish="stop")


@pytest.mark.parametrize(
    ("text", "of_zero", "of_r1"),
    [
        (r"<think> 2 + 3 = 5 </think> so the answer is \boxed { 5 } .", 0.0, 1.0),
        ("<think> 2 + 3 = 5 </think> <answer> 5 </answer>", 1.0, 0.0),
        ("5", 0.0, 0.0),
    ],
)
def test_each_format_has_its_reward(text: str, of_zero: float, of_r1: float) -> None:
    assert zero_format(FIVE, rollout(text)).score == of_zero
    assert format_reward(FIVE, rollout(text)).score == of_r1


def test_the_first_stage_of_r1_sums_three_parts() -> None:
    table = merge_tables(rules(COMPARERS, format_reward), {domain: {language_reward: 1.0} for domain in COMPARERS})
    text = r"<think> first 2 + 3 = 5 再 check </think> so the answer is \boxed { 5 } ."
    reward = score(table, FIVE, rollout(text))
    assert reward.parts == {"accuracy": 1.0, "format": 1.0, "language": pytest.approx(2 / 3)}
    assert reward.total == pytest.approx(2 + 2 / 3)
