"""What every part of a profile is made of: a frozen model, names and lists of words."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(min_length=1, max_length=63)]
Words = Annotated[tuple[str, ...], Field(min_length=1)]


class Part(BaseModel):
    """Base of all parts: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
