"""What the commands of `aha` do: run, doctor, audit, bench, eval."""

__all__ = [
    "audits",
    "benchmark",
    "command_line",
    "disk",
    "doctor",
    "evaluation",
    "export",
    "option_files",
    "options",
    "processes",
    "running",
    "shared_options",
]
