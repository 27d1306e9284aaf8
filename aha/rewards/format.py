"""The format reward: does the response keep its thinking and its answer between the tags?"""

from aha.prompts.parsing import parse_response
from aha.types import Problem, Rollout, Verdict

__all__ = ["format_reward"]


def format_reward(problem: Problem, rollout: Rollout) -> Verdict:
    """1 for a response in the R1-Zero format, `<think> ... </think> <answer> ... </answer>`, 0 for any other.

    R1's format, with a summary in place of the answer block, has a function of its own, `aha.rewards.summary`; a recipe
    takes the one that its template asks for.

    Args:
        problem: not looked at; the format is the same for all.
        rollout: its text is judged.

    Returns:
        The score, 0.0 or 1.0, and what breaks the format, or what was asked for and is there.

    Source: DeepSeek-R1, arXiv:2501.12948v2, 2.2. Ours: 1 and 0, and that `<answer>` is checked too; the paper gives no
    value and asks for the thinking tags only.
    """
    parsed = parse_response(rollout.text)
    score = float(parsed.is_well_formed)
    return Verdict(score=score, reason=parsed.reason)
