"""The base of all values: closed, described by docstrings, in camelCase as Kubernetes has it."""

from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from lib.config.section import Section

# The part of a name of Kubernetes that does not depend on its place.
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
# Keys of maps that become part of names: jobs, groups of workers, volumes.
Key = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,28}[a-z0-9])?$")]
Subdomain = Annotated[
    str,
    Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", max_length=253),
]
OptionalSubdomain = Annotated[
    str,
    Field(pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$", max_length=253),
]
LabelKey = Annotated[
    str,
    Field(pattern=r"^([a-z0-9]([-a-z0-9.]{0,200}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"),
]
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")]
OptionalQuantity = Annotated[str, Field(pattern=r"^([0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?)?$")]
Duration = Annotated[str, Field(pattern=r"^[0-9]+(s|m|h)$")]
AbsolutePath = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._-]+)+$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Int32 = Annotated[int, Field(ge=0, lt=2**31)]
Labels = dict[LabelKey, LabelValue]
Annotations = dict[LabelKey, str]

# Fields that must be there; `schema.py` turns the mark into `required` and strips every other one.
REQUIRED = "x-manta-required"


def _mark(schema: dict[str, Any], model: type["Item"]) -> None:
    fields = model.model_fields.values()
    needed = [f.alias for f in fields if f.is_required() or (model.is_whole and f.default is not None)]
    if needed:
        schema[REQUIRED] = needed


class Item(Section):
    """Something of which there may be several: what is left out gets its default in the template."""

    is_whole: ClassVar[bool] = False
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, json_schema_extra=_mark)


class Values(Item):
    """Something that values.yaml has once, with all its defaults, so that `null` cannot remove them."""

    is_whole: ClassVar[bool] = True
