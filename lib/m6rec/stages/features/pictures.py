"""Decode the items' images and videos, scale them to one size, and store them as plain bytes."""

import importlib.util
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pyarrow as pa
from PIL import Image, ImageOps
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.check.samples import shown_type
from m6rec.config.data import PictureKind
from m6rec.errors import TableError
from m6rec.kernels.arrays.rows import Int64
from m6rec.spark.binary_files import contents_of, records_per_batch
from m6rec.spark.collecting import collected_table
from m6rec.spark.failures import failed_at
from m6rec.spark.values import owner_column
from m6rec.stages.features.videos import decode_video
from m6rec.towers.pictures import NO_FRAME, Pictures

ATTRIBUTE = "attribute"
FRAME = "frame"
PIXELS = "pixels"

_COLOURS = 3
_WHITE = 255
_LARGEST_OF_16_BITS = 65_535.0
_GIVEN = "given"
# Values that are on their way to a Python worker at once: whole files.
_FILES_AT_ONCE = 32
# A scheme other than file:, which no executor opens as a path.
_REMOTE = r"^(?!file:)[A-Za-z][A-Za-z0-9+.-]+:/"
# A file that no listing of Spark's has.
_PASSED_OVER = r"/(\.[^/]*|_[^/=]*)$"


@dataclass(frozen=True)
class PictureColumn:
    """A column of images or videos.

    Attributes:
        name: the owner's column name.
        kind: what its values are.
        frames: how many frames of a video are looked at.
    """

    name: str
    kind: PictureKind
    frames: int


@dataclass(frozen=True)
class PictureFacts:
    """What a column of images or videos holds.

    Attributes:
        column: how it is read.
        rows: how many rows there are.
        given: rows with a value.
        broken: of these, those that could not be read or decoded, and count as without.
        example: the path of one of these, or the index of its item; empty where there is none.
        passed_over: of those given, the others without: Spark reads no files of such names.
    """

    column: PictureColumn
    rows: int
    given: int
    broken: int
    example: str = ""
    passed_over: int = 0

    def __str__(self) -> str:
        without = ""
        if self.broken:
            such_as = f", such as {self.example}" if self.example else ""
            without = f"; {self.broken} could not be decoded{such_as}, which count as without"
        if self.passed_over:
            without += f"; {self.why_passed_over}, and count as without"
        return (
            f"column {self.column.name}: {self.column.kind}s in {self.decoded} of {self.rows}"
            f" rows{without}"
        )

    @property
    def decoded(self) -> int:
        """The rows whose value could be decoded."""
        return self.given - self.broken - self.passed_over

    @property
    def why_passed_over(self) -> str:
        """What keeps Spark from files, and what to do."""
        return (
            f"{self.passed_over} are files whose names begin with _ or a point, which Spark passes"
            " over (rename them, or give their bytes)"
        )


def load_pictures(
    frame: DataFrame, column: PictureColumn, size: int, table: str, named: bool = True
) -> tuple[DataFrame, PictureFacts]:
    """Decode what Pillow or, for videos, PyAV reads, and scale it to size x size RGB.

    Args:
        frame: item_index and the column, which holds the files' bytes, or paths. A path of this
            machine is opened by the executors, one with a scheme is read by Spark.
        column: the column.
        size: height and width in pixels.
        table: the words for the table in errors.
        named: whether the config names the kind of the column, which then must be right.

    Returns:
        item_index long, attribute string, frame int, pixels binary: size x size x 3 uint8 in C
        order, persisted. And what the column holds.

    Raises:
        TableError: the column holds neither bytes nor strings, no row of a named one can be
            decoded, or there are videos and PyAV is not installed.
    """
    kind = frame.schema[column.name].dataType
    if not isinstance(kind, T.BinaryType | T.StringType):
        raise TableError(
            f"{table}, column {column.name}: has type {shown_type(kind.simpleString())}, expected"
            f" binary (the bytes) or string (the path) for the kind {column.kind}; give the column"
            " another kind"
        )
    problem = problem_of_video(column.name, column.kind)
    if problem is not None:
        raise TableError(f"{table}, {problem}")
    value = owner_column(column.name).alias(_GIVEN)
    given = frame.select(c.ITEM_INDEX, value).where(F.col(_GIVEN).isNotNull())
    with records_per_batch(frame.sparkSession, _FILES_AT_ONCE):
        decoded = _decoded(given, column, size).persist()
        facts = _facts(frame.count(), given, decoded, column)
    if named and facts.given and not facts.decoded:
        such_as = f", such as {facts.example}" if facts.example else ""
        passed_over = f"; {facts.why_passed_over}" if facts.passed_over else ""
        raise TableError(
            f"{table}, column {column.name}: none of its {facts.given} {column.kind}s could be"
            f" decoded{such_as}{passed_over}; give bytes or paths of {column.kind} files that the"
            " executors can read, or set the column's kind to ignore"
        )
    return decoded.where(F.col(PIXELS).isNotNull()), facts


def problem_of_video(name: str, kind: str) -> str | None:
    """What is wrong where a column is one of videos and nothing reads them; None elsewhere."""
    if kind != "video" or importlib.util.find_spec("av") is not None:
        return None
    return (
        f"column {name}: is of kind video, which PyAV reads, and it is not installed; install"
        " the package av, or m6rec with its extra video, on driver and executors, or set the"
        " column's kind to ignore"
    )


def pictures_of(rows: DataFrame, n_items: int) -> tuple[Pictures, ...]:
    """Table item_images as the towers read it, a column after the other by name."""
    size = rows.agg(F.sum(F.octet_length(PIXELS))).collect()[0][0] or 0
    table = collected_table(rows.select(c.ITEM_INDEX, ATTRIBUTE, FRAME, PIXELS), size)
    names = table.column(ATTRIBUTE).to_pylist()
    items = table.column(c.ITEM_INDEX).to_numpy()
    frames = table.column(FRAME).to_numpy()
    pixels = table.column(PIXELS).to_pylist()
    columns = []
    for name in sorted(set(names)):
        # In the order of items, so that the pixels do not depend on that of the rows.
        own = [row for row, other in enumerate(names) if other == name]
        own.sort(key=lambda row: (items[row], frames[row]))
        places: Int64 = np.full((n_items, int(frames[own].max()) + 1), NO_FRAME, np.int64)
        places[items[own], frames[own]] = np.arange(len(own))
        size = math.isqrt(len(pixels[own[0]]) // _COLOURS)
        stacked = np.stack([np.frombuffer(pixels[row], np.uint8) for row in own])
        by_colour = stacked.reshape(-1, size, size, _COLOURS).transpose(0, 3, 1, 2)
        columns.append(Pictures(name, np.ascontiguousarray(by_colour), places))
    return tuple(columns)


def decode_image(source: bytes | Path, size: int) -> bytes | None:
    """One image as size * size * 3 bytes, or None where it cannot be decoded."""
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return scaled(_as_seen(image), size)
    except Exception:
        # Pillow's readers raise whatever a file that is cut short, too large or no image leads to.
        return None


def _as_seen(image: Image.Image) -> Image.Image:
    """An image as a browser shows it: upright, in 8 bits a colour, on white where it is clear."""
    image.load()
    # The picture itself is whole where what its EXIF data say cannot be read.
    with suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16"):
        image = _in_eight_bits(image, 0.0, _LARGEST_OF_16_BITS)
    elif image.mode in {"I", "F"}:
        values = np.asarray(image)
        known = values[np.isfinite(values)]
        image = _in_eight_bits(image, float(known.min()), float(known.max()))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image


def _in_eight_bits(image: Image.Image, least: float, largest: float) -> Image.Image:
    """A greyscale of numbers from black, which is the least value, to white, the largest."""
    values = np.asarray(image).astype(np.float32)
    shares = np.nan_to_num((values - least) / ((largest - least) or 1.0))
    return Image.fromarray(np.round(shares.clip(0.0, 1.0) * _WHITE).astype(np.uint8))


def scaled(image: Image.Image, size: int) -> bytes:
    """An image as size * size * 3 bytes in C order."""
    resized = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.uint8).tobytes()


def _decoded(given: DataFrame, column: PictureColumn, size: int) -> DataFrame:
    """The rows of `load_pictures`; a value that cannot be decoded is a row without pixels."""
    schema = f"{c.ITEM_INDEX} long, {ATTRIBUTE} string, {FRAME} int, {PIXELS} binary"
    decode = partial(_decode_batches, column=column, size=size)
    if isinstance(given.schema[_GIVEN].dataType, T.BinaryType):
        return given.mapInArrow(decode, schema)
    is_remote = F.col(_GIVEN).rlike(_REMOTE)
    remote = given.where(is_remote)
    decoded = given.where(~is_remote).mapInArrow(decode, schema)
    if remote.isEmpty():
        return decoded
    files = contents_of(remote.select(F.col(_GIVEN).alias("path")))
    read = remote.join(files, remote[_GIVEN] == files["path"], "left")
    # A file that is not there is one that cannot be decoded.
    content = F.coalesce("content", F.lit(b"")).alias(_GIVEN)
    return decoded.unionByName(read.select(c.ITEM_INDEX, content).mapInArrow(decode, schema))


def _facts(rows: int, given: DataFrame, decoded: DataFrame, column: PictureColumn) -> PictureFacts:
    failed = decoded.where(F.col(PIXELS).isNull()).select(c.ITEM_INDEX)
    of_items = decoded.agg(F.count_distinct(c.ITEM_INDEX).alias("items")).first()
    row = failed.agg(F.count(F.lit(1)).alias("rows"), F.min(c.ITEM_INDEX).alias("item")).first()
    broken = 0 if row is None else row["rows"]
    example = f"that of {c.ITEM_INDEX} {row['item']}" if row is not None and broken else ""
    passed_over = 0
    if broken and isinstance(given.schema[_GIVEN].dataType, T.StringType):
        is_listed = ~(F.col(_GIVEN).rlike(_REMOTE) & F.col(_GIVEN).rlike(_PASSED_OVER))
        of_failed = given.join(failed, c.ITEM_INDEX).groupBy(is_listed.alias("is_listed"))
        counted = of_failed.agg(F.count(F.lit(1)).alias("rows"), F.min(_GIVEN).alias("path"))
        found = {row["is_listed"]: row for row in counted.collect()}
        broken, example = (found[True]["rows"], found[True]["path"]) if True in found else (0, "")
        passed_over = found[False]["rows"] if False in found else 0
    items = 0 if of_items is None else of_items["items"]
    return PictureFacts(column, rows, items, broken, example, passed_over)


def _decode_batches(
    batches: Iterator[pa.RecordBatch], column: PictureColumn, size: int
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        items, frames, pixels = [], [], []
        indices, sources = batch.column(c.ITEM_INDEX), batch.column(_GIVEN)
        for item, source in zip(indices.to_pylist(), sources.to_pylist(), strict=True):
            for frame, decoded in enumerate(_decode_of(item, source, column, size)):
                items.append(item)
                frames.append(frame)
                pixels.append(decoded)
        yield pa.RecordBatch.from_arrays(
            [
                pa.array(items, pa.int64()),
                pa.array([column.name] * len(items), pa.string()),
                pa.array(frames, pa.int32()),
                pa.array(pixels, pa.binary()),
            ],
            names=[c.ITEM_INDEX, ATTRIBUTE, FRAME, PIXELS],
        )


def _decode_of(
    item: int, source: bytes | str, column: PictureColumn, size: int
) -> Sequence[bytes | None]:
    """The frames of an item's value.

    Raises:
        WorkerError: the decoder fails; the message has the column and the item or path.
    """
    try:
        return _decode(source, column, size)
    except Exception as error:
        place = f"column {column.name} of {c.ITEM_INDEX} {item},"
        value = source if isinstance(source, str) else f"{len(source)} bytes"
        raise failed_at(place, value, error) from error


def _decode(source: bytes | str, column: PictureColumn, size: int) -> Sequence[bytes | None]:
    """The frames of a value; one that is None where it cannot be decoded."""
    try:
        given = Path(_local_path(source)) if isinstance(source, str) else source
    except ValueError:
        # It begins like an address, and is not one.
        return [None]
    if column.kind == "image":
        return [decode_image(given, size)]
    frames = decode_video(given, column.frames)
    return [scaled(frame, size) for frame in frames] or [None]


def _local_path(source: str) -> str:
    """The path of an address `file:`, whose name may be escaped or, as Spark gives it, not."""
    address = urlparse(source)
    if address.scheme != "file":
        return source
    as_it_stands = source.partition(":")[2]
    if as_it_stands.startswith("//"):
        as_it_stands = f"/{as_it_stands[2:].partition('/')[2]}"
    return as_it_stands if Path(as_it_stands).is_file() else unquote(address.path)
