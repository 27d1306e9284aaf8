"""The format reward."""

from collections.abc import Callable

import pytest

from aha.rewards.format import format_reward
from aha.types import Problem, Rollout, Verdict

PROBLEM = Problem(id="p", question="compute 7 + 7", answer="14", domain="arithmetic")


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("<think> 14 </think> <answer> 14 </answer>", Verdict(score=1.0, reason="each tag once, in order")),
        ("<think> 14 </think> <answer> a wrong answer </answer>", Verdict(score=1.0, reason="each tag once, in order")),
        ("<answer> 14 </answer>", Verdict(score=0.0, reason="no <think>, no </think>")),
        ("<think> 14 </think> <answer> 14 </answer> yes", Verdict(score=0.0, reason="text after </answer>")),
    ],
)
def test_the_format_counts_and_nothing_else(text: str, verdict: Verdict, rollout: Callable[[str], Rollout]) -> None:
    assert format_reward(PROBLEM, rollout(text)) == verdict
