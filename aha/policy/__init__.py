"""The policy (pi_theta): the transformer, its configuration, scoring of tokens, Hugging Face weights in and out."""

__all__ = [
    "adjacent",
    "checkpointing",
    "compiled",
    "config",
    "external",
    "flash",
    "fused",
    "gpu",
    "gpu_decoding",
    "gpu_training",
    "layout",
    "lora",
    "packed",
    "packed_scoring",
    "pretrained",
    "reward_model",
    "rope",
    "scoring",
    "transformer",
    "weights",
]
