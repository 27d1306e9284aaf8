"""The sandbox: code that a model wrote runs here, without network, files or other processes."""

__all__ = [
    "control_groups",
    "examiner",
    "guest_process",
    "harness",
    "isolation",
    "packages",
    "plain",
    "sandbox",
    "seccomp",
    "unit_tests",
    "users",
]
