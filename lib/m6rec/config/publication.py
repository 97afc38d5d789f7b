"""What a finished run must be like to be published, how long runs are kept, what is written."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from m6rec.config.base import FiniteFloat, NonNegativeInt, PositiveInt, Section, ShareOrAll


def _word_off(value: Any) -> Any:
    """YAML takes the bare word `off` for false."""
    return "off" if value is False else value


GuardAction = Annotated[Literal["off", "warn", "stop"], BeforeValidator(_word_off)]


class Guard(Section):
    """A guard: a limit, and what happens where a run is beyond it.

    In place of the two keys, one word (`off`, `warn` or `stop`) changes the action alone.
    """

    # Each guard has defaults of its own, which GuardsConfig puts in.
    action: GuardAction = Field(
        default_factory=lambda _: "warn",
        description="What happens beyond the limit: nothing, since the guard is not measured"
        " (`off`), a warning (`warn`), or no publication (`stop`).",
    )
    limit: FiniteFloat = Field(
        default_factory=lambda _: 0.0,
        description="The least or the largest value that passes, as the guard's description says.",
    )


def _stop(limit: float) -> Guard:
    return Guard(action="stop", limit=limit)


def _warn(limit: float) -> Guard:
    return Guard(action="warn", limit=limit)


class GuardsConfig(Section):
    """What is measured of a finished run before it is published, with limits.

    Each value is written to table `guard_results` and shown in the report. Where a run has nothing
    to be measured or compared with, the guard passes. The guards have no part in what a run
    computes, so a stopped run can be published with other guards, without computing anything again.
    """

    full_lists: Guard = Field(
        default=_stop(0.99),
        description="At least: the share of users' lists that are full, in each of"
        " `recommend.contexts` as well, among those for which the catalogue and the rules leave"
        " enough items. Each domain has such lists, and lists of one that only the published run"
        " has are missing. A list into which a quota lets no further item is full.",
    )
    unknown_items: Guard = Field(
        default=_stop(0.0),
        description="At most: the number of listed items that the catalogue does not hold.",
    )
    forbidden_items: Guard = Field(
        default=_stop(0.0),
        description="At most: the number of listed items that `recommend.rules` forbid, with those"
        " beyond a quota.",
    )
    duplicate_items: Guard = Field(
        default=_stop(0.0),
        description="At most: the number of items that stand more than once in a list.",
    )
    coverage: Guard = Field(
        default=_warn(0.01),
        description="At least: the share, of the items that lists may hold, that any list holds.",
    )
    top_items: Guard = Field(
        default=_warn(0.5),
        description="At most: the share of all places of lists that the ten most listed items"
        " take.",
    )
    overlap: Guard = Field(
        default=_warn(0.1),
        description="At least: the mean share of a user's list that the user's published list"
        " holds as well; 0 where no list has a published one.",
    )
    validation_ndcg: Guard = Field(
        default=_stop(-0.1),
        description="At least: the relative change in the recommended ranker's NDCG on validation"
        " against the published run, over the users who were measured in both. A change that the"
        " paired test does not tell from none (p of 0.05 or more) passes.",
    )
    finite_embeddings: Guard = Field(
        default=_stop(0.0),
        description="At most: the number of embeddings, and of factors of items, that hold a number"
        " that is not finite.",
    )
    effective_rank: Guard = Field(
        default=_stop(2.0),
        description="At least: the least effective rank of the items' embeddings and of their"
        " factors of each method, which is how many directions they spread over; it is next to 1"
        " where they have collapsed. Of a night without embeddings, each pair of towers counts."
        " Vectors of no more directions than the limit are not measured.",
    )
    rows_in: Guard = Field(
        default=_stop(0.7),
        description="At least: the number of rows of interactions that were read and kept, as a"
        " share of the median of the last runs.",
    )
    new_users: Guard = Field(
        default=_warn(0.2),
        description="At most: the share of the users whom the published run did not have.",
    )
    new_items: Guard = Field(
        default=_warn(0.2),
        description="At most: the share of the items that the published run did not have.",
    )
    freshness: Guard = Field(
        default=_warn(36.0),
        description="At most: the age of the newest event when the run begins, in hours, less the"
        " median of this age in the last runs.",
    )
    quarantine: Guard = Field(
        default=_warn(0.1),
        description="At most: the share of the rows read that cleaning refused.",
    )
    drift: Guard = Field(
        default=_warn(0.25),
        description="At most: the largest population stability index of an attribute that features"
        " are made of, or of activity, against the published run, less what sampling explains. Of"
        " texts, vectors and paths of pictures, it is that of the rows that have one.",
    )
    choices_age: Guard = Field(
        default=_warn(30.0),
        description="At most: the days since settings, weights and epochs were chosen on"
        " validation, of a nightly run that keeps them. Beyond the limit, job `nightly` runs the"
        " whole pipeline by itself, unless the guard is `off`.",
    )
    last_runs: PositiveInt = Field(
        default=7, description="How many earlier runs that were published are the last runs."
    )

    @model_validator(mode="before")
    @classmethod
    def _beside_defaults(cls, data: Any) -> Any:
        """Each guard with its own defaults for the keys that are not given."""
        if not isinstance(data, dict):
            return data
        return {name: _completed(cls.model_fields.get(name), value) for name, value in data.items()}

    def named(self, name: str) -> Guard:
        """The guard of that name."""
        guard: Guard = getattr(self, name)
        return guard


def _completed(field: Any, value: Any) -> Any:
    default = None if field is None else field.default
    if not isinstance(default, Guard) or isinstance(value, Guard):
        return value
    given = value if isinstance(value, dict) else {"action": value}
    return default.model_dump() | given


class NightlyConfig(Section):
    """How job `nightly` goes on from what the published run has trained."""

    warm_start: bool = Field(
        default=True,
        description="Whether factors and towers start from those of the published run; without it,"
        " they are trained from their start for as long as in a whole run.",
    )
    als_iterations: PositiveInt = Field(
        default=4,
        description="The number of iterations of ALS that follow on the published factors. After"
        " two, the objective is below that of 16 from random factors (Gowalla, with 3% of the pairs"
        " new).",
    )
    tower_epochs: ShareOrAll = Field(
        default=0.25,
        description="The share of the epochs chosen on validation, the last ones of the schedule,"
        " for which the published towers are trained on.",
    )


class RetentionConfig(Section):
    """Which runs job `clean` keeps.

    A run is kept where either key says so. The published run and the one before it, to which a
    rollback leads, are always kept, and so are the one that `evaluate.compare_with_run` names and
    one from which a night goes on that has not ended.
    """

    runs: NonNegativeInt = Field(default=14, description="The number of latest runs that are kept.")
    days: NonNegativeInt = Field(
        default=30, description="The age in days up to which runs are kept."
    )


class OutputsConfig(Section):
    """What is written for readers of the tables alone."""

    embeddings: bool = Field(
        default=False,
        description="Whether the users' embeddings of the fusion model are written, some kilobytes"
        " a user in each run; those of the items always are. A nightly run has none where its lists"
        " need not all towers that have a weight in that model.",
    )
