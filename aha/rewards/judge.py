"""Another model as judge: is a prediction right, which of two responses is better, and which pairs are kept.

The judge is any function from prompts to replies, or to None where no reply came. Its replies are untrusted, and so is
what they quote: each is read once, up to a maximal length, and none of them can raise an error.

Source: DeepSeek-R1, arXiv:2501.12948v2: B.3.3 and Listing 4 (right or wrong), 3.1 and B.2 (preference pairs).
"""

import json
import math
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from aha.prompts.instructions import COMPARISON_VERDICTS, compare_instruction, judge_instruction
from aha.types import Problem, Verdict

__all__ = [
    "SCORES",
    "AskAll",
    "Judgement",
    "Outcome",
    "balance_lengths",
    "is_clear_vote",
    "judgements",
    "length_gap",
    "parse_comparison",
    "parse_judgement",
    "preference_votes",
]

AskAll = Callable[[Sequence[str]], Sequence[str | None]]
"""From prompts to one reply each, in order; None where the judge could not be reached. Equal prompts may get different
replies."""

Outcome = Literal["correct", "incorrect", "unparsable", "no answer"]
"""The outcome of one question to the judge; the last two say nothing about the prediction."""

SCORES = dict(zip(COMPARISON_VERDICTS, (2, 1, 0, -1, -2), strict=True))
"""Each verdict of a comparison as a number in favour of A. Ours: the paper gives no map."""

Pair = TypeVar("Pair")

_LONGEST_REPLY = 200_000
_VERDICTS: tuple[Outcome, ...] = ("correct", "incorrect")
_OBJECT = re.compile(r'\{\s*+"')
_BACKSLASH = re.compile(r'\\(["\\/bfnrt]|u[0-9a-fA-F]{4})|\\')
_COMPARISON = re.compile(rf"\[\[\s?({'|'.join(COMPARISON_VERDICTS)})\s?\]\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The judgement of one prediction.

    Attributes:
        outcome: the verdict, or why there is none.
        analysis: the reasons, in the judge's words.
    """

    outcome: Outcome
    analysis: str = ""

    @property
    def verdict(self) -> Verdict | None:
        """The judgement as a score of 1 or 0; None where the judge gave none."""
        if self.outcome in ("unparsable", "no answer"):
            return None
        return Verdict(score=float(self.outcome == "correct"), reason=f"the judge: {self.analysis or self.outcome}")


def judgements(ask_all: AskAll, predictions: Sequence[tuple[Problem, str]]) -> list[Judgement]:
    """Asks the judge whether predictions answer their problems, for problems that no rule can check.

    Args:
        ask_all: the judge, asked once for all predictions that differ: equal ones get the same judgement.
        predictions: problems, of which the judge sees question and reference answer, each with a response, with its
            thinking or without; only its final summary is shown.

    Returns:
        One judgement for each prediction, in their order; a reply that cannot be read and a reply that never came have
        outcomes of their own.

    Source: DeepSeek-R1, arXiv:2501.12948v2, B.3.3.
    """
    prompts = [judge_instruction(problem.question, problem.answer, text) for problem, text in predictions]
    unique_prompts = list(dict.fromkeys(prompts))
    replies = dict(zip(unique_prompts, ask_all(unique_prompts), strict=True))

    judged = []
    for prompt in prompts:
        reply = replies[prompt]
        judged.append(Judgement(outcome="no answer") if reply is None else parse_judgement(reply))
    return judged


def parse_judgement(reply: str) -> Judgement:
    r"""Reads the judge's JSON object anywhere in its reply: alone, in a code fence, after thinking or other words.

    A reply that leaves a doubt is unparsable: an object that cannot be read or names a field twice, or two verdicts
    that differ. A verdict inside another object or inside a string does not count. A backslash that JSON does not
    know, as in LaTeX, stands for itself.

    Args:
        reply: anything; one of more than 200,000 characters after its thinking is not read.

    Returns:
        `correct`, `incorrect` or `unparsable`, with the analysis where there is one.
    """
    text = _BACKSLASH.sub(lambda match: match[0] if match[1] else r"\\", _final(reply))

    # Not strict: models write line ends inside of strings.
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=_unambiguous)
    judgements: list[Judgement] = []
    end = 0

    for match in _OBJECT.finditer(text):
        # An object within the one that was read last is part of it.
        if match.start() < end:
            continue
        try:
            content, end = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            return Judgement(outcome="unparsable")
        judgements += _judgement(content)

    outcomes = {judgement.outcome for judgement in judgements}
    if len(outcomes) != 1:
        return Judgement(outcome="unparsable")
    return judgements[-1]


def _final(reply: str) -> str:
    """The part of a reply after its thinking; empty where the thinking never ends, or the part is too long."""
    # The last tag ends the thinking: an earlier one may be quoted in it.
    _, end, final = reply.rpartition("</think>")
    is_thinking = not end and final.lstrip().startswith("<think>")
    if is_thinking or len(final) > _LONGEST_REPLY:
        return ""
    return final


def _unambiguous(fields: list[tuple[str, object]]) -> dict[str, object]:
    """The fields of a JSON object as a dict.

    Raises:
        ValueError: a field is named twice.
    """
    content = dict(fields)
    if len(content) < len(fields):
        raise ValueError("a field is named twice")
    return content


def _judgement(content: object) -> Iterator[Judgement]:
    """The verdict of one JSON object; nothing where it has none."""
    match content:
        case {"correctness": str(text), **others}:
            analysis = others.get("analysis")
            reasons = analysis if isinstance(analysis, str) else ""
            for outcome in _VERDICTS:
                if text.strip().lower() == outcome:
                    yield Judgement(outcome=outcome, analysis=reasons)


def preference_votes(
    ask_all: AskAll,
    question: str,
    pairs: Sequence[tuple[str, str]],
    *,
    num_votes: int = 4,
    rng: random.Random,
) -> list[float | None]:
    """Asks the judge several times which response of each pair is better; each one comes first in half of the votes.

    mean over the votes of s, with s = 2, 1, 0, -1, -2 for A>>B, A>B, A=B, B>A, B>>A

    Args:
        ask_all: the judge, called once with the prompts of all votes on all pairs; equal prompts occur several times,
            so it must not reply from a cache.
        question: as the person asked it.
        pairs: two responses each, with their thinking or without.
        num_votes: votes on each pair; even, at least 2.
        rng: draws in which votes the order is swapped.

    Returns:
        For each pair the mean in favour of its first response, -2 to 2; None where a reply is missing or cannot be
        read.

    Raises:
        ValueError: the number of votes is odd or less than 2.

    Source: DeepSeek-R1, arXiv:2501.12948v2, 3.1 (four calls, random order, mean) and B.2 (the verdicts). Ours: the
    scores, and exactly half of the votes swapped, so that a judge's preference for one position cancels out exactly.
    """
    if num_votes < 2 or num_votes % 2:
        raise ValueError(f"num_votes is {num_votes}; half of the votes are swapped, so it must be even and at least 2")

    # 1 where the first response of a pair is shown first, -1 where the second one is.
    signs: list[int] = []
    prompts: list[str] = []
    for a, b in pairs:
        order = [1, -1] * (num_votes // 2)
        rng.shuffle(order)
        signs += order
        for sign in order:
            first, second = (a, b) if sign > 0 else (b, a)
            prompts.append(compare_instruction(question, first, second))

    votes: list[int | None] = []
    for sign, reply in zip(signs, ask_all(prompts), strict=True):
        # A score favours the response that was shown first; the sign turns it into a score in favour of `a`.
        score = None if reply is None else parse_comparison(reply)
        votes.append(None if score is None else sign * score)
    return [_mean_vote(votes[start : start + num_votes]) for start in range(0, len(votes), num_votes)]


def _mean_vote(votes: Sequence[int | None]) -> float | None:
    """The mean of the votes on one pair; None where a vote is missing."""
    # Without all votes the two orders would no longer be in balance.
    present = [vote for vote in votes if vote is not None]
    if len(present) < len(votes):
        return None
    return sum(present) / len(present)


def parse_comparison(reply: str) -> int | None:
    """Reads the score of a reply, in favour of the response that was shown as A.

    Args:
        reply: anything; one of more than 200,000 characters after its thinking is not read.

    Returns:
        -2 to 2; None where the reply holds no verdict, or different ones.
    """
    verdicts = set(_COMPARISON.findall(_final(reply)))
    if len(verdicts) != 1:
        return None
    return SCORES[verdicts.pop()]


def is_clear_vote(mean: float, margin: float = 1.0) -> bool:
    """Whether the votes are clear enough for a preference pair: |mean| > margin.

    Source: DeepSeek-R1, arXiv:2501.12948v2, 3.1.
    """
    return abs(mean) > margin


def length_gap(lengths: Sequence[tuple[int, int]]) -> float:
    """Mean length of the chosen minus mean length of the rejected responses, in the given unit; 0 for no pair."""
    if not lengths:
        return 0.0
    return sum(chosen - rejected for chosen, rejected in lengths) / len(lengths)


def balance_lengths(
    pairs: Sequence[Pair], lengths: Sequence[tuple[int, int]], *, tolerance: float = 0.02
) -> list[Pair]:
    """A subset of preference pairs in which chosen and rejected responses are about equally long on average.

    If the chosen responses are longer on average, the pairs with the largest difference are dropped first, until
    |`length_gap`| is at most the tolerance; if they are shorter, likewise. A pair stays if dropping it would change the
    sign of the gap or would not reduce it, so the remaining gap may exceed the tolerance.

    Args:
        pairs: anything; of two pairs with equal difference the later one is dropped first.
        lengths: of the chosen and of the rejected response of each pair, at least 0, in tokens or in characters.
        tolerance: largest accepted gap, as a fraction of the mean length of all responses.

    Returns:
        The pairs that stay, in order: at least one if there is any, and never with a larger |`length_gap`|.

    Raises:
        ValueError: there are not as many lengths as pairs, or a length or the tolerance is negative.

    Source: DeepSeek-R1, arXiv:2501.12948v2, 3.1 (chosen and rejected responses have comparable lengths overall). Ours:
    the algorithm, and the tolerance.
    """
    if len(pairs) != len(lengths):
        raise ValueError(f"{len(pairs)} pairs have {len(lengths)} lengths; each pair needs one")
    if not 0 <= tolerance < math.inf or any(min(both) < 0 for both in lengths):
        raise ValueError(f"tolerance is {tolerance}; it must be finite, and neither it nor a length may be negative")

    # The sign makes the gap positive, so that the rest is the same whichever side is longer.
    gap = sum(chosen - rejected for chosen, rejected in lengths)
    sign = -1 if gap < 0 else 1
    excesses = [sign * (chosen - rejected) for chosen, rejected in lengths]

    remaining_gap = sign * gap
    count = len(pairs)
    allowed = tolerance * sum(map(sum, lengths)) / max(2 * count, 1)
    dropped = set()

    # Sums are compared, not means, which would be rounded.
    largest_first = sorted(((excess, index) for index, excess in enumerate(excesses)), reverse=True)
    for excess, index in largest_first:
        # A pair whose excess is at most the mean does not reduce the mean gap, and no later pair does.
        if remaining_gap <= allowed * count or excess * count <= remaining_gap:
            break
        if excess <= remaining_gap:
            remaining_gap -= excess
            count -= 1
            dropped.add(index)

    return [pair for index, pair in enumerate(pairs) if index not in dropped]
