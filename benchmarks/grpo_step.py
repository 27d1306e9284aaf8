"""One GRPO step of aha: sample, score with a reference, update. Alone, or in turn with TRL's.

    python benchmarks/grpo_step.py MODELS a varying
    python benchmarks/grpo_step.py MODELS a varying --peer peers/bin/python --pairs 3

The first prints one line of JSON. The second runs aha and `trl_peer.py` in processes of their own, A B A B, and prints
a line for each run and one that compares them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from workload import (
    CLIP_EPS,
    END_ID,
    GROUP_SIZE,
    KL_COEF,
    LEARNING_RATE,
    MAX_NEW_TOKENS,
    PARTS,
    Clock,
    read_prompts,
    response_lengths,
    result_line,
)

from aha.advantages.group import group_advantages
from aha.objectives.grpo import grpo_loss
from aha.policy.transformer import Transformer
from aha.prompts.tokenizer import Tokenizer
from aha.rollouts.engine import Decoding, Request
from aha.rollouts.local import LocalEngine
from aha.training.batch import stack
from aha.training.checkpoint import read_model
from aha.training.config import OptimizerConfig
from aha.training.learner import Learner, reference_logp
from aha.training.optimizer import adamw
from aha.types import Batch, Loss, Problem, Rollout

HERE = Path(__file__).parent


class PacedEngine(LocalEngine):
    """The local engine, with responses that end where they are told to.

    Only the choice of the token differs: a row samples any token but the end token, and the end token at its own
    length. All that follows from an end, such as leaving the batch, is the engine's own.
    """

    def __init__(self, policy: Transformer, tokenizer: Tokenizer, ends_B: Tensor) -> None:
        """Take the length at which each row ends, [B]; a length above the cap never ends."""
        super().__init__(policy, tokenizer)
        self._ends_B = ends_B

    def _draw(self, logits_BV: Tensor, rows: Any, alive_B: Tensor, step: int, decoding: Decoding) -> Tensor:
        logp_BV = logits_BV.log_softmax(-1)
        logits_BV[:, END_ID] = -torch.inf
        tokens_B = super()._draw(logits_BV, rows, alive_B, step, decoding)
        tokens_B = tokens_B.masked_fill(self._ends_B[alive_B] == step + 1, END_ID)
        rows.tokens_BT[alive_B, step] = tokens_B
        rows.logp_BT[alive_B, step] = logp_BV.gather(-1, tokens_B[:, None])[:, 0]
        return tokens_B


class Bench:
    """One model with all that a step needs."""

    def __init__(self, models: Path, name: str, kind: str, max_tokens: int) -> None:
        """Load the model twice, once as the reference."""
        policy, tokenizer = read_model(models / name)
        self._reference, _ = read_model(models / name)
        self._prompts, self._lengths = read_prompts(models), response_lengths(kind).tolist()
        self._max_tokens = max_tokens
        ends_B = torch.tensor(self._lengths) + (MAX_NEW_TOKENS if kind == "fixed" else 0)
        self._engine = PacedEngine(policy, tokenizer, ends_B)
        optimizers = adamw(policy, OptimizerConfig(learning_rate=LEARNING_RATE))
        self._learner = Learner(policy, optimizers, factor=lambda step: 1.0, grad_clip=1.0, max_tokens=max_tokens)

    def step(self) -> dict[str, float]:
        """One step: CPU seconds of its parts.

        Raises:
            RuntimeError: the responses are not as long as they should be, or engine and learner disagree.
        """
        clock = Clock()
        rollouts = self._sample()
        generate = clock.lap()
        batch = self._score(rollouts)
        reference = clock.lap()
        metrics = self._learner.step(batch, _loss, name="the benchmark's batch")
        train = clock.lap()
        if [len(rollout.tokens) for rollout in rollouts] != self._lengths:
            raise RuntimeError("the responses do not have the lengths that were asked for")
        if abs(metrics["ratio"] - 1) > 1e-4:
            raise RuntimeError(f"engine and learner disagree: their mean ratio is {metrics['ratio']}")
        return dict(zip(PARTS, (generate, reference, train), strict=True))

    def _sample(self) -> list[Rollout]:
        """All responses of a step."""
        requests = [
            Request(
                problem=Problem(id=str(place), question=prompt, answer="", domain="benchmark"),
                prompt=prompt,
                seed=("benchmark", self._learner.num_steps, place),
            )
            for place, prompt in enumerate(self._prompts)
        ]
        groups = self._engine.sample(requests, GROUP_SIZE, Decoding(max_new_tokens=MAX_NEW_TOKENS))
        return [rollout for group in groups for rollout in group]

    def _score(self, rollouts: Sequence[Rollout]) -> Batch:
        """Rewards, advantages and the reference's log-probabilities."""
        rewards_B = torch.tensor([len(set(rollout.tokens.tolist())) / 100 for rollout in rollouts])
        adv_B = group_advantages(rewards_B.view(-1, GROUP_SIZE)).flatten()
        prompts, responses = [o.prompt_tokens for o in rollouts], [o.tokens for o in rollouts]
        old_logp = [rollout.logp for rollout in rollouts]
        adv = [adv.expand(len(o.tokens)) for o, adv in zip(rollouts, adv_B, strict=True)]
        unscored = stack(prompts, responses)
        ref_logp_BT = reference_logp(self._reference, unscored, temperature=1.0, max_tokens=self._max_tokens)
        return stack(prompts, responses, {"old_logp_BT": old_logp, "ref_logp_BT": ref_logp_BT, "adv_BT": adv})


def _loss(logp_BT: Tensor, **signals: Tensor) -> Loss:
    return grpo_loss(logp_BT, clip_eps=CLIP_EPS, kl_coef=KL_COEF, **signals)


def measure(models: Path, name: str, kind: str, num_steps: int, max_tokens: int) -> str:
    """Make some steps; the line that describes them."""
    torch.set_num_threads(1)
    bench = Bench(models, name, kind, max_tokens)
    return result_line(f"aha, {max_tokens} tokens at once", name, kind, [bench.step() for _ in range(num_steps)])


def run(python: str, script: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """Run one side in a process of its own, print its line and return it."""
    one_thread = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, str(script), *arguments], env=os.environ | one_thread, stdout=subprocess.PIPE, text=True, check=True
    )
    line = done.stdout.strip().splitlines()[-1]
    print(line, flush=True)
    return dict(json.loads(line))


def compare(ours: Sequence[Mapping[str, Any]], peers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Medians of both sides; how many times more the peer takes, with the range over the pairs."""
    names = ("cpu_seconds", *PARTS, "peak_mib")
    medians = [{name: statistics.median(run[name] for run in side) for name in names} for side in (ours, peers)]
    ratios = [peer["cpu_seconds"] / own["cpu_seconds"] for own, peer in zip(ours, peers, strict=True)]
    return {
        "pairs": len(ratios),
        "aha": medians[0],
        "peer": medians[1],
        "times_faster": round(medians[1]["cpu_seconds"] / medians[0]["cpu_seconds"], 2),
        "times_faster_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "share_of_memory": round(medians[0]["peak_mib"] / medians[1]["peak_mib"], 2),
    }


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, help="folder written by models.py")
    parser.add_argument("name", help="model: a or c")
    parser.add_argument("lengths", choices=["fixed", "varying"], help="lengths of the responses")
    parser.add_argument("--steps", type=int, default=4, help="steps of a process, the first of which only warms up")
    parser.add_argument("--peer", help="Python of the peers' environment; runs trl_peer.py in turn with aha")
    parser.add_argument("--max-tokens", type=int, default=4096, help="tokens of a forward and backward pass of aha")
    parser.add_argument("--pairs", type=int, default=3, help="runs of each side")
    parser.add_argument("--peer-rows", default="128", help="rows of the peer's forward and backward pass")
    args = parser.parse_args()
    if not args.peer:
        print(measure(args.models, args.name, args.lengths, args.steps, args.max_tokens))
        return
    work = [str(args.models), args.name, args.lengths, "--steps", str(args.steps)]
    ours, peers = [], []
    for _ in range(args.pairs):
        ours.append(run(sys.executable, Path(__file__), [*work, "--max-tokens", str(args.max_tokens)]))
        peers.append(run(args.peer, HERE / "trl_peer.py", [*work, "--rows", args.peer_rows]))
    print(json.dumps({"model": args.name, "lengths": args.lengths, **compare(ours, peers)}))


if __name__ == "__main__":
    main()
