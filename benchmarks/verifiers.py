"""The verifier of mathematics on public references, near misses, echoes and hostile answers, beside math-verify.

usage: python benchmarks/verifiers.py DATA [--parts references near echo speed hostile] [--beside 300]

DATA holds a folder per set with `test.jsonl` as published: math (the test set of MATH as JSON lines), math500, gsm8k,
aime24 and any of the sets of the repository QwenLM/Qwen2.5-Math (evaluation/data); what is absent is left out.
`--beside N` asks math-verify the same of N pairs of each part (`pip install math-verify`); it takes 20 to 60 ms each.

The part `peers` wants `--peers FOLDER`, a folder with checkouts of huggingface/Math-Verify, huggingface/open-r1,
huggingface/trl, hendrycks/math, NVIDIA-NeMo/Skills (as NeMo-Skills) and OpenBMB/OlympiadBench, and `--peers-python`,
an interpreter with `math-verify antlr4-python3-runtime==4.11.0` (OlympiadBench reads LaTeX with sympy, which needs that
version): their graders and the labelled rows of their tests, beside ours.
"""

import argparse
import json
import random
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hostile_answers import GOLDS, KINDS, hostile
from verifier_peers import GRADERS, Grader, labelled_table, side_by_side

from aha.prompts.parsing import last_boxed
from aha.rewards.math.near_misses import near_misses
from aha.rewards.verifier import MathVerifier, gold_fault, is_compared_as_text
from aha.types import Problem, Rollout

PARTS = ("references", "near", "echo", "speed", "hostile", "peers")

REFERENCES: dict[str, Callable[[dict], str | None]] = {
    "math": lambda row: last_boxed(row["solution"]),
    "math500": lambda row: row["answer"],
    "gsm8k": lambda row: row["answer"].split("####")[1].strip(),
    "aime24": lambda row: str(row["answer"]),
    "amc23": lambda row: str(row["answer"]),
    "college_math": lambda row: row["answer"].replace("$", "").strip(),
    "olympiadbench": lambda row: row["final_answer"][0].strip("$"),
    "minerva_math": lambda row: last_boxed(row["solution"]),
    "gaokao2023en": lambda row: row["answer"].replace("$", "").strip(),
    "gaokao_math_cloze": lambda row: row["answer"].replace("$", "").strip(),
    "carp_en": lambda row: row["answer"],
    "cmath": lambda row: str(row["answer"]),
    "asdiv": lambda row: row["answer"],
    "svamp": lambda row: str(row["Answer"]),
    "mawps": lambda row: str(row["target"]),
}
"""The reference answer of a row of each set."""

NOTATIONS: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "dollars": lambda text: f"${text}$",
    "dfrac": lambda text: text.replace("\\frac", "\\dfrac"),
    "spaces": lambda text: text.replace("+", " + ").replace("=", " = "),
    "display": lambda text: f"\\[{text}\\]",
    "sizes": lambda text: re.sub(r"\\left|\\right", "", text).replace("(", "\\left(").replace(")", "\\right)"),
}
"""The same answer, written otherwise."""

FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$((?:[^$\\]|\\.)+)\$|\\\[(.+?)\\\]|\\\((.+?)\\\)", re.DOTALL)
"""A formula of a question."""

Pair = tuple[str, str]


def rows_of(path: Path) -> list[dict]:
    """Rows of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def golds_of(folder: Path) -> dict[str, list[str]]:
    """The reference answers of every set that is there."""
    found = {}
    for name, reference in REFERENCES.items():
        path = folder / name / "test.jsonl"
        if path.exists():
            found[name] = [gold for row in rows_of(path) if (gold := reference(row))]
    return found


def beside(pairs: Sequence[Pair], count: int) -> Callable[[Pair], bool] | None:
    """math-verify as a function, or None where it is not asked for."""
    if not count:
        return None
    from math_verify import LatexExtractionConfig, parse, verify

    def judge(pair: Pair) -> bool:
        gold, answer = (
            parse(f"\\boxed{{{text}}}", extraction_config=[LatexExtractionConfig()], parsing_timeout=2) for text in pair
        )
        return bool(gold) and bool(answer) and bool(verify(gold, answer, timeout_seconds=2))

    return judge


def share_of(pairs: Sequence[Pair], count: int, seed: int = 0) -> str:
    """How many of some pairs math-verify takes for equal, as `equal of asked`."""
    judge = beside(pairs, count)
    if judge is None or not pairs:
        return "-"
    asked = random.Random(seed).sample(list(pairs), min(count, len(pairs)))
    return f"{sum(map(judge, asked))} of {len(asked)}"


def references(golds: dict[str, list[str]], count: int) -> list[str]:
    """Every reference against itself in every notation: false negatives."""
    lines = ["| set | references | unreadable | compared as text | refused | refused, share | math-verify: paid |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for name, texts in golds.items():
        readable = [gold for gold in texts if not gold_fault(gold)]
        pairs = [(gold, notation(gold)) for gold in readable for notation in NOTATIONS.values()]
        refused = [pair for pair in pairs if MathVerifier().compare(*pair).kind != "correct"]
        for pair in refused[:5]:
            print(f"refused, {name}: {pair}", file=sys.stderr)
        cells = (
            name,
            len(texts),
            len(texts) - len(readable),
            sum(map(is_compared_as_text, readable)),
            len(refused),
            f"{len(refused) / len(pairs):.2%}",
            share_of(pairs, count),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def near(golds: dict[str, list[str]], count: int, num_pairs: int) -> list[str]:
    """Near misses of all references: what is paid, by the kind of the change, and each of them."""
    texts = [gold for several in golds.values() for gold in several if not gold_fault(gold)]
    verifier = MathVerifier()
    asked: Counter[str] = Counter()
    paid: list[tuple[str, str, str]] = []
    misses = list(near_misses(texts, num_pairs, random.Random(0)))
    for kind, gold, answer in misses:
        asked[kind] += 1
        if verifier.compare(gold, answer).kind == "correct":
            paid.append((kind, gold, answer))
    counts = Counter(kind for kind, _, _ in paid)
    lines = [f"{len(misses)} near misses, {len(paid)} paid; math-verify: "]
    lines[0] += share_of([(gold, answer) for _, gold, answer in misses], count) + " paid"
    lines += ["", "| change | pairs | paid |", "|---|---:|---:|"]
    lines += [f"| {kind} | {asked[kind]} | {counts[kind]} |" for kind in sorted(asked)]
    return [*lines, "", *(f"paid: {kind}: `{gold}` <- `{answer}`" for kind, gold, answer in paid)]


def echo(folder: Path) -> list[str]:
    """Every formula of every question as its answer; MATH-500, a part of MATH, is asked where that is absent."""
    lines = ["| set | questions with formulas | formulas | paid |", "|---|---:|---:|---:|"]
    paid: list[str] = []
    for name, reference in REFERENCES.items():
        path = folder / name / "test.jsonl"
        if not path.exists() or (name == "math500" and (folder / "math" / "test.jsonl").exists()):
            continue
        num_questions = num_formulas = 0
        echoes: list[str] = []
        for row in rows_of(path):
            formulas = formulas_of(question_of(row))
            gold = reference(row)
            if not formulas or not gold or gold_fault(gold):
                continue
            num_questions += 1
            num_formulas += len(formulas)
            echoes += [f"paid, {name}: {line}" for line in echoes_paid(question_of(row), gold, formulas)]
        if num_questions:
            lines.append(f"| {name} | {num_questions} | {num_formulas} | {len(echoes)} |")
        paid += echoes
    return [*lines, "", *paid]


def question_of(row: dict) -> str:
    """The question of a row, under the name that its set gives it."""
    return str(next((row[key] for key in ("problem", "question", "content") if row.get(key)), ""))


def formulas_of(question: str) -> list[str]:
    """The different formulas of a question, between dollars and in displays."""
    found = (next(filter(None, groups)) for groups in FORMULA.findall(question))
    return list(dict.fromkeys(formula for formula in found if formula.strip()))


def echoes_paid(question: str, gold: str, formulas: Sequence[str]) -> list[str]:
    """The formulas of a question that are paid as its answer, each with the reference and the end of the question."""
    verifier = MathVerifier()
    problem = Problem(id="p", question=question, answer=gold, domain="math")
    return [
        f"`{gold}` <- `{formula}` in {question[-400:]!r}"
        for formula in formulas
        if verifier(problem, response(f"\\boxed{{{formula}}}")).kind == "correct"
    ]


def response(text: str) -> Rollout:
    """A response that says a text."""
    import torch

    nothing = torch.zeros(0)
    return Rollout(
        problem_id="p",
        prompt_tokens=nothing.long(),
        tokens=nothing.long(),
        logp=nothing,
        text=text,
        finish="stop",
        policy_version=0,
    )


# Speed


def speed() -> list[str]:
    """Verdicts per second: integers, and a group of 16 answers for each of 32 symbolic references."""
    generator = random.Random(0)
    integers = [(str(generator.randrange(10**6)), f"{generator.randrange(10**6):,}") for _ in range(20_000)]
    groups = list(symbolic(generator, 32, 16))
    lines = []
    for name, pairs in (("integer", integers), ("symbolic", groups)):
        verifier = MathVerifier()
        start = time.process_time()
        verdicts = verifier.compare_all(pairs)
        seconds = time.process_time() - start
        kinds = dict(Counter(verdict.kind for verdict in verdicts))
        lines.append(f"{name}: {len(pairs) / seconds:,.0f} verdicts per CPU second, {kinds}")
    return lines


def symbolic(generator: random.Random, num_golds: int, group_size: int) -> Iterator[Pair]:
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


def fuzz(num_answers: int) -> list[str]:
    """Hostile answers: kinds of verdicts, the slowest one, the memory."""
    generator = random.Random(4)
    verifier = MathVerifier()
    kinds: Counter[str] = Counter()
    slowest: tuple[float, str] = (0.0, "")
    start = time.process_time()
    for index in range(num_answers):
        kind = KINDS[index % len(KINDS)]
        gold, answer = generator.choice(GOLDS), hostile(generator, kind)
        begun = time.process_time()
        verdict = verifier.compare(gold, answer)
        slowest = max(slowest, (time.process_time() - begun, f"{kind}: {answer[:80]!r}"))
        kinds[verdict.kind] += 1
        if verdict.kind == "correct":
            print(f"paid: {gold!r} <- {answer[:200]!r}", file=sys.stderr)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return [
        f"{num_answers} hostile answers in {time.process_time() - start:.0f} CPU seconds: {dict(kinds)}",
        f"slowest {slowest[0]:.3f} s ({slowest[1]}); peak memory of the process {peak_mib} MiB",
        f"escaped: {Path('ESCAPED').exists()}",
    ]


def peers(options: argparse.Namespace, golds: dict[str, list[str]]) -> list[str]:
    """The graders of other projects beside ours: on their labelled rows, on near misses and on references."""
    graders = [Grader(options.peers_python, options.peers, name) for name in options.graders]
    try:
        lines = labelled_table(graders, options.peers)
        return [*lines, "", *side_by_side(graders, golds, NOTATIONS, num_near=2_000, num_pairs=300)]
    finally:
        for grader in graders:
            grader.close()


def main() -> None:
    """Run all and print, or write, the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="default: all; peers where --peers is given")
    parser.add_argument("--num-near", type=int, default=20_000)
    parser.add_argument("--num-hostile", type=int, default=100_000)
    parser.add_argument("--beside", type=int, default=0, help="pairs of each part that math-verify is asked too")
    parser.add_argument("--peers", type=Path, help="a folder with the peers' checkouts")
    parser.add_argument(
        "--peers-python", default=sys.executable, help="an interpreter with the packages of their graders"
    )
    parser.add_argument("--graders", nargs="*", default=GRADERS, choices=GRADERS, help="graders that are asked")
    options = parser.parse_args()
    names = options.parts or [part for part in PARTS if part != "peers" or options.peers]
    if "peers" in names and options.peers is None:
        parser.error("the part peers needs --peers FOLDER")
    golds = golds_of(options.data)
    parts: dict[str, Callable[[], list[str]]] = {
        "references": lambda: references(golds, options.beside),
        "near": lambda: near(golds, options.beside, options.num_near),
        "echo": lambda: echo(options.data),
        "speed": speed,
        "hostile": lambda: fuzz(options.num_hostile),
        "peers": lambda: peers(options, golds),
    }
    for name in names:
        print(f"\n## {name}\n")
        print("\n".join(parts[name]()), flush=True)


if __name__ == "__main__":
    main()
