"""The sandbox: code that a model wrote runs here, without network, files or other processes."""

__all__ = [
    "children",
    "control_groups",
    "examiner",
    "failures",
    "guest_process",
    "harness",
    "isolation",
    "packages",
    "plain",
    "reports",
    "sandbox",
    "seccomp",
    "unit_tests",
    "users",
]
