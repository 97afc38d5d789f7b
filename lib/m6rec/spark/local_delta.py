"""Small Delta tables on the driver's own disk, read and written without a query.

By Spark, a commit of ten rows takes half a second, and so does reading them back: each plans
queries over the table's log, and starts their tasks. Here they take some milliseconds. What is
written is a plain Delta table of reader version 1 and writer version 2, and only such tables are
read. Whatever else a table may have (deletion vectors, mapped columns, constraints), and every
commit at which Delta writes a checkpoint, is left to Spark: functions return None then.

The protocol: https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

import json
import os
import random
import re
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.spark.runtimes import arrow_schema

_LOG = "_delta_log"
# Columns whose values tell of users.
_OF_USERS = {c.USER_ID, c.USER_INDEX, c.RAW}
_COMMIT = re.compile(r"\d{20}\.json")
_CHECKPOINT = re.compile(r"\d{20}\.checkpoint\.parquet")
_READER, _WRITER = 1, 2
_INTERVAL = "delta.checkpointInterval"
_DEFAULT_INTERVAL = 10
# Properties that say nothing of how rows are written.
PROPERTIES = frozenset(
    {_INTERVAL, "delta.logRetentionDuration", "delta.deletedFileRetentionDuration"}
)
# With these characters alone, Spark, Hadoop and Delta write the name of a file alike. VACUUM
# deletes a file whose name the log spells otherwise than they would.
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_.-]+")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.=/-]+")
_FILES_OF_FEW_ROWS = 500
_MOST_BYTES_TO_REWRITE = 8 << 20
_MOST_BYTES_OF_CHECKPOINT = 4 << 20
_ATTEMPTS = 20
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.001, 0.1
_WRITTEN_BY = "M6-Rec"
# What a line of the log tells, or one kind of what it tells.
Action = dict[str, Any]
# Values of columns; a row is chosen that has one of them in each.
Condition = Mapping[str, Collection[str | int]]


@dataclass(frozen=True)
class DataFile:
    """A file of rows.

    Attributes:
        name: relative to the folder of the table.
        partition: the values that all its rows have, as text.
        size: in bytes.
    """

    name: str
    partition: Mapping[str, str | None]
    size: int

    def is_among(self, condition: Condition) -> bool:
        """Whether its rows have these values in columns of the partition."""
        return all(
            self.partition.get(name) in {str(one) for one in values}
            for name, values in condition.items()
        )


@dataclass(frozen=True)
class WrittenFile(DataFile):
    """A file that no commit has told of yet.

    Attributes:
        rows: how many it has.
    """

    rows: int


def new_file_name(partition: Mapping[str, str]) -> str:
    """A name for a file of rows with these values, which no other file has."""
    folders = "".join(f"{name}={value}/" for name, value in partition.items())
    return f"{folders}part-00000-{uuid.uuid4()}.c000.snappy.parquet"


@dataclass(frozen=True)
class Snapshot:
    """A table as it is at a version.

    Attributes:
        folder: of the table.
        version: of the table.
        schema: its columns.
        partitioned_by: the columns by whose values rows lie in files.
        properties: what the table's configuration says.
        files: where its rows are.
        is_plain: whether a writer of rows has no other features of it to respect, such as
            constraints.
    """

    folder: Path
    version: int
    schema: T.StructType
    partitioned_by: tuple[str, ...]
    properties: Mapping[str, str]
    files: tuple[DataFile, ...]
    is_plain: bool

    def files_of(self, condition: Condition) -> list[DataFile]:
        """The files in which rows may fulfil a condition."""
        of_files = {name: condition[name] for name in condition if name in self.partitioned_by}
        return [file for file in self.files if file.is_among(of_files)]

    def has_files_of(self, condition: Condition) -> bool:
        """Whether these files are still there: a cleaning deletes what later versions lack."""
        return all((self.folder / file.name).exists() for file in self.files_of(condition))

    def cuts_files_by(self, condition: Condition) -> bool:
        """Whether a file may hold rows that fulfil a condition and others that do not."""
        return any(name not in self.partitioned_by for name in condition)

    def checkpoints_next(self) -> bool:
        """Whether the commit that follows is one of those at which Delta writes a checkpoint."""
        return _checkpoints_after(self.version, self.properties)


def _checkpoints_after(version: int, properties: Mapping[str, str]) -> bool:
    return (version + 1) % int(properties.get(_INTERVAL, _DEFAULT_INTERVAL)) == 0


def has_log(folder: Path) -> bool:
    """Whether there is a Delta table in a folder."""
    return _versions(folder) is not None


def newest_version(folder: Path) -> int | None:
    """The latest version of a table; None without one."""
    versions = _versions(folder)
    return None if versions is None else max((*versions.commits, *versions.checkpoints))


@dataclass(frozen=True)
class _Versions:
    """The files of a log, by version."""

    commits: frozenset[int]
    checkpoints: frozenset[int]
    has_others: bool


def _versions(folder: Path) -> _Versions | None:
    try:
        names = [file.name for file in (folder / _LOG).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return None
    commits = frozenset(int(name[:20]) for name in names if _COMMIT.fullmatch(name))
    checkpoints = frozenset(int(name[:20]) for name in names if _CHECKPOINT.fullmatch(name))
    others = any(
        ".checkpoint." in name and not name.startswith(".") and not _CHECKPOINT.fullmatch(name)
        for name in names
    )
    return _Versions(commits, checkpoints, others) if commits or checkpoints else None


# --- the log ----------------------------------------------------------------------------------


@dataclass
class TableState:
    """The state of a table after some actions of its log.

    Attributes:
        folder: of the table.
        version: of the table.
        protocol, table: what its latest actions of these kinds say.
        added: the action that has added each of its files, with the marks of its rows if any.
        applications: the number of the last commit of each application that numbers its own.
    """

    folder: Path
    version: int
    protocol: Action = field(default_factory=dict)
    table: Action = field(default_factory=dict)
    added: dict[tuple[str, str], Action] = field(default_factory=dict)
    applications: dict[str, int] = field(default_factory=dict)

    def take(self, action: Action) -> None:
        """Apply one action."""
        if action.get("protocol"):
            self.protocol = action["protocol"]
        if action.get("metaData"):
            self.table = action["metaData"]
        if action.get("txn"):
            self.applications[action["txn"]["appId"]] = int(action["txn"]["version"])
        if action.get("add"):
            self.added[_file_of(action["add"])] = action["add"]
        if action.get("remove"):
            self.added.pop(_file_of(action["remove"]), None)

    @property
    def schema(self) -> T.StructType:
        """The columns."""
        return T.StructType.fromJson(json.loads(self.table["schemaString"]))

    @property
    def properties(self) -> dict[str, str]:
        """What the table's configuration says."""
        return dict(self.table["configuration"] or {})

    @property
    def is_whole(self) -> bool:
        """Whether the log has told all, and all files lie in the table's folder."""
        is_told = bool(self.table and self.protocol)
        return is_told and not any(_is_elsewhere(name) for name, _ in self.added)

    def checkpoints_next(self) -> bool:
        """Whether the commit that follows is one of those at which Delta writes a checkpoint."""
        return _checkpoints_after(self.version, self.properties)


def _file_of(action: Action) -> tuple[str, str]:
    """A file's name and that of its marks, by which Delta tells files apart."""
    marks = action.get("deletionVector")
    named = f"{marks['pathOrInlineDv']}@{marks.get('offset')}" if marks else ""
    return unquote(action["path"]), named


def _is_elsewhere(name: str) -> bool:
    return name.startswith("/") or "://" in name or name.startswith("file:")


def snapshot_of(folder: Path, version: int | None = None) -> Snapshot | None:
    """A table at a version, the latest unless one is named; None where Spark has to be asked."""
    state = state_of(folder, version)
    if state is None or not state.is_whole or int(state.protocol["minReaderVersion"]) > _READER:
        return None
    if any(marks for _, marks in state.added):
        return None
    files = [
        DataFile(name, dict(added["partitionValues"]), int(added["size"]))
        for (name, _), added in state.added.items()
    ]
    properties = state.properties
    return Snapshot(
        folder,
        state.version,
        state.schema,
        tuple(state.table["partitionColumns"]),
        properties,
        tuple(files),
        int(state.protocol["minWriterVersion"]) <= _WRITER and properties.keys() <= PROPERTIES,
    )


def state_of(folder: Path, version: int | None = None) -> TableState | None:
    """The same with all that its log tells; None where Spark has to be asked."""
    found = _versions(folder)
    if found is None or found.has_others:
        return None
    asked = max((*found.commits, *found.checkpoints)) if version is None else version
    start = max((one for one in found.checkpoints if one <= asked), default=-1)
    following = range(start + 1, asked + 1)
    if not found.commits.issuperset(following):
        return None
    state = TableState(folder, asked)
    try:
        if start >= 0:
            checkpoint = folder / _LOG / f"{start:020}.checkpoint.parquet"
            if checkpoint.stat().st_size > _MOST_BYTES_OF_CHECKPOINT:
                return None
            for action in _actions_of_checkpoint(checkpoint):
                state.take(action)
        for number in following:
            # Text in a line may hold what `splitlines` takes for the end of one.
            for line in _commit_file(folder, number).read_text("utf-8").split("\n"):
                if line:
                    state.take(json.loads(line))
    except FileNotFoundError:
        # Delta has tidied up its log meanwhile.
        return None
    return state


def _commit_file(folder: Path, version: int) -> Path:
    return folder / _LOG / f"{version:020}.json"


def _actions_of_checkpoint(file: Path) -> Iterator[dict[str, Any]]:
    there = pq.ParquetFile(file)
    wanted = {"add", "metaData", "protocol", "txn"} & set(there.schema_arrow.names)
    for row in there.read(columns=sorted(wanted)).to_pylist():
        for action in row.values():
            for name in ("partitionValues", "configuration"):
                if action and name in action:
                    action[name] = dict(action[name] or ())
        yield row


# --- reading ----------------------------------------------------------------------------------


def rows_of(
    snapshot: Snapshot,
    schema: T.StructType,
    conditions: Sequence[Condition],
    most_bytes: int,
) -> pa.Table | None:
    """The rows of a table that fulfil one of the conditions; None where Spark has to read them.

    Args:
        snapshot: the table.
        schema: the columns; those that the table lacks are null.
        conditions: of columns of text.
        most_bytes: of the files with such rows together; the files must also be few.
    """
    found = {file.name: file for one in conditions for file in snapshot.files_of(one)}
    files = list(found.values())
    if len(files) > _FILES_OF_FEW_ROWS or sum(file.size for file in files) > most_bytes:
        return None
    wanted = arrow_schema(schema)
    try:
        parts = [rows_of_file(snapshot, file, wanted) for file in files]
    except FileNotFoundError:
        # Deleted since this version by a cleaning.
        return None
    rows = pa.concat_tables(parts) if parts else wanted.empty_table()
    return rows.filter(_fulfil(rows, conditions))


def _kept(
    before: Snapshot, gone: Sequence[DataFile], wanted: pa.Schema, replaced: Condition
) -> pa.Table:
    """The rows that stay, of files from which other rows are removed."""
    rows = pa.concat_tables([rows_of_file(before, file, wanted) for file in gone])
    return rows.filter(pc.invert(_fulfil(rows, [replaced])))


def _are_few(files: Sequence[DataFile]) -> bool:
    return (
        len(files) <= _FILES_OF_FEW_ROWS
        and sum(file.size for file in files) <= _MOST_BYTES_TO_REWRITE
    )


def _fulfil(rows: pa.Table, conditions: Sequence[Condition]) -> Any:
    """bool [rows]: whether a row fulfils one of the conditions."""
    any_of = pa.repeat(False, rows.num_rows)
    for condition in conditions:
        all_of = pa.repeat(True, rows.num_rows)
        for name, values in condition.items():
            found = rows.column(name)
            among = pc.is_in(found, pa.array(list(values), found.type))
            all_of = pc.and_(all_of, among)
        any_of = pc.or_(any_of, all_of)
    return any_of


def rows_of_file(snapshot: Snapshot, file: DataFile, wanted: pa.Schema) -> pa.Table:
    """All rows of a file; columns that it lacks are null."""
    with _opened_file(snapshot, file) as opened:
        rows, count = opened.read(columns=_names_in(opened, wanted)), opened.metadata.num_rows
    return _in_columns(rows, count, snapshot, file, wanted)


def batches_that_fulfil(
    snapshot: Snapshot, columns: T.StructType, condition: Condition
) -> Iterator[pa.RecordBatch]:
    """Columns of the rows that fulfil a condition, in parts: of many bytes together if need be."""
    asked = arrow_schema(columns)
    conditional = [snapshot.schema[name] for name in condition if name not in columns.names]
    wanted = arrow_schema(T.StructType([*columns, *conditional]))
    for file in snapshot.files_of(condition):
        with _opened_file(snapshot, file) as opened:
            for group in range(opened.num_row_groups):
                rows = opened.read_row_group(group, columns=_names_in(opened, wanted))
                count = opened.metadata.row_group(group).num_rows
                table = _in_columns(rows, count, snapshot, file, wanted)
                found = table.filter(_fulfil(table, [condition]))
                yield from found.select(asked.names).to_batches()


def _opened_file(snapshot: Snapshot, file: DataFile) -> pq.ParquetFile:
    return pq.ParquetFile(snapshot.folder / file.name, coerce_int96_timestamp_unit="us")


def _names_in(opened: pq.ParquetFile, wanted: pa.Schema) -> list[str]:
    return [name for name in wanted.names if name in opened.schema_arrow.names]


def _in_columns(
    rows: pa.Table, count: int, snapshot: Snapshot, file: DataFile, wanted: pa.Schema
) -> pa.Table:
    """Rows of a file with all columns that are wanted."""
    columns = [
        _column(rows, file.partition, one, count, one.name in snapshot.partitioned_by)
        for one in wanted
    ]
    return pa.table(columns, schema=wanted)


def rows_that_are_new(
    before: Snapshot | None, offered: pa.Table, key: str, number: str | None = None
) -> pa.Table | None:
    """The rows whose key a table does not hold; None where it holds all of them.

    Args:
        before: the table.
        offered: the rows.
        key: the column by which they are told apart.
        number: a column of numbers that follow on those of the table. Where others have taken them
            meanwhile, the rows get the next ones, in the same order.
    """
    if before is None or not before.files:
        return offered
    columns = [name for name in (key, number) if name is not None]
    wanted = arrow_schema(T.StructType([before.schema[name] for name in columns]))
    known = pa.concat_tables([rows_of_file(before, one, wanted) for one in before.files])
    is_known = pc.is_in(offered.column(key), known.column(key).combine_chunks())
    new = offered.filter(pc.invert(is_known))
    if not new.num_rows:
        return None
    return new if number is None else _following(new, known.column(number), number)


def _following(new: pa.Table, taken: pa.ChunkedArray, number: str) -> pa.Table:
    largest = pc.max(taken).as_py()
    if largest is None or pc.min(new.column(number)).as_py() > largest:
        return new
    ordered = new.sort_by(number)
    numbers = pa.array(range(largest + 1, largest + 1 + new.num_rows), pa.int64())
    place = ordered.schema.get_field_index(number)
    return ordered.set_column(place, ordered.schema.field(place), numbers)


def _column(
    rows: pa.Table,
    partition: Mapping[str, str | None],
    wanted: pa.Field,
    count: int,
    is_of_partition: bool,
) -> Any:
    if is_of_partition:
        constant = pa.scalar(partition.get(wanted.name), pa.string()).cast(wanted.type)
        return pa.repeat(constant, count)
    if wanted.name not in rows.column_names:
        return pa.nulls(count, wanted.type)
    return rows.column(wanted.name).cast(wanted.type)


def as_rows(table: pa.Table) -> list[T.Row]:
    """Rows as Spark collects them: maps are dictionaries, and times have no zone but are local."""
    columns = [_python_values(column) for column in table.columns]
    make = T.Row(*table.column_names)
    return [make(*values) for values in zip(*columns, strict=True)]


def _python_values(column: pa.ChunkedArray) -> list[Any]:
    values: list[Any] = column.to_pylist()
    if pa.types.is_map(column.type):
        return [None if value is None else dict(value) for value in values]
    if pa.types.is_timestamp(column.type):
        # Where summer ends, an hour is there twice, and `fold` tells the second one from the first.
        return [None if at is None else datetime.fromtimestamp(at.timestamp()) for at in values]
    return values


# --- writing ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class NewTable:
    """How a table that does not exist yet is made.

    Attributes:
        partitioned_by: the columns by whose values rows lie in files.
        properties: what its configuration says.
    """

    partitioned_by: tuple[str, ...]
    properties: Mapping[str, str]


def commit_rows(
    folder: Path,
    schema: T.StructType,
    rows_for: Callable[[Snapshot | None], pa.Table | None],
    replaced: Condition | None,
    new: NewTable,
    note: str = "",
    written: Sequence[WrittenFile] = (),
) -> int | None:
    """Add rows to a table in one commit, in place of others; return its version.

    Where another commit comes first, this one is made anew on what that has left.

    Args:
        folder: of the table.
        schema: the columns of the rows.
        rows_for: the rows that a table gets; None where it gets none and is left as it is.
        replaced: which rows are removed, by columns of the partition; all without a condition,
            and none without `replaced`.
        new: how the table is made.
        note: what its history says of the commit.
        written: files of more rows, which lie in the folder; deleted where nothing is done.

    Returns:
        The version; None where nothing was done, because Spark has to do it.
    """
    version = _commit_in_turn(folder, schema, rows_for, replaced, new, note, written)
    if version is None:
        remove_files(folder, written)
    return version


def _commit_in_turn(
    folder: Path,
    schema: T.StructType,
    rows_for: Callable[[Snapshot | None], pa.Table | None],
    replaced: Condition | None,
    new: NewTable,
    note: str,
    written: Sequence[WrittenFile],
) -> int | None:
    """`commit_rows`, which leaves the written files where they are."""
    for _ in attempts():
        before = snapshot_of(folder)
        # Before the first commit the folder of a table has at most the files that are written.
        is_new = before is None and not (has_log(folder) if written else folder.exists())
        if not _is_for_python(before, is_new, schema, replaced, new):
            return None
        rows = rows_for(before)
        if rows is None:
            assert before is not None
            return before.version
        partitioned_by = _partitioned_by(before, new)
        if not _has_plain_values(rows, partitioned_by):
            return None
        try:
            version = _try_commit(folder, before, schema, rows, written, replaced, new, note)
        except OSError:
            # The disk has no links, or it is full, which Spark will then report.
            return None
        if version is not None:
            return version
    return None


def attempts() -> Iterator[None]:
    """Turns at a commit, with random pauses, so that writers of equal speed do not meet anew."""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(random.uniform(0, min(_SHORTEST_PAUSE * 2**attempt, _LONGEST_PAUSE)))
        yield


def takes_rows(
    folder: Path,
    schema: T.StructType,
    partition: Mapping[str, str],
    replaced: Condition | None,
    new: NewTable,
) -> bool:
    """Whether `commit_rows` can commit rows of a partition to a table as it is now."""
    before = snapshot_of(folder)
    is_new = before is None and not folder.exists()
    return (
        _is_for_python(before, is_new, schema, replaced, new)
        and tuple(partition) == tuple(_partitioned_by(before, new))
        and all(map(_PLAIN_VALUE.fullmatch, partition.values()))
    )


def _partitioned_by(before: Snapshot | None, new: NewTable) -> Sequence[str]:
    return new.partitioned_by if before is None else before.partitioned_by


def _is_for_python(
    before: Snapshot | None,
    is_new: bool,
    schema: T.StructType,
    replaced: Condition | None,
    new: NewTable,
) -> bool:
    if before is None:
        return is_new and new.properties.keys() <= PROPERTIES
    gone = [] if replaced is None else before.files_of(replaced)
    return (
        before.is_plain
        and not before.checkpoints_next()
        and all(_PLAIN_NAME.fullmatch(file.name) for file in gone)
        and (not replaced or not before.cuts_files_by(replaced) or _are_few(gone))
        and {one.name: one.dataType for one in before.schema}
        == {one.name: one.dataType for one in schema}
    )


def _has_plain_values(rows: pa.Table, partitioned_by: Sequence[str]) -> bool:
    """Whether the names of folders that follow from the rows need no other characters."""
    values = {value for name in partitioned_by for value in rows.column(name).unique().to_pylist()}
    return all(value is not None and _PLAIN_VALUE.fullmatch(value) for value in values)


def _try_commit(
    folder: Path,
    before: Snapshot | None,
    schema: T.StructType,
    rows: pa.Table,
    written: Sequence[WrittenFile],
    replaced: Condition | None,
    new: NewTable,
    note: str,
) -> int | None:
    version = 0 if before is None else before.version + 1
    partitioned_by = _partitioned_by(before, new)
    gone = [] if before is None or replaced is None else before.files_of(replaced)
    now = time.time_ns() // 1_000_000
    if before is not None and replaced and before.cuts_files_by(replaced) and gone:
        rows = pa.concat_tables([rows, _kept(before, gone, rows.schema, replaced)])
    own = write_files(folder, rows, partitioned_by)
    files = [*written, *own]
    actions = [_write_info(now, before, replaced, partitioned_by, files, gone, note)]
    if before is None:
        actions += _making(schema, new, now)
    actions += [added_action(folder, file) for file in files]
    actions += [
        removed_action(quote(file.name, safe="/="), file.partition, file.size, now) for file in gone
    ]
    if write_commit(folder, version, actions):
        return version
    remove_files(folder, own)
    return None


def remove_files(folder: Path, files: Sequence[WrittenFile]) -> None:
    """Delete files that no commit has told of."""
    for file in files:
        (folder / file.name).unlink(missing_ok=True)


def remove_unused_files(folder: Path) -> bool:
    """Delete the files that the latest version of a table does not need, as VACUUM does.

    Returns:
        Whether this was done; False where Spark has to do it.
    """
    # A file that is committed later than this is not among them.
    found = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    snapshot = snapshot_of(folder)
    if snapshot is None or not snapshot.is_plain:
        return False
    needed = {file.name for file in snapshot.files}
    # The log may spell names otherwise than the disk.
    if not needed <= found:
        return False
    for name in found - needed:
        if not any(part.startswith(("_", ".")) for part in Path(name).parts):
            (folder / name).unlink(missing_ok=True)
    return True


def write_files(folder: Path, rows: pa.Table, partitioned_by: Sequence[str]) -> list[WrittenFile]:
    """A file for each combination of values, whole before any commit names it."""
    files = []
    for partition, part in _parts(rows, partitioned_by):
        file = new_file_name(partition)
        place = folder / file
        place.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(part.drop(list(partition)), place, store_schema=False)
        files.append(WrittenFile(file, partition, place.stat().st_size, part.num_rows))
    return files


def _parts(
    rows: pa.Table, partitioned_by: Sequence[str]
) -> Iterator[tuple[dict[str, str], pa.Table]]:
    if rows.num_rows == 0:
        return
    if not partitioned_by:
        yield {}, rows
        return
    for partition in rows.group_by(list(partitioned_by)).aggregate([]).to_pylist():
        chosen = [pc.equal(rows.column(name), value) for name, value in partition.items()]
        mask = chosen[0]
        for other in chosen[1:]:
            mask = pc.and_(mask, other)
        yield {name: partition[name] for name in partitioned_by}, rows.filter(mask)


def write_commit(folder: Path, version: int, actions: Sequence[Mapping[str, Any]]) -> bool:
    """Write a commit, whole or not at all; False where there is one of that number."""
    log = folder / _LOG
    log.mkdir(parents=True, exist_ok=True)
    unfinished = log / f".{version:020}.{uuid.uuid4()}.tmp"
    unfinished.write_text("".join(f"{json.dumps(action)}\n" for action in actions))
    try:
        # Unlike a rename, a link never takes the place of another file.
        os.link(unfinished, _commit_file(folder, version))
    except FileExistsError:
        return False
    finally:
        unfinished.unlink()
    return True


def _write_info(
    now: int,
    before: Snapshot | None,
    replaced: Condition | None,
    partitioned_by: Sequence[str],
    files: Sequence[WrittenFile],
    gone: Sequence[DataFile],
    note: str,
) -> dict[str, Any]:
    parameters = {
        "mode": "Append" if replaced is None else "Overwrite",
        "partitionBy": json.dumps(list(partitioned_by)),
    }
    # Where users are forgotten, the history must not name them.
    if replaced and not _OF_USERS & replaced.keys():
        parameters["predicate"] = as_condition(replaced)
    info = commit_info(now, None if before is None else before.version, parameters, files, note)
    info["isBlindAppend"] = replaced is None
    info["operationMetrics"] |= {
        "numRemovedFiles": str(len(gone)),
        "numRemovedBytes": str(sum(file.size for file in gone)),
    }
    return {"commitInfo": info}


def commit_info(
    now: int,
    before: int | None,
    parameters: Mapping[str, str],
    files: Sequence[WrittenFile],
    note: str = "",
) -> Action:
    """What the history of a table says of a commit that takes out rows and writes files.

    Args:
        now: milliseconds since 1970.
        before: the version that it is made on, if any.
        parameters: of the operation.
        files: which are written.
        note: of whoever commits.
    """
    info: Action = {
        "timestamp": now,
        "operation": "WRITE",
        "operationParameters": dict(parameters),
        "isolationLevel": "Serializable",
        "isBlindAppend": False,
        "operationMetrics": {
            "numFiles": str(len(files)),
            "numOutputRows": str(sum(file.rows for file in files)),
            "numOutputBytes": str(sum(file.size for file in files)),
        },
        "engineInfo": _WRITTEN_BY,
        "txnId": str(uuid.uuid4()),
    }
    if note:
        info["userMetadata"] = note
    return info if before is None else info | {"readVersion": before}


def as_condition(condition: Condition) -> str:
    """The condition as SQL has it."""
    return " AND ".join(
        f"{name} IN ({', '.join(repr(value) for value in values)})"
        for name, values in condition.items()
    )


def _making(schema: T.StructType, new: NewTable, now: int) -> list[dict[str, Any]]:
    columns = T.StructType([T.StructField(one.name, one.dataType) for one in schema])
    table = {
        "id": str(uuid.uuid4()),
        "format": {"provider": "parquet", "options": {}},
        "schemaString": columns.json(),
        "partitionColumns": list(new.partitioned_by),
        "configuration": dict(new.properties),
        "createdTime": now,
    }
    protocol = {"minReaderVersion": _READER, "minWriterVersion": _WRITER}
    return [{"metaData": table}, {"protocol": protocol}]


def added_action(folder: Path, file: DataFile) -> dict[str, Action]:
    """The action that adds a file, which lies in the folder of the table."""
    return {
        "add": {
            "path": quote(file.name, safe="/="),
            "partitionValues": dict(file.partition),
            "size": file.size,
            "modificationTime": int((folder / file.name).stat().st_mtime * 1000),
            "dataChange": True,
        }
    }


def removed_action(
    path: str, partition: Mapping[str, str | None], size: int, now: int
) -> dict[str, Action]:
    """The action that takes out a file, by its path as the log spells it."""
    return {
        "remove": {
            "path": path,
            "deletionTimestamp": now,
            "dataChange": True,
            "extendedFileMetadata": True,
            "partitionValues": dict(partition),
            "size": size,
        }
    }
