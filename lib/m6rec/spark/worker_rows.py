"""Rows that Python workers make of a frame: for a query of Spark's, or written by the workers.

Spark turns each row that comes from Python into a form of its own, and that into the form of a
file. For rows of lists, maps and words this takes several times as long as to make them. Workers
that reach the folder of a table write their rows as they are.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec.spark.local_delta import (
    DataFile,
    Snapshot,
    WrittenFile,
    new_file_name,
    rows_of_file,
)
from m6rec.spark.runtimes import arrow_schema

RowsOfPartition = Callable[..., Iterator[pa.RecordBatch]]


@dataclass(frozen=True)
class WorkerRows:
    """Rows that are not made yet.

    Attributes:
        inputs: of whose partitions they are made.
        make: gives the rows of a partition, in columns of `schema` that are not constant; it must
            pickle.
        schema: of the rows.
        constants: the value of each column that has one in all rows, which need not pass through
            Python.
    """

    inputs: DataFrame
    make: RowsOfPartition
    schema: T.StructType
    constants: Mapping[str, Any]

    def frame(self) -> DataFrame:
        """The rows, made when a query asks for them."""
        made = T.StructType([one for one in self.schema if one.name not in self.constants])
        constants = {
            name: F.lit(value).cast(self.schema[name].dataType)
            for name, value in self.constants.items()
        }
        rows = self.inputs.mapInArrow(self.make, made).withColumns(constants)
        return rows.select(*self.schema.names)

    def made_of(self, inputs: pa.Table) -> pa.Table:
        """The rows that this process makes of some inputs, which it holds."""
        schema = arrow_schema(self.schema)
        made = [
            _with_constants(batch, schema, self.constants)
            for batch in self.make(iter(inputs.to_batches()))
        ]
        return pa.concat_tables(made) if made else schema.empty_table()

    def write(self, folder: Path, partition: Mapping[str, str]) -> list[WrittenFile]:
        """Make the rows, and write a file for each task that has any.

        Args:
            folder: of a Delta table, which no commit tells of these files yet. All workers reach
                it.
            partition: the values of the columns by which the table's rows lie in files.
        """
        write = partial(
            _write_partition,
            make=self.make,
            schema=arrow_schema(self.schema),
            constants=dict(self.constants),
            folder=str(folder),
            partition=dict(partition),
        )
        files = self.inputs.mapInArrow(write, "name string, rows long, size long").collect()
        return [
            WrittenFile(file["name"], dict(partition), file["size"], file["rows"]) for file in files
        ]


def copied_rows(
    spark: SparkSession, snapshot: Snapshot, files: Sequence[DataFile], schema: T.StructType
) -> WorkerRows:
    """The rows of files of a table, each made by a task.

    Args:
        spark: the session, whose workers reach the folder of the table.
        snapshot: the table.
        files: one or more of its files, each small enough for a worker to hold.
        schema: of the rows.
    """
    tasks = len(files)
    copy = partial(_copy_files, snapshot=replace(snapshot, files=()), files=files, schema=schema)
    return WorkerRows(spark.range(0, tasks, 1, tasks), copy, schema, {})


def _copy_files(
    batches: Iterator[pa.RecordBatch],
    snapshot: Snapshot,
    files: Sequence[DataFile],
    schema: T.StructType,
) -> Iterator[pa.RecordBatch]:
    wanted = arrow_schema(schema)
    for batch in batches:
        for number in batch.column(0).to_pylist():
            yield from rows_of_file(snapshot, files[number], wanted).to_batches()


def _write_partition(
    batches: Iterator[pa.RecordBatch],
    make: RowsOfPartition,
    schema: pa.Schema,
    constants: Mapping[str, Any],
    folder: str,
    partition: Mapping[str, str],
) -> Iterator[pa.RecordBatch]:
    """The name, rows and bytes of the file with a partition's rows; nothing where it has none."""
    name, count = new_file_name(partition), 0
    place = Path(folder, name)
    writer = None
    for batch in make(batches):
        if batch.num_rows == 0:
            continue
        if writer is None:
            place.parent.mkdir(parents=True, exist_ok=True)
            writer = pq.ParquetWriter(place, schema, store_schema=False)
        writer.write_table(_with_constants(batch, schema, constants))
        count += batch.num_rows
    if writer is not None:
        writer.close()
        file = {"name": [name], "rows": [count], "size": [place.stat().st_size]}
        yield pa.RecordBatch.from_pydict(file)


def _with_constants(
    batch: pa.RecordBatch, schema: pa.Schema, constants: Mapping[str, Any]
) -> pa.Table:
    columns = [
        pa.repeat(pa.scalar(constants[one.name], one.type), batch.num_rows)
        if one.name in constants
        else batch.column(one.name).cast(one.type)
        for one in schema
    ]
    return pa.table(columns, schema=schema)
