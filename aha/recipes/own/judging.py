"""Who judges problems: the accuracy reward of each domain, with the format that the prompt asks for."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from aha.evaluation.readability import READABLE
from aha.problems.datasets.formats import OWN
from aha.prompts.parsing import Ending
from aha.prompts.templates import Template, r1, r1_zero
from aha.recipes.own.references import MATHEMATICS
from aha.rewards.accuracy import COMPARERS, accuracy
from aha.rewards.code import CodeReward
from aha.rewards.extraction.reader import AUTO, AnswerReader
from aha.rewards.format import format_reward as zero_format
from aha.rewards.sandbox.sandbox import Sandbox
from aha.rewards.summary import format_reward
from aha.rewards.table import RewardFunction, RewardTable
from aha.rewards.verifier import MathVerifier

__all__ = [
    "READABLE_IN_FILES",
    "built_in_rules",
    "ending_of",
    "judges",
    "reading_in_words",
    "refuse_without_rule",
    "rules_of",
]

FORMATS: Mapping[Ending, RewardFunction] = {"answer": zero_format, "summary": format_reward}
"""The format reward of each ending of a response."""

READABLE_IN_FILES = replace(READABLE, min_consistency=0.9)
"""What counts as readable in responses to problems of files. Words of other languages are rarely told apart for
certain: names and errors get some room."""

CODE = ("code", "stdio")
"""Domains that the sandbox judges."""


def judges(
    domains: Iterable[str],
    stack: ExitStack,
    *,
    allow_weak: bool = False,
    packages: Sequence[str] = (),
    reader: AnswerReader = AUTO,
) -> dict[str, RewardFunction]:
    """The accuracy reward of each domain but `own`; processes that it needs live as long as the stack.

    Args:
        domains: of the problems.
        stack: closes what was opened.
        allow_weak: run code also where it cannot be isolated well.
        packages: installed packages that code may import.
        reader: what of a response counts as its answer; programs are judged as they are.

    Raises:
        RuntimeError: there is code to run, and nothing here isolates it, or the packages cannot be imported.
        ValueError: there is code to run, and a package is not installed; or answers of a domain can never be read.
    """
    functions: dict[str, RewardFunction] = dict.fromkeys(sorted(set(domains) - {OWN}), accuracy)
    functions |= dict.fromkeys(functions.keys() & set(MATHEMATICS), MathVerifier())

    code_domains = functions.keys() & set(CODE)
    # A sandbox starts processes, and is refused where nothing isolates them: only where there is code to run.
    if code_domains:
        sandbox = stack.enter_context(Sandbox(allow_weak=allow_weak, packages=packages))
        functions |= dict.fromkeys(code_domains, CodeReward(sandbox))
    return {domain: reader.judge(function, domain) for domain, function in functions.items()}


def built_in_rules(reader: AnswerReader, form: RewardFunction = zero_format) -> RewardTable:
    """The rewards of the built-in world: accuracy and format with the same weight.

    Args:
        reader: what of a response counts as its answer.
        form: judges the format; R1-Zero's by default.

    Raises:
        ValueError: answers of a domain can never be read.
    """
    return {domain: {reader.judge(accuracy, domain): 1.0, form: 1.0} for domain in COMPARERS}


def reading_in_words(reader: AnswerReader, domains: Iterable[str]) -> list[str]:
    """What counts as the answer where the user has chosen it, for people; nothing where not."""
    if reader.choice == "auto":
        return []
    judged = sorted(set(domains) - {OWN})
    programs = [domain for domain in judged if not reader.reads(domain)]
    note = f"answers are read as --answer {reader.choice} says"
    if not judged:
        return [f"{note}: there are none, since rewards of your own alone judge"]
    return [f"{note}, but not programs (domain {', '.join(programs)})" if programs else note]


def refuse_without_rule(domains: Collection[str]) -> None:
    """Refuse problems of which no rule tells the right responses, where responses are to be kept by rule.

    Raises:
        ValueError: there are some.
    """
    if OWN in domains:
        raise ValueError(f"problems of domain {OWN} have no rule that tells which responses are right")


def ending_of(template: Template) -> Ending | None:
    """What follows the thinking in a response to a template; None where it does not speak of thinking."""
    if template is r1_zero:
        return "answer"
    # The user's template is known by its text; R1's own names no tag.
    return "summary" if template is r1 or "<think>" in template("") else None


def rules_of(functions: Mapping[str, RewardFunction], template: Template, domains: Collection[str] = ()) -> RewardTable:
    """Accuracy with the format that a template asks for: none where it does not speak of thinking.

    Args:
        functions: the accuracy reward of each domain that has one.
        template: the prompt around a question.
        domains: further domains, which get the format alone.
    """
    ending = ending_of(template)
    form: dict[RewardFunction, float] = {} if ending is None else {FORMATS[ending]: 1.0}

    table = {domain: form for domain in domains}
    return table | {domain: {function: 1.0, **form} for domain, function in functions.items()}
