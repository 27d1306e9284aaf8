"""Operations and tokens, counted by hand."""

import torch
from tiny import tiny_config, tiny_policy

from aha.training.batch import select, stack
from aha.training.cost import cost_of_training, forward_flops, num_stream_tokens


def test_every_matrix_and_the_head_count_and_the_embedding_does_not() -> None:
    # Width 32, 4 heads of 8 with 2 key heads, feed-forward 48, two layers, vocabulary 11:
    # q and o 32x32 each, k and v 32x16 each, three matrices of 32x48; norms 32 + 32 + 8 + 8; then norm 32 and head.
    layer = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 2 * 32 + 2 * 8
    for is_tied in (True, False):
        policy = tiny_policy(tiny_config(tie_word_embeddings=is_tied))
        assert forward_flops(policy, 5) == 2 * 5 * (2 * layer + 32 + 11 * 32)
        assert cost_of_training(policy, 5)["flops"] == 3 * forward_flops(policy, 5)


def test_a_shared_prompt_is_computed_once() -> None:
    one, other = torch.tensor([3, 4, 5]), torch.tensor([6])
    responses = [torch.tensor([1, 2]), torch.tensor([1]), torch.tensor([7, 8, 9])]
    assert num_stream_tokens(stack([one, one, other], responses)) == 3 + 1 + 2 + 1 + 3


def test_no_responses_are_no_tokens() -> None:
    one = stack([torch.tensor([3])], [torch.tensor([1])])
    assert num_stream_tokens(select(one, [])) == 0
