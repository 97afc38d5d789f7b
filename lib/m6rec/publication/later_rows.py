"""The rows of a followed table that a run has not read, held by the driver.

What the run has read is among its own events, unless users have been forgotten since. So a batch
needs only the files that were added later, and has to read only the newest of these: files never
change, so that the others are kept from earlier batches. That is possible where the table lies on
the driver's own disk and has few such rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.config.base import TableSource
from m6rec.fits.sources import Events, columns_of_events
from m6rec.spark.local_delta import Snapshot, snapshot_of
from m6rec.spark.places import folder_here
from m6rec.spark.runtimes import arrow_table, frame_of_arrow
from m6rec.spark.sources import with_columns
from m6rec.spark.values import id_column, owner_column

_MOST_BYTES = 32 << 20
_MOST_CHUNKS = 100
_USER = f"_{c.USER_ID}"


@dataclass
class LaterRows:
    """The rows of files that came after a version of a table.

    Attributes:
        spark: the session.
        source: the table.
        opened: how its events are read.
        folder: where it lies.
        known: the names of the files of that version.
        files: those of the later ones that have been read.
    """

    spark: SparkSession
    source: TableSource
    opened: Events
    folder: Path
    known: frozenset[str]
    files: set[str] = field(default_factory=set)
    _rows: pa.Table | None = None
    _schema: T.StructType = field(default_factory=T.StructType)

    def of(self, users: Sequence[str]) -> DataFrame | None:
        """The rows of these users, with the columns of events; None where Spark has to read them.

        Args:
            users: their ids as `interactions` has them.
        """
        snapshot = snapshot_of(self.folder)
        if snapshot is None or snapshot.partitioned_by:
            return None
        later = {file.name: file.size for file in snapshot.files if file.name not in self.known}
        if sum(later.values()) > _MOST_BYTES:
            return None
        if not self.files <= later.keys():
            # A commit has taken files out, or written their rows anew.
            self.files, self._rows = set(), None
        self._read(snapshot, sorted(later.keys() - self.files))
        if self._rows is None:
            return self._own_columns(self.opened.frame).limit(0)
        found = self._rows.filter(pc.is_in(self._rows.column(_USER), pa.array(users, pa.string())))
        return frame_of_arrow(self.spark, found.drop([_USER]).combine_chunks(), self._schema)

    def _read(self, snapshot: Snapshot, names: Sequence[str]) -> None:
        if not names:
            return
        reader = self.spark.read.schema(snapshot.schema).option("__globPaths__", "false")
        files = reader.parquet(*(str(self.folder / name) for name in names))
        own = self._own_columns(files)
        user = id_column(own, self.opened.config.columns.user, self.opened.config)
        self._schema = own.schema
        new = arrow_table(own.withColumn(_USER, user))
        rows = new if self._rows is None else pa.concat_tables([self._rows, new])
        is_in_pieces = rows.column(0).num_chunks > _MOST_CHUNKS
        self._rows = rows.combine_chunks() if is_in_pieces else rows
        self.files.update(names)

    def _own_columns(self, table: DataFrame) -> DataFrame:
        own = columns_of_events(self.opened.config)
        return with_columns(table, self.source, own).select(*map(owner_column, own))


def later_rows(
    spark: SparkSession, source: TableSource, opened: Events, first_version: int | None
) -> LaterRows | None:
    """The rows that come with a version or after it; None where Spark has to read the table.

    Spark has to if the table does not lie on the driver's own disk, or if an event is judged
    together with all others of its user (daily maximum, suspicious users).

    Args:
        spark: the session.
        source: the table.
        opened: how its events are read.
        first_version: the first version that a run has not read; None where all rows are needed.
    """
    config = opened.config
    stands_alone = (
        config.maximum_events_per_user_per_day is None and config.suspicious_users.action == "keep"
    )
    folder = None if source.path is None else folder_here(spark, source.path)
    if folder is None or not stands_alone:
        return None
    before = snapshot_of(folder, first_version - 1) if first_version else None
    known = frozenset[str]() if before is None else frozenset(file.name for file in before.files)
    return LaterRows(spark, source, opened, folder, known)
