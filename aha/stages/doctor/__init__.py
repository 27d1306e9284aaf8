"""The doctor: a run is examined before compute is spent."""

__all__ = [
    "diagnose",
    "diagnosis",
    "findings_after_sampling",
    "findings_before_sampling",
]
