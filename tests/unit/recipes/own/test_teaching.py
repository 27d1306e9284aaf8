"""What a teacher is asked, which of its responses may be kept, and what the user is told of it."""

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import pytest
from tiny import tiny_config, tiny_policy, world_tokenizer

from aha.evaluation.contamination import Contamination
from aha.evaluation.readability import READABLE, Limits
from aha.problems.world.questions import held_out_problems
from aha.prompts.parsing import Ending
from aha.prompts.templates import Template, bare, r1, r1_zero
from aha.recipes.base_model import open_base
from aha.recipes.own.own_data import OwnData
from aha.recipes.own.teaching import Form, Teaching, prepare_teaching
from aha.rewards.accuracy import accuracy
from aha.rewards.extraction.reader import AUTO
from aha.rewards.verifier import MathVerifier
from aha.stages.config import RejectionConfig
from aha.training.checkpoint import write_checkpoint
from aha.types import Checkpoint

CONFIG = RejectionConfig(num_problems=4, num_samples=2, num_kept=3, max_new_tokens=16)

Prepare = Callable[..., Teaching]


@pytest.fixture
def prepare(base: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Prepares the teaching of a tiny teacher, in a folder with a file of five problems."""
    monkeypatch.chdir(tmp_path)
    write("own.jsonl", range(5))

    def give(
        own: OwnData, config: RejectionConfig = CONFIG, *, seed: int = 7, form: Form = "auto", teacher: Any = base
    ) -> Teaching:
        with ExitStack() as stack:
            return prepare_teaching(own, teacher, config, stack, seed=seed, form=form)

    return give


def write(name: str, numbers: Sequence[int], *, domain: str = "math") -> None:
    rows = [{"q": f"what is {number} + {number} ?", "a": f"{2 * number}", "d": domain} for number in numbers]
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def own(*problems: str, domain: str = "math", **options: Any) -> OwnData:
    return OwnData(problems=problems, fields=f"question=q,answer=a,domain={domain}", **options)


def test_without_files_a_teacher_is_asked_of_the_built_in_world(prepare: Prepare) -> None:
    found = prepare(OwnData())
    assert found.notes == []
    assert found.sampling.problems == held_out_problems("train", 4, seed=7) != prepare(OwnData(), seed=8)
    keep = found.sampling.keep
    assert (keep.source, keep.num_kept, keep.ending, keep.limits, dict(keep.rules)) == (
        "teacher", 3, "answer", READABLE, {}
    )  # fmt: skip
    assert (found.sampling.template, found.sampling.stop) == (r1_zero, ())


def test_a_file_is_asked_with_its_instruction_and_judged_by_rule(prepare: Prepare) -> None:
    """Words of other languages are rarely told apart for certain, so that one of ten may be foreign."""
    found = prepare(own("own.jsonl", template="bare"))
    questions = [problem.question for problem in found.sampling.problems]
    assert len(questions) == 4
    assert all(question.startswith("what is ") and "\n" in question for question in questions)
    keep = found.sampling.keep
    assert (keep.source, keep.num_kept, keep.ending) == ("teacher", 3, None)
    assert asdict(keep.limits) == asdict(Limits(min_consistency=0.9))
    assert [type(rule) for rule in keep.rules.values()] == [MathVerifier]
    assert keep.contamination.key == Contamination(()).key

    write("text.jsonl", range(5), domain="text")
    both = OwnData(problems=("own.jsonl", "text.jsonl"), fields="question=q,answer=a,domain=text", template="bare")
    assert dict(prepare(both).sampling.keep.rules) == {"text": accuracy}


def test_a_sample_of_a_large_file_is_told_and_the_seed_has_no_part_in_it(prepare: Prepare) -> None:
    def notes(num_problems: int) -> list[str]:
        return list(prepare(own("own.jsonl"), CONFIG.model_copy(update={"num_problems": num_problems})).notes)

    assert [note for note in notes(4) if "asked" in note] == [
        "4 of 5 problems are asked, drawn by a hash of each question"
    ]
    assert [note for count in (5, 6) for note in notes(count) if "asked" in note] == []
    assert prepare(own("own.jsonl"), seed=1).sampling.problems == prepare(own("own.jsonl"), seed=2).sampling.problems


@pytest.mark.parametrize(
    ("name", "template", "endings"),
    [
        ("r1_zero", r1_zero, {"auto": "answer", "thinking": "answer", "any": None}),
        ("r1", r1, {"auto": "summary", "thinking": "summary", "any": None}),
        ("bare", bare, {"auto": None, "thinking": "summary", "any": None}),
    ],
)
def test_the_form_of_what_is_kept(
    name: str, template: Template, endings: dict[Form, Ending | None], prepare: Prepare
) -> None:
    for form in get_args(Form):
        for data in (OwnData(template=name), own("own.jsonl", template=name)):
            sampling = prepare(data, form=form).sampling
            assert (sampling.template, sampling.keep.ending) == (template, endings[form])


def test_responses_end_where_the_checkpoint_says_unless_the_user_says_otherwise(
    prepare: Prepare, tmp_path: Path
) -> None:
    tokenizer = world_tokenizer().trained_with(r1_zero, ("<answer>",))
    write_checkpoint(
        tmp_path / "trained", tiny_policy(tiny_config(vocab_size=tokenizer.vocab_size)), tokenizer, state={}
    )
    trained = open_base(tmp_path / "trained")
    told = ["responses end at '<answer>', which the checkpoint names; --stop says otherwise"]
    found: list[tuple[tuple[str, ...] | None, tuple[str, ...], list[str]]] = [
        (None, ("<answer>",), told),
        ((), (), []),
        (("end",), ("end",), []),
    ]
    for given, stop, notes in found:
        for data in (OwnData(stop=given), own("own.jsonl", stop=given)):
            teaching = prepare(data, teacher=trained)
            assert teaching.sampling.stop == stop
            assert [note for note in teaching.notes if "responses end" in note] == notes


def test_what_is_examined_is_never_asked(prepare: Prepare) -> None:
    """The problems of --test, and those of a folder that its file names keep for a test or for validation."""
    Path("data").mkdir()
    write("data/train.jsonl", range(10, 16))
    write("data/test.jsonl", [10])
    write("data/dev.jsonl", [11])
    write("examined.jsonl", [12])
    data = own("data", test=("examined.jsonl",), template="bare")
    found = prepare(data, CONFIG.model_copy(update={"num_problems": 100}))
    asked = sorted(int(problem.answer) // 2 for problem in found.sampling.problems)
    assert asked == [13, 14, 15]
    assert [note for note in found.notes if "left out" in note] == [
        "data-train: 3 training problems left out that overlap with held-out ones"
    ]

    write("test.jsonl", range(3))
    assert "test.jsonl is by its name a test file" in prepare(own("test.jsonl")).notes[0]


def test_prompts_that_leave_no_room_are_refused_or_left_out_as_the_user_says(prepare: Prepare) -> None:
    rows = [{"q": "what is 1 + 1 ?" * length, "a": "2"} for length in (1, 80)]
    Path("long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(ValueError, match=r"^long.jsonl:2: .* \(--sampling.max-new-tokens 16\) .* of the teacher"):
        prepare(own("long.jsonl", template="bare"))
    found = prepare(own("long.jsonl", template="bare", long_prompts="skip"))
    assert len(found.sampling.problems) == 1
    assert any(note.startswith("1 prompts left out that are too long") for note in found.notes)


def test_what_no_rule_can_judge_is_refused(prepare: Prepare) -> None:
    with pytest.raises(ValueError, match=r"^problems of domain own have no rule that tells which responses are right$"):
        prepare(own("own.jsonl", domain="own"))
    with pytest.raises(ValueError, match=r"^--reward: responses are kept by the rule of their domain; leave it out$"):
        prepare(OwnData(reward=("mine.py:reward",)))


def test_code_is_judged_as_the_user_allows(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed: list[dict[str, object]] = []

    def judges(domains: set[str], stack: ExitStack, **given: object) -> dict[str, object]:
        allowed.append(given)
        return dict.fromkeys(domains, accuracy)

    monkeypatch.setattr("aha.recipes.own.teaching.judges", judges)
    prepare(own("own.jsonl"))
    prepare(own("own.jsonl", weak_sandbox=True, allow_packages=("numpy",)))
    assert allowed == [
        {"allow_weak": False, "packages": (), "reader": AUTO},
        {"allow_weak": True, "packages": ("numpy",), "reader": AUTO},
    ]
