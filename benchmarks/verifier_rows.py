"""The labelled rows of other verifiers' test suites: pairs of a reference and an answer, and whether they are equal.

Test files are parsed, never run: what counts are literals in a `parametrize` list, in `assertTrue(is_equiv(a, b))`, and
in tests of an accuracy reward. A row that is no literal is left out.
"""

import ast
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aha.prompts.parsing import last_boxed

__all__ = ["SUITES", "Row", "bare", "labelled_rows"]


@dataclass(frozen=True)
class Row:
    """A labelled pair of texts, as the suite has them."""

    gold: str
    answer: str
    is_equal: bool


SUITES = {
    "math-verify": ("Math-Verify/tests/test_*.py",),
    "hendrycks": ("math/modeling/math_equivalence_test.py",),
    "NeMo-Skills": ("NeMo-Skills/tests/test_math_equal.py",),
    "OlympiadBench": ("OlympiadBench/eval/scoring_examples.json",),
    "TRL and open-r1": ("trl/tests/test_rewards.py", "open-r1/tests/test_rewards.py"),
}
"""The files of each suite, in a folder of checkouts."""

_MATHS = re.compile(r"\$\$?([^$]*)\$\$?\.?")
_BOX = re.compile(r"\\boxed\s*\{")
_TEXT = re.compile(r"\\[a-zA-Z]+(?:\{[^{}]*\})?")


def labelled_rows(folder: Path, suite: str) -> list[Row]:
    """The rows of a suite; pairs that it labels in both ways, depending on an option, are left out."""
    rows: list[Row] = []
    for pattern in SUITES[suite]:
        for path in sorted(folder.glob(pattern)):
            rows += _examples(path) if path.suffix == ".json" else _test_rows(path)
    rows = list(dict.fromkeys(rows))
    num_labels = Counter((row.gold, row.answer) for row in rows)
    return [row for row in rows if num_labels[row.gold, row.answer] == 1]


def bare(text: str) -> str | None:
    """The answer in a text: in its only box, between dollars, or all of it; None for prose and for several boxes."""
    if len(_BOX.findall(text)) > 1:
        return None
    if _BOX.search(text):
        return last_boxed(text)
    maths = _MATHS.fullmatch(text.strip())
    if maths:
        return maths[1]
    num_words = len(re.findall("[A-Za-z]{2,}", _TEXT.sub(" ", text)))
    return None if "$" in text.replace("\\$", "") or num_words > 2 or "Answer" in text else text


def _examples(path: Path) -> Iterator[Row]:
    """Rows of OlympiadBench; those with a precision of their own are left out."""
    for example in json.loads(path.read_text(encoding="utf-8")):
        for answer in example["Ans"]:
            if "precision" not in answer:
                yield Row(example["GT"], answer["answer"], answer["equal"])


def _test_rows(path: Path) -> Iterator[Row]:
    """Rows of a file of tests."""
    with warnings.catch_warnings():
        # Some suites write backslashes that Python warns of.
        warnings.simplefilter("ignore")
        tree = ast.parse(path.read_text(encoding="utf-8"))
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for reader in READERS:
                yield from reader(function)


def _literal(node: ast.AST) -> object:
    """The value of a literal; None where it is none."""
    try:
        return ast.literal_eval(node)  # type: ignore[arg-type]  # it takes any node, and refuses what is no literal
    except (ValueError, SyntaxError, TypeError, MemoryError):
        return None


def _parametrized(function: ast.FunctionDef) -> Iterator[Row]:
    """Rows of `parametrize("gold,pred,expected", [...])` and of `parametrize("output_pair", [...])`."""
    for decorator in function.decorator_list:
        if (
            not isinstance(decorator, ast.Call)
            or len(decorator.args) < 2
            or not isinstance(decorator.args[1], ast.List)
        ):
            continue
        names = re.findall(r"\w+", str(_literal(decorator.args[0])))
        for item in decorator.args[1].elts:
            values = _literal(item)
            if not isinstance(values, tuple) or None in values:
                continue
            if names[:2] == ["gold", "pred"]:
                labels = [value for name, value in zip(names, values, strict=True) if name in ("expected", "result")]
                yield Row(str(values[0]), str(values[1]), bool(labels[0]))
            elif names == ["output_pair"]:
                is_equal = "incorrect" not in function.name
                yield Row(str(values[0]), str(values[1]), is_equal)
                yield Row(str(values[1]), str(values[0]), is_equal)


def _assertions(function: ast.FunctionDef) -> Iterator[Row]:
    """Rows of `assertTrue(is_equiv(a, b))`, where a and b are names of literals."""
    values = _assigned(function)
    for call in ast.walk(function):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute) or not call.args:
            continue
        inner = call.args[0]
        if call.func.attr not in ("assertTrue", "assertFalse") or not isinstance(inner, ast.Call):
            continue
        if isinstance(inner.func, ast.Name) and inner.func.id == "is_equiv":
            texts = [values.get(one.id) for one in inner.args if isinstance(one, ast.Name)]
            if len(texts) == 2 and all(isinstance(text, str) for text in texts):
                yield Row(str(texts[0]), str(texts[1]), call.func.attr == "assertTrue")


def _rewards(function: ast.FunctionDef) -> Iterator[Row]:
    """Rows of a test of an accuracy reward: completions, solutions, and what each reward must be."""
    if "accuracy_reward" not in function.name:
        return
    values = _assigned(function)
    completions = values.get("completion") or values.get("completions")
    solutions = values.get("solution") or values.get("solutions")
    if not isinstance(completions, list) or not isinstance(solutions, list):
        return
    for index, reward in _expected_rewards(function):
        if isinstance(reward, float) and index < len(solutions):
            yield Row(solutions[index], completions[index][0]["content"], reward == 1)


def _expected_rewards(function: ast.FunctionDef) -> Iterator[tuple[int, object]]:
    """What a test says of `rewards[index]`."""
    for node in ast.walk(function):
        sides: Sequence[ast.AST] = ()
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare):
            sides = (node.test.left, node.test.comparators[0])
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "assertEqual":
            sides = node.args
        if len(sides) == 2 and isinstance(sides[0], ast.Subscript) and ast.unparse(sides[0].value) == "rewards":
            index = _literal(sides[0].slice)
            if isinstance(index, int):
                yield index, _literal(sides[1])


def _assigned(function: ast.FunctionDef) -> dict[str, object]:
    """The literals that a function gives names."""
    return {
        node.targets[0].id: _literal(node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


READERS: tuple[Callable[[ast.FunctionDef], Iterator[Row]], ...] = (_parametrized, _assertions, _rewards)
"""What is tried on every function of a file of tests."""
