"""What prompts have in common, what a decoder has memory for, and when a prompt is needed no more."""

import pytest
import torch

from aha.engines.decoder import Capacity, PromptUse, common_length, work_for


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ([[1, 2, 3], [1, 2, 4, 5]], 2),
        ([[1, 2, 3], [1, 2, 3]], 2),
        ([[1, 2], [1, 2, 3, 4]], 1),
        ([[1], [1, 2]], 0),
        ([[1, 2, 3], [4, 2, 3]], 0),
        ([[1, 2, 3, 4, 5], [1, 2, 3, 9, 9], [1, 2, 8, 8, 8]], 2),
        ([[7, 7, 7, 7]], 3),
    ],
)
def test_the_last_token_of_a_prompt_is_never_common(prompts: list[list[int]], expected: int) -> None:
    assert common_length([torch.tensor(prompt) for prompt in prompts]) == expected


def test_work_is_what_is_asked_for_or_a_capacity_for_any_prompt() -> None:
    prompts = [torch.tensor([1, 2, 3]), torch.tensor([1, 2, 4, 5])]
    exact = work_for(prompts, num_slots=8, max_new_tokens=6)
    assert exact.common.tolist() == [1, 2]
    assert (exact.num_prompts, exact.max_prompt_tokens, exact.max_new_tokens) == (2, 4, 6)
    capacity = Capacity(max_prompt_tokens=9, max_new_tokens=5)
    ample = work_for(prompts, num_slots=8, max_new_tokens=6, capacity=capacity)
    assert ample.common.tolist() == []
    assert (ample.num_prompts, ample.max_prompt_tokens, ample.max_new_tokens) == (8, 9, 6)


def test_a_prompt_is_needed_until_it_is_released_and_its_rows_have_ended() -> None:
    use = PromptUse()
    use.add_row(7)
    use.add_row(7)
    assert not use.release(7)
    assert not use.remove_row(7)
    assert use.remove_row(7)
    use.add_row(8)
    # More rows of this one may come.
    assert not use.remove_row(8)
    assert use.release(8)
    # One of which no row was ever added.
    assert use.release(9)
