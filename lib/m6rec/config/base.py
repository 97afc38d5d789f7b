"""The types that all sections of the configuration are made of."""

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from m6rec.rankers import MEMBER_NAMES, RANKER_NAMES

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
NonNegativeFloat = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
# A share that is neither nothing nor everything.
ProperShare = Annotated[float, Field(gt=0.0, lt=1.0)]


def _known_ranker(name: str) -> str:
    if name not in RANKER_NAMES:
        raise ValueError(f"{name} is no ranker; give one of {', '.join(RANKER_NAMES)}")
    return name


def _known_member(name: str) -> str:
    if name not in MEMBER_NAMES:
        raise ValueError(f"{name} cannot be part of the hybrid; give {', '.join(MEMBER_NAMES)}")
    return name


RankerName = Annotated[
    str, AfterValidator(_known_ranker), WithJsonSchema({"enum": list(RANKER_NAMES)})
]
MemberName = Annotated[
    str, AfterValidator(_known_member), WithJsonSchema({"enum": list(MEMBER_NAMES)})
]


class Section(BaseModel):
    """A part of the configuration: immutable, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TableSource(Section):
    """A table of the owner's: where it is and how it is read."""

    path: str | None = Field(
        default=None,
        description="The path of the table in any file system that Spark reads; give either `path`"
        " or `table`.",
    )
    table: str | None = Field(
        default=None,
        description="The name of the table in the catalogue, such as `catalog.schema.name`; give"
        " either `path` or `table`.",
    )
    format: Literal["delta", "parquet", "csv", "json"] = Field(
        default="delta",
        description="The format in which the table is stored.",
    )
    version: NonNegativeInt | None = Field(
        default=None,
        description="The version of a Delta table that is read; without it, the latest.",
    )
    options: dict[str, str] = Field(
        default_factory=dict,
        description="Options of Spark's reader by their name, such as `sep` for CSV; CSV has a"
        " header unless `header` says otherwise.",
    )

    @model_validator(mode="after")
    def _one_place(self) -> "TableSource":
        if (self.path is None) == (self.table is None):
            raise ValueError("give either path or table, and not both")
        if self.version is not None and self.format != "delta":
            raise ValueError(f"version needs format delta, found format {self.format}")
        return self

    @property
    def name(self) -> str:
        """The place as a person would say it."""
        return self.path or self.table or ""
