"""Files and folders anywhere: on this machine, or in a file system that Spark reaches.

Functions that read or write a file take a `FilePlace`, or a path of this machine as text or `Path`.
A file in another file system is copied to this machine to be read, and is sent there when it is
complete, because the libraries that make files (safetensors, NumPy, PyArrow, TensorBoard) know
local files alone.
"""

import os
import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

# Databricks mounts its volumes and its own file system there. A file there takes bytes from its
# start to its end, and neither goes back, as archives of arrays do, nor grows later, as logs do.
_WRITTEN_FORWARDS = ("/Volumes/", "/dbfs/")


class FileSystem(ABC):
    """How files of another file system come to this machine and go there.

    Its pickle becomes an object that reaches the same files from a Python worker.
    """

    @abstractmethod
    def has_file(self, address: str) -> bool:
        """Whether there is a file under the address."""

    @abstractmethod
    def fetch(self, addresses: Sequence[str], folder: Path) -> None:
        """Copy files to a local folder, each under its own name.

        Raises:
            ArtifactError: one of them is missing, or cannot be read.
        """

    @abstractmethod
    def send(self, files: Sequence[Path], folder: str) -> None:
        """Copy local files into a folder there, in order; readers see each whole or not at all.

        Raises:
            ArtifactError: the folder cannot be written.
        """


@dataclass(frozen=True)
class FilePlace:
    """A file or folder, and the means of reaching it.

    Attributes:
        address: a path of this machine, or a URI.
        system: the file system of the URI; None for this machine.
    """

    address: str
    system: FileSystem | None = None

    def __truediv__(self, name: str) -> "FilePlace":
        return FilePlace(f"{self.address.rstrip('/')}/{name}", self.system)

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.address.rstrip("/").rsplit("/", 1)[-1]

    @property
    def folder(self) -> "FilePlace":
        """The folder in which it lies."""
        if self.system is None:
            return FilePlace(str(Path(self.address).parent))
        return FilePlace(self.address.rstrip("/").rsplit("/", 1)[0], self.system)

    @property
    def uri(self) -> str:
        """The address for Spark, which takes a path without a scheme for one of the cluster's."""
        if self.system is not None or self.address.startswith("/Volumes/"):
            return self.address
        if self.address.startswith("/dbfs/"):
            return f"dbfs:{self.address.removeprefix('/dbfs')}"
        return address_for_hadoop(Path(self.address))

    def is_file(self) -> bool:
        """Whether there is a file."""
        if self.system is None:
            return Path(self.address).is_file()
        return self.system.has_file(self.address)

    def read_text(self) -> str:
        """The text of a file."""
        with at_hand(self) as file:
            return file.read_text(encoding="utf-8")

    def write_text(self, text: str) -> None:
        """Write a file whole; the folder is made where it is missing."""
        with written_whole(self) as unfinished:
            unfinished.write_text(text, encoding="utf-8")


AnyPlace = FilePlace | Path | str


def address_for_hadoop(path: Path) -> str:
    """The address of a local path for Hadoop's `Path`, which takes a percent sign for itself."""
    return f"file://{path.absolute()}"


def as_place(place: AnyPlace) -> FilePlace:
    """The place; text and `Path` are paths of this machine."""
    return place if isinstance(place, FilePlace) else FilePlace(str(place))


def has_scheme(address: str) -> bool:
    """Whether an address names its file system, as `s3a://bucket` does."""
    return re.match(r"[A-Za-z][\w+.-]*:", address) is not None


def posix_path(address: str, root: Path = Path("/")) -> str | None:
    """The path at which this machine has mounted the address; None where it has not.

    Databricks mounts volumes as `/Volumes` and its own file system as `/dbfs`.

    Args:
        address: a path or URI.
        root: where mounts are looked for.
    """
    scheme, _, rest = address.partition(":") if has_scheme(address) else ("", "", address)
    if scheme not in {"", "file", "dbfs"}:
        return None
    path = re.sub("^/+", "/", rest)
    if scheme == "file":
        return path
    if path.startswith("/Volumes/") and (root / "Volumes").is_dir():
        return path
    if scheme == "dbfs" and (root / "dbfs").is_dir():
        return f"/dbfs{path}"
    return None


@contextmanager
def written_whole(place: AnyPlace) -> Iterator[Path]:
    """Give a local path to write to, which becomes `place` when the block ends without an error.

    A reader finds the whole old file or the whole new one, also after a process was killed. The
    folder is made where it is missing.
    """
    target = as_place(place)
    if _is_written_in_place(target):
        with _renamed_when_whole(Path(target.address)) as unfinished:
            yield unfinished
        return
    with _scratch() as scratch:
        unfinished = scratch / target.name
        yield unfinished
        _send([unfinished], target.folder)


def _is_written_in_place(place: FilePlace) -> bool:
    """Whether those that make files can write there, back and forth as they do."""
    return place.system is None and not place.address.startswith(_WRITTEN_FORWARDS)


def _send(files: Sequence[Path], folder: FilePlace) -> None:
    if folder.system is not None:
        folder.system.send(files, folder.address)
        return
    for file in files:
        with _renamed_when_whole(Path(folder.address) / file.name) as unfinished:
            shutil.copyfile(file, unfinished)


@contextmanager
def _renamed_when_whole(file: Path) -> Iterator[Path]:
    file.parent.mkdir(parents=True, exist_ok=True)
    # Two processes may write the same file at once.
    unfinished = file.with_name(f".{file.name}.{uuid4().hex[:8]}.unfinished")
    try:
        yield unfinished
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def at_hand(place: AnyPlace) -> Iterator[Path]:
    """A local path at which a file can be read until the block ends."""
    source = as_place(place)
    with files_at_hand(source.folder, [source.name]) as folder:
        yield folder / source.name


@contextmanager
def files_at_hand(folder: AnyPlace, names: Sequence[str]) -> Iterator[Path]:
    """A local folder that has these files of a folder until the block ends."""
    source = as_place(folder)
    if source.system is None:
        yield Path(source.address)
        return
    with _scratch() as scratch:
        source.system.fetch([(source / name).address for name in names], scratch)
        yield scratch


@contextmanager
def filled(folder: AnyPlace) -> Iterator[Path]:
    """Give a local folder, and send its files to `folder` when the block ends, even by an error."""
    target = as_place(folder)
    if _is_written_in_place(target):
        Path(target.address).mkdir(parents=True, exist_ok=True)
        yield Path(target.address)
        return
    with _scratch() as scratch:
        try:
            yield scratch
        finally:
            _send(sorted(scratch.iterdir()), target)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A temporary folder, in the place that Spark gives Python workers for large files."""
    given = os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0]
    place = given if given and Path(given).is_dir() else None
    with tempfile.TemporaryDirectory(prefix="m6rec-", dir=place) as folder:
        yield Path(folder)
