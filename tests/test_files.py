"""Files are whole whenever they are seen; equal values have one fingerprint."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from m6rec.files import (
    FilePlace,
    FileSystem,
    _is_written_in_place,
    at_hand,
    filled,
    posix_path,
    written_whole,
)
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


class OtherMachine(FileSystem):
    """A file system whose files are reached by copies alone; here a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def _local(self, address: str) -> Path:
        return self.root / address.removeprefix("far://host/")

    def has_file(self, address: str) -> bool:
        return self._local(address).is_file()

    def fetch(self, addresses: Sequence[str], folder: Path) -> None:
        for address in addresses:
            shutil.copy(self._local(address), folder)

    def send(self, files: Sequence[Path], folder: str) -> None:
        target = self._local(folder)
        target.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(file, target)


@pytest.fixture
def far(tmp_path: Path) -> FilePlace:
    return FilePlace("far://host/models", OtherMachine(tmp_path))


def test_a_file_elsewhere_is_sent_when_it_is_complete_and_fetched_to_be_read(
    far: FilePlace, tmp_path: Path
) -> None:
    with written_whole(far / "model.json") as unfinished:
        unfinished.write_text("new")
        assert not (far / "model.json").is_file()
    assert (tmp_path / "models" / "model.json").read_text() == "new"
    with at_hand(far / "model.json") as file:
        assert file.read_text() == "new"
        assert tmp_path not in file.parents
    assert not file.exists()


def test_nothing_is_sent_of_a_file_that_was_not_completed(far: FilePlace) -> None:
    with pytest.raises(OSError, match="disk full"), written_whole(far / "model") as unfinished:
        unfinished.write_text("half")
        raise OSError("disk full")
    assert not (far / "model").is_file()


def test_a_folder_elsewhere_has_what_its_local_one_had(far: FilePlace) -> None:
    with filled(far / "log") as folder:
        (folder / "events").write_text("loss")
    assert (far / "log" / "events").read_text() == "loss"


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for a volume of Databricks."""
    monkeypatch.setattr("m6rec.files._WRITTEN_FORWARDS", (f"{tmp_path}/Volumes/",))
    return tmp_path / "Volumes" / "main"


def test_a_volume_gets_a_file_that_was_made_elsewhere(volume: Path) -> None:
    target = volume / "checkpoints" / "als.npz"
    with written_whole(target) as unfinished:
        assert volume not in unfinished.parents
        with unfinished.open("wb") as stream:
            # It goes back to the start of each array, which a volume refuses.
            np.savez(stream, factors=np.arange(3))
        assert not volume.exists()
    with at_hand(target) as file:
        assert file == target
        assert np.load(file)["factors"].tolist() == [0, 1, 2]
    assert list(target.parent.iterdir()) == [target]
    assert not unfinished.exists()


def test_a_volume_gets_a_log_when_it_is_complete_also_after_an_error(volume: Path) -> None:
    with pytest.raises(OSError, match="killed"), filled(volume / "log") as folder:
        assert volume not in folder.parents
        (folder / "events").write_text("loss")
        raise OSError("killed")
    assert (volume / "log" / "events").read_text() == "loss"


@pytest.mark.parametrize(
    ("address", "in_place"),
    [
        ("/Volumes/main/shop/artifacts/als.npz", False),
        ("/dbfs/artifacts/als.npz", False),
        ("/data/Volumes/als.npz", True),
        ("Volumes/als.npz", True),
    ],
)
def test_what_databricks_mounts_is_not_written_in_place(address: str, in_place: bool) -> None:
    assert _is_written_in_place(FilePlace(address)) == in_place


def test_a_place_of_this_machine_is_used_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    with at_hand(tmp_path / "file") as file, filled(tmp_path / "made") as folder:
        assert (file, folder) == (tmp_path / "file", tmp_path / "made")


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("file:///data/lake", "/data/lake"),
        ("file:/data/a b#1", "/data/a b#1"),
        ("/Volumes/main/shop/models", "/Volumes/main/shop/models"),
        ("dbfs:/Volumes/main/shop/models", "/Volumes/main/shop/models"),
        ("dbfs:/lake", "/dbfs/lake"),
        ("/lake", None),
        ("hdfs://name/lake", None),
        ("s3a://bucket/lake", None),
        ("abfss://box@account.dfs.core.windows.net/lake", None),
        ("a:b/c", None),
    ],
)
def test_what_is_mounted_is_read_by_its_path(
    address: str, path: str | None, tmp_path: Path
) -> None:
    for name in ("Volumes", "dbfs"):
        (tmp_path / name).mkdir()
    assert posix_path(address, tmp_path) == path


def test_spark_gets_an_address_that_it_takes_as_it_is() -> None:
    assert FilePlace("/data/a b=\u00fc+%20:1").uri == "file:///data/a b=\u00fc+%20:1"
    assert FilePlace("/Volumes/main/shop/models").uri == "/Volumes/main/shop/models"
    assert FilePlace("/dbfs/lake").uri == "dbfs:/lake"


def test_without_mounts_a_volume_is_a_path_of_the_cluster(tmp_path: Path) -> None:
    assert posix_path("/Volumes/main/shop", tmp_path) is None
    assert posix_path("dbfs:/lake", tmp_path) is None
