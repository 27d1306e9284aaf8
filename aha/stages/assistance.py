"""What other models do for the recipe, over an OpenAI-compatible endpoint: rewrite, judge, and compare.

Each function makes the part that a stage takes: an `Editor` for the cold start, a `Judge` for rejection sampling, a
`Label` for preferences. The built-in world has parts of its own that need no other model.

Source: DeepSeek-R1, arXiv:2501.12948v2, B.3.2 (rewriting), B.3.3 (judging) and 3.1 (comparing).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aha.prompts.instructions import rewrite_instruction
from aha.rewards.judge import balance_lengths, judged, keeps, preference_votes
from aha.rollouts.endpoint import ChatRequest, Endpoint
from aha.runs.seeds import derive_seed, generator
from aha.stages.labelling import Label
from aha.stages.preference import PreferenceSource
from aha.stages.rejection import Editor, Judge
from aha.types import Draft, Preference, Problem

__all__ = ["Balanced", "comparing", "judging", "rewriting"]

PAIR = 2


def rewriting(endpoint: Endpoint, *, seed: int, temperature: float = 0.7) -> Editor:
    """An editor that is another model, given the paper's instructions.

    Args:
        endpoint: the model; requests that fail for good are counted there, and their drafts are not rewritten.
        seed: run seed; each draft is asked with a seed of its own.
        temperature: of its sampling; the paper gives none.
    """

    def edit_by_endpoint(drafts: Sequence[Draft]) -> list[str | None]:
        requests = [
            ChatRequest(
                messages=rewrite_instruction(
                    draft.problem.question, draft.thinking, draft.answer, draft.problem.language
                ),
                temperature=temperature,
                seed=derive_seed(seed, "rewrite", draft.problem.id, draft.thinking) % 2**31,
            )
            for draft in drafts
        ]
        return [answer.text for answer in endpoint.ask_all(requests)]

    edit_by_endpoint.__qualname__ = f"rewriting({endpoint.model}, {temperature})"
    return edit_by_endpoint


def judging(endpoint: Endpoint) -> Judge:
    """A judge that is another model: does a prediction say the same as the reference answer?"""

    def judge_by_endpoint(problem: Problem, prediction: str) -> bool | None:
        verdict = judged(endpoint.ask, problem, prediction).verdict
        return None if verdict is None else verdict.score == 1.0

    judge_by_endpoint.__qualname__ = f"judging({endpoint.model})"
    return judge_by_endpoint


def comparing(endpoint: Endpoint, *, seed: int, num_votes: int = 4) -> Label:
    """A labeller of pairs that is another model: four votes with the order swapped in two, and a margin above 1.

    Args:
        endpoint: the model.
        seed: run seed, for the order of each vote.
        num_votes: how often each pair is judged.

    Returns:
        Labels the better response 1 and the other 0; gives no label to a pair that is not clear, nor to anything that
        is not a pair.
    """

    def compare_by_endpoint(problem: Problem, texts: Sequence[str]) -> list[float] | None:
        if len(texts) != PAIR:
            return None
        rng = generator(seed, "votes", problem.id)
        mean = preference_votes(endpoint.ask, problem.question, *texts, num_votes=num_votes, rng=rng)
        return None if mean is None or not keeps(mean) else [float(mean > 0), float(mean < 0)]

    compare_by_endpoint.__qualname__ = f"comparing({endpoint.model}, {num_votes})"
    return compare_by_endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Balanced:
    """Pairs of which some are left out, so that chosen and rejected responses are about equally long.

    Attributes:
        source: pairs.

    Source: DeepSeek-R1, arXiv:2501.12948v2, 3.1: a judge prefers long responses, and a reward model would learn that.
    """

    source: PreferenceSource

    @property
    def key(self) -> str:
        """What decides them."""
        return f"balanced {self.source.key}"

    def __call__(self) -> Sequence[Preference]:
        """The pairs that stay, in order."""
        pairs = [one for one in self.source() if len(one.responses) == PAIR and len(set(one.qualities)) == PAIR]
        return balance_lengths(pairs, [_lengths(pair) for pair in pairs])


def _lengths(pair: Preference) -> tuple[int, int]:
    """Letters of the chosen and of the rejected response."""
    better = max(range(PAIR), key=pair.qualities.__getitem__)
    return len(pair.responses[better]), len(pair.responses[1 - better])
