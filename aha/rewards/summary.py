"""The format reward of R1: is the reasoning set apart from a summary?"""

from aha.prompts.parsing import parse_response
from aha.types import Problem, Rollout, Verdict

__all__ = ["format_reward"]


def format_reward(problem: Problem, rollout: Rollout) -> Verdict:
    """1 for a response in R1's format, `<think> reasoning </think> summary`, 0 for any other.

    R1-Zero's format, with an answer block, has a function of its own, `aha.rewards.format`; a recipe takes the one that
    its template asks for.

    Args:
        problem: not looked at; the format is the same for all.
        rollout: its text is judged.

    Returns:
        The score, 0.0 or 1.0, and what breaks the format, or what was asked for and is there.

    Source: DeepSeek-R1, arXiv:2501.12948v2, Eq. 9 (R_format for general data) and v1 2.3.1 (the format). Ours: 1 and
    0, for reasoning data too; v1 leaves the format out of the first stage's reward, v2 has it in the rules.
    """
    parsed = parse_response(rollout.text, ending="summary")
    score = float(parsed.is_well_formed)
    return Verdict(score=score, reason=parsed.reason)
