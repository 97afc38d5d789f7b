"""Files are whole whenever they are seen; equal values have one fingerprint."""

from pathlib import Path

import pytest

from m6rec.files import written_whole
from m6rec.fingerprints import fingerprint_of


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "model.json"
    with written_whole(file) as unfinished:
        unfinished.write_text("new")
        assert not file.exists()
    assert file.read_text() == "new"
    assert list(file.parent.iterdir()) == [file]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    file.write_text("old")
    with pytest.raises(OSError, match="disk full"), written_whole(file) as unfinished:
        unfinished.write_text("half")
        raise OSError("disk full")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint_of({"a": 1, "b": [2]}) == fingerprint_of({"b": [2], "a": 1})
    assert fingerprint_of({"a": 1}) != fingerprint_of({"a": 2})


def test_a_fingerprint_never_changes_between_versions() -> None:
    expected = "f9d86028c6e0d64e225186f96acb69338b2c59764df79162107f5c4bb34d1310"
    assert fingerprint_of({"a": 1}) == expected
