"""What the processes of a test run that needs two of them."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from processes import run_processes
from safetensors.torch import save_file
from tiny import random_tokens, tiny_config, tiny_policy
from torch import Tensor

from aha.objectives.grpo import grpo_loss
from aha.policy.transformer import Transformer
from aha.training.batch import partition_rows, select, stack
from aha.training.config import OptimizerConfig
from aha.training.learner import Learner, NonFiniteLossError, log_probabilities
from aha.training.optimizer import adamw
from aha.training.world import World
from aha.types import Batch, Loss

NUM_PEERS = 2

objective = partial(grpo_loss, clip_eps=0.2, kl_coef=0.01)


def make_batch(seed: int = 0) -> Batch:
    """Eight sequences of 8 tokens in four groups that share a prompt, with everything that GRPO wants to know."""
    prompts = [prompt for prompt in random_tokens([4, 3, 5, 2], seed=seed) for _ in range(2)]
    responses = random_tokens([8 - len(prompt) for prompt in prompts], seed=seed + 1)
    generator = torch.Generator().manual_seed(seed + 2)

    def draw(mean: float) -> list[Tensor]:
        return [mean + 0.5 * torch.randn(len(response), generator=generator) for response in responses]

    return stack(prompts, responses, {"old_logp_BT": draw(-2.5), "ref_logp_BT": draw(-2.5), "adv_BT": draw(0.0)})


def make_learner(*, world: World | None = None, max_tokens: int = 8192, seed: int = 0) -> Learner[Transformer]:
    """A learner in float64, so that only a real difference is one; its gradients are clipped."""
    policy = tiny_policy(tiny_config(), seed=seed, dtype=torch.float64)
    optimizers = adamw(policy, OptimizerConfig(learning_rate=1e-2, weight_decay=0.1))
    return Learner(
        policy,
        optimizers,
        factor=lambda step: 1.0,
        grad_clip=0.05,
        forward=partial(log_probabilities, temperature=0.9),
        max_tokens=max_tokens,
        world=world,
    )


def weights_of(policy: Transformer) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in policy.named_parameters()}


def poisoned(logp_BT: Tensor, *, poison_B: Tensor, **signals: Tensor) -> Loss:
    """The objective, times what may not be a number for some sequence."""
    loss = objective(logp_BT, **signals)
    return Loss(total=loss.total * poison_B.prod(), count=loss.count, metrics=loss.metrics)


def learn(world: World, hands: Callable[[Batch], Sequence[Sequence[int]]]) -> tuple[Learner, dict[str, float]]:
    """Two updates, so that moments matter; the learner, and the metrics of the second update."""
    learner, metrics = make_learner(world=world), {}
    for seed in (0, 10):
        whole = make_batch(seed)
        metrics = learner.step(select(whole, hands(whole)[world.rank]), objective, name="a batch")
    return learner, metrics


def fail(world: World) -> dict[str, object]:
    """One good update, then one whose loss is not a number in the last process only."""
    learner = make_learner(world=world)
    whole = make_batch()
    mine = select(whole, partition_rows(whole, world.size)[world.rank])
    learner.step(mine, objective, name="a batch")
    weights = weights_of(learner.model)
    moments = {key: dict(value) for key, value in learner.optimizers[0].state_dict()["state"].items()}
    moments = {key: {name: x.clone() for name, x in value.items()} for key, value in moments.items()}
    is_last = world.rank == world.size - 1
    poison_B = torch.tensor([float("nan") if is_last else 1.0] * len(mine.lengths_B))
    bad = Batch(
        tokens_BT=mine.tokens_BT,
        mask_BT=mine.mask_BT,
        lengths_B=mine.lengths_B,
        signals={**mine.signals, "poison_B": poison_B},
    )
    message = ""
    try:
        learner.step(bad, poisoned, name="stage 'zero', iteration 7")
    except NonFiniteLossError as error:
        message = str(error)
    now = learner.optimizers[0].state_dict()["state"]
    return {
        "message": message,
        "weights are as before": all(torch.equal(weights[n], w) for n, w in weights_of(learner.model).items()),
        "moments are as before": all(torch.equal(now[k][n], x) for k, v in moments.items() for n, x in v.items()),
        "num_steps": learner.num_steps,
    }


def agree(world: World) -> dict[str, object]:
    """What the processes tell each other."""
    mixed = [torch.full((2,), float(world.rank + 1)), torch.full((2, 2), 10.0 * (world.rank + 1), dtype=torch.float64)]
    world.add_up(mixed)
    return {
        "shared": world.share(range(7)),
        "collected": world.collect(world.share(range(7))),
        "uneven": world.collect(["only the first"] if world.is_first else []),
        "sums": [mixed[0].tolist(), mixed[1].tolist()],
        "dtypes": [str(tensor.dtype) for tensor in mixed],
        "agreed": [world.agree(False), world.agree(world.rank == 1), world.agree(True)],
    }


def take_part(rank: int, folder: Path) -> None:
    """All of it, in one process of several; the results go into files."""
    torch.set_num_threads(1)
    world = World(rank, NUM_PEERS, str(folder / "rendezvous"))
    scenarios = {
        "dealt": lambda whole: partition_rows(whole, world.size),
        "one hand is empty": lambda whole: [list(range(len(whole.lengths_B))), []],
        "the other hand is empty": lambda whole: [[], list(range(len(whole.lengths_B)))],
    }
    told: dict[str, object] = {"failure": fail(world), "agreement": agree(world), "metrics": {}}
    metrics = {}
    for name, hands in scenarios.items():
        learner, metrics[name] = learn(world, hands)
        save_file(weights_of(learner.model), folder / f"{name}-{rank}.safetensors")
    (folder / f"{rank}.json").write_text(json.dumps({**told, "metrics": metrics}), encoding="utf-8")
    world.leave()


def run_peers(folder: Path) -> list[dict[str, object]]:
    """Start the processes and wait for them; what each of them told."""
    run_processes(take_part, folder, count=NUM_PEERS)
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(NUM_PEERS)]
