"""What pretraining reads: which phase an update belongs to, where its learning begins, and how much it holds."""

from itertools import islice

import pytest
import torch
from tiny import world_tokenizer

from aha.problems.world.corpus import documents
from aha.prompts.templates import R1_ZERO, r1_zero
from aha.runs.seeds import generator
from aha.stages.config import PretrainConfig
from aha.stages.pretrain import _Corpus, num_updates

SEED = 3
CONFIG = PretrainConfig(drill_tokens=2048, problem_tokens=1000, batch_tokens=1024)
PREAMBLE = R1_ZERO.split("{question}")[0]


def corpus(config: PretrainConfig = CONFIG) -> _Corpus:
    return _Corpus(tokenizer=world_tokenizer(), config=config, seed=SEED)


@pytest.mark.parametrize(("step", "phase"), [(0, "drills"), (1, "drills"), (2, "problems"), (3, "problems")])
def test_drills_are_read_until_their_tokens_are_spent_and_then_problems(step: int, phase: str) -> None:
    batch = corpus().batch(step)
    stream = documents(generator(SEED, "documents", phase, step), phase, r1_zero)
    for tokens_T, length, document in zip(
        batch.tokens_BT, batch.lengths_B.tolist(), islice(stream, len(batch.tokens_BT)), strict=True
    ):
        expected = [*world_tokenizer().encode(document.text).tolist(), world_tokenizer().end_id]
        assert tokens_T[:length].tolist() == expected


def test_nothing_is_learned_from_the_constant_beginning_of_the_template() -> None:
    known_T = world_tokenizer().encode(PREAMBLE)
    batch = corpus(CONFIG.model_copy(update={"batch_tokens": 16384})).batch(0)
    num_templated = 0
    for tokens_T, learned_T in zip(batch.tokens_BT, batch.mask_BT, strict=True):
        is_templated = torch.equal(tokens_T[: len(known_T)], known_T)
        first = int(learned_T.int().argmax())
        assert first == (len(known_T) if is_templated else 1)
        num_templated += is_templated
    assert 0 < num_templated < len(batch.tokens_BT)


@pytest.mark.parametrize("num_tokens", [1024, 16384])
def test_an_update_ends_with_the_document_that_fills_it(num_tokens: int) -> None:
    """Tokens that nothing is learned from do not count."""
    counts_B = corpus(CONFIG.model_copy(update={"batch_tokens": num_tokens})).batch(0).mask_BT.sum(1)
    assert int(counts_B[:-1].sum()) < num_tokens <= int(counts_B.sum())

    exactly = CONFIG.model_copy(update={"batch_tokens": int(counts_B[:-1].sum())})
    assert corpus(exactly).batch(0).mask_BT.sum(1).tolist() == counts_B[:-1].tolist()


@pytest.mark.parametrize(("drills", "problems", "expected"), [(0, 0, 0), (0, 1, 1), (1024, 1024, 2), (1025, 1024, 3)])
def test_the_last_update_may_be_begun_for_a_few_tokens(drills: int, problems: int, expected: int) -> None:
    config = PretrainConfig(drill_tokens=drills, problem_tokens=problems, batch_tokens=1024)
    assert num_updates(config) == expected
