"""What the doctor says to people, and what it says of numbers that were made for the built-in model."""

from dataclasses import replace

import pytest

from aha.commands.doctor import as_object, examine, in_words, prompts_left_out, refuse, toy_numbers
from aha.problems.world.questions import TrainingProblems
from aha.recipes.own.own_data import OwnData
from aha.recipes.scales import R1_ZERO_SCALES, R1ZeroConfig
from aha.stages.doctor.diagnosis import Diagnosis, ExampleResponse, Finding, RunCandidate
from aha.training.memory import GIB

pytestmark = pytest.mark.usefixtures("few_are_measured")

LARGE = 135_000_000


def test_the_numbers_of_the_toy_are_named_where_the_model_is_none() -> None:
    found = toy_numbers(LARGE, R1_ZERO_SCALES["tiny"], "cpu")
    assert found is not None
    assert not found.is_fatal
    assert "learning rate 0.0003, length cap 128 tokens, device cpu" in found.what
    assert "135 million" in found.what
    for option in ("leave --scale out", "--zero.optimizer.learning-rate", "--zero.max-new-tokens", "--device cuda"):
        assert option in found.remedy


def test_only_what_is_the_toys_is_named() -> None:
    tiny = R1_ZERO_SCALES["tiny"].model_dump()
    tiny["zero"]["max_new_tokens"] = 1024
    found = toy_numbers(LARGE, R1ZeroConfig.model_validate(tiny), "cuda")
    assert found is not None
    assert "learning rate" in found.what
    assert "cap" not in found.what
    assert "device" not in found.what


@pytest.mark.parametrize(("size", "scale", "device"), [(600_000, "tiny", "cpu"), (LARGE, "gpu", "cuda")])
def test_nothing_is_said_of_numbers_that_fit(size: int, scale: str, device: str) -> None:
    assert toy_numbers(size, R1_ZERO_SCALES[scale], device) is None


def numbers(**parts: dict[str, object]) -> R1ZeroConfig:
    """Scale tiny with a few small problems, and with some numbers of its parts changed."""
    config = R1_ZERO_SCALES["tiny"].model_dump()
    for name in ("zero", "longer"):
        config[name] |= {"problems_per_iteration": 2, "group_size": 2, "num_minibatches": 1} | parts.get(name, {})
    return R1ZeroConfig.model_validate({**config, "processes": 1})


@pytest.mark.full
def test_a_part_that_is_left_out_takes_no_memory_and_is_not_examined() -> None:
    def memory(config: R1ZeroConfig) -> float:
        return examine(None, OwnData(), config, seed=0, num_groups=1).figures["memory_gib"]

    small, large = {"max_new_tokens": 16}, {"max_new_tokens": 200, "group_size": 32, "problems_per_iteration": 32}
    zero = memory(numbers(zero=small, longer={**large, "iterations": 0}))
    longer = memory(numbers(zero={**large, "iterations": 0}, longer=small))
    assert zero == longer < memory(numbers(zero=small, longer=large))


@pytest.fixture(scope="module")
def needed() -> int:
    """Bytes that a run of short responses needs."""
    config = numbers(zero={"max_new_tokens": 16}, longer={"max_new_tokens": 16})
    return round(examine(None, OwnData(), config, seed=0, num_groups=1).figures["memory_gib"] * GIB)


@pytest.mark.parametrize(("spare", "is_fit"), [(0, True), (-1, False)])
def test_a_run_fits_up_to_the_last_byte(spare: int, is_fit: bool, needed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    config = numbers(zero={"max_new_tokens": 16}, longer={"max_new_tokens": 16})
    monkeypatch.setattr("aha.commands.doctor.available_bytes", lambda device: needed + spare)
    found = examine(None, OwnData(), config, seed=0, num_groups=1)
    misfits = [finding for finding in found.findings if finding.code == "does-not-fit"]
    assert [finding.is_fatal for finding in misfits] == ([] if is_fit else [True])
    if misfits:
        assert not found.is_fit
        assert misfits[0].what == f"training takes about {needed / GIB:.1f} GiB, and there are {needed / GIB:.1f}"
        assert "of zero and longer, fewer processes" in misfits[0].remedy


@pytest.mark.full
def test_memory_and_time_are_those_of_the_whole_run() -> None:
    """All processes hold a policy; the time is that of all responses of both parts at the measured rate."""
    config = numbers(zero={"max_new_tokens": 16, "iterations": 3}, longer={"max_new_tokens": 16, "iterations": 4})
    one = examine(None, OwnData(), config, seed=0, num_groups=1).figures
    num_tokens = (3 + 4) * 2 * 2 * one["length"]
    assert one["sampling_hours"] == pytest.approx(num_tokens / one["tokens_per_second"] / 3600)

    two = examine(None, OwnData(), config.model_copy(update={"processes": 2}), seed=0, num_groups=1).figures
    assert one["memory_gib"] < two["memory_gib"] <= 2 * one["memory_gib"]


def test_the_first_part_that_runs_is_examined() -> None:
    """The cap of the part that is left out would leave no room for any prompt."""
    config = numbers(zero={"max_new_tokens": 100_000, "iterations": 0}, longer={"max_new_tokens": 16})
    found = examine(None, OwnData(), config, seed=0, num_groups=1)
    assert "no-room" not in {finding.code for finding in found.findings}
    assert 0 < found.figures["length"] <= 16


def test_numbers_of_a_part_that_is_left_out_are_not_named() -> None:
    tiny = R1_ZERO_SCALES["tiny"].model_dump()
    tiny["zero"]["iterations"] = 0
    found = toy_numbers(LARGE, R1ZeroConfig.model_validate(tiny), "cuda")
    assert found is not None
    assert "learning rate 0.0002, length cap 192 tokens" in found.what
    assert "--longer.optimizer.learning-rate" in found.remedy
    assert "--zero" not in found.remedy


def test_there_is_nothing_to_examine_where_no_part_runs() -> None:
    config = numbers(zero={"iterations": 0}, longer={"iterations": 0})
    with pytest.raises(ValueError, match=r"nothing is trained.*--zero.iterations or --longer.iterations"):
        examine(None, OwnData(), config, seed=0)


def test_responses_are_shown_to_people_and_with_a_refusal() -> None:
    example = ExampleResponse(
        question="How many\nclips?",
        text="<think> 2 </think> " + "word " * 200 + "<answer> 72 </answer>",
        reference="48",
        answer="72",
        verdict="wrong: 72 is not 48",
        reward=1.0,
    )
    fatal = Finding(code="no-spread", is_fatal=True, what="all the same", remedy="take others")
    diagnosis = Diagnosis(findings=(fatal,), responses=(example,))
    with pytest.raises(ValueError, match="this run cannot learn: no-spread: all the same; take others") as refused:
        refuse(diagnosis)
    for text in (in_words(diagnosis), str(refused.value)):
        assert "How many clips?" in text
        assert "<think> 2 </think> word" in text
        assert "<answer> 72 </answer>" in text
        assert "answer read    '72'; the reference is '48'" in text
        assert "wrong: 72 is not 48; reward 1" in text
        assert len(text) < 1200
    told = in_words(replace(diagnosis, responses=(replace(example, source="the last number"),)))
    assert "answer read    '72' (the last number); the reference is '48'" in told
    [shown] = as_object(diagnosis)["responses"]
    assert (shown["answer"], shown["verdict"], shown["reward"]) == ("72", "wrong: 72 is not 48", 1.0)


def test_prompts_that_were_left_out_are_a_warning_with_their_places() -> None:
    assert prompts_left_out([]) is None
    found = prompts_left_out([f"rows.jsonl:{line}" for line in range(1, 2001)])
    assert found is not None
    assert (found.code, found.is_fatal) == ("prompts-left-out", False)
    assert found.what.startswith("2,000 prompts are too long and left out: rows.jsonl:1, rows.jsonl:2")
    assert found.what.endswith("more")
    assert "rows.jsonl:2000" not in found.what


def test_the_problems_of_the_first_iteration_are_sampled_first(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates: list[RunCandidate] = []

    def diagnose(candidate: RunCandidate) -> Diagnosis:
        candidates.append(candidate)
        return Diagnosis(findings=())

    monkeypatch.setattr("aha.commands.doctor.diagnose", diagnose)
    examine(None, OwnData(), numbers(), seed=3, num_groups=2)
    (candidate,) = candidates
    assert list(candidate.problems[:4]) == [
        problem for start in (0, 2) for problem in TrainingProblems(seed=3)(start, 2)
    ]
