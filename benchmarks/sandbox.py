"""HumanEval in the sandbox: canonical solutions must pass, mutated ones must not, and how fast that goes.

    .venv/bin/python benchmarks/sandbox.py HumanEval.jsonl.gz [--workers 2] [--json]

Every solution is mutated once, deterministically, in one of three ways that change what each call returns or decides: a
value of the same type that is not equal to the right one, no value, or the first condition negated. The exit code is 1
where a canonical solution fails or a mutant passes.
"""

import argparse
import ast
import gzip
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aha.rewards.code import CodeReward
from aha.rewards.sandbox.isolation import Limits
from aha.rewards.sandbox.sandbox import Sandbox
from aha.types import Problem, Verdict

_OTHER = """
def _other(value):
    if value is None or isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, (list, tuple)):
        return value + type(value)([0])
    return None
"""


@dataclass
class Mutator(ast.NodeTransformer):
    """Changes one function in one way."""

    way: str
    entry_point: str
    is_inside: bool = False
    changes: list[int] = field(default_factory=list)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Changes are made in the entry point alone, and not in functions inside it."""
        if self.is_inside or node.name != self.entry_point:
            return node
        self.is_inside = True
        self.generic_visit(node)
        self.is_inside = False
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        """Left as it is."""
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        """Another value, or none."""
        self.generic_visit(node)
        if not self.is_inside or node.value is None or self.way == "negated":
            return node
        self.changes.append(node.lineno)
        if self.way == "none":
            # None stays wrong where it would be right.
            return ast.Return(ast.Constant(0 if ast.unparse(node.value) == "None" else None))
        return ast.Return(ast.Call(ast.Name("_other", ast.Load()), [node.value], []))

    def visit_If(self, node: ast.If) -> ast.AST:
        """The first condition negated."""
        self.generic_visit(node)
        if self.is_inside and self.way == "negated" and not self.changes:
            self.changes.append(node.lineno)
            node.test = ast.UnaryOp(ast.Not(), node.test)
        return node


def mutated(source: str, entry_point: str, number: int) -> str:
    """A program that is wrong, by its number in one of three ways.

    Raises:
        ValueError: nothing was changed.
    """
    ways = ("other", "none", "negated")
    for way in (ways[number % 3], "other"):
        mutator = Mutator(way, entry_point)
        tree = ast.fix_missing_locations(mutator.visit(ast.parse(source)))
        if mutator.changes:
            found = _OTHER + ast.unparse(tree)
            assert ast.dump(ast.parse(found)) != ast.dump(ast.parse(_OTHER + source))
            return found
    raise ValueError(f"nothing to change in {entry_point}")


def read(path: Path) -> list[dict[str, str]]:
    """The rows of HumanEval."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.decode().splitlines() if line.strip()]


def as_problem(row: dict[str, str]) -> Problem:
    """A row as a problem."""
    return Problem(
        id=row["task_id"],
        question=row["prompt"],
        answer=row["entry_point"],
        domain="code",
        tests=(row["test"],),
        starter=row["prompt"],
    )


def judged(reward: CodeReward, problems: Sequence[Problem], codes: Sequence[str]) -> tuple[list[Verdict], float]:
    """Verdicts, and seconds."""
    start = time.perf_counter()
    verdicts = reward.judge_codes(list(zip(problems, codes, strict=True)))
    return verdicts, time.perf_counter() - start


def main() -> int:
    """Judges, prints, and says by its exit code whether all is as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("path", type=Path, help="HumanEval.jsonl or HumanEval.jsonl.gz")
    parser.add_argument("--workers", type=int, default=2, help="executions at the same time")
    parser.add_argument("--seconds", type=float, default=10.0, help="time limit of one execution")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    rows = read(options.path)
    problems = [as_problem(row) for row in rows]
    canonical = [row["canonical_solution"] for row in rows]
    mutants = [
        mutated(row["prompt"] + row["canonical_solution"], row["entry_point"], number)
        for number, row in enumerate(rows)
    ]
    with Sandbox(num_workers=options.workers, limits=Limits(seconds=options.seconds)) as sandbox:
        reward = CodeReward(sandbox)
        right, right_seconds = judged(reward, problems, canonical)
        wrong, _ = judged(reward, problems, mutants)
    failed = {problem.id: verdict.reason for problem, verdict in zip(problems, right, strict=True) if not verdict.score}
    survived = {problem.id: verdict.reason for problem, verdict in zip(problems, wrong, strict=True) if verdict.score}
    figures = {
        "rows": len(rows),
        "canonical_passed": len(rows) - len(failed),
        "mutants_passed": len(survived),
        "mutant_kinds": {kind: sum(verdict.kind == kind for verdict in wrong) for kind in {v.kind for v in wrong}},
        "executions_per_second": round(len(rows) / right_seconds, 1),
        "workers": options.workers,
        "isolation": sandbox.isolation.strength,
        "failed": failed,
        "survived": survived,
    }
    print(json.dumps(figures) if options.json else "\n".join(f"{name:24}{value}" for name, value in figures.items()))
    return 1 if failed or survived else 0


if __name__ == "__main__":
    sys.exit(main())
