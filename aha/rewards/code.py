"""The accuracy reward of programs: does the code of a response pass the tests of its problem?

Two kinds of problems exist. In domain `code`, `Problem.tests` are sources of Python tests (plain asserts, HumanEval's
`check(candidate)`, or functions in the style of pytest and unittest). `Problem.answer` is the name of the function
under test, which may be a method of a class `Solution`; it is empty where the tests name the functions themselves.
`Problem.starter` is code that a response may repeat or continue. In domain `stdio`, each test is a JSON object with
`stdin` and `stdout`: the program gets the first and must print the second; numbers with a decimal point may differ by
rounding.

Source: DeepSeek-R1, arXiv:2501.12948v2, 2.2: a compiler judges code by predefined test cases. The form
`check(candidate)` is HumanEval's, arXiv:2107.03374.
"""

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from aha.prompts.parsing import parse_response
from aha.rewards.sandbox.reports import Examination, Execution
from aha.rewards.sandbox.sandbox import Sandbox
from aha.types import Problem, Rollout, Verdict, VerdictKind

__all__ = ["DOMAINS", "TOLERANCE", "CodeReward", "extract_code"]

DOMAINS = ("code", "stdio")
"""The domains whose problems have tests."""

TOLERANCE = 1e-6
"""Largest absolute or relative error of a printed number whose expected value has a decimal point, as on Codeforces;
an integer must be exact."""

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

    It is the last fenced block of the summary that is marked as Python, or else the last fenced block, or else the
    whole summary. A block that is never closed runs to the end.

    Args:
        text: the decoded response, of any content; it is read once from left to right.

    Returns:
        The code, which need not be valid Python; None where there is none.
    """
    summary = parse_response(text).summary
    if summary is None:
        return None
    if summary == text.strip():
        # A response that continues a function begins with an indented line, which `summary` has lost.
        summary = text.rstrip().lstrip("\r\n")

    # The last block: a response may show a first attempt, or an example of a call, before its solution.
    blocks = _fenced_blocks(summary)
    python_blocks = [code for language, code in blocks if language in _PYTHON]
    if python_blocks:
        return python_blocks[-1]
    if blocks:
        _, code = blocks[-1]
        return code

    return summary


def _fenced_blocks(text: str) -> list[tuple[str, str]]:
    """The fenced blocks of a text, each as its language in lower case and its content."""
    blocks: list[tuple[str, list[str]]] = []
    fence = ""

    for line in text.splitlines():
        # A fence is closed by one of the same kind, at least as long, and without a language: others are content.
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
    """The accuracy reward of responses that are programs: 1 where every test passes.

    It judges in batches, with as many programs at a time as its sandbox has workers.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        """Keeps a sandbox, which the caller closes."""
        self.sandbox = sandbox

    @property
    def __name__(self) -> str:
        """The name of its part of the reward: the accuracy of its domains."""
        return "accuracy"

    @property
    def key(self) -> str:
        """The settings on which its verdicts depend: tolerance, limits, versions of packages."""
        packages = "".join(f",{version}" for version in self.sandbox.packages.versions)
        return f"code,tolerance={TOLERANCE},{self.sandbox.limits}{packages}"

    @property
    def overlaps_sampling(self) -> bool:
        """True: it waits for programs, and each of them is run by itself."""
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
            or no valid Python; `timeout`; `crash` where memory ran out or the sandbox failed; `unsupported` where a
            test has a form that cannot be run, or a result a type that cannot be compared, and no other test fails.

        Raises:
            ValueError: a problem has no tests, or tests of another form than its domain asks for.

        Source: DeepSeek-R1, arXiv:2501.12948v2, 2.2. Ours: every test must pass.
        """
        return self.judge_codes([(problem, extract_code(rollout.text)) for problem, rollout in pairs])

    def judge_codes(self, pairs: Sequence[tuple[Problem, str | None]]) -> list[Verdict]:
        """The verdict on each program, as `judge_all` gives it.

        Args:
            pairs: problems, each with a program, or with None for a response without code.

        Raises:
            ValueError: as in `judge_all`.
        """
        # A faulty problem is an error of the data: it is reported before anything runs.
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

        if problem.domain == "stdio":
            passed, kind, reason = self._run_program(problem, code)
        else:
            passed, kind, reason = self._run_functions(problem, code)

        num_passed = sum(passed)
        summary = f"passes {num_passed} of {len(passed)} tests"
        if num_passed == len(passed):
            return Verdict(score=1.0, reason=summary, kind="correct")

        # No partial credit: it would teach a policy to pass the easy tests.
        return Verdict(score=0.0, reason=_cut(f"{summary}; {reason}", _MAX_REASON), kind=kind)

    def _run_functions(self, problem: Problem, code: str) -> tuple[tuple[bool, ...], VerdictKind, str]:
        """Runs the tests of functions.

        Returns:
            Which tests passed, and of the first one that failed the kind and the reason.
        """
        examination: Examination = self.sandbox.examine(
            code, problem.tests, entry_point=_entry_point(problem), starter=problem.starter
        )
        return examination.passed, _KINDS[examination.kind], examination.reason or examination.kind

    def _run_program(self, problem: Problem, code: str) -> tuple[tuple[bool, ...], VerdictKind, str]:
        """Runs a program on each input; returns what `_run_functions` does."""
        tests = [json.loads(test) for test in problem.tests]
        runs = self.sandbox.run_each(code, [test["stdin"] for test in tests])
        faults = [_fault(run, test["stdout"]) for run, test in zip(runs, tests, strict=True)]
        passed = tuple(not fault for fault in faults)

        if all(passed):
            return passed, "correct", ""

        # The first input that fails gives the reason and the kind of the verdict.
        first = passed.index(False)
        run = runs[first]
        kind: VerdictKind = _KINDS.get(run.status, "wrong")

        # Python reports most of its own shortage of memory by an exception.
        if kind == "wrong" and run.exit_code and run.errors.rstrip().endswith("MemoryError"):
            kind = "crash"

        return passed, kind, f"test {first + 1}: {faults[first]}"


def _fault(run: Execution, expected: str) -> str:
    """What is wrong with a run; empty where the output is the expected one."""
    if run.status != "ended":
        faults = {
            "timeout": "it takes too long",
            "overflow": "it prints too much",
            "memory": "it takes too much memory",
        }
        return faults.get(run.status, f"{run.status}: {_quote(run.errors)}")

    # The last line of a traceback has the exception.
    if run.exit_code:
        error_lines = run.errors.strip().splitlines() or ["nothing to read"]
        return f"it ends with exit code {run.exit_code}: {_quote(error_lines[-1])}"

    if _are_equal(run.output, expected):
        return ""

    return f"it prints {_quote(run.output)} where {_quote(expected)} is right"


def _are_equal(output: str, expected: str) -> bool:
    """Whether an output is the expected one, line by line and word by word; numbers may differ by rounding."""
    lines = _lines(output)
    expected_lines = _lines(expected)
    if len(lines) != len(expected_lines):
        return False

    for words, expected_words in zip(lines, expected_lines, strict=True):
        if len(words) != len(expected_words) or not all(map(_is_near, words, expected_words)):
            return False
    return True


def _lines(text: str) -> list[list[str]]:
    """The words of each line of an output; empty lines at its start and end do not count."""
    return [line.split() for line in text.strip().splitlines()]


def _is_near(word: str, expected: str) -> bool:
    """Whether a word is the expected one, or, where that is a number with a decimal point, a number close to it."""
    if word == expected:
        return True
    if "." not in expected or not (_NUMBER.fullmatch(word) and _NUMBER.fullmatch(expected)):
        return False

    # Absolute for numbers below 1, relative above.
    number = float(word)
    expected_number = float(expected)
    return abs(number - expected_number) <= TOLERANCE * max(1.0, abs(expected_number))


def _quote(text: str) -> str:
    return repr(_cut(text, _MAX_QUOTE))


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def _entry_point(problem: Problem) -> str:
    """The name of the function under test; of LeetCode's `Solution().name`, that of the method."""
    return problem.answer.removeprefix("Solution().")


def _refuse_untestable(problem: Problem) -> None:
    """Refuses a problem whose programs cannot be judged.

    Raises:
        ValueError: it has no tests, or an answer or a test of another form than its domain asks for.
    """
    if not problem.tests:
        raise ValueError(f"problem {problem.id!r} of domain {problem.domain!r} has no tests; code needs at least one")

    if problem.domain != "stdio":
        if problem.answer and not _entry_point(problem).isidentifier():
            raise ValueError(
                f"the answer of problem {problem.id!r} is {_quote(problem.answer)}; in domain {problem.domain!r} it "
                "is the name of the function under test, `Solution().NAME`, or empty"
            )
        return

    for number, test in enumerate(problem.tests, 1):
        try:
            content = json.loads(test)
        except ValueError:
            content = None

        texts = [content.get(name) for name in ("stdin", "stdout")] if isinstance(content, dict) else [None]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(
                f"test {number} of problem {problem.id!r} is {_quote(test)}; in domain 'stdio' a test is a JSON "
                "object with the texts `stdin` and `stdout`"
            )
