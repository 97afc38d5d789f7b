"""Decode item images, scale them to one size, and store them as plain bytes."""

import io
import logging
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.errors import TableError
from m6rec.spark.collecting import collected_table
from m6rec.spark.values import owner_column

PIXELS = "pixels"

_COLOURS = 3
BYTES_OF_IMAGE = 16_384
"""More than an image has after it was made smaller."""

_log = logging.getLogger(__name__)


def load_images(frame: DataFrame, image_column: str, size: int) -> DataFrame:
    """Decode PNG, JPEG and whatever else Pillow reads, and scale it to size x size RGB.

    Args:
        frame: item_index and `image_column`, which holds the file's bytes, or a path that every
            executor can open.
        image_column: the column of the image.
        size: height and width in pixels.

    Returns:
        item_index long, pixels binary: size x size x 3 uint8 in C order. Images that cannot be
        decoded are left out; their number is logged as a warning.

    Raises:
        TableError: the column is missing, or neither bytes nor strings.
    """
    if image_column not in frame.columns:
        raise TableError(f"the item table has no image column {image_column}; {frame.columns}")
    kind = frame.schema[image_column].dataType
    if not isinstance(kind, T.BinaryType | T.StringType):
        raise TableError(
            f"image column {image_column} is {kind.simpleString()}, expected binary (the bytes)"
            " or string (the path)"
        )
    given = frame.select(c.ITEM_INDEX, owner_column(image_column).alias("image"))
    given = given.where(F.col("image").isNotNull())
    schema = f"{c.ITEM_INDEX} long, {PIXELS} binary"
    decoded = given.mapInArrow(partial(_decode_batches, size=size), schema).persist()
    failed = decoded.where(F.col(PIXELS).isNull()).count()
    if failed:
        example = _example(given, decoded) if isinstance(kind, T.StringType) else ""
        _log.warning("%d images of column %s could not be decoded%s", failed, image_column, example)
    return decoded.where(F.col(PIXELS).isNotNull())


def _example(given: DataFrame, decoded: DataFrame) -> str:
    """The path of an image that could not be decoded, for a message."""
    failed = decoded.where(F.col(PIXELS).isNull()).select(c.ITEM_INDEX)
    row = given.join(failed, c.ITEM_INDEX).agg(F.min("image").alias("path")).first()
    return "" if row is None else f", such as {row['path']}"


def image_array(images: DataFrame, n_items: int) -> npt.NDArray[np.uint8] | None:
    """Table item_images as uint8 [n_items, 3, size, size]; an item without an image is grey.

    The result is None where the table has no rows.
    """
    table = collected_table(images.select(c.ITEM_INDEX, PIXELS), n_items * BYTES_OF_IMAGE)
    if table.num_rows == 0:
        return None
    pixels = [np.frombuffer(value, np.uint8) for value in table.column(PIXELS).to_pylist()]
    size = math.isqrt(len(pixels[0]) // _COLOURS)
    array = np.full((n_items, _COLOURS, size, size), 128, dtype=np.uint8)
    rows = np.stack(pixels).reshape(-1, size, size, _COLOURS)
    array[table.column(c.ITEM_INDEX).to_numpy()] = rows.transpose(0, 3, 1, 2)
    return array


def decode_image(source: bytes | str, size: int) -> bytes | None:
    """One image as size * size * 3 bytes, or None where it cannot be decoded."""
    try:
        content = Path(_local_path(source)).read_bytes() if isinstance(source, str) else source
        with Image.open(io.BytesIO(content)) as image:
            scaled = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    except Exception:
        # Pillow's readers raise whatever a file that is cut short, too large or no image leads to.
        return None
    return np.asarray(scaled, dtype=np.uint8).tobytes()


def _decode_batches(batches: Iterator[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        sources = batch.column("image").to_pylist()
        pixels = [decode_image(source, size) for source in sources]
        yield pa.RecordBatch.from_arrays(
            [batch.column(c.ITEM_INDEX), pa.array(pixels, pa.binary())],
            names=[c.ITEM_INDEX, PIXELS],
        )


def _local_path(source: str) -> str:
    address = urlparse(source)
    return unquote(address.path) if address.scheme == "file" else source
