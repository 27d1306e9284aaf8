"""Rankings and labels of the user's own, as reward models learn from them and are examined on them.

Source: DeepSeek-R1, arXiv:2501.12948v2, 3.1 (what the two models read).
"""

import hashlib

from aha.policy.reward_model import Reads
from aha.problems.responses.preferences import JudgedSet
from aha.prompts.parsing import parse_response
from aha.prompts.templates import Template
from aha.types import Preference

__all__ = ["as_preferences", "divided", "without"]

HELD_OUT_SHARE = 0.1
"""Share of the questions that a model is examined on, where no rows are given for that. Ours."""


def without(rows: JudgedSet, held_out: JudgedSet) -> JudgedSet:
    """The rows whose question no held-out row asks.

    Raises:
        ValueError: none is left.
    """
    questions = {row.question for row in held_out.items}
    rest = [index for index, row in enumerate(rows.items) if row.question not in questions]
    if not rest:
        raise ValueError("every question of the training rows is asked by --held-out too: give other files")
    return rows.only(rest)


def divided(rows: JudgedSet, most: int) -> tuple[JudgedSet, JudgedSet]:
    """What is learned from, and what the model is examined on: whole questions, picked by a hash.

    Raises:
        ValueError: there is only one question.
    """
    # All rows of a question stay together: a response that was learned from would be no examination.
    different = {row.question for row in rows.items}
    # A hash decides, so that neither the order of the rows nor the seed of the run changes the examination.
    questions = sorted(different, key=lambda text: hashlib.sha256(text.encode()).digest())
    if len(questions) < 2:
        raise ValueError(f"{rows.says}: they ask one question alone, and the model is examined on another one")

    num_held_out = min(most, max(1, round(HELD_OUT_SHARE * len(questions))))
    picked = set(questions[:num_held_out])

    held_out = [index for index, row in enumerate(rows.items) if row.question in picked]
    learned = [index for index, row in enumerate(rows.items) if row.question not in picked]
    return rows.only(learned), rows.only(held_out)


def as_preferences(rows: JudgedSet, template: Template, reads: Reads, use: str) -> list[Preference]:
    """The rows as a reward model reads them: the prompt in its template, and the part of the responses that counts.

    Raises:
        ValueError: no row has anything to read.
    """
    preferences = []
    for row in rows.items:
        responses = row.responses
        if reads == "summary":
            responses = tuple(parse_response(text).summary or "" for text in responses)
        # A response whose thinking never ends has no summary, and is not compared.
        pairs = [pair for pair in zip(responses, row.qualities, strict=True) if pair[0]]
        if pairs:
            texts, qualities = zip(*pairs, strict=True)
            preferences.append(
                Preference(
                    problem_id=row.id,
                    prompt=template(row.question),
                    responses=texts,
                    qualities=qualities,
                    source="given",
                )
            )

    if not preferences:
        raise ValueError(f"{rows.says}: of the rows {use} no response has a summary: --reads response takes all of it")
    return preferences
