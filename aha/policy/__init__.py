"""The policy (pi_theta): the transformer, its configuration, scoring of tokens, Hugging Face weights in and out."""

__all__ = ["config", "layout", "pretrained", "reward_model", "scoring", "transformer"]
