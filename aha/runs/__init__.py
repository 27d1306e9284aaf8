"""Runs: folders, provenance, seeds, metrics, and the page that shows them."""

__all__ = [
    "cache",
    "complaints",
    "config",
    "console",
    "folder",
    "gguf",
    "hub",
    "ledger",
    "objects",
    "pipeline",
    "provenance",
    "seeds",
    "shards",
]
