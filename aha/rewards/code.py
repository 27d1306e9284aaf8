"""The accuracy reward of programs: does the code that a response gives pass its tests?

Two kinds of problems exist. In domain `code`, `Problem.tests` are sources of Python tests (plain asserts, HumanEval's
`check(candidate)`, or functions as pytest and unittest have them), `Problem.answer` is the name of the function under
test, which may be a method of a class `Solution` (empty where the tests name the functions themselves), and
`Problem.starter` is code that a response may repeat or continue. In domain `stdio`, each test is a JSON object with
`stdin` and `stdout`: a program is run with the first and must print the second, numbers with a decimal point nearly.

Source: DeepSeek-R1, arXiv:2501.12948v2, 2.2: a compiler judges code by predefined test cases. The form
`check(candidate)` is HumanEval's, arXiv:2107.03374.
"""

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from aha.prompts.parsing import parse_response
from aha.rewards.sandbox.sandbox import Examination, Execution, Sandbox
from aha.types import Problem, Rollout, Verdict, VerdictKind

__all__ = ["DOMAINS", "TOLERANCE", "CodeReward", "extract_code"]

DOMAINS = ("code", "stdio")
"""The domains whose problems have tests."""

TOLERANCE = 1e-6
"""Error, absolute or relative, that a printed number may have where the expected one has a decimal point, as on
Codeforces; an integer has to be exact."""

_MAX_CODE = 100_000
_MAX_REASON = 300
_MAX_QUOTE = 60
_FENCE = re.compile(r"[ \t]{0,3}(```+|~~~+)[ \t]*([\w+.#-]*)")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_PYTHON = {"python", "python3", "py", "py3"}
_KINDS: dict[str, VerdictKind] = {
    "done": "wrong",
    "raised": "wrong",
    "gone": "wrong",
    "overflow": "wrong",
    "ended": "wrong",
    "unparsable": "unparsable",
    "timeout": "timeout",
    "memory": "crash",
    "unsupported": "unsupported",
    "failed": "crash",
}


def extract_code(text: str) -> str | None:
    """The code of a response.

    It is the last block marked as Python of the answer or summary, or else the last fenced block, or else all of it,
    which then has to be Python. A block that is never closed runs to the end.

    Args:
        text: the decoded response, of any content; it is read once from left to right.

    Returns:
        The code, which need not parse; None where there is none.
    """
    shown = parse_response(text).summary
    if shown is None:
        return None
    if shown == text.strip():
        # The indentation of the first line is code where a response continues a function.
        shown = text.rstrip().lstrip("\r\n")
    blocks = _fenced(shown)
    python = [code for language, code in blocks if language in _PYTHON]
    if python or blocks:
        return python[-1] if python else blocks[-1][1]
    return shown


def _fenced(text: str) -> list[tuple[str, str]]:
    """The fenced blocks with their languages."""
    blocks: list[tuple[str, list[str]]] = []
    fence = ""
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if not fence and mark:
            fence = mark[1]
            blocks.append((mark[2].lower(), []))
        elif fence and mark and mark[1].startswith(fence) and not line[mark.end(1) :].strip():
            fence = ""
        elif fence:
            blocks[-1][1].append(line)
    return [(language, "\n".join(lines) + "\n") for language, lines in blocks]


class CodeReward:
    """The accuracy of responses that are programs: 1 where every test passes.

    It judges in batches, as many at a time as its sandbox has workers.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        """Takes a sandbox, which its owner closes."""
        self.sandbox = sandbox

    @property
    def __name__(self) -> str:
        """Its name: it is the accuracy of its domains."""
        return "accuracy"

    @property
    def key(self) -> str:
        """What decides its verdicts besides its name."""
        packages = "".join(f",{version}" for version in self.sandbox.packages.versions)
        return f"code,tolerance={TOLERANCE},{self.sandbox.limits}{packages}"

    @property
    def overlaps_sampling(self) -> bool:
        """Asked while sampling goes on: it waits for programs, and runs each by itself."""
        return True

    def __call__(self, problem: Problem, rollout: Rollout) -> Verdict:
        """The verdict on one rollout; see `judge_all`."""
        return self.judge_all([(problem, rollout)])[0]

    def judge_all(self, pairs: Sequence[tuple[Problem, Rollout]]) -> list[Verdict]:
        """The verdict on each rollout, in order.

        Args:
            pairs: problems, each with the rollout that is judged.

        Returns:
            Score, reason and kind: `correct`; `wrong`, also where the code raises; `unparsable` where there is no code
            or it is not Python; `timeout`; `crash` where memory ran out or the sandbox failed; `unsupported` where a
            test has a form that cannot be run, or a result a type that cannot be compared, and no other test fails.

        Raises:
            ValueError: a problem has no tests, or tests of another form than its domain asks for.

        Source: DeepSeek-R1, arXiv:2501.12948v2, 2.2. Ours: every test must pass.
        """
        return self.judge_codes([(problem, extract_code(rollout.text)) for problem, rollout in pairs])

    def judge_codes(self, pairs: Sequence[tuple[Problem, str | None]]) -> list[Verdict]:
        """The verdict on each program, as `judge_all` has it.

        Args:
            pairs: problems, each with a program; None where a response has none.

        Raises:
            ValueError: as in `judge_all`.
        """
        for problem, _ in pairs:
            _refuse_untestable(problem)
        with ThreadPoolExecutor(self.sandbox.num_workers) as pool:
            return list(pool.map(self._judge, pairs))

    def _judge(self, pair: tuple[Problem, str | None]) -> Verdict:
        problem, code = pair
        if code is None or not code.strip():
            return Verdict(score=0.0, reason="no code in the response", kind="unparsable")
        if len(code) > _MAX_CODE:
            reason = f"code of {len(code)} characters; at most {_MAX_CODE} are read"
            return Verdict(score=0.0, reason=reason, kind="unparsable")
        passed, kind, reason = (
            self._run_inputs(problem, code) if problem.domain == "stdio" else self._run(problem, code)
        )
        if all(passed):
            return Verdict(score=1.0, reason=f"passes {len(passed)} of {len(passed)} tests", kind="correct")

        # No partial credit: a policy would learn from it to pass the easy tests.
        text = _cut(f"passes {sum(passed)} of {len(passed)} tests; {reason}", _MAX_REASON)
        return Verdict(score=0.0, reason=text, kind=kind)

    def _run(self, problem: Problem, code: str) -> tuple[tuple[bool, ...], VerdictKind, str]:
        """Tests of functions: which passed, and how and why the first of the others failed."""
        found: Examination = self.sandbox.examine(
            code, problem.tests, entry_point=_entry_point(problem), starter=problem.starter
        )
        return found.passed, _KINDS[found.kind], found.reason or found.kind

    def _run_inputs(self, problem: Problem, code: str) -> tuple[tuple[bool, ...], VerdictKind, str]:
        """The same for inputs and outputs of a whole program."""
        tests = [json.loads(test) for test in problem.tests]
        runs = self.sandbox.run_each(code, [test["stdin"] for test in tests])
        faults = [_fault(run, test["stdout"]) for run, test in zip(runs, tests, strict=True)]
        passed = tuple(not fault for fault in faults)
        if all(passed):
            return passed, "correct", ""

        first = passed.index(False)
        run = runs[first]
        kind: VerdictKind = _KINDS.get(run.status, "wrong")
        if kind == "wrong" and run.exit_code and run.errors.rstrip().endswith("MemoryError"):
            kind = "crash"
        return passed, kind, f"test {first + 1}: {faults[first]}"


def _fault(run: Execution, expected: str) -> str:
    """What is wrong with a run; empty where it printed what it should."""
    if run.status != "ended":
        names = {"timeout": "it takes too long", "overflow": "it prints too much", "memory": "it takes too much memory"}
        return names.get(run.status, f"{run.status}: {_quoted(run.errors)}")
    if run.exit_code:
        last = (run.errors.strip().splitlines() or ["nothing to read"])[-1]
        return f"it ends with exit code {run.exit_code}: {_quoted(last)}"
    if _are_equal(run.output, expected):
        return ""
    return f"it prints {_quoted(run.output)} where {_quoted(expected)} is right"


def _are_equal(output: str, expected: str) -> bool:
    """Whether an output is the expected one, line by line and word by word; numbers may differ by little."""
    lines, expected_lines = _lines(output), _lines(expected)
    return len(lines) == len(expected_lines) and all(
        len(words) == len(expected_words) and all(map(_is_near, words, expected_words))
        for words, expected_words in zip(lines, expected_lines, strict=True)
    )


def _lines(text: str) -> list[list[str]]:
    """The words of the lines of an output, without empty lines at its ends."""
    return [line.split() for line in text.strip().splitlines()]


def _is_near(word: str, expected: str) -> bool:
    """Whether a word is the expected one, or, where that is a number with a decimal point, a number close to it."""
    if word == expected:
        return True
    if "." not in expected or not (_NUMBER.fullmatch(word) and _NUMBER.fullmatch(expected)):
        return False
    number, expected_number = float(word), float(expected)
    return abs(number - expected_number) <= TOLERANCE * max(1.0, abs(expected_number))


def _quoted(text: str) -> str:
    return repr(_cut(text, _MAX_QUOTE))


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def _entry_point(problem: Problem) -> str:
    """The name of the function under test, or of the method of LeetCode's `Solution`."""
    return problem.answer.removeprefix("Solution().")


def _refuse_untestable(problem: Problem) -> None:
    """Refuse a problem that could be judged neither right nor wrong."""
    if not problem.tests:
        raise ValueError(f"problem {problem.id!r} of domain {problem.domain!r} has no tests; code needs at least one")
    if problem.domain != "stdio":
        if problem.answer and not _entry_point(problem).isidentifier():
            raise ValueError(
                f"the answer of problem {problem.id!r} is {_quoted(problem.answer)}; in domain {problem.domain!r} it "
                "is the name of the function under test, `Solution().NAME`, or empty"
            )
        return
    for number, test in enumerate(problem.tests, 1):
        try:
            found = json.loads(test)
        except ValueError:
            found = None
        if not (isinstance(found, dict) and all(isinstance(found.get(name), str) for name in ("stdin", "stdout"))):
            raise ValueError(
                f"test {number} of problem {problem.id!r} is {_quoted(test)}; in domain 'stdio' a test is a JSON "
                "object with the texts `stdin` and `stdout`"
            )
