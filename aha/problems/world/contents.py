"""The contents of general problems: every prompt without its words, its wordings, and its reference answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product

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

HELPFUL_DOMAINS = GENERAL_DOMAINS[:-1]  # `harmful` is the last one
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
    # The order is part of the world: random draws pick a prompt by its index.
    names = (*ANIMALS, *THINGS)
    all_parts: list[tuple[str, ...]] = []
    if domain == "fact":
        for kind, subjects in FACTS.items():
            all_parts += [(kind, subject) for subject in subjects]
    elif domain == "writing":
        all_parts += combinations(names, 2)
    elif domain == "translation":
        all_parts += product(COLOURS, names)
        all_parts += [(animal, "eats", food) for animal, food in FACTS["food"].items()]
        all_parts += [(animal, "sees", name) for animal, name in product(ANIMALS, names) if name != animal]
    elif domain == "advice":
        all_parts += product(ADVICE, ANIMALS)
    elif domain in TOPIC_DOMAINS:
        all_parts += [(name,) for name, topic in TOPICS.items() if topic.domain == domain]
    elif domain == "harmful":
        for verb, objects in HARM_OBJECTS.items():
            all_parts += [(verb, name) for name in objects]
    else:
        raise ValueError(f"no domain {domain!r}: general problems have {', '.join(GENERAL_DOMAINS)}")

    return tuple(GeneralContent(domain=domain, parts=parts) for parts in all_parts)


def other_language(language: str) -> str:
    """Chinese for English, English for Chinese."""
    return "zh" if language == "en" else "en"


def phrase(parts: Sequence[str], language: str) -> str:
    """Words as a phrase: `white cow`, `白牛`."""
    words = [word(part, language) for part in parts]
    return " ".join(words) if language == "en" else "".join(words)


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
        topic = TOPICS[content.parts[0]]
        return topic.answer[language]

    # What is left is a fact, or advice about an animal, which depends on its facts.
    first, subject = content.parts
    if content.domain == "fact":
        return word(FACTS[first][subject], language)

    food = word(FACTS["food"][subject], language)
    home = word(FACTS["home"][subject], language)
    return ADVICE[first][language].format(food=food, home=home)


def questions(content: GeneralContent, language: str) -> list[str]:
    """The wordings of a prompt in a language."""
    if content.domain in TOPIC_DOMAINS:
        topic = TOPICS[content.parts[0]]
        return list(topic.questions[language])

    if content.domain == "translation":
        return _fill("translation", language, phrase=phrase(content.parts, language))

    first, second = content.parts
    if content.domain == "writing":
        return _fill("writing", language, first=word(first, language), second=word(second, language))

    # Advice and harmful requests are worded alike, so that the wording gives nothing away.
    kind = first if content.domain == "fact" else "request"
    return _fill(kind, language, verb=word(first, language), subject=noun(second, language))


def _fill(kind: str, language: str, **words: str) -> list[str]:
    """All wordings of a kind of prompt, with its words filled in."""
    return [wording.format(**words) for wording in WORDINGS[kind][language]]
