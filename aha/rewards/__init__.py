"""Rewards (r_i): rules that read a response, weighed by domain. DeepSeek-R1, section 2.2.2 (v1)."""

__all__ = [
    "accuracy",
    "answers",
    "audits",
    "choice",
    "code",
    "custom",
    "expression",
    "extraction",
    "format",
    "judge",
    "language",
    "learned",
    "math",
    "sandbox",
    "scorer",
    "summary",
    "table",
    "verifier",
]
