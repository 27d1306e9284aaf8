"""Evaluation: pass@1, pass@k and cons@k with their intervals, readability, decontamination. DeepSeek-R1, 3 (v1)."""

__all__ = [
    "calibration",
    "contamination",
    "metrics",
    "readability",
]
