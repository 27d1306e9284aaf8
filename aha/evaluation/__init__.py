"""Evaluation: pass@1, pass@k and cons@k with their intervals, and word counts. DeepSeek-R1, section 3 (v1)."""

__all__ = ["language", "metrics"]
