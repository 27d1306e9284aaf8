"""The root of every configuration: frozen, validated, documented field by field."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Config"]


class Config(BaseModel):
    """A frozen configuration; an unknown or illegal value is an error that says what was given and what is allowed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
