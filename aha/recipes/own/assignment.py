"""What a model is set to learn: problems, rewards and prompts, from the built-in world or from the user's files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain

from aha.evaluation.contamination import decontaminate, without_instruction
from aha.problems.datasets.formats import OWN
from aha.problems.datasets.sets import ProblemSet
from aha.problems.datasets.sources import open_splits, split_in_name
from aha.problems.splits import draw_sample, exclude_questions, file_problems, hold_out
from aha.problems.world.questions import TrainingProblems, held_out_problems
from aha.prompts.questions import wording_of
from aha.prompts.templates import Template, r1_zero
from aha.recipes.own.judging import built_in_rules, judges, reading_in_words, rules_of
from aha.recipes.own.own_data import FunctionReward, OwnData
from aha.recipes.own.prompt_lengths import NUM_MEASURED, PromptLimits, prompt_limits
from aha.recipes.own.prompting import named_template
from aha.recipes.own.references import with_readable_references
from aha.recipes.scales import R1ZeroConfig
from aha.rewards.custom import function_reward, load_reward
from aha.rewards.extraction.reader import AnswerReader, answer_reader
from aha.rewards.language import LANGUAGE, load_language_reward
from aha.rewards.table import RULES, RewardFunction, RewardTable, merge_tables
from aha.stages.evaluate import Setting
from aha.stages.task import ProblemSource, Task, Validation
from aha.types import Checkpoint, Problem

__all__ = [
    "Assignment",
    "apart",
    "asked",
    "assigned",
    "ending_in_words",
    "leave_out_long",
    "left_out_in_words",
    "test_files",
    "trained_on_by_name",
    "training_files",
]

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
        trained: the sets of all training problems, where they can be counted.
        judges: the function that tells a right response, by domain of the user's problems.
        stop: texts that end a response.
        left_out: places of the problems that were left out because their prompts are too long, with their lengths.
    """

    problems: ProblemSource
    suites: Mapping[str, Sequence[Problem]]
    watched: Sequence[Problem]
    reward: RewardTable = field(default_factory=lambda: RULES)
    template: Template = r1_zero
    notes: tuple[str, ...] = ()
    trained: tuple[ProblemSet, ...] = ()
    judges: Mapping[str, RewardFunction] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def pool(self) -> Sequence[Problem]:
        """All training problems, where they can be counted."""
        return tuple(chain(*self.trained))

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
    data: OwnData,
    start: Checkpoint,
    scale: R1ZeroConfig,
    *,
    seed: int,
    is_shuffled: bool = False,
) -> Iterator[Assignment]:
    """What a run is set to learn, as long as its verifiers are needed.

    Args:
        data: problems and rewards of the user's own.
        start: the model; its checkpoint holds the chat template.
        scale: how many problems are held out.
        seed: run seed.
        is_shuffled: shuffle the answers of the built-in world, so that there is nothing to learn but the format.

    Raises:
        ValueError: problems, rewards or template cannot be read, or do not go together; says what to change.
        RuntimeError: the problems are code, and nothing here isolates it.
    """
    if is_shuffled and data.problems:
        raise ValueError("the control shuffles the answers of the built-in world: leave --problems out")

    reader = answer_reader(data.answer)
    with ExitStack() as stack:
        template = named_template(data.template, start, system=data.system)
        # Questions of the built-in world get no instruction.
        wording = wording_of(template) if data.problems else list
        limits = prompt_limits(start, scale, template, wording, data.long_prompts)
        if data.problems:
            assignment = _from_files(data, scale, seed, stack, limits, reader)
        else:
            assignment = replace(_built_in(seed, scale, is_shuffled, reader), template=template)
            _measure_built_in(assignment, limits)

        if OWN in assignment.reward and not data.reward:
            raise ValueError(
                f"problems of domain {OWN} are judged by rewards of your own alone: give one with "
                "--reward FILE.py:FUNCTION"
            )

        functions: dict[RewardFunction, float] = dict(_load_reward(spec) for spec in data.reward)
        users_rewards: RewardTable = {domain: functions for domain in assignment.reward}
        reward = merge_tables(assignment.reward, users_rewards)

        stop = data.stop or ()
        notes = (*assignment.notes, *reading_in_words(reader, assignment.reward))
        # An empty list is an answer too: nothing but the end token ends a response then.
        if data.stop is None and limits.tokenizer.stop_strings:
            stop = limits.tokenizer.stop_strings
            notes = (*notes, ending_in_words(stop))
        yield replace(assignment, reward=reward, stop=stop, notes=notes)


def _load_reward(spec: str) -> tuple[RewardFunction, float]:
    """A reward that the user names: the one for language, or a function of their own, given or in a file."""
    if isinstance(spec, FunctionReward):
        return function_reward(spec.function), spec.weight
    name, _, _ = spec.partition("=")
    return load_language_reward(spec) if name == LANGUAGE else load_reward(spec)


def _built_in(seed: int, scale: R1ZeroConfig, is_shuffled: bool, reader: AnswerReader) -> Assignment:
    """The built-in world."""
    return Assignment(
        problems=TrainingProblems(seed=seed, is_shuffled=is_shuffled),
        suites={
            "": held_out_problems("test", scale.evaluation.num_problems),
            "hard": held_out_problems("hard", scale.validation.num_problems),
        },
        watched=held_out_problems("validation", scale.validation.num_problems),
        reward=built_in_rules(reader),
    )


def _measure_built_in(assignment: Assignment, limits: PromptLimits) -> None:
    """Refuse a model with too few positions for the built-in world.

    Raises:
        ValueError: a prompt is too long.
    """
    # --long-prompts is for the user's files. A model that cannot read the world would skip all of it.
    always_stop = replace(limits, on_long="stop", has_choice=False)
    sample = {problem.id: problem for problem in assignment.problems(0, NUM_MEASURED)}

    measured = [("train", list(sample.values())), ("validation", assignment.watched)]
    measured += [("test", problems) for problems in assignment.suites.values()]
    for use, problems in measured:
        always_stop.fitting(ProblemSet(name="built-in", problems=problems), use)


def leave_out_long(sets: list[ProblemSet], use: str, limits: PromptLimits) -> list[str]:
    """Replace each set by its prompts that are short enough, and say where the others stand."""
    left_out: list[str] = []
    for index, problem_set in enumerate(sets):
        sets[index], skipped = limits.fitting(problem_set, use)
        left_out += skipped
    return left_out


def _from_files(
    data: OwnData, scale: R1ZeroConfig, seed: int, stack: ExitStack, limits: PromptLimits, reader: AnswerReader
) -> Assignment:
    """The user's problems: what is evaluated on is never trained on, nor what shares ten words in a row with it."""
    train, watched, test = training_files(data)
    # With test files of their own the others are not evaluated on, and still never trained on.
    set_aside = test if data.test else []
    if data.test:
        test = test_files(data)
    if not test:
        train, test = _divided(train, scale.evaluation.num_problems, "test")
    if not watched:
        train, watched = _divided(train, scale.validation.num_problems, "validation")

    # All are measured before any is drawn, since it is the seed that draws those of training.
    left_out: list[str] = []
    for use, sets in (("train", train), ("validation", watched), ("test", test)):
        left_out += leave_out_long(sets, use, limits)

    notes = [*trained_on_by_name(data), *(problem_set.says for problem_set in (*train, *test))]
    if left_out:
        notes.append(left_out_in_words(left_out))

    # The wording comes after the comparison of questions: its words would be an overlap of all with all.
    held_out = (*test, *watched, *set_aside)
    clean, overlaps = apart(train, held_out)
    notes += overlaps
    trained = [asked(problem_set, limits.wording) for problem_set in clean if len(problem_set)]
    examined = [asked(sample, limits.wording) for sample in draw_sample(test, scale.evaluation.num_problems)]
    for sample, whole in zip(examined, test, strict=True):
        if len(sample) < len(whole):
            drawn = f"{len(sample):,} of {len(whole):,} problems"
            notes.append(f"{whole.name}: evaluated on {drawn}, drawn by a hash of each question")

    suites: dict[str, Sequence[Problem]] = {"": list(chain(*examined))}
    if len(examined) > 1:
        # One file after the other as well, so that the figures of each can be told apart.
        suites |= _named_suites(examined)
    watched_sample = list(chain(*draw_sample(watched, scale.validation.num_problems)))

    domains = {problem.domain for problem in chain(*held_out, *trained)}
    functions = judges(domains, stack, allow_weak=data.weak_sandbox, packages=data.allow_packages, reader=reader)
    return Assignment(
        problems=file_problems(trained, seed=seed),
        suites=suites,
        watched=limits.wording(watched_sample),
        reward=rules_of(functions, limits.template, domains),
        template=limits.template,
        notes=tuple(notes),
        trained=tuple(trained),
        judges=functions,
        left_out=tuple(left_out),
    )


def left_out_in_words(left_out: Sequence[str]) -> str:
    """What was left out because its prompt is too long, for people."""
    shown = ", ".join(left_out[:NUM_SHOWN]) + (" and others" if len(left_out) > NUM_SHOWN else "")
    return f"{len(left_out):,} prompts left out that are too long for the model and the caps: {shown}"


def asked(problems: ProblemSet, wording: Callable[[Sequence[Problem]], Sequence[Problem]]) -> ProblemSet:
    """A set whose questions say how to answer."""
    return replace(problems, problems=wording(problems.problems))


def apart(train: Sequence[ProblemSet], held_out: Sequence[ProblemSet]) -> tuple[list[ProblemSet], list[str]]:
    """The sets for training without what overlaps with a held-out question, and how much that is, for people.

    Raises:
        ValueError: nothing is left; says what the problems share.
    """
    questions = list(chain(*held_out))
    compared = [problem for problems in held_out for problem in without_instruction(problems.problems)]
    clean: list[ProblemSet] = []
    notes: list[str] = []
    examples: list[str] = []
    for problem_set in train:
        rest, same = exclude_questions(problem_set, questions)
        # Generated problems share their form, which is no overlap: only equal questions are left out of them.
        decontaminated = decontaminate(without_instruction(rest.problems), () if problem_set.is_generated else compared)
        ids = {problem.id for problem in decontaminated.kept}
        # Picked by id, since what was compared lacks the instruction that the user's question may have.
        clean.append(replace(rest, problems=[problem for problem in rest if problem.id in ids]))

        examples += [ngram for _, ngram in decontaminated.dropped[:1]]
        num_dropped = len(same) + len(decontaminated.dropped)
        if num_dropped:
            notes.append(
                f"{problem_set.name}: {num_dropped} training problems left out that overlap with held-out ones"
            )

    if not any(len(problem_set) for problem_set in clean):
        shared = f" (they share ten words in a row, such as {examples[0]!r})" if examples else ""
        raise ValueError(
            f"no training problem is left beside the held-out ones{shared}: give more, or other --test files"
        )
    return clean, notes


def training_files(data: OwnData) -> tuple[list[ProblemSet], list[ProblemSet], list[ProblemSet]]:
    """The sets for training, for watching it and for the test, as far as the names of files in folders tell them."""
    sets_by_split: dict[str, list[ProblemSet]] = {"train": [], "validation": [], "test": []}
    for address in data.problems:
        sets = _read(data, address)
        if not {"train", ""} & sets.keys():
            raise ValueError(
                f"{address} holds no training file, only {' and '.join(sets)}: name a file itself to train on it"
            )
        # A file whose name tells no split is for training: the user named it as --problems.
        for split, problem_set in sets.items():
            sets_by_split[split or "train"].append(problem_set)
    return sets_by_split["train"], sets_by_split["validation"], sets_by_split["test"]


def trained_on_by_name(data: OwnData) -> list[str]:
    """What is trained on though its name says that it is kept for tests, for people: a mistake more often than not."""
    splits = {address: split_in_name(address) for address in data.problems}
    return [
        f"{address} is by its name a {split} file, and is trained on: give it as --test unless that is meant"
        for address, split in splits.items()
        if split in ("test", "validation")
    ]


def test_files(data: OwnData) -> list[ProblemSet]:
    """The sets that `test` names: of a folder its test files, or else validation files, or else those of no split."""
    tests = []
    for address in data.test:
        sets = _read(data, address)
        split = next((split for split in ("test", "validation", "") if split in sets), None)
        if split is None:
            raise ValueError(f"{address} holds no test file, only train: name a file itself to test on it")
        tests.append(sets[split])
    return tests


def _read(data: OwnData, address: str) -> dict[str, ProblemSet]:
    """Problem sets at an address by split. The run's seed has no part in it, so that every seed has the same ones."""
    name = data.format.removeprefix("auto")
    sets = open_splits(address, format=name, mapping=data.fields, on_bad=data.bad_rows)
    return {split: with_readable_references(problems, data.bad_rows) for split, problems in sets.items()}


def _named_suites(sets: Sequence[ProblemSet]) -> dict[str, Sequence[Problem]]:
    """Sets by name; a number follows the name of a second set of the same name."""
    suites: dict[str, Sequence[Problem]] = {}
    for problem_set in sets:
        name = problem_set.name
        count = sum(other == name or other.rpartition("_")[0] == name for other in suites)
        suites[f"{name}_{count + 1}" if count else name] = problem_set.problems
    return suites


def _divided(sets: Sequence[ProblemSet], num: int, split: str) -> tuple[list[ProblemSet], list[ProblemSet]]:
    """What is trained on, and what is held out: of each set in proportion to its size, a fifth of it at most."""
    total = sum(map(len, sets))
    train, held_out = [], []
    for problem_set in sets:
        # Rounded up, so that a small set beside a large one is held out of as well.
        share = min(-(-num * len(problem_set) // total), len(problem_set) // 5)
        rest, held_part = problem_set, replace(problem_set, problems=())
        if share:
            rest, held_part = hold_out(problem_set, share, split=split)
        train.append(rest)
        held_out.append(held_part)
    return train, held_out


def ending_in_words(stop: Sequence[str]) -> str:
    """What ends responses where the checkpoint decides it, for people."""
    return f"responses end at {', '.join(map(repr, stop))}, which the checkpoint names; --stop says otherwise"
