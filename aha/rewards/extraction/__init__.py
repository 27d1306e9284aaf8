"""What of a response counts as its answer: chosen by the user, read once, and judged by the domain's own judge."""

__all__ = ["numbers", "patterns", "reader"]
