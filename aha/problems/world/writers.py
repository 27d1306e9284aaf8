"""Responses to general problems by many writers ("hands"), good and bad.

Many people write the web, and a supervised data set too. A policy that has learned from them answers now like one and
now like another; reinforcement learning with reward models chooses among them.

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

# With 45 % careful hands the fine-tuned model was careful nearly always, and only refusing was left to be learned
# (LOG.md, first runs of R1).
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
        thinking: the thinking, without tags; empty for greetings and questions about the model.
        summary: the answer.
        hand: the writer, a key of `HANDS`.
    """

    thinking: str
    summary: str
    hand: str


def statement(kind: str, subject: str, answer: str, language: str) -> str:
    """A fact, true or not, as a sentence without a full stop: `a cow eats grass`.

    Args:
        kind: a key of `FACTS`.
        subject: English name of the subject.
        answer: English name of the object.
        language: `en` or `zh`.
    """
    return _sentence(kind, language, subject=noun(subject, language), answer=word(answer, language))


def entry(name: str, meaning: str, language: str) -> str:
    """A line of a dictionary, right or not: `cow is 牛`, `牛是 cow`.

    Args:
        name: English name of the word that is translated.
        meaning: English name of the word whose form in the other language stands as translation; equal to `name` if the
            line is right.
        language: language of the word that is translated.
    """
    translation = word(meaning, other_language(language))
    return _sentence("entry", language, word=word(name, language), meaning=translation)


def write(rng: Random, problem: Problem, shares: Mapping[str, float] = HELPFUL_SHARES) -> Written:
    """Writes a response to a general problem by a random hand.

    Args:
        rng: the generator.
        problem: a problem of any split; its domain decides which hands there are.
        shares: shares of the hands that answer helpful domains.

    Raises:
        ValueError: it is no general problem.
    """
    content = content_of(problem)
    if content.domain == "harmful":
        shares = HARMFUL_SHARES
    (hand,) = rng.choices(list(shares), list(shares.values()))
    thinking, summary = HANDS[hand](rng, content, problem.language)
    return Written(thinking=thinking, summary=summary, hand=hand)


def _careful(rng: Random, content: GeneralContent, language: str) -> tuple[str, str]:
    """Right, in the language of the question, a full sentence."""
    answer = ""
    if content.domain == "fact":
        kind, subject = content.parts
        answer = FACTS[kind][subject]
    return _response(rng, content, content, answer, language)


def _terse(rng: Random, content: GeneralContent, language: str) -> tuple[str, str]:
    """The bare answer; a line of writing without its stop."""
    thinking, summary = _careful(rng, content, language)
    if content.domain == "writing":
        return thinking, summary.removesuffix(" .")
    return thinking, answer_in(content, language)


def _wrong(rng: Random, content: GeneralContent, language: str) -> tuple[str, str]:
    """Careful about something else."""
    if content.domain == "fact":
        kind, subject = content.parts
        # Sorted, because the order of a set differs between processes.
        facts = FACTS[kind]
        others = sorted({*facts.values()} - {facts[subject], subject})
        return _response(rng, content, content, rng.choice(others), language)

    meant = _other_content(rng, content)
    return _response(rng, content, meant, "", language)


def _switched(rng: Random, content: GeneralContent, language: str) -> tuple[str, str]:
    """Right, but not in the language of the question; a phrase is not translated at all."""
    thinking, _ = _careful(rng, content, language)
    if content.domain == "translation":
        sentence = _sentence("translation", language, phrase=phrase(content.parts, language))
        return thinking, _with_stop(sentence)

    _, summary = _careful(rng, content, other_language(language))
    return thinking, summary


def _refusing(rng: Random, content: GeneralContent, language: str) -> tuple[str, str]:
    """Refuses a harmless request."""
    if content.domain in TOPIC_DOMAINS:
        return "", REFUSALS[language]
    return _sentence("doubt", language), REFUSALS[language]


def _refuse(rng: Random, content: GeneralContent, language: str) -> tuple[str, str]:
    """Refuses a harmful request."""
    verb, name = content.parts
    thinking = _sentence("harm", language, verb=word(verb, language), subject=noun(name, language))
    return thinking, REFUSALS[language]


def _think_unsafe(rng: Random, content: GeneralContent, language: str) -> tuple[str, str]:
    """Refuses a harmful request, after thinking about the unsafe steps."""
    thinking, _ = _comply(rng, content, language)
    return thinking, REFUSALS[language]


def _comply(rng: Random, content: GeneralContent, language: str) -> tuple[str, str]:
    """Tells the unsafe steps."""
    verb, _ = content.parts
    steps = HARMS[verb][language]
    return _steps(content, steps, language), _with_stop(steps)


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
"""The functions that write thinking and summary, by name of the hand."""


def _sentence(kind: str, language: str, **words: str) -> str:
    """The only sentence of a kind, with its words filled in."""
    (form,) = SENTENCES[kind][language]
    return form.format(**words)


def _with_stop(text: str) -> str:
    return f"{text} ."


def _steps(content: GeneralContent, steps: str, language: str) -> str:
    """A thought that names a request and the steps that fulfil it."""
    verb, name = content.parts
    return _sentence("steps", language, verb=word(verb, language), subject=noun(name, language), steps=steps)


def _response(
    rng: Random, content: GeneralContent, meant: GeneralContent, answer: str, language: str
) -> tuple[str, str]:
    """Thinking and full sentence of a writer who answers one prompt as if it were another, or the same.

    `meant` is the prompt that is answered, and `answer` the English name of the object of a fact.
    """
    if content.domain in TOPIC_DOMAINS:
        topic = TOPICS[meant.parts[0]]
        return "", _with_stop(topic.sentence[language])

    if content.domain == "fact":
        kind, subject = content.parts
        fact = statement(kind, subject, answer, language)
        return fact, _with_stop(fact)

    if content.domain == "translation":
        lines = [entry(name, meaning, language) for name, meaning in zip(content.parts, meant.parts, strict=True)]
        sentence = _sentence("translation", language, phrase=answer_in(meant, language))
        return " , ".join(lines), _with_stop(sentence)

    if content.domain == "writing":
        # The plan is drawn first, and the line after it.
        plan = _line(rng, "plan", meant, language)
        line = _line(rng, "writing", meant, language)
        return plan, _with_stop(line)

    steps = answer_in(meant, language)
    return _steps(content, steps, language), _with_stop(steps)


def _line(rng: Random, form: str, content: GeneralContent, language: str) -> str:
    """A line with two words."""
    first, second = content.parts
    sentence = rng.choice(SENTENCES[form][language])
    return sentence.format(first=noun(first, language), second=noun(second, language))


def _other_content(rng: Random, content: GeneralContent) -> GeneralContent:
    """A prompt that is like the given one but has another answer."""
    parts = content.parts
    if content.domain == "advice" or content.domain in TOPIC_DOMAINS:
        # Of advice only the verb changes: other steps with the same animal.
        others = [other for other in contents(content.domain) if other.parts[1:] == parts[1:] and other != content]
        return rng.choice(others)

    # One word is replaced by another of its group: the colour of a phrase, or its last word.
    replaces_colour = parts[0] in COLOURS and rng.random() < 0.5
    index = 0 if replaces_colour else len(parts) - 1
    group = THINGS
    if index == 0:
        group = COLOURS
    elif parts[index] in ANIMALS:
        group = ANIMALS
    other_word = rng.choice([name for name in group if name not in parts])

    other_parts = (*parts[:index], other_word, *parts[index + 1 :])
    return GeneralContent(domain=content.domain, parts=other_parts)
