"""Problems (q): where questions come from. The built-in world, its levels and its corpus."""

__all__ = ["corpus", "families", "traces", "world"]
