"""What a model is set to learn: problems, rewards and prompts, from the built-in world or from the user's files."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain

from aha.evaluation.contamination import decontaminate, without_instruction
from aha.policy.pretrained import read_config
from aha.problems.datasets.formats import OWN
from aha.problems.datasets.sets import ProblemSet
from aha.problems.datasets.sources import open_splits, split_in_name
from aha.problems.splits import draw_sample, exclude_questions, file_problems, hold_out
from aha.problems.world.questions import TrainingProblems, held_out_problems
from aha.prompts.chat import chat
from aha.prompts.pretrained import read_tokenizer
from aha.prompts.questions import add_instructions
from aha.prompts.templates import Template, bare, r1, r1_zero, template_of
from aha.recipes.own.own_data import OwnData, TemplateName
from aha.recipes.own.prompt_lengths import NUM_MEASURED, PromptLimits, prompt_limits
from aha.recipes.own.references import MATHEMATICS, with_readable_references
from aha.recipes.scales import R1ZeroConfig
from aha.rewards.accuracy import accuracy
from aha.rewards.code import CodeReward
from aha.rewards.custom import load_reward
from aha.rewards.format import format_reward as zero_format
from aha.rewards.language import LANGUAGE, load_language_reward
from aha.rewards.sandbox.sandbox import Sandbox
from aha.rewards.summary import format_reward
from aha.rewards.table import RULES, RewardFunction, RewardTable, merge_tables
from aha.rewards.verifier import MathVerifier
from aha.stages.evaluate import Setting
from aha.stages.task import ProblemSource, Task, Validation
from aha.types import Checkpoint, Problem

__all__ = ["Assignment", "assigned", "ending_in_words", "judges", "named_template", "rules_of"]

CODE = ("code", "stdio")
"""Domains that the sandbox judges."""

NUM_SHOWN = 5
"""Places of problems that were left out that a note names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What R1-Zero is trained and evaluated on.

    Attributes:
        problems: the training problems of each iteration.
        suites: held-out problems by name; the suite without a name is the test itself.
        watched: held-out problems on which training is watched.
        reward: reward functions and weights by domain.
        template: the prompt around a question.
        notes: what was read and left out, for people.
        pool: all training problems, where they can be counted.
        stop: texts that end a response.
        left_out: places of the problems that were left out because their prompts are too long, with their lengths.
    """

    problems: ProblemSource
    suites: Mapping[str, Sequence[Problem]]
    watched: Sequence[Problem]
    reward: RewardTable = field(default_factory=lambda: RULES)
    template: Template = r1_zero
    notes: tuple[str, ...] = ()
    pool: Sequence[Problem] = ()
    stop: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def setting(self) -> Setting:
        """How its suites are evaluated."""
        return Setting(template=self.template, reward=self.reward, stop=self.stop)

    def task(self, scale: R1ZeroConfig) -> Task:
        """The task of its training."""
        validation = Validation(problems=self.watched, config=scale.validation)
        return Task(
            problems=self.problems,
            reward=self.reward,
            validation=validation,
            template=self.template,
            stop=self.stop,
        )


@contextmanager
def assigned(
    own: OwnData,
    start: Checkpoint,
    scale: R1ZeroConfig,
    *,
    seed: int,
    is_shuffled: bool = False,
) -> Iterator[Assignment]:
    """What a run is set to learn, as long as its verifiers are needed.

    Args:
        own: problems and rewards of the user's own.
        start: the model; its checkpoint holds the chat template.
        scale: how many problems are held out.
        seed: run seed.
        is_shuffled: shuffle the answers of the built-in world, so that there is nothing to learn but the format.

    Raises:
        ValueError: problems, rewards or template cannot be read, or do not go together; says what to change.
        RuntimeError: the problems are code, and nothing here isolates it.
    """
    if is_shuffled and own.problems:
        raise ValueError("the control shuffles the answers of the built-in world: leave --problems out")
    with ExitStack() as stack:
        template = named_template(own.template, start)
        wording = add_instructions if own.problems and template is not r1_zero else list
        limits = prompt_limits(start, scale, template, wording, own.long_prompts)
        if own.problems:
            assignment = _from_files(own, scale, seed, stack, limits)
        else:
            assignment = replace(_built_in(seed, scale, is_shuffled), template=template)
            _measure_built_in(assignment, limits)
        if OWN in assignment.reward and not own.reward:
            raise ValueError(
                f"problems of domain {OWN} are judged by rewards of your own alone: give one with "
                "--reward FILE.py:FUNCTION"
            )
        functions: dict[RewardFunction, float] = dict(_load_reward(spec) for spec in own.reward)
        mine: RewardTable = {domain: functions for domain in assignment.reward}
        stop, notes = own.stop or (), assignment.notes
        if own.stop is None and limits.tokenizer.stop_strings:
            stop = limits.tokenizer.stop_strings
            notes = (*notes, ending_in_words(stop))
        yield replace(assignment, reward=merge_tables(assignment.reward, mine), stop=stop, notes=notes)


def _load_reward(spec: str) -> tuple[RewardFunction, float]:
    """A reward that the command line names: the one for language, or a function of the user's own."""
    return load_language_reward(spec) if spec.partition("=")[0] == LANGUAGE else load_reward(spec)


def _built_in(seed: int, scale: R1ZeroConfig, is_shuffled: bool) -> Assignment:
    """The built-in world."""
    return Assignment(
        problems=TrainingProblems(seed=seed, is_shuffled=is_shuffled),
        suites={
            "": held_out_problems("test", scale.evaluation.num_problems),
            "hard": held_out_problems("hard", scale.validation.num_problems),
        },
        watched=held_out_problems("validation", scale.validation.num_problems),
    )


def _measure_built_in(assignment: Assignment, limits: PromptLimits) -> None:
    """Refuse a model with too few positions for the built-in world.

    Raises:
        ValueError: a prompt is too long.
    """
    always_stop = replace(limits, on_long="stop", has_choice=False)
    sample = {problem.id: problem for problem in assignment.problems(0, NUM_MEASURED)}
    always_stop.fitting(ProblemSet(name="built-in", problems=list(sample.values())), "train")
    always_stop.fitting(ProblemSet(name="built-in", problems=assignment.watched), "validation")
    for problems in assignment.suites.values():
        always_stop.fitting(ProblemSet(name="built-in", problems=problems), "test")


def _leave_out_long(sets: list[ProblemSet], use: str, limits: PromptLimits) -> list[str]:
    """Replace each set by its prompts that are short enough, and say where the others stand."""
    left_out: list[str] = []
    for index, one in enumerate(sets):
        sets[index], places = limits.fitting(one, use)
        left_out += places
    return left_out


def _from_files(own: OwnData, scale: R1ZeroConfig, seed: int, stack: ExitStack, limits: PromptLimits) -> Assignment:
    """The user's problems: what is evaluated on is never trained on, nor what shares ten words in a row with it."""
    train, watched, test = _training_files(own)
    # With test files of their own the others are not evaluated on, and still never trained on.
    set_aside = test if own.test else []
    if own.test:
        test = _test_files(own)
    if not test:
        train, test = _divided(train, scale.evaluation.num_problems, "test")
    if not watched:
        train, watched = _divided(train, scale.validation.num_problems, "validation")

    left_out = [
        place
        for use, sets in (("train", train), ("validation", watched), ("test", test))
        for place in _leave_out_long(sets, use, limits)
    ]
    held_out = [*chain(*test), *chain(*watched), *chain(*set_aside)]
    notes = [*_trained_on_by_name(own), *(one.says for one in (*train, *test))]
    if left_out:
        shown = ", ".join(left_out[:NUM_SHOWN]) + (" and others" if len(left_out) > NUM_SHOWN else "")
        notes.append(f"{len(left_out):,} prompts left out that are too long for the model and the caps: {shown}")
    kept, overlaps = _apart(train, (*test, *watched, *set_aside))
    notes += overlaps
    ask = limits.wording
    asked = [replace(one, problems=ask(one.problems)) for one in kept if len(one)]
    examined = [replace(one, problems=ask(one.problems)) for one in draw_sample(test, scale.evaluation.num_problems)]
    notes += [
        f"{one.name}: evaluated on {len(part):,} of {len(one):,} problems, drawn by a hash of each question"
        for part, one in zip(examined, test, strict=True)
        if len(part) < len(one)
    ]
    suites: dict[str, Sequence[Problem]] = {"": list(chain(*examined))}
    if len(examined) > 1:
        # One file after the other as well, so that the figures of each can be told apart.
        suites |= _named_suites(examined)
    problems = file_problems(asked, seed=seed)
    domains = {problem.domain for problem in chain(held_out, *asked)}
    functions = judges(domains, stack, allow_weak=own.weak_sandbox, packages=own.allow_packages)
    return Assignment(
        problems=problems,
        suites=suites,
        watched=ask(list(chain(*draw_sample(watched, scale.validation.num_problems)))),
        reward=rules_of(functions, limits.template, domains),
        template=limits.template,
        notes=tuple(notes),
        pool=tuple(chain(*asked)),
        left_out=tuple(left_out),
    )


def _apart(train: Sequence[ProblemSet], held_out: Sequence[ProblemSet]) -> tuple[list[ProblemSet], list[str]]:
    """The sets for training without what overlaps with a held-out question, and how much that is, for people.

    Raises:
        ValueError: nothing is left; says what the problems share.
    """
    questions = list(chain(*held_out))
    compared = [problem for one in held_out for problem in without_instruction(one.problems)]
    kept, notes, examples = [], list[str](), list[str]()
    for one in train:
        apart, same = exclude_questions(one, questions)
        clean = decontaminate(without_instruction(apart.problems), () if one.is_generated else compared)
        ids = {problem.id for problem in clean.kept}
        kept.append(replace(apart, problems=[problem for problem in apart if problem.id in ids]))
        examples += [ngram for _, ngram in clean.dropped[:1]]
        num_dropped = len(same) + len(clean.dropped)
        if num_dropped:
            notes.append(f"{one.name}: {num_dropped} training problems left out that overlap with held-out ones")
    if not any(len(one) for one in kept):
        shared = f" (they share ten words in a row, such as {examples[0]!r})" if examples else ""
        raise ValueError(
            f"no training problem is left beside the held-out ones{shared}: give more, or other --test files"
        )
    return kept, notes


def _training_files(own: OwnData) -> tuple[list[ProblemSet], list[ProblemSet], list[ProblemSet]]:
    """The sets for training, for watching it and for the test, as far as the names of files in folders tell them."""
    found: dict[str, list[ProblemSet]] = {"train": [], "validation": [], "test": []}
    for address in own.problems:
        sets = _read(own, address)
        if not {"train", ""} & sets.keys():
            raise ValueError(
                f"{address} holds no training file, only {' and '.join(sets)}: name a file itself to train on it"
            )
        for split, one in sets.items():
            found[split or "train"].append(one)
    return found["train"], found["validation"], found["test"]


def _trained_on_by_name(own: OwnData) -> list[str]:
    """What is trained on though its name says that it is kept for tests, for people: a mistake more often than not."""
    splits = {address: split_in_name(address) for address in own.problems}
    return [
        f"{address} is by its name a {split} file, and is trained on: give it as --test unless that is meant"
        for address, split in splits.items()
        if split in ("test", "validation")
    ]


def _test_files(own: OwnData) -> list[ProblemSet]:
    """The sets that `test` names: of a folder its test files, or else validation files, or else those of no split."""
    found = []
    for address in own.test:
        sets = _read(own, address)
        split = next((split for split in ("test", "validation", "") if split in sets), None)
        if split is None:
            raise ValueError(f"{address} holds no test file, only train: name a file itself to test on it")
        found.append(sets[split])
    return found


def _read(own: OwnData, address: str) -> dict[str, ProblemSet]:
    """Problem sets at an address by split. The run's seed has no part in it, so that every seed has the same ones."""
    name = own.format.removeprefix("auto")
    sets = open_splits(address, format=name, mapping=own.fields, on_bad=own.bad_rows)
    return {split: with_readable_references(one, own.bad_rows) for split, one in sets.items()}


def _named_suites(sets: Sequence[ProblemSet]) -> dict[str, Sequence[Problem]]:
    """Sets by name; a number follows the name of a second set of the same name."""
    suites: dict[str, Sequence[Problem]] = {}
    for one in sets:
        count = sum(name.rpartition("_")[0] == one.name or name == one.name for name in suites)
        suites[f"{one.name}_{count + 1}" if count else one.name] = one.problems
    return suites


def _divided(sets: Sequence[ProblemSet], num: int, split: str) -> tuple[list[ProblemSet], list[ProblemSet]]:
    """What is trained on, and what is held out: of each set in proportion to its size, a fifth of it at most."""
    total, parts = sum(map(len, sets)), []
    for one in sets:
        share = min(-(-num * len(one) // total), len(one) // 5)
        if share:
            parts.append(hold_out(one, share, split=split))
        else:
            parts.append((one, replace(one, problems=())))
    return [train for train, _ in parts], [held for _, held in parts]


def judges(
    domains: Iterable[str], stack: ExitStack, *, allow_weak: bool = False, packages: Sequence[str] = ()
) -> dict[str, RewardFunction]:
    """The accuracy reward of each domain but `own`; processes that it needs live as long as the stack.

    Args:
        domains: of the problems.
        stack: closes what was opened.
        allow_weak: run code also where it cannot be isolated well.
        packages: installed packages that code may import.

    Raises:
        RuntimeError: there is code to run, and nothing here isolates it, or the packages cannot be imported.
        ValueError: there is code to run, and a package is not installed.
    """
    found: dict[str, RewardFunction] = dict.fromkeys(sorted(set(domains) - {OWN}), accuracy)
    found |= dict.fromkeys(found.keys() & set(MATHEMATICS), MathVerifier())
    if found.keys() & set(CODE):
        sandbox = stack.enter_context(Sandbox(allow_weak=allow_weak, packages=packages))
        found |= dict.fromkeys(found.keys() & set(CODE), CodeReward(sandbox))
    return found


def rules_of(functions: Mapping[str, RewardFunction], template: Template, domains: Collection[str] = ()) -> RewardTable:
    """Accuracy with the format that a template asks for: none where it does not speak of thinking.

    Args:
        functions: the accuracy reward of each domain that has one.
        template: the prompt around a question.
        domains: further domains, which get the format alone.
    """
    form = (
        zero_format if template is r1_zero else format_reward if "<think>" in template("") or template is r1 else None
    )
    form_alone: dict[RewardFunction, float] = {form: 1.0} if form else {}
    table = {domain: form_alone for domain in domains}
    return table | {domain: {one: 1.0, **form_alone} for domain, one in functions.items()}


def ending_in_words(stop: Sequence[str]) -> str:
    """What ends responses where the checkpoint decides it, for people."""
    return f"responses end at {', '.join(map(repr, stop))}, which the checkpoint names; --stop says otherwise"


def named_template(name: TemplateName, model: Checkpoint) -> Template:
    """A template by its name.

    Args:
        name: `chat` is the checkpoint's own, `auto` is R1-Zero's.
        model: the checkpoint.

    Raises:
        ValueError: the checkpoint has no tokenizer or no chat template, or that cannot be understood.
    """
    if name == "chat":
        tokenizer = read_tokenizer(model.path, room=read_config(model.path).vocab_size)
        if not tokenizer.chat_template:
            raise ValueError(
                f"--template chat: {model.path} has no chat template (chat_template.jinja, or chat_template in "
                "tokenizer_config.json); take r1_zero, r1 or bare"
            )
        # Wording and format reward go by the template, so one of ours is known again where a checkpoint names it.
        return template_of(tokenizer.chat_template, beginning=tokenizer.beginning) or chat(tokenizer)
    return {"auto": r1_zero, "r1_zero": r1_zero, "r1": r1, "bare": bare}[name]
