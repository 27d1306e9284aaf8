"""The math verifier on references of real benchmarks, on hostile answers, and its speed.

usage: python benchmarks/verifiers.py DATA [--num-hostile 100000] [--num-workers 2] [--parts PART ...] [--json FILE]

DATA has `math500/test.jsonl` (solution, answer) and `gsm8k/test.jsonl` (answer); see
docs/decisions/0017-math-verifier.md for what they show.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from aha.prompts.parsing import last_boxed
from aha.rewards.notation import clean
from aha.rewards.verifier import MathVerifier, normalised
from aha.rewards.workers import Question

PARTS = ("real", "speed", "hostile")
SHIFTS = (1, 2, 3, 5, 7, 11, 33, 101, 250)
"""Distances between problems whose answers are exchanged."""


def rows_of(path: Path) -> list[dict[str, str]]:
    """Rows of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rate(count: int, seconds: float) -> float:
    """Per second, to one place."""
    return round(count / seconds, 1) if seconds else 0.0


# Real references


def math500(folder: Path, verifier: MathVerifier) -> dict[str, object]:
    """References against the boxes of their solutions, and against each other."""
    rows = rows_of(folder / "math500" / "test.jsonl")
    golds = [row["answer"] for row in rows]
    boxes = [last_boxed(row["solution"]) or "" for row in rows]
    own = verifier.compare_all(list(zip(golds, boxes, strict=True)))
    styled = {
        name: Counter(verdict.kind for verdict in verifier.compare_all([(gold, style(gold)) for gold in golds]))
        for name, style in STYLES.items()
    }
    equal: set[tuple[str, str]] = set()
    kinds: Counter[str] = Counter()
    num_pairs = 0
    for shift in SHIFTS:
        pairs = [(golds[place], boxes[(place + shift) % len(rows)]) for place in range(len(rows))]
        pairs = [pair for pair in pairs if normalised(pair[0]) != normalised(pair[1])]
        verdicts = verifier.compare_all(pairs)
        num_pairs += len(pairs)
        kinds.update(verdict.kind for verdict in verdicts)
        equal |= {pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict.kind == "correct"}
    return {
        "own": Counter(verdict.kind for verdict in own),
        "own, by algebra alone": Counter(
            verifier.pool.ask(
                [Question(clean(gold) or "", clean(box) or "") for gold, box in zip(golds, boxes, strict=True)]
            )
        ),
        "own, other text": sum(gold != box for gold, box in zip(golds, boxes, strict=True)),
        "styles": styled,
        "exchanged": num_pairs,
        "exchanged, kinds": kinds,
        "exchanged, judged equal": sorted(equal),
    }


STYLES: dict[str, Callable[[str], str]] = {
    "dollars": lambda text: f"${text}$",
    "dfrac": lambda text: text.replace("\\frac", "\\dfrac"),
    "spaces": lambda text: text.replace(" ", "  ").replace("+", " + "),
    "display": lambda text: f"\\displaystyle {text}.",
    "sizes": lambda text: text.replace("(", "\\bigl(").replace("\\left\\bigl(", "\\left("),
    "extra zero": lambda text: f"{text} + 0",
}
"""The same answer, written otherwise; the last one only algebra can see, and only where the reference is no number."""


def gsm8k(folder: Path, verifier: MathVerifier) -> dict[str, object]:
    """References in the formats that models give numbers."""
    golds = [row["answer"].split("####")[1].strip() for row in rows_of(folder / "gsm8k" / "test.jsonl")]
    formats: dict[str, Callable[[int], str]] = {
        "plain": str,
        "separators": lambda number: f"{number:,}",
        "latex separators": lambda number: f"{number:,}".replace(",", "{,}"),
        "money": lambda number: f"\\${number:,}.00",
        "plain money": lambda number: f"${number}",
        "units": lambda number: f"{number} \\text{{ apples}}",
        "words": lambda number: f"{number} apples per day",
        "name": lambda number: f"x = {number}.",
        "fraction": lambda number: f"\\frac{{{2 * number}}}{{2}}",
        "decimals": lambda number: f"{number}.0",
    }
    found: dict[str, object] = {"references": len(golds)}
    numbers = [int(gold.replace(",", "")) for gold in golds]
    for name, write in formats.items():
        right = verifier.compare_all([(gold, write(n)) for gold, n in zip(golds, numbers, strict=True)])
        off = verifier.compare_all([(gold, write(n + 1)) for gold, n in zip(golds, numbers, strict=True)])
        found[name] = {
            "right": sum(verdict.kind == "correct" for verdict in right),
            "one more, judged right": sum(verdict.kind == "correct" for verdict in off),
        }
    return found


# Speed


def speed(num_workers: int) -> dict[str, object]:
    """Verdicts per second: integers, and a group of 16 answers for each of 32 symbolic references."""
    generator = random.Random(0)
    integers = [(str(generator.randrange(10**6)), f"{generator.randrange(10**6):,}") for _ in range(20_000)]
    with MathVerifier(num_workers=num_workers) as verifier:
        start = time.perf_counter()
        verifier.compare_all(integers)
        integer_rate = rate(len(integers), time.perf_counter() - start)
        groups = list(symbolic(generator, 32, 16))
        verifier.pool.start()
        start = time.perf_counter()
        verdicts = verifier.compare_all(groups)
        seconds = time.perf_counter() - start
    return {
        "integers per second": integer_rate,
        "symbolic per second": rate(len(groups), seconds),
        "symbolic, different texts": len(set(groups)),
        "symbolic, kinds": Counter(verdict.kind for verdict in verdicts),
        "symbolic, asked of workers": verifier.pool.counts.total() - verifier.pool.counts["start"],
    }


def symbolic(generator: random.Random, num_golds: int, group_size: int) -> Iterator[tuple[str, str]]:
    """References with groups of different texts: half of them equal, in another notation or order."""
    for _ in range(num_golds):
        a, b, c = (generator.randrange(2, 50) for _ in range(3))
        forms = generator.choice(FORMS)
        for index in range(group_size):
            # An even index is equal to the reference: written as it is, or in the other way.
            shift = 0 if index % 2 == 0 else index
            d, e = 2 * a, 2 * (b + shift)
            gold = forms[0].format(a=a, b=b, c=c)
            yield gold, forms[index // 2 % 2].format(a=a, b=b + shift, c=c, d=d, e=e)


FORMS = (
    ("{a}\\sqrt{{{b}}}+{c}", "{c}+{a}\\sqrt{{{b}}}"),
    ("\\frac{{{a}\\pi}}{{{b}}}", "\\frac{{{d}}}{{{e}}}\\pi"),
    ("{a}x^2+{b}x-{c}", "-{c}+x({a}x+{b})"),
    ("({a},\\sqrt{{{b}}})", "\\left( {a}, {b}^{{1/2}} \\right)"),
)
"""Two ways to write the same."""


# Hostile answers


def hostile(generator: random.Random, kind: str) -> str:  # noqa: C901  # a case for each kind
    """One answer of a kind."""
    n, deep = generator.randrange(2, 10**6), generator.choice([5, 20, 100, 2000])
    digits = generator.choice([30, 300, 3_000, 100_000])
    match kind:
        case "tower":
            return generator.choice(["^{9", "^{x", "^{10^{9"]).join(["9"] * generator.randrange(3, 7)) + "}" * deep
        case "closed tower":
            height = generator.randrange(2, 9)
            return f"{n % 89 + 2}^{{" * height + "9" + "}" * height
        case "python tower":
            return "**".join(["10"] * generator.randrange(2, 9))
        case "digits":
            return f"{generator.choice(['', '-', '0.', '1/'])}{'7' * digits}{generator.choice(['', 'x', '!', '%'])}"
        case "brackets":
            return "".join(generator.choice("()[]{}") for _ in range(deep))
        case "nesting":
            return "(" * deep + "x" + ")" * deep
        case "nested roots":
            return "\\sqrt{" * (deep % 97) + f"{n}" + "}" * (deep % 97)
        case "nested fractions":
            return "\\frac{1}{1+" * (deep % 83) + "x" + "}" * (deep % 83)
        case "control":
            return "".join(chr(generator.randrange(32)) for _ in range(9)) + str(n)
        case "unicode":
            return "".join(chr(generator.choice([0x660, 0x966, 0xFF10, 0x1D7CE]) + n % 10) for _ in range(3))
        case "code":
            return generator.choice(CODE).replace("N", str(n))
        case "tex":
            return generator.choice(TEX).replace("N", str(n))
        case "calls":
            return generator.choice(CALLS).replace("N", str(n))
        case "matrix":
            size = generator.choice([2, 5, 20, 60])
            row = "&".join(str(n % 97 + column) for column in range(size))
            return "\\begin{pmatrix}" + "\\\\".join([row] * size) + "\\end{pmatrix}"
        case "list":
            return ",".join(str(generator.randrange(99)) for _ in range(deep))
        case "polynomial":
            return f"(x+{n % 7}y+\\sqrt{{{n % 11}}})^{{{generator.choice([3, 50, 999, 10**9])}}}"
        case "trigonometry":
            return "+".join(f"\\sin^{k}({n % 9}x)\\cos({k}x)" for k in range(2, generator.choice([4, 9, 25])))
        case "equation":
            return f"x^{n % 37 + 3}+{n % 97}x+y=\\sqrt{{x}}"
        case "symbolic":
            return f"{n % 97}\\sqrt{{{n % 97 + 2}}}+\\pi^{{{n % 5}}}"
        case _:
            alphabet = "0123456789abxyz+-*/^_(){}[]\\,.=<>&%$#@!~ \n'\""
            return "".join(generator.choice(alphabet) for _ in range(generator.randrange(1, 120)))


CODE = (
    "__import__('os').system('touch ESCAPED')",
    'exec(\'open("ESCAPED","w")\')',
    "lambda: N",
    "open('ESCAPED','w').write('N')",
    "(lambda f: f(f))(lambda f: f(f))",
    "[x for x in ().__class__.__base__.__subclasses__()]",
    "sympify('N')",
    "print(N); exit()",
    "\\text{__import__('os').system('touch ESCAPED')}",
)
TEX = (
    "\\input{/etc/passwd}",
    "\\write18{touch ESCAPED}",
    "\\immediate\\write18{touch ESCAPED}N",
    "\\openout1=ESCAPED",
    "\\def\\x{\\x\\x}\\x",
    "\\csname N\\endcsname",
    "\\loop\\iftrue\\repeat",
    "\\boxed{\\boxed{\\boxed{N}}}",
)
CALLS = (
    "N!",
    "N!!!!",
    "\\binom{N}{999}",
    "\\gcd(N,N^{N})",
    "\\sum_{k=1}^{N} k^k",
    "\\prod_{k=1}^{N} k",
    "\\int_0^N e^{x^x} dx",
    "\\lim_{x\\to 0} \\frac{\\sin(x^N)}{x}",
    "\\log_{N}(\\log(N^{N}))",
    "\\sin(\\cos(\\tan(N^{N})))",
    "\\sqrt[N]{N^N+x}",
    "N^{N}",
    "(N^{N})^{N}",
    "e^{N^{N}}",
    "x^{N}-1",
)
KINDS = (
    "tower", "closed tower", "python tower", "digits", "brackets", "nesting", "nested roots", "nested fractions",
    "control", "unicode", "code", "tex", "calls", "matrix", "list", "polynomial", "trigonometry", "equation",
    "symbolic", "noise",
)  # fmt: skip
GOLDS = ("5", "\\frac{3}{4}", "\\text{(C)}", "2\\sqrt{3}+\\pi", "x^2+3x-1", "(1,\\sqrt{2})", "x=\\sqrt{5}", "[1,\\pi)")


def fuzz(num_answers: int, num_workers: int, deadline_seconds: float) -> dict[str, object]:
    """Hostile answers, a thousand at a time, and whether the workers still answer afterwards."""
    generator = random.Random(4)
    kinds: Counter[str] = Counter()
    slow: Counter[str] = Counter()
    start = time.perf_counter()
    with MathVerifier(num_workers=num_workers, deadline_seconds=deadline_seconds) as verifier:
        verifier.pool.start()
        for first in range(0, num_answers, 1_000):
            names = [KINDS[index % len(KINDS)] for index in range(first, min(first + 1_000, num_answers))]
            pairs = [(generator.choice(GOLDS), hostile(generator, name)) for name in names]
            verdicts = verifier.compare_all(pairs)
            kinds.update(verdict.kind for verdict in verdicts)
            slow.update(
                name for name, verdict in zip(names, verdicts, strict=True) if verdict.kind in ("timeout", "crash")
            )
            right = [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict.kind == "correct"]
            kinds["judged right"] += len(right)
            print(f"{first + len(pairs)} answers, {time.perf_counter() - start:.0f} s, {dict(kinds)}", file=sys.stderr)
        alive = verifier.compare_all([("\\sqrt{8}", "2\\sqrt{2}"), ("\\sqrt{8}", "2\\sqrt{3}")])
        return {
            "answers": num_answers,
            "seconds": round(time.perf_counter() - start, 1),
            "kinds": kinds,
            "fast": verifier.counts["fast"],
            "slow": verifier.counts["slow"],
            "asked of workers": verifier.pool.counts.total() - verifier.pool.counts["start"],
            "workers": dict(verifier.pool.counts),
            "slowest verdict, seconds": round(verifier.pool.slowest_seconds, 2),
            "deadline, seconds": deadline_seconds,
            "timeouts and crashes by kind": slow,
            "peak resident MiB of a worker": verifier.pool.peak_bytes >> 20,
            "alive afterwards": [verdict.kind for verdict in alive],
            "escaped": Path("ESCAPED").exists(),
        }


def main() -> None:
    """Run all and print, or write, the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--num-hostile", type=int, default=100_000)
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--deadline-seconds", type=float, default=1.0, help="of hostile answers")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures: dict[str, object] = {}
    with MathVerifier(num_workers=options.num_workers) as verifier:
        if "real" in options.parts:
            figures["math500"] = math500(options.data, verifier)
            figures["gsm8k"] = gsm8k(options.data, verifier)
    if "speed" in options.parts:
        figures["speed"] = speed(options.num_workers)
    if "hostile" in options.parts:
        figures["hostile"] = fuzz(options.num_hostile, options.num_workers, options.deadline_seconds)
    text = json.dumps(figures, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
