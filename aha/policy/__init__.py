"""The policy (pi_theta): the transformer, its configuration, scoring of tokens, Hugging Face weights in and out."""

__all__ = [
    "blocks",
    "checkpointing",
    "config",
    "families",
    "fast",
    "hf",
    "layout",
    "lora",
    "policy",
    "pretrained",
    "reward_model",
    "rope",
    "scoring",
    "transformer",
    "weights",
]
