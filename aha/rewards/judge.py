"""Another model as judge: is a prediction right, which of two responses is better, and which pairs to keep.

The judge is any function from prompts to replies, or to None where no reply came. What it replies is untrusted, and so
is what it quotes: replies are read once, up to a bounded length, and never raise.

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
    "judgements",
    "keeps",
    "length_gap",
    "parse_comparison",
    "parse_judgement",
    "preference_votes",
]

AskAll = Callable[[Sequence[str]], Sequence[str | None]]
"""From prompts to a reply to each in their order, or to None where the judge could not be reached; asked twice, it may
reply otherwise."""

Outcome = Literal["correct", "incorrect", "unparsable", "no answer"]
"""What became of one question to the judge; the last two say nothing about the prediction."""

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
    """What the judge says of one prediction.

    Attributes:
        outcome: its verdict, or why there is none.
        analysis: its reasons, in its own words.
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
    different = list(dict.fromkeys(prompts))
    replies = dict(zip(different, ask_all(different), strict=True))
    return [_read(replies[prompt]) for prompt in prompts]


def _read(reply: str | None) -> Judgement:
    return Judgement(outcome="no answer") if reply is None else parse_judgement(reply)


def parse_judgement(reply: str) -> Judgement:
    r"""Reads the judge's JSON, wherever in its reply it stands: alone, in a code fence, after thinking or other words.

    Where there is doubt the reply is unparsable: an object that cannot be read or names a field twice, or two verdicts
    that differ. A verdict inside another object or inside a text does not count. Backslashes that JSON does not know,
    such as those of LaTeX, stand for themselves.

    Args:
        reply: anything; one of more than 200,000 characters after its thinking is not read.

    Returns:
        `correct`, `incorrect` or `unparsable`, with the analysis where there is one.
    """
    text = _BACKSLASH.sub(lambda found: found[0] if found[1] else r"\\", _final(reply))
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=_unambiguous)
    judgements: list[Judgement] = []
    end = 0
    for found in _OBJECT.finditer(text):
        if found.start() < end:
            continue
        try:
            content, end = decoder.raw_decode(text, found.start())
        except (ValueError, RecursionError):
            return Judgement(outcome="unparsable")
        judgements += _judgement(content)
    is_clear = len({judgement.outcome for judgement in judgements}) == 1
    return judgements[-1] if is_clear else Judgement(outcome="unparsable")


def _final(reply: str) -> str:
    """What the judge says after its thinking; nothing where that never ends, or is too long to read."""
    _, end, final = reply.rpartition("</think>")
    is_thinking = not end and final.lstrip().startswith("<think>")
    return "" if is_thinking or len(final) > _LONGEST_REPLY else final


def _unambiguous(fields: list[tuple[str, object]]) -> dict[str, object]:
    """The fields of a JSON object, refused where one of them is named twice."""
    content = dict(fields)
    if len(content) < len(fields):
        raise ValueError("a field is named twice")
    return content


def _judgement(content: object) -> Iterator[Judgement]:
    """The verdict of one JSON object, where it has one."""
    match content:
        case {"correctness": str(said), **others}:
            analysis = others.get("analysis")
            reasons = analysis if isinstance(analysis, str) else ""
            for outcome in _VERDICTS:
                if said.strip().lower() == outcome:
                    yield Judgement(outcome=outcome, analysis=reasons)


def preference_votes(
    ask_all: AskAll,
    question: str,
    pairs: Sequence[tuple[str, str]],
    *,
    num_votes: int = 4,
    rng: random.Random,
) -> list[float | None]:
    """Asks the judge several times which response of each pair is better, each in front in half of the votes.

    mean over the votes of s, with s = 2, 1, 0, -1, -2 for A>>B, A>B, A=B, B>A, B>>A

    Args:
        ask_all: the judge, asked for all votes on all pairs at once; equal prompts are asked more than once, so it must
            not reply from a cache.
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
    scores, and exactly half of the votes swapped: a judge that likes one place better then cancels out exactly.
    """
    if num_votes < 2 or num_votes % 2:
        raise ValueError(f"num_votes is {num_votes}; half of the votes are swapped, so it must be even and at least 2")

    signs: list[int] = []
    prompts: list[str] = []
    for a, b in pairs:
        order = [1, -1] * (num_votes // 2)
        rng.shuffle(order)
        signs += order
        prompts += [compare_instruction(question, *((a, b) if sign > 0 else (b, a))) for sign in order]

    scores = [None if reply is None else parse_comparison(reply) for reply in ask_all(prompts)]
    votes = [None if score is None else sign * score for sign, score in zip(signs, scores, strict=True)]
    return [_mean_vote(votes[start : start + num_votes]) for start in range(0, len(votes), num_votes)]


def _mean_vote(votes: Sequence[int | None]) -> float | None:
    """Mean of the votes on one pair; None where one is missing."""
    known = [vote for vote in votes if vote is not None]
    return sum(known) / len(known) if len(known) == len(votes) else None


def parse_comparison(reply: str) -> int | None:
    """Score of the verdict in a reply, in favour of the response that was shown as A.

    Args:
        reply: anything; one of more than 200,000 characters after its thinking is not read.

    Returns:
        -2 to 2; None where the reply holds no verdict, or different ones.
    """
    verdicts = set(_COMPARISON.findall(_final(reply)))
    return SCORES[verdicts.pop()] if len(verdicts) == 1 else None


def keeps(mean: float, margin: float = 1.0) -> bool:
    """Whether the votes are clear enough for a preference pair: |mean| > margin.

    Source: DeepSeek-R1, arXiv:2501.12948v2, 3.1.
    """
    return abs(mean) > margin


def length_gap(lengths: Sequence[tuple[int, int]]) -> float:
    """Mean length of the chosen responses less that of the rejected ones, in the unit of the lengths; 0 for none."""
    return sum(chosen - rejected for chosen, rejected in lengths) / len(lengths) if lengths else 0.0


def balance_lengths(
    pairs: Sequence[Pair], lengths: Sequence[tuple[int, int]], *, tolerance: float = 0.02
) -> list[Pair]:
    """A subset of preference pairs in which chosen and rejected responses are about equally long on average.

    Where the chosen responses are longer, those pairs are dropped in which they are longer by most, and the other way
    round, until |`length_gap`| is at most the tolerance. A pair that would turn the gap round, or would not make it
    smaller, stays: the gap that is left may then be larger than the tolerance.

    Args:
        pairs: anything, in an order that decides between pairs of equal difference: the later one is dropped first.
        lengths: of the chosen and of the rejected response of each pair, at least 0, in tokens or in characters.
        tolerance: largest gap that needs nothing, as a share of the mean length of all responses given.

    Returns:
        The pairs that stay, in their order; never with a larger |`length_gap`|, never none of some.

    Raises:
        ValueError: there are not as many lengths as pairs, or a length or the tolerance is negative.

    Source: DeepSeek-R1, arXiv:2501.12948v2, 3.1 (chosen and rejected responses have comparable lengths overall). Ours:
    the way there, and the tolerance.
    """
    if len(pairs) != len(lengths):
        raise ValueError(f"{len(pairs)} pairs have {len(lengths)} lengths; each pair needs one")
    if not 0 <= tolerance < math.inf or any(min(both) < 0 for both in lengths):
        raise ValueError(f"tolerance is {tolerance}; it must be finite, and neither it nor a length may be negative")
    gap = sum(chosen - rejected for chosen, rejected in lengths)
    sign = -1 if gap < 0 else 1
    left, count = sign * gap, len(pairs)
    allowed = tolerance * sum(map(sum, lengths)) / max(2 * count, 1)
    dropped = set()
    for excess, index in sorted((sign * (c - r), i) for i, (c, r) in enumerate(lengths))[::-1]:
        if left <= allowed * count or excess * count <= left:
            break
        if excess <= left:
            left, count = left - excess, count - 1
            dropped.add(index)
    return [pair for index, pair in enumerate(pairs) if index not in dropped]
