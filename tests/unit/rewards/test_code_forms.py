"""Forms in which right programs and their tests are written: each is judged by its merit, or said to be unsupported.

The start of a program takes most of the time of its judgement, so functions that do not hinder each other are one
program here, and each has its own tests.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence

import pytest

from aha.rewards.code import CodeReward
from aha.rewards.sandbox.isolation import Limits, probe
from aha.rewards.sandbox.sandbox import Sandbox
from aha.types import Problem, Verdict

POINT = "from dataclasses import dataclass\n@dataclass\nclass Point:\n    x: int\n    y: int = 0\n"
NODE = "class Node:\n    def __init__(self, value, next=None):\n        self.value, self.next = value, next\n"
PAIR = "from collections import namedtuple\nPair = namedtuple('Pair', 'x y')\n"
SHOP = "class EmptyError(ValueError): pass\n"


@pytest.fixture(scope="module")
def reward() -> Iterator[CodeReward]:
    found = probe()
    if found.strength != "full":
        pytest.skip(f"bubblewrap does not work: {found.reason}")
    with Sandbox(isolation=found, num_workers=2, limits=Limits(seconds=20)) as sandbox:
        yield CodeReward(sandbox)


def judge(reward: CodeReward, code: str, *tests: str, entry_point: str = "f", starter: str = "") -> Verdict:
    problem = Problem(id="p", question="", answer=entry_point, domain="code", tests=tests, starter=starter)
    return reward.judge_codes([(problem, code)])[0]


def judge_output(reward: CodeReward, code: str, expected: str) -> Verdict:
    test = json.dumps({"stdin": "", "stdout": expected})
    return reward.judge_codes([(Problem(id="p", question="", answer="", domain="stdio", tests=(test,)), code)])[0]


def in_one_program(cases: Iterable[Sequence[str]]) -> tuple[str, list[str]]:
    """One program of many, each a source and its tests, and all tests; names that they share get a number."""
    sources, tests = list[str](), list[str]()
    for number, case in enumerate(cases):
        source, *own = (re.sub(r"\b(f|Point|Pair|Node)\b", rf"\1_{number}", text) for text in case)
        sources.append(source)
        tests += own
    return "\n".join(sources), tests


# Whole programs

RIGHT_ENDINGS = [
    "print(7)\nexit()",
    "print(7)\nquit(0)",
    "import sys\nprint(7)\nsys.exit()",
    "import sys\ndef main():\n    print(7)\n    return 0\nsys.exit(main())",
    "print(7)\nraise SystemExit",
    "def main():\n    print(7)\nif __name__ == '__main__':\n    main()",
]
WRONG_ENDINGS = ["print(7)\nexit(3)", "print(7)\nexit('failed')", "exit()\nprint(7)"]


@pytest.mark.full
def test_a_program_may_end_itself(reward: CodeReward) -> None:
    def judge_endings(endings: list[str]) -> Verdict:
        tests = tuple(json.dumps({"stdin": ending, "stdout": "7\n"}) for ending in endings)
        runs_its_input = "import sys\nexec(sys.stdin.read())"
        problem = Problem(id="p", question="", answer="", domain="stdio", tests=tests)
        return reward.judge_codes([(problem, runs_its_input)])[0]

    assert judge_endings(RIGHT_ENDINGS) == Verdict(score=1.0, reason="passes 6 of 6 tests", kind="correct")
    assert judge_endings(WRONG_ENDINGS).reason.startswith("passes 0 of 3 tests")
    assert judge_output(reward, "print(7)\nexit()", "7\n").kind == "correct"


RIGHT_OUTPUTS = [
    ("0.3333333", "0.333333333"),
    ("2", "2.0"),
    ("1e-7", "0.0"),
    ("1000000.5", "1000000.0"),
    ("-0.0", "0.000"),
    ("1.5 2.25\nyes", "1.50 2.250\nyes\n"),
    ("7 \n\n", "7"),
    ("7", "7  \n\n"),
]
WRONG_OUTPUTS = [
    ("0.33333", "0.333333333"),
    ("1000002.5", "1000000.0"),
    ("1.5\n2.25", "1.5 2.25"),
    ("1.5 2.25 3", "1.5 2.25"),
    ("7.0", "7"),
    ("10000000", "10000001"),
    ("007", "7"),
    ("nan", "0.0"),
    ("inf", "9" * 400 + ".0"),
    ("1" + "0" * 400, "9" * 400 + ".0"),
    ("1_0.0", "10.0"),
    ("1.2.3", "1.2.30"),
    ("x1.0", "x1.00"),
]


def judge_outputs(reward: CodeReward, outputs: list[tuple[str, str]]) -> Verdict:
    """The verdict on a program that prints what it reads."""
    tests = tuple(json.dumps({"stdin": printed, "stdout": expected}) for printed, expected in outputs)
    echo = "import sys\nprint(sys.stdin.read(), end='')"
    return reward.judge_codes([(Problem(id="p", question="", answer="", domain="stdio", tests=tests), echo)])[0]


@pytest.mark.full
def test_printed_numbers_with_a_decimal_point_have_a_tolerance(reward: CodeReward) -> None:
    assert judge_outputs(reward, RIGHT_OUTPUTS) == Verdict(score=1.0, reason="passes 8 of 8 tests", kind="correct")
    assert judge_outputs(reward, WRONG_OUTPUTS).reason.startswith(f"passes 0 of {len(WRONG_OUTPUTS)} tests")


# Functions

SOLUTION = """
class Solution:
    def __init__(self): self.calls = 0
    def half(self, x): return x // 2
    def f(self, xs: List[int]) -> Optional[int]:
        self.calls += 1
        heapify(xs)
        return self.half(2 * heappop(xs)) + defaultdict(int)[0] + math.gcd(4, 6) - 2, self.calls
"""
"""A method that calls another one, imports nothing of what it uses, and counts the calls of its object."""
FUNCTIONS = {
    "an argument changed in place": (
        "def f(xs):\n    xs.sort()\n    xs.append(9)",
        "xs = [3, 1, 2]\nalias = xs\nassert f(xs) is None\nassert xs == alias == [1, 2, 3, 9]",
    ),
    "arguments of other types changed in place": (
        "def f(d, s, q, grid, c):\n    d['b'] = 2\n    s.discard(1)\n    q.popleft()\n"
        "    grid[0][0] = 5\n    c.update('a')",
        "from collections import Counter, deque\n"
        "d, s, q, grid, c = {'a': 1}, {1, 2}, deque([1, 2]), [[0]], Counter('ab')\n"
        "f(d, s, q, grid=grid, c=c)\nassert d == {'a': 1, 'b': 2} and s == {2} and q == deque([2]) and grid == [[5]]\n"
        "assert c == Counter('aab') and c.most_common(1) == [('a', 2)]",
    ),
    "an argument changed in place before an exception": (
        "def f(xs):\n    xs.append(2)\n    raise ValueError",
        "xs = [1]\ntry: f(xs)\nexcept ValueError: pass\nassert xs == [1, 2]",
    ),
    "an argument whose new length is returned": (
        "def f(xs):\n    xs[:] = sorted(set(xs)) + [0]\n    return len(xs) - 1",
        "xs = [2, 1, 2]\nk = f(xs)\nassert k == 2\nassert xs[:k] == [1, 2]",
        "def test_f():\n    xs = [3, 3]\n    assert f(xs) == 1\n    assert xs[0] == 3",
    ),
    "an argument changed in place, and the value looked at": (
        "def f(xs): xs.reverse()",
        "xs = [2, 1]\nresult = f(xs)\nassert result is None\nassert xs == [1, 2]",
    ),
    "arguments are fresh": (
        "def f(xs):\n    xs.append(1)\n    return xs",
        "assert f([]) == [1]\nassert f([]) == [1]",
        "xs = []\nassert f(xs) == [1]",
        "xs = []\nassert f(list(xs)) == [1]\nassert xs == []",
    ),
    "functions that are values": (
        "g = lambda x: x + 1\nfrom math import gcd as h",
        "assert g(1) == 2 and h(4, 6) == 2",
    ),
}


def test_functions_are_found_and_called(reward: CodeReward) -> None:
    code, tests = in_one_program(FUNCTIONS.values())
    verdict = judge(reward, code, *tests, entry_point="")
    assert verdict.kind == "correct", verdict


def test_methods_of_solution_are_found_and_called(reward: CodeReward) -> None:
    every_call_has_its_own = "assert f([3, 1, 2]) == (1, 1)\nassert f([2]) == (2, 1)"
    named_by_the_test = "solution = Solution()\nassert solution.f([3]) == (3, 1) and Solution().f(xs=[4]) == (4, 1)"
    static = "class Solution:\n    @staticmethod\n    def f(x): return x"
    assert judge(reward, SOLUTION, every_call_has_its_own).kind == "correct"
    assert judge(reward, SOLUTION, named_by_the_test, entry_point="").kind == "correct"
    assert judge(reward, static, "assert f(3) == 3").kind == "correct"


def test_the_entry_point_is_what_the_program_defines(reward: CodeReward) -> None:
    """Neither what is imported for a class `Solution`, nor what the starter leaves to be written."""
    named_like_an_import = "class Solution:\n    def permutations(self, x): return x"
    assert judge(reward, named_like_an_import, "assert permutations(3) == 3", entry_point="permutations").score == 1
    starter = "class Solution:\n    def f(self, x):\n        "
    assert judge(reward, "def f(x): return x", "assert f(3) == 3", starter=starter).score == 1


@pytest.mark.full
def test_the_entry_point_may_be_written_as_a_call_of_solution(reward: CodeReward) -> None:
    code = "class Solution:\n    def f(self, x): return x"
    test = "def check(candidate):\n    assert candidate(x=3) == 3"
    assert judge(reward, code, test, entry_point="Solution().f").kind == "correct"
    assert judge(reward, "def f(x): return x", test, entry_point="Solution().f").kind == "correct"
    assert judge(reward, code, test, entry_point="Solution().g").kind == "wrong"


STARTERS = {
    "its imports are left out": (
        "from typing import List\n\ndef f(xs: List[int]) -> int:\n    '''Sum.'''\n",
        "def f(xs: List[int]) -> int:\n    return sum(xs)",
        "assert f([1, 2]) == 3",
    ),
    "its helper is left out": (
        "def double(x):\n    return 2 * x\n\ndef f(x):\n    '''Half.'''\n",
        "def f(x): return double(x) // 4",
        "assert f(3) == 1",
    ),
    "it has no body": (
        "import math\nclass Solution:\n    def f(self, x: int) -> int:\n        ",
        "class Solution:\n    def f(self, x: int) -> int:\n        return math.floor(x)",
        "assert f(3) == 3",
    ),
    "it has no body, and is continued": (
        "class Solution:\n    def f(self, x: int) -> int:\n        ",
        "return x\n",
        "assert f(3) == 3",
    ),
}


@pytest.mark.parametrize("name", STARTERS)
def test_what_the_starter_gives_need_not_be_repeated(reward: CodeReward, name: str) -> None:
    starter, code, test = STARTERS[name]
    assert judge(reward, code, test, starter=starter).kind == "correct"


# Tests

TESTS = {
    "pytest": "def test_one(): assert f(1) == 1\ndef test_two():\n    assert f(2) == 2",
    "pytest with an import": "from solution import f\ndef test_f():\n    assert f(1) == 1",
    "pytest with a module": "import solution\nclass TestF:\n    def test_f(self):\n        assert solution.f(1) == 1",
    "pytest with candidate": "def test_f(candidate): assert candidate(1) == 1",
    "pytest called by itself": "def test_f(): assert f(1) == 1\n\nif __name__ == '__main__':\n    test_f()",
    "pytest.raises": (
        "import pytest\ndef test_f():\n    with pytest.raises(TypeError, match='not None') as found:\n        f(None)\n"
        "    assert 'not None' in str(found.value)\n    assert f(1) == 1"
    ),
    "pytest.approx": (
        "from pytest import approx\ndef test_f():\n    assert f(0.1 + 0.2) == approx(0.3)\n"
        "    assert f([1.0, 2.0]) == approx([1.0000001, 2.0])\n    assert f({'a': 1}) == approx({'a': 1.0})\n"
        "    assert f(0.31) != approx(0.3) and f([1.0]) != approx([1.0, 2.0]) and f(0.31) == approx(0.3, abs=0.02)\n"
        "    assert f(0.29) == approx(0.3, abs=0.02) and f(float('inf')) == approx(float('inf'))"
    ),
    "pytest.mark.parametrize": (
        "import pytest\n@pytest.mark.parametrize('x, y', [(1, 1), (2, 2)])\n@pytest.mark.parametrize('z', [3])\n"
        "def test_f(x, y, z): assert f(x) == y and f(z) == 3"
    ),
    "unittest": (
        "import unittest\nclass TestF(unittest.TestCase):\n    def setUp(self): self.x = 3\n"
        "    def test_f(self):\n        self.assertEqual(f(self.x), 3)\n"
        "        with self.assertRaises(TypeError): f(None)\nif __name__ == '__main__':\n    unittest.main()"
    ),
    "a script": "result = f(1)\nassert result == 1\nprint('All tests passed')",
    "a script that ends itself": "import sys\nsys.exit(0 if f(1) == 1 else 1)",
    "check": "METADATA = {'author': 'x'}\ndef check(candidate):\n    assert candidate(1) == 1",
    "check called": "def check(candidate):\n    assert candidate(1) == 1\ncheck(f)",
    "check without arguments": "def check():\n    assert f(1) == 1",
    "names bound by the test": "def helper(x, f=f): return f(x)\nassert [helper(g) for g in (1, 2)] == [1, 2]",
}
ECHO = "def f(x):\n    if x is None: raise TypeError('x is not None, please')\n    return x"


def test_tests_may_be_written_in_several_forms(reward: CodeReward) -> None:
    right = judge(reward, ECHO, *TESTS.values())
    assert right.kind == "correct", right
    wrong = judge(reward, "def f(x): return 0", *TESTS.values())
    assert wrong.kind == "wrong"
    assert wrong.reason.startswith("passes 0 of "), wrong


WRONG = [
    ("def f(x): return x", "def test_one(): assert f(1) == 1\ndef test_two(): assert f(2) == 3"),
    ("def f(x): return x", "class TestF:\n    def test_f(self): assert f(1) == 2"),
    ("def f(x): return x", "import pytest\ndef test_f():\n    with pytest.raises(ValueError): f(1)"),
    ("def f(x): raise KeyError", "import pytest\ndef test_f():\n    with pytest.raises(ValueError): f(1)"),
    (
        "def f(x): raise ValueError('a')",
        "import pytest\ndef test_f():\n    with pytest.raises(ValueError, match='b'): f(1)",
    ),
    ("def g(x): return x", "from solution import f\nassert f(1) == 1"),
    ("def f(x):\n    import numpy\n    return x", "assert f(1) == 1"),
]


def test_a_wrong_program_fails_in_every_form(reward: CodeReward) -> None:
    code, tests = in_one_program(WRONG)
    verdict = judge(reward, code, *tests, entry_point="")
    assert verdict.kind == "wrong", verdict
    assert verdict.reason.startswith(f"passes 0 of {len(WRONG)} tests"), verdict


# Results

RESULTS = {
    "Fraction": (
        "from fractions import Fraction\ndef f(x): return Fraction(1, x)",
        "from fractions import Fraction\nassert f(3) == Fraction(1, 3) and f(2) == 0.5 and f(4).denominator == 4",
    ),
    "Decimal": (
        "from decimal import Decimal\ndef f(x): return Decimal(x) / 10",
        "from decimal import Decimal\nassert f(3) == Decimal('0.3') and f(3) + 1 == Decimal('1.3')",
    ),
    "deque": (
        "from collections import deque\ndef f(x): return deque([x, x], maxlen=3)",
        "from collections import deque\nassert f(3) == deque([3, 3]) and f(3).maxlen == 3 and f(1) != [1, 1]",
    ),
    "Counter": (
        "from collections import Counter\ndef f(x): return Counter(x)",
        "assert f('aab') == {'a': 2, 'b': 1} and f('aab').most_common(1) == [('a', 2)] and f('a')['z'] == 0",
    ),
    "defaultdict": (
        "from collections import defaultdict\ndef f(x):\n    d = defaultdict(list)\n    d[x].append(1)\n    return d",
        "assert f(3) == {3: [1]} and f(3)[4] == []",
    ),
    "OrderedDict": (
        "from collections import OrderedDict\ndef f(x): return OrderedDict([(x, 1), (0, 2)])",
        "from collections import OrderedDict\nassert f(3) == {0: 2, 3: 1} and f(3) == OrderedDict([(3, 1), (0, 2)])\n"
        "assert f(3) != OrderedDict([(0, 2), (3, 1)])",
    ),
    "set and frozenset": (
        "def f(x): return {x, frozenset([x])}",
        "assert f(3) == {3, frozenset({3})} and f(3) == frozenset([3, frozenset([3])])",
    ),
    "views of a dict": (
        "def f(x):\n    d = {x: 1}\n    return d.keys(), d.values(), d.items()",
        "keys, values, items = f(3)\nassert keys == {3} and list(values) == [1] and items == {(3, 1)}",
    ),
    "bytearray": ("def f(x): return bytearray([x])", "assert f(3) == b'\\3'"),
    "namedtuple": (
        PAIR + "def f(x): return Pair(x, [x])",
        PAIR + "assert f(3) == (3, [3]) and f(3) == Pair(3, [3]) and f(3).y == [3] and isinstance(f(3), Pair)",
    ),
    "namedtuple of the program": (PAIR + "def f(x): return Pair(x, 1)", "assert f(3) == (3, 1) and f(3).x == 3"),
    "dataclass": (
        POINT + "def f(x): return [Point(x, Point(1))]",
        POINT + "assert f(3) == [Point(3, Point(1, 0))] and isinstance(f(3)[0], Point)",
    ),
    "dataclass of the program": (
        POINT + "def f(x): return Point(x)",
        "assert f(3).x == 3 and f(3).y == 0 and f(3) == f(3) and f(3) != f(4) and f(3) != (3, 0)",
    ),
    "frozen dataclass": (
        POINT.replace("@dataclass", "@dataclass(frozen=True, slots=True)") + "def f(p): return {p: Point(p.y, p.x)}",
        POINT.replace("@dataclass", "@dataclass(frozen=True)") + "assert f(Point(1, 2)) == {Point(1, 2): Point(2, 1)}",
    ),
    "dataclass changed in place": (
        POINT + "def f(p): p.x = 9",
        POINT + "p = Point(1, 2)\nf(p)\nassert p == Point(9, 2)",
    ),
}


def test_results_are_compared_by_value(reward: CodeReward) -> None:
    code, tests = in_one_program(RESULTS.values())
    verdict = judge(reward, code, *tests, entry_point="")
    assert verdict.kind == "correct", verdict


def test_classes_of_the_starter_are_known_to_both_sides(reward: CodeReward) -> None:
    code = "def f(node): return Point(node.value, node.next.value)\ndef g(x): return Node(x, Node(x))"
    starter = POINT + NODE + "def f(node):\n    '''The values.'''\n"
    test = "assert f(Node(1, Node(2))) == Point(1, 2)\nassert g(3).next.value == 3 and g(3).next.next is None"
    verdict = judge(reward, code, test, starter=starter)
    assert verdict.kind == "correct", verdict


@pytest.mark.full
def test_members_of_an_enumeration_of_the_starter_are_its_members(reward: CodeReward) -> None:
    starter = "from enum import Enum\nclass Color(Enum):\n    RED = 1\n    BLUE = 2\ndef f(x):\n    'The other.'\n"
    code = "def f(x): return Color.RED if x is Color.BLUE else Color.BLUE"
    test = "assert f(Color.RED) is Color.BLUE and f(Color.BLUE) == Color.RED != f(Color.RED)"
    assert judge(reward, code, test, starter=starter).kind == "correct"
    assert judge(reward, "def f(x): return x", test, starter=starter).kind == "wrong"
    unknown = "from enum import Enum\nclass Size(Enum): BIG = 1\ndef f(x): return Size.BIG"
    assert judge(reward, unknown, test, starter=starter).kind == "unsupported"


@pytest.mark.full
def test_exceptions_of_the_starter_are_raised_in_the_test(reward: CodeReward) -> None:
    starter = SHOP + "def f(x):\n    '''Raises EmptyError.'''\n"
    test = "try: f(1)\nexcept EmptyError as error: assert str(error) == 'no'\nelse: assert False"
    assert judge(reward, "def f(x): raise EmptyError('no')", test, starter=starter).kind == "correct"
    assert judge(reward, "def f(x): raise ValueError('no')", test, starter=starter).kind == "wrong"


# What cannot be judged

UNSUPPORTED = {
    "a test that does not parse": ("def f(x): return x", "assert f("),
    "a test that calls nothing": ("def f(x): return x", "{'inputs': [[1]], 'outputs': [1]}"),
    "a test that needs a module": ("def f(x): return x", "import numpy\nassert f(1) == 1"),
    "a test that needs more of pytest": (
        "def f(x): return x",
        "import pytest\n@pytest.fixture\ndef x(): return 1\ndef test_f(x): assert f(x) == 1",
    ),
    "a test with a fixture": ("def f(x): return x", "def test_f(tmp_path): assert f(1) == 1"),
    "a test that gives a function": ("def f(x): return x", "assert f(lambda: 1)"),
    "a test that uses a class": ("class Stack: pass\ndef f(x): return x", "stack = Stack()\nassert f(1) == 1"),
    "a test that imports a class": ("class Stack: pass", "from solution import Stack\nassert Stack()"),
    "Solution that wants arguments": (
        "class Solution:\n    def __init__(self, x): pass\n    def f(self): return 1",
        "assert Solution(1).f() == 1",
    ),
    "an entry point that is a class": ("class f:\n    def __init__(self, x): pass", "assert f(1).x == 1"),
    "an entry point that is asynchronous": ("async def f(x): return x", "assert f(1) == 1"),
    "a result that is a function": ("def f(x): return lambda: x", "assert f(1)() == 1"),
    "a result of a class of the program": (NODE + "def f(x): return Node(x)", "assert f(1).value == 1"),
    "a result in an argument": ("def f(x): x.append(print)", "x = []\nf(x)\nassert len(x) == 1"),
    "a result that is nested too deeply": (
        "def f(x):\n    for _ in range(3000): x = [x]\n    return x",
        "assert f(1)[0]",
    ),
}


def test_what_cannot_be_judged_is_unsupported(reward: CodeReward) -> None:
    """One that could be judged would pass, or be wrong, which decides."""
    code, tests = in_one_program(UNSUPPORTED.values())
    verdict = judge(reward, code, *tests, entry_point="")
    assert (verdict.kind, verdict.score) == ("unsupported", 0.0), verdict
    assert verdict.reason.startswith(f"passes 0 of {len(UNSUPPORTED)} tests; "), verdict


@pytest.mark.full
@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_cannot_be_judged_is_unsupported_and_has_a_reason(reward: CodeReward, name: str) -> None:
    code, test = UNSUPPORTED[name]
    verdict = judge(reward, code, test, entry_point="" if "olution" in test else "f")
    assert verdict.kind == "unsupported", verdict
    assert len(verdict.reason) > len("passes 0 of 1 tests; ")


@pytest.mark.full
def test_one_wrong_answer_decides_where_another_cannot_be_judged(reward: CodeReward) -> None:
    unknown, wrong, right = "assert f(lambda: 1)", "assert f(1) == 2", "assert f(1) == 1"
    assert judge(reward, "def f(x): return x", unknown, right).kind == "unsupported"
    verdict = judge(reward, "def f(x): return x", unknown, right, wrong)
    assert verdict.kind == "wrong"
    assert "assert f(1) == 2" in verdict.reason


@pytest.mark.full
def test_an_error_of_the_judge_is_no_error_of_the_program(reward: CodeReward) -> None:
    """A result that cannot be sent is a TypeError to the judge alone: a test that asks for one does not pass by it."""
    test = "try: f(None)\nexcept TypeError: pass\nelse: assert False"
    assert judge(reward, "def f(x): return print", test).kind == "unsupported"
    assert judge(reward, "def f(x): return x + 1", test).kind == "correct"
