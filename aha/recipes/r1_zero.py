"""R1-Zero: pure reinforcement learning on a base model, with rule-based rewards.

Source: DeepSeek-R1, arXiv:2501.12948v2, section 2.
"""

from aha.recipes.own.assignment import Assignment
from aha.recipes.scales import R1ZeroConfig
from aha.stages.evaluate import evaluate
from aha.stages.rl import rl
from aha.stages.run import Run
from aha.stages.task import Task
from aha.types import Checkpoint

__all__ = ["r1_zero", "train_zero"]


def r1_zero(
    run: Run, base: Checkpoint, scale: R1ZeroConfig, assignment: Assignment, *, continues: bool = False
) -> Checkpoint:
    """Train R1-Zero from a base model and evaluate both on held-out problems.

    Args:
        run: the run.
        base: the base model.
        scale: the numbers.
        assignment: problems, rewards and prompts; with shuffled answers this is the negative control.
        continues: go on with the training that made the base, in place of beginning a new one.

    Returns:
        R1-Zero.
    """
    _examine(run, "start", base, scale, assignment)
    zero = train_zero(run, base, scale, assignment.task(scale), continues=continues)
    _examine(run, "end", zero, scale, assignment)

    return zero


def train_zero(run: Run, base: Checkpoint, scale: R1ZeroConfig, task: Task, *, continues: bool = False) -> Checkpoint:
    """R1-Zero's training alone.

    The length cap rises midway. As in the paper this is one training: the second part goes on with the moments, the
    reference and the data stream of the first. Either part can be left out.
    """
    zero = rl(run, "zero", policy=base, task=task, config=scale.zero, continues=continues)
    # Where the first part is left out, the second begins a training of its own.
    has_begun = continues or "zero" in scale.parts
    return rl(run, "longer", policy=zero, task=task, config=scale.longer, continues=has_begun)


def _examine(run: Run, when: str, model: Checkpoint, scale: R1ZeroConfig, assignment: Assignment) -> None:
    """Evaluate on every suite."""
    for suite, problems in assignment.suites.items():
        # The suite without a name is the test itself, whose stage is `start` or `end`.
        name = f"{when}-{suite}" if suite else when
        evaluate(run, name, policy=model, problems=problems, config=scale.evaluation, setting=assignment.setting)
