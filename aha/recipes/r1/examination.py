"""The examination that every model of the R1 recipe takes: held-out problems, and general prompts with a known truth.

Source: DeepSeek-R1, arXiv:2501.12948v2, Table 3 (the stages side by side).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aha.problems.world.general import GENERAL_DOMAINS, HELPFUL_DOMAINS, every_prompt, held_out_general
from aha.problems.world.questions import held_out_problems
from aha.prompts.templates import Template, r1_zero
from aha.rewards.accuracy import COMPARERS
from aha.rewards.format import format_reward as zero_format
from aha.rewards.summary import format_reward
from aha.rewards.table import RewardTable, rules
from aha.stages.config import EvaluationConfig
from aha.stages.evaluate import Setting, evaluate, helping
from aha.stages.run import Run
from aha.types import Checkpoint, Problem

__all__ = ["Examination", "built_in_examination", "examined_problems", "watched_problems"]


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
    """The examination of all models of a run.

    Attributes:
        problems: held-out problems.
        rules: how responses to them are judged, by the prompt around a question.
        config: how they are sampled.
        wording: what is said around the questions before a prompt; nothing around those of the built-in world.
        prompts: general prompts of the built-in world: helpful ones, then harmful ones; of the user's files there are
            none, since no truth is known of the responses.
        stop: texts that end a response.
    """

    problems: Sequence[Problem]
    rules: Callable[[Template], RewardTable]
    config: EvaluationConfig
    wording: Callable[[Template], Callable[[Sequence[Problem]], list[Problem]]] = lambda _: list
    prompts: Sequence[Problem] = ()
    stop: tuple[str, ...] = ()

    def take(self, run: Run, name: str, model: Checkpoint, *, template: Template) -> None:
        """Examine a model, in the prompt that it was trained with.

        Args:
            run: the run.
            name: of the model.
            model: the model.
            template: the prompt around a question.
        """
        # A model is held to the format that its own prompt asks for.
        by_rules = Setting(template=template, reward=self.rules(template), stop=self.stop)
        problems = self.wording(template)(self.problems)
        evaluate(run, name, policy=model, problems=problems, config=self.config, setting=by_rules)
        if not self.prompts:
            return

        # No rule checks a general response: the known truth of the built-in world measures it.
        unrewarded: RewardTable = {domain: {} for domain in GENERAL_DOMAINS}
        by_truth = Setting(template=template, reward=unrewarded, measure=helping)
        evaluate(run, f"{name}-general", policy=model, problems=self.prompts, config=self.config, setting=by_truth)


def built_in_examination(config: EvaluationConfig) -> Examination:
    """The examination on the built-in world."""
    problems, prompts = examined_problems(config)

    def by_format(template: Template) -> RewardTable:
        return rules(COMPARERS, zero_format if template is r1_zero else format_reward)

    return Examination(problems=problems, prompts=prompts, rules=by_format, config=config)
