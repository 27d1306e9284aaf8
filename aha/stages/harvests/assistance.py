"""What other models do for the recipe, over an OpenAI-compatible endpoint: rewrite, judge, and compare.

Each function makes the part that a stage takes: an `Editor` for the cold start, a `Judge` for rejection sampling, a
`Label` for preferences. The built-in world has parts of its own that need no other model.

Source: DeepSeek-R1, arXiv:2501.12948v2, B.3.2 (rewriting), B.3.3 (judging) and 3.1 (comparing).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from statistics import fmean

from aha.engines.endpoint import ChatRequest, Endpoint
from aha.prompts.instructions import rewrite_instruction
from aha.rewards.judge import AskAll, balance_lengths, is_clear_vote, judgements, preference_votes
from aha.runs.seeds import derive_seed, generator
from aha.stages.harvests.labelling import Label
from aha.stages.harvests.rejection import Editor, Judge
from aha.stages.reward_models.sources import PreferenceSource
from aha.types import Draft, Preference, Problem

__all__ = ["Balanced", "comparing", "judging", "rewriting"]


def rewriting(endpoint: Endpoint, *, seed: int, temperature: float = 0.7) -> Editor:
    """An editor that is another model, given the paper's instructions.

    Args:
        endpoint: the model; requests that fail for good are counted there, and their drafts are not rewritten.
        seed: run seed; each draft is asked with a seed of its own.
        temperature: of its sampling; the paper gives none.
    """

    def edit_by_endpoint(drafts: Sequence[Draft]) -> list[str | None]:
        requests = [_rewrite_request(draft, seed, temperature) for draft in drafts]
        return [answer.text for answer in endpoint.ask_all(requests)]

    # The name is part of the key of the stage that edits: another model or temperature makes other data.
    edit_by_endpoint.__qualname__ = f"rewriting({endpoint.model}, {temperature})"
    return edit_by_endpoint


def _rewrite_request(draft: Draft, seed: int, temperature: float) -> ChatRequest:
    """The request to rewrite one draft."""
    problem = draft.problem

    # Servers take seeds of 31 bits.
    request_seed = derive_seed(seed, "rewrite", problem.id, draft.thinking) % 2**31
    instruction = rewrite_instruction(problem.question, draft.thinking, draft.answer, problem.language)
    return ChatRequest(messages=instruction, temperature=temperature, seed=request_seed)


def judging(endpoint: Endpoint) -> Judge:
    """A judge that is another model: do predictions say the same as the reference answers?

    Args:
        endpoint: the model; all predictions are asked about at once, `num_workers` at a time, equal ones once. There is
            no verdict on those whose requests fail for good.
    """

    def judge_by_endpoint(predictions: Sequence[tuple[Problem, str]]) -> list[bool | None]:
        answers: list[bool | None] = []
        for judgement in judgements(_asking(endpoint), predictions):
            verdict = judgement.verdict
            answers.append(None if verdict is None else verdict.score == 1.0)
        return answers

    judge_by_endpoint.__qualname__ = f"judging({endpoint.model})"
    return judge_by_endpoint


def _asking(endpoint: Endpoint) -> AskAll:
    """An endpoint that is asked for verdicts: each prompt is a request of its own."""

    def ask_all(prompts: Sequence[str]) -> list[str | None]:
        requests = [ChatRequest(messages=prompt, temperature=1.0, max_tokens=8192) for prompt in prompts]
        return [answer.text for answer in endpoint.ask_all(requests)]

    return ask_all


def comparing(endpoint: Endpoint, *, seed: int, num_votes: int = 4) -> Label:
    """A labeller of responses that is another model: each pair is judged by four votes, with the order swapped in two.

    The label of a response is its Copeland score: 1 for each other response that it clearly beats (a mean vote with a
    margin above 1), and 1/2 for each comparison that is not clear or got no verdict.

    Args:
        endpoint: the model; all votes on the responses to one prompt are asked at once, K (K - 1) / 2 x `num_votes`.
        seed: run seed, for the order of each vote.
        num_votes: how often each pair is judged.

    Returns:
        Labels K responses, two or more, with 0 to K - 1; of two responses the better is 1 and the other 0. Gives no
        label where no pair is clear, nor to a single response.

    Source: DeepSeek-R1, arXiv:2501.12948v2, 3.1, for two responses. Ours: the score of more than two.
    """

    def compare_by_endpoint(problem: Problem, texts: Sequence[str]) -> list[float] | None:
        indices = list(combinations(range(len(texts)), 2))
        pairs = [(texts[first], texts[second]) for first, second in indices]
        rng = generator(seed, "votes", problem.id)
        means = preference_votes(_asking(endpoint), problem.question, pairs, num_votes=num_votes, rng=rng)

        scores = [0.0] * len(texts)
        num_clear = 0
        for (first, second), mean in zip(indices, means, strict=True):
            # A comparison that is not clear is a draw: half a point each.
            gain = 0.5
            if mean is not None and is_clear_vote(mean):
                gain = float(mean > 0)
                num_clear += 1
            scores[first] += gain
            scores[second] += 1 - gain

        # Without one clear pair all scores are equal, and that would be a label that nobody has given.
        return scores if num_clear else None

    compare_by_endpoint.__qualname__ = f"comparing({endpoint.model}, {num_votes})"
    return compare_by_endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Balanced:
    """Preferences of which some are left out, so that chosen and rejected responses are about equally long.

    Attributes:
        source: preferences between two responses or more.

    Source: DeepSeek-R1, arXiv:2501.12948v2, 3.1: a judge prefers long responses, and a reward model would learn that.
    """

    source: PreferenceSource

    @property
    def key(self) -> str:
        """What decides them."""
        return f"balanced {self.source.key}"

    def __call__(self) -> Sequence[Preference]:
        """The preferences that stay, in order; those between responses of equal quality do not."""
        # Between responses of equal quality none is chosen, and none has a length to balance.
        unequal = [preference for preference in self.source() if len(set(preference.qualities)) > 1]
        lengths = [_lengths(preference) for preference in unequal]
        return balance_lengths(unequal, lengths)


def _lengths(preference: Preference) -> tuple[int, int]:
    """Letters of the chosen and of the rejected response, on average over the pairs that are learned from."""
    rated = list(zip(preference.responses, preference.qualities, strict=True))
    chosen_lengths: list[int] = []
    rejected_lengths: list[int] = []

    # In both orders: of the two, the one with the better response first is counted.
    for (first, first_quality), (second, second_quality) in permutations(rated, 2):
        if first_quality > second_quality:
            chosen_lengths.append(len(first))
            rejected_lengths.append(len(second))

    mean_chosen = round(fmean(chosen_lengths))
    mean_rejected = round(fmean(rejected_lengths))
    return mean_chosen, mean_rejected
