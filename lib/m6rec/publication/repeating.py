"""Make a run again from what it was made of, and tell whether its lists come out the same."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.config.run import Config, parse_config, sources_of
from m6rec.errors import DataError
from m6rec.lakehouse import Lakehouse
from m6rec.runs import (
    BESIDE_RUNS,
    FINISHED,
    collected_runs,
    sources_made_anew,
    sources_of_run,
    start_of_work,
    users_forgotten_since,
    versions_in_use,
    work_of_run,
)
from m6rec.schemas import RECOMMENDATIONS_TABLE
from m6rec.spark.sources import at_versions

_INDICES = ("user_index", "item_index")
_KEY = RECOMMENDATIONS_TABLE.key
_BRINGS_USERS_BACK = (
    "users have been forgotten since, and come back into tables of the lake where the versions of"
    " your tables that the run read hold them; forget them again when this run has ended"
)
_DIFFERS_ANYWAY = (c.RUN_ID, c.GENERATED_AT)


@dataclass(frozen=True)
class Repetition:
    """What a run was made of.

    Attributes:
        config: its configuration, with every source at the version that the run read, and without
            a comparison with another run, which may be gone.
        lakehouse: the tables of the run that repeats it, with the indices as they were then.
        doubts: why the lists may differ all the same.
    """

    config: Config
    lakehouse: Lakehouse
    doubts: tuple[str, ...]


@dataclass(frozen=True)
class ListDifferences:
    """How the lists of two runs differ, in users.

    Attributes:
        users: who have a list in either.
        other_items: those of them whose items or their order differ.
        other_scores: those of the rest for whom a score, a part, a reason or a title differs.
        differs_for_unknown: whether a list for unknown users differs.
    """

    users: int
    other_items: int
    other_scores: int
    differs_for_unknown: bool = False

    @property
    def are_equal(self) -> bool:
        """Whether nothing differs."""
        return self.other_items == 0 and self.other_scores == 0 and not self.differs_for_unknown


def repetition_of(original: Lakehouse, run_id: str) -> Repetition:
    """What is needed to make a finished run again as run `run_id`.

    Raises:
        DataError: the run is not there, has not finished, or its lists have been removed.
    """
    work = work_of_run(original)
    given = given_of_run(original, work)
    first = min(work, key=lambda row: row["started_at"])
    versions = sources_of_run(original, given, work)
    forgotten = users_forgotten_since(original, start_of_work(work))
    doubts = [
        f"{key} ({source.name}) has no versions and is read as it is now"
        for key, source, _ in sources_of(given)
        if key not in versions
    ]
    config = at_versions(given, versions)
    doubts += [
        f"{key} ({source.name}) has been made anew since, and version {source.version} of it is"
        " another than the one that the run read"
        for key, source in sources_made_anew(original.spark, config, work)
    ]
    if forgotten:
        doubts.append(_BRINGS_USERS_BACK)
    if first["code_version"] != versions_in_use():
        doubts.append(f"the code was {first['code_version']} and is {versions_in_use()}")
    lakehouse = replace(original.for_run(run_id), fixed={} if forgotten else index_versions(work))
    if config.evaluate.compare_with_run is not None:
        config = config.replaced({"evaluate.compare_with_run": None})
    return Repetition(config, lakehouse, tuple(doubts))


def given_of_run(original: Lakehouse, work: Sequence[Row]) -> Config:
    """The configuration that a finished run was given.

    Args:
        original: the run's tables.
        work: its rows of `runs`.

    Raises:
        DataError: the run is not there, has not finished, or its lists have been removed.
    """
    lists = [row for row in work if "recommendations" in (row["outputs"] or {})]
    if not any(row["status"] == FINISHED for row in lists):
        found = (
            f"it has {sorted({row['status'] for row in work})}" if work else "there is no such run"
        )
        known = ", ".join(_runs_with_lists(original)) or "none"
        raise DataError(
            f"run {original.run_id} has no lists in {original.location}: {found}; give --run-id"
            f" of a finished run that clean has not removed, of which there are: {known}"
        )
    first = min(work, key=lambda row: row["started_at"])
    if first["given"] is None:
        raise DataError(
            f"run {original.run_id} was made by an earlier release, which did not record its"
            " configuration as it was given; give --run-id of a later run"
        )
    return parse_config(json.loads(first["given"]), f"of run {original.run_id}")


def _runs_with_lists(lakehouse: Lakehouse) -> list[str]:
    rows = collected_runs(lakehouse, {"status": (FINISHED,)})
    return sorted(
        {
            row[c.RUN_ID]
            for row in rows
            if row["job"] not in BESIDE_RUNS and "recommendations" in (row["outputs"] or {})
        }
    )


def differences(one: Lakehouse, two: Lakehouse) -> ListDifferences:
    """Compare the lists of two runs, in all but when they were made."""
    left, right = (_comparable(lakehouse.read("recommendations")) for lakehouse in (one, two))
    renamed = right.withColumnsRenamed({name: f"other_{name}" for name in right.columns})
    same_place = [F.col(name).eqNullSafe(F.col(f"other_{name}")) for name in _KEY]
    values = [name for name in left.columns if name not in _KEY]
    pairs = left.join(renamed, same_place, how="full").select(
        F.coalesce(c.USER_ID, f"other_{c.USER_ID}").alias(c.USER_ID),
        _differ((c.ITEM_ID,)).alias("items"),
        _differ(tuple(values)).alias("anything"),
    )
    users = pairs.groupBy(c.USER_ID).agg(
        F.bool_or("items").alias("items"), F.bool_or("anything").alias("anything")
    )
    is_user = F.col(c.USER_ID).isNotNull()
    row = users.agg(
        F.count(c.USER_ID).alias("users"),
        F.count_if(F.col("items") & is_user).alias("items"),
        F.count_if(F.col("anything") & ~F.col("items") & is_user).alias("scores"),
        F.count_if(F.col("anything") & ~is_user).alias("unknown"),
    ).collect()[0]
    return ListDifferences(row["users"], row["items"], row["scores"], row["unknown"] > 0)


def _comparable(lists: DataFrame) -> DataFrame:
    """The columns that can be equal; maps are arrays, because Spark does not compare maps."""
    return lists.select(
        *(
            F.array_sort(F.map_entries(field.name)).alias(field.name)
            if isinstance(field.dataType, T.MapType)
            else F.col(field.name)
            for field in lists.schema
            if field.name not in _DIFFERS_ANYWAY
        )
    )


def _differ(names: tuple[str, ...]) -> Column:
    differs = F.lit(False)
    for name in names:
        differs = differs | ~F.col(name).eqNullSafe(F.col(f"other_{name}"))
    return differs


def with_own_indices(original: Lakehouse, work: Sequence[Row]) -> Lakehouse:
    """The tables of a finished run, with the indices as they were then.

    Models have a row for each item that there was. Where users have been forgotten since, the index
    as it was then is gone, and the present one is read.

    Args:
        original: the run's tables.
        work: its rows of `runs`.
    """
    versions = index_versions(work)
    if users_forgotten_since(original, start_of_work(work)):
        versions.pop("user_index", None)
    return replace(original, fixed=versions)


def index_versions(work: Sequence[Row]) -> dict[str, int]:
    """The versions of the indices when a run had numbered its users and items.

    Later runs have numbered users and items of their own.
    """
    return {
        name: version
        for row in work
        for name, version in (row["outputs"] or {}).items()
        if name in _INDICES
    }
