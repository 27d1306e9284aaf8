"""Every objective has one gradient, however a batch is cut: micro-batches, mini-batches added up, processes."""

import inspect
import json
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from pathlib import Path

import pytest
import torch
from processes import run_processes
from safetensors.torch import load_file, save_file
from tiny import random_tokens, tiny_config, tiny_policy
from torch import Tensor, nn

import aha.objectives
from aha.actors.local import score_last
from aha.objectives.grpo import grpo_loss, grpo_sequence_loss
from aha.objectives.reductions import constant_mean, sequence_mean, token_mean
from aha.objectives.reinforce import reinforce_loss
from aha.objectives.reward_model import pointwise_loss, ranking_loss
from aha.objectives.supervised import next_token_loss
from aha.policy.reward_model import from_policy
from aha.training.batch import cut_micro_batches, partition_rows, select, stack
from aha.training.learner import Forward, Learner, Objective, log_probabilities
from aha.training.world import World
from aha.types import Batch, Loss

EXACT = 1e-12
"""Gradients are float64 numbers of size 1: an order of summation moves them by far less."""

Division = Sequence[Sequence[int]]
"""Rows of each part of a batch; a part may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An objective, what it is given, and what must stay together: rows, or all responses to a prompt."""

    objective: Objective
    signals: tuple[str, ...] = ()
    is_of_scores: bool = False
    unit: int = 1


ADVANTAGES = ("old_logp_BT", "ref_logp_BT", "adv_BT")

CASES = {
    "constant_mean": Case(objective=constant_mean, signals=("norm_B",)),
    "grpo_loss": Case(objective=partial(grpo_loss, clip_eps=0.2, kl_coef=0.1), signals=ADVANTAGES),
    "grpo_sequence_loss": Case(objective=partial(grpo_sequence_loss, clip_eps=0.2, kl_coef=0.1), signals=ADVANTAGES),
    "next_token_loss": Case(objective=next_token_loss),
    "pointwise_loss": Case(objective=pointwise_loss, signals=("is_safe_B",), is_of_scores=True),
    "ranking_loss": Case(objective=ranking_loss, signals=("group_B", "quality_B"), is_of_scores=True, unit=3),
    "reinforce_loss": Case(objective=reinforce_loss, signals=ADVANTAGES),
    "sequence_mean": Case(objective=sequence_mean),
    "token_mean": Case(objective=token_mean),
}
"""Every function of `aha.objectives` that returns a loss. Comparisons are within a prompt, which is never divided."""

DIVISIONS: dict[str, Division] = {
    "uneven, with an empty part": [[3, 4, 5], [], [*range(0, 3), *range(6, 12)]],
    "one part is without advantage": [range(3, 12), range(0, 3)],
    "rows of different prompts": [[11, 0, 5], [4], [1, 2, 3, 6, 7, 8, 9, 10]],
}
NUM_PEERS = 2


def exported() -> set[str]:
    """Names of all public functions of the package's modules that return a loss."""
    names = set[str]()
    for info in pkgutil.iter_modules(aha.objectives.__path__):
        module = import_module(f"aha.objectives.{info.name}")
        functions = {name: getattr(module, name) for name in module.__all__}
        names |= {name for name, it in functions.items() if inspect.signature(it).return_annotation is Loss}
    return names


def make_batch(case: Case) -> Batch:
    """Four prompts with three responses each, of 1 to 9 tokens; the first prompt has no advantage and no best response.

    Of two responses some tokens do not count.
    """
    prompts = [prompt for prompt in random_tokens([4, 3, 5, 2], seed=0) for _ in range(3)]
    responses = random_tokens([2, 7, 1, 5, 3, 9, 4, 4, 8, 1, 6, 2], seed=1)
    generator = torch.Generator().manual_seed(2)
    advantages = [0.0] * 3 + torch.randn(9, generator=generator).tolist()
    laid = {
        "old_logp_BT": [-2.5 + 0.2 * torch.randn(len(one), generator=generator) for one in responses],
        "ref_logp_BT": [-2.5 + 0.2 * torch.randn(len(one), generator=generator) for one in responses],
        "adv_BT": [torch.full((len(one),), adv) for one, adv in zip(responses, advantages, strict=True)],
    }
    batch = stack(prompts, responses, laid)
    for row, position in ((5, 8), (10, 4), (10, 5)):
        assert batch.mask_BT[row, position]
        batch.mask_BT[row, position] = False
    labels = {
        "group_B": torch.arange(4).repeat_interleave(3),
        "quality_B": torch.tensor([1, 1, 1, 0, 2, 1, 1, 1, 0, 3, 2, 1]).double(),
        "norm_B": torch.full((12,), 8.0).double(),
        "is_safe_B": torch.tensor([1, 1, 1, 0, 1, 0, 0, 0, 0, 1, 0, 1]).bool(),
    }
    signals = {
        name: values.double() if values.is_floating_point() else values for name, values in batch.signals.items()
    }
    return Batch(
        tokens_BT=batch.tokens_BT,
        mask_BT=batch.mask_BT,
        lengths_B=batch.lengths_B,
        signals={name: value for name, value in (signals | labels).items() if name in case.signals},
    )


def gradient(
    case: Case, parts: Sequence[Batch], world: World | None = None
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The gradient of a step on these parts, read from what plain descent at rate 1 takes away, and the metrics."""
    policy = tiny_policy(tiny_config(), dtype=torch.float64)
    head = torch.Generator().manual_seed(3)
    model: nn.Module = from_policy(policy, head, reads="summary") if case.is_of_scores else policy
    forward: Forward = score_last if case.is_of_scores else log_probabilities
    descent = torch.optim.SGD([{"params": list(model.parameters()), "base_lr": 1.0}], lr=1.0)
    learner = Learner(model, [descent], factor=lambda step: 1.0, grad_clip=1e9, forward=forward, world=world)

    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    metrics = learner.step_on(parts, case.objective, name="a batch")
    return {name: before[name] - weight.detach() for name, weight in model.named_parameters()}, metrics


@cache
def whole_gradient(name: str) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The gradient of a step on the whole batch, and the metrics."""
    case = CASES[name]
    return gradient(case, [make_batch(case)])


def divided(batch: Batch, division: Division) -> list[Batch]:
    """The parts of a batch that have rows."""
    return [select(batch, list(rows)) for rows in division if len(rows)]


def divisions(case: Case) -> dict[str, Division]:
    """Those that leave together what is compared."""
    return {name: division for name, division in DIVISIONS.items() if fits(case, division)}


def fits(case: Case, division: Division) -> bool:
    """Whether what must stay together does."""
    return all(len({row // case.unit for row in rows}) * case.unit == len(rows) for rows in division)


def distance(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert found.keys() == expected.keys()
    return max(float((found[name] - expected[name]).abs().max()) for name in expected)


each_objective = pytest.mark.parametrize("name", sorted(CASES))


def test_every_exported_objective_is_tested() -> None:
    assert exported() == CASES.keys()


@each_objective
def test_the_batch_has_something_to_learn_and_something_without_advantage(name: str) -> None:
    whole, metrics = whole_gradient(name)
    assert max(float(one.abs().max()) for one in whole.values()) > 1e-2
    if name.startswith("grpo"):
        assert 0 < metrics["clip_fraction"] < 1


@each_objective
def test_micro_batches_have_the_gradient_of_the_batch(name: str) -> None:
    case = CASES[name]
    batch = make_batch(case)
    whole, metrics = whole_gradient(name)
    for words, division in divisions(case).items():
        parts, metrics_of_parts = gradient(case, divided(batch, division))
        assert distance(parts, whole) < EXACT, words
        assert metrics_of_parts == pytest.approx(metrics, rel=1e-9, abs=1e-12), words


@pytest.mark.parametrize("name", sorted(name for name, case in CASES.items() if case.unit == 1))
def test_the_learners_own_micro_batches_have_the_gradient_of_the_batch(name: str) -> None:
    """Row by row, and of several rows. Where responses are compared, the stage cuts batches by prompts."""
    case = CASES[name]
    batch = make_batch(case)
    for max_tokens in (1, 17):
        parts = cut_micro_batches(batch, max_tokens)
        assert len(parts) > 1
        assert distance(gradient(case, parts)[0], whole_gradient(name)[0]) < EXACT, max_tokens


@pytest.mark.full
@each_objective
def test_the_gradients_of_mini_batches_add_up_by_their_counts(name: str) -> None:
    case = CASES[name]
    batch = make_batch(case)
    whole, _ = whole_gradient(name)
    for words, division in divisions(case).items():
        minis = [mini for mini in divided(batch, division) if count(case, mini)]
        total = sum(count(case, mini) for mini in minis)
        assert total == count(case, batch), words

        summed = {key: torch.zeros_like(value) for key, value in whole.items()}
        for mini in minis:
            for key, value in gradient(case, [mini])[0].items():
                summed[key] += value * (count(case, mini) / total)
        assert distance(summed, whole) < EXACT, words


@torch.no_grad()
def count(case: Case, batch: Batch) -> float:
    """What the learner divides by: it depends on mask and labels alone."""
    output = torch.zeros(batch.lengths_B.shape if case.is_of_scores else batch.mask_BT.shape, dtype=torch.float64)
    return float(case.objective(output, mask_BT=batch.mask_BT, **batch.signals).count)


def shares(batch: Batch) -> dict[str, Division]:
    """Rows of each of two processes."""
    return {
        "as the stage deals them": partition_rows(batch, NUM_PEERS),
        "the first process is empty": [[], range(12)],
        "the second process is empty": [range(12), []],
        "one process is without advantage": [range(3), range(3, 12)],
    }


def take_part(rank: int, folder: Path) -> None:
    """Every objective and share in one process of two; gradients and metrics go into files."""
    torch.set_num_threads(1)
    world = World(rank, NUM_PEERS, str(folder / "rendezvous"))
    gradients, figures = {}, {}
    for name, case in CASES.items():
        batch = make_batch(case)
        for share, division in shares(batch).items():
            # Each process has its rows as micro-batches of one prompt each.
            mine = division[rank]
            by_prompt = [[row for row in mine if row // 3 == prompt] for prompt in range(4)]
            found, figures[f"{name}, {share}"] = gradient(case, divided(batch, by_prompt), world)
            gradients |= {f"{name}, {share}, {key}": value for key, value in found.items()}
    save_file(gradients, folder / f"{rank}.safetensors")
    (folder / f"{rank}.json").write_text(json.dumps(figures), encoding="utf-8")
    world.leave()


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict[str, Tensor], dict[str, dict[str, float]]]]:
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("peers")
    run_processes(take_part, folder, count=NUM_PEERS)
    return [
        (load_file(folder / f"{rank}.safetensors"), json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")))
        for rank in range(NUM_PEERS)
    ]


@pytest.mark.full
@each_objective
def test_processes_have_the_gradient_of_one(
    name: str, peers: list[tuple[dict[str, Tensor], dict[str, dict[str, float]]]]
) -> None:
    case = CASES[name]
    batch = make_batch(case)
    whole, metrics = whole_gradient(name)
    for share, division in shares(batch).items():
        assert fits(case, division), share
        for gradients, figures in peers:
            found = {key: gradients[f"{name}, {share}, {key}"] for key in whole}
            assert distance(found, whole) < EXACT, share
            assert figures[f"{name}, {share}"] == pytest.approx(metrics, rel=1e-9, abs=1e-12), share
