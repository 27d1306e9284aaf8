"""Runs: folders, provenance, seeds, metrics, and the page that shows them."""

__all__ = [
    "browser",
    "cells",
    "charts",
    "config",
    "console",
    "figures",
    "folder",
    "ledger",
    "page",
    "pipeline",
    "progress",
    "provenance",
    "record",
    "seeds",
    "shards",
    "stage_table",
]
