"""Problems of users: rows of files, folders and libraries."""

__all__ = [
    "conversations",
    "countdown",
    "fields",
    "files",
    "folders",
    "formats",
    "gym",
    "mapping",
    "options",
    "rows",
    "sets",
    "sources",
    "suites",
]
