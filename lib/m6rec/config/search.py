"""The search space of job `tune`."""

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from m6rec.config.base import FiniteFloat, PositiveFloat, PositiveInt, Section


class Range(Section):
    """Numbers between two ends, which are whole where the config's own value is."""

    low: FiniteFloat = Field(description="The lowest number that is tried.")
    high: FiniteFloat = Field(description="The highest number that is tried.")
    log: bool = Field(
        default=False,
        description="Whether numbers are drawn evenly in their logarithm, as for a penalty.",
    )

    @model_validator(mode="before")
    @classmethod
    def _is_no_section(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.keys() & cls.model_fields.keys():
            below = [name for name, value in data.items() if isinstance(value, dict)]
            if below:
                raise ValueError(
                    f"found key {below[0]}, expected keys low and high, or values; write the key"
                    " that is tuned with dots, as in towers.sequence.width"
                )
        return data

    @model_validator(mode="after")
    def _is_a_range(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low above 0, found {self.low:g}")
        return self

    def extremes(self) -> tuple[float, ...]:
        """Both ends, between which a config may still refuse numbers that other keys decide on.

        A width between two multiples of `heads`, for example, need not be one itself.
        """
        return tuple(int(end) if end.is_integer() else end for end in (self.low, self.high))


class Choice(Section):
    """One of some values."""

    values: tuple[int | float | str | bool, ...] = Field(
        min_length=1, description="The values that are tried."
    )

    # Without this check, pydantic would name each type that such a value might have had.
    @field_validator("values", mode="before")
    @classmethod
    def _are_single_values(cls, values: Any) -> Any:
        listed = values if isinstance(values, list | tuple) else ()
        several = [value for value in listed if isinstance(value, list | tuple | dict)]
        if several:
            raise ValueError(
                f"found {several[0]!r}, expected single values: numbers, text, true or false; keys"
                " that hold lists or sections cannot be tuned"
            )
        return values

    def extremes(self) -> tuple[int | float | str | bool, ...]:
        """All of the values."""
        return self.values


RANGE, CHOICE = "range", "choice"


def _kind(dimension: Any) -> str:
    """Which of both a dimension is meant to be, so that what is wrong is said of that one alone."""
    named = isinstance(dimension, dict) and "values" in dimension
    return CHOICE if named or isinstance(dimension, Choice) else RANGE


Dimension = Annotated[
    Annotated[Range, Tag(RANGE)] | Annotated[Choice, Tag(CHOICE)], Discriminator(_kind)
]

# What a trial can change without changing what it is measured on, and the keys of these sections
# that say on which validation users, and by which of their items, a trial is measured.
TUNABLE = ("factors.", "neighbours.", "features.", "towers.", "hybrid.")
MEASURED_ON = ("hybrid.maximum_users", "hybrid.catalogue_share")

DEFAULT_SEARCH: dict[str, Range | Choice] = {
    "neighbours.ridge.user_exponent": Range(low=0.0, high=0.5),
    "neighbours.ridge.item_exponent": Range(low=0.0, high=0.6),
    "neighbours.ridge.regularisation": Range(low=20.0, high=1000.0, log=True),
    "neighbours.recency_scale": Range(low=2.0, high=50.0, log=True),
    "factors.svd.rank": Choice(values=(128, 256, 512)),
    "factors.svd.item_exponent": Range(low=0.0, high=0.6),
    "factors.svd.spectrum_power": Range(low=0.0, high=0.5),
    "factors.als.rank": Choice(values=(64, 128, 256)),
    "factors.als.unobserved_total": Range(low=50.0, high=2000.0, log=True),
    "towers.temperature": Range(low=0.05, high=0.3, log=True),
    "towers.learning_rate": Range(low=5e-4, high=5e-3, log=True),
    "towers.input_dropout": Range(low=0.0, high=0.4),
    "towers.epochs": Range(low=5, high=20),
}


class TuneConfig(Section):
    """The search of job `tune` for better values, by the hybrid's NDCG on validation."""

    trials: PositiveInt = Field(
        default=50, description="The number of trials in all, over all calls."
    )
    seconds: PositiveFloat | None = Field(
        default=None,
        description="The seconds of one call after which no trial begins; one that has begun is"
        " finished.",
    )
    k: PositiveInt = Field(default=20, description="The list length of the NDCG.")
    search: dict[str, Dimension] = Field(
        default=DEFAULT_SEARCH,
        description="What is tried for each dotted key of the config; it replaces the default"
        " search as a whole.",
    )
