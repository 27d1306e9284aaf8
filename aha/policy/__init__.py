"""The policy (pi_theta): the transformer, its configuration, scoring of tokens, Hugging Face weights in and out."""

__all__ = [
    "adjacent",
    "checkpointing",
    "config",
    "layout",
    "lora",
    "packed",
    "packed_scoring",
    "policy",
    "pretrained",
    "reward_model",
    "rope",
    "scoring",
    "transformer",
    "weights",
]
