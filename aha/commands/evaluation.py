"""Looking at one model: its figures on the built-in world or on a suite, and single responses."""

import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from aha.actors.trainable import DTYPES
from aha.commands.processes import among_peers
from aha.engines.engine import Decoding, Request, sample
from aha.engines.local import LocalEngine
from aha.policy.families import slowness
from aha.policy.pretrained import read_config
from aha.problems.datasets.suites import OpenSuite, open_suite
from aha.problems.world.questions import held_out_problems
from aha.prompts.parsing import parse_response
from aha.prompts.pretrained import read_tokenizer
from aha.prompts.questions import wording_of
from aha.prompts.templates import Template, r1
from aha.prompts.tokenizer import Tokenizer
from aha.recipes.base_model import open_base
from aha.recipes.own.assignment import ending_in_words
from aha.recipes.own.judging import built_in_rules, judges, reading_in_words, rules_of
from aha.recipes.own.prompting import own_template
from aha.recipes.own.references import with_readable_references
from aha.rewards.extraction.reader import AnswerReader, answer_reader
from aha.rewards.format import format_reward as zero_format
from aha.rewards.summary import format_reward
from aha.rewards.table import RewardTable
from aha.runs.folder import RunFolder
from aha.stages.config import EvaluationConfig
from aha.stages.evaluate import CUT_SHARE, Setting, evaluate
from aha.stages.run import Run
from aha.training.checkpoint import read_model
from aha.training.config import Precision
from aha.training.world import World
from aha.types import Checkpoint, Problem, Report

__all__ = ["EvaluationOrder", "SampleOrder", "SuiteOrder", "evaluate_order", "sample_once"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteOrder:
    """A suite to evaluate on, as it is named on the command line.

    Attributes:
        name: as `aha.problems.datasets.suites.open_suite` reads it.
        data: folder of the named suites.
        fields: which fields of a file hold what.
        bad_rows: what a row that cannot be used does.
        weak_sandbox: run code also where it cannot be isolated well.
        packages: installed packages that code may import.
        limit: problems that are taken; all where None.
        num_samples: responses for each; the suite's where None.
        max_new_tokens: length cap of a response; the suite's, as far as the model has positions, where None.
    """

    name: str
    data: Path | None = None
    fields: str = ""
    bad_rows: Literal["stop", "skip"] = "stop"
    weak_sandbox: bool = False
    packages: tuple[str, ...] = ()
    limit: int | None = None
    num_samples: int | None = None
    max_new_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOrder:
    """What to evaluate: the job that the processes of an evaluation share.

    Attributes:
        model: model folder, or its name at the hub; None for the built-in base.
        config: how responses are sampled; a suite says how many.
        seed: of the draws.
        split: which problems of the built-in world, where no suite is given.
        suite: the suite.
        template: the prompt; `auto` takes the one that the model was trained with.
        system: the system message; empty leaves it to the template.
        stop: texts that end a response; those that the model was trained with where None.
        answer: what of a response counts as its answer, as `answer_reader` reads it.
        num_processes: processes that share the work.
        device_name: where they compute, `cpu` or `cuda`.
    """

    model: str | None
    config: EvaluationConfig
    seed: int
    split: str = "test"
    suite: SuiteOrder | None = None
    template: str = "auto"
    system: str = ""
    stop: tuple[str, ...] | None = None
    answer: str = "auto"
    num_processes: int = 1
    device_name: str = "cpu"

    def prepare(self) -> Callable[[World], object]:
        """The evaluation in a process that writes nothing, of the model that is checked here."""
        policy = open_base(self.model)
        return lambda world: _evaluate(self, policy, world)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examined:
    """What a model is evaluated on, how it is sampled and judged, and what to tell the user of it."""

    name: str
    problems: Sequence[Problem]
    config: EvaluationConfig
    reward: RewardTable
    notes: Sequence[str] = ()


def evaluate_order(order: EvaluationOrder) -> tuple[Report, str]:
    """Evaluate a model on held-out problems of the built-in world, or on a suite.

    Returns:
        The figures, and what was read and what to beware of, in words.

    Raises:
        ValueError: model, suite or `answer` cannot be read, or the samples cannot be shared out by the processes.
        RuntimeError: the suite is code, and nothing here isolates it; or another process ended.
    """
    # Wrong use is refused before a model is read. How a suite is sampled is known only once it is opened.
    answer_reader(order.answer)
    if order.suite is None:
        _check_share(order, order.config.num_samples)
    policy = open_base(order.model)
    _announce(policy)

    # One process alone keeps the threads of torch; among several each has one.
    if order.num_processes == 1:
        return _evaluate(order, policy, World(device=order.device_name))
    with among_peers(order) as world:
        return _evaluate(order, policy, world)


def _announce(policy: Checkpoint) -> None:
    """Say before the first response that it will take longer than one of a known family, where that is so."""
    notice = slowness(read_config(policy.path))
    if notice:
        print(f"aha: {notice}", file=sys.stderr)


def _check_share(order: EvaluationOrder, num_samples: int) -> None:
    """Make sure that every process takes an equal part of the samples.

    Raises:
        ValueError: it cannot.
    """
    if num_samples % order.num_processes:
        raise ValueError(f"--samples {num_samples} cannot be shared out evenly by --processes {order.num_processes}")


def _evaluate(order: EvaluationOrder, policy: Checkpoint, world: World) -> tuple[Report, str]:
    """The evaluation as each process does it, outside of any run."""
    template = own_template(policy, order.template, system=order.system)
    stop = _stop_strings(policy, order.stop)
    reader = answer_reader(order.answer)
    with ExitStack() as stack:
        if order.suite is None:
            examined = _of_world(order, policy, template, reader)
        else:
            examined = _of_suite(order, order.suite, policy, template, stack, reader)

        notes = [*examined.notes, *reading_in_words(reader, examined.reward)]
        # The user did not ask for these strings, and a response that ends early may surprise.
        if stop and order.stop is None:
            notes.append(ending_in_words(stop))

        # A stage writes into a run folder. Nothing of this one is needed afterwards.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aha-")))
        report = evaluate(
            Run(folder=RunFolder(folder, is_writer=world.is_first), seed=order.seed, world=world),
            examined.name,
            policy=policy,
            problems=examined.problems,
            config=examined.config,
            setting=Setting(template=template, reward=examined.reward, stop=stop),
        )

    notes += _warnings(report)
    return report, "; ".join(note for note in notes if note)


def _of_world(order: EvaluationOrder, policy: Checkpoint, template: Template, reader: AnswerReader) -> _Examined:
    """Held-out problems of the built-in world.

    Raises:
        ValueError: a prompt leaves too few positions for a response, or answers of a domain can never be read.
    """
    problems = held_out_problems(order.split, order.config.num_problems)
    capacity = _capacity(policy, [template(problem.question) for problem in problems])
    if order.config.max_new_tokens > capacity:
        raise ValueError(f"split {order.split}: its longest {_shortage(policy, capacity)}")

    # The format that is measured is the one that the prompt asks for.
    reward = built_in_rules(reader, format_reward if template is r1 else zero_format)
    return _Examined(name=order.split, problems=problems, config=order.config, reward=reward)


def _of_suite(
    order: EvaluationOrder,
    suite: SuiteOrder,
    policy: Checkpoint,
    template: Template,
    stack: ExitStack,
    reader: AnswerReader,
) -> _Examined:
    """The problems of a suite; processes that judge them live as long as the stack.

    Raises:
        ValueError: the suite cannot be read, a prompt leaves no position for a response, or the samples cannot be
            shared out, or answers of a domain can never be read.
        RuntimeError: the suite is code, and nothing here isolates it.
    """
    opened = _opened(suite)
    # R1-Zero's template says itself how to answer, as in its training.
    problems = wording_of(template)(opened.problems.problems)
    prompts = [template(problem.question) for problem in problems]
    config = _suite_config(order, opened, policy, prompts)

    domains = {problem.domain for problem in problems}
    functions = judges(domains, stack, allow_weak=suite.weak_sandbox, packages=suite.packages, reader=reader)
    return _Examined(
        name=opened.suite.name,
        problems=problems,
        config=config,
        reward=rules_of(functions, template),
        notes=(opened.problems.says, opened.note),
    )


def _stop_strings(policy: Checkpoint, stop: tuple[str, ...] | None) -> tuple[str, ...]:
    """Texts that end a response: those given, or else those that the model was trained with."""
    if stop is not None:
        return stop
    return _tokenizer(policy).stop_strings


def _tokenizer(policy: Checkpoint) -> Tokenizer:
    """The tokenizer of a model, without its weights."""
    return read_tokenizer(policy.path, room=read_config(policy.path).vocab_size)


def _opened(suite: SuiteOrder) -> OpenSuite:
    """The suite of an order."""
    opened = open_suite(suite.name, data=suite.data, mapping=suite.fields, on_bad=suite.bad_rows, limit=suite.limit)
    return replace(opened, problems=with_readable_references(opened.problems, suite.bad_rows))


def _suite_config(
    order: EvaluationOrder, opened: OpenSuite, policy: Checkpoint, prompts: Sequence[str]
) -> EvaluationConfig:
    """How a suite is sampled: its own numbers where the order names none.

    Raises:
        ValueError: a prompt leaves no position for a response, or the samples cannot be shared out.
    """
    suite = order.suite
    assert suite is not None
    # The papers' caps are longer than many models have positions; what the user asks for is taken or refused.
    capacity = _capacity(policy, prompts)
    max_new_tokens = suite.max_new_tokens or min(opened.suite.max_new_tokens, capacity)
    if max_new_tokens > capacity or max_new_tokens < 1:
        raise ValueError(
            f"suite {opened.suite.name}: its longest {_shortage(policy, capacity)}, or leave out the longest problems"
        )

    num_samples = suite.num_samples or opened.suite.num_samples
    _check_share(order, num_samples)
    numbers = {"num_problems": len(prompts), "num_samples": num_samples, "max_new_tokens": max_new_tokens}
    return order.config.model_copy(update=numbers)


def _capacity(policy: Checkpoint, prompts: Sequence[str]) -> int:
    """Tokens that the longest prompt leaves for a response; 0 or less where there are none."""
    longest = max(len(token_ids) for token_ids in _tokenizer(policy).encode_prompts(prompts))
    return read_config(policy.path).max_position_embeddings - longest


def _shortage(policy: Checkpoint, capacity: int) -> str:
    """What is wrong where a prompt leaves fewer tokens than are asked for; begins with the word `prompt`."""
    positions = read_config(policy.path).max_position_embeddings
    return (
        f"prompt has {positions - capacity} tokens and the model {positions:,} positions, which leaves "
        f"{max(capacity, 0)} for a response: lower --max-new-tokens"
    )


def _warnings(report: Report) -> list[str]:
    """What makes the figures of an evaluation mean less than they seem to."""
    cut = report.row("truncated").value
    cap = report.decoding["max_new_tokens"]

    if cut <= CUT_SHARE:
        return []
    return [
        f"WARNING: {cut:.0%} of the responses are cut at {cap:,} tokens and count as wrong: raise --max-new-tokens, "
        "as far as the model's positions go"
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleOrder:
    """A response to sample.

    Attributes:
        model: model folder, or its name at the hub; None for the built-in base.
        prompt: text given as it is; or
        question: a question to put into the template.
        decoding: length, temperature and nucleus; what ends the response stands in `stop`.
        seed: of the draws.
        template: the prompt around the question; `auto` takes the one that the model was trained with.
        system: the system message; empty leaves it to the template.
        stop: texts that end the response; those that the model was trained with where None.
        device: where it computes.
        precision: type of the weights that compute.
    """

    model: str | None
    prompt: str | None = None
    question: str | None = None
    decoding: Decoding
    seed: int
    template: str = "auto"
    system: str = ""
    stop: tuple[str, ...] | None = None
    device: str = "cpu"
    precision: Precision = "float32"


def sample_once(order: SampleOrder) -> dict[str, Any]:
    """One response of a model.

    Returns:
        `prompt`, `prompt_tokens`, `tokens` (the end token included), `text`, its `thinking` and `summary`, `finish`,
        and `unknown`, the words that the vocabulary lacks.

    Raises:
        ValueError: the model cannot be read, or the prompt is empty or leaves too few positions for the response.
    """
    start = open_base(order.model)
    _announce(start)
    text = order.prompt
    if text is None:
        text = own_template(start, order.template, system=order.system)(order.question or "")

    capacity = _capacity(start, [text])
    if order.decoding.max_new_tokens > capacity:
        raise ValueError(f"the {_shortage(start, capacity)}, or shorten the prompt")

    policy, tokenizer = read_model(start.path, device=order.device, dtype=DTYPES[order.precision])
    if not len(tokenizer.encode_prompt(text)):
        raise ValueError("the prompt has no token: give one at least")

    stop = tokenizer.stop_strings if order.stop is None else order.stop
    decoding = replace(order.decoding, stop=stop)
    request = Request(id="sample", prompt=text, seed=(order.seed, "sample"), decoding=decoding)
    [[rollout]] = sample(LocalEngine(policy, tokenizer), [request], 1)

    parsed = parse_response(rollout.text)
    return {
        "prompt": text,
        "prompt_tokens": rollout.prompt_tokens.tolist(),
        "tokens": rollout.tokens.tolist(),
        "text": rollout.text,
        "thinking": parsed.thinking,
        "summary": parsed.summary,
        "finish": rollout.finish,
        "unknown": tokenizer.unknown_words(text),
    }
