"""What computing costs, in floating-point operations.

Source: Kaplan et al. 2020, arXiv:2001.08361, section 2.1: 2 operations for each parameter and token forward,
twice as many backward.
"""

from torch import nn

from aha.training.batch import prompt_lengths
from aha.types import Batch

__all__ = ["cost_of_training", "forward_flops", "num_stream_tokens"]


def _num_matrix_parameters(model: nn.Module) -> int:
    """Parameters that every token is multiplied with: all but the embedding, the output head (tied or not) included."""
    embeddings = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    count = 0
    # A tied head is named twice, as embedding and as head: its product with the hidden states counts.
    for name, weight in model.named_parameters(remove_duplicate=False):
        if name not in embeddings:
            count += weight.numel()
    return count


def forward_flops(model: nn.Module, num_tokens: int) -> float:
    """Operations of a forward pass, 2 N T.

    Args:
        model: N is the number of its parameters without the embedding.
        num_tokens: tokens (T).

    Ours: attention scores are left out, as in the source; at the lengths of the built-in world they are a few per cent.
    """
    return 2.0 * _num_matrix_parameters(model) * num_tokens


def cost_of_training(model: nn.Module, num_tokens: int) -> dict[str, float]:
    """What an update on given data costs, as metrics: no token sampled, and forward and backward passes of 6 N T."""
    flops = 3 * forward_flops(model, num_tokens)
    return {"tokens": 0.0, "trained_tokens": float(num_tokens), "flops": flops}


def num_stream_tokens(batch: Batch) -> int:
    """Tokens that are computed for a batch: all responses, and each different prompt once."""
    if not len(batch.lengths_B):
        return 0

    prompts = set()
    num_response_tokens = 0
    rows = zip(batch.tokens_BT.tolist(), prompt_lengths(batch), batch.lengths_B.tolist(), strict=True)
    for tokens, start, length in rows:
        prompts.add(tuple(tokens[:start]))
        num_response_tokens += length - start
    return num_response_tokens + sum(len(prompt) for prompt in prompts)
