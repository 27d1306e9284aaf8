"""The only list of recipes: to add one is to write its record and to name it here."""

from typing import Any

from aha.recipes.distill import DISTILL
from aha.recipes.pretraining_recipe import BASE
from aha.recipes.r1.record import R1
from aha.recipes.recipe import Recipe
from aha.recipes.rejection import REJECTION
from aha.recipes.reward_model import REWARD_MODEL
from aha.recipes.sft import SFT
from aha.recipes.zero_recipe import R1_ZERO, R1_ZERO_CONTROL

__all__ = ["RECIPES", "recipe_named"]

# The first one is what `aha run --help` explains where no recipe is named.
RECIPES: tuple[Recipe[Any, Any], ...] = (R1_ZERO, R1_ZERO_CONTROL, R1, SFT, DISTILL, REJECTION, REWARD_MODEL, BASE)
"""All recipes, in the order in which they are listed."""


def recipe_named(name: str) -> Recipe[Any, Any]:
    """A recipe by its name.

    Raises:
        ValueError: there is none of that name; says which there are.
    """
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe

    names = ", ".join(recipe.name for recipe in RECIPES)
    raise ValueError(f"there is no recipe {name!r}; there are {names}")
