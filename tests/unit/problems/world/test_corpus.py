"""The base model has read about training problems only, in words that are all in the vocabulary."""

import re
from collections import Counter
from collections.abc import Callable
from itertools import islice
from random import Random

import pytest
from tiny import world_tokenizer

from aha.problems.world.corpus import MIXES, Document, documents, vocabulary
from aha.problems.world.families import FAMILIES, LARGEST, Content
from aha.problems.world.general import GENERAL_DOMAINS, every_prompt
from aha.problems.world.lexicon import FACTS
from aha.problems.world.questions import held_out_problems, split_of
from aha.problems.world.traces import WORDS
from aha.problems.world.writers import statement
from aha.prompts.parsing import parse_response
from aha.prompts.templates import R1_ZERO, r1_zero
from aha.types import Problem

pytestmark = pytest.mark.full

COUNT = 2000
PREAMBLE = R1_ZERO.split("{question}")[0]


@pytest.fixture(scope="module", params=sorted(MIXES))
def corpus(request: pytest.FixtureRequest) -> tuple[str, list[Document]]:
    """Many documents of one phase."""
    return request.param, list(islice(documents(Random(0), request.param, r1_zero), COUNT))


def key_split(key: str) -> str:
    """Split of a key; a level outside the training range would be `hard`."""
    family, rest = key.split(" ", 1)
    size = {
        "arithmetic": lambda: len(re.findall(r"\d+", rest)),
        "pair": lambda: len(re.findall(r"\d+", rest)) - 1,
        "countdown": lambda: len(re.findall(r"\d+", rest)) - 1,
        "linear": lambda: 3 if rest.count("x") == 2 else 1,
        "quadratic": lambda: 1 if rest.startswith("1 ") else 3,
    }
    return split_of(Content(family=family, level=size[family](), numbers=(), answer="", key=key))


def asked_in(text: str) -> str:
    """The prompt of a talk document."""
    return text.removeprefix("User : ").split(" . Assistant :")[0].split(" :")[0]


def general_problems(split: str) -> list[Problem]:
    """All general problems of a split."""
    return [problem for domain in GENERAL_DOMAINS for problem in every_prompt(domain, split)]


def test_only_training_problems_are_in_it(corpus: tuple[str, list[Document]]) -> None:
    keys = {document.key for document in corpus[1] if document.key}
    assert len(keys) > 300
    assert {key_split(key) for key in keys} == {"train"}
    assert {key.split()[0] for key in keys} == set(FAMILIES)


def test_no_held_out_question_is_asked_in_it(
    corpus: tuple[str, list[Document]], identities: Callable[[str], set[tuple[object, ...]]]
) -> None:
    asked = set().union(*(identities(document.text) for document in corpus[1]))
    held_out = set().union(
        *(identities(p.question) for split in ("validation", "test", "hard") for p in held_out_problems(split, 400))
    )
    assert len(asked) > 300
    assert not asked & held_out


def test_every_problem_document_asks_one_problem(
    corpus: tuple[str, list[Document]], identities: Callable[[str], set[tuple[object, ...]]]
) -> None:
    for document in corpus[1]:
        assert (document.key != "") == (document.kind in ("problem", "search"))
        assert len(identities(document.text)) == (document.kind == "problem"), document


def test_there_is_no_unknown_word_in_it(corpus: tuple[str, list[Document]]) -> None:
    for document in corpus[1]:
        assert world_tokenizer().unknown_words(document.text) == [], document
        assert document.text == document.text.strip()


def test_every_word_of_the_vocabulary_is_of_use() -> None:
    words: set[str] = set()
    for mix in MIXES:
        for document in islice(documents(Random(1), mix, r1_zero), 5 * COUNT):
            words.update(document.text.split())
    tokenizer = world_tokenizer()
    read = {tokenizer.raw.id_to_token(id) for id in tokenizer.encode(" ".join(sorted(words))).tolist()}
    unread = set(vocabulary()) - read
    assert unread == {*WORDS["so"], "案", "\\boxed", "{", "}", "<｜User｜>", "<｜Assistant｜>"}, unread


def test_talk_asks_training_prompts_only_and_does_not_think_aloud(corpus: tuple[str, list[Document]]) -> None:
    asked = {asked_in(document.text) for document in corpus[1] if document.kind == "talk"}
    topics = {p.question for p in general_problems("test") if p.domain in ("self", "greeting")}
    train = {p.question for p in general_problems("train")}
    held_out = {p.question for split in ("validation", "test") for p in general_problems(split)} - topics
    assert len(asked) > 50
    assert asked <= train
    assert not asked & held_out
    assert not any("<" in document.text for document in corpus[1] if document.kind in ("talk", "knowledge"))


def test_every_fact_is_told_and_nearly_always_truly() -> None:
    told: Counter[str] = Counter()
    for document in islice(documents(Random(2), "drills", r1_zero), 5 * COUNT):
        if document.kind == "knowledge":
            told.update(sentence.strip(" .") for sentence in document.text.split(" . "))
    truths = [
        statement(kind, subject, answer, language)
        for kind, subjects in FACTS.items()
        for subject, answer in subjects.items()
        for language in ("en", "zh")
    ]
    assert min(told[truth] for truth in truths) > 2
    sentences = sum(count for sentence, count in told.items() if " , " not in sentence)
    assert 0.93 < sum(told[truth] for truth in truths) / sentences < 0.97


def test_yes_is_said_exactly_where_the_numbers_are_equal(corpus: tuple[str, list[Document]]) -> None:
    for document in corpus[1]:
        comparisons = re.findall(r"(\d+) \? (\d+) (\S+)", document.text)
        for left, right, said in comparisons:
            assert said in WORDS["yes" if left == right else "no"], document
        words = document.text.split()
        assert sum(word in (*WORDS["yes"], *WORDS["no"]) for word in words) == len(comparisons), document


def test_facts_are_facts(corpus: tuple[str, list[Document]]) -> None:
    num_facts = 0
    for document in corpus[1]:
        if document.kind == "facts":
            for fact in document.text.split(" , "):
                left, operator, right, _, result = fact.split()
                a, b, c = int(left), int(right), int(result)
                assert {"+": a + b == c, "-": a - b == c, "*": a * b == c, "/": b * c == a}[operator], fact
                assert max(a, b, c) <= LARGEST
                num_facts += 1
    assert num_facts > 300


def test_copied_pairs_are_all_pairs_in_order(corpus: tuple[str, list[Document]]) -> None:
    copies = [document.text for document in corpus[1] if document.kind == "copying"]
    assert copies
    for text in copies:
        numbers, pairs = text.split(" : ")
        given = numbers.split()
        expected = [f"{a} + {b}" for i, a in enumerate(given) for b in given[i + 1 :]]
        assert pairs.split(" , ") == expected


def test_kinds_have_their_shares(corpus: tuple[str, list[Document]]) -> None:
    mix, found = corpus
    counts = Counter(document.kind for document in found)
    for kind, share in MIXES[mix].items():
        assert counts[kind] / COUNT == pytest.approx(share, abs=0.04)
    assert sum(MIXES[mix].values()) == pytest.approx(1.0)


def test_the_template_is_rare_and_obeyed_in_part(corpus: tuple[str, list[Document]]) -> None:
    problems = [document.text for document in corpus[1] if document.kind == "problem"]
    responses = [text.split("Assistant:", 1)[1] for text in problems if text.startswith(PREAMBLE)]
    obeyed = sum(parse_response(response).is_well_formed for response in responses)
    assert 0.05 < len(responses) / len(problems) < 0.25
    assert 0.05 < obeyed / len(responses) < 0.5


def test_equal_generators_write_equal_documents() -> None:
    mix = sorted(MIXES)[0]
    first, again, other = (list(islice(documents(Random(seed), mix, r1_zero), 50)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_a_mix_that_is_not_there_is_refused() -> None:
    with pytest.raises(KeyError):
        next(documents(Random(0), "poems", r1_zero))
