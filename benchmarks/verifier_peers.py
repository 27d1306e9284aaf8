"""The verifier of mathematics beside the graders of other projects: on their labelled rows, and on ours.

Every grader gets the same pairs, each in a process of its own (`verifier_process.py`) with a time limit for a pair.
"""

import json
import random
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from verifier_rows import SUITES, Row, bare, labelled_rows

from aha.rewards.math.near_misses import near_misses
from aha.rewards.verifier import MathVerifier, gold_fault

__all__ = ["GRADERS", "Grader", "labelled_table", "side_by_side"]

GRADERS = ("math-verify", "hendrycks", "NeMo-Skills", "OlympiadBench", "TRL", "open-r1")
PROCESS = Path(__file__).with_name("verifier_process.py")

PAIR_SECONDS = 5.0
START_SECONDS = 60.0
SLOW_SECONDS = 0.020
"""A grader that takes longer for a pair gets fewer of them."""

Pair = tuple[str, str]
Notations = Mapping[str, Callable[[str], str]]


@dataclass
class Grader:
    """A grader of another project in a process; a pair that takes too long is no match, and the process begins again.

    Attributes:
        python: the interpreter whose packages the grader needs.
        folder: the checkouts.
        name: which of `GRADERS`.
        num_timeouts: pairs that took too long so far.
    """

    python: str
    folder: Path
    name: str
    num_timeouts: int = 0
    _process: subprocess.Popen | None = field(default=None, repr=False)

    def judge(self, pairs: Sequence[Pair]) -> list[bool]:
        """Whether each answer is equal to its reference."""
        return [self._verdict(pair) for pair in pairs]

    def seconds(self, pairs: Sequence[Pair]) -> float:
        """Median wall clock of a pair, after a first one that is not counted."""
        self.judge(pairs[:1])
        return statistics.median(_seconds(self.judge, [pair]) for pair in pairs)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._process = None

    def _verdict(self, pair: Pair) -> bool:
        process = self._process
        limit = PAIR_SECONDS
        if process is None:
            command = [self.python, str(PROCESS), str(self.folder), self.name]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            self._process = process
            limit += START_SECONDS

        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(pair) + "\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], limit)[0]:
            self.num_timeouts += 1
            self.close()
            return False
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the grader {self.name} ended: does its checkout lie in {self.folder}?")
        return bool(json.loads(line))


def _seconds(judge: Callable[[Sequence[Pair]], object], pairs: Sequence[Pair]) -> float:
    """Wall clock of verdicts."""
    start = time.perf_counter()
    judge(pairs)
    return time.perf_counter() - start


def ours(pairs: Sequence[Pair]) -> list[bool]:
    """Our verdicts; a reference that cannot be read has no right answer."""
    verifier = MathVerifier()
    return [not gold_fault(gold) and verifier.compare(gold, answer).kind == "correct" for gold, answer in pairs]


def labelled_table(graders: Sequence[Grader], folder: Path) -> list[str]:
    """How many rows of each suite every grader judges as they are labelled; then our own disagreements."""
    names = ["aha", *(grader.name for grader in graders)]
    lines = [f"| suite | rows | left out | {' | '.join(names)} |", f"|---|---:|---:|{'---:|' * len(names)}"]
    disagreements: list[str] = []
    for suite in SUITES:
        rows = labelled_rows(folder, suite)
        kept = [
            Row(gold, answer, row.is_equal) for row in rows if (gold := bare(row.gold)) and (answer := bare(row.answer))
        ]
        pairs = [(row.gold, row.answer) for row in kept]
        verdicts = [ours(pairs), *(grader.judge(pairs) for grader in graders)]
        agreed = [sum(verdict == row.is_equal for verdict, row in zip(one, kept, strict=True)) for one in verdicts]
        lines.append(f"| {suite} | {len(kept)} | {len(rows) - len(kept)} | {' | '.join(map(str, agreed))} |")
        for row, verdict in zip(kept, verdicts[0], strict=True):
            if verdict != row.is_equal:
                label = "equal" if row.is_equal else "different"
                disagreements.append(f"labelled {label}, {suite}: `{row.gold}` <- `{row.answer}`")
    return [*lines, "", *disagreements]


def side_by_side(
    graders: Sequence[Grader], golds: Mapping[str, Sequence[str]], notations: Notations, num_near: int, num_pairs: int
) -> list[str]:
    """False positives on near misses, false negatives on references in other notations, and the time of a verdict.

    The time is the median over single pairs, for other graders with the pipe to their process.

    Args:
        graders: of other projects.
        golds: references by set.
        notations: ways to write the same answer.
        num_near: near misses; a slow grader gets a fifth of them.
        num_pairs: references of each set, in one of the notations each; a slow grader gets a tenth.
    """
    texts = [gold for several in golds.values() for gold in several if not gold_fault(gold)]
    misses = [(gold, answer) for _, gold, answer in near_misses(texts, num_near, random.Random(1))]
    lines = ["| grader | near misses | paid | references | refused | microseconds a verdict | too slow |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")

    seconds = statistics.median(_seconds(ours, [pair]) for pair in misses)
    pairs = notation_pairs(golds, notations, num_pairs)
    counts = (len(misses), sum(ours(misses)), len(pairs), ours(pairs).count(False), f"{seconds * 1e6:.0f}", 0)
    lines.append(f"| aha | {' | '.join(map(str, counts))} |")
    for grader in graders:
        seconds = grader.seconds(misses[:100])
        is_slow = seconds > SLOW_SECONDS
        asked = misses[: num_near // 5] if is_slow else misses
        pairs = notation_pairs(golds, notations, num_pairs // 10 if is_slow else num_pairs)
        paid = sum(grader.judge(asked))
        refused = grader.judge(pairs).count(False)
        lines.append(
            f"| {grader.name} | {len(asked)} | {paid} | {len(pairs)} | {refused} | {seconds * 1e6:.0f} "
            f"| {grader.num_timeouts} |"
        )
        print(lines[-1], file=sys.stderr)
    return lines


def notation_pairs(golds: Mapping[str, Sequence[str]], notations: Notations, num_pairs: int) -> list[Pair]:
    """References of each set with the same answer in one of the notations."""
    generator = random.Random(2)
    pairs = []
    for texts in golds.values():
        readable = [gold for gold in texts if not gold_fault(gold)]
        for gold in generator.sample(readable, min(num_pairs, len(readable))):
            pairs.append((gold, notations[generator.choice(sorted(notations))](gold)))
    return pairs
