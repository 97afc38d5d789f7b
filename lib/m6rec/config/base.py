"""The types that all sections of the configuration are made of."""

import datetime
import string
from collections import Counter
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from m6rec.rankers import MEMBER_NAMES, RANKER_NAMES


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(
            f"found the truth value {str(value).lower()}, which YAML also reads from yes, no, on"
            " and off, expected a number; give the number"
        )
    return value


# Python takes a truth value for 0 or 1.
IsNumber = BeforeValidator(_no_truth_value)
Share = Annotated[float, Field(ge=0.0, lt=1.0), IsNumber]
PositiveInt = Annotated[int, Field(ge=1), IsNumber]
NonNegativeInt = Annotated[int, Field(ge=0), IsNumber]
NonNegativeFloat = Annotated[float, Field(ge=0.0, allow_inf_nan=False), IsNumber]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False), IsNumber]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False), IsNumber]
ShareOrAll = Annotated[float, Field(gt=0.0, le=1.0), IsNumber]
# From nothing up to everything.
Strength = Annotated[float, Field(ge=0.0, le=1.0), IsNumber]
# A share that is neither nothing nor everything.
ProperShare = Annotated[float, Field(gt=0.0, lt=1.0), IsNumber]
Value = TypeVar("Value")
# A seed that every generator of random numbers takes.
Seed = Annotated[int, Field(ge=0, le=2**32 - 1), IsNumber]

RUN_ID_CHARACTERS = frozenset(f"{string.ascii_letters}{string.digits}-_.")


def wrong_run_id(run_id: str) -> str | None:
    """What is wrong with a run id, which becomes part of SQL and paths; None where nothing is."""
    expected = "expected letters, digits, -, _ and ., and no . at the start"
    wrong = next((one for one in run_id if one not in RUN_ID_CHARACTERS), None)
    if wrong is not None:
        return f"run id {run_id!r} holds {wrong!r}; {expected}"
    if not run_id or run_id.startswith("."):
        return f"run id {run_id!r} {'starts with .' if run_id else 'is empty'}; {expected}"
    return None


def _right_run_id(run_id: str) -> str:
    wrong = wrong_run_id(run_id)
    if wrong is not None:
        raise ValueError(f"{wrong}; give the id of a run")
    return run_id


def _as_written(value: Any) -> Any:
    """The text of an id that YAML takes for a date or a whole number."""
    return str(value) if type(value) in {int, datetime.date} else value


def _as_spark_writes(value: Any) -> Any:
    """The text that Spark makes of a value of a table, as YAML may write it."""
    return str(value).lower() if type(value) is bool else _as_written(value)


# The value of a column as text.
ColumnValue = Annotated[str, BeforeValidator(_as_spark_writes)]

RunId = Annotated[str, BeforeValidator(_as_written), AfterValidator(_right_run_id)]


def _some_each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise ValueError("the list is empty; give at least one value, or leave the key out")
    repeated = [value for value, times in Counter(values).items() if times > 1]
    if repeated:
        raise ValueError(f"{repeated[0]} is listed more than once; remove the others")
    return values


# Of a list: at least one value, and each once.
SomeOnce = Annotated[tuple[Value, ...], AfterValidator(_some_each_once)]


def _known_ranker(name: str) -> str:
    if name not in RANKER_NAMES:
        raise ValueError(f"{name} is not a ranker; give one of {', '.join(RANKER_NAMES)}")
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


def is_path(location: str) -> bool:
    """Whether tables lie under a path; `a.b` is a schema of the catalogue."""
    return "/" in location or "." not in location


class Section(BaseModel):
    """A part of the configuration: immutable, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _as_cell(value: Any) -> Any:
    """The text of a value of a table that YAML takes for a number, a date or a time."""
    if isinstance(value, int | float | datetime.date) and not isinstance(value, bool):
        return str(value)
    return value


def _as_option(value: Any) -> Any:
    """The text of an option of Spark's reader that YAML takes for a truth value or a number."""
    return str(value).lower() if isinstance(value, bool) else _as_cell(value)


ReaderOption = Annotated[str, BeforeValidator(_as_option)]
# A value of a table as text; numbers need no quotes.
Cell = Annotated[str, BeforeValidator(_as_cell)]
# Options of Delta's reader that are keys of their own, in lower case.
_VERSION_OPTIONS = {"versionasof": "version", "timestampasof": "timestamp"}


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
    format: Literal["auto", "delta", "parquet", "csv", "json"] = Field(
        default="auto",
        description="The format in which the files under `path` are stored; `auto` tells it from"
        " the files. A table of the catalogue has the format that the catalogue says.",
    )
    version: NonNegativeInt | None = Field(
        default=None,
        description="The version of a Delta table that is read; without it, the latest.",
    )
    timestamp: Cell | None = Field(
        default=None,
        description="The moment, such as `2026-11-01 12:00`, as of which a Delta table is read,"
        " in place of `version`.",
    )
    options: dict[str, ReaderOption] = Field(
        default_factory=dict,
        description="Options of Spark's reader by their name, such as `sep` for CSV. Unless they"
        " say otherwise, CSV has a header, and a quote within quotes is doubled, as the standard"
        " has it.",
    )
    missing_values: dict[str, tuple[Cell, ...]] = Field(
        default_factory=dict,
        description="For each column, the values that stand for a missing one, such as"
        " `{rating: [0]}`.",
    )

    def option(self, name: str) -> str | None:
        """An option of Spark's reader, by its name in any case; None where it is not given."""
        return next((v for key, v in self.options.items() if key.lower() == name), None)

    @model_validator(mode="before")
    @classmethod
    def _version_of_options(cls, data: Any) -> Any:
        """Take `versionAsOf` and `timestampAsOf` out of the options, for lineage to know them."""
        if not isinstance(data, dict) or not isinstance(data.get("options"), dict):
            return data
        options = data["options"]
        moved = {
            _VERSION_OPTIONS[name.lower()]: value
            for name, value in options.items()
            if str(name).lower() in _VERSION_OPTIONS
        }
        kept = {k: v for k, v in options.items() if str(k).lower() not in _VERSION_OPTIONS}
        for key, value in moved.items():
            if data.get(key) not in (None, value):
                raise ValueError(f"{key} is {data[key]}, and options say {value}; remove one")
        return {**data, **moved, "options": kept} if moved else data

    @model_validator(mode="after")
    def _one_place(self) -> "TableSource":
        if bool(self.path) == bool(self.table):
            raise ValueError("give either path or table, and not both")
        given = {"version": self.version, "timestamp": self.timestamp}
        asked = [key for key, value in given.items() if value is not None]
        if len(asked) > 1:
            raise ValueError("give either version or timestamp, and not both")
        if asked and self.format not in {"auto", "delta"}:
            raise ValueError(f"{asked[0]} needs format delta, found format {self.format}")
        return self

    @model_validator(mode="after")
    def _rows_and_not_changes(self) -> "TableSource":
        if (self.option("readchangefeed") or "").lower() == "true":
            raise ValueError(
                "options.readChangeFeed gives changes of rows and not rows; leave it out"
                " (fold_in.change_feed follows the changes of a table)"
            )
        return self

    @property
    def name(self) -> str:
        """The place as a person would say it."""
        return self.path or self.table or ""
