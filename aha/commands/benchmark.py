"""How fast a model is sampled from and trained on this machine, beside what the machine can do.

One round is an iteration of R1-Zero on a few groups: sample, score under a reference, update. Operations are counted as
`aha.training.cost` counts them, and set against the fastest matrix product that torch makes here.
"""

import random
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from aha.actors.actor import PolicyActor, Role
from aha.actors.local import LocalPolicy, synchronize
from aha.actors.local_actors import LocalActors, TrainingPlan
from aha.actors.workload import PROMPT_TOKENS as LONGEST_PROMPT
from aha.actors.workload import Demand, micro_batch_tokens, workload
from aha.algorithms.algorithm import Sampled
from aha.engines.local import torch_threads
from aha.kernels.cpu.allocation import keep_freed_memory
from aha.kernels.cpu.compiled import kernels_in_use
from aha.policy.fast.paths import can_be_graphed, can_be_packed
from aha.policy.policy import Policy
from aha.policy.pretrained import read_config
from aha.problems.world.questions import TrainingProblems
from aha.prompts.templates import bare, r1_zero
from aha.prompts.tokenizer import Tokenizer
from aha.recipes.base_model import open_base
from aha.stages.config import RLConfig
from aha.stages.groups import sample_groups, training_sampling
from aha.stages.minibatches import batch_of, rewards_of, split_rows, update, with_signals
from aha.stages.rl_state import demand
from aha.stages.timeline import Timeline
from aha.training.cost import num_stream_tokens
from aha.training.memory import GIB, estimate
from aha.training.world import World
from aha.types import Problem, Rollout, Verdict

__all__ = ["Benchmark", "Speed", "as_object", "in_words", "measure"]

SMALL_MODEL = 50_000_000
"""Parameters up to which a round has many responses."""

# A backward pass costs two forward passes: gradients of the activations, and of the weights.
PASSES = {"generation": 1, "reference": 1, "update": 3}
"""Parts of a round, and the operations of each in forward passes."""

TIMED = {"generation": "seconds_sampling", "reference": "seconds_reference", "update": "seconds_learning"}
"""What each part is called on the timeline."""

PROMPT_TOKENS = 24
"""Length of a random prompt, where there is room."""

MAX_NEW_TOKENS = 128
"""Length cap of a response, where a model is small."""

PRODUCT = 1024
"""Rows and columns of the matrices that are multiplied to see what the machine can do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """One part of a round; medians.

    Attributes:
        seconds: wall time.
        tokens: sampled, or computed in one pass.
        tokens_per_second: both together.
        gflops: operations a second, in 1e9.
        share_of_ceiling: of the fastest matrix product.
    """

    seconds: float
    tokens: float
    tokens_per_second: float
    gflops: float
    share_of_ceiling: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """What was measured.

    Attributes:
        model: its folder.
        parameters: of the policy.
        device: where it computed.
        threads: of torch.
        decoder: `compiled` or `plain`.
        prompts: `built-in world`, or `random` where the model cannot read that.
        rounds: that count; the one before them warmed up.
        ceiling_gflops: operations a second of the fastest matrix product, in 1e9.
        parts: generation, reference, update.
        peak_gib: most memory that this process held.
        estimated_gib: the same as it is estimated before a run.
    """

    model: str
    parameters: int
    device: str
    threads: int
    decoder: str
    prompts: str
    rounds: int
    ceiling_gflops: float
    parts: dict[str, Speed]
    peak_gib: float
    estimated_gib: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Bench:
    """A model with all that a round needs."""

    policy: LocalPolicy
    problems: Sequence[Problem]
    is_world: bool
    config: RLConfig


def measure(model: str | None, *, seconds: float, threads: int, device: torch.device | str = "cpu") -> Benchmark:
    """Measure a model here.

    Args:
        model: its folder or its name at the hub; None for the built-in base.
        seconds: rounds begin until this much time has passed; one warms up and one counts in any case.
        threads: of torch, for this measurement.
        device: where it computes.

    Raises:
        ValueError: there is no such model.
    """
    path = open_base(model).path
    keep_freed_memory()
    with torch_threads(threads):
        torch_device = torch.device(device)
        bench = _open(path, torch_device)
        end = time.monotonic() + seconds
        policy = bench.policy.model
        ceiling = _ceiling(policy.head_VD)

        rounds = [_round(bench, 0)]
        while len(rounds) < 2 or time.monotonic() < end:
            rounds.append(_round(bench, len(rounds)))

        # The estimate is of the rounds that were made: a batch smaller than a micro-batch, and no second model.
        largest = int(max(figures["tokens_update"] for figures in rounds))
        num_tokens = min(micro_batch_tokens(torch_device), largest)
        load = workload(policy.config, demand(bench.config), bench.config.optimizer, torch_device)
        load = replace(load, micro_batch_tokens=num_tokens, has_reference=False)
        estimated = estimate(policy.config, bench.config.optimizer, load, torch_device).peak
        return Benchmark(
            model=str(path),
            parameters=sum(weight.numel() for weight in policy.parameters()),
            device=str(torch_device),
            threads=torch.get_num_threads(),
            decoder=_decoder(policy),
            prompts="built-in world" if bench.is_world else "random",
            rounds=len(rounds) - 1,
            ceiling_gflops=ceiling / 1e9,
            parts={name: _speed(name, rounds[1:], ceiling) for name in PASSES},
            peak_gib=_peak_bytes(torch_device) / GIB,
            estimated_gib=estimated / GIB,
        )


def in_words(benchmark: Benchmark) -> str:
    """What was measured, for people."""
    threads = f"{benchmark.threads} thread{'s' if benchmark.threads > 1 else ''}"
    rounds = f"{benchmark.rounds} round{'s' if benchmark.rounds > 1 else ''}"
    lines = [
        f"{benchmark.model}: {benchmark.parameters:,} parameters on {benchmark.device}, {threads}, "
        f"{benchmark.decoder} decoder, prompts: {benchmark.prompts}",
        f"fastest matrix product: {benchmark.ceiling_gflops:,.1f} GFLOP/s; medians of {rounds}",
        f"{'':12}{'seconds':>10}{'tokens':>10}{'tokens/s':>12}{'GFLOP/s':>10}{'of ceiling':>12}",
    ]

    for name, speed in benchmark.parts.items():
        lines.append(
            f"{name:12}{speed.seconds:10.3f}{speed.tokens:10,.0f}{speed.tokens_per_second:12,.0f}{speed.gflops:10.1f}"
            f"{speed.share_of_ceiling:12.0%}"
        )

    lines.append(
        f"memory: {benchmark.peak_gib:.2f} GiB at most; estimated {benchmark.estimated_gib:.2f}, without a reference"
    )
    return "\n".join(lines)


def as_object(benchmark: Benchmark) -> dict[str, Any]:
    """What was measured, for programs."""
    return asdict(benchmark)


def _open(path: Path, device: torch.device) -> _Bench:
    """Read a model, and give it problems that it can read."""
    # The reference never becomes the policy: a copy of the weights is no part of a round.
    config = RLConfig(num_minibatches=1, reference_every=1 << 40)
    shape = read_config(path)
    plan = TrainingPlan(
        name="benchmark",
        optimizer=config.optimizer,
        num_steps=1,
        # Positions may be many; a round's sequences are short, and are computed as a run of such sequences would be.
        demand=Demand(sequence_tokens=min(shape.max_position_embeddings, LONGEST_PROMPT + MAX_NEW_TOKENS)),
        seed=0,
        temperature=config.temperature,
    )
    policy = LocalActors(world=World(device=device)).trained_policy(path, None, plan)

    # Fewer and shorter responses of a large model, so that a round ends within the time that is given.
    if policy.num_parameters <= SMALL_MODEL:
        num_problems, group_size, cap = 12, 16, MAX_NEW_TOKENS
    else:
        num_problems, group_size, cap = 2, 4, 48
    cap = min(cap, max(1, shape.max_position_embeddings // 2))
    capacity = shape.max_position_embeddings - cap
    counts = {"problems_per_iteration": num_problems, "group_size": group_size, "max_new_tokens": cap}

    world_problems = TrainingProblems(seed=0)(0, num_problems)
    is_world = all(_is_read(policy.tokenizer, r1_zero(problem.question), capacity) for problem in world_problems)
    return _Bench(
        policy=policy,
        problems=world_problems if is_world else _random_problems(policy.tokenizer, num_problems, capacity),
        is_world=is_world,
        config=config.model_copy(update=counts),
    )


def _decoder(policy: Policy) -> str:
    """What the engine decodes with."""
    if can_be_graphed(policy):
        return "graphed"
    if can_be_packed(policy):
        return f"compiled ({kernels_in_use()})"
    return "plain"


def _is_read(tokenizer: Tokenizer, prompt: str, capacity: int) -> bool:
    """Whether a prompt is in the model's vocabulary, and fits."""
    if tokenizer.unknown_words(prompt):
        return False
    return 0 < tokenizer.encode_prompt(prompt).numel() <= capacity


def _random_problems(tokenizer: Tokenizer, count: int, capacity: int) -> list[Problem]:
    """Prompts of random words of a tokenizer, each as long as fits."""
    rng = random.Random(0)
    ids = rng.sample(range(tokenizer.vocab_size), min(1000, tokenizer.vocab_size))
    # Special tokens decode to nothing, and some tokens are spaces alone.
    texts = [tokenizer.decode(torch.tensor([id])).strip() for id in ids]
    words = [text for text in texts if text]
    if not words:
        raise ValueError("the model's tokenizer has no token that is text: there is nothing to prompt it with")

    problems = []
    max_tokens = min(PROMPT_TOKENS, capacity)
    for number in range(count):
        text = rng.choice(words)
        # A word may be several tokens, so one that is too long is passed over and the next is tried.
        for _ in range(PROMPT_TOKENS):
            longer = f"{text} {rng.choice(words)}"
            if tokenizer.encode_prompt(longer).numel() <= max_tokens:
                text = longer
        problems.append(Problem(id=f"random-{number}", question=text, answer="", domain="random"))

    return problems


def _variety(problem: Problem, rollout: Rollout) -> Verdict:
    """A reward that differs within a group."""
    # Training skips the forward pass of a group whose rewards are all equal, so such a round would be too quick.
    del problem
    num_different = len(set(rollout.tokens.tolist()))
    return Verdict(score=float(num_different), reason="different tokens")


def _round(bench: _Bench, number: int) -> dict[str, float]:
    """Seconds, tokens and operations of each part of one round."""
    config = bench.config
    policy = bench.policy
    timeline = Timeline(policy.synchronize)
    groups = sample_groups(
        policy,
        bench.problems,
        training_sampling(config, ("benchmark", number), ()),
        reward={problem.domain: {_variety: 1.0} for problem in bench.problems},
        template=r1_zero if bench.is_world else bare,
        timeline=timeline,
    )

    batch = batch_of(groups)
    rewards_PG = rewards_of(groups)
    sampled = Sampled(batch=batch, rewards_PG=rewards_PG, max_new_tokens=config.max_new_tokens)
    # The policy is its own reference: a second one would cost memory, and as much time.
    actors: dict[Role, PolicyActor] = {"policy": policy, "reference": policy}
    update(
        actors,
        with_signals(batch, config.algorithm.signals(sampled, actors)),
        config.algorithm,
        split_rows(rewards_PG.numel(), 1, random.Random(number)),
        reference_every=config.reference_every,
        name="benchmark",
        timeline=timeline,
    )

    num_sampled = sum(len(rollout.tokens) for group in groups for rollout in group.rollouts)
    # The responses of a group share their prompt, which is computed once.
    num_prompt = sum(len(group.rollouts[0].prompt_tokens) for group in groups)
    num_trained = num_stream_tokens(batch)
    computed = {"generation": num_sampled + num_prompt, "reference": num_trained, "update": num_trained}
    # Prompts are work of generation, but nobody counts them as tokens that were generated.
    shown = computed | {"generation": num_sampled}

    seconds = timeline.metrics()
    figures: dict[str, float] = {}
    for name, passes in PASSES.items():
        figures[f"seconds_{name}"] = seconds[TIMED[name]]
        figures[f"tokens_{name}"] = float(shown[name])
        figures[f"flops_{name}"] = passes * policy.forward_flops(computed[name])
    return figures


def _speed(name: str, rounds: Sequence[dict[str, float]], ceiling: float) -> Speed:
    """Medians of one part."""
    seconds = [figures[f"seconds_{name}"] for figures in rounds]
    tokens = [figures[f"tokens_{name}"] for figures in rounds]
    flops = [figures[f"flops_{name}"] for figures in rounds]
    flops_per_second = median(count / elapsed for count, elapsed in zip(flops, seconds, strict=True))
    return Speed(
        seconds=median(seconds),
        tokens=median(tokens),
        tokens_per_second=median(count / elapsed for count, elapsed in zip(tokens, seconds, strict=True)),
        gflops=flops_per_second / 1e9,
        share_of_ceiling=flops_per_second / ceiling,
    )


def _ceiling(like: torch.Tensor) -> float:
    """Operations a second of the fastest of some matrix products, in the type and on the device of a tensor."""
    left = torch.ones(PRODUCT, PRODUCT, dtype=like.dtype, device=like.device)
    best = 0.0
    # The fastest, not the median: it is what the machine can do when nothing else runs.
    for _ in range(12):
        timeline = Timeline(partial(synchronize, like.device))
        with timeline.part("learning"):
            left @ left

        num_operations = 2 * PRODUCT**3
        best = max(best, num_operations / timeline.metrics()["seconds_learning"])
    return best


def _peak_bytes(device: torch.device) -> int:
    """Most memory that was held at once: of the device, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # getrusage counts kilobytes on Linux and bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
