"""Item-side arrays sent to the executors as files, mapped into memory and not copied.

A Python broadcast is unpickled by every worker process; an .npy file that Spark fetches once an
executor and that workers map with `mmap_mode="r"` is one copy in the page cache of a machine.
"""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark import SparkFiles
from pyspark.sql import SparkSession

from m6rec.errors import ClusterError

_MAPPED_FILES = 128


@dataclass(frozen=True)
class ShippedArrays:
    """A handle to arrays that every executor can map; it pickles to some hundred bytes.

    Attributes:
        files: pairs of the array's name and its file's name, unique by content.
    """

    files: tuple[tuple[str, str], ...]

    def load(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name, read-only and mapped, the same objects at each call in a process.

        Raises:
            ClusterError: a file did not reach this executor.
        """
        return {name: _map_file(SparkFiles.get(file)) for name, file in self.files}


def ship_arrays(spark: SparkSession, arrays: Mapping[str, npt.NDArray[Any]]) -> ShippedArrays:
    """Send each array to all executors, present and future; equal arrays are sent once.

    Args:
        spark: a classic session; Spark Connect has no SparkContext to send files with.
        arrays: arrays of numbers by name, any shape; empty ones too.

    Raises:
        ClusterError: the session is Spark Connect.
    """
    if type(spark).__module__.startswith("pyspark.sql.connect"):
        raise ClusterError(
            "item-side arrays are sent by SparkContext.addFile, and this session is Spark"
            " Connect, which has none; run the job on a cluster with a classic session"
        )
    return ShippedArrays(tuple((name, _ship(spark, array)) for name, array in arrays.items()))


def _ship(spark: SparkSession, array: npt.NDArray[Any]) -> str:
    contiguous = np.ascontiguousarray(array).reshape(array.shape)
    file = f"m6rec-{_digest(contiguous)}.npy"
    path = Path(_outbox().name) / file
    if not path.exists():
        np.save(path, contiguous, allow_pickle=False)
    # Spark ignores a file that it has been given before, but a new session needs it again.
    spark.sparkContext.addFile(str(path))
    return file


def _digest(array: npt.NDArray[Any]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


@cache
def _outbox() -> "tempfile.TemporaryDirectory[str]":
    # The driver serves the files from here for as long as it lives; removed when it exits.
    return tempfile.TemporaryDirectory(prefix="m6rec-arrays-")


@lru_cache(maxsize=_MAPPED_FILES)
def _map_file(path: str) -> npt.NDArray[Any]:
    if not Path(path).is_file():
        raise ClusterError(
            f"the array file {path} is not on this executor; it is sent by ship_arrays in the"
            " session that runs the stage: call it again in this session"
        )
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
