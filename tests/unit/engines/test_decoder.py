"""What prompts have in common."""

import pytest
import torch

from aha.engines.decoder import common_length


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
