"""Runs: folders, data, provenance, seeds, the figure of a recipe, and what the console shows."""

__all__ = [
    "cache",
    "complaints",
    "config",
    "console",
    "folder",
    "gguf",
    "hub",
    "ledger",
    "libraries",
    "objects",
    "pipeline",
    "provenance",
    "seeds",
    "shards",
]
