"""The doctor finds planted faults, each by its name, and has nothing to say of the built-in world."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken
from tokenizers import Tokenizer as RawTokenizer
from torch import nn

from aha.actors.local_actors import LocalActors
from aha.engines.engine import Decoding
from aha.problems.world.questions import TrainingProblems
from aha.prompts.chat import chat
from aha.prompts.templates import CHAT_TEMPLATES, r1_zero
from aha.prompts.tokenizer import END, PAD, Tokenizer
from aha.recipes.base_model import BUILT_IN
from aha.recipes.own.judging import built_in_rules
from aha.rewards.custom import load_reward
from aha.rewards.extraction.reader import answer_reader
from aha.rewards.format import format_reward
from aha.rewards.table import RULES, RewardTable
from aha.runs.seeds import generator
from aha.stages.doctor.diagnose import MAX_RESPONSES, diagnose
from aha.stages.doctor.diagnosis import Diagnosis, RunCandidate
from aha.types import Problem, Rollout, Verdict


def healthy(seed: int = 0) -> RunCandidate:
    """R1-Zero on the built-in world, as it starts."""
    return RunCandidate(
        policy=LocalActors().policy(BUILT_IN, max_new_tokens=128),
        problems=TrainingProblems(seed=seed)(0, 16),
        num_groups=8,
        template=r1_zero,
        reward=RULES,
        decoding=Decoding(max_new_tokens=128),
        group_size=8,
        seed=seed,
    )


def smaller() -> RunCandidate:
    """The same with few responses, which are enough to see a fault."""
    return replace(healthy(), group_size=4, decoding=Decoding(max_new_tokens=96))


@pytest.fixture(scope="module")
def fit() -> Diagnosis:
    """What is found of R1-Zero on the built-in world."""
    return diagnose(healthy())


def with_tokenizer(candidate: RunCandidate, tokenizer: Tokenizer) -> RunCandidate:
    candidate.policy.tokenizer = tokenizer
    return candidate


def short(candidate: RunCandidate) -> RunCandidate:
    return replace(candidate, decoding=Decoding(max_new_tokens=2))


def unreadable(candidate: RunCandidate) -> RunCandidate:
    return replace(candidate, problems=candidate.problems[:8], template=lambda question: "= = =")


def endless(candidate: RunCandidate) -> RunCandidate:
    """The tokenizer's end is not the one that the model was trained with."""
    return with_tokenizer(candidate, Tokenizer(candidate.tokenizer.raw, end=PAD))


def endless_turns(candidate: RunCandidate) -> RunCandidate:
    """The template in use ends turns with a token at which sampling does not stop."""
    described = json.loads(candidate.tokenizer.raw.to_str())
    vocabulary = described["model"]["vocab"]
    last_word = max(vocabulary, key=vocabulary.__getitem__)
    vocabulary["<|im_end|>"] = vocabulary.pop(last_word)
    raw = RawTokenizer.from_str(json.dumps(described))
    raw.add_special_tokens([AddedToken("<|im_end|>", special=True)])
    tokenizer = Tokenizer(raw, end=END, chat_template="{{ messages[0]['content'] }}<|im_end|>")
    return replace(with_tokenizer(candidate, tokenizer), template=chat(tokenizer))


def constant(candidate: RunCandidate) -> RunCandidate:
    def always(problem: Problem, rollout: Rollout) -> Verdict:
        return Verdict(score=1.0, reason="why not")

    return replace(candidate, reward={domain: {always: 1.0} for domain in RULES})


def not_a_number(candidate: RunCandidate) -> RunCandidate:
    weight = next(candidate.policy.model.parameters())
    with torch.no_grad():
        weight[5, 3] = torch.nan
    return candidate


def cramped(candidate: RunCandidate) -> RunCandidate:
    return replace(candidate, decoding=Decoding(max_new_tokens=candidate.policy.max_positions))


def foreign(candidate: RunCandidate) -> RunCandidate:
    text = "Natalia sold clips to forty eight friends during April, and then she sold half as many clips during May."
    return replace(candidate, problems=[replace(problem, question=f"{text} {text}") for problem in candidate.problems])


def swallowed(candidate: RunCandidate) -> RunCandidate:
    """The tags of the format are special tokens, which decoding leaves out."""
    raw = RawTokenizer.from_str(candidate.tokenizer.raw.to_str())
    raw.add_special_tokens([AddedToken(tag, special=True) for tag in ("<think>", "</think>")])
    return with_tokenizer(candidate, Tokenizer(raw, end=END, chat_template=CHAT_TEMPLATES["r1_zero"]))


def failing(candidate: RunCandidate) -> RunCandidate:
    def accuracy(problem: Problem, rollout: Rollout) -> Verdict:
        return Verdict(score=0.0, reason="no verdict within 5 s", kind="timeout")

    return replace(candidate, reward={domain: {accuracy: 1.0, format_reward: 1.0} for domain in RULES})


def unsupported_in_one_of(candidate: RunCandidate, count: int) -> RunCandidate:
    """A judge that cannot judge one response in `count`."""
    numbers = itertools.count()

    def accuracy(problem: Problem, rollout: Rollout) -> Verdict:
        number = next(numbers)
        if number % count == 0:
            return Verdict(score=0.0, reason="a test with a fixture", kind="unsupported")
        return Verdict(score=float(number % 2), reason="drawn", kind="correct" if number % 2 else "wrong")

    return replace(candidate, reward={domain: {accuracy: 1.0} for domain in RULES})


def raising(candidate: RunCandidate) -> RunCandidate:
    def mine(problem: Problem, rollout: Rollout) -> Verdict:
        raise KeyError("solution")

    return replace(candidate, reward={domain: {mine: 1.0} for domain in RULES})


class Dropping(nn.Module):
    """A layer with dropout that stays on, so that no two passes agree."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.dropout = inner, nn.Dropout(0.2)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.dropout(self.inner(hidden))
        return out


def disagreeing(candidate: RunCandidate) -> RunCandidate:
    layer = candidate.policy.model.model.layers[0]
    layer.mlp = Dropping(layer.mlp)
    return candidate


FAULTS: dict[Callable[[RunCandidate], RunCandidate], str] = {
    short: "cap-too-short",
    unreadable: "answers-unparsable",
    endless: "stop-token-missing",
    endless_turns: "stop-token-missing",
    constant: "no-spread",
    not_a_number: "weights-not-finite",
    cramped: "no-room",
    foreign: "unknown-words",
    swallowed: "format-unreachable",
    failing: "verifier-fails",
    raising: "reward-broken",
    disagreeing: "mismatch",
}


@pytest.mark.parametrize(("plant", "code"), FAULTS.items(), ids=lambda given: getattr(given, "__name__", given))
def test_a_planted_fault_is_found_and_is_fatal(plant: Callable[[RunCandidate], RunCandidate], code: str) -> None:
    diagnosis = diagnose(plant(smaller()))
    found = {finding.code: finding for finding in diagnosis.findings}
    assert code in found, diagnosis.findings
    assert found[code].is_fatal
    assert found[code].remedy
    assert not diagnosis.is_fit


def test_the_largest_cap_that_leaves_room_is_named() -> None:
    candidate = cramped(smaller())
    (finding,) = [one for one in diagnose(candidate).findings if one.code == "no-room"]
    longest = max(len(candidate.tokenizer.encode(candidate.template(one.question))) for one in candidate.problems)
    assert f"lower max-new-tokens to {candidate.policy.max_positions - longest} or less" in finding.remedy


def test_a_template_that_the_checkpoint_cannot_name_is_told() -> None:
    candidate = replace(smaller(), template=lambda question: f"{r1_zero(question)} ok")
    found = {finding.code: finding for finding in diagnose(candidate).findings}
    assert not found["served-otherwise"].is_fatal
    assert "from token" in found["served-otherwise"].what


def test_the_built_in_world_is_fit(fit: Diagnosis) -> None:
    assert fit.findings == ()
    assert fit.is_fit
    assert fit.figures["responses"] == 64
    assert fit.parts["format"][0] < fit.parts["format"][2]
    assert sum(fit.verdicts.values()) == 64


@pytest.mark.full
@pytest.mark.parametrize("seed", [1, 2])
def test_the_built_in_world_is_fit_with_any_seed(seed: int) -> None:
    assert diagnose(healthy(seed)).findings == ()


def test_the_same_seed_gives_the_same_diagnosis(fit: Diagnosis) -> None:
    def told(diagnosis: Diagnosis) -> object:
        figures = {name: value for name, value in diagnosis.figures.items() if name != "tokens_per_second"}
        return figures, diagnosis.parts, diagnosis.responses

    assert told(diagnose(healthy())) == told(fit)


def test_the_policy_is_left_as_it_was() -> None:
    candidate = smaller()
    before = {name: weight.clone() for name, weight in candidate.policy.model.named_parameters()}
    diagnose(candidate)
    assert all(torch.equal(before[name], weight) for name, weight in candidate.policy.model.named_parameters())


def test_a_chat_template_that_is_not_in_use_decides_nothing() -> None:
    """A base model may come with a chat template; under R1-Zero's template nothing of it is used."""
    other = replace(endless_turns(smaller()), template=r1_zero)
    assert "stop-token-missing" not in {finding.code for finding in diagnose(other).findings}


def right_with(chance: float) -> RewardTable:
    """A reward as of a policy that is right with this chance, drawn from the response itself."""

    def accuracy(problem: Problem, rollout: Rollout) -> Verdict:
        is_right = generator(problem.id, *rollout.tokens.tolist()).random() < chance
        return Verdict(score=float(is_right), reason="drawn", kind="correct" if is_right else "wrong")

    return {domain: {accuracy: 1.0} for domain in RULES}


def of_few_groups(chance: float, seed: int) -> RunCandidate:
    """Two groups of four in any case, as for a large model; short responses."""
    return replace(
        healthy(seed),
        problems=TrainingProblems(seed=seed)(0, 32),
        num_groups=2,
        group_size=4,
        reward=right_with(chance),
        decoding=Decoding(max_new_tokens=8),
    )


def test_a_policy_that_is_right_one_time_in_ten_is_not_refused() -> None:
    """Two groups of four show no spread in .9^8 = 43 % of tries; sampling goes on until one does."""
    diagnoses = [diagnose(of_few_groups(0.1, seed)) for seed in range(4)]
    assert max(diagnosis.figures["responses"] for diagnosis in diagnoses) > 8
    for diagnosis in diagnoses:
        assert "no-spread" not in {finding.code for finding in diagnosis.findings}
        assert diagnosis.figures["zero_spread"] < 1


def test_a_run_without_spread_is_hopeless_only_after_enough_samples() -> None:
    never = of_few_groups(0.0, 0)
    (refused,) = [finding for finding in diagnose(never).findings if finding.code == "no-spread"]
    assert refused.is_fatal
    assert f"{MAX_RESPONSES // 4} groups" in refused.what

    few = replace(never, problems=never.problems[:8])
    (warned,) = [finding for finding in diagnose(few).findings if finding.code == "no-spread"]
    assert not warned.is_fatal
    # .8145 is the chance that four responses of a policy that is right one time in twenty are all equal.
    assert f"{1 - 0.8145125**8:.1%}" in warned.what


def test_the_search_for_spread_ends_with_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large model with long responses would otherwise be sampled for an hour before it is refused."""
    monkeypatch.setattr("aha.stages.doctor.diagnose.MAX_TOKENS", 10)
    never = of_few_groups(0.0, 0)
    diagnosis = diagnose(never)
    assert diagnosis.figures["responses"] == never.num_groups * never.group_size
    assert "no-spread" in {finding.code for finding in diagnosis.findings}


def test_where_responses_are_cut_the_cap_is_the_first_remedy_for_answers_that_cannot_be_read() -> None:
    found = {finding.code: finding for finding in diagnose(short(smaller())).findings}
    assert found["answers-unparsable"].remedy.startswith("raise max-new-tokens first")


def test_a_judge_that_cannot_judge_one_response_in_twenty_is_told() -> None:
    (warned,) = [one for one in diagnose(unsupported_in_one_of(smaller(), 16)).findings if one.code == "unsupported"]
    assert not warned.is_fatal
    assert "2 of 32 responses" in warned.what
    assert "a test with a fixture" in warned.what

    told = {one.code for one in diagnose(unsupported_in_one_of(smaller(), 32)).findings}
    assert not told & {"unsupported", "verifier-fails"}


def test_three_responses_are_shown_with_what_was_read(fit: Diagnosis) -> None:
    shown = fit.responses
    assert len({one.verdict for one in shown}) == len(shown) == 3
    assert {one.verdict.split(":")[0] for one in shown} <= {"correct", "wrong", "unparsable"}
    for one in shown:
        assert one.text
        assert one.question
        assert (one.answer is None) == ("no single answer block" in one.verdict)


def test_the_three_responses_are_to_three_problems_and_say_where_the_answer_stands(fit: Diagnosis) -> None:
    assert len({one.question for one in fit.responses}) == 3
    for one in fit.responses:
        assert one.source == ("" if one.answer is None else "the answer block")


def test_what_is_shown_was_read_as_the_user_chose() -> None:
    candidate = replace(smaller(), reward=built_in_rules(answer_reader("regex:[0-9]+")))
    diagnosis = diagnose(candidate)
    read = [one for one in diagnosis.responses if one.answer is not None]
    assert read
    for one in read:
        assert one.answer is not None
        assert one.answer.isdecimal()
        assert one.answer in one.text
        assert one.source == "the last match of the pattern"

    unread = diagnose(replace(candidate, reward=built_in_rules(answer_reader("box"))))
    assert {one.verdict.split(": ")[0] for one in unread.responses} == {"unparsable"}
    (finding,) = [one for one in unread.findings if one.code == "answers-unparsable"]
    assert finding.is_fatal
    assert "--answer" in finding.remedy


def test_an_own_reward_that_raises_is_found_with_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "def mine(problem, rollout):\n    if len(rollout.tokens) % 2:\n        return 1 / 0\n    return {}[1]\n"
    )
    own, _ = load_reward(f"{file}:mine")
    candidate = smaller()
    table: RewardTable = {domain: {**row, own: 1.0} for domain, row in candidate.reward.items()}
    findings = {finding.code: finding for finding in diagnose(replace(candidate, reward=table)).findings}
    assert findings.keys() == {"reward-broken"}
    assert findings["reward-broken"].is_fatal
    assert findings["reward-broken"].what.count(f"{file}:3: ZeroDivisionError: division by zero") == 1
    assert findings["reward-broken"].what.count(f"{file}:4: KeyError: 1") == 1


@pytest.mark.full
def test_a_base_model_that_writes_on_is_told_of_stop_strings() -> None:
    writes_on = endless(smaller())
    found = {finding.code: finding for finding in diagnose(writes_on).findings}
    assert "--stop" in found["stop-token-missing"].remedy
    stopped = replace(writes_on, decoding=replace(writes_on.decoding, stop=("</answer>",)))
    assert diagnose(stopped).findings == ()
