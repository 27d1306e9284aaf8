"""Runs: folders, provenance, seeds, metrics, and the page that shows them."""

__all__ = [
    "ablations",
    "browser",
    "cells",
    "chapters",
    "charts",
    "config",
    "console",
    "diagram",
    "figures",
    "folder",
    "ledger",
    "page",
    "pipeline",
    "progress",
    "provenance",
    "record",
    "samples",
    "seeds",
    "shards",
    "stage_table",
]
