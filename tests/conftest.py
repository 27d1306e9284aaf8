"""Settings of the whole suite: property tests draw the same 40 examples every time and are not judged by the clock.

Files with tests that take long come first, so that all processes of a test run end at about the same time.

Where there is no GPU, kernels for GPUs are run by Triton's interpreter.
"""

import gc
import os

import pytest
import torch
from hypothesis import settings
from tiny import tiny_config, tiny_policy, world_tokenizer

from aha.recipes.base_model import open_base
from aha.training.checkpoint import write_checkpoint
from aha.types import Checkpoint

settings.register_profile("repeatable", max_examples=40, derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
torch.set_num_threads(1)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first the files with tests of the whole command, then others with tests marked `full` or `slow`."""

    def is_long(item: pytest.Item) -> bool:
        return any(item.get_closest_marker(name) for name in ("full", "slow"))

    long = {item.path for item in items if is_long(item)}
    # Python's sort is stable: within each of the three parts the order stays.
    items.sort(key=lambda item: (item.path not in long, item.path.parent.name != "recipes"))


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over the modules and the collected tests, of which there are some millions.

    They live until the end, and to visit them again and again took a seventh of the time of the fast tests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


@pytest.fixture
def few_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the built-in problems, of which there is no end, 100 are measured; the longest comes within the first ten."""
    monkeypatch.setattr("aha.recipes.own.assignment.NUM_MEASURED", 100)
    monkeypatch.setattr("aha.recipes.r1.positions.NUM_MEASURED", 100)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A random policy that speaks the words of the built-in world."""
    folder = tmp_path_factory.mktemp("base") / "model"
    tokenizer = world_tokenizer()
    write_checkpoint(folder, tiny_policy(tiny_config(vocab_size=tokenizer.vocab_size)), tokenizer, state={})
    return open_base(folder)
