"""Every option of `eval` and `sample` reaches the order that is carried out."""

import dataclasses
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

import aha.commands.evaluation as evaluation
from aha.cli import main
from aha.commands.options import EvalCommand, SampleCommand
from aha.types import Report

EVAL: dict[str, tuple[str, str, object]] = {
    "model": ("eval elsewhere", "model", "elsewhere"),
    "suite": ("--suite mine.jsonl", "suite.name", "mine.jsonl"),
    "data": ("--suite gsm8k --data folder", "suite.data", Path("folder")),
    "fields": ("--suite gsm8k --fields question=q", "suite.fields", "question=q"),
    "bad_rows": ("--suite gsm8k --bad-rows skip", "suite.bad_rows", "skip"),
    "weak_sandbox": ("--suite gsm8k --weak-sandbox", "suite.weak_sandbox", True),
    "allow_packages": ("--suite gsm8k --allow-packages numpy", "suite.packages", ("numpy",)),
    "template": ("--template bare", "template", "bare"),
    "system": ("--system briefly", "system", "briefly"),
    "split": ("--split hard", "split", "hard"),
    "problems": ("--problems 7", "config.num_problems", 7),
    "samples": ("--samples 8", "config.num_samples", 8),
    "temperature": ("--temperature 0.1", "config.temperature", 0.1),
    "top_p": ("--top-p 0.2", "config.top_p", 0.2),
    "max_new_tokens": ("--max-new-tokens 9", "config.max_new_tokens", 9),
    "stop": ("--stop done", "stop", ("done",)),
    "answer": ("--answer box", "answer", "box"),
    "device": ("--device cuda", "device_name", "cuda"),
    "precision": ("--precision bfloat16", "config.precision", "bfloat16"),
    "processes": ("--processes 2", "num_processes", 2),
    "seed": ("--seed 5", "seed", 5),
}
OF_A_SUITE = {"problems": ("limit", 7), "samples": ("num_samples", 8), "max_new_tokens": ("max_new_tokens", 9)}
"""Options of `eval` that a suite gets as they were given, since it has numbers of its own."""

SAMPLE: dict[str, tuple[str, str, object]] = {
    "model": ("sample elsewhere --question q", "model", "elsewhere"),
    "prompt": ("sample base --prompt p", "prompt", "p"),
    "question": ("sample base --question other", "question", "other"),
    "template": ("--template r1", "template", "r1"),
    "system": ("--system briefly", "system", "briefly"),
    "temperature": ("--temperature 0.1", "decoding.temperature", 0.1),
    "top_p": ("--top-p 0.2", "decoding.top_p", 0.2),
    "max_new_tokens": ("--max-new-tokens 9", "decoding.max_new_tokens", 9),
    "stop": ("--stop done", "stop", ("done",)),
    "device": ("--device cuda", "device", "cuda"),
    "precision": ("--precision bfloat16", "precision", "bfloat16"),
    "seed": ("--seed 5", "seed", 5),
}
PLAIN = {"eval": "eval base", "sample": "sample base --question q"}


def order_of(words: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a command line orders; nothing is computed, and CUDA is taken to be there."""
    orders: list[Any] = []
    report = Report(rows=(), checkpoint="", decoding={}, seed=0)
    monkeypatch.setattr(evaluation, "evaluate_order", lambda order: orders.append(order) or (report, ""))
    answer = {"text": "", "unknown": []}
    monkeypatch.setattr(evaluation, "sample_once", lambda order: orders.append(order) or answer)
    monkeypatch.setattr("torch.cuda.is_available", lambda: "cuda" in words)
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 0
    return orders[0]


def value_at(order: Any, path: str) -> object:
    """A nested attribute; None where there is no suite."""
    if path.startswith("suite.") and order.suite is None:
        return None
    return attrgetter(path)(order)


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    """What each command orders without options."""
    with pytest.MonkeyPatch.context() as patch:
        return {kind: order_of(words, patch) for kind, words in PLAIN.items()}


CASES = [(kind, *wire) for kind, wires in (("eval", EVAL), ("sample", SAMPLE)) for wire in wires.values()]


@pytest.mark.parametrize(("kind", "words", "path", "expected"), CASES, ids=[f"{case[0]} {case[1]}" for case in CASES])
def test_an_option_is_in_the_order(
    kind: str, words: str, path: str, expected: object, plain: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = words if words.startswith(kind) else f"{PLAIN[kind]} {words}"
    assert value_at(order_of(whole, monkeypatch), path) == expected
    assert value_at(plain[kind], path) != expected


@pytest.mark.parametrize("name", OF_A_SUITE)
def test_a_suite_gets_its_numbers_as_they_were_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, expected = OF_A_SUITE[name]
    given = order_of(f"{PLAIN['eval']} --suite gsm8k {EVAL[name][0]}", monkeypatch)
    assert value_at(given, f"suite.{path}") == expected
    assert value_at(order_of(f"{PLAIN['eval']} --suite gsm8k", monkeypatch), f"suite.{path}") is None


@pytest.mark.parametrize(("command", "wires"), [(EvalCommand, EVAL), (SampleCommand, SAMPLE)])
def test_no_option_is_forgotten(command: type[Any], wires: dict[str, Any]) -> None:
    assert {field.name for field in dataclasses.fields(command)} - {"json"} == set(wires)


def test_an_evaluation_without_options_is_that_of_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    config = order_of("eval base", monkeypatch).config
    assert (config.num_problems, config.num_samples, config.max_new_tokens) == (200, 16, 192)
