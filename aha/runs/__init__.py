"""Runs: folders, provenance, seeds, metrics, and the page that shows them."""

__all__ = ["browser", "charts", "config", "console", "figures", "folder", "page", "provenance", "record", "seeds"]
