"""Audits of verifiers and of reward functions: rows whose truth is known, judged as training would judge them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aha.problems.datasets.fields import BadRow, answer_field, find, text_field
from aha.problems.datasets.files import FileRow, read_rows
from aha.problems.datasets.formats import OWN
from aha.prompts.language import words_by_language
from aha.rewards.accuracy import COMPARERS, accuracy
from aha.rewards.audits.attacks import EXAMPLES
from aha.rewards.audits.code import audit_code
from aha.rewards.audits.reward import LabelledResponse, RewardAudit, attack_reward, audit_reward
from aha.rewards.audits.verifier import audit
from aha.rewards.custom import load_reward
from aha.rewards.format import format_reward as zero_format
from aha.rewards.language import language_reward
from aha.rewards.sandbox.sandbox import Sandbox
from aha.rewards.summary import format_reward as summary_format
from aha.rewards.table import RewardFunction, RewardTable, merge_tables
from aha.rewards.verifier import MathVerifier
from aha.types import Problem

__all__ = ["audit_file", "audit_named_reward", "names_reward"]

NUM_WORKERS = 2
_SHOWN_CHARS = 80
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

# `dict.fromkeys` drops the domains that are named twice and keeps the order.
DOMAINS = (*dict.fromkeys(["math", "choice", "text", "countdown", *COMPARERS, OWN]),)
"""Domains of rows that a reward is held against; programs have an audit of their own."""

REWARDS = ("accuracy", "math", "choice", "format", "summary", "language")
"""Rewards of the package by name: the accuracy reward of each domain; that of mathematics, or of multiple choice, for
any; R1-Zero's format; R1's format; the language of the thinking."""


def audit_file(
    path: Path,
    *,
    is_code: bool = False,
    weak_sandbox: bool = False,
    packages: Sequence[str] = (),
    num_shown: int = 20,
) -> tuple[dict[str, Any], str]:
    """Audit the verifier of mathematics, or the sandbox, on a file of labelled rows.

    Args:
        path: JSON lines: `gold`, `answer`, `correct`; or `code`, `tests`, `passes`.
        is_code: whether the rows are code.
        weak_sandbox: run code also where it cannot be isolated well.
        packages: installed packages that the code may import.
        num_shown: disagreements that are listed.

    Returns:
        The figures for programs, and for people.

    Raises:
        ValueError: the file cannot be read, or a row lacks something; says which. Or a package is not installed.
        RuntimeError: the rows are code, and nothing here isolates it, or the packages cannot be imported.
    """
    # The rows are read as they are judged, so a broken one is met inside the audit.
    rows = _rows(path)

    with ExitStack() as stack:
        sandbox = None
        if is_code:
            sandbox = Sandbox(num_workers=NUM_WORKERS, allow_weak=weak_sandbox, packages=packages)
            stack.enter_context(sandbox)

        try:
            return _of_code(rows, sandbox, num_shown) if sandbox else _of_answers(rows, num_shown)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _rows(path: Path) -> Iterator[Mapping[str, object]]:
    """The rows of a file, all of which have to be readable."""
    if not path.exists():
        raise ValueError("there is no such file")

    for row in read_rows(path):
        if row.fault:
            raise ValueError(f"{row.place}: {row.fault}")
        yield row.fields


def _of_answers(rows: Iterator[Mapping[str, object]], num_shown: int) -> tuple[dict[str, Any], str]:
    result = audit(rows, MathVerifier())
    lines = [
        f"rows             {result.num_rows} ({result.num_correct} correct)",
        f"false negatives  {result.false_negatives}",
        f"false positives  {result.false_positives}",
        f"unparsable       {result.unparsable}",
        f"verdicts / s     {result.per_second:.0f}",
    ]

    for miss in result.disagreements[:num_shown]:
        truth = "correct" if miss.correct else "wrong"
        lines.append(f"row {miss.row}: {truth}, judged {miss.kind}: {_short(miss.answer)} for {_short(miss.gold)}")

    return asdict(result), "\n".join(lines)


def _of_code(rows: Iterator[Mapping[str, object]], sandbox: Sandbox, num_shown: int) -> tuple[dict[str, Any], str]:
    result = audit_code(rows, sandbox)
    figures = {
        "num_rows": result.num_rows,
        "false_negatives": result.num_false_negatives,
        "false_positives": result.num_false_positives,
        "unparsable": result.kinds.get("unparsable", 0),
        "timeouts": result.num_timeouts,
        "crashes": result.num_crashes,
        "unsupported": result.num_unsupported,
        "per_second": result.executions_per_second,
        "isolation": sandbox.isolation.strength,
        "disagreements": [asdict(miss) for miss in result.disagreements],
    }

    lines = [f"{name.replace('_', ' '):16} {value}" for name, value in figures.items() if name != "disagreements"]

    for miss in result.disagreements[:num_shown]:
        truth = "passes" if miss.passes else "fails"
        lines.append(f"row {miss.row}: {truth}, judged {miss.verdict.kind}: {miss.verdict.reason}")

    return figures, "\n".join(lines)


def _short(text: str) -> str:
    """The beginning of a text, in one line."""
    # A model wrote it: `repr` escapes line breaks and commands for a terminal.
    flat = repr(text)
    if len(flat) <= _SHOWN_CHARS:
        return flat
    return f"{flat[:_SHOWN_CHARS]} ..."


def _printable(text: str) -> str:
    """A text that a model may have a part in, without line breaks and commands for a terminal."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def names_reward(word: str) -> bool:
    """Whether a word of the command line names a reward function, and not a file of rows."""
    if word.endswith(".py"):
        return True
    # A file of rows may be called like a reward: what exists is a file.
    if Path(word).exists():
        return False
    return ":" in word or word.partition("=")[0] in REWARDS


def audit_named_reward(
    spec: str,
    path: Path | None,
    *,
    beside: Sequence[str] = (),
    threshold: float = 0.5,
    with_attacks: bool = False,
    num_allowed: int = 0,
    num_shown: int = 20,
) -> tuple[dict[str, Any], str]:
    """Hold a reward against labelled rows, and attack it.

    Args:
        spec: `FILE.py:FUNCTION`, `MODULE:FUNCTION` or one of `REWARDS`, with `=WEIGHT` where the weight is not 1.
        path: a data file of rows with `question`, `answer`, `response` and `correct`, if they like `domain` and
            `language`. Without it the reward is attacked on example problems.
        beside: further rewards, written alike; the weighted sum of all is audited.
        threshold: a response counts as rewarded from this reward on.
        with_attacks: attack the reward of each problem of the rows.
        num_allowed: responses with something wrong that still leave the reward fit.
        num_shown: findings that are listed for people.

    Returns:
        The figures for programs, and for people: `num_findings` responses have something wrong, and `is_fit` says
        whether so many are allowed, and no function abstained from everything.

    Raises:
        ValueError: a reward or the file cannot be read, a row lacks something, or a function cannot judge it; says
            which and where.
        RuntimeError: the file needs a package that is not installed.
    """
    table = merge_tables(*(_reward_named(word) for word in (spec, *beside)))
    # A reward for one kind of answer is held against problems of that kind.
    name = spec.partition("=")[0]
    default_domain = name if name in ("math", "choice") else "math"

    if path is None:
        examples = [problem for problem in EXAMPLES if problem.domain == default_domain]
        result = attack_reward(table, examples)
    else:
        try:
            # All rows are read before the first is judged, so that a fault in the last one shows at once.
            rows = list(_labelled_rows(path, default_domain, with_attacks=with_attacks))
            result = audit_reward(table, rows, threshold=threshold, with_attacks=with_attacks)
        except ValueError as error:
            # The fault of a row names the file already, with the row's line.
            names_file = str(path) in str(error)
            raise ValueError(str(error) if names_file else f"{path}: {error}") from error

    has_few_findings = len(result.findings) <= num_allowed
    figures = {
        "reward": spec,
        "beside": list(beside),
        "threshold": threshold,
        # A function that judges nothing would pass every other check.
        "is_fit": has_few_findings and not result.has_silent_function,
        **_figures(result),
    }
    title = " + ".join([spec, *beside])
    return figures, "\n".join(_reward_lines(title, result, num_shown))


def _reward_named(spec: str) -> RewardTable:
    """A reward and its weight, by domain.

    Raises:
        ValueError: it cannot be loaded, or has no such weight.
    """
    name, _, weight_text = spec.partition("=")
    if name not in REWARDS:
        try:
            function, weight = load_reward(spec)
        except ValueError as error:
            # The complaint is written for `aha run --reward`; this command has no such option.
            reason = str(error).removeprefix("--reward ")
            raise ValueError(f"{reason} (rewards of the package: {', '.join(REWARDS)})") from error
        return {domain: {function: weight} for domain in DOMAINS}

    functions: dict[str, RewardFunction] = {
        "accuracy": accuracy,
        "math": MathVerifier(),
        "choice": accuracy,
        "format": zero_format,
        "summary": summary_format,
        "language": language_reward,
    }
    try:
        weight = float(weight_text or 1.0)
    except ValueError:
        raise ValueError(f"{spec}: {weight_text!r} is no weight, write a number") from None
    table = {domain: {functions[name]: weight} for domain in DOMAINS}
    if name == "accuracy":
        # As in training: mathematics has a verifier of its own.
        table["math"] = {functions["math"]: weight}
    return table


def _labelled_rows(path: Path, default_domain: str, *, with_attacks: bool) -> Iterator[LabelledResponse]:
    """The rows of a file, all of which have to be labelled responses."""
    if not path.exists():
        raise ValueError("there is no such file")

    for row in read_rows(path):
        try:
            yield _labelled_row(row, default_domain, with_attacks=with_attacks)
        except BadRow as error:
            raise ValueError(
                f"{row.place}: {error}; each row needs question, answer, response and correct (true or false), and "
                "may have domain and language"
            ) from error


def _labelled_row(row: FileRow, default_domain: str, *, with_attacks: bool) -> LabelledResponse:
    """A row as a labelled response.

    Raises:
        BadRow: it is none; says why.
    """
    if row.fault:
        raise BadRow(row.fault)

    domain = text_field(row.fields, "domain") if "domain" in row.fields else default_domain
    if domain in ("code", "stdio"):
        raise BadRow(f"domain {domain!r}: programs are audited by `aha audit FILE --code`")
    if domain not in DOMAINS:
        raise BadRow(f"no domain {domain!r}: {', '.join(DOMAINS)}")
    if domain == "countdown" and with_attacks:
        raise BadRow("the reference of a countdown problem is no answer to it: leave out the row or --attacks")

    question = text_field(row.fields, "question")
    # A reward of the user's own may do without a reference. The attacks are made from one.
    has_no_answer = domain == OWN and not with_attacks and row.fields.get("answer") in (None, "")
    answer = "" if has_no_answer else answer_field(row.fields, "answer")
    response = find(row.fields, "response")
    is_correct = find(row.fields, "correct")
    if not isinstance(response, str):
        raise BadRow(f"field 'response': {response!r:.80} is no text")
    if not isinstance(is_correct, bool):
        raise BadRow(f"field 'correct': {is_correct!r:.80} is not true or false")

    # JSON can spell half of a surrogate pair, which has no form in UTF-8.
    for name, text in {"question": question, "answer": answer, "response": response}.items():
        if _LONE_SURROGATE.search(text):
            raise BadRow(f"field {name!r} holds half a character (a lone surrogate)")

    words = words_by_language(question)
    language = "zh" if words["zh"] > words["en"] else "en"
    if "language" in row.fields:
        language = text_field(row.fields, "language")
    problem = Problem(id=row.place, question=question, answer=answer, domain=domain, language=language)
    return LabelledResponse(place=row.place, problem=problem, text=response, is_correct=is_correct)


def _figures(result: RewardAudit) -> dict[str, Any]:
    """What an audit of a reward found, for programs."""
    return {
        "num_rows": result.num_rows,
        "num_correct": result.num_correct,
        "false_positives": result.false_positives,
        "false_negatives": result.false_negatives,
        "abstentions": result.abstentions,
        "unstable": result.unstable,
        "exceptions": dict(result.exceptions),
        "num_problems_attacked": result.num_problems,
        "paid_attacks": result.paid_attacks,
        "attacks": {kind: asdict(count) for kind, count in result.attacks.items()},
        "unpaid_honest_answers": result.unpaid_honest,
        "unjudged_honest_answers": result.unjudged_honest,
        "seconds_per_call": {
            "mean": result.mean_seconds,
            "largest": result.largest_seconds,
            "slowest": result.slowest,
        },
        "num_findings": len(result.findings),
        "findings": [asdict(finding) for finding in result.findings],
    }


def _reward_lines(name: str, result: RewardAudit, num_shown: int) -> Iterable[str]:
    """What an audit of a reward found, for people."""
    yield f"reward           {name}"
    if result.num_rows:
        yield f"rows             {result.num_rows} ({result.num_correct} correct)"
        yield f"false positives  {result.false_positives}"
        yield f"false negatives  {result.false_negatives}"

    yield f"abstentions      {result.abstentions}"
    yield f"unstable         {result.unstable}"
    yield f"exceptions       {result.exceptions.total()}"
    for kind, count in result.exceptions.most_common():
        yield f"  {kind}: {count}"

    yield (
        f"time per call    {1000 * result.mean_seconds:.2f} ms on average, "
        f"{1000 * result.largest_seconds:.2f} ms at most ({result.slowest})"
    )

    num_attacks = sum(count.made for count in result.attacks.values())
    if num_attacks:
        yield f"problems         {result.num_problems}"
        yield f"paid attacks     {result.paid_attacks} of {num_attacks}"
    for kind, attack in result.attacks.items():
        if attack.paid:
            yield f"  {kind}: {attack.paid} of {attack.made}"

    yield from _note_lines(result)
    yield from _finding_lines(result, num_shown)


def _note_lines(result: RewardAudit) -> Iterable[str]:
    """What puts the figures of an audit in doubt, for people."""
    if result.unpaid_honest:
        yield (
            f"note: problems whose honest answer earns no more than an empty response: {result.unpaid_honest}; the "
            "reward alone does not teach right answers (audit it --beside accuracy), or reads another form of answer"
        )
    if result.unjudged_honest:
        yield f"note: problems not attacked, as the reward abstains from the honest answer: {result.unjudged_honest}"
    if result.has_silent_function:
        yield "note: a function abstained from every response, as one does that returns nothing"


def _finding_lines(result: RewardAudit, num_shown: int) -> Iterable[str]:
    """The responses on which something is wrong, for people."""
    # One hole can pay for hundreds of attacks; the labelled responses are the user's own and come first.
    ordered = sorted(result.findings, key=lambda finding: bool(finding.attack))
    for finding in ordered[:num_shown]:
        earned = "abstained" if finding.reward is None else f"earned {finding.reward:g}"
        against = "" if finding.honest is None else f" (honest answer: {finding.honest:g})"
        attack = f" [{finding.attack}]" if finding.attack else ""
        faults = ", ".join(finding.faults) + attack
        response = _short(finding.response)
        yield f"{finding.place}: {faults}: {earned}{against}: {response}: {_printable(finding.reason)}"

    if len(result.findings) > num_shown:
        yield f"and {len(result.findings) - num_shown} more; --show N lists more, --json all"
