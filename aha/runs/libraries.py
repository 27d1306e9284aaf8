"""The door to an optional library that several modules need: nobody else imports it."""

from types import ModuleType

__all__ = ["import_transformers"]


def import_transformers() -> ModuleType:
    """The library `transformers`.

    Raises:
        ImportError: it is not installed; the caller says which extra of the package has it.
    """
    import transformers

    return transformers
