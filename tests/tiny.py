"""Policies small enough to be compared exactly, tokenizers for them, prompts to answer, and a reward."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn

from aha.actors.local import LocalPolicy
from aha.engines.engine import Decoding, Request
from aha.policy.config import DenseConfig
from aha.policy.transformer import Transformer
from aha.problems.world.corpus import vocabulary
from aha.prompts.templates import R1_ZERO
from aha.prompts.tokenizer import Tokenizer, build_tokenizer
from aha.training.learner import Learner
from aha.training.world import World
from aha.types import Problem, Rollout, Verdict

SHAPES = {
    "qwen2-grouped": {"model_type": "qwen2", "num_key_value_heads": 2},
    "qwen2-multi-head": {"model_type": "qwen2", "num_key_value_heads": 4},
    "qwen3-grouped": {"model_type": "qwen3", "num_key_value_heads": 2},
    "qwen3-multi-head": {"model_type": "qwen3", "num_key_value_heads": 4},
    "llama-grouped": {"model_type": "llama", "num_key_value_heads": 1},
    "llama-multi-head": {"model_type": "llama", "num_key_value_heads": 4},
}
"""Every family, with grouped-query and with multi-head attention."""

LETTERS = tuple("abcdefgh")


PROMPTS = {
    "common beginning": ["a b c d e", "a b c d e f g h", "a b c d", "a b c d h h h h h h h"],
    "no common beginning": ["a b", "b c d e f g", "c", "d d d d d d d d d d"],
    "equal prompts": ["a b c d", "a b c d", "a b c d"],
    "one is the beginning of another": ["a b", "a b c d e f"],
    "single tokens": ["a", "a", "b"],
    "alone": ["c d e f"],
}
"""What prompts may have in common."""


@cache
def world_tokenizer() -> Tokenizer:
    """The tokenizer of the built-in world."""
    return build_tokenizer(vocabulary(), [R1_ZERO])


@cache
def letters_tokenizer() -> Tokenizer:
    """Eleven tokens, so that a random policy ends a response every few tokens."""
    return build_tokenizer(LETTERS)


def tiny_config(shape: str = "qwen3-grouped", *, vocab_size: int = 11, **changes: object) -> DenseConfig:
    """A configuration with two layers and a width of 32."""
    fields = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "head_dim": 8,
        "rope_theta": 100.0,
        "max_position_embeddings": 256,
    }
    return DenseConfig.model_validate(fields | SHAPES[shape] | changes)


def tiny_policy(config: DenseConfig, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Transformer:
    """A policy whose every parameter is random, biases and norms too, so that none can be forgotten unnoticed."""
    policy = Transformer(config)
    randomise(policy, seed)
    return policy.to(dtype)


def randomise(policy: nn.Module, seed: int) -> None:
    """Give every parameter random values, in place; the logits of a policy get a standard deviation of about 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if weight.dim() == 1:
                weight.normal_(0.0 if name.endswith("bias") else 1.0, 0.2, generator=generator)
            else:
                weight.normal_(0.0, weight.shape[1] ** -0.5, generator=generator)


def random_tokens(lengths: Sequence[int], *, vocab_size: int = 11, seed: int = 0) -> list[Tensor]:
    """Sequences of random tokens."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, vocab_size, (length,), generator=generator) for length in lengths]


def requests_for(prompts: Sequence[str], decoding: Decoding, *, index: int = 0) -> list[Request]:
    """Prompts in letters, each with a seed of its own."""
    return [
        Request(id=f"p{place}", prompt=prompt, seed=("engine", place), decoding=decoding, index=index)
        for place, prompt in enumerate(prompts)
    ]


def evenness(problem: Problem, rollout: Rollout) -> Verdict:
    """A reward that differs within nearly every group, whatever the policy says."""
    del problem
    return Verdict(score=float((rollout.tokens % 2 == 0).float().mean()), reason="the share of even tokens")


def policy_actor(
    policy: Transformer,
    tokenizer: Tokenizer | None = None,
    *,
    num_rows: int = 64,
    learner: Learner[Transformer] | None = None,
) -> LocalPolicy:
    """An actor of one process with a policy that is in memory."""
    return LocalPolicy(policy, tokenizer or letters_tokenizer(), World(), num_rows=num_rows, learner=learner)
