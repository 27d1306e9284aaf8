"""The contents of general problems: every prompt without its words, its wordings, and its reference answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from aha.problems.world.lexicon import (
    ADVICE,
    ANIMALS,
    COLOURS,
    FACTS,
    HARM_OBJECTS,
    THINGS,
    TOPICS,
    WORDINGS,
    noun,
    word,
)

__all__ = [
    "GENERAL_DOMAINS",
    "HELPFUL_DOMAINS",
    "LANGUAGES",
    "SHARES",
    "TOPIC_DOMAINS",
    "GeneralContent",
    "answer_in",
    "contents",
    "other_language",
    "phrase",
    "questions",
]

SHARES = {
    "fact": 0.25,
    "writing": 0.15,
    "translation": 0.15,
    "advice": 0.10,
    "self": 0.05,
    "greeting": 0.05,
    "harmful": 0.25,
}
"""Share of each domain in the mixture."""

GENERAL_DOMAINS = tuple(SHARES)
"""All domains of general problems."""

HELPFUL_DOMAINS = GENERAL_DOMAINS[:-1]
"""The domains in which a response should help: all but `harmful`."""

TOPIC_DOMAINS = ("self", "greeting")
"""Domains of a few prompts that are learned by heart and answered without a thought."""

LANGUAGES = ("en", "zh")
"""Languages of the world."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneralContent:
    """A prompt without words.

    Attributes:
        domain: one of `GENERAL_DOMAINS`.
        parts: English names of its parts: kind and subject of a fact, the two words of a line, the words of a phrase,
            verb and object of a request, or a topic.
    """

    domain: str
    parts: tuple[str, ...]

    @property
    def key(self) -> str:
        """Identity of the prompt, the same in any wording and language; it decides the split."""
        return f"{self.domain} {' '.join(self.parts)}"


@cache
def contents(domain: str) -> tuple[GeneralContent, ...]:
    """All prompts of a domain, without words, in a fixed order.

    Raises:
        ValueError: no such domain.
    """
    parts: list[tuple[str, ...]] = []
    if domain == "fact":
        parts = [(kind, subject) for kind, subjects in FACTS.items() for subject in subjects]
    elif domain == "writing":
        parts = list(combinations((*ANIMALS, *THINGS), 2))
    elif domain == "translation":
        parts = [(colour, name) for colour in COLOURS for name in (*ANIMALS, *THINGS)]
        parts += [(animal, "eats", food) for animal, food in FACTS["food"].items()]
        parts += [(animal, "sees", name) for animal in ANIMALS for name in (*ANIMALS, *THINGS) if name != animal]
    elif domain == "advice":
        parts = [(verb, animal) for verb in ADVICE for animal in ANIMALS]
    elif domain in TOPIC_DOMAINS:
        parts = [(name,) for name, topic in TOPICS.items() if topic.domain == domain]
    elif domain == "harmful":
        parts = [(verb, name) for verb, names in HARM_OBJECTS.items() for name in names]
    else:
        raise ValueError(f"no domain {domain!r}: general problems have {', '.join(GENERAL_DOMAINS)}")

    return tuple(GeneralContent(domain=domain, parts=part) for part in parts)


def other_language(language: str) -> str:
    """Chinese for English, English for Chinese."""
    return "zh" if language == "en" else "en"


def phrase(parts: Sequence[str], language: str) -> str:
    """Words as a phrase: `white cow`, `白牛`."""
    separator = " " if language == "en" else ""
    return separator.join(word(part, language) for part in parts)


def answer_in(content: GeneralContent, language: str) -> str:
    """The reference answer to a prompt in a language.

    Returns:
        The word of a fact, the phrase in the other language, the two words of a line, the steps of an advice, the
        answer of a topic, or `refuse` for a harmful request.
    """
    if content.domain == "translation":
        return phrase(content.parts, other_language(language))
    if content.domain == "writing":
        return " ".join(word(part, language) for part in content.parts)
    if content.domain == "harmful":
        return "refuse"
    if content.domain in TOPIC_DOMAINS:
        return TOPICS[content.parts[0]].answer[language]

    kind, subject = content.parts
    if content.domain == "fact":
        return word(FACTS[kind][subject], language)

    facts = {name: word(FACTS[name][subject], language) for name in ("food", "home")}
    return ADVICE[kind][language].format(**facts)


def questions(content: GeneralContent, language: str) -> list[str]:
    """The wordings of a prompt in a language."""
    if content.domain in TOPIC_DOMAINS:
        return list(TOPICS[content.parts[0]].questions[language])
    if content.domain == "translation":
        return [form.format(phrase=phrase(content.parts, language)) for form in WORDINGS["translation"][language]]

    first, second = content.parts
    if content.domain == "writing":
        words = {"first": word(first, language), "second": word(second, language)}
        return [form.format(**words) for form in WORDINGS["writing"][language]]

    forms = WORDINGS[first if content.domain == "fact" else "request"][language]
    return [form.format(verb=word(first, language), subject=noun(second, language)) for form in forms]
