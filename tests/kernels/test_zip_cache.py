"""Compiled kernels of a package in a zip, as executors have it, where no home can be written."""

from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.shell_environment import run_python

REPOSITORY = Path(__file__).parent.parent.parent
LIBRARY = REPOSITORY / "lib"
ON_EXECUTORS = "spark.executorEnv."
# It calls a kernel of another file, and hashes so the seed of a published number.
PROGRAM = """
import numpy as np
from m6rec.kernels.arrays import hashing, minhash

assert ".zip/" in hashing.__file__
print(minhash._joined(np.uint64(0), np.uint64(1_234_567)))
print(sum(minhash._joined.stats.cache_hits.values()))
"""
FACTOR = "0xBF58476D1CE4E5B9"
# With a factor of zero, all bits are.
HASH, CHANGED_HASH = "6457827717110365317", "0"


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """The variables of conf/spark-cluster.conf, in a folder of this test, and a home below a file,
    which not even root can make."""
    lines = (REPOSITORY / "conf" / "spark-cluster.conf").read_text().splitlines()
    pairs = [line.split() for line in lines if line.startswith(ON_EXECUTORS)]
    (tmp_path / "file").touch()
    return {"HOME": str(tmp_path / "file" / "home")} | {
        key.removeprefix(ON_EXECUTORS): f"{tmp_path}{value}" for key, value in pairs
    }


def zipped(archive: Path, factor: str = FACTOR) -> Path:
    """The package as a zip, possibly with another factor in a kernel."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with ZipFile(archive, "w") as opened:
        for file in sorted((LIBRARY / "m6rec").rglob("*.py")):
            name = str(file.relative_to(LIBRARY))
            opened.writestr(name, file.read_text().replace(FACTOR, factor))
    return archive


def run(archive: Path, settings: dict[str, str]) -> tuple[str, int]:
    """What a kernel of the zip works out, and how often it was found compiled."""
    program = f"import sys; sys.path.insert(0, {str(archive)!r})\n{PROGRAM}"
    done = run_python("-c", program, **settings)
    assert done.returncode == 0, done.stderr
    value, hits = done.stdout.split()
    return value, int(hits)


def test_containers_share_the_kernels_in_the_folder_that_the_properties_name(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    first = run(zipped(tmp_path / "container_1" / "m6rec-package.zip"), settings)
    assert list(Path(settings["NUMBA_CACHE_DIR"]).rglob("minhash.*.nbc"))
    second = run(zipped(tmp_path / "container_2" / "m6rec-package.zip"), settings)
    assert (first[0], first[1], second) == (HASH, 0, (HASH, 1))


def test_a_changed_kernel_is_compiled_anew_with_all_that_call_it(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    archive = tmp_path / "m6rec-package.zip"
    assert run(zipped(archive), settings) == (HASH, 0)
    assert run(zipped(archive, "0x0000000000000000"), settings) == (CHANGED_HASH, 0)
    assert run(zipped(archive), settings) == (HASH, 1)


def test_where_nothing_can_be_written_kernels_run_uncached(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    settings["NUMBA_CACHE_DIR"] = str(tmp_path / "file" / "cache")
    archive = zipped(tmp_path / "m6rec-package.zip")
    assert [run(archive, settings), run(archive, settings)] == [(HASH, 0), (HASH, 0)]


def test_without_a_folder_they_are_kept_in_the_users_cache(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    settings |= {"NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    archive = zipped(tmp_path / "m6rec-package.zip")
    assert [run(archive, settings), run(archive, settings)] == [(HASH, 0), (HASH, 1)]
    assert list((tmp_path / "cache" / "numba").rglob("minhash.*.nbc"))
