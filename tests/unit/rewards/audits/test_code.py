"""The audit of the code reward: what it counts, and which rows it refuses."""

from collections.abc import Iterator
from typing import Any

import pytest

from aha.rewards.audits.code import CodeAudit, Disagreement, audit_code
from aha.rewards.sandbox.isolation import Limits, probe
from aha.rewards.sandbox.sandbox import Sandbox
from aha.types import Verdict

FULL = probe()
RIGHT, WRONG = "def f(x): return x + 1", "def f(x): return x"
TEST = "assert f(1) == 2"
ECHO = "print(input())"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    if FULL.strength != "full":
        pytest.skip(f"bubblewrap does not work: {FULL.reason}")
    with Sandbox(limits=Limits(seconds=10.0), isolation=FULL, num_workers=2) as made:
        yield made


@pytest.mark.full
def test_every_row_on_which_label_and_reward_differ_is_listed(sandbox: Sandbox) -> None:
    common: dict[str, Any] = {"entry_point": "f"}
    rows: list[dict[str, Any]] = [
        {**common, "code": RIGHT, "tests": TEST, "passes": True},
        {**common, "code": WRONG, "tests": [TEST], "passes": True},
        {**common, "code": WRONG, "tests": [TEST, TEST], "passes": False},
        {**common, "code": RIGHT, "tests": TEST, "passes": False},
        {"code": ECHO, "tests": [{"stdin": "a", "stdout": "a"}], "passes": True},
        {"code": "    return x + 1", "starter": "def f(x):\n", "entry_point": "f", "tests": TEST, "passes": True},
        {**common, "code": "f(", "tests": TEST, "passes": False},
        {"code": RIGHT, "tests": "assert f(print)", "passes": False},
        {
            "code": "class Solution:\n    def f(self, x): return x + 1",
            "tests": TEST,
            "passes": True,
            "entry_point": "Solution().f",
        },
    ]
    found = audit_code(rows, sandbox)
    assert found.num_rows == 9
    assert dict(found.kinds) == {"correct": 5, "wrong": 2, "unparsable": 1, "unsupported": 1}
    assert [(one.row, one.passes, one.verdict.kind, one.code) for one in found.disagreements] == [
        (2, True, "wrong", WRONG),
        (4, False, "correct", RIGHT),
    ]
    assert found.executions_per_second == pytest.approx(9 / found.seconds)


def test_the_figures_of_an_audit() -> None:
    def differing(row: int, passes: bool) -> Disagreement:
        return Disagreement(row=row, passes=passes, verdict=Verdict(score=0.0, reason=""), code="")

    found = CodeAudit(
        num_rows=12,
        kinds={"timeout": 2, "crash": 3, "unsupported": 4},
        disagreements=(differing(1, True), differing(2, False), differing(3, True)),
        seconds=4.0,
    )
    assert (found.num_agreements, found.num_false_negatives, found.num_false_positives) == (9, 2, 1)
    assert (found.num_timeouts, found.num_crashes, found.num_unsupported) == (2, 3, 4)
    assert found.executions_per_second == 3.0

    empty = CodeAudit(num_rows=0, kinds={}, disagreements=(), seconds=0.0)
    assert (empty.num_timeouts, empty.num_crashes, empty.num_unsupported, empty.executions_per_second) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"passes": 1}, "row 2: field 'passes' is 1; it must be true or false"),
        ({"passes": None}, "row 2: field 'passes' is None"),
        ({"code": 5}, "row 2: field 'code' is 5; it must be a text"),
        ({"starter": []}, r"row 2: field 'starter' is \[\]; it must be a text"),
        ({"entry_point": "f()"}, r"row 2: field 'entry_point' is 'f\(\)'; it must be a Python name"),
        ({"entry_point": "Other().f"}, "row 2: field 'entry_point'"),
        ({"tests": []}, r"row 2: field 'tests' is \[\]; it must be the text of a Python test"),
        ({"tests": [TEST, 5]}, "row 2: field 'tests'"),
        ({"tests": [{"stdin": "a"}]}, "row 2: field 'tests'"),
        ({"tests": [{"stdin": "a", "stdout": 5}]}, "row 2: field 'tests'"),
        ({"tests": [TEST, {"stdin": "a", "stdout": "a"}]}, "row 2: field 'tests'"),
        ({"tests": 5}, "row 2: field 'tests' is 5"),
    ],
)
def test_a_row_of_another_form_is_refused_by_its_number_and_field(
    change: dict[str, Any], message: str, sandbox: Sandbox
) -> None:
    good = {"code": RIGHT, "tests": TEST, "passes": True, "entry_point": "Solution().f"}
    with pytest.raises(ValueError, match=message):
        audit_code([good, good | change], sandbox)


@pytest.mark.parametrize("field", ["code", "tests", "passes"])
def test_a_field_that_is_missing_is_named(field: str, sandbox: Sandbox) -> None:
    row = {name: value for name, value in {"code": RIGHT, "tests": TEST, "passes": True}.items() if name != field}
    with pytest.raises(ValueError, match=f"row 1: field '{field}' is missing"):
        audit_code([row], sandbox)


def test_nothing_is_no_audit(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="no rows to audit"):
        audit_code([], sandbox)
