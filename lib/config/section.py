"""What every configuration is made of: the base of its sections, and the kinds of value they share."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Auto = Literal["auto"]
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _folder_name(text: str) -> str:
    """Accept a name that can be a folder: no separators, no leading dot, nothing a shell would mind."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", text):
        raise ValueError(f"{text!r} cannot name a folder; use letters, digits, '.', '_' and '-'")
    return text


FolderName = Annotated[str, AfterValidator(_folder_name)]


class Section(BaseModel):
    """Base of every section: closed, frozen, described by its docstrings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
