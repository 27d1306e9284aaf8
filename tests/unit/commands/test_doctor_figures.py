"""What the doctor makes of a model's size and of what it measured: how much it samples, and what it says in words."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import tiny_config

from aha.commands import doctor
from aha.commands.doctor import SMALL_MODEL, examine, in_words, prompts_left_out, refuse, toy_numbers
from aha.recipes.fitting import TINY_MODEL
from aha.recipes.own.own_data import OwnData
from aha.recipes.scales import R1_ZERO_SCALES, R1ZeroConfig
from aha.stages.config import RLConfig
from aha.stages.doctor.diagnosis import Diagnosis, ExampleResponse, Finding, RunCandidate
from aha.training.memory import GIB
from aha.types import Problem

pytestmark = pytest.mark.usefixtures("few_are_measured")

SHAPE = tiny_config()
SCALE = R1_ZERO_SCALES["tiny"]


def numbers(**changes: object) -> R1ZeroConfig:
    """Scale tiny with other numbers in its first part."""
    return SCALE.model_copy(update={"zero": SCALE.zero.model_copy(update=changes)})


# How much is sampled


@pytest.mark.parametrize(
    ("num_parameters", "num_groups", "group_size", "expected"),
    [
        (SMALL_MODEL, None, 16, (8, 16)),
        (SMALL_MODEL + 1, None, 16, (2, 4)),
        (SMALL_MODEL + 1, None, 2, (2, 2)),
        (SMALL_MODEL, 3, 16, (3, 16)),
        (SMALL_MODEL + 1, 3, 16, (3, 4)),
    ],
)
def test_a_large_model_is_sampled_less(
    num_parameters: int,
    num_groups: int | None,
    group_size: int,
    expected: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    candidates: list[RunCandidate] = []
    opened: list[dict[str, Any]] = []

    def policy(actors: object, folder: object, **given: Any) -> Any:
        opened.append(given)
        return SimpleNamespace(num_parameters=num_parameters, shape=SHAPE)

    def diagnose(candidate: RunCandidate) -> Diagnosis:
        candidates.append(candidate)
        return Diagnosis(findings=())

    monkeypatch.setattr(doctor, "MAX_RESPONSES", 80)
    monkeypatch.setattr(doctor.LocalActors, "policy", policy)
    monkeypatch.setattr(doctor, "diagnose", diagnose)
    config = numbers(group_size=group_size, temperature=0.75, max_new_tokens=24)
    examine(None, OwnData(stop=("end",)), config, seed=7, num_groups=num_groups)
    (candidate,) = candidates
    assert (candidate.num_groups, candidate.group_size) == expected
    assert (candidate.seed, candidate.decoding.max_new_tokens, candidate.decoding.temperature) == (7, 24, 0.75)
    assert candidate.decoding.stop == ("end",)
    assert opened == [{"max_new_tokens": 24, "temperature": 0.75}]

    # More are at hand where no group shows a spread of rewards, up to a limit of responses.
    limit = max(80 // expected[1], expected[0])
    assert limit <= len(candidate.problems) < limit + expected[0]


def test_a_problem_that_comes_twice_is_asked_once() -> None:
    asked: list[tuple[int, int]] = []

    def source(start: int, count: int) -> list[Problem]:
        asked.append((start, count))
        return [Problem(id=str(n % 5), question="?", answer="", domain="text") for n in range(start, start + count)]

    assert [problem.id for problem in doctor._some_problems(source, 3, 8)] == ["0", "1", "2", "3", "4"]
    assert asked == [(0, 3), (3, 3), (6, 3)]
    asked.clear()
    doctor._some_problems(source, 4, 2)
    assert asked == [(0, 4)]


# What it says


@pytest.mark.parametrize(("count", "others"), [(1, ""), (5, ""), (6, " and 1 more"), (1005, " and 1,000 more")])
def test_five_prompts_that_were_left_out_are_named(count: int, others: str) -> None:
    found = prompts_left_out([f"p{number}" for number in range(count)])
    assert found is not None
    assert not found.is_fatal
    named = ", ".join(f"p{number}" for number in range(min(count, 5)))
    assert found.what == f"{count:,} prompts are too long and left out: {named}{others}"


@pytest.mark.parametrize(
    ("num_parameters", "changes", "named"),
    [
        (TINY_MODEL, {}, None),
        (TINY_MODEL + 1, {}, ["learning rate 0.0003", "length cap 128 tokens"]),
        (TINY_MODEL + 1, {"max_new_tokens": 127}, ["learning rate 0.0003"]),
        (
            TINY_MODEL + 1,
            {"optimizer": SCALE.zero.optimizer.model_copy(update={"learning_rate": 1e-4})},
            ["length cap"],
        ),
    ],
)
def test_numbers_of_the_toy_are_named_above_ten_million_parameters(
    num_parameters: int, changes: dict[str, object], named: list[str] | None
) -> None:
    found = toy_numbers(num_parameters, numbers(**changes), "cuda")
    assert (found is None) == (named is None)
    if found and named:
        assert not found.is_fatal
        assert found.what.count(",") == len(named) - 1 + 1
        assert all(setting in found.what for setting in named)
        assert found.what.endswith("this model has 10 million")
        assert found.remedy.endswith("; the stage `longer` has numbers of its own")


def test_adapters_take_high_rates() -> None:
    lora = SCALE.zero.optimizer.lora.model_copy(update={"rank": 8})
    optimizer = SCALE.zero.optimizer.model_copy(update={"lora": lora})
    found = toy_numbers(TINY_MODEL + 1, numbers(optimizer=optimizer), "cpu")
    assert found is not None
    assert found.what.startswith("length cap 128 tokens, device cpu: ")
    assert found.remedy.startswith("leave --scale out, or set --zero.max-new-tokens 2048 and --device cuda")
    # A CPU alone is no number of the toy: scale `small` is made for one.
    for device in ("cuda", "cpu"):
        assert toy_numbers(TINY_MODEL + 1, numbers(optimizer=optimizer, max_new_tokens=7), device) is None


def test_the_time_is_that_of_all_responses_at_the_measured_rate() -> None:
    """2 iterations of 3 problems and 4 of 5, with 6 responses each of 50 tokens, at 1000 tokens a second."""
    zero = RLConfig(iterations=2, problems_per_iteration=3, group_size=6, num_minibatches=1, max_new_tokens=16)
    longer = zero.model_copy(update={"iterations": 4, "problems_per_iteration": 5})
    config = SCALE.model_copy(update={"zero": zero, "longer": longer, "processes": 1})
    measured = Diagnosis(findings=(), figures={"length": 50.0, "tokens_per_second": 1000.0})
    cpu = torch.device("cpu")
    found = doctor._with_costs(measured, SHAPE, config, cpu)
    assert found.figures["sampling_hours"] == pytest.approx((2 * 3 + 4 * 5) * 6 * 50 / 1000 / 3600)
    assert found.figures["length"] == 50.0

    # Where nothing could be sampled there is no length.
    without = doctor._with_costs(Diagnosis(findings=()), SHAPE, config, cpu)
    assert without.figures == {"memory_gib": found.figures["memory_gib"]}


def test_all_processes_need_memory_and_the_larger_part_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    small = RLConfig(group_size=2, problems_per_iteration=2, num_minibatches=1, max_new_tokens=16)
    large = small.model_copy(update={"max_new_tokens": 400, "problems_per_iteration": 200})
    warning = Finding(code="short", is_fatal=False, what="w", remedy="r")

    def peak(zero: RLConfig, longer: RLConfig, processes: int = 1) -> float:
        config = SCALE.model_copy(update={"zero": zero, "longer": longer, "processes": processes})
        found = doctor._with_costs(Diagnosis(findings=(warning,)), SHAPE, config, torch.device("cpu"))
        # What is fatal comes first.
        assert [finding.code for finding in found.findings] == codes
        return found.figures["memory_gib"]

    codes = ["short"]
    assert peak(small, large) == peak(large, large) == peak(large, small) > peak(small, small)
    # One prompt with its responses is the least that a process has, so that two processes need twice as much.
    assert peak(small, small, processes=2) == pytest.approx(2 * peak(small, small), rel=0.01)

    needed = round(peak(small, small) * GIB)
    monkeypatch.setattr(doctor, "available_bytes", lambda device: needed - 1)
    codes = ["does-not-fit", "short"]
    peak(small, small)


def example(number: int, **others: Any) -> ExampleResponse:
    fields = {"question": "2 + 2 ?", "text": "four", "reference": "4", "answer": None, "verdict": "", "reward": 0.5}
    return ExampleResponse(**{**fields, **others, "question": f"question {number}"})


def test_a_diagnosis_in_words() -> None:
    diagnosis = Diagnosis(
        findings=(
            Finding(code="no-spread", is_fatal=True, what="all the same", remedy="take others"),
            Finding(code="short", is_fatal=False, what="short ones", remedy="wait"),
        ),
        figures={"length": 12.3456, "tokens_per_second": 1234567.0},
        parts={"accuracy": (0.0, 0.25, 1.0)},
        verdicts={"correct": 2, "wrong": 0, "unparsable": 1},
        responses=(example(1), example(2, answer="5", verdict="wrong: 5 is not 4")),
    )
    assert in_words(diagnosis).splitlines() == [
        "length                  12.35",
        "tokens_per_second   1.235e+06",
        "reward accuracy          0.25   (0 to 1)",
        "verdicts           2 correct, 1 unparsable",
        "response 1 to       question 1",
        "    says           'four'",
        "    answer read    nothing; the reference is '4'",
        "    verdict        none; reward 0.5",
        "response 2 to       question 2",
        "    says           'four'",
        "    answer read    '5'; the reference is '4'",
        "    verdict        wrong: 5 is not 4; reward 0.5",
        "fatal: no-spread: all the same",
        "    take others",
        "warning: short: short ones",
        "    wait",
    ]
    with pytest.raises(ValueError, match=r"cannot learn: no-spread: all the same; take others \| --force") as refused:
        refuse(diagnosis)
    assert "short ones" not in str(refused.value)
    assert in_words(Diagnosis(findings=())) == "nothing found that stands in the way"
    refuse(Diagnosis(findings=diagnosis.findings[1:]))


@pytest.mark.parametrize("num_chars", [299, 300, 301, 1000])
def test_of_a_long_text_beginning_and_end_are_shown(num_chars: int) -> None:
    text = "".join(chr(0x4E00 + number) for number in range(num_chars))
    shown = doctor._shortened(text)
    assert shown == (text if num_chars <= 300 else f"{text[:150]} [...] {text[-150:]}")


def test_a_text_is_shown_in_one_line() -> None:
    assert doctor._shortened("a\n\n b  c") == "a b c"
