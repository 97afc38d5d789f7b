"""Images and videos in bytes or under paths become pixels; what is broken counts as without."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image
from pyspark.sql import SparkSession

from m6rec import columns as c
from m6rec.errors import TableError
from m6rec.stages.features.pictures import (
    ATTRIBUTE,
    FRAME,
    PIXELS,
    PictureColumn,
    decode_image,
    load_pictures,
    problem_of_video,
)
from m6rec.stages.features.videos import decode_video
from tests.towers.moving import moving_square

COVER = PictureColumn("cover", "image", 1)
TRAILER = PictureColumn("trailer", "video", 3)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _encoded(colour: tuple[int, int, int], kind: str) -> bytes:
    return saved(Image.new("RGB", (10, 6), colour), kind)


def _of_a_size_that_nobody_has() -> bytes:
    """The start of a PNG whose header asks for more pixels than any picture has."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def test_bytes_become_pixels_and_broken_images_are_counted(spark: SparkSession) -> None:
    rows = [
        (0, _encoded((255, 0, 0), "PNG")),
        (1, b"not an image"),
        (2, _encoded((0, 0, 255), "JPEG")),
        (3, None),
        (4, _encoded((255, 0, 0), "PNG")[:40]),
        (5, _of_a_size_that_nobody_has()),
    ]
    frame = spark.createDataFrame(rows, f"{c.ITEM_INDEX} long, cover binary")
    decoded, facts = load_pictures(frame, COVER, 4, "items")
    images = decoded.orderBy(c.ITEM_INDEX).collect()
    assert [row[c.ITEM_INDEX] for row in images] == [0, 2]
    assert {row[ATTRIBUTE] for row in images} == {"cover"}
    red = np.frombuffer(images[0][PIXELS], dtype=np.uint8).reshape(4, 4, 3)
    np.testing.assert_array_equal(red, np.broadcast_to([255, 0, 0], (4, 4, 3)))
    blue = np.frombuffer(images[1][PIXELS], dtype=np.uint8).reshape(4, 4, 3)
    np.testing.assert_allclose(blue.reshape(-1, 3).mean(axis=0), [0, 0, 255], atol=4)
    assert str(facts) == (
        "column cover: images in 2 of 6 rows; 3 could not be decoded, such as that of item_index 1,"
        " which count as without"
    )


def greys_of(encoded_image: bytes) -> list[int]:
    """The greys of a picture of 2 x 2, by rows."""
    pixels = np.frombuffer(decode_image(encoded_image, 2) or b"", np.uint8).reshape(-1, 3)
    assert (pixels == pixels[:, :1]).all()
    return [int(grey) for grey in pixels[:, 0]]


def test_greys_of_more_than_8_bits_keep_their_order() -> None:
    sixteen = np.array([[0, 257 * 64], [257 * 128, 65_535]], np.uint16)
    assert greys_of(saved(Image.fromarray(sixteen), "PNG")) == [0, 64, 128, 255]
    big_endian = Image.frombytes("I;16B", (2, 2), sixteen.astype(">u2").tobytes())
    assert greys_of(saved(big_endian, "TIFF")) == [0, 64, 128, 255]
    # What these numbers may be at most nobody knows.
    whole = Image.fromarray(np.array([[-5, 0], [10, 95]], np.int32))
    assert greys_of(saved(whole, "TIFF")) == [0, 13, 38, 255]
    fractions = np.array([[0.25, 0.5], [0.75, np.nan]], np.float32)
    assert greys_of(saved(Image.fromarray(fractions), "TIFF")) == [0, 128, 255, 0]
    one = Image.fromarray(np.full((2, 2), 7.0, np.float32))
    assert greys_of(saved(one, "TIFF")) == [0, 0, 0, 0]


def test_what_is_clear_is_white() -> None:
    values = np.array([[[0, 255], [0, 0]], [[100, 255], [0, 51]]], np.uint8)
    grey = Image.fromarray(values, "LA")
    assert greys_of(saved(grey, "PNG")) == [0, 255, 100, 204]
    assert greys_of(saved(grey.convert("RGBA"), "PNG")) == [0, 255, 100, 204]
    palette = Image.fromarray(np.array([[0, 1], [0, 1]], np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, 90, 90, 90])
    assert greys_of(saved(palette, "PNG", transparency=0)) == [255, 90, 255, 90]


def test_a_picture_is_turned_upright() -> None:
    picture = Image.fromarray(np.array([[0, 80], [160, 240]], np.uint8))
    exif = Image.Exif()
    # The camera was turned to the left.
    exif[ExifTags.Base.Orientation] = 6
    assert greys_of(saved(picture, "PNG", exif=exif)) == [160, 0, 240, 80]
    assert greys_of(saved(picture, "PNG", exif=b"Exif\0\0broken")) == [0, 80, 160, 240]


def test_paths_of_this_machine_and_of_other_file_systems_are_read(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Hive's file system under the scheme pfile stands for a remote one."""
    # newHadoopConf takes what the session sets.
    spark.conf.set("fs.pfile.impl", "org.apache.hadoop.fs.ProxyLocalFileSystem")
    tmp_path = tmp_path / "pictures [1]"
    tmp_path.mkdir()
    odd = ("a#1.png", "is it?.png", "50%25 off.png")
    for name in ("a cover.png", "a%20cover [1] \u00e9.png", *odd):
        (tmp_path / name).write_bytes(_encoded((0, 255, 0), "PNG"))
    (tmp_path / "not asked for.png").write_bytes(b"")
    names = ["a cover.png", "a%20cover [1] \u00e9.png", "none.png"]
    paths = [
        str(tmp_path / names[0]),
        (tmp_path / names[0]).as_uri(),
        str(tmp_path / names[2]),
        *(f"pfile://{tmp_path}/{name}" for name in names),
        "pfile:///no/such/folder/a.png",
        # Two items may have one picture.
        f"pfile://{tmp_path}/{names[0]}",
        # Spark's binaryFile gives addresses whose names are not escaped.
        *(f"file:{tmp_path}/{name}" for name in odd),
        f"file://{tmp_path}/{odd[0]}",
    ]
    frame = spark.createDataFrame(list(enumerate(paths)), f"{c.ITEM_INDEX} long, cover string")
    decoded, facts = load_pictures(frame, COVER, 2, "items")
    images = decoded.orderBy(c.ITEM_INDEX).collect()
    assert [row[c.ITEM_INDEX] for row in images] == [0, 1, 3, 4, 7, 8, 9, 10, 11]
    assert {bytes(row[PIXELS]) for row in images} == {bytes([0, 255, 0] * 4)}
    assert (facts.given, facts.broken) == (12, 3)
    assert facts.example == f"{tmp_path}/none.png"


def test_names_that_spark_passes_over_are_said(spark: SparkSession, tmp_path: Path) -> None:
    spark.conf.set("fs.pfile.impl", "org.apache.hadoop.fs.ProxyLocalFileSystem")
    names = ("_MG_0001.png", ".cover.png", "a_.png", "_by=name.png")
    for name in names:
        (tmp_path / name).write_bytes(_encoded((0, 255, 0), "PNG"))
    paths = [f"pfile://{tmp_path}/{name}" for name in (*names, "none.png")]
    # The executors open files of this machine by themselves.
    paths.append(str(tmp_path / names[0]))
    frame = spark.createDataFrame(list(enumerate(paths)), f"{c.ITEM_INDEX} long, cover string")
    decoded, facts = load_pictures(frame, COVER, 2, "items")
    assert [row[c.ITEM_INDEX] for row in decoded.orderBy(c.ITEM_INDEX).collect()] == [2, 3, 5]
    assert str(facts) == (
        f"column cover: images in 3 of 6 rows; 1 could not be decoded, such as {paths[4]}, which"
        " count as without; 2 are files whose names begin with _ or a point, which Spark passes"
        " over (rename them, or give their bytes), and count as without"
    )
    with pytest.raises(TableError, match="none of its 2 images could be decoded; 2 are files"):
        load_pictures(frame.where(f"{c.ITEM_INDEX} < 2"), COVER, 2, "items")


def test_a_video_gives_frames_at_even_times(spark: SparkSession, tmp_path: Path) -> None:
    film, still = moving_square(frames=9), moving_square(frames=2)
    (tmp_path / "film.mp4").write_bytes(film)
    rows = [(0, str(tmp_path / "film.mp4")), (1, str(tmp_path / "none.mp4"))]
    frame = spark.createDataFrame(rows, f"{c.ITEM_INDEX} long, trailer string")
    decoded, facts = load_pictures(frame, TRAILER, 8, "items")
    frames = decoded.orderBy(c.ITEM_INDEX, FRAME).collect()
    assert [(row[c.ITEM_INDEX], row[FRAME]) for row in frames] == [(0, 0), (0, 1), (0, 2)]
    # The square goes from left to right.
    brightest = [
        np.frombuffer(row[PIXELS], np.uint8).reshape(8, 8, 3).sum(axis=(0, 2)).argmax()
        for row in frames
    ]
    assert brightest == sorted(brightest) and brightest[0] < brightest[2]
    assert str(facts).startswith("column trailer: videos in 1 of 2 rows; 1 could not be decoded")
    # Of fewer frames than asked for, each is given once; a broken file has none.
    assert len(decode_video(still, 8)) == 2
    assert decode_video(film[:100], 3) == decode_video(b"", 3) == []


def test_in_a_long_video_frames_are_sought() -> None:
    long = moving_square(frames=300)
    columns = [np.asarray(image).sum(axis=(0, 2)).argmax() for image in decode_video(long, 4)]
    expected = [(2 * part + 1) / 8 * 24 + 4 for part in range(4)]
    np.testing.assert_allclose(columns, expected, atol=5)


def test_a_column_of_which_nothing_can_be_decoded_or_of_another_type_is_refused(
    spark: SparkSession,
) -> None:
    frame = spark.createDataFrame(
        [(0, 1, "/no/such.png")], f"{c.ITEM_INDEX} long, number int, cover string"
    )
    with pytest.raises(TableError, match="items, column number: has type int"):
        load_pictures(frame, PictureColumn("number", "image", 1), 4, "items")
    with pytest.raises(
        TableError, match=r"none of its 1 images could be decoded, such as /no/such"
    ):
        load_pictures(frame, COVER, 4, "items")
    # Bytes that nobody has called images may be anything.
    decoded, facts = load_pictures(frame, COVER, 4, "items", named=False)
    assert decoded.isEmpty() and facts.broken == 1


def test_without_pyav_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    problem = problem_of_video("trailer", "video")
    assert problem is not None
    assert problem.startswith("column trailer: is of kind video")
    assert "install the package av" in problem
    assert problem_of_video("cover", "image") is None
