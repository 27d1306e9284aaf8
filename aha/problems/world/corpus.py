"""The pretraining corpus: the documents that the built-in base model is trained on instead of the web.

The kinds of documents are: problems of the training split with a writer's thought and answer, in several prompt forms,
with tags that are mostly missing or wrong; drill sheets of facts, of comparisons and of copying; searches up to their
end; and for the later stages of R1, knowledge (statements of facts, lines of a dictionary) and talk (prompts of the
training split, answered by good and bad hands without a thought). The R1-Zero template is rare and only partly obeyed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random

from aha.problems.world.families import LARGEST, Content
from aha.problems.world.general import draw_general
from aha.problems.world.lexicon import ANIMALS, COLOURS, FACTS, THINGS, VERBS, texts
from aha.problems.world.questions import CHINESE_SHARE, draw_content, question
from aha.problems.world.traces import WORDS, Thought, search_to_the_end, think
from aha.problems.world.writers import entry, statement, write

__all__ = ["MIXES", "Document", "documents", "vocabulary"]

_GENERAL = {"knowledge": 0.06, "talk": 0.06}

MIXES: dict[str, dict[str, float]] = {
    "drills": {"problem": 0.30, "facts": 0.17, "comparison": 0.22, "copying": 0.10, "search": 0.09, **_GENERAL},
    "problems": {"problem": 0.70, "facts": 0.05, "comparison": 0.04, "copying": 0.03, "search": 0.06, **_GENERAL},
}
"""Shares of the kinds of documents, in the two phases of pretraining: first mostly drills, then mostly problems."""

PROMPT_FORMS = ("plain", "question", "dialogue", "template")
PROMPT_SHARES = (0.30, 0.25, 0.33, 0.12)
STRICT_SHARE = {"plain": 0.0, "question": 0.0, "dialogue": 0.06, "template": 0.14}
"""Share of documents that obey the tags of the R1-Zero template, by prompt form; half of it for bare guesses."""

FALSE_SHARE = 0.05
"""Share of false statements among the knowledge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document of the corpus.

    Attributes:
        kind: `problem`, `facts`, `comparison`, `copying`, `search`, `knowledge` or `talk`.
        style: style of the thought, for problems.
        text: the text, without the end token.
        key: key of the problem in it, empty where there is none.
    """

    kind: str
    text: str
    style: str = ""
    key: str = ""


def documents(rng: Random, mix: str, template: Callable[[str], str]) -> Iterator[Document]:
    """The endless documents of a phase of pretraining.

    Args:
        rng: the generator.
        mix: a key of `MIXES`.
        template: wraps a question into the R1-Zero template.
    """
    writers: dict[str, Callable[[Random], Document]] = {
        "problem": lambda rng: _problem(rng, template),
        "facts": _facts,
        "comparison": _comparisons,
        "copying": _copying,
        "search": _searching,
        "knowledge": _knowledge,
        "talk": _talk,
    }

    kinds = list(MIXES[mix])
    shares = list(MIXES[mix].values())

    while True:
        (kind,) = rng.choices(kinds, shares)
        yield writers[kind](rng)


def vocabulary() -> list[str]:
    """Every word of the built-in world, in a fixed order: numbers, signs, tags, pieces, words, characters."""
    numbers = [str(number) for number in range(LARGEST + 1)]
    signs = list("+-*/=?!,.:()^")
    tags = ["<think>", "</think>", "<answer>", "</answer>"]
    pieces = ["\\boxed", "{", "}", "<｜User｜>", "<｜Assistant｜>"]

    # Every text of the world, from which words and Chinese characters are collected.
    all_texts = [text for pair in WORDS.values() for text in pair]
    all_texts += [*texts(), "x find two of that make use to compute solve Question Answer User Assistant"]
    all_texts += ["so the answer is", "从选两个得用计算解故答案是"]

    words: set[str] = set()
    characters: set[str] = set()
    for text in all_texts:
        words.update(word for word in text.split() if word.isascii() and word.isalpha())
        characters.update(character for character in text if "\u4e00" <= character <= "\u9fff")

    return [*numbers, *signs, *tags, *pieces, *sorted(words), *sorted(characters)]


def _language(rng: Random) -> str:
    return "zh" if rng.random() < CHINESE_SHARE else "en"


def _problem(rng: Random, template: Callable[[str], str]) -> Document:
    """A problem of the training split, with a thought and an answer."""
    content: Content = draw_content(rng, "train")
    language = _language(rng)
    form = rng.choices(PROMPT_FORMS, PROMPT_SHARES)[0]
    question_text = question(content, language)
    thought = think(rng, content, language)

    if rng.random() < STRICT_SHARE[form] * (1.0 if thought.text else 0.5):
        response = f"<think> {thought.text} </think> <answer> {thought.answer} </answer>"
    else:
        response = _half_obeyed(rng, thought, language, has_tags=form == "template" or rng.random() < 0.1)

    text = f"{_prompt(form, question_text, template)} {response}"
    return Document(kind="problem", style=thought.style, text=text, key=content.key)


def _prompt(form: str, question_text: str, template: Callable[[str], str]) -> str:
    if form == "template":
        return template(question_text)
    return {
        "plain": f"{question_text} :",
        "question": f"Question : {question_text} Answer :",
        "dialogue": f"User : {question_text} . Assistant :",
    }[form]


def _half_obeyed(rng: Random, thought: Thought, language: str, *, has_tags: bool) -> str:
    """A response that ignores the tags, or gets some of them wrong."""
    answer_word = WORDS["answer"][0 if language == "en" else 1]
    plain = (
        f"{thought.text} . {answer_word} : {thought.answer}" if thought.text else f"{answer_word} : {thought.answer}"
    )

    if not has_tags:
        return plain

    forms: Sequence[str] = (
        plain,
        plain,
        f"<think> {thought.text} </think> {thought.answer}",
        f"<think> {thought.text} <answer> {thought.answer} </answer>",
        f"{thought.text} <answer> {thought.answer} </answer>",
        f"<think> {thought.text} </think> {answer_word} : {thought.answer}",
    )
    return rng.choice(forms)


def _facts(rng: Random) -> Document:
    """A sheet of sums, differences, products and quotients, all of them right."""
    facts = [_fact(rng) for _ in range(rng.randint(6, 14))]
    return Document(kind="facts", text=" , ".join(facts))


def _fact(rng: Random) -> str:
    operator = rng.choices("+-*/", (0.34, 0.34, 0.16, 0.16))[0]
    if operator in "+-":
        total = rng.randint(1, LARGEST)
        part = rng.randint(0, total)
        return f"{part} + {total - part} = {total}" if operator == "+" else f"{total} - {part} = {total - part}"

    left = rng.randint(1, 16)
    right = rng.randint(1, LARGEST // left)
    left, right = rng.sample((left, right), 2)

    return f"{left} * {right} = {left * right}" if operator == "*" else f"{left * right} / {right} = {left}"


def _comparisons(rng: Random) -> Document:
    """A sheet of comparisons; half of them are equal, and many of the others are close."""
    column = 0 if _language(rng) == "en" else 1
    parts = []
    for _ in range(rng.randint(6, 14)):
        left = rng.randint(0, LARGEST)
        near = [n for n in (left - 2, left - 1, left + 1, left + 2, left - 10, left + 10) if 0 <= n <= LARGEST]
        candidates = (left, rng.choice(near), rng.randint(0, LARGEST))
        (right,) = rng.choices(candidates, (0.5, 0.2, 0.3))
        parts.append(f"{left} ? {right} {WORDS['yes' if left == right else 'no'][column]}")
    return Document(kind="comparison", text=" , ".join(parts))


def _copying(rng: Random) -> Document:
    """A list of numbers and its pairs in order, which a search must go through without losing its place."""
    numbers = rng.sample(range(1, LARGEST // 2 + 1), rng.randint(3, 7))
    pairs = [f"{a} + {b}" for a, b in combinations(numbers, 2)]
    return Document(kind="copying", text=f"{' '.join(map(str, numbers))} : {' , '.join(pairs)}")


def _searching(rng: Random) -> Document:
    """A search up to its end, as in a textbook; answers on the web mostly stop earlier."""
    content = draw_content(rng, "train", ("pair", "countdown", "quadratic"))
    numbers = content.numbers[1:] if content.family == "quadratic" else (*content.numbers, content.target)
    text = f"{' '.join(map(str, numbers))} : {search_to_the_end(rng, content, _language(rng))}"
    return Document(kind="search", text=text, key=content.key)


def _knowledge(rng: Random) -> Document:
    """A sheet of facts, or a page of a dictionary; nearly all of it is true."""
    language = _language(rng)
    if rng.random() < 0.5:
        text = " , ".join(_dictionary_line(rng, language) for _ in range(rng.randint(5, 10))) + " ."
    else:
        text = " ".join(f"{_told_fact(rng, language)} ." for _ in range(rng.randint(4, 8)))
    return Document(kind="knowledge", text=text)


def _told_fact(rng: Random, language: str) -> str:
    kind, subject = rng.choice([(kind, subject) for kind, subjects in FACTS.items() for subject in subjects])
    answer = FACTS[kind][subject]
    if rng.random() < FALSE_SHARE:
        answer = rng.choice([other for other in sorted({*FACTS[kind].values()}) if other not in (answer, subject)])
    return statement(kind, subject, answer, language)


def _dictionary_line(rng: Random, language: str) -> str:
    groups = (ANIMALS, THINGS, COLOURS, VERBS)
    group = list(rng.choices(groups, (0.35, 0.35, 0.2, 0.1))[0])
    name = rng.choice(group)
    return entry(name, rng.choice(group) if rng.random() < FALSE_SHARE else name, language)


def _talk(rng: Random) -> Document:
    """A prompt of the training split with an answer but no thought, as on the web."""
    problem = draw_general(rng, "train")
    prompt = f"User : {problem.question} . Assistant :" if rng.random() < 0.7 else f"{problem.question} :"
    return Document(kind="talk", text=f"{prompt} {write(rng, problem).summary}")
