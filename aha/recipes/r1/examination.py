"""The examination that every model of the R1 recipe takes: held-out problems, and general prompts with a known truth.

Source: DeepSeek-R1, arXiv:2501.12948v2, Table 3 (the stages side by side).
"""

from dataclasses import dataclass

from aha.problems.world.general import GENERAL_DOMAINS, HELPFUL_DOMAINS, every_prompt, held_out_general
from aha.problems.world.questions import held_out_problems
from aha.prompts.templates import Template, r1, r1_zero
from aha.recipes.scales import R1ZeroConfig
from aha.rewards.accuracy import COMPARERS
from aha.rewards.format import format_reward as zero_format
from aha.rewards.summary import format_reward
from aha.rewards.table import RewardTable, rules
from aha.stages.config import EvaluationConfig
from aha.stages.evaluate import Setting, evaluate, helping
from aha.stages.run import Run
from aha.stages.task import Validation
from aha.types import Checkpoint, Problem

__all__ = ["Examination", "examined_problems", "watched_problems"]


def examined_problems(config: EvaluationConfig) -> tuple[list[Problem], list[Problem]]:
    """The test problems, and general prompts of the test split: helpful ones, then harmful ones."""
    count = max(1, config.num_problems * 3 // 5)
    prompts = [*held_out_general(count, domains=HELPFUL_DOMAINS), *every_prompt("harmful", "test")[:count]]
    return held_out_problems("test", config.num_problems), prompts


def watched_problems(config: EvaluationConfig) -> list[Problem]:
    """The problems on which reinforcement learning is watched."""
    return held_out_problems("validation", config.num_problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """The examination of a run.

    Attributes:
        run: the run.
        scale: how many problems, and how they are sampled.
    """

    run: Run
    scale: R1ZeroConfig

    @property
    def problems(self) -> list[Problem]:
        """The test problems."""
        return examined_problems(self.scale.evaluation)[0]

    @property
    def prompts(self) -> list[Problem]:
        """General prompts of the test split: helpful ones, then harmful ones."""
        return examined_problems(self.scale.evaluation)[1]

    @property
    def validation(self) -> Validation:
        """What reinforcement learning is watched on."""
        return Validation(problems=watched_problems(self.scale.validation), config=self.scale.validation)

    @property
    def held_out(self) -> list[Problem]:
        """Everything that must not be trained on."""
        return [*self.problems, *self.prompts, *self.validation.problems]

    def take(self, name: str, model: Checkpoint, *, template: Template = r1) -> Checkpoint:
        """Examine a model, in the prompt that it was trained with, and hand it on.

        Args:
            name: of the model.
            model: the model.
            template: the prompt around a question.
        """
        form: RewardTable = rules(COMPARERS, zero_format if template is r1_zero else format_reward)
        unrewarded: RewardTable = {domain: {} for domain in GENERAL_DOMAINS}
        sets = {
            name: (self.problems, Setting(template=template, reward=form)),
            f"{name}-general": (self.prompts, Setting(template=template, reward=unrewarded, measure=helping)),
        }
        for each, (problems, setting) in sets.items():
            evaluate(self.run, each, policy=model, problems=problems, config=self.scale.evaluation, setting=setting)
        return model
