"""A reward of your own: a right answer in few words is worth a little more."""

from aha.types import Problem, Rollout, Verdict

FREE_TOKENS, SHARE_PER_TOKEN = 40, 0.01


def concise(problem: Problem, rollout: Rollout) -> Verdict:
    """0 for up to 40 tokens, and 0.01 less for each one more, but never below -1."""
    excess = max(0, len(rollout.tokens) - FREE_TOKENS)
    return Verdict(score=max(-1.0, -SHARE_PER_TOKEN * excess), reason=f"{excess} tokens more than {FREE_TOKENS}")
