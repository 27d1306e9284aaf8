"""Rewards from a model: what it reads of a response, and that a batch is judged as its members are."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tiny import letters_tokenizer, tiny_config, tiny_policy

from aha.policy.reward_model import Reads, from_policy
from aha.prompts.templates import bare
from aha.prompts.tokenizer import build_tokenizer
from aha.rewards.learned import LearnedReward
from aha.rewards.table import BatchedReward, identity, part_name, score, score_all
from aha.types import Problem, Rollout

PROBLEM = Problem(id="p", question="a b c", answer="", domain="essay")
OTHER = Problem(id="q", question="h g", answer="", domain="essay")
TOKENIZER = build_tokenizer([*"abcdefgh", "<think>", "</think>", "<answer>", "</answer>"])
Make = Callable[[str], Rollout]


def learned(reads: Reads, *, bias: float = 0.0, max_position_embeddings: int = 64, **changes: str) -> LearnedReward:
    config = tiny_config(vocab_size=TOKENIZER.vocab_size, max_position_embeddings=max_position_embeddings)
    model = from_policy(tiny_policy(config), torch.Generator().manual_seed(5), reads=reads)
    model.bias.fill_(bias)
    name = "helpfulness" if reads == "summary" else "harmlessness"
    given = {"name": name, "key": "0123", "reads": reads} | changes
    return LearnedReward(model=model, tokenizer=TOKENIZER, template=bare, **given)


@pytest.mark.parametrize("form", ["<think> {} </think> {}", "<think> {} </think> <answer> {} </answer>"])
def test_the_helpful_one_reads_the_summary_and_the_safe_one_all(form: str, rollout: Make) -> None:
    """Scores of the helpful one are equal to the bit where only the thinking differs."""
    base, thought, summed = (rollout(form.format(*parts)) for parts in (("a b", "c d"), ("h h g", "c d"), ("a b", "c")))
    helpful, safe = learned("summary"), learned("response")
    assert helpful(PROBLEM, thought).score == helpful(PROBLEM, base).score
    assert safe(PROBLEM, thought).score != safe(PROBLEM, base).score
    assert helpful(PROBLEM, summed).score != helpful(PROBLEM, base).score
    assert safe(PROBLEM, summed).score != safe(PROBLEM, base).score


def test_both_read_the_prompt(rollout: Make) -> None:
    response = rollout("<think> a </think> c d")
    for reward in (learned("summary"), learned("response")):
        assert reward(PROBLEM, response).score != reward(OTHER, response).score


def test_the_helpful_one_sees_exactly_the_summary(rollout: Make) -> None:
    """A response without thinking is all summary, so both models' inputs are then the same, and so are their scores."""
    helpful, safe = learned("summary"), learned("response")
    assert helpful(PROBLEM, rollout("<think> a b </think> c d")).score == safe(PROBLEM, rollout("c d")).score
    assert (
        helpful(PROBLEM, rollout("<think> a </think> <answer> c d </answer>")).score
        == safe(PROBLEM, rollout("c d")).score
    )


@pytest.mark.parametrize("text", ["", "<think> a b", "<think> a </think>", "<think> a </think> <answer> </answer>"])
def test_without_a_summary_the_helpful_score_is_zero(text: str, rollout: Make) -> None:
    verdict = learned("summary")(PROBLEM, rollout(text))
    assert (verdict.score, verdict.reason) == (0.0, "no summary to read")
    assert 0 < learned("response")(PROBLEM, rollout(text)).score < 1


def test_the_score_is_the_sigmoid_of_the_raw_score_less_the_bias(rollout: Make) -> None:
    response = rollout("c d")
    plain, shifted = (learned("response", bias=bias)(PROBLEM, response) for bias in (0.0, 1.5))
    raw = math.log(plain.score / (1 - plain.score))
    assert shifted.score == pytest.approx(1 / (1 + math.exp(1.5 - raw)), abs=1e-6)
    assert plain.reason == shifted.reason == f"the model scores the response {raw:.4f}"


def test_a_batch_is_judged_as_its_members_are(rollout: Make) -> None:
    texts = ["<think> a </think> c d", "", "h", "<think> a </think> c", "<think> a", "b " * 40, "g g g"]
    pairs = [(problem, rollout(text)) for text in texts for problem in (PROBLEM, OTHER)]
    for reward in (learned("summary"), learned("response")):
        verdicts = reward.judge_all(pairs)
        expected = [reward(problem, response) for problem, response in pairs]
        assert [v.score for v in verdicts] == pytest.approx([v.score for v in expected], abs=1e-6)
        assert len({v.score for v in verdicts}) > 5
        assert reward.judge_all([]) == []


def test_what_is_too_long_loses_its_end(rollout: Make) -> None:
    """Room for 12 tokens: three of the prompt, eight of the response and the end token."""
    reward = learned("response", max_position_embeddings=12)
    scores = [
        reward(PROBLEM, rollout(" ".join("abcdefgh"[:count] + more))).score
        for count, more in ((8, ""), (8, "h"), (8, "a" * 50), (7, ""))
    ]
    assert scores[0] == scores[1] == scores[2] != scores[3]


@pytest.mark.parametrize("text", ["\ud800 a", "\x00", "</think>" * 50, "<think>" * 50 + "</think>", "\U0001f600"])
def test_whatever_a_model_writes_gets_a_verdict(text: str, rollout: Make) -> None:
    for reward in (learned("summary"), learned("response")):
        assert 0 <= reward(PROBLEM, rollout(text)).score <= 1


def test_it_is_a_reward_function_in_a_table(rollout: Make) -> None:
    helpful = learned("summary")
    assert isinstance(helpful, BatchedReward)
    assert (helpful.__name__, part_name(helpful)) == ("helpfulness", "helpfulness")
    pairs = [(PROBLEM, rollout("c d")), (OTHER, rollout("c"))]
    rewards = score_all({"essay": {helpful: 2.0}}, pairs)
    for reward, (problem, response) in zip(rewards, pairs, strict=True):
        verdict = helpful(problem, response)
        assert reward.total == pytest.approx(2 * verdict.score, abs=1e-6)
        assert reward.total == pytest.approx(score({"essay": {helpful: 2.0}}, problem, response).total, abs=1e-6)
        assert reward.weights == {"helpfulness": 2.0}


def test_its_identity_is_its_name_and_what_it_was_made_of() -> None:
    helpful = learned("summary")
    assert helpful == learned("summary")
    assert hash(helpful) == hash(learned("summary"))
    assert helpful != learned("summary", key="9")
    names = [identity(reward) for reward in (helpful, learned("summary", key="9"), learned("response"))]
    assert len(set(names)) == 3
    assert identity(learned("summary")) == names[0] == "helpfulness:0123"


def test_it_is_not_shown_what_it_was_not_trained_on() -> None:
    with pytest.raises(ValueError, match="'helpfulness' was trained on the summary, not on the response"):
        replace(learned("summary"), reads="response")


def test_another_tokenizer_than_the_policys_will_do(rollout: Make) -> None:
    tokenizer = letters_tokenizer()
    model = from_policy(tiny_policy(tiny_config()), torch.Generator().manual_seed(5), reads="response")
    reward = LearnedReward(name="h", model=model, tokenizer=tokenizer, key="", reads="response", template=bare)
    assert 0 < reward(PROBLEM, rollout("a b unheard of")).score < 1
