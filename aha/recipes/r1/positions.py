"""What every stage of R1 samples, measured against the positions of the models before a run starts.

A stage whose longest prompt leaves too few positions for a response of full length would end the run when it begins,
after all stages before it.

Source of the stages: DeepSeek-R1, arXiv:2501.12948v2, Figure 2.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from aha.policy.pretrained import read_config
from aha.problems.datasets.sets import ProblemSet
from aha.problems.world.general import GENERAL_DOMAINS, every_prompt
from aha.problems.world.questions import TrainingProblems, held_out_problems
from aha.prompts.pretrained import read_tokenizer
from aha.prompts.templates import Template, r1, r1_zero
from aha.prompts.tokenizer import Tokenizer
from aha.recipes.own.prompt_lengths import NUM_MEASURED, PromptLimits
from aha.recipes.r1.built_in import problems_to_harvest
from aha.recipes.r1.examination import examined_problems, watched_problems
from aha.recipes.r1.rewards import num_examined, preference_prompts
from aha.recipes.r1.scales import R1Config
from aha.recipes.r1.students import FAMILIES
from aha.stages.config import EvaluationConfig, RejectionConfig, RLConfig
from aha.stages.pretrain import base_config, base_tokenizer
from aha.types import Checkpoint, Problem

__all__ = ["check_positions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sampler:
    """A model that stages sample from.

    Attributes:
        name: what an error calls it.
        tokenizer: counts the tokens of prompts.
        positions: positions that it has.
        remedy: what helps besides a lower cap; empty where nothing does.
    """

    name: str
    tokenizer: Tokenizer
    positions: int
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sampled:
    """What is sampled under one length cap.

    Attributes:
        option: of the command, where the configuration stands.
        config: holds the cap.
        use: what the prompts are for, in a word.
        template: the prompt around a question.
        problems: those that can be counted, or the first ones of an endless stream.
    """

    option: str
    config: RLConfig | RejectionConfig | EvaluationConfig
    use: str
    template: Template
    problems: Sequence[Problem]


def check_positions(scale: R1Config, models: Sequence[Checkpoint], *, seed: int, is_judged: bool) -> None:
    """Make sure that every prompt of every stage leaves its model enough positions for a response of full length.

    Args:
        scale: the numbers.
        models: the base model, then the students; the built-in students are meant where there are none.
        seed: run seed, which draws the problems.
        is_judged: whether there is a judge for questions that no rule can check.

    Raises:
        ValueError: a prompt is too long; names the option of the cap, and what to lower it to.
    """
    stages = _Stages(scale=scale, seed=seed, is_judged=is_judged)
    # All models from Dev1 to R1 descend from the base, so they have its positions and its tokenizer.
    base = _sampler_of("the model", models[0])
    for sampled in (*stages.of_zero(), *stages.of_base()):
        _check(base, sampled)

    for family, student in zip(FAMILIES, _students(scale, models[1:]), strict=True):
        # The first student alone also learns by reinforcement.
        for sampled in stages.of_student(is_reinforced=family == FAMILIES[0]):
            _check(student, sampled)


def _sampler_of(name: str, model: Checkpoint) -> _Sampler:
    """A model of the user's."""
    shape = read_config(model.path)
    tokenizer = read_tokenizer(model.path, room=shape.vocab_size)
    return _Sampler(name=name, tokenizer=tokenizer, positions=shape.max_position_embeddings)


def _students(scale: R1Config, models: Sequence[Checkpoint]) -> list[_Sampler]:
    """The students: those of the user, or the built-in ones, which the run pretrains."""
    if models:
        return [_sampler_of(f"the {family} student", model) for family, model in zip(FAMILIES, models, strict=True)]

    # The run pretrains them later; their settings tell the positions already.
    tokenizer = base_tokenizer()
    shape = base_config(scale.students.pretrain, tokenizer.vocab_size)
    return [
        _Sampler(
            name=f"the built-in {family} student",
            tokenizer=tokenizer,
            positions=shape.max_position_embeddings,
            remedy="give students with more positions with --students",
        )
        for family in FAMILIES
    ]


def _check(model: _Sampler, sampled: _Sampled) -> None:
    """Refuse prompts of one stage that leave its model too few positions."""
    limits = PromptLimits(
        tokenizer=model.tokenizer,
        positions=model.positions,
        template=sampled.template,
        # Questions of the built-in world get no instruction.
        wording=list,
        caps={sampled.use: (f"--{sampled.option}.max-new-tokens", sampled.config.max_new_tokens)},
        # R1 has no option --long-prompts.
        on_long="stop",
        has_choice=False,
        model=model.name,
        other_remedy=model.remedy,
    )
    limits.fitting(ProblemSet(name="built-in", problems=sampled.problems), sampled.use)


@dataclass(frozen=True, kw_only=True)
class _Stages:
    """The stages of the recipe that sample, by the model whose positions they need.

    Attributes:
        scale: the numbers.
        seed: run seed.
        is_judged: whether rejection sampling asks general questions too.
    """

    scale: R1Config
    seed: int
    is_judged: bool

    @cached_property
    def reasoning(self) -> Sequence[Problem]:
        """Problems of reinforcement learning; there is no end of them, and the first ones show how short they are."""
        return TrainingProblems(seed=self.seed)(0, NUM_MEASURED)

    @cached_property
    def watched(self) -> Sequence[Problem]:
        """Problems on which all reinforcement learning is watched."""
        return watched_problems(self.scale.zero.validation)

    @cached_property
    def examined(self) -> Sequence[Problem]:
        """What every model is examined on."""
        problems, prompts = examined_problems(self.scale.zero.evaluation)
        return [*problems, *prompts]

    def of_zero(self) -> Iterator[_Sampled]:
        """R1-Zero, how it is watched, and the cold start that it writes."""
        for name, config in self.scale.zero.parts.items():
            yield from self._loop(f"zero.{name}", config, r1_zero, self.reasoning)
        yield self._examination(r1_zero)

        cold = self.scale.cold
        problems = held_out_problems("train", cold.num_problems, seed=self.seed)
        yield _Sampled(option="cold", config=cold, use="cold-start", template=r1_zero, problems=problems)

    def of_base(self) -> Iterator[_Sampled]:
        """Everything from Dev2 to R1."""
        scale = self.scale
        yield from self._loop("dev2", scale.dev2, r1, self.reasoning)
        yield self._examination(r1)

        # The seed of the stage itself, so that the very prompts are measured that will be sampled.
        problems = problems_to_harvest(scale.kept.num_problems, seed=self.seed + 1, is_judged=self.is_judged)
        yield _Sampled(option="kept", config=scale.kept, use="rejection-sampling", template=r1, problems=problems)

        yield self._preferences("helpful", scale.rewards.helpful)
        yield self._preferences("safety", scale.rewards.safety)

        general = [prompt for domain in GENERAL_DOMAINS for prompt in every_prompt(domain, "train")]
        yield from self._loop("reasoning", scale.reasoning, r1, self.reasoning)
        yield from self._loop("scenarios", scale.scenarios, r1, [*general, *self.reasoning])

    def of_student(self, *, is_reinforced: bool) -> Iterator[_Sampled]:
        """The examination of a student before and after distillation, and its reinforcement learning.

        Args:
            is_reinforced: whether it also learns by reinforcement, alone and after distillation.
        """
        students = self.scale.students
        if is_reinforced:
            yield from self._loop("students.direct", students.direct, r1_zero, self.reasoning)
            yield from self._loop("students.further", students.further, r1, self.reasoning)

        # Before distillation and after it, each in the prompt of its training.
        yield self._examination(r1_zero)
        yield self._examination(r1)

    def _loop(self, option: str, config: RLConfig, template: Template, problems: Sequence[Problem]) -> list[_Sampled]:
        """Reinforcement learning and how it is watched; nothing where it has no iteration."""
        if not config.iterations:
            return []
        trained = _Sampled(option=option, config=config, use="training", template=template, problems=problems)

        watched = _Sampled(
            option="zero.validation",
            config=self.scale.zero.validation,
            use="validation",
            template=template,
            problems=self.watched,
        )
        return [trained, watched]

    def _examination(self, template: Template) -> _Sampled:
        """The examination that every model takes."""
        return _Sampled(
            option="zero.evaluation",
            config=self.scale.zero.evaluation,
            use="evaluation",
            template=template,
            problems=self.examined,
        )

    def _preferences(self, name: str, config: RejectionConfig) -> _Sampled:
        """Responses that a reward model is trained and examined on."""
        is_helpful = name == "helpful"
        train = preference_prompts("train", config.num_problems, seed=self.seed, is_helpful=is_helpful)
        held_out = preference_prompts("validation", num_examined(config), seed=self.seed, is_helpful=is_helpful)
        problems = [*train, *held_out]
        return _Sampled(option=f"rewards.{name}", config=config, use="preference", template=r1, problems=problems)
