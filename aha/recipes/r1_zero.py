"""R1-Zero: pure reinforcement learning on a base model, with rule-based rewards.

Source: DeepSeek-R1, arXiv:2501.12948v2, section 2.
"""

from aha.problems.world import TrainingProblems, held_out_problems
from aha.recipes.scales import R1ZeroConfig
from aha.rewards.table import RULES
from aha.stages.evaluate import evaluate
from aha.stages.rl import Task, Validation, rl
from aha.stages.run import Run
from aha.types import Checkpoint

__all__ = ["r1_zero", "r1_zero_control", "train_zero"]


def r1_zero(run: Run, base: Checkpoint, scale: R1ZeroConfig, *, is_control: bool = False) -> Checkpoint:
    """Train R1-Zero from a base model and evaluate both on held-out problems.

    Args:
        run: the run.
        base: the base model.
        scale: the numbers.
        is_control: shuffle the answers, so that there is nothing to learn but the format.

    Returns:
        R1-Zero.
    """
    test = held_out_problems("test", scale.evaluation.num_problems)
    hard = held_out_problems("hard", scale.validation.num_problems)
    watched = held_out_problems("validation", scale.validation.num_problems)
    task = Task(
        problems=TrainingProblems(seed=run.seed, is_shuffled=is_control),
        reward=RULES,
        validation=Validation(problems=watched, config=scale.validation),
    )

    evaluate(run, "start", policy=base, problems=test, config=scale.evaluation)
    evaluate(run, "start-hard", policy=base, problems=hard, config=scale.evaluation)
    zero = train_zero(run, base, scale, task)
    evaluate(run, "end", policy=zero, problems=test, config=scale.evaluation)
    evaluate(run, "end-hard", policy=zero, problems=hard, config=scale.evaluation)
    return zero


def train_zero(run: Run, base: Checkpoint, scale: R1ZeroConfig, task: Task) -> Checkpoint:
    """R1-Zero's training alone: the length cap rises midway, as in the paper: another arrow."""
    zero = rl(run, "zero", policy=base, task=task, config=scale.zero)
    return rl(run, "longer", policy=zero, task=task, config=scale.longer)


def r1_zero_control(run: Run, base: Checkpoint, scale: R1ZeroConfig) -> Checkpoint:
    """The negative control of R1-Zero: the same run on shuffled answers must not learn to solve problems."""
    return r1_zero(run, base, scale, is_control=True)
