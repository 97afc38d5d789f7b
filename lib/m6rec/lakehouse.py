"""Read and write the tables of a run, and say where its artifacts lie."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from itertools import chain
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, DataFrameWriter, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.config.base import is_path
from m6rec.errors import ConfigError, DataError, TableError
from m6rec.files import FilePlace
from m6rec.schemas import RECOMMENDATIONS_TABLE, TABLES, TableSchema
from m6rec.spark.collecting import collected_batches
from m6rec.spark.deletion_vectors import replace_all, takes_deletion_vectors
from m6rec.spark.failures import THROWN, is_overtaken
from m6rec.spark.local_delta import (
    Condition,
    NewTable,
    Snapshot,
    WrittenFile,
    as_condition,
    as_rows,
    batches_that_fulfil,
    commit_rows,
    has_log,
    newest_version,
    rows_of,
    rows_that_are_new,
    snapshot_of,
    takes_rows,
)
from m6rec.spark.places import folder_here, place_of
from m6rec.spark.runtimes import (
    arrow_schema,
    arrow_table,
    delta_table_named,
    frame_of_arrow,
    use_in_this_thread,
)
from m6rec.spark.session import check_classic, on_databricks
from m6rec.spark.sources import latest_version
from m6rec.spark.worker_rows import WorkerRows, copied_rows

# The lists that readers follow by path: of all tables the only one that belongs to no single run.
PUBLISHED = "published/recommendations"
# The folder of a lake in which artifacts lie, unless `artifacts` names another place.
_OWN_ARTIFACTS = "_artifacts"
# Columns that, besides the run id, name a part of a run's rows.
_PARTS = (c.FIT, "kind", "job")
# The value or values of a column by which a write chooses the rows that it replaces.
Part = str | tuple[str, ...]
Known = TypeVar("Known")
Made = TypeVar("Made")
# The driver keeps a run's rows of a table in memory if their files have at most so many bytes.
_BYTES_IN_MEMORY = 1 << 20
# The driver reads rows without Spark if their files have at most so many bytes.
_BYTES_OF_ROWS = 8 << 20
# A worker copies a file of at most so many bytes.
_BYTES_OF_FILE = 128 << 20
# Tables of which few rows can take much memory.
_LARGE = ("item_images",)
_ATTEMPTS_TO_PUBLISH = 10
_DEFAULTS_OF_DELTA = "spark.databricks.delta.properties.defaults."


def schema_of(name: str) -> T.StructType:
    """The columns of a table of the lake, be it that of the published lists."""
    return (RECOMMENDATIONS_TABLE if name == PUBLISHED else TABLES[name]).schema


@dataclass(frozen=True)
class Lakehouse:
    """The tables of one run, under a root path or in `catalog.schema`.

    Rows that the driver holds or asks for itself take no query where the tables lie on its own disk
    (`m6rec.spark.local_delta`).

    Attributes:
        spark: the session.
        location: a path if it holds a slash or starts with a scheme; `a.b` is a schema of the
            catalogue.
        run_id: the run.
        artifacts: the folder of models and checkpoints; if empty, the folder of the tables.
        pinned: whether a table stays at the version that was first read, until it is written, so
            that a job sees one state.
        fixed: tables that are always read at this version.
        background: an executor of one thread that writes rows that the driver holds while a job
            goes on; None writes them at once.
        in_memory: the rows of small tables that have been read; None keeps none.
        through_driver: whether the rows of every frame that is written are few enough for the
            driver to hold.
        added: rows by table that are read as if they were among this run's.
    """

    spark: SparkSession
    location: str
    run_id: str
    artifacts: str = ""
    pinned: bool = False
    fixed: Mapping[str, int] = field(default_factory=dict)
    background: Executor | None = None
    in_memory: dict[tuple[Any, ...], DataFrame] | None = None
    through_driver: bool = False
    added: Mapping[str, pa.Table] = field(default_factory=dict)
    _pending: dict[str, list[Future[int]]] = field(default_factory=dict)
    _written: dict[str, int] = field(default_factory=dict)
    _read: dict[str, int] = field(default_factory=dict)
    _known: dict[tuple[str, int, str], Any] = field(default_factory=dict)
    # If two threads made a table at once, one commit would fail; so commits of a table take turns.
    _commits: dict[str, RLock] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the session.

        Raises:
            ClusterError: it is Spark Connect.
        """
        check_classic(self.spark)

    def for_one_job(self, background: Executor | None = None) -> "Lakehouse":
        """The same tables pinned, with inputs and outputs of their own."""
        return replace(self, pinned=True, background=background, _pending={}, _written={}, _read={})

    def with_tables_in_memory(self, through_driver: bool = False) -> "Lakehouse":
        """The same tables; rows of a small one are read once and then kept in the driver's memory.

        Each query over a table of files, and each commit, begins with a query for those files,
        which takes longer than all else where there are few rows. With `through_driver`, a table
        takes a single query, for its rows.
        """
        return replace(self, in_memory={}, through_driver=through_driver)

    def with_rows(self, name: str, frame: DataFrame, /, **part: str) -> "Lakehouse":
        """The same tables, one of which is read as if `frame` had been added to this run's rows.

        `frame` is as for `write`; its rows are few enough for the driver to hold.
        """
        rows = arrow_table(self._conform(TABLES[name], frame, self._constants(part)))
        rows = rows.cast(arrow_schema(TABLES[name].schema))
        in_memory: dict[tuple[Any, ...], DataFrame] | None = None if self.in_memory is None else {}
        return replace(self, added={**self.added, name: rows}, in_memory=in_memory, _known={})

    def for_run(self, run_id: str) -> "Lakehouse":
        """The tables of another run in the same place."""
        in_memory: dict[tuple[Any, ...], DataFrame] | None = None if self.in_memory is None else {}
        return Lakehouse(self.spark, self.location, run_id, self.artifacts, in_memory=in_memory)

    def run_calls(self, calls: Sequence[Callable[[], Made]]) -> Iterator[Made]:
        """The results of the calls, which run at once where rows are few, else one by one when
        asked for.

        To plan a query over few rows takes longer than to run it, and takes one core. A query over
        many rows has all cores to itself, and the memory.
        """
        if self.in_memory is not None:
            yield from side_by_side(calls)
            return
        for call in calls:
            yield call()

    @property
    def by_path(self) -> bool:
        """Whether tables are addressed by path."""
        return is_path(self.location)

    @property
    def inputs(self) -> Mapping[str, int]:
        """Versions of the tables read so far."""
        return dict(self._read)

    @property
    def outputs(self) -> Mapping[str, int]:
        """Versions of the tables written so far."""
        return dict(self._written)

    def address(self, name: str) -> str:
        """The table's path, or its name in the catalogue."""
        if self.by_path:
            return f"{self.location.rstrip('/')}/{name}"
        return f"{self.location}.{name}"

    def check_schema(self) -> None:
        """Check that the schema of the catalogue, if the tables lie in one, is there.

        Raises:
            ConfigError: it is not.
        """
        if not self.by_path and not self.spark.catalog.databaseExists(self.location):
            raise ConfigError(
                f"lake: the catalogue has no schema {self.location}; make it (CREATE SCHEMA"
                f" {self.location}), correct the name, or give a path, which has a slash"
            )

    def artifact_path(self, *parts: str) -> str:
        """A folder or file of this run for what is not a table."""
        return "/".join([self.artifacts or self._own_artifacts, self.run_id, *parts])

    def artifact_place(self, *parts: str) -> FilePlace:
        """The same, with the means of reaching it."""
        return place_of(self.spark, self.artifact_path(*parts))

    def address_of_saved(self, address: str) -> str:
        """Where an artifact that was saved at `address` is now.

        An artifact among the tables moves with them, and is copied with them.
        """
        _, own, within = address.rpartition(f"/{_OWN_ARTIFACTS}/")
        if not own or (self.artifacts and address.startswith(self.artifacts)):
            return address
        return f"{self._own_artifacts}/{within}"

    @property
    def _own_artifacts(self) -> str:
        return f"{self._folder().rstrip('/')}/{_OWN_ARTIFACTS}"

    def _folder(self) -> str:
        """The folder of the tables; of a schema of the catalogue, its location."""
        if self.by_path:
            return self.location
        location = self.spark.catalog.getDatabase(self.location).locationUri
        if not location or on_databricks():
            raise ConfigError(
                f"lake {self.location} is a schema of the catalogue, in whose location files cannot"
                " be written; set artifacts to a volume, such as"
                f" /Volumes/{self.location.replace('.', '/')}/artifacts"
            )
        return location

    def sql_name(self, name: str) -> str:
        """The table as SQL names it."""
        return f"delta.`{self.address(name)}`" if self.by_path else self.address(name)

    def settle(self, *names: str) -> None:
        """Wait for what is being written to these tables; to all tables unless some are named."""
        for name in names or list(self._pending):
            for written in self._pending.pop(name, []):
                written.result()

    def exists(self, name: str) -> bool:
        """Whether the table has been created."""
        self.settle(name)
        return self._is_there(name)

    def _is_there(self, name: str) -> bool:
        folder = self.local_folder(name)
        if folder is not None:
            return has_log(folder)
        if self.by_path:
            return DeltaTable.isDeltaTable(self.spark, self.address(name))
        return self.spark.catalog.tableExists(self.address(name))

    def version(self, name: str) -> int:
        """The latest version of the table."""
        self.settle(name)
        return self._latest(name)

    def _latest(self, name: str) -> int:
        folder = self.local_folder(name)
        if folder is None:
            version = latest_version(self.spark, self.delta_table(name))
        else:
            version = newest_version(folder)
        if version is None:
            raise TableError(f"table {self.address(name)} has no history; was it vacuumed away?")
        return version

    def read(self, name: str, /, version: int | None = None, **part: str) -> DataFrame:
        """Read this run's rows of a table (all rows of a shared one), restricted to `part`.

        Raises:
            TableError: the table does not exist; the message names the job that makes it.
        """
        found = self._pin(name, version)
        stored, added = self._stored(name, found, part), self._added(name, part)
        if added is None:
            return stored
        return stored.unionByName(_frame_of_rows(self.spark, added, TABLES[name].schema))

    def _stored(self, name: str, found: int, part: Mapping[str, str]) -> DataFrame:
        table = TABLES[name]
        if self.in_memory is None:
            return self._from_files(name, found, part)
        key = (name, found, *sorted(part.items()))
        if key not in self.in_memory:
            rows = self._small_rows(name, found, [self._own(table, part)], _BYTES_IN_MEMORY)
            if rows is None:
                self.in_memory[key] = _in_memory(self._from_files(name, found, part))
            else:
                self.in_memory[key] = _frame_of_rows(self.spark, rows, table.schema)
        frame = self.in_memory[key]
        # Each read gives columns of its own, for a table to be joined with itself.
        return frame.toDF(*frame.columns)

    def _added(self, name: str, part: Mapping[str, str]) -> pa.Table | None:
        """The rows of `added` that are of a part of a table; None where there are none."""
        rows = self.added.get(name)
        if rows is None:
            return None
        for column, value in part.items():
            rows = rows.filter(pc.equal(rows.column(column), value))
        return rows if rows.num_rows else None

    def _from_files(self, name: str, version: int, part: Mapping[str, str]) -> DataFrame:
        reader = self.spark.read.format("delta").option("versionAsOf", version)
        address = self.address(name)
        frame = reader.load(address) if self.by_path else reader.table(address)
        for column, value in self._own(TABLES[name], part).items():
            frame = frame.where(F.col(column).isin(*value))
        return frame

    def _own(self, table: TableSchema, part: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        """The conditions, by column, that this run's rows of a part of a table fulfil."""
        run = {} if table.shared else {c.RUN_ID: self.run_id}
        return {column: (value,) for column, value in (run | dict(part)).items()}

    def rows(self, name: str) -> list[Row]:
        """This run's rows of a table that has few of them; asked once, as by `known`."""
        version = self._pin(name, None)

        def ask() -> list[Row]:
            rows = self._small_rows(name, version, [self._own(TABLES[name], {})], _BYTES_OF_ROWS)
            return self.read(name).collect() if rows is None else as_rows(rows)

        return self._asked_once(name, version, "rows", ask)

    def collected(self, name: str, *alternatives: Condition) -> list[Row]:
        """The rows of all runs that fulfil one of the conditions, as a table has them now.

        For few rows: of this lake's runs, models and guards. Columns that the table did not have
        when it was last written are null. What is read here is no input of a job.
        """
        self.settle(name)
        version, schema = self._latest(name), TABLES[name].schema
        rows = self._small_rows(name, version, alternatives, _BYTES_OF_ROWS)
        if rows is not None:
            return as_rows(rows)
        frame = self.delta_table(name).toDF()
        new = [column for column in schema if column.name not in frame.columns]
        frame = frame.withColumns({one.name: F.lit(None).cast(one.dataType) for one in new})
        fulfilled = " OR ".join(f"({as_condition(one) or 'TRUE'})" for one in alternatives)
        return frame.select(*schema.names).where(fulfilled).collect()

    def _small_rows(
        self, name: str, version: int, alternatives: Sequence[Condition], most_bytes: int
    ) -> pa.Table | None:
        """Rows that lie in few bytes on this machine; None where Spark has to read them."""
        snapshot = self.local_snapshot(name, version)
        return (
            None
            if snapshot is None
            else rows_of(snapshot, TABLES[name].schema, alternatives, most_bytes)
        )

    def batches(
        self, name: str, columns: Sequence[str], most_bytes: int, /, **part: str
    ) -> Iterator[pa.RecordBatch]:
        """Columns of the rows that `read` gives, in any order, for the driver to hold.

        `most_bytes` is as for `collected_batches`.
        """
        version, own = self._pin(name, None), self._own(TABLES[name], part)
        snapshot = self.local_snapshot(name, version)
        if snapshot is None or not snapshot.has_files_of(own):
            return collected_batches(self.read(name, None, **part).select(*columns), most_bytes)
        schema = TABLES[name].schema
        stored = batches_that_fulfil(snapshot, T.StructType([schema[one] for one in columns]), own)
        added = self._added(name, part)
        return stored if added is None else chain(stored, added.select(columns).to_batches())

    def local_folder(self, name: str) -> Path | None:
        """Where a table lies on the driver's own disk; None where it lies elsewhere."""
        return None if self._folder_here is None else self._folder_here / name

    def local_snapshot(self, name: str, version: int | None = None) -> Snapshot | None:
        """A table on the driver's own disk as `snapshot_of` gives it; None where Spark reads it."""
        folder = self.local_folder(name)
        return None if folder is None else snapshot_of(folder, version)

    @cached_property
    def _folder_here(self) -> Path | None:
        return folder_here(self.spark, self.location) if self.by_path else None

    def known(self, name: str, what: str, ask: Callable[[DataFrame], Known]) -> Known:
        """An answer that depends on this run's rows of a table, asked once for each of its
        versions.

        All jobs of a process share the answers, which must take little memory.
        """
        version = self._pin(name, None)
        return self._asked_once(name, version, what, lambda: ask(self.read(name)))

    def _asked_once(self, name: str, version: int, what: str, ask: Callable[[], Known]) -> Known:
        key = (name, version, what)
        if key not in self._known:
            self._known[key] = ask()
        known: Known = self._known[key]
        return known

    def _pin(self, name: str, asked: int | None) -> int:
        """The version to read, which becomes an input."""
        self.settle(name)
        found = self._version_to_read(name, asked)
        if self.pinned and asked is None and name not in self._written:
            # Another thread may have read it meanwhile.
            found = self._read.setdefault(name, found)
        self._read[name] = found
        return found

    def write(self, name: str, frame: DataFrame, /, **part: Part) -> int:
        """Replace this run's rows (of `part`, where given) in one commit; return the version.

        `frame` has the table's columns without `run_id` and without those of `part`, in any
        order. A column of which `part` names several values stays in `frame`. Writing again changes
        nothing that a reader sees.
        """
        self.settle(name)
        return self._replace(name, frame, part)

    def _replace(self, name: str, frame: DataFrame, part: Mapping[str, Part]) -> int:
        table = TABLES[name]
        rows = self._conform(table, frame, self._constants(part))
        replaced = self._replaced(part)
        if self._passes_through_driver(name):
            return self._replace_here(name, arrow_table(rows), replaced)
        writer = rows.write.format("delta").mode("overwrite")
        with self._commits.setdefault(name, RLock()):
            return self._save(table, writer, replace=as_condition(replaced))

    def write_made(
        self,
        name: str,
        made: Sequence[WorkerRows],
        others: Sequence[DataFrame] = (),
        /,
        **part: Part,
    ) -> int:
        """`write` rows that Python workers make, and the few of other frames, in one commit.

        Where the tables lie on the workers' own disk, the workers write the files themselves.
        """
        self.settle(name)
        version = self._commit_made(name, made, others, part)
        if version is not None:
            return version
        frames = (*(one.frame() for one in made), *others)
        return self._replace(name, reduce(DataFrame.unionByName, frames), part)

    def _commit_made(
        self,
        name: str,
        made: Sequence[WorkerRows],
        others: Sequence[DataFrame],
        part: Mapping[str, Part],
    ) -> int | None:
        """Let workers write files, and commit them; None where Spark has to write."""
        folder, table, constants = self.local_folder(name), TABLES[name], self._constants(part)
        # A query for all rows is enough where they are few.
        if folder is None or self.through_driver:
            return None
        replaced, new = self._replaced(part), self._new_table(table)
        partition = {one: constants[one] for one in new.partitioned_by if one in constants}
        with self._commits.setdefault(name, RLock()):
            if not takes_rows(folder, table.schema, partition, replaced, new):
                return None
            files = [file for one in made for file in one.write(folder, partition)]
            few = arrow_schema(table.schema).empty_table()
            if others:
                rows = reduce(DataFrame.unionByName, others)
                few = arrow_table(self._conform(table, rows, constants))
            return self._commit_here(name, lambda _: few, replaced, files)

    def _passes_through_driver(self, name: str) -> bool:
        """Whether the driver fetches what is written to a table, and writes it for itself."""
        return self.through_driver and name not in _LARGE and self.local_folder(name) is not None

    def _replace_here(self, name: str, rows: pa.Table, replaced: Condition) -> int:
        """Replace rows by some that the driver holds."""
        with self._commits.setdefault(name, RLock()):
            version = self._commit_here(name, lambda _: rows, replaced)
            if version is not None:
                return version
            writer = self._frame_of(name, rows).write.format("delta").mode("overwrite")
            return self._save(TABLES[name], writer, replace=as_condition(replaced))

    def _replaced(self, part: Mapping[str, Part]) -> dict[str, tuple[str, ...]]:
        values = {key: (one,) if isinstance(one, str) else one for key, one in part.items()}
        return {c.RUN_ID: (self.run_id,), **values}

    def _commit_here(
        self,
        name: str,
        rows_for: Callable[[Snapshot | None], pa.Table | None],
        replaced: Condition | None,
        written: Sequence[WrittenFile] = (),
    ) -> int | None:
        """Write rows that the driver holds without a query; None where Spark has to do it."""
        folder, table = self.local_folder(name), TABLES[name]
        if folder is None:
            return None
        new = self._new_table(table)
        version = commit_rows(folder, table.schema, rows_for, replaced, new, written=written)
        if version is not None:
            self._written[name] = version
        return version

    def _new_table(self, table: TableSchema) -> NewTable:
        return NewTable(tuple(_partition_columns(table)), self._properties_of_tables)

    @cached_property
    def _properties_of_tables(self) -> dict[str, str]:
        """What the session has in the configuration of each table that is made."""
        settings = self.spark.sparkContext.getConf().getAll()
        return {
            f"delta.{key.removeprefix(_DEFAULTS_OF_DELTA)}": value
            for key, value in settings
            if key.startswith(_DEFAULTS_OF_DELTA)
        }

    def write_rows(self, name: str, rows: Sequence[Mapping[str, Any]], /, **part: Part) -> None:
        """`write` a few rows that the driver holds, each a value by column."""
        table, replaced = self._table_of(name, rows, part), self._replaced(part)
        if self.background is None:
            self.settle(name)
            self._replace_here(name, table, replaced)
        else:
            written = self.background.submit(self._replace_here, name, table, replaced)
            self._pending.setdefault(name, []).append(written)

    def append_rows(self, name: str, rows: Sequence[Mapping[str, Any]], /, **part: str) -> int:
        """Add a few rows to those of this run (of `part`) in one commit; return the version."""
        table = self._table_of(name, rows, part)
        version = self._commit_here(name, lambda _: table, replaced=None)
        if version is not None:
            return version
        writer = self._frame_of(name, table).write.format("delta").mode("append")
        return self._save(TABLES[name], writer)

    def delete_rows(self, name: str, gone: Condition) -> int | None:
        """Delete the rows of all runs that fulfil a condition, where that takes no query.

        Returns:
            How many these were; None where nothing was done, because Spark has to do it.
        """
        folder, snapshot = self.local_folder(name), self.local_snapshot(name)
        if folder is None or snapshot is None:
            return None
        schema = schema_of(name)
        keys = T.StructType([schema[key] for key in gone])
        found = rows_of(snapshot, keys, [gone], _BYTES_OF_ROWS)
        if not found:
            return None if found is None else 0
        nothing = arrow_schema(schema).empty_table()
        with self._commits.setdefault(name, RLock()):
            version = commit_rows(folder, schema, lambda _: nothing, gone, NewTable((), {}))
        return None if version is None else found.num_rows

    def update_rows(self, name: str, chosen: Condition, values: Mapping[str, str]) -> None:
        """Give columns other values, in the rows of all runs that fulfil a condition."""
        is_read = True

        def updated(before: Snapshot | None) -> pa.Table | None:
            nonlocal is_read
            schema = schema_of(name)
            rows = None if before is None else rows_of(before, schema, [chosen], _BYTES_OF_ROWS)
            is_read = rows is not None
            return None if rows is None else _with_values(rows, values)

        with self._commits.setdefault(name, RLock()):
            if self._commit_here(name, updated, chosen) is None or not is_read:
                named: dict[str, str | Column] = {key: F.lit(one) for key, one in values.items()}
                self.delta_table(name).update(as_condition(chosen), named)

    def _constants(self, part: Mapping[str, Part]) -> dict[str, str]:
        """The columns of which all rows of a write have one value."""
        of_part = {key: value for key, value in part.items() if isinstance(value, str)}
        return {c.RUN_ID: self.run_id, **of_part}

    def _table_of(
        self, name: str, rows: Sequence[Mapping[str, Any]], part: Mapping[str, Part]
    ) -> pa.Table:
        """Rows with all columns of a table, of which some have one value in all rows."""
        constants = self._constants(part)
        columns = {
            item: [constants[item] if item in constants else row[item] for row in rows]
            for item in TABLES[name].schema.names
        }
        return pa.table(columns, arrow_schema(TABLES[name].schema))

    def _frame_of(self, name: str, rows: pa.Table) -> DataFrame:
        # From Arrow, no Python worker is needed to read them.
        return _frame_of_rows(self.spark, rows, TABLES[name].schema).coalesce(1)

    def replace_published(self, note: str) -> int:
        """Replace the lists that readers follow by path with this run's; return the version.

        Args:
            note: what the table's history says of the commit.

        Raises:
            DataError: others have written lists all the time.
        """
        name = RECOMMENDATIONS_TABLE.name
        for attempt in range(1, _ATTEMPTS_TO_PUBLISH + 1):
            before = self.version(name)
            try:
                version = self._copy_to_published(note)
                if version is None:
                    version = self._write_published(note)
            except THROWN as error:
                # `fold_in` may commit while Spark writes.
                if attempt == _ATTEMPTS_TO_PUBLISH or not is_overtaken(error):
                    raise
                continue
            # If somebody was forgotten meanwhile, the copy has the user's rows.
            if self.version(name) == before:
                return version
        raise DataError(
            f"table {self.address(name)} has been written to each time that the lists of run"
            f" {self.run_id} were copied from it; give the same command again when other runs have"
            " ended"
        )

    def _write_published(self, note: str) -> int:
        """Copy this run's lists by Spark."""
        writer = self.read(RECOMMENDATIONS_TABLE.name).write.format("delta").mode("overwrite")
        writer = writer.option("userMetadata", note).option("mergeSchema", "true")
        writer.save(self.address(PUBLISHED))
        return self.version(PUBLISHED)

    def _copy_to_published(self, note: str) -> int | None:
        """Copy this run's lists by the driver, or many by workers; None where Spark has to."""
        table, new = RECOMMENDATIONS_TABLE, NewTable((), self._properties_of_tables)
        lists, folder = self.local_folder(table.name), self.local_folder(PUBLISHED)
        if lists is None or folder is None:
            return None
        snapshot = snapshot_of(lists, self._pin(table.name, None))
        is_plain = takes_rows(folder, table.schema, {}, {}, new)
        if snapshot is None or not (is_plain or takes_deletion_vectors(folder, table.schema)):
            return None
        own, copies = {c.RUN_ID: (self.run_id,)}, list[WrittenFile]()
        rows = rows_of(snapshot, table.schema, [own], _BYTES_OF_ROWS)
        if rows is None:
            files = snapshot.files_of(own)
            if snapshot.cuts_files_by(own) or any(one.size > _BYTES_OF_FILE for one in files):
                return None
            copies = copied_rows(self.spark, snapshot, files, table.schema).write(folder, {})
            rows = arrow_schema(table.schema).empty_table()
        if not is_plain:
            return replace_all(folder, table.schema, rows, copies, note)
        return commit_rows(folder, table.schema, lambda _: rows, {}, new, note, copies)

    def append_new(
        self, name: str, frame: DataFrame, key: tuple[str, ...], number: str | None = None
    ) -> int:
        """Insert the rows of a shared table whose key is new; leave the others as they are.

        Args:
            name: the table.
            frame: the rows.
            key: the columns by which rows are told apart.
            number: a column of numbers that follow on those of the table as it was read.

        Raises:
            DataError: another run has written numbers since.
        """
        rows = self._conform(TABLES[name], frame, {c.RUN_ID: self.run_id})
        if self._passes_through_driver(name) and len(key) == 1:
            offered = arrow_table(rows)
            version = self._commit_here(
                name,
                lambda before: rows_that_are_new(before, offered, key[0], number),
                replaced=None,
            )
            if version is not None:
                return version
        if not self.exists(name):
            # Of two runs that make the table at once, one fails.
            self._store(rows.write.format("delta").mode("errorifexists"), name)
            return self._record(name)
        if rows.isEmpty():
            return self._record(name)
        if number is not None:
            self._check_numbers(name)
        target = self.delta_table(name).alias("target").merge(rows.alias("source"), _matches(key))
        target.whenNotMatchedInsertAll().execute()
        return self._record(name)

    def _check_numbers(self, name: str) -> None:
        """Refuse to add numbers to a table to which another run has added some since it was read.

        Raises:
            DataError: it has.
        """
        read, found = self._read.get(name), self.version(name)
        if found != read:
            raise DataError(
                f"table {self.address(name)} is at version {found}, and run {self.run_id} has"
                f" numbered its rows after those of version {'none' if read is None else read}:"
                " another run has written to it meanwhile; give the same command with --run-id"
                f" {self.run_id} again, by which it goes on"
            )

    def _save(self, table: TableSchema, writer: DataFrameWriter, replace: str | None = None) -> int:
        if table.name in self._written or self._is_there(table.name):
            # A table that an earlier release made may lack columns.
            writer = writer.option("mergeSchema", "true")
            if replace is not None:
                writer = writer.option("replaceWhere", replace)
        else:
            writer = writer.partitionBy(*_partition_columns(table))
        self._store(writer, table.name)
        return self._record(table.name)

    def _store(self, writer: DataFrameWriter, name: str) -> None:
        if self.by_path:
            writer.save(self.address(name))
        else:
            use_in_this_thread(self.spark)
            writer.saveAsTable(self.address(name))

    def _conform(
        self, table: TableSchema, frame: DataFrame, constants: Mapping[str, str]
    ) -> DataFrame:
        missing = [
            name
            for name in table.schema.names
            if name not in frame.columns and name not in constants
        ]
        if missing:
            raise TableError(
                f"rows for table {table.name} lack the columns {missing}; found {frame.columns}"
            )
        return frame.select(
            *(
                (F.lit(constants[item.name]) if item.name in constants else F.col(item.name))
                .cast(item.dataType)
                .alias(item.name)
                for item in table.schema.fields
            )
        )

    def _version_to_read(self, name: str, asked: int | None) -> int:
        known = self._written.get(name, self._read.get(name)) if self.pinned else None
        if asked is None and name in self.fixed:
            return self.fixed[name]
        if asked is None and known is not None:
            return known
        if not self.exists(name):
            raise TableError(
                f"table {self.address(name)} does not exist; run the job that writes {name} first"
            )
        return self.version(name) if asked is None else asked

    def delta_table(self, name: str) -> DeltaTable:
        """The table as Delta has it, with the rows of all runs."""
        address = self.address(name)
        if self.by_path:
            return DeltaTable.forPath(self.spark, address)
        return delta_table_named(self.spark, address)

    def _record(self, name: str) -> int:
        self._written[name] = self._latest(name)
        return self._written[name]


def side_by_side(calls: Sequence[Callable[[], Made]], at_most: int | None = None) -> Iterator[Made]:
    """The results of the calls, in order; all run at once unless `at_most` is given.

    Calls that have not begun when the caller leaves, or when one before has failed, do not begin.
    """
    pool = ThreadPoolExecutor(at_most or max(len(calls), 1))
    try:
        for running in [pool.submit(call) for call in calls]:
            yield running.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _in_memory(frame: DataFrame) -> DataFrame:
    """The rows as the driver holds them, unless their files are large."""
    plan: Any = frame._jdf.queryExecution().optimizedPlan()
    if int(plan.stats().sizeInBytes()) > _BYTES_IN_MEMORY:
        return frame
    return _frame_of_rows(frame.sparkSession, arrow_table(frame), frame.schema)


def _frame_of_rows(spark: SparkSession, rows: pa.Table, schema: T.StructType) -> DataFrame:
    columns = T.StructType([T.StructField(one.name, one.dataType) for one in schema])
    return frame_of_arrow(spark, rows, columns)


def _with_values(rows: pa.Table, values: Mapping[str, str]) -> pa.Table:
    """The rows, all of which have these values in some columns."""
    for name, value in values.items():
        place = rows.schema.get_field_index(name)
        column = pa.repeat(value, rows.num_rows).cast(rows.schema.field(place).type)
        rows = rows.set_column(place, rows.schema.field(place), column)
    return rows


def _partition_columns(table: TableSchema) -> list[str]:
    """The columns by which parts of a table are replaced.

    To replace whole partitions, Delta drops files by name; other rows it has to search for.
    """
    return [c.RUN_ID, *(name for name in _PARTS if name in table.schema.names)]


def _matches(key: tuple[str, ...]) -> str:
    return " AND ".join(f"target.{column} = source.{column}" for column in key)
