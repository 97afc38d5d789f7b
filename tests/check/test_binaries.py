import pytest

from m6rec.check.binaries import holds_no_pictures
from m6rec.check.samples import ColumnSample

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def column_of(*values: bytes) -> ColumnSample:
    shown = [f"{len(value)} bytes, 0x{value[:16].hex().upper()}" for value in values]
    return ColumnSample("flags", "binary", "bytes", shown)


@pytest.mark.parametrize("size", range(1, 17))
def test_bytes_of_any_size_may_be_no_picture(size: int) -> None:
    assert holds_no_pictures(column_of(b"\x01" * size, b"\x00" * size))


def test_one_picture_or_no_bytes_at_all_are_not_doubted() -> None:
    assert not holds_no_pictures(column_of(b"\x01", PNG))
    assert not holds_no_pictures(column_of(b""))
