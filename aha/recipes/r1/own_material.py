"""The user's own files as what R1 is made from: what is given is used, and an arrow without data is left out.

Source: DeepSeek-R1, arXiv:2501.12948v2, Figure 2, section 3 and B.3.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

from aha.evaluation.readability import READABLE
from aha.problems.datasets.sets import ProblemSet
from aha.problems.responses.demonstrations import DemonstrationSet, read_demonstrations
from aha.problems.splits import draw_sample, file_problems
from aha.prompts.parsing import parse_response
from aha.prompts.questions import wording_of
from aha.prompts.templates import Template, r1_zero
from aha.recipes.own.assignment import Assignment, asked, assigned, leave_out_long, left_out_in_words
from aha.recipes.own.examination import without_overlaps
from aha.recipes.own.judging import READABLE_IN_FILES, refuse_without_rule
from aha.recipes.own.prompt_lengths import PromptLimits
from aha.recipes.own.prompting import named_template
from aha.recipes.r1.assistant import summed_up
from aha.recipes.r1.examination import Examination
from aha.recipes.r1.material import GeneralPrompts, Material
from aha.recipes.r1.options import R1Options
from aha.recipes.r1.own_limits import check_students, fitting, limits_of_later
from aha.recipes.r1.own_rewards import GivenPreferences
from aha.recipes.r1.scales import R1Config
from aha.rewards.format import format_reward as zero_format
from aha.rewards.language import LANGUAGE, language_reward
from aha.rewards.summary import format_reward
from aha.rewards.table import RewardTable, merge_tables
from aha.stages.groups import nothing_known
from aha.stages.harvests.rejection import Editor, Rejection, Sampling
from aha.stages.task import Task, Validation
from aha.types import Checkpoint, Demonstration

__all__ = ["own_material"]

WITHOUT_THINKING = "<think>\n\n</think>\n\n"
"""What a response to a general prompt begins with where it was given without thinking. R1's own does so where a
question needs none (v2, B.3.3: no chain of thought for simple queries)."""


def own_material(
    options: R1Options,
    models: Sequence[Checkpoint],
    scale: R1Config,
    stack: ExitStack,
    *,
    seed: int,
    editor: Editor = summed_up,
) -> Material:
    """Read the user's files, and choose what each stage works on.

    Args:
        options: the files, and how they are read.
        models: the base model, then the students, if there are any.
        scale: how much of everything.
        stack: closes the verifiers, which are processes of their own.
        seed: run seed, which orders the problems.
        editor: rewrites the cold start.

    Raises:
        ValueError: a file cannot be read, prompts are too long, or no rule tells which responses are right.
        RuntimeError: the problems are code, and nothing here isolates it.
    """
    base = models[0]
    # R1-Zero has a prompt of its own, whatever later models are asked in.
    zero_data = replace(options.own, template="r1_zero", system="")
    zero_scale = scale.zero.without_training() if options.demonstrations else scale.zero
    assignment = stack.enter_context(assigned(zero_data, base, zero_scale, seed=seed))
    refuse_without_rule(assignment.reward)

    def prompt(model: Checkpoint) -> Template:
        name = "r1" if options.own.template == "auto" else options.own.template
        return named_template(name, model, system=options.own.system)

    template = prompt(base)
    notes = list(assignment.notes)
    assignment = fitting(assignment, base, template, scale, options, notes)
    check_students(models[1:], prompt, assignment, scale, compares=options.compare)
    own = _Own(options=options, scale=scale, seed=seed, template=template, assignment=assignment, notes=notes)

    general = own.general()
    given = GivenPreferences.read(options, template)
    notes += given.notes
    return Material(
        zero=replace(assignment.task(scale.zero), problems=file_problems(assignment.trained, seed=seed)),
        reasoning=own.reasoning,
        rules=own.rules,
        exam=own.examination,
        cold=own.given_cold_start() if options.demonstrations else own.asked_of_zero(editor),
        kept=own.asked_of_dev2(),
        general=general,
        prompts=own.prompts(given.prompts(general), limits_of_later(base, template, scale, options)),
        reward_models=lambda run, dev3: given.train(run, dev3, scale.rewards.training),
        prompt=prompt,
        compares=options.compare,
        makes_students=False,
        notes=notes,
    )


@dataclass(frozen=True, kw_only=True)
class _Own:
    """The files of a run, as far as they are read.

    Attributes:
        options: how they are read.
        scale: how much of everything.
        seed: run seed.
        template: the prompt of all models after R1-Zero.
        assignment: the reasoning problems, as R1-Zero is asked.
        notes: what was read and left out, for people; grows.
    """

    options: R1Options
    scale: R1Config
    seed: int
    template: Template
    assignment: Assignment
    notes: list[str]

    @property
    def rules(self) -> RewardTable:
        """The same rewards as R1-Zero's, but for the format."""
        return {
            domain: {format_reward if function is zero_format else function: weight for function, weight in row.items()}
            for domain, row in self.assignment.reward.items()
        }

    @cached_property
    def pool(self) -> Sequence[ProblemSet]:
        """The training problems as models after R1-Zero are asked: with an instruction how to answer."""
        return [asked(problems, wording_of(self.template)) for problems in self.assignment.trained]

    @property
    def reasoning(self) -> Task:
        """The task of reinforcement learning after R1-Zero."""
        watched = wording_of(self.template)(self.assignment.watched)
        return Task(
            problems=file_problems(self.pool, seed=self.seed),
            reward=merge_tables(self.rules, self._language()),
            validation=Validation(problems=watched, config=self.scale.zero.validation),
            template=self.template,
            stop=self.assignment.stop,
        )

    def _language(self) -> RewardTable:
        """The language reward of every domain; none where the user's own rewards have one already."""
        if any(spec.partition("=")[0] == LANGUAGE for spec in self.options.own.reward):
            return {}
        return {domain: {language_reward: 1.0} for domain in self.assignment.reward}

    @property
    def examination(self) -> Examination:
        """The examination of all models, each in its own prompt."""
        by_zero, later = self.assignment.reward, self.rules
        return Examination(
            problems=self.assignment.suites[""],
            rules=lambda template: by_zero if template is r1_zero else later,
            config=self.scale.zero.evaluation,
            wording=wording_of,
            stop=self.assignment.stop,
        )

    def asked_of_zero(self, editor: Editor) -> Sampling:
        """What R1-Zero is asked for the cold start."""
        keep = Rejection(
            source="cold start",
            num_kept=self.scale.cold.num_kept,
            limits=replace(READABLE, min_consistency=0.5),
            ending="answer",
            rules=self.assignment.judges,
            editor=editor,
            # R1-Zero is asked without an instruction, and the models that learn from it are asked with one.
            wording=wording_of(self.template),
        )
        problems = draw_sample(self.assignment.trained, self.scale.cold.num_problems)
        return Sampling(problems=list(chain(*problems)), keep=keep, template=r1_zero, stop=self.assignment.stop)

    def asked_of_dev2(self) -> Sampling:
        """What Dev2 is asked for the reasoning data."""
        keep = Rejection(
            source="Dev2",
            num_kept=self.scale.kept.num_kept,
            limits=READABLE_IN_FILES,
            rules=self.assignment.judges,
        )
        problems = draw_sample(self.pool, self.scale.kept.num_problems)
        return Sampling(problems=list(chain(*problems)), keep=keep, template=self.template, stop=self.assignment.stop)

    def given_cold_start(self) -> Sequence[Demonstration]:
        """The cold start that was given.

        Raises:
            ValueError: it cannot be read, or no response has any thinking.
        """
        options = self.options
        given = read_demonstrations(
            options.demonstrations, mapping=options.demonstration_fields, on_bad=options.own.bad_rows
        )
        self.notes.append(f"cold start: {given.says}")
        clean = self._apart_from_tests(given)
        thinking = [item for item in clean if _has_thinking(item)]
        if not thinking:
            raise ValueError(
                "--demonstrations: no response has thinking in <think> tags with an answer after it, which is what the "
                "cold start teaches; --demonstration-fields reasoning=COLUMN names the column that holds the thinking"
            )
        if len(thinking) < len(clean):
            self.notes.append(f"cold start: {len(clean) - len(thinking):,} responses without thinking left out")
        return thinking

    def general(self) -> Sequence[Demonstration]:
        """Demonstrations for general prompts, in R1's format.

        Raises:
            ValueError: they cannot be read.
        """
        options, most = self.options, self.scale.num_general
        if not options.general:
            return ()
        given = read_demonstrations(options.general, mapping=options.general_fields, on_bad=options.own.bad_rows)
        self.notes.append(f"general data: {given.says}")
        clean = self._apart_from_tests(given)
        if len(clean) > most:
            self.notes.append(f"general data: the first {most:,} are used, see --num-general")
        return [_in_format(item) for item in clean[:most]]

    def _apart_from_tests(self, given: DemonstrationSet) -> Sequence[Demonstration]:
        """The demonstrations that share no ten words in a row with what models are examined on."""
        held_out = [*self.assignment.suites[""], *self.assignment.watched]
        return without_overlaps(given, [ProblemSet(name="test", problems=held_out)]).items

    def prompts(self, sets: list[ProblemSet], limits: PromptLimits) -> GeneralPrompts | None:
        """The prompts of the last stage besides reasoning; None where no reward model scores responses to them.

        Args:
            sets: the prompts, a set for each domain.
            limits: how long they may be.

        Raises:
            ValueError: one is too long and is not to be left out.
        """
        if not sets:
            return None
        left_out = leave_out_long(sets, "general", limits)
        if left_out:
            self.notes.append(left_out_in_words(left_out))
        domains = {problem.domain for problem in chain(*sets)}
        return GeneralPrompts(
            problems=file_problems(sets, seed=self.seed),
            reward={domain: {format_reward: 1.0, language_reward: 1.0} for domain in sorted(domains)},
            truth=nothing_known,
        )


def _has_thinking(item: Demonstration) -> bool:
    """Whether a response has R1's format: thinking in its tags, then a summary."""
    return parse_response(item.response, ending="summary").is_well_formed


def _in_format(item: Demonstration) -> Demonstration:
    """A demonstration whose response has a thinking block, empty where it was given none."""
    return item if _has_thinking(item) else replace(item, response=f"{WITHOUT_THINKING}{item.response}")
