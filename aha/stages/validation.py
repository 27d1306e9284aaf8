"""Watching a training: how the policy does on held-out problems, every few iterations."""

from dataclasses import asdict

from aha.actors.actor import PolicyActor
from aha.stages.evaluate import figures, headline, sampling_of, solving
from aha.stages.groups import sample_groups
from aha.stages.run import Run
from aha.stages.task import Task
from aha.types import Checkpoint

__all__ = ["watch"]


def watch(run: Run, name: str, iteration: int, policy: PolicyActor, task: Task, *, step: int) -> None:
    """Evaluate a policy in training on the validation split, and log it.

    Args:
        run: the run.
        name: of the stage.
        iteration: the last one that was made, -1 before the first.
        policy: the policy as it is now.
        task: its rewards, prompts and validation problems.
        step: updates of the stage so far.
    """
    validation = task.validation
    groups = sample_groups(
        policy,
        validation.problems,
        sampling_of(validation.config, (run.seed, name, iteration, "validation"), task.stop),
        reward=task.reward,
        template=task.template,
    )
    here = Checkpoint(path=run.folder.path, stage=name, step=step, key="")
    report = figures(groups, policy=here, config=validation.config, seed=run.seed, measure=solving)

    where = {"name": "validation", "stage": name, "iteration": iteration, "step": step}
    run.folder.append("evaluations", {**where, "report": asdict(report)})
    run.say(f"{name} {iteration + 1}: {headline(report)}")
