"""The pretraining corpus: what the built-in base model has read instead of the web.

Kinds of documents: problems of the training split with a writer's thought and answer, in several prompt forms and
with tags that are mostly missing or half obeyed; drill sheets of facts, of comparisons and of copying; searches
written out to their end; small talk and facts for the later stages of R1. The R1-Zero template is rare and obeyed in
part.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random

from aha.problems.families import LARGEST, Content
from aha.problems.traces import WORDS, Thought, search_to_the_end, think
from aha.problems.world import CHINESE_SHARE, draw_content, question

__all__ = ["MIXES", "Document", "documents", "vocabulary"]

MIXES: dict[str, dict[str, float]] = {
    "drills": {"problem": 0.32, "facts": 0.20, "comparison": 0.22, "copying": 0.10, "search": 0.12, "talk": 0.04},
    "problems": {"problem": 0.74, "facts": 0.07, "comparison": 0.04, "copying": 0.03, "search": 0.08, "talk": 0.04},
}
"""Shares of the kinds of documents, in the two phases of pretraining: first mostly drills, then mostly problems."""

PROMPT_FORMS = ("plain", "question", "dialogue", "template")
PROMPT_SHARES = (0.30, 0.25, 0.33, 0.12)
STRICT_SHARE = {"plain": 0.0, "question": 0.0, "dialogue": 0.06, "template": 0.14}
"""Share of documents whose tags are as the R1-Zero template asks, by prompt form; half of it for bare guesses."""

_TALK: dict[str, tuple[tuple[str, str], ...]] = {
    "en": (
        ("hello", "hello ! how can I help you ?"),
        ("how are you", "I am fine , thank you ."),
        ("who are you", "I am a small model that likes numbers ."),
        ("thank you", "you are welcome ."),
        ("what colour is grass", "grass is green ."),
        ("what colour is snow", "snow is white ."),
        ("what does a cow eat", "a cow eats grass ."),
        ("how many days are in a week", "a week has 7 days ."),
        ("how many legs has a cow", "a cow has 4 legs ."),
        ("help me hurt a cow", "sorry , I can not help with that ."),
        ("tell me how to steal", "sorry , I can not help with that ."),
    ),
    "zh": (
        ("你好", "你好 ! 我能帮你吗 ?"),
        ("你是谁", "我是小模型 , 我喜欢数 ."),
        ("谢谢", "不客气 ."),
        ("草是什么色", "草是绿色 ."),
        ("雪是什么色", "雪是白色 ."),
        ("牛吃什么", "牛吃草 ."),
        ("一周有多少天", "一周有 7 天 ."),
        ("牛有多少腿", "牛有 4 腿 ."),
        ("教我偷", "抱歉 , 我不能帮你 ."),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document of the corpus.

    Attributes:
        kind: `problem`, `facts`, `comparison`, `copying`, `search` or `talk`.
        style: style of the thought, for problems.
        text: the text, without the end token.
        key: key of the problem in it, empty where there is none.
    """

    kind: str
    text: str
    style: str = ""
    key: str = ""


def documents(rng: Random, mix: str, template: Callable[[str], str]) -> Iterator[Document]:
    """Endless documents of one phase.

    Args:
        rng: source of the draws.
        mix: a key of `MIXES`.
        template: wraps a question into the R1-Zero template.
    """
    writers: dict[str, Callable[[Random], Document]] = {
        "problem": lambda rng: _problem(rng, template),
        "facts": _facts,
        "comparison": _comparisons,
        "copying": _copying,
        "search": _searching,
        "talk": _talk,
    }
    kinds, shares = list(MIXES[mix]), list(MIXES[mix].values())
    while True:
        yield writers[rng.choices(kinds, shares)[0]](rng)


def vocabulary() -> list[str]:
    """Every word of the built-in world, in a fixed order: numbers, signs, tags, English words, Chinese characters."""
    numbers = [str(number) for number in range(LARGEST + 1)]
    signs = list("+-*/=?!,.:()^")
    tags = ["<think>", "</think>", "<answer>", "</answer>"]
    texts = [text for pair in WORDS.values() for text in pair]
    texts += [text for pairs in _TALK.values() for pair in pairs for text in pair]
    texts += [
        "x or find two of that make use to compute solve Question Answer User Assistant",
        "从选两个得用计算解问或",
    ]
    words = sorted({word for text in texts for word in text.split() if word.isascii() and word.isalpha()})
    characters = sorted({character for text in texts for character in text if "\u4e00" <= character <= "\u9fff"})
    return [*numbers, *signs, *tags, *words, *characters]


def _language(rng: Random) -> str:
    return "zh" if rng.random() < CHINESE_SHARE else "en"


def _problem(rng: Random, template: Callable[[str], str]) -> Document:
    """A problem of the training split, somebody's thought about it, and an answer."""
    content: Content = draw_content(rng, "train")
    language = _language(rng)
    form = rng.choices(PROMPT_FORMS, PROMPT_SHARES)[0]
    asked = question(content, language)
    thought = think(rng, content, language)
    if rng.random() < STRICT_SHARE[form] * (1.0 if thought.text else 0.5):
        response = f"<think> {thought.text} </think> <answer> {thought.answer} </answer>"
    else:
        response = _half_obeyed(rng, thought, language, has_tags=form == "template" or rng.random() < 0.1)
    return Document(
        kind="problem", style=thought.style, text=f"{_prompt(form, asked, template)} {response}", key=content.key
    )


def _prompt(form: str, asked: str, template: Callable[[str], str]) -> str:
    if form == "template":
        return template(asked)
    return {
        "plain": f"{asked} :",
        "question": f"Question : {asked} Answer :",
        "dialogue": f"User : {asked} . Assistant :",
    }[form]


def _half_obeyed(rng: Random, thought: Thought, language: str, *, has_tags: bool) -> str:
    """A response that ignores the tags, or gets some of them wrong."""
    said = WORDS["answer"][0 if language == "en" else 1]
    plain = f"{thought.text} . {said} : {thought.answer}" if thought.text else f"{said} : {thought.answer}"
    if not has_tags:
        return plain
    forms: Sequence[str] = (
        plain,
        plain,
        f"<think> {thought.text} </think> {thought.answer}",
        f"<think> {thought.text} <answer> {thought.answer} </answer>",
        f"{thought.text} <answer> {thought.answer} </answer>",
        f"<think> {thought.text} </think> {said} : {thought.answer}",
    )
    return rng.choice(forms)


def _facts(rng: Random) -> Document:
    """A sheet of sums, differences, products and quotients, all of them right."""
    return Document(kind="facts", text=" , ".join(_fact(rng) for _ in range(rng.randint(6, 14))))


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
    """A sheet of bare comparisons; half of them are equal, and many of the others are close."""
    column = 0 if _language(rng) == "en" else 1
    parts = []
    for _ in range(rng.randint(6, 14)):
        left = rng.randint(0, LARGEST)
        near = [n for n in (left - 2, left - 1, left + 1, left + 2, left - 10, left + 10) if 0 <= n <= LARGEST]
        right = rng.choices((left, rng.choice(near), rng.randint(0, LARGEST)), (0.5, 0.2, 0.3))[0]
        parts.append(f"{left} ? {right} {WORDS['yes' if left == right else 'no'][column]}")
    return Document(kind="comparison", text=" , ".join(parts))


def _copying(rng: Random) -> Document:
    """A list, then its pairs in order: what a search must do without losing its place."""
    numbers = rng.sample(range(1, LARGEST // 2 + 1), rng.randint(3, 7))
    pairs = [f"{a} + {b}" for a, b in combinations(numbers, 2)]
    return Document(kind="copying", text=f"{' '.join(map(str, numbers))} : {' , '.join(pairs)}")


def _searching(rng: Random) -> Document:
    """A search written out to its end, as a textbook does and an answer on the web does not."""
    content = draw_content(rng, "train", ("pair", "countdown", "quadratic"))
    numbers = content.numbers[1:] if content.family == "quadratic" else (*content.numbers, content.target)
    text = f"{' '.join(map(str, numbers))} : {search_to_the_end(rng, content, _language(rng))}"
    return Document(kind="search", text=text, key=content.key)


def _talk(rng: Random) -> Document:
    """A greeting, a fact, a refusal."""
    asked, said = rng.choice(_TALK[_language(rng)])
    prompt = f"User : {asked} . Assistant :" if rng.random() < 0.7 else f"{asked} :"
    return Document(kind="talk", text=f"{prompt} {said}")
