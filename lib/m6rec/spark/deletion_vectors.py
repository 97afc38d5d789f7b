"""Replace rows of a Delta table on the driver's own disk by deletion vectors, without Spark.

A file of many rows need not be written again for a few that are taken out: its deletion vector,
here called its marks, is a bitmap of the rows that readers pass over. By Spark, such a commit
takes three queries and some seconds; here it takes a pass over one column. What is not a plain
table with marks, and every commit at which Delta writes a checkpoint, is left to Spark.

The protocol: https://github.com/delta-io/delta/blob/master/PROTOCOL.md (Deletion Vectors)
"""

import base64
import json
import struct
import time
import uuid
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyroaring import BitMap64
from pyspark.sql import types as T

from m6rec.spark.local_delta import (
    PROPERTIES,
    Action,
    TableState,
    WrittenFile,
    added_action,
    attempts,
    commit_info,
    remove_files,
    removed_action,
    state_of,
    write_commit,
    write_files,
)

DELETION_VECTORS = "delta.enableDeletionVectors"
# Of how many columns the log has statistics. Where Spark marks rows of a file, Delta measures the
# file, though the session turns statistics off: the log would hold the smallest and the largest id.
_COLUMNS_WITH_STATISTICS = "delta.dataSkippingNumIndexedCols"
PROPERTIES_OF_MARKED = {DELETION_VECTORS: "true", _COLUMNS_WITH_STATISTICS: "0"}
"""The properties of a table whose rows may be marked, and whose log tells of no value in them."""
_READER, _WRITER = 3, 7
# The features that a table with deletion vectors may list. The latter two may be listed without any
# column or property that uses them.
_FEATURES = frozenset({"deletionVectors", "appendOnly", "invariants"})
_MAGIC = struct.pack("<i", 1681511377)
_FORMAT = b"\x01"
_IN_FILE, _IN_LOG = "u", "i"
_LETTERS_OF_UUID = 20
_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_B85 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"

Outcome = int | Literal["done before", "overtaken", "left to Spark"]
"""The version that a commit has made, or why none was made."""
_OVERWRITE = {"mode": "Overwrite", "partitionBy": "[]"}


@dataclass(frozen=True)
class _RowsOfFile:
    """Rows of a file, by their places in it, and how many there are in all."""

    found: npt.NDArray[np.uint64]
    count: int


class RowsOfKeys:
    """Where the rows of some keys are in the files of a table; each file is looked at once.

    Attributes:
        folder: of the table.
    """

    def __init__(self, folder: Path, column: str, keys: Sequence[str]) -> None:
        """Look at nothing yet.

        Args:
            folder: of the table.
            column: of the keys, which are strings.
            keys: whose rows are looked for.
        """
        self.folder = folder
        self._column = column
        self._keys = pa.array(keys, pa.string())
        self._files: dict[str, _RowsOfFile] = {}

    def find(self) -> None:
        """Look at the files that the table has now."""
        state = state_of(self.folder)
        if state is not None and state.is_whole:
            with suppress(FileNotFoundError):
                for name, _ in state.added:
                    self.of(name)

    def of(self, name: str) -> _RowsOfFile:
        """The rows in a file."""
        if name not in self._files:
            self._files[name] = _rows_with(self.folder / name, self._column, self._keys)
        return self._files[name]


@dataclass(frozen=True)
class Replacement:
    """Rows of some keys, which take the place of all that a table has of these keys.

    Attributes:
        keys: whose rows are taken out.
        rows: in the table's columns; these keys' alone.
        application, number: a table takes no commit of an application whose number is not above
            that of its last one.
    """

    keys: RowsOfKeys
    rows: pa.Table
    application: str
    number: int


def replace_rows(schema: T.StructType, wanted: Replacement) -> Outcome:
    """Replace rows of a table in one commit.

    Args:
        schema: the columns of the table.
        wanted: which rows, and by what.

    Returns:
        `done before` if an earlier commit of the same number has brought the rows; `overtaken` if
        another commit came first, and nothing was done; `left to Spark` if it has to do it.
    """
    state = state_of(wanted.keys.folder)
    if state is None or not _allows_deletion_vectors(state, schema):
        return "left to Spark"
    if state.applications.get(wanted.application, wanted.number - 1) >= wanted.number:
        return "done before"
    files, version = list[Path](), state.version + 1
    outcome: Outcome = "overtaken"
    try:
        if write_commit(state.folder, version, _actions(state, wanted, files)):
            return version
    except OSError:
        # A file has been cleaned up meanwhile, or the disk is full, which Spark will then report.
        outcome = "left to Spark"
    for file in files:
        file.unlink(missing_ok=True)
    return outcome


def replace_all(
    folder: Path,
    schema: T.StructType,
    rows: pa.Table,
    written: Sequence[WrittenFile],
    note: str,
) -> int | None:
    """Replace all rows of a table in one commit, whatever others commit meanwhile.

    Args:
        folder: of the table.
        schema: its columns.
        rows: the new ones that the driver holds.
        written: files of other new ones, which lie in the folder; deleted where nothing is done.
        note: what its history says of the commit.

    Returns:
        The version; None where nothing was done, because Spark has to do it.
    """
    files = list(written)
    try:
        files += write_files(folder, rows, ())
        version = _replace_all(folder, schema, files, note)
    except OSError:
        # The disk has no links, or it is full, which Spark will then report.
        version = None
    if version is None:
        remove_files(folder, files)
    return version


def _replace_all(
    folder: Path, schema: T.StructType, files: Sequence[WrittenFile], note: str
) -> int | None:
    for _ in attempts():
        state = state_of(folder)
        if state is None or not _allows_deletion_vectors(state, schema):
            return None
        now, version = time.time_ns() // 1_000_000, state.version + 1
        told = commit_info(now, state.version, _OVERWRITE, files, note)
        new = [added_action(folder, file) for file in files]
        old = [_removal(added, now) for added in state.added.values()]
        if write_commit(folder, version, [{"commitInfo": told}, *new, *old]):
            return version
    return None


def takes_deletion_vectors(folder: Path, schema: T.StructType) -> bool:
    """Whether a table with these columns is one whose rows can be marked without a query."""
    state = state_of(folder)
    return state is not None and _allows_deletion_vectors(state, schema)


def _allows_deletion_vectors(state: TableState, schema: T.StructType) -> bool:
    if not state.is_whole or state.checkpoints_next():
        return False
    protocol, properties, columns = state.protocol, state.properties, state.schema
    features = {*(protocol.get("readerFeatures") or ()), *(protocol.get("writerFeatures") or ())}
    marks = [added.get("deletionVector") for added in state.added.values()]
    return (
        (int(protocol["minReaderVersion"]), int(protocol["minWriterVersion"])) == (_READER, _WRITER)
        and features <= _FEATURES
        and properties.get(DELETION_VECTORS) == "true"
        and properties.keys() <= {*PROPERTIES, *PROPERTIES_OF_MARKED}
        and not state.table["partitionColumns"]
        and not any(key.startswith("delta.") for one in columns for key in one.metadata)
        and {one.name: one.dataType for one in columns}
        == {one.name: one.dataType for one in schema}
        and all(mark["storageType"] in {_IN_FILE, _IN_LOG} for mark in marks if mark)
    )


def _actions(state: TableState, wanted: Replacement, files: list[Path]) -> list[Action]:
    """The actions of the commit, whose files are whole when this returns, and noted in `files`."""
    now = time.time_ns() // 1_000_000
    written = write_files(state.folder, wanted.rows, ())
    files += [state.folder / file.name for file in written]
    marks = _DeletionVectorFile(state.folder)
    files.append(marks.place)
    changes = [
        change
        for (name, _), added in state.added.items()
        for change in _marked(state.folder, added, wanted.keys.of(name), marks, now)
    ]
    marks.close()
    number = {
        "appId": wanted.application,
        "version": wanted.number,
        "lastUpdated": now,
    }
    told = commit_info(now, state.version, _OVERWRITE, written)
    new = [added_action(state.folder, file) for file in written]
    return [{"commitInfo": told}, {"txn": number}, *new, *changes]


def _marked(
    folder: Path, added: Action, rows: _RowsOfFile, marks: "_DeletionVectorFile", now: int
) -> list[Action]:
    """What a commit tells of a file, some of whose rows are taken out."""
    if not len(rows.found):
        return []
    before = added.get("deletionVector")
    marked = BitMap64() if not before else _read_deletion_vector(folder, before)
    already = len(marked)
    marked.update(BitMap64(rows.found))
    if len(marked) == already:
        return []
    removal = _removal(added, now)
    if len(marked) == rows.count:
        return [removal]
    # Statistics that it had, as of a commit by Spark, name users.
    stats = {"numRecords": rows.count, "tightBounds": False}
    kept = ("path", "partitionValues", "size", "modificationTime")
    again = {
        **{key: added[key] for key in kept},
        "dataChange": True,
        "stats": json.dumps(stats),
        "deletionVector": marks.add(marked),
    }
    return [removal, {"add": again}]


def _removal(added: Action, now: int) -> dict[str, Action]:
    """The action that takes out a file with the marks that it has."""
    removal = removed_action(added["path"], dict(added["partitionValues"]), int(added["size"]), now)
    marks = added.get("deletionVector") or {}
    if marks:
        known = {key: value for key, value in marks.items() if value is not None}
        removal["remove"]["deletionVector"] = known
    return removal


def _rows_with(place: Path, column: str, keys: pa.Array) -> _RowsOfFile:
    """The rows of a file with one of some keys."""
    with pq.ParquetFile(place, read_dictionary=[column]) as file:
        values = file.read(columns=[column]).column(0)
    found, start = list[npt.NDArray[Any]](), 0
    for chunk in values.chunks:
        is_key = pc.is_in(chunk.dictionary, keys).to_numpy(zero_copy_only=False)
        # A row without a key has the last place, which no key has.
        is_found = np.append(is_key, False)
        places = chunk.indices.fill_null(len(is_key)).to_numpy(zero_copy_only=False)
        found.append(np.flatnonzero(is_found[places]) + start)
        start += len(chunk)
    return _RowsOfFile(np.concatenate([np.empty(0, np.int64), *found]).astype(np.uint64), start)


# --- deletion vectors in files ----------------------------------------------------------------


class _DeletionVectorFile:
    """A file for the marks of one commit, which is made when the first are added."""

    def __init__(self, folder: Path) -> None:
        self._id = uuid.uuid4()
        self.place = _place_of_deletion_vector(folder, "", self._id)
        self._content = bytearray(_FORMAT)

    def add(self, marked: BitMap64) -> dict[str, Any]:
        """Keep the marks of a file of rows; return what the log says of them."""
        data = _MAGIC + marked.serialize()
        offset = len(self._content)
        self._content += struct.pack(">i", len(data)) + data + struct.pack(">I", zlib.crc32(data))
        return {
            "storageType": _IN_FILE,
            "pathOrInlineDv": _in_z85(self._id.bytes),
            "offset": offset,
            "sizeInBytes": len(data),
            "cardinality": len(marked),
        }

    def close(self) -> None:
        """Write the file, if it holds any marks."""
        if len(self._content) > len(_FORMAT):
            self.place.write_bytes(self._content)


def _read_deletion_vector(folder: Path, told: Mapping[str, Any]) -> BitMap64:
    """The marks that the log tells of."""
    size, where = int(told["sizeInBytes"]), told["pathOrInlineDv"]
    if told["storageType"] == _IN_LOG:
        data = _from_z85(where)[:size]
    else:
        prefix, name = where[:-_LETTERS_OF_UUID], where[-_LETTERS_OF_UUID:]
        place = _place_of_deletion_vector(folder, prefix, uuid.UUID(bytes=_from_z85(name)))
        with place.open("rb") as file:
            file.seek(int(told["offset"]) + 4)
            data = file.read(size)
    if not data.startswith(_MAGIC):
        raise OSError(f"the marks of rows in {folder} at {where} are of a format that is not known")
    return BitMap64.deserialize(data[len(_MAGIC) :])


def _place_of_deletion_vector(folder: Path, prefix: str, name: uuid.UUID) -> Path:
    return folder / unquote(prefix) / f"deletion_vector_{name}.bin"


def _in_z85(data: bytes) -> str:
    """The letters of ZeroMQ's base 85 (RFC 32 of its own), which differ from those of Python."""
    return base64.b85encode(data).translate(bytes.maketrans(_B85, _Z85)).decode()


def _from_z85(text: str) -> bytes:
    return base64.b85decode(text.encode().translate(bytes.maketrans(_Z85, _B85)))
