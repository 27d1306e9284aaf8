"""Every number of every scale of every recipe.

The numbers of `paper` are held against their source in `test_scales.py` and `test_r1_scales.py`. Those of `tiny` and
`gpu` come from experiments, so that a table is all that they can be held against.
"""

from pathlib import Path

from tables import assert_as_in_table, limits_of

from aha.recipes.r1.scales import R1_SCALES, R1Config, RewardsConfig, StudentsConfig
from aha.recipes.scales import BASE_SCALES, R1_ZERO_SCALES, BaseConfig, R1ZeroConfig
from aha.recipes.sft import SFT_SCALES, SFTConfig

HERE = Path(__file__).parent


def test_no_number_of_a_scale_changes_unnoticed() -> None:
    recipes = {"base": BASE_SCALES, "r1_zero": R1_ZERO_SCALES, "r1": R1_SCALES, "sft": SFT_SCALES}
    found = {recipe: {name: scale.model_dump() for name, scale in scales.items()} for recipe, scales in recipes.items()}
    assert_as_in_table(found, HERE / "scale_numbers.json")


def test_no_limit_of_a_field_changes_unnoticed() -> None:
    limits = limits_of(BaseConfig, R1ZeroConfig, RewardsConfig, StudentsConfig, R1Config, SFTConfig)
    own = {name: limit for name, limit in limits.items() if "$ref" not in limit}
    assert_as_in_table(own, HERE / "scale_limits.json")
