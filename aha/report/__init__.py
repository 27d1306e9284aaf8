"""The report: a run folder read as a record, and shown as figures and a page."""

__all__ = [
    "ablations",
    "browser",
    "cells",
    "chapters",
    "charts",
    "diagram",
    "figures",
    "page",
    "progress",
    "record",
    "samples",
    "stage_table",
    "svg",
    "ticks",
]
