"""Problems (q): where questions come from. The built-in world, its levels and its corpus."""

__all__ = ["contents", "corpus", "editing", "families", "general", "lexicon", "mixture", "traces", "world", "writers"]
