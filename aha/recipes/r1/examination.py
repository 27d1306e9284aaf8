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
    problems = held_out_problems("test", config.num_problems)

    count = max(1, config.num_problems * 3 // 5)
    helpful = held_out_general(count, domains=HELPFUL_DOMAINS)
    harmful = every_prompt("harmful", "test")[:count]
    return problems, [*helpful, *harmful]


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

    def take(self, name: str, model: Checkpoint, *, template: Template = r1) -> None:
        """Examine a model, in the prompt that it was trained with.

        Args:
            name: of the model.
            model: the model.
            template: the prompt around a question.
        """
        config = self.scale.evaluation

        # A model is held to the format that its own prompt asks for.
        form = zero_format if template is r1_zero else format_reward
        by_rules = Setting(template=template, reward=rules(COMPARERS, form))
        evaluate(self.run, name, policy=model, problems=self.problems, config=config, setting=by_rules)

        # No rule checks a general response: the known truth of the built-in world measures it.
        unrewarded: RewardTable = {domain: {} for domain in GENERAL_DOMAINS}
        by_truth = Setting(template=template, reward=unrewarded, measure=helping)
        evaluate(self.run, f"{name}-general", policy=model, problems=self.prompts, config=config, setting=by_truth)
