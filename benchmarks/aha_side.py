"""The unit of work done by aha: sample, score with a reference, update; whole, or one half of it.

    python benchmarks/aha_side.py MODELS a varying
    python benchmarks/aha_side.py MODELS a varying --parts learn --threads 2

Prints one line of JSON, as the peers' scripts do. With two threads it is two processes of one thread each, as
`aha run` makes them: each samples its part of every group, all rollouts are gathered, each learns from its own, and
the gradients are added up. Where a shape is given, the model is a random one of Qwen2's family in place of the
folder's.
"""

import argparse
import copy
import multiprocessing
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from paced import PacedEngine, ends_of
from workload import (
    CLIP_EPS,
    KL_COEF,
    LEARNING_RATE,
    VOCABULARY_SIZE,
    Clock,
    Unit,
    check_lengths,
    memory_mib,
    read_prompts,
    result_line,
    side_parser,
)

from aha.advantages.group import group_advantages
from aha.algorithms.grpo import GRPO
from aha.engines.engine import Decoding, Request, sample
from aha.kernels.cpu.allocation import keep_freed_memory
from aha.policy.config import DenseConfig
from aha.policy.pretrained import read_policy
from aha.policy.transformer import Transformer, initialise
from aha.prompts.pretrained import read_tokenizer
from aha.training.batch import partition_rows, select, stack
from aha.training.config import OptimizerConfig
from aha.training.learner import Learner, log_probabilities, reference_logp
from aha.training.optimizer import adamw
from aha.training.world import World
from aha.types import Batch, Rollout


def random_config(width: int, layers: int, vocabulary: int = VOCABULARY_SIZE) -> DenseConfig:
    """A shape of Qwen2's family: heads of 64, two query heads for each key-value head."""
    return DenseConfig(
        model_type="qwen2",
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=width * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=max(2, width // 64),
        num_key_value_heads=max(1, width // 128),
        head_dim=max(2, min(64, width // 2)),
        max_position_embeddings=8192,
    )


def make_policy(given: argparse.Namespace) -> Transformer:
    """The folder's policy, or a random one where a width is given."""
    if not given.width:
        return read_policy(given.models / given.name)
    policy = Transformer(random_config(given.width, given.layers, given.vocabulary))
    initialise(policy, torch.Generator().manual_seed(0))
    return policy


class Bench:
    """One model with all that a step needs, in one process of a world."""

    def __init__(self, given: argparse.Namespace, unit: Unit, world: World) -> None:
        """Make policy, reference, engine and learner."""
        self._unit, self._world = unit, world
        self._prompts = read_prompts(given.models, unit.num_prompts)
        policy = make_policy(given)
        self._tokenizer = read_tokenizer(given.models / given.name, room=policy.config.vocab_size)
        self._reference = None if given.no_reference else copy.deepcopy(policy)
        self._bound = {"max_tokens": given.max_tokens} if given.max_tokens else {}
        self._engine = PacedEngine(policy, self._tokenizer, ends_of(unit, world))
        optimizers = adamw(policy, OptimizerConfig(learning_rate=LEARNING_RATE))
        self._learner = Learner(
            policy,
            optimizers,
            factor=lambda step: 1.0,
            grad_clip=1.0,
            forward=log_probabilities,
            world=world,
            **self._bound,
        )
        self._loss = GRPO(clip_eps=CLIP_EPS, kl_coef=0.0 if given.no_reference else KL_COEF).loss

    def step(self) -> dict[str, float]:
        """Sample, score and update once: seconds of these parts.

        Raises:
            RuntimeError: the responses are not as long as they should be, or engine and learner disagree.
        """
        clock = Clock()
        rollouts = self._sample()
        clock.lap("generate")
        ratio = self._learn(rollouts, clock)
        check_lengths([len(rollout.tokens) for rollout in rollouts], self._unit.lengths_B.tolist())
        if abs(ratio - 1) > 1e-4:
            raise RuntimeError(f"engine and learner disagree: their mean ratio is {ratio}")
        return clock.laps

    def generate(self) -> dict[str, float]:
        """Sample once."""
        clock = Clock()
        rollouts = self._sample()
        clock.lap("generate")
        check_lengths([len(rollout.tokens) for rollout in rollouts], self._unit.lengths_B.tolist())
        return clock.laps

    def learn(self) -> dict[str, float]:
        """Score and update once from random responses, which are as likely as others to a random model."""
        prompts = [self._tokenizer.encode_prompt(prompt) for prompt in self._prompts]
        rollouts = [
            Rollout(
                problem_id="",
                prompt_tokens=prompts[row // self._unit.group_size],
                tokens=torch.from_numpy(tokens),
                logp=torch.full((len(tokens),), -float(torch.tensor(VOCABULARY_SIZE).log())),
                text="",
                finish="stop",
            )
            for row, tokens in enumerate(self._unit.responses())
        ]
        clock = Clock()
        self._learn(rollouts, clock)
        return clock.laps

    def _sample(self) -> list[Rollout]:
        """All responses of a step: this process samples its part of every group and gathers the others'."""
        part = self._unit.group_size // self._world.size
        requests = [
            Request(
                id=str(place),
                prompt=prompt,
                seed=("benchmark", self._learner.num_steps, place),
                decoding=Decoding(max_new_tokens=self._unit.cap),
                index=self._world.rank * part,
            )
            for place, prompt in enumerate(self._prompts)
        ]
        groups = sample(self._engine, requests, part)
        parts = self._world.collect([groups])
        return [rollout for place in range(len(requests)) for one in parts for rollout in one[place]]

    def _learn(self, rollouts: Sequence[Rollout], clock: Clock) -> float:
        """Score all responses, then update from this process's share; the mean ratio of learner and engine."""
        batch = self._scored(rollouts)
        clock.lap("reference")
        metrics = self._learner.step(batch, self._loss, name="the benchmark's batch")
        clock.lap("train")
        return metrics["ratio"]

    def _scored(self, rollouts: Sequence[Rollout]) -> Batch:
        """This process's share of the batch, with advantages and, where there is a reference, its log-probabilities."""
        rewards_B = torch.tensor([len(set(rollout.tokens.tolist())) / 100 for rollout in rollouts])
        adv_B = group_advantages(rewards_B.view(-1, self._unit.group_size)).flatten()
        whole = stack(
            [rollout.prompt_tokens for rollout in rollouts],
            [rollout.tokens for rollout in rollouts],
            {
                "old_logp_BT": [rollout.logp for rollout in rollouts],
                "adv_BT": [adv.expand(len(o.tokens)) for o, adv in zip(rollouts, adv_B, strict=True)],
            },
        )
        mine = select(whole, partition_rows(whole, self._world.size)[self._world.rank])
        if self._reference is None:
            return mine
        ref_logp_BT = reference_logp(self._reference, mine, temperature=1.0, **self._bound)
        return replace(mine, signals={**mine.signals, "ref_logp_BT": ref_logp_BT})


def measure(given: argparse.Namespace, world: World) -> str:
    """Make some steps; the line that describes them."""
    torch.set_num_threads(1)
    keep_freed_memory()
    libraries = memory_mib("VmRSS")
    unit = Unit(kind=given.lengths, num_prompts=given.prompts, group_size=given.group_size, cap=given.cap)
    bench = Bench(given, unit, world)
    part = {"step": bench.step, "generate": bench.generate, "learn": bench.learn}[given.parts]
    steps = [part() for _ in range(given.steps)]
    line = result_line(f"aha, {world.size} processes" if world.size > 1 else "aha", given, steps, libraries)
    world.agree(False)  # the other processes live until their memory has been read
    world.leave()
    return line


def take_part(rank: int, given: argparse.Namespace, rendezvous: str) -> str:
    """Be one of the processes."""
    torch.set_num_threads(1)
    return measure(given, World(rank, given.threads, rendezvous))


def measure_among_peers(given: argparse.Namespace) -> str:
    """Start the other processes, and measure with them."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as meeting:
        rendezvous = str(Path(meeting) / "rendezvous")
        others: list[Any] = [
            context.Process(target=take_part, args=(rank, given, rendezvous), daemon=True)
            for rank in range(1, given.threads)
        ]
        for other in others:
            other.start()
        line = take_part(0, given, rendezvous)
        for other in others:
            other.join()
    return line


def main() -> None:
    """Read the arguments and print the result."""
    parser = side_parser(__doc__)
    parser.add_argument("--parts", choices=["step", "generate", "learn"], default="step", help="what is done")
    parser.add_argument("--no-reference", action="store_true", help="KL coefficient 0 and no reference model")
    parser.add_argument("--max-tokens", type=int, help="tokens of a forward and backward pass; the learner's default")
    parser.add_argument("--prompts", type=int, default=Unit.num_prompts, help="different prompts")
    parser.add_argument("--group-size", type=int, default=Unit.group_size, help="responses to each")
    parser.add_argument("--cap", type=int, default=Unit.cap, help="longest response, tokens")
    parser.add_argument("--width", type=int, help="of a random model in place of the folder's")
    parser.add_argument("--layers", type=int, default=2, help="of the random model")
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY_SIZE, help="of the random model")
    given = parser.parse_args()
    print(measure_among_peers(given) if given.threads > 1 else measure(given, World()), flush=True)


if __name__ == "__main__":
    main()
