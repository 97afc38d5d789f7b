"""Forget users: delete them from every table and file of the lake, and leave a receipt.

What has been learned from many users (factors of items, weights, vocabularies) stays as it is. A
forgotten user who is still in the owner's tables comes back with the next run.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.config.base import TableSource
from m6rec.config.data import InteractionsConfig
from m6rec.config.reading import value_at
from m6rec.config.run import Config
from m6rec.errors import DataError
from m6rec.job_records import CLEAN, FOLD_IN, FORGET
from m6rec.lakehouse import PUBLISHED, Lakehouse, schema_of
from m6rec.publication.replacing import frame_of_users
from m6rec.publication.upkeep import existing_tables, for_each, vacuum
from m6rec.runs import A_STREAM_MAY_BE_SILENT, Attempt, collected_runs, jobs_going_on
from m6rec.schemas import RECEIPTS_TABLE, TABLES
from m6rec.spark.places import matching, remove_folder
from m6rec.spark.runtimes import arrow_schema, arrow_table, cast_or_null, frame_of_arrow
from m6rec.spark.session import with_settings
from m6rec.spark.values import as_id

# The artifacts of a run that hold rows of users. Only training reads them.
_ROWS_OF_USERS = "tower_rows"
SAFE_HOURS = 168
# Rows that a merge only marks would be purged next. Delta's log would have got the smallest and the
# largest id of each file that has them: marks need statistics, though the session turns these off.
_UNMARKED = {"spark.databricks.delta.merge.deletionVectors.persistent": "false"}
_NAMED = "_named"


@dataclass(frozen=True)
class Deletion:
    """What has been deleted: a row of the receipt.

    Attributes:
        table: the table; or a kind of artifacts, whose folders are deleted as a whole.
        rows: how many rows, or folders.
        version: of the table without them; None for artifacts.
    """

    table: str
    rows: int
    version: int | None


@dataclass(frozen=True)
class _Users:
    """Users who are forgotten.

    Attributes:
        ids: of those whom the lake knows, as it has them, and of the others, as they were given.
        indices: of those who have one.
        refused: their refused rows, as table `quarantine` has them.
        known: how many of them the lake knows, be it by such rows alone.
    """

    ids: list[str]
    indices: list[int]
    refused: list[str]
    known: int


def forget(
    lakehouse: Lakehouse,
    config: Config,
    ids: DataFrame,
    retain_hours: int = 0,
    killed: Collection[str] = (),
) -> tuple[int, list[Deletion]]:
    """Delete users from the published lists, from all other tables, and from the files behind.

    Where it is killed, it can be called again: the index, by which users are found, goes last, and
    not at all beside a run, which may write them again.

    Args:
        lakehouse: its run id is that of the forgetting, and stands on the receipt.
        config: says how ids are written, and names the column of users, by which, and by those of
            earlier runs, they are found in refused rows.
        ids: user_id, written like that of the interactions.
        retain_hours: files that older versions need are kept for so long.
        killed: runs that the owner knows to be killed, though table `runs` has them as started.

    Returns:
        How many of the users the lake knew, and what has been deleted.

    Raises:
        DataError: a job is going on whose unfinished files would be deleted, too.
    """
    if retain_hours < SAFE_HOURS:
        _refuse_beside_a_run(lakehouse, killed, "nobody has been forgotten")
    attempt = Attempt(lakehouse, config, FORGET.name)
    named = users_named(ids, config.interactions)
    tables = existing_tables(lakehouse)
    if not tables:
        raise DataError(
            f"{lakehouse.location} holds no table of a run, so that no user can be found; is lake"
            " in the config the place of the tables?"
        )
    users = _users_of(lakehouse, named, tables, config.interactions)
    deletions: list[Deletion] = []

    def delete(names: Sequence[str]) -> None:
        with with_settings(lakehouse.spark, _UNMARKED):
            found = for_each(names, lambda name: _delete(lakehouse, name, users))
        deletions.extend(one for one in found if one is not None)

    for group in _in_order(tables):
        delete(group)
    deletions += _delete_rows_of_towers(lakehouse)
    if retain_hours < SAFE_HOURS:
        _refuse_beside_a_run(lakehouse, killed, "files of older versions still hold the users")
    # What a run writes meanwhile is found by the index, when the users are forgotten again.
    if "user_index" in tables and not runs_beside(lakehouse, attempt.started_at, killed):
        delete(["user_index"])
    # Where an earlier call was killed, or `fold_in` took lists out, tables may have no rows of the
    # users left, but still have files with them.
    of_users = [name for name in tables if _holds_users(name)]
    for_each(of_users, lambda name: _purge(lakehouse, name))
    vacuum(lakehouse, of_users, retain_hours)
    if lakehouse.by_path and retain_hours < SAFE_HOURS:
        _remove_files_of_no_table(lakehouse, tables)
    receipt = [
        one if one.version is None else replace(one, version=lakehouse.version(one.table))
        for one in deletions
    ]
    _write_receipt(lakehouse, users.known, receipt)
    attempt.add({one.table: one.version for one in receipt if one.version is not None})
    return users.known, receipt


def _users_of(
    lakehouse: Lakehouse, named: DataFrame, tables: Sequence[str], config: InteractionsConfig
) -> _Users:
    there = arrow_table(_users_of_lake(lakehouse, named, tables, config))
    given = arrow_table(named).column(c.USER_ID).to_pylist()
    ids = sorted({*there.column(c.USER_ID).to_pylist(), *given})
    indices = sorted({*there.column(c.USER_INDEX).drop_null().to_pylist()})
    known, refused = {*there.column(_NAMED).to_pylist()}, set[str]()
    if "quarantine" in tables:
        rows = arrow_table(_refused_rows(lakehouse, ids, config))
        known |= {*rows.column(_NAMED).to_pylist()}
        refused = {*rows.column(c.RAW).to_pylist()}
    return _Users(ids, indices, sorted(refused), len(known))


def tables_of_users(config: Config) -> Iterator[tuple[TableSource, str]]:
    """The owner's tables whose users have lists in a run, and their columns of ids."""
    own = config.interactions.columns.user
    events = (
        config.interactions.source,
        config.split.test,
        config.split.validation,
        config.fold_in.source,
    )
    named: dict[str, TableSource] = {}
    for source in events:
        if source is not None:
            # Events that are followed may be in the table that runs read.
            named.setdefault(source.name, source)
    yield from ((source, own) for source in named.values())
    if config.features.users is not None:
        yield config.features.users.source, config.features.users.id


def users_named(ids: DataFrame, config: InteractionsConfig) -> DataFrame:
    """user_id: the users of a table of ids as the tables of a run hold them, each once."""
    users = as_id(F.col(c.USER_ID).cast("string"), config).alias(c.USER_ID)
    return ids.select(users).where(F.col(c.USER_ID).rlike(r"\S")).distinct()


def users_in(ids: DataFrame, users: DataFrame) -> int:
    """How many of the users are among the ids of a table of the owner's; both have user_id."""
    return ids.distinct().join(users, c.USER_ID, how="left_semi").count()


def runs_beside(lakehouse: Lakehouse, since: datetime, killed: Collection[str] = ()) -> list[str]:
    """The runs with a job that went on at that time or later, and may have read users before."""
    rows = collected_runs(lakehouse, {})
    ended = [
        one for one in rows if one["finished_at"] and one["finished_at"].astimezone(UTC) > since
    ]
    beside = [*jobs_going_on(rows, datetime.now(UTC)), *ended]
    names = {row[c.RUN_ID] for row in beside if row["job"] not in {FORGET.name, CLEAN.name}}
    return sorted(names - set(killed))


def _users_of_lake(
    lakehouse: Lakehouse, named: DataFrame, tables: Sequence[str], config: InteractionsConfig
) -> DataFrame:
    """user_id, user_index of the named users whom the lake knows, and by which name.

    If the configuration that says how ids are read has changed, one user may be there in several
    spellings, each with an index of its own. Users who came after training have lists but no index,
    and nobody has one where the first run of all was killed before it numbered them.
    """
    there = frame_of_users(lakehouse.spark, []).withColumn(c.USER_INDEX, F.lit(None).cast("long"))
    if "user_index" in tables:
        there = lakehouse.delta_table("user_index").toDF().select(c.USER_ID, c.USER_INDEX)
    elif "interactions" in tables:
        events = lakehouse.delta_table("interactions").toDF().select(c.USER_ID).distinct()
        there = there.unionByName(events, allowMissingColumns=True)
    if PUBLISHED in tables:
        lists = lakehouse.delta_table(PUBLISHED).toDF().select(c.USER_ID).distinct()
        there = there.unionByName(lists, allowMissingColumns=True)
    as_named = as_id(F.col(c.USER_ID), config).alias(_NAMED)
    return there.withColumn(_NAMED, as_named).join(
        named.select(as_named).distinct(), _NAMED, how="left_semi"
    )


def _in_order(tables: Sequence[str]) -> Iterator[list[str]]:
    """All tables but the index; the lists come first.

    The published lists are a copy of `recommendations`. The original is cleaned first, so a copy
    that is made meanwhile is either cleaned next, or has to be made again from the cleaned table.
    """
    first = ["recommendations", PUBLISHED]
    yield from ([name] for name in first if name in tables)
    yield [name for name in tables if name not in {*first, "user_index"}]


def _holds_users(name: str) -> bool:
    """Whether the rows of a table tell of users."""
    return name == "quarantine" or bool({c.USER_ID, c.USER_INDEX} & set(schema_of(name).names))


def _delete(lakehouse: Lakehouse, name: str, users: _Users) -> Deletion | None:
    """Delete the users' rows of a table; None where it has none, or no column tells of users."""
    if not _holds_users(name):
        return None
    column, values = _keys_in(name, users)
    rows = lakehouse.delete_rows(name, {column: values})
    if rows is None:
        rows = _delete_by_spark(lakehouse, name, column, values)
    return Deletion(name, rows, lakehouse.version(name)) if rows else None


def _keys_in(name: str, users: _Users) -> tuple[str, list[Any]]:
    """The column by which a table's rows of the users are found, and its values in them."""
    if name == "quarantine":
        return c.RAW, users.refused
    if c.USER_ID in schema_of(name).names:
        return c.USER_ID, users.ids
    return c.USER_INDEX, users.indices


def _delete_by_spark(lakehouse: Lakehouse, name: str, column: str, values: list[Any]) -> int:
    """Delete the rows of a table that have one of the values; return how many these were."""
    keys = T.StructType([T.StructField(column, schema_of(name)[column].dataType)])
    held = pa.table([values], arrow_schema(keys))
    source = frame_of_arrow(lakehouse.spark, held, keys).alias("source")
    condition = F.col(f"target.{column}") == F.col(f"source.{column}")
    table = lakehouse.delta_table(name)
    rows = table.toDF().alias("target").join(source, condition, how="left_semi").count()
    if rows:
        table.alias("target").merge(source, condition).whenMatchedDelete().execute()
    return rows


def _refused_rows(
    lakehouse: Lakehouse, ids: Sequence[str], config: InteractionsConfig
) -> DataFrame:
    """The refused rows of users as table `quarantine` has them, and by which name of the user's.

    There the id is as the owner's table has it. A column of doubles has `17850.0` for user 17850,
    whatever `normalise_ids` is, so that ids that are the same number are the same user here, and
    so are ids that differ in the space around them.
    """
    whole = config.model_copy(update={"normalise_ids": "integer", "trim_ids": True})
    columns = F.array(*map(F.lit, _columns_of_users(lakehouse, config)))
    values = F.transform(columns, lambda name: F.from_json(c.RAW, "map<string,string>")[name])
    raws = lakehouse.delta_table("quarantine").toDF().select(c.RAW).distinct()
    rows = raws.select(c.RAW, F.explode(values).alias(_NAMED))
    given = F.col(_NAMED)
    # In this way JSON writes doubles from ten million on.
    whole_number = cast_or_null(given, "decimal(38,0)").cast("string")
    given = F.when(given.rlike(r"^-?\d([.]\d+)?E\d+$"), whole_number).otherwise(given)
    written = rows.select(c.RAW, as_id(given, whole).alias(c.USER_ID))
    user = F.col(c.USER_ID)
    named = frame_of_users(lakehouse.spark, ids).select(
        as_id(user, whole).alias(c.USER_ID), as_id(user, config).alias(_NAMED)
    )
    return written.join(named, c.USER_ID).select(c.RAW, _NAMED).distinct()


def _columns_of_users(lakehouse: Lakehouse, config: InteractionsConfig) -> list[str]:
    """The owner's columns of users, by the given configuration and by those of earlier runs."""
    given = (json.loads(row["config"]) for row in collected_runs(lakehouse, {}))
    earlier = {value_at(one, "interactions.columns.user") for one in given}
    return sorted({config.columns.user, *filter(None, earlier)})


def _delete_rows_of_towers(lakehouse: Lakehouse) -> list[Deletion]:
    """Delete the rows that towers were trained on; those of all users, since no run needs them."""
    root = lakehouse.for_run("").artifact_path()
    folders = matching(lakehouse.spark, root, f"*/{_ROWS_OF_USERS}")
    for folder in folders:
        remove_folder(lakehouse.spark, folder)
    return [Deletion(f"artifacts/{_ROWS_OF_USERS}", len(folders), None)] if folders else []


def _purge(lakehouse: Lakehouse, name: str) -> None:
    """Rewrite files whose deleted rows are only marked as such, by deletion vectors."""
    if lakehouse.local_snapshot(name) is not None:
        # Of a table whose rows may be marked there is none.
        return
    features: Any = lakehouse.delta_table(name).detail().select("tableFeatures").collect()[0][0]
    if "deletionVectors" in (features or []):
        lakehouse.spark.sql(f"REORG TABLE {lakehouse.sql_name(name)} APPLY (PURGE)")


def _remove_files_of_no_table(lakehouse: Lakehouse, tables: Sequence[str]) -> None:
    """Remove what a killed run had written of tables before the first commit of each."""
    for name in (one for one in TABLES if _holds_users(one) and one not in tables):
        # Whatever else lies there is none of the lake's.
        for folder in matching(lakehouse.spark, lakehouse.address(name), f"{c.RUN_ID}=*"):
            remove_folder(lakehouse.spark, folder)


def _refuse_beside_a_run(lakehouse: Lakehouse, killed: Collection[str], so_far: str) -> None:
    jobs = jobs_going_on(collected_runs(lakehouse, {}), datetime.now(UTC))
    started = [row for row in jobs if row[c.RUN_ID] not in killed]
    if started:
        row = max(started, key=lambda one: one["started_at"])
        began, end, gone = "was started", "wait for it", "was killed, finish it"
        if row["job"] == FOLD_IN.name:
            minutes = A_STREAM_MAY_BE_SILENT // timedelta(minutes=1)
            began, end, gone = "went on", "stop it", f"has been stopped, wait {minutes} minutes"
        raise DataError(
            f"job {row['job']} of run {row[c.RUN_ID]} {began} at {row['started_at']} and has"
            " not ended, and forgetting would delete the files that it is writing, so"
            f" {so_far}; {end}, or, where it {gone} or give --killed"
            f" {row[c.RUN_ID]}, or give --retain-hours {SAFE_HOURS}, which keeps the users in files"
            " of older versions until then, and forget them again when the job has ended"
        )


def _write_receipt(lakehouse: Lakehouse, known: int, receipt: Sequence[Deletion]) -> None:
    now = datetime.now(UTC)
    rows = [
        {
            "table": one.table,
            "rows": one.rows,
            "version": one.version,
            c.USERS: known,
            "forgotten_at": now,
        }
        for one in receipt
    ]
    lakehouse.append_rows(RECEIPTS_TABLE.name, rows)
