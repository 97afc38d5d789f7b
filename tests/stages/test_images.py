import io
import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from m6rec import columns as c
from m6rec.errors import TableError
from m6rec.stages.features.images import PIXELS, load_images


def _encoded(colour: tuple[int, int, int], kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (10, 6), colour).save(buffer, kind)
    return buffer.getvalue()


def _of_a_size_that_nobody_has() -> bytes:
    """The start of a PNG whose header asks for more pixels than any picture has."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def test_bytes_become_pixels_and_broken_images_are_left_out_and_reported(
    spark: SparkSession, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        (0, _encoded((255, 0, 0), "PNG")),
        (1, b"not an image"),
        (2, _encoded((0, 0, 255), "JPEG")),
        (3, None),
        (4, _encoded((255, 0, 0), "PNG")[:40]),
        (5, _of_a_size_that_nobody_has()),
    ]
    frame = spark.createDataFrame(rows, f"{c.ITEM_INDEX} long, cover binary")
    with caplog.at_level(logging.WARNING):
        images = load_images(frame, "cover", 4).orderBy(c.ITEM_INDEX).collect()
    assert [row[c.ITEM_INDEX] for row in images] == [0, 2]
    red = np.frombuffer(images[0][PIXELS], dtype=np.uint8).reshape(4, 4, 3)
    np.testing.assert_array_equal(red, np.broadcast_to([255, 0, 0], (4, 4, 3)))
    blue = np.frombuffer(images[1][PIXELS], dtype=np.uint8).reshape(4, 4, 3)
    np.testing.assert_allclose(blue.reshape(-1, 3).mean(axis=0), [0, 0, 255], atol=4)
    assert "3 images of column cover" in caplog.text


def test_paths_are_read_and_a_missing_file_is_left_out(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "a cover.png"
    file.write_bytes(_encoded((0, 255, 0), "PNG"))
    rows = [(0, str(file)), (1, file.as_uri()), (2, str(tmp_path / "none.png"))]
    frame = spark.createDataFrame(rows, f"{c.ITEM_INDEX} long, cover string")
    with caplog.at_level(logging.WARNING):
        images = load_images(frame, "cover", 2).orderBy(c.ITEM_INDEX).collect()
    assert f"1 images of column cover could not be decoded, such as {tmp_path}" in caplog.text
    assert [row[c.ITEM_INDEX] for row in images] == [0, 1]
    assert bytes(images[1][PIXELS]) == bytes([0, 255, 0] * 4)


def test_a_column_that_is_missing_or_a_number_is_refused(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(0, 1)], f"{c.ITEM_INDEX} long, cover int")
    with pytest.raises(TableError, match="no image column picture"):
        load_images(frame, "picture", 4)
    with pytest.raises(TableError, match="cover is int"):
        load_images(frame, "cover", 4)
