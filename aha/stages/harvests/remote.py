"""Rejection sampling from a model behind an endpoint: asked shard by shard, judged here, never asked twice.

Source: DeepSeek-R1, arXiv:2501.12948v2, B.3.3 and B.4.3, where the teacher is a model of one's own.
"""

from collections.abc import Sequence

import torch

from aha.engines.endpoint import Answer, ChatRequest, Endpoint
from aha.runs.seeds import derive_seed
from aha.stages.config import RejectionConfig
from aha.stages.harvests.harvest import Source, different_ids, write_shards
from aha.stages.harvests.rejection import Rejection
from aha.stages.run import Run, stage_key
from aha.types import Dataset, Group, Problem, Reward, Rollout

__all__ = ["ask_teacher"]


def ask_teacher(
    run: Run,
    name: str,
    *,
    endpoint: Endpoint,
    problems: Sequence[Problem],
    keep: Rejection,
    config: RejectionConfig,
    system: str = "",
) -> Dataset:
    """Ask another model every problem several times, and keep the responses that are right and readable.

    Thinking that the server sends in a field of its own becomes the beginning of the response. A request that fails for
    good is counted as `no reply`, one that is cut at the cap as `cut`.

    Args:
        run: the run.
        name: of this stage.
        endpoint: the model. What it has answered should be kept in a ledger, so that a run that goes on asks nothing
            twice.
        problems: different ones, as they are asked.
        keep: what is kept.
        config: samples of a problem, temperature, cap and shards.
        system: a system message; empty for none.

    Returns:
        The demonstrations.

    Raises:
        ValueError: two problems share an id, or a finished shard is damaged or belongs to other settings.
        Interrupted: the run was asked to stop; what was written stays.
    """
    key = stage_key(
        name,
        teacher=endpoint.model,
        problems=different_ids(name, problems),
        config=config.model_dump(),
        system=system,
        pick=keep.key,
        seed=run.seed,
    )
    if done := run.finished_data(name, key):
        return done

    def sample(some: Sequence[Problem]) -> list[Group]:
        # Two processes would ask twice.
        if not run.folder.is_writer:
            return []
        requests = [
            _request(problem, index, run.seed, config, system)
            for problem in some
            for index in range(config.num_samples)
        ]
        answers = iter(endpoint.ask_all(requests))
        return [_group(problem, [next(answers) for _ in range(config.num_samples)]) for problem in some]

    write_shards(run, name, key, problems, keep, lambda: Source(sample=sample), shard_size=config.shard_size)
    return run.finish_data(name, key, parents=())


def _request(problem: Problem, index: int, seed: int, config: RejectionConfig, system: str) -> ChatRequest:
    """One sample of a problem."""
    question = {"role": "user", "content": problem.question}
    return ChatRequest(
        messages=[{"role": "system", "content": system}, question] if system else [question],
        temperature=config.temperature,
        max_tokens=config.max_new_tokens,
        # Servers take seeds of 31 bits.
        seed=derive_seed(seed, "teacher", problem.id, index) % 2**31,
        with_thinking=True,
    )


def _group(problem: Problem, answers: Sequence[Answer]) -> Group:
    """The answers to a problem; no tokens are known of them, and no reward is computed."""
    rollouts = tuple(_rollout(problem, answer) for answer in answers)
    return Group(problem=problem, rollouts=rollouts, rewards=(Reward(parts={}, weights={}),) * len(rollouts))


def _rollout(problem: Problem, answer: Answer) -> Rollout:
    nothing = torch.zeros(0, dtype=torch.int64)
    is_cut = answer.failure.startswith("length")
    return Rollout(
        problem_id=problem.id,
        prompt_tokens=nothing,
        tokens=nothing,
        logp=torch.zeros(0),
        text=answer.text or "",
        finish="stop" if answer.text is not None else "length" if is_cut else "error",
    )
