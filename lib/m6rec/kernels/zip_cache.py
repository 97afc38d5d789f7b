"""Where numba keeps compiled kernels if the package is in a zip, as it is on clusters.

By itself, numba takes the user's home for code in a zip, whatever NUMBA_CACHE_DIR names, and ends
with an error where the home cannot be written, as in many containers. It also takes a folder of its
own for each path of a zip, so that no container would find what another one has compiled.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar
from zipfile import ZipFile

from numba.core.caching import CacheImpl, ZipCacheLocator
from numba.core.dispatcher import Dispatcher
from numba.misc.appdirs import user_cache_dir

from m6rec.fingerprints import fingerprint_of

_KERNELS = "m6rec/kernels/"


class KernelsOfZip(ZipCacheLocator):
    """Has numba keep the kernels of a zip in one folder, wherever the zip lies."""

    archive: ClassVar[str]
    folder: ClassVar[Path]

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        """Find the place of a kernel that a file of the zip defines."""
        super().__init__(function, file)  # type: ignore[no-untyped-call]
        self._cache_path = str(self.folder / PurePosixPath(self._internal_path).parent)

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> "KernelsOfZip | None":
        """The place of a kernel; None for functions from elsewhere."""
        return cls(function, file) if file.startswith(f"{cls.archive}/{_KERNELS}") else None


def keep_kernels_of(archive: str) -> None:
    """Keep the kernels of a zip where NUMBA_CACHE_DIR says, or else in the user's cache.

    Where neither can be written, each process compiles for itself.
    """
    users_cache = user_cache_dir("numba", appauthor=False)  # type: ignore[no-untyped-call]
    places = [Path(place) for place in (os.environ.get("NUMBA_CACHE_DIR"), users_cache) if place]
    writable = next(filter(_can_be_written, places), None)
    if writable is None:
        Dispatcher.enable_caching = _keep_nothing  # type: ignore[assignment, method-assign]
        return
    KernelsOfZip.archive = archive
    KernelsOfZip.folder = writable / _state_of_kernels(archive)
    CacheImpl._locator_classes.insert(0, KernelsOfZip)


def _can_be_written(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _state_of_kernels(archive: str) -> str:
    """A name for the state of all kernels.

    numba compiles a function anew when its file has changed, but not when a function that it calls,
    of another file, has.
    """
    with ZipFile(archive) as opened:
        files = [(one.filename, one.CRC) for one in opened.infolist()]
    kernels = sorted(one for one in files if one[0].startswith(_KERNELS))
    return f"kernels-{fingerprint_of(kernels)[:16]}"


def _keep_nothing(_: object) -> None:
    """In place of numba's method that makes a cache for a compiled function."""
