"""Columns of bytes: whether these are pictures or videos, by their first bytes.

In the sample of a table a value is shown as `512 bytes, 0x` and its first bytes in hexadecimal.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from m6rec.check.findings import Finding, Place
from m6rec.check.readings import foreign_format
from m6rec.check.samples import ColumnSample
from m6rec.config.data import FeatureKind

# As many as Pillow tells formats by.
SHOWN_BYTES = 16
_WRITTEN = re.compile(r"(\d+) bytes, 0x([0-9A-F]*)")
# How files of videos begin: MP4 and its kin have `ftyp` after four bytes; Matroska and WebM, AVI,
# Flash, Ogg, Windows Media, MPEG and its transport streams begin so.
_MP4 = b"ftyp"
_VIDEOS = (
    *(b"\x1aE\xdf\xa3", b"RIFF", b"FLV\x01", b"OggS", b"0&\xb2u", b"\x00\x00\x01\xba"),
    *(b"\x00\x00\x01\xb3", b"G@"),
)
# As many bytes as a float has.
_SINGLE, _DOUBLE = 4, 8
_FEWEST_FLOATS = 2


@dataclass(frozen=True)
class _Binary:
    """A value: its bytes, and the first of them."""

    size: int
    start: bytes

    def __str__(self) -> str:
        return f"{self.size} bytes that begin with 0x{self.start.hex().upper()}"


def holds_no_pictures(column: ColumnSample) -> bool:
    """Whether there are bytes in a column, and none of them begin as a picture or a video."""
    return bool(_no_pictures(column))


def findings_of_binaries(
    column: ColumnSample, table: Place, stated: FeatureKind | None
) -> Iterator[Finding]:
    """What is wrong with a column of bytes that is understood as pictures.

    Args:
        column: its first rows.
        table: its table.
        stated: the kind that the configuration gives it, if any.
    """
    found = _no_pictures(column) if column.group == "bytes" else []
    if not found:
        return
    why = "as the config says" if stated else f"because its type is {column.shown_type}"
    words = (
        f"is understood as {stated or 'image'}, {why}, and none of {len(found)} values in its first"
        f" rows begins as a picture or a video does, such as {found[0]}{_likely(found)}"
    )
    remedy = (
        f"set {table.key}.kinds: {{{column.name}: ignore}} or, where these are vectors, write them"
        f" as array<float> in the source and set kinds: {{{column.name}: embedding}}"
    )
    # Formats without a sign at their beginning are read, too, so that a run may start.
    yield Finding("warning", table.of(column.name), words, remedy)


def _likely(found: list[_Binary]) -> str:
    """What the bytes may be, for a person to judge; nothing is read so."""
    foreign = foreign_format(found[0].start)
    if foreign is not None:
        return f" ({foreign.partition(';')[0]})"
    sizes = {one.size for one in found}
    size = min(sizes)
    if len(sizes) > 1 or len(found) < 2 or size % _SINGLE or size < _FEWEST_FLOATS * _SINGLE:
        return ""
    doubles = f", or {size // _DOUBLE} of {_DOUBLE}" if size % _DOUBLE == 0 else ""
    return (
        f" (all have {size} bytes, as {size // _SINGLE} numbers of {_SINGLE} bytes{doubles} have)"
    )


def _no_pictures(column: ColumnSample) -> list[_Binary]:
    """The values of a column of which none begins as a picture or a video; else none of them."""
    found = _binaries_of(column)
    Image.init()
    return [] if any(_is_picture(one.start) for one in found) else found


def _binaries_of(column: ColumnSample) -> list[_Binary]:
    """The values that are not empty."""
    matches = (_WRITTEN.fullmatch(text) for text in column.texts)
    return [
        _Binary(int(match[1]), bytes.fromhex(match[2])) for match in matches if match and match[2]
    ]


def _is_picture(start: bytes) -> bool:
    # No file is so short, and some of Pillow's formats fail to look at one that is.
    if len(start) < SHOWN_BYTES:
        return False
    if start.startswith(_VIDEOS) or start[len(_MP4) :].startswith(_MP4):
        return True
    # Some of Pillow's formats have no sign to be told by. A text says why a file cannot be read.
    return any(accept is not None and accept(start) is True for _, accept in Image.OPEN.values())
