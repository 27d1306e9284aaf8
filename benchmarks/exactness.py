"""How far apart engine and learner are on the same tokens, and how far float32 itself is from float64.

usage: python benchmarks/exactness.py [MODEL ...]     (the built-in base where none is named)

Samples 24 validation problems x 16 responses at temperature 1 and scores them again: in the learner's layout, in the
plain padded one, and in float64. Then samples each problem alone and compares with what was sampled in the batch.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from aha.engines.engine import Decoding, Request, sample
from aha.engines.local import LocalEngine
from aha.policy.layout import rows
from aha.policy.scoring import score
from aha.problems.world.questions import held_out_problems
from aha.prompts.templates import r1_zero
from aha.recipes.base_model import BUILT_IN
from aha.training.batch import layout_of, stack
from aha.training.checkpoint import read_model


def describe(name: str, left_M: Tensor, right_M: Tensor) -> None:
    """Print the largest and the mean difference, and how many exceed 1e-5."""
    gap = (left_M.double() - right_M.double()).abs()
    share = (gap > 1e-5).double().mean()
    print(f"  {name:28} max {gap.max():.1e}  mean {gap.mean():.1e}  above 1e-5: {share:.2%} of {len(gap)}")


@torch.no_grad()
def compare(model: Path) -> None:
    """Print all differences for one model."""
    policy, tokenizer = read_model(model)
    engine, decoding = LocalEngine(policy, tokenizer), Decoding(max_new_tokens=128)
    requests = [
        Request(id=problem.id, prompt=r1_zero(problem.question), seed=(0, problem.id), decoding=decoding)
        for problem in held_out_problems("validation", 24)
    ]
    groups = sample(engine, requests, 16)
    rollouts = [rollout for group in groups for rollout in group]
    batch = stack([rollout.prompt_tokens for rollout in rollouts], [rollout.tokens for rollout in rollouts])
    sampled = torch.cat([rollout.logp for rollout in rollouts])
    learned = score(policy, layout_of(batch), batch.tokens_BT, batch.mask_BT)[batch.mask_BT]
    plain = score(policy, rows(batch.tokens_BT), batch.tokens_BT, batch.mask_BT)[batch.mask_BT]
    exact = score(policy.double(), layout_of(batch), batch.tokens_BT, batch.mask_BT)[batch.mask_BT]
    print(model)
    describe("engine and learner", sampled, learned)
    describe("learner, packed and padded", learned, plain)
    describe("engine and float64", sampled, exact)
    describe("learner and float64", learned, exact)
    engine.load(policy.float(), 0)
    alone = [rollout for request in requests for rollout in sample(engine, [request], 16)[0]]
    pairs = list(zip(alone, rollouts, strict=True))
    num_same = sum(torch.equal(one.tokens, other.tokens) for one, other in pairs)
    num_equal = sum(torch.equal(one.logp, other.logp) for one, other in pairs)
    print(
        f"  alone and in the batch, of {len(rollouts)} responses: {num_same} have the same tokens, {num_equal} all bits"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    for folder in [Path(name) for name in sys.argv[1:]] or [BUILT_IN]:
        compare(folder)
