"""What R1 is made from: problems, demonstrations, prompts and preferences, of the built-in world or of the user's own.

[train.py](train.py) goes through the stages and asks this record what each of them works on.

Source: DeepSeek-R1, arXiv:2501.12948v2, Figure 2.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aha.prompts.templates import Template
from aha.recipes.r1.examination import Examination
from aha.rewards.table import RewardTable
from aha.stages.groups import Truth
from aha.stages.harvests.rejection import Sampling
from aha.stages.run import Run
from aha.stages.task import ProblemSource, Task
from aha.types import Checkpoint, Demonstration

__all__ = ["GeneralPrompts", "Material"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneralPrompts:
    """Prompts of the last stage besides reasoning.

    Attributes:
        problems: the stream of them.
        reward: what is rewarded besides the scores of the reward models, by domain.
        truth: what these scores are compared with; logged, never trained on.
    """

    problems: ProblemSource
    reward: RewardTable
    truth: Truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What R1 is made from.

    Attributes:
        zero: the task of R1-Zero: rules alone, in a prompt of its own. Source: R1 v1, Table 1; v2, Eq. 4.
        reasoning: the task of later reinforcement learning: with R1's format and the language reward.
        rules: the reward of `reasoning` without the language reward.
        exam: what every model is examined on.
        cold: what R1-Zero is asked for the cold start; or the cold start itself, and then R1-Zero is not trained.
        kept: what Dev2 is asked for the reasoning data.
        general: demonstrations for general prompts; Dev3 learns from reasoning data alone where there are none.
        prompts: of the last stage besides reasoning; None for reasoning alone.
        reward_models: trains the reward models of the last stage from Dev3, and returns their scores by domain.
        prompt: the prompt around a question for a model after R1-Zero, which may be the model's own.
        compares: whether models are trained that the paper compares with: Dev2 without the language reward (v2 B.6),
            and the first student by reinforcement learning, before and after distillation (v1, Table 6).
        makes_students: whether the built-in students are pretrained where none are given.
        notes: what was read and left out, for people.
    """

    zero: Task
    reasoning: Task
    rules: RewardTable
    exam: Examination
    cold: Sampling | Sequence[Demonstration]
    kept: Sampling
    general: Sequence[Demonstration]
    prompts: GeneralPrompts | None
    reward_models: Callable[[Run, Checkpoint], RewardTable]
    prompt: Callable[[Checkpoint], Template]
    compares: bool
    makes_students: bool
    notes: Sequence[str] = ()
