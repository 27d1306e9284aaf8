"""R1: the whole recipe of the paper's Figure 2, with Dev1, Dev2, Dev3 and R1 as checkpoints, and distillation.

Source: DeepSeek-R1, arXiv:2501.12948v2, Figure 2 and section 3; v1, 2.3 and 2.4.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace

from aha.problems.mixture import Mixture
from aha.prompts.templates import r1_zero
from aha.recipes.r1.material import Material
from aha.recipes.r1.scales import R1Config
from aha.recipes.r1.students import distil
from aha.recipes.r1_zero import train_zero
from aha.rewards.table import RewardTable, merge_tables
from aha.stages.harvests.harvest import write_demonstrations
from aha.stages.harvests.rejection import Sampling, rejection
from aha.stages.rl import rl
from aha.stages.run import Run
from aha.stages.sft import sft
from aha.stages.task import Task
from aha.types import Checkpoint, Dataset, Demonstration

__all__ = ["train_r1"]

GENERAL_SHARE = 0.5
"""Share of general prompts in the last part of the second stage. The paper does not report it."""


def train_r1(
    run: Run, base: Checkpoint, scale: R1Config, material: Material, students: Sequence[Checkpoint] = ()
) -> Checkpoint:
    """Train R1 from a base model, with every model on the way, and distil it; evaluate them all.

    Args:
        run: the run.
        base: the base model.
        scale: the numbers.
        material: what the stages work on.
        students: a Qwen2-shaped and a Llama-shaped base model; where none are given, the material says whether the
            built-in ones are pretrained or nothing is distilled.

    Returns:
        R1.
    """
    exam = material.exam
    template = material.prompt(base)
    exam.take(run, "start", base, template=r1_zero)

    # Dev1 starts from the base: R1-Zero gives the data, not the weights.
    cold = _cold_start(run, base, scale, material)
    dev1 = sft(run, "dev1", policy=base, data=[cold], config=scale.dev1, template=template)
    exam.take(run, "dev1", dev1, template=template)
    dev2 = rl(run, "dev2", policy=dev1, task=material.reasoning, config=scale.dev2)
    exam.take(run, "dev2", dev2, template=template)

    # What the language reward is worth: the same stage without it. Source: R1 v2 B.6.
    if material.compares:
        plain_task = replace(material.reasoning, reward=material.rules)
        plain = rl(run, "dev2-plain", policy=dev1, task=plain_task, config=scale.dev2)
        exam.take(run, "dev2-plain", plain, template=template)

    lessons = [rejection(run, "kept", policy=dev2, sampling=material.kept, config=scale.kept)]
    if material.general:
        lessons.append(_written(run, "general", material.general))
    # From the base once more, now with the data of Dev2. Source: R1 v1 2.3.3.
    dev3 = sft(run, "dev3", policy=base, data=lessons, config=scale.dev3, template=template)
    exam.take(run, "dev3", dev3, template=template)

    learned = material.reward_models(run, dev3)
    final = _second_stage(run, dev3, scale, material, learned)
    exam.take(run, "r1", final, template=template)

    if students or material.makes_students:
        distil(run, students, lessons, scale.students, material)
    return final


def _cold_start(run: Run, base: Checkpoint, scale: R1Config, material: Material) -> Dataset:
    """The demonstrations of Dev1: what R1-Zero writes, or what is given in its place."""
    if not isinstance(material.cold, Sampling):
        return _written(run, "cold", material.cold)

    zero = train_zero(run, base, scale.zero, material.zero)
    material.exam.take(run, "zero", zero, template=r1_zero)
    return rejection(run, "cold", policy=zero, sampling=material.cold, config=scale.cold)


def _written(run: Run, name: str, demonstrations: Sequence[Demonstration]) -> Dataset:
    """Demonstrations that no model samples, as a data set of the run."""
    # Their content is the key, so that a change is noticed when the run goes on.
    key = str([asdict(demonstration) for demonstration in demonstrations])
    return write_demonstrations(run, name, demonstrations, key=key)


def _second_stage(run: Run, dev3: Checkpoint, scale: R1Config, material: Material, learned: RewardTable) -> Checkpoint:
    """The second stage of reinforcement learning: one training in two parts.

    General data and the reward models join in the last part, so that there is little time to hack them.

    Source: DeepSeek-R1, arXiv:2501.12948v2, 3.2.2.
    """
    warm = rl(run, "reasoning", policy=dev3, task=material.reasoning, config=scale.reasoning)

    # The stream of reasoning problems goes on where the first part has come to.
    num_asked = scale.reasoning.iterations * scale.reasoning.problems_per_iteration
    scenarios = _all_scenarios(material, learned, num_asked)
    has_begun = scale.reasoning.iterations > 0
    return rl(run, "r1", policy=warm, task=scenarios, config=scale.scenarios, continues=has_begun)


def _all_scenarios(material: Material, learned: RewardTable, num_asked: int) -> Task:
    """Reasoning and general prompts, each with the rewards of its domain; `num_asked` of the former came before.

    Reward = R_reasoning + R_general + R_language, with R_general = R_reward_model + R_format

    Source: DeepSeek-R1, arXiv:2501.12948v2, Eq. 8 to 10.
    """
    reasoning, general = material.reasoning, material.prompts
    if general is None:
        return reasoning

    problems = Mixture(first=general.problems, second=reasoning.problems, share=GENERAL_SHARE, joins_after=num_asked)
    # A table names a function once for each domain: the language reward, which both may have, counts once.
    reward = merge_tables(reasoning.reward, learned, general.reward)
    return replace(reasoning, problems=problems, reward=reward, truth=general.truth)
