"""The strict model that every settings section derives from. Sections live beside their owners."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen settings with unknown keys refused; defaults are the paper's unless a field says so."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True
    )
