"""Models of other architectures, computed by `transformers`: what they may need, how they are read, run and written."""

__all__ = ["architecture", "attention", "files", "library", "model"]
