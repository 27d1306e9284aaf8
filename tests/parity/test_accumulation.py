"""One step is one step: 1 x 8 sequences = 4 x 2 accumulated = two processes; and a failed one never happened."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peers import make_batch, make_learner, objective, run_peers, weights_of
from safetensors.torch import load_file
from tiny import tiny_config, tiny_policy
from torch import Tensor

from aha.training.batch import cut_micro_batches, partition_rows, select
from aha.training.learner import Learner, NonFiniteLossError
from aha.types import Batch, Loss

pytestmark = pytest.mark.full

SMALL, LARGE = 14, 8192
"""Tokens of a micro-batch: two sequences that share a prompt, and all."""

EXACT = 1e-9
"""A float64 step of size 0.01; differences of summation order stay far below, anything else far above."""


def distance(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert found.keys() == expected.keys()
    return max(float((found[name] - expected[name]).abs().max()) for name in expected)


def learned(*, max_tokens: int) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Weights after two updates in this process, and the metrics of the second."""
    learner, metrics = make_learner(max_tokens=max_tokens), {}
    for seed in (0, 10):
        metrics = learner.step(make_batch(seed), objective, name="a batch")
    return weights_of(learner.model), metrics


@pytest.fixture(scope="module")
def whole() -> tuple[dict[str, Tensor], dict[str, float]]:
    """Eight sequences at once."""
    return learned(max_tokens=LARGE)


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Two processes, what they wrote and what they told."""
    folder = tmp_path_factory.mktemp("peers")
    return folder, run_peers(folder)


def test_the_comparison_is_of_one_with_four_micro_batches() -> None:
    assert [len(part.lengths_B) for part in cut_micro_batches(make_batch(), LARGE)] == [8]
    assert [len(part.lengths_B) for part in cut_micro_batches(make_batch(), SMALL)] == [2, 2, 2, 2]


def test_the_updates_are_worth_comparing(whole: tuple[dict[str, Tensor], dict[str, float]]) -> None:
    assert distance(whole[0], weights_of(make_learner().model)) > 1e-3
    assert whole[1]["grad_norm"] > 0.05


def test_accumulated_is_whole(whole: tuple[dict[str, Tensor], dict[str, float]]) -> None:
    weights, metrics = learned(max_tokens=SMALL)
    assert distance(weights, whole[0]) < EXACT
    assert metrics == pytest.approx(whole[1], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("scenario", ["dealt", "one hand is empty", "the other hand is empty"])
def test_two_processes_are_one(
    scenario: str, whole: tuple[dict[str, Tensor], dict[str, float]], peers: tuple[Path, list[dict[str, Any]]]
) -> None:
    folder, told = peers
    weights = [load_file(folder / f"{scenario}-{rank}.safetensors") for rank in range(2)]
    assert distance(weights[0], whole[0]) < EXACT
    assert distance(weights[1], weights[0]) == 0.0
    for rank in range(2):
        assert told[rank]["metrics"][scenario] == pytest.approx(whole[1], rel=1e-9, abs=1e-12)


def test_the_dealt_hands_are_two_real_hands() -> None:
    assert sorted(len(hand) for hand in partition_rows(make_batch(), 2)) == [4, 4]


def test_a_loss_that_is_no_number_in_one_process_stops_both(peers: tuple[Path, list[dict[str, Any]]]) -> None:
    for rank in range(2):
        failure = peers[1][rank]["failure"]
        assert "stage 'zero', iteration 7: the loss is nan" in failure["message"]
        assert failure["weights are as before"]
        assert failure["moments are as before"]
        assert failure["num_steps"] == 1


def test_processes_share_collect_add_up_and_agree(peers: tuple[Path, list[dict[str, Any]]]) -> None:
    first, second = (told["agreement"] for told in peers[1])
    assert (first["shared"], second["shared"]) == ([0, 2, 4, 6], [1, 3, 5])
    for said in (first, second):
        assert said["collected"] == list(range(7))
        assert said["uneven"] == ["only the first"]
        assert said["sums"] == [[3.0, 3.0], [[30.0, 30.0], [30.0, 30.0]]]
        assert said["dtypes"] == ["torch.float32", "torch.float64"]
        assert said["agreed"] == [False, True, True]


def test_float32_accumulates_within_its_precision() -> None:
    results = []
    for max_tokens in (SMALL, LARGE):
        policy = tiny_policy(tiny_config("qwen2-grouped"))
        plain = torch.optim.SGD([{"params": list(policy.parameters()), "base_lr": 1.0}], lr=1.0)
        learner = Learner(policy, [plain], factor=lambda step: 1.0, grad_clip=1.0, max_tokens=max_tokens)
        learner.step(make_batch(), objective, name="a batch")
        results.append(weights_of(policy))
    assert distance(results[0], weights_of(tiny_policy(tiny_config("qwen2-grouped")))) > 1e-2
    assert distance(*results) < 1e-6


def not_a_number(logp_BT: Tensor, **signals: Tensor) -> Loss:
    loss = objective(logp_BT, **signals)
    return Loss(total=loss.total * float("nan"), count=loss.count)


def infinite_slope(logp_BT: Tensor, **signals: Tensor) -> Loss:
    loss = objective(logp_BT, **signals)
    return Loss(total=(loss.total * 0.0).sqrt(), count=loss.count)


def counts_nothing(logp_BT: Tensor, **signals: Tensor) -> Loss:
    loss = objective(logp_BT, **signals)
    return Loss(total=loss.total, count=loss.count * 0)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (not_a_number, "the loss is nan"),
        (infinite_slope, "the gradient norm nan"),
        (counts_nothing, "no token counts towards the loss"),
    ],
)
def test_a_failed_step_never_happened(broken: Callable[..., Loss], complaint: str) -> None:
    failing, smooth = make_learner(), make_learner()
    for learner in (failing, smooth):
        learner.step(make_batch(0), objective, name="a batch")
    with pytest.raises(NonFiniteLossError, match=f"^stage 'zero', mini-batch 3: .*{complaint}.*nothing was updated"):
        failing.step(make_batch(5), broken, name="stage 'zero', mini-batch 3")
    assert distance(weights_of(failing.model), weights_of(smooth.model)) == 0.0
    for learner in (failing, smooth):
        learner.step(make_batch(10), objective, name="a batch")
    assert failing.num_steps == smooth.num_steps == 2
    assert distance(weights_of(failing.model), weights_of(smooth.model)) == 0.0


def test_a_batch_without_sequences_is_an_error_where_there_is_one_process() -> None:
    empty: Batch = select(make_batch(), [])
    with pytest.raises(NonFiniteLossError, match="no token counts"):
        make_learner().step(empty, objective, name="a batch")
