"""Reinforcement learning: the loop of GRPO's Algorithm 1, for any algorithm of `aha.algorithms`.

Each iteration samples a group of responses for each problem, judges them, turns the rewards of all responses into
signals, splits the responses at random into mini-batches, and makes one update with each.

Source: DeepSeekMath, arXiv:2402.03300, Algorithm 1; DeepSeek-R1, arXiv:2501.12948v2, 2.1.
"""

from aha.algorithms.algorithm import Sampled
from aha.runs.seeds import generator
from aha.stages.config import RLConfig
from aha.stages.evaluate import watch
from aha.stages.groups import record, sample_groups, training_sampling
from aha.stages.metrics import cost, rollout_metrics
from aha.stages.minibatches import batch_of, rewards_of, split_rows, update, with_signals
from aha.stages.rl_state import RLState, begin
from aha.stages.run import Run, stage_key
from aha.stages.task import Task
from aha.stages.timeline import Timeline
from aha.types import Checkpoint

__all__ = ["rl"]


def rl(run: Run, name: str, *, policy: Checkpoint, task: Task, config: RLConfig, continues: bool = False) -> Checkpoint:
    """Train a policy by reinforcement.

    Args:
        run: the run.
        name: of this stage.
        policy: where it starts; also the first reference, unless the training continues.
        task: problems, rewards and prompts.
        config: the algorithm and the hyper-parameters; with 0 iterations the policy is handed on as it is.
        continues: go on with the training that made the policy: with its moments and its reference, at its place in the
            data stream. Only the schedule of the learning rate begins again. Otherwise this is a new training.

    Returns:
        The trained policy.

    Raises:
        Interrupted: the run was asked to stop; it has saved.
        NonFiniteLossError: training broke down; the last checkpoint is good.
        ValueError: the policy's folder holds no training to go on with, or one of other optimizer settings.
    """
    if not config.iterations:
        run.skip(name)
        return policy

    inputs = {
        "policy": policy.key,
        "task": task.key,
        "config": config.deciding_settings(),
        "seed": run.seed,
        "processes": run.num_processes,
    }
    # Absent, not False, where nothing continues: folders from before there was this input keep their keys.
    if continues:
        inputs["continues"] = True
    key = stage_key(name, **inputs)
    if result := run.finished(name, key):
        return result

    state = begin(run, name, key, policy=policy, task=task, config=config, continues=continues)
    if state.first_iteration == 0:
        # The start is the first point of every validation curve, logged as iteration -1.
        watch(run, name, -1, state.policy, task, step=0)

    for iteration in range(state.first_iteration, config.iterations):
        metrics = _iterate(run, name, iteration, task, state)
        done = iteration + 1
        run.report(name, done, config.iterations, metrics)
        if done % config.evaluate_every == 0:
            watch(run, name, iteration, state.policy, task, step=state.step)

        # A checkpoint comes after the rows: a resumed run drops the rows that are newer than its checkpoint.
        run.checkpoint(name, key, state.saved, done=done, total=config.iterations, every=config.checkpoint_every)

    return run.finish(name, key, state.saved(config.iterations), parents=(policy.key,))


def _iterate(run: Run, name: str, iteration: int, task: Task, state: RLState) -> dict[str, float]:
    """One iteration: sample, judge, update, write down."""
    config = state.config
    algorithm = config.algorithm
    actors = state.actors

    # `history` counts over the whole training, so that a stage that continues another one repeats no problem or draw.
    history = state.history(iteration)
    seed = (run.seed, name, history.iterations)
    timeline = Timeline(state.policy.synchronize)
    problems = task.problems(history.problems, config.problems_per_iteration)
    sampling = training_sampling(config, seed, task.stop)
    groups = sample_groups(
        state.policy, problems, sampling, reward=task.reward, template=task.template, timeline=timeline
    )

    # Advantages come from all rollouts of the iteration, before these are split (DeepSeekMath, Algorithm 1).
    batch = batch_of(groups)
    rewards_PG = rewards_of(groups)
    sampled = Sampled(batch=batch, rewards_PG=rewards_PG, max_new_tokens=config.max_new_tokens)
    batch = with_signals(batch, algorithm.signals(sampled, actors))

    # Mini-batches cut through groups: after the advantages, a response no longer needs the rest of its group.
    minibatches = split_rows(rewards_PG.numel(), config.num_minibatches, generator(*seed, "mini-batches"))
    metrics = rollout_metrics(groups, task.truth)
    metrics |= update(
        actors,
        batch,
        algorithm,
        minibatches,
        reference_every=config.reference_every,
        name=f"stage {name!r}, iteration {iteration}",
        timeline=timeline,
    )
    metrics |= cost(actors, groups, batch, algorithm) | timeline.metrics()

    run.folder.append("metrics", {"stage": name, "iteration": iteration, "step": state.step, **metrics})
    if iteration % run.keep_rollouts == 0:
        run.folder.write_rollouts(f"{name}-{iteration:06d}", record(groups, batch.signals["adv_BT"]))
    return metrics
