"""The pretraining corpus: the documents that the built-in base model is trained on instead of the web.

The kinds of documents are: problems of the training split with a writer's thought and answer, in several prompt forms,
with tags that are mostly missing or wrong; drill sheets of facts, of comparisons and of copying; searches up to their
end; and for the later stages of R1, knowledge (statements of facts, lines of a dictionary) and talk (prompts of the
training split, answered by good and bad hands without a thought). The R1-Zero template is rare and only partly obeyed.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from random import Random

from aha.problems.world.contents import contents
from aha.problems.world.families import LARGEST
from aha.problems.world.general import draw_general
from aha.problems.world.lexicon import ANIMALS, COLOURS, FACTS, THINGS, VERBS, texts
from aha.problems.world.questions import CHINESE_SHARE, draw_content, question
from aha.problems.world.traces import SEARCH_FAMILIES, WORDS, Thought, search_to_the_end, think
from aha.problems.world.writers import entry, statement, write

__all__ = ["MIXES", "Document", "documents", "vocabulary"]

_GENERAL = {"knowledge": 0.06, "talk": 0.06}

# A base with fewer problem documents and more searches kept its place better and gave worse answers: copying the result
# into the answer is learned from problem documents alone (LOG.md, base 8).
MIXES: dict[str, dict[str, float]] = {
    "drills": {"problem": 0.30, "facts": 0.17, "comparison": 0.22, "copying": 0.10, "search": 0.09, **_GENERAL},
    "problems": {"problem": 0.70, "facts": 0.05, "comparison": 0.04, "copying": 0.03, "search": 0.06, **_GENERAL},
}
"""Shares of the kinds of documents, in the two phases of pretraining: first mostly drills, then mostly problems."""

PROMPT_FORMS = ("plain", "question", "dialogue", "template")
PROMPT_SHARES = (0.30, 0.25, 0.33, 0.12)

# Share of documents that obey the tags of the R1-Zero template, by prompt form; half of it for bare guesses. At
# temperature 0.6 a base that obeyed the tags in 45 % of its documents obeyed them in 85 % of its responses. Guesses
# that obeyed as often as chains drew reinforcement towards bare guesses, because they are short.
STRICT_SHARE = {"plain": 0.0, "question": 0.0, "dialogue": 0.06, "template": 0.14}

FALSE_SHARE = 0.05  # false statements among the knowledge


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

    # Every text of the world, from which words and Chinese characters are collected. The last ones are of the prompts.
    all_texts = [text for pair in WORDS.values() for text in pair]
    all_texts += [*texts(), "x find two of that make use to compute solve Question Answer User Assistant"]
    all_texts += ["so the answer is", "从选两个得用计算解故答案是"]

    words: set[str] = set()
    characters: set[str] = set()
    for text in all_texts:
        words.update(word for word in text.split() if word.isascii() and word.isalpha())
        characters.update(character for character in text if "\u4e00" <= character <= "\u9fff")

    # Token ids are positions in this list: another order makes every trained base model useless.
    return [*numbers, *signs, *tags, *pieces, *sorted(words), *sorted(characters)]


def _language(rng: Random) -> str:
    return "zh" if rng.random() < CHINESE_SHARE else "en"


def _problem(rng: Random, template: Callable[[str], str]) -> Document:
    """A problem of the training split, with a thought and an answer."""
    content = draw_content(rng, "train")
    language = _language(rng)
    (form,) = rng.choices(PROMPT_FORMS, PROMPT_SHARES)
    thought = think(rng, content, language)

    strict_share = STRICT_SHARE[form]
    if not thought.text:
        strict_share *= 0.5

    if rng.random() < strict_share:
        response = f"<think> {thought.text} </think> <answer> {thought.answer} </answer>"
    else:
        # Outside the template, tags are rare.
        has_tags = form == "template" or rng.random() < 0.1
        response = _half_obedient(rng, thought, language, has_tags=has_tags)

    text = question(content, language)
    prompt = template(text) if form == "template" else _prompt(form, text)
    return Document(kind="problem", style=thought.style, text=f"{prompt} {response}", key=content.key)


def _prompt(form: str, question_text: str) -> str:
    if form == "question":
        return f"Question : {question_text} Answer :"
    if form == "dialogue":
        return f"User : {question_text} . Assistant :"
    return f"{question_text} :"


def _half_obedient(rng: Random, thought: Thought, language: str, *, has_tags: bool) -> str:
    """A response that ignores the tags, or gets some of them wrong."""
    answer_word = WORDS["answer"][0 if language == "en" else 1]
    plain = f"{answer_word} : {thought.answer}"
    if thought.text:
        plain = f"{thought.text} . {plain}"

    if not has_tags:
        return plain

    forms = (
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
    num_facts = rng.randint(6, 14)
    facts = [_fact(rng) for _ in range(num_facts)]
    return Document(kind="facts", text=" , ".join(facts))


def _fact(rng: Random) -> str:
    (operator,) = rng.choices("+-*/", (0.34, 0.34, 0.16, 0.16))
    if operator in "+-":
        total = rng.randint(1, LARGEST)
        part = rng.randint(0, total)
        rest = total - part
        return f"{part} + {rest} = {total}" if operator == "+" else f"{total} - {part} = {rest}"

    # The second factor is drawn so that the product stays in 0..49; shuffled, both sides see large and small factors.
    left = rng.randint(1, 16)
    right = rng.randint(1, LARGEST // left)
    left, right = rng.sample((left, right), 2)
    multiple = left * right
    return f"{left} * {right} = {multiple}" if operator == "*" else f"{multiple} / {right} = {left}"


def _comparisons(rng: Random) -> Document:
    """A sheet of comparisons; half of them are equal, and many of the others are close."""
    # With this many equal and close numbers, over 99 % of the verdicts of the base models were right (LOG.md).
    column = 0 if _language(rng) == "en" else 1
    parts = []
    for _ in range(rng.randint(6, 14)):
        left = rng.randint(0, LARGEST)
        neighbours = (left - 2, left - 1, left + 1, left + 2, left - 10, left + 10)
        near = rng.choice([number for number in neighbours if 0 <= number <= LARGEST])
        anything = rng.randint(0, LARGEST)

        (right,) = rng.choices((left, near, anything), (0.5, 0.2, 0.3))
        verdict = WORDS["yes" if left == right else "no"][column]
        parts.append(f"{left} ? {right} {verdict}")

    return Document(kind="comparison", text=" , ".join(parts))


def _copying(rng: Random) -> Document:
    """A list of numbers and its pairs in order, which a search must go through without losing its place."""
    # The numbers are those of the family `pair`.
    numbers = rng.sample(range(1, LARGEST // 2 + 1), rng.randint(3, 7))
    pairs = [f"{first} + {second}" for first, second in combinations(numbers, 2)]
    text = f"{_spaced(numbers)} : {' , '.join(pairs)}"
    return Document(kind="copying", text=text)


def _searching(rng: Random) -> Document:
    """A search up to its end, as in a textbook; answers on the web mostly stop earlier."""
    content = draw_content(rng, "train", SEARCH_FAMILIES)
    # In training the leading coefficient of an equation is always 1.
    numbers = content.numbers[1:] if content.family == "quadratic" else (*content.numbers, content.target)
    search = search_to_the_end(rng, content, _language(rng))
    return Document(kind="search", text=f"{_spaced(numbers)} : {search}", key=content.key)


def _spaced(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


def _knowledge(rng: Random) -> Document:
    """A sheet of facts, or a page of a dictionary; nearly all of it is true."""
    language = _language(rng)
    if rng.random() < 0.5:
        lines = [_dictionary_line(rng, language) for _ in range(rng.randint(5, 10))]
        text = f"{' , '.join(lines)} ."
    else:
        sentences = [_sentence(rng, language) for _ in range(rng.randint(4, 8))]
        text = " ".join(sentences)
    return Document(kind="knowledge", text=text)


def _sentence(rng: Random, language: str) -> str:
    """A statement of a fact, now and then a false one."""
    kind, subject = rng.choice(contents("fact")).parts
    answer = FACTS[kind][subject]
    if rng.random() < FALSE_SHARE:
        # Sorted, because the order of a set differs between processes.
        answers = sorted({*FACTS[kind].values()} - {answer, subject})
        answer = rng.choice(answers)
    return f"{statement(kind, subject, answer, language)} ."


def _dictionary_line(rng: Random, language: str) -> str:
    groups = (ANIMALS, THINGS, COLOURS, VERBS)
    (group,) = rng.choices(groups, (0.35, 0.35, 0.2, 0.1))
    names = list(group)
    name = rng.choice(names)
    meaning = rng.choice(names) if rng.random() < FALSE_SHARE else name
    return entry(name, meaning, language)


def _talk(rng: Random) -> Document:
    """A prompt of the training split with an answer but no thought, as on the web."""
    problem = draw_general(rng, "train")
    form = "dialogue" if rng.random() < 0.7 else "plain"
    prompt = _prompt(form, problem.question)
    written = write(rng, problem)
    return Document(kind="talk", text=f"{prompt} {written.summary}")
