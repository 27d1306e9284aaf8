"""Harvests: data from samples, kept by rules, rewritten, judged or labelled."""

__all__ = [
    "assistance",
    "harvest",
    "labelling",
    "rejection",
    "remote",
]
