"""The types that all sections of the configuration are made of."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from m6rec.rankers import MEMBER_NAMES, RANKER_NAMES

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeFloat = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


def _known_ranker(name: str) -> str:
    if name not in RANKER_NAMES:
        raise ValueError(f"{name} is no ranker; give one of {', '.join(RANKER_NAMES)}")
    return name


def _known_member(name: str) -> str:
    if name not in MEMBER_NAMES:
        raise ValueError(f"{name} cannot be part of the hybrid; give {', '.join(MEMBER_NAMES)}")
    return name


RankerName = Annotated[str, AfterValidator(_known_ranker)]
MemberName = Annotated[str, AfterValidator(_known_member)]


class Section(BaseModel):
    """A part of the configuration: immutable, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TableSource(Section):
    """Where a table of the owner's is read: a path, or a name of the catalogue."""

    path: str | None = None
    table: str | None = None
    format: Literal["delta", "parquet", "csv", "json"] = "delta"
    version: Annotated[int, Field(ge=0)] | None = None
    options: dict[str, str] = {}

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
