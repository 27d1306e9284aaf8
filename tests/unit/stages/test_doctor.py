"""The doctor finds planted faults, each by its name, and has nothing to say of the built-in world."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tokenizers import AddedToken
from tokenizers import Tokenizer as RawTokenizer
from torch import nn

from aha.policy.transformer import Transformer
from aha.problems.world import TrainingProblems
from aha.prompts.templates import CHAT_TEMPLATES, r1_zero
from aha.prompts.tokenizer import END, PAD, Tokenizer
from aha.recipes.base_model import BUILT_IN
from aha.rewards.format import format_reward
from aha.rewards.table import RULES
from aha.rollouts.engine import Decoding
from aha.stages.doctor import Patient, diagnose
from aha.training.checkpoint import read_model
from aha.types import Problem, Rollout, Verdict


def healthy(seed: int = 0) -> Patient:
    """R1-Zero on the built-in world, as it starts."""
    policy, tokenizer = read_model(BUILT_IN)
    return Patient(
        policy=policy,
        tokenizer=tokenizer,
        problems=TrainingProblems(seed=seed)(0, 8),
        template=r1_zero,
        reward=RULES,
        decoding=Decoding(max_new_tokens=128),
        group_size=8,
        seed=seed,
    )


def opened(patient: Patient) -> Patient:
    return replace(patient, template=lambda question: f"{r1_zero(question)} <think>\n")


def short(patient: Patient) -> Patient:
    return replace(patient, decoding=Decoding(max_new_tokens=2))


def unreadable(patient: Patient) -> Patient:
    return replace(patient, template=lambda question: "= = =")


def endless(patient: Patient) -> Patient:
    """The tokenizer's end is not the one that the model was trained with."""
    return replace(patient, tokenizer=Tokenizer(patient.tokenizer.raw, end=PAD))


def endless_turns(patient: Patient) -> Patient:
    """The chat template ends turns with a token at which sampling does not stop."""
    raw = RawTokenizer.from_str(patient.tokenizer.raw.to_str())
    template = "{{ messages[0]['content'] }}<|im_end|>"
    raw.add_special_tokens([AddedToken("<|im_end|>", special=True)])
    return replace(patient, tokenizer=Tokenizer(raw, end=END, chat_template=template))


def constant(patient: Patient) -> Patient:
    def always(problem: Problem, rollout: Rollout) -> Verdict:
        return Verdict(score=1.0, reason="why not")

    return replace(patient, reward={domain: {always: 1.0} for domain in RULES})


def not_a_number(patient: Patient) -> Patient:
    weight = next(patient.policy.parameters())
    with torch.no_grad():
        weight[5, 3] = torch.nan
    return patient


def cramped(patient: Patient) -> Patient:
    return replace(patient, decoding=Decoding(max_new_tokens=patient.policy.config.max_position_embeddings))


def foreign(patient: Patient) -> Patient:
    text = "Natalia sold clips to forty eight friends during April, and then she sold half as many clips during May."
    return replace(patient, problems=[replace(problem, question=f"{text} {text}") for problem in patient.problems])


def swallowed(patient: Patient) -> Patient:
    """The tags of the format are special tokens, which decoding leaves out."""
    raw = RawTokenizer.from_str(patient.tokenizer.raw.to_str())
    raw.add_special_tokens([AddedToken(tag, special=True) for tag in ("<think>", "</think>")])
    return replace(patient, tokenizer=Tokenizer(raw, end=END, chat_template=CHAT_TEMPLATES["r1_zero"]))


def failing(patient: Patient) -> Patient:
    def accuracy(problem: Problem, rollout: Rollout) -> Verdict:
        return Verdict(score=0.0, reason="no verdict within 5 s", kind="timeout")

    return replace(patient, reward={domain: {accuracy: 1.0, format_reward: 1.0} for domain in RULES})


def raising(patient: Patient) -> Patient:
    def mine(problem: Problem, rollout: Rollout) -> Verdict:
        raise KeyError("solution")

    return replace(patient, reward={domain: {mine: 1.0} for domain in RULES})


class Dropping(nn.Module):
    """A layer with dropout that stays on, so that no two passes agree."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.dropout = inner, nn.Dropout(0.2)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.dropout(self.inner(hidden))
        return out


def disagreeing(patient: Patient) -> Patient:
    layer = patient.policy.model.layers[0]
    layer.mlp = Dropping(layer.mlp)
    return patient


FAULTS: dict[Callable[[Patient], Patient], str] = {
    opened: "thinking-opened",
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
def test_a_planted_fault_is_found_and_is_fatal(plant: Callable[[Patient], Patient], code: str) -> None:
    diagnosis = diagnose(plant(healthy()))
    found = {finding.code: finding for finding in diagnosis.findings}
    assert code in found, diagnosis.findings
    assert found[code].is_fatal
    assert found[code].remedy
    assert not diagnosis.is_fit


@pytest.mark.parametrize("seed", range(3))
def test_the_built_in_world_is_fit(seed: int) -> None:
    diagnosis = diagnose(healthy(seed))
    assert diagnosis.findings == ()
    assert diagnosis.is_fit
    assert diagnosis.figures["responses"] == 64
    assert diagnosis.parts["format"][0] < diagnosis.parts["format"][2]
    assert sum(diagnosis.verdicts.values()) == 64


def test_the_same_seed_gives_the_same_diagnosis() -> None:
    def told(patient: Patient) -> object:
        diagnosis = diagnose(patient)
        figures = {name: value for name, value in diagnosis.figures.items() if name != "tokens_per_second"}
        return figures, diagnosis.parts, diagnosis.responses

    assert told(healthy()) == told(healthy())


def test_the_policy_is_left_as_it_was() -> None:
    patient = healthy()
    before = {name: weight.clone() for name, weight in patient.policy.named_parameters()}
    diagnose(patient)
    assert isinstance(patient.policy, Transformer)
    assert all(torch.equal(before[name], weight) for name, weight in patient.policy.named_parameters())
