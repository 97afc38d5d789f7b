"""Write a table as one file on the driver's machine, without any task that holds all of it."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
from pyspark.sql import DataFrame

from m6rec.files import written_whole


def write_one_parquet(frame: DataFrame, file: Path) -> None:
    """Write the rows, in their order, as one Parquet file.

    The executors write parts beside it, in a folder that they share with the driver, which then
    joins them, a row group at a time.
    """
    folder = file.with_suffix(".parts")
    frame.write.mode("overwrite").parquet(str(folder))
    try:
        parts = [pq.ParquetFile(part) for part in sorted(folder.glob("*.parquet"))]
        with (
            written_whole(file) as unfinished,
            pq.ParquetWriter(unfinished, parts[0].schema_arrow) as writer,
        ):
            for part in parts:
                for group in range(part.num_row_groups):
                    writer.write_table(part.read_row_group(group))
    finally:
        shutil.rmtree(folder)
