"""Responses to general problems by many hands, good and bad.

The web is written by many hands, and so is a supervised data set. What a policy learned from it answers now like one
and now like the other; reinforcement learning with reward models chooses among them.

Source: DeepSeek-R1, arXiv:2501.12948v2, B.3.3 (non-reasoning data, with a thought before the answer except for simple
queries such as a greeting). Ours: the hands and their shares.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from aha.problems.world.contents import TOPIC_DOMAINS, GeneralContent, answer_in, contents, other_language, phrase
from aha.problems.world.general import content_of
from aha.problems.world.lexicon import (
    ANIMALS,
    COLOURS,
    FACTS,
    HARMS,
    REFUSALS,
    SENTENCES,
    THINGS,
    TOPICS,
    noun,
    word,
)
from aha.types import Problem

__all__ = [
    "DEMONSTRATION_SHARES",
    "HANDS",
    "HARMFUL_SHARES",
    "HELPFUL_SHARES",
    "Written",
    "entry",
    "statement",
    "write",
]

HELPFUL_SHARES = {"careful": 0.45, "terse": 0.20, "wrong": 0.15, "switched": 0.10, "refusing": 0.10}
"""Shares of the hands that answer helpful domains. The web and a supervised data set are written by many hands, and
reward models choose among them: careful is right, in the right language and a full sentence; terse is the bare answer;
wrong is careful about something untrue; switched answers in the other language; refusing refuses what is harmless."""

DEMONSTRATION_SHARES = {"careful": 0.28, "terse": 0.30, "wrong": 0.10, "switched": 0.16, "refusing": 0.16}
"""The same in the supervised data: its writers know more than the web and take less care, so that there is a style to
be learned from preferences."""

HARMFUL_SHARES = {"refuse": 0.45, "think_unsafe": 0.20, "comply": 0.35}
"""Shares of the hands that answer harmful requests: refuse is safe; think_unsafe refuses, but its thinking tells the
unsafe steps, which only a judge of the whole response sees; comply tells them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A response.

    Attributes:
        thinking: what comes before the summary, without tags; empty for greetings and questions about the model.
        summary: the answer proper.
        hand: a key of `HANDS`.
    """

    thinking: str
    summary: str
    hand: str


def statement(kind: str, subject: str, answer: str, language: str) -> str:
    """A fact as a sentence without its stop, true or not: `a cow eats grass`.

    Args:
        kind: a key of `FACTS`.
        subject: English name of what it is about.
        answer: English name of what is said of it.
        language: `en` or `zh`.
    """
    return SENTENCES[kind][language][0].format(subject=noun(subject, language), answer=word(answer, language))


def entry(name: str, meaning: str, language: str) -> str:
    """A line of a dictionary, right or not: `cow is 牛`, `牛是 cow`.

    Args:
        name: English name of the word that is explained.
        meaning: English name of the word whose other form explains it; equal to `name` where the line is right.
        language: language of the word that is explained.
    """
    words = {"word": word(name, language), "meaning": word(meaning, other_language(language))}
    return SENTENCES["entry"][language][0].format(**words)


def write(rng: Random, problem: Problem, shares: Mapping[str, float] = HELPFUL_SHARES) -> Written:
    """One response to a general problem by a random hand.

    Args:
        rng: source of the draws.
        problem: of any split; its domain decides which hands there are.
        shares: of the hands that answer helpful domains.

    Raises:
        ValueError: it is no general problem.
    """
    content = content_of(problem)
    hands = HARMFUL_SHARES if content.domain == "harmful" else shares
    hand = rng.choices(list(hands), list(hands.values()))[0]
    thinking, summary = HANDS[hand](rng, content, problem.language)
    return Written(thinking=thinking, summary=summary, hand=hand)


def _careful(rng: Random, content: GeneralContent, language: str) -> tuple[str, str]:
    """Right, in the language of the question, a full sentence."""
    answer = FACTS[content.parts[0]][content.parts[1]] if content.domain == "fact" else ""
    return _said(rng, content, content, answer, language)


def _terse(rng: Random, content: GeneralContent, language: str) -> tuple[str, str]:
    """The bare answer; a line of writing without its stop."""
    thinking, summary = _careful(rng, content, language)
    return thinking, summary.removesuffix(" .") if content.domain == "writing" else answer_in(content, language)


def _wrong(rng: Random, content: GeneralContent, language: str) -> tuple[str, str]:
    """Careful about something else."""
    if content.domain == "fact":
        kind, subject = content.parts
        others = sorted({*FACTS[kind].values()} - {FACTS[kind][subject], subject})
        return _said(rng, content, content, rng.choice(others), language)
    return _said(rng, content, _mistaken(rng, content), "", language)


def _switched(rng: Random, content: GeneralContent, language: str) -> tuple[str, str]:
    """Right, but not in the language of the question; a phrase is not translated at all."""
    thinking, _ = _careful(rng, content, language)
    if content.domain == "translation":
        return thinking, _stopped(SENTENCES["translation"][language][0].format(phrase=phrase(content.parts, language)))
    return thinking, _careful(rng, content, other_language(language))[1]


def _refusing(rng: Random, content: GeneralContent, language: str) -> tuple[str, str]:
    """Refuses what is harmless."""
    is_short = content.domain in TOPIC_DOMAINS
    return "" if is_short else SENTENCES["doubt"][language][0], REFUSALS[language]


def _refuse(rng: Random, content: GeneralContent, language: str) -> tuple[str, str]:
    """Refuses what is harmful."""
    verb, name = content.parts
    words = {"verb": word(verb, language), "subject": noun(name, language)}
    return SENTENCES["harm"][language][0].format(**words), REFUSALS[language]


def _think_unsafe(rng: Random, content: GeneralContent, language: str) -> tuple[str, str]:
    """Refuses, after thinking of how it is done."""
    return _steps(content, HARMS[content.parts[0]][language], language), REFUSALS[language]


def _comply(rng: Random, content: GeneralContent, language: str) -> tuple[str, str]:
    """Tells how it is done."""
    steps = HARMS[content.parts[0]][language]
    return _steps(content, steps, language), _stopped(steps)


HANDS: dict[str, Callable[[Random, GeneralContent, str], tuple[str, str]]] = {
    "careful": _careful,
    "terse": _terse,
    "wrong": _wrong,
    "switched": _switched,
    "refusing": _refusing,
    "refuse": _refuse,
    "think_unsafe": _think_unsafe,
    "comply": _comply,
}
"""Thinking and summary, by hand."""


def _stopped(text: str) -> str:
    return f"{text} ."


def _steps(content: GeneralContent, steps: str, language: str) -> str:
    """A request and how it is done, as a thought."""
    verb, name = content.parts
    words = {"verb": word(verb, language), "subject": noun(name, language), "steps": steps}
    return SENTENCES["steps"][language][0].format(**words)


def _said(rng: Random, content: GeneralContent, meant: GeneralContent, answer: str, language: str) -> tuple[str, str]:
    """Thinking and full sentence of somebody who answers a prompt with what he means, which may be something else.

    Args:
        rng: source of the draws.
        content: what was asked.
        meant: what is answered.
        answer: English name of what is said of the subject of a fact.
        language: language of the question.
    """
    if content.domain in TOPIC_DOMAINS:
        return "", _stopped(TOPICS[meant.parts[0]].sentence[language])
    if content.domain == "fact":
        kind, subject = content.parts
        fact = statement(kind, subject, answer, language)
        return fact, _stopped(fact)
    if content.domain == "translation":
        lines = [entry(name, meaning, language) for name, meaning in zip(content.parts, meant.parts, strict=True)]
        return " , ".join(lines), _stopped(
            SENTENCES["translation"][language][0].format(phrase=answer_in(meant, language))
        )
    if content.domain == "writing":
        return _line(rng, "plan", meant, language), _stopped(_line(rng, "writing", meant, language))
    steps = answer_in(meant, language)
    return _steps(content, steps, language), _stopped(steps)


def _line(rng: Random, form: str, content: GeneralContent, language: str) -> str:
    """A line with two words."""
    first, second = (noun(part, language) for part in content.parts)
    return rng.choice(SENTENCES[form][language]).format(first=first, second=second)


def _mistaken(rng: Random, content: GeneralContent) -> GeneralContent:
    """Something like what was asked, with another answer."""
    domain, parts = content.domain, content.parts
    if domain == "advice":
        others = [other for other in contents(domain) if other.parts[1] == parts[1] and other != content]
        return rng.choice(others)
    if domain in TOPIC_DOMAINS:
        return rng.choice([other for other in contents(domain) if other != content])
    place = 0 if parts[0] in COLOURS and rng.random() < 0.5 else len(parts) - 1
    group = COLOURS if place == 0 else ANIMALS if parts[place] in ANIMALS else THINGS
    other = rng.choice([name for name in group if name not in parts])
    return GeneralContent(domain=domain, parts=(*parts[:place], other, *parts[place + 1 :]))
