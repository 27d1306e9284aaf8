"""What a stage computes at once, worked by hand."""

import pytest
import torch
from tiny import tiny_config

from aha.actors.workload import PROMPT_TOKENS, Demand, micro_batch_tokens, workload
from aha.stages.config import RLConfig
from aha.stages.rl_state import demand
from aha.training.memory import MAX_ROWS, decoded_rows

CPU = torch.device("cpu")


def test_a_micro_batch_is_larger_on_a_gpu_and_as_on_the_cpu_elsewhere() -> None:
    assert micro_batch_tokens(CPU) == micro_batch_tokens(torch.device("meta")) == 2560
    assert micro_batch_tokens(torch.device("cuda")) == 16384


@pytest.mark.parametrize(("num_processes", "share"), [(1, 24), (2, 12), (3, 8), (5, 4)])
def test_the_processes_share_the_responses_of_an_iteration(num_processes: int, share: int) -> None:
    config = RLConfig(group_size=4, problems_per_iteration=6, max_new_tokens=100)
    load = workload(tiny_config(), demand(config), config.optimizer, CPU, num_processes=num_processes)
    assert load.sequence_tokens == 100 + PROMPT_TOKENS
    assert load.num_rows == share


def test_at_least_a_group_and_no_more_than_fits_is_decoded_at_once() -> None:
    few = RLConfig(group_size=4, problems_per_iteration=1, max_new_tokens=100)
    assert workload(tiny_config(), demand(few), few.optimizer, CPU, num_processes=4).num_rows == 4
    many = RLConfig(group_size=4, problems_per_iteration=512, max_new_tokens=100)
    assert workload(tiny_config(), demand(many), many.optimizer, CPU).num_rows == MAX_ROWS


def test_half_the_precision_leaves_room_for_more_rows() -> None:
    rows = []
    for precision, size in (("float32", 4), ("bfloat16", 2)):
        config = RLConfig.model_validate({"max_new_tokens": 100_000, "optimizer": {"precision": precision}})
        load = workload(tiny_config(), demand(config), config.optimizer, CPU)
        assert load.num_rows == decoded_rows(tiny_config(), 100_000 + PROMPT_TOKENS, size=size)
        rows.append(load.num_rows)
    assert rows[0] < rows[1] < MAX_ROWS


def test_a_stage_asks_for_no_more_than_it_says() -> None:
    """One response alone is decoded at once; where nothing is sampled, none."""
    shape, optimizer = tiny_config(), RLConfig().optimizer
    one = workload(shape, Demand(sequence_tokens=64, num_responses=1), optimizer, CPU)
    none = workload(shape, Demand(sequence_tokens=64), optimizer, CPU)
    assert (one.num_rows, none.num_rows, one.has_reference) == (1, 0, False)
