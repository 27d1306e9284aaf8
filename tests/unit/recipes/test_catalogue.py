"""The list of recipes: what holds for the record of each."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aha.recipes.catalogue import RECIPES, recipe_named
from aha.recipes.pretraining_recipe import BASE
from aha.recipes.recipe import Recipe, RunRequest


def test_a_recipe_is_found_by_its_name() -> None:
    assert [recipe_named(recipe.name) for recipe in RECIPES] == list(RECIPES)
    with pytest.raises(ValueError, match="there is no recipe 'dpo'; there are r1_zero, "):
        recipe_named("dpo")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_record_agrees_with_itself(recipe: Recipe[Any, Any]) -> None:
    """Its scales are of its class, the smallest is the default, and every option can be left out."""
    assert {type(scale) for scale in recipe.scales.values()} == {recipe.config}
    assert next(iter(recipe.scales)) == "tiny"
    assert recipe.options is None or isinstance(recipe.options(), recipe.options)


def test_a_recipe_that_makes_its_first_model_takes_none() -> None:
    request = RunRequest(
        recipe=BASE.name, scale="tiny", config=BASE.scales["tiny"], options=None, folder=Path("run"), seed=0
    )
    assert BASE.open_models(request) == []
    with pytest.raises(ValueError, match="base starts from no model: leave --model out"):
        BASE.open_models(replace(request, model="elsewhere"))
