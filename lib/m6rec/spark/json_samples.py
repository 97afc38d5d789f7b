"""Infer the schema of large JSON from a sample, because Spark would read and parse all rows."""

from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec.config.base import TableSource
from m6rec.spark.files import bytes_from, is_packed, sized_files_under
from m6rec.spark.runtimes import frame_of_arrow

# Below, Spark looks at all rows in a second or two.
LARGEST_WHOLE = 64 << 20
_PIECES = 32
_PIECE = 256 << 10
_SAMPLED_FILES = 2_000
# With these options, rows are not lines of UTF-8, or the owner has said how to sample.
_OTHERWISE = ("multiline", "encoding", "charset", "linesep", "samplingratio")


def schema_of_sample(
    spark: SparkSession,
    source: TableSource,
    largest_whole: int = LARGEST_WHOLE,
    piece: int = _PIECE,
) -> T.StructType | None:
    """The schema of JSON by pieces that are spread evenly over its files; None where it is small.

    Args:
        spark: the session.
        source: JSON with an object a line.
        largest_whole: the bytes of what is small.
        piece: the bytes of a piece.
    """
    if any(source.option(name) is not None for name in _OTHERWISE):
        return None
    files = sized_files_under(spark, source.path or "", _SAMPLED_FILES)
    total = sum(size for _, size in files)
    if total <= largest_whole:
        return None
    places = [_place(files, total * k // _PIECES) for k in range(_PIECES)]
    # A small file may have fields that large ones lack.
    places += [(file, 0) for file, _ in files[:: -(-len(files) // _PIECES)]]
    pieces = [_lines_from(spark, *place, piece) for place in dict.fromkeys(places)]
    whole = pa.table({"pieces": [lines for lines in pieces if lines]})
    if not whole.num_rows:
        return None
    frame = frame_of_arrow(spark, whole, "pieces string")
    lines = frame.select(F.explode(F.split("pieces", "\n")))
    jvm: Any = spark._jvm
    texts = getattr(lines._jdf, "as")(jvm.org.apache.spark.sql.Encoders.STRING())
    reader: Any = spark.read.options(**source.options)
    return DataFrame(reader._jreader.json(texts), spark).schema


def _place(files: list[tuple[str, int]], position: int) -> tuple[str, int]:
    """The file that holds a position of all files together, and the position within it."""
    for file, size in files:
        if position < size:
            return file, 0 if is_packed(file) else position
        position -= size
    raise AssertionError("the position is below the bytes of all files")


def _lines_from(spark: SparkSession, file: str, start: int, piece: int) -> str:
    """The whole lines of a piece of a file."""
    content = bytes_from(spark, file, start, piece)
    # The first line of a piece may lack its beginning, and the last one its end.
    if start > 0:
        content = content.partition(b"\n")[2]
    return content.rpartition(b"\n")[0].decode("utf-8", "replace").strip()
