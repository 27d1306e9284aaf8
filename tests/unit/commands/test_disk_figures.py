"""What each scale writes to the disk, for two shapes of models, as a table; its parts are shown in `test_disk.py`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tables import assert_as_in_table
from tiny import tiny_config

from aha.algorithms.grpo import GRPO
from aha.commands.disk import checkpoint_bytes, disk_estimate
from aha.policy.config import PolicyConfig
from aha.recipes.r1.record import R1
from aha.recipes.r1.scales import R1_SCALES
from aha.recipes.recipe import Recipe
from aha.recipes.zero_recipe import R1_ZERO

START = tiny_config()
STUDENTS = [tiny_config("qwen2-grouped"), tiny_config("llama-grouped", hidden_size=64)]


@pytest.mark.full
def test_no_figure_of_the_disk_changes_unnoticed() -> None:
    shapes: dict[str, list[PolicyConfig]] = {"the base": [START], "the base and students": [START, *STUDENTS]}
    recipes: tuple[Recipe[Any, Any], ...] = (R1_ZERO, R1)
    found = {
        f"{recipe.name} {scale}, {name}, rollouts of every {keep}": asdict(
            disk_estimate(recipe.trained_stages(config), shape, keep_rollouts=keep)
        )
        for recipe in recipes
        for scale, config in recipe.scales.items()
        for name, shape in shapes.items()
        for keep in (1, 7)
    }
    paper = R1_SCALES["paper"]
    found["checkpoints"] = {
        "reinforcement": checkpoint_bytes(START, paper.dev2),
        "without a reference": checkpoint_bytes(START, paper.dev2.model_copy(update={"algorithm": GRPO(kl_coef=0.0)})),
        "fine-tuning": checkpoint_bytes(START, paper.dev3),
    }
    assert_as_in_table(found, Path(__file__).with_name("disk_figures.json"))
