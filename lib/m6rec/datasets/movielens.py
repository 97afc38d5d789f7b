"""MovieLens-100K for the demo, out of the wheel of `recbole`, as the owner's tables would be.

F. M. Harper, J. A. Konstan: The MovieLens Datasets. ACM TiiS 5, 4 (2015).
"""

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from m6rec.errors import DataError
from m6rec.files import written_whole

WHEEL = "recbole==1.2.1"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
INSIDE_WHEEL = "recbole/dataset_example/ml-100k"
FILES = ("ml-100k.inter", "ml-100k.item", "ml-100k.user")


@dataclass(frozen=True)
class OwnerTables:
    """Paths of the Parquet tables that the demo's config names."""

    interactions: Path
    items: Path
    users: Path


def fetch_movielens(folder: Path | None = None) -> Path:
    """The folder that holds the three files: `folder`, or the cache, filled from PyPI if need be.

    Raises:
        DataError: `folder` lacks a file, the wheel cannot be fetched, or its checksum differs.
    """
    if folder is not None:
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise DataError(f"{folder} lacks {missing}; give --data a folder with {list(FILES)}")
        return folder
    cached = cache_folder() / "ml-100k"
    if not all((cached / name).is_file() for name in FILES):
        cached.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached) as scratch:
            wheel = _download_wheel(Path(scratch))
            verify_checksum(wheel, WHEEL_SHA256)
            _extract(wheel, cached)
    return cached


def cache_folder() -> Path:
    """Where downloads are kept: $M6REC_CACHE, else m6rec in the user's cache folder."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("M6REC_CACHE") or home / "m6rec")


def verify_checksum(file: Path, expected: str) -> None:
    """Raise DataError unless the file's SHA-256 is `expected`."""
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != expected:
        raise DataError(
            f"{file.name} has SHA-256 {found}, expected {expected}; it is not used."
            " Try again, or give the files with --data"
        )


def write_owner_tables(movielens: Path, target: Path) -> OwnerTables:
    """Convert the files to Parquet.

    interactions: user_id, item_id string, rating double, timestamp int64 (seconds);
    items: item_id, title string, year int32 (null where unknown), genres list<string>;
    users: user_id string, age int32, gender, occupation, zip_code string.
    """
    target.mkdir(parents=True, exist_ok=True)
    events = _read(movielens / "ml-100k.inter", ("user_id", "item_id", "rating", "timestamp"))
    events = _cast(events, {"rating": pa.float64(), "timestamp": pa.int64()})
    items = _read(movielens / "ml-100k.item", ("item_id", "title", "year", "genres"))
    genres = pc.split_pattern(pc.utf8_trim_whitespace(items["genres"]), " ")
    items = items.set_column(items.schema.get_field_index("genres"), "genres", genres)
    items = _cast(items, {"year": pa.int32()})
    user_columns = ("user_id", "age", "gender", "occupation", "zip_code")
    users = _cast(_read(movielens / "ml-100k.user", user_columns), {"age": pa.int32()})
    tables = OwnerTables(
        target / "interactions.parquet", target / "items.parquet", target / "users.parquet"
    )
    pq.write_table(events, tables.interactions)
    pq.write_table(items, tables.items)
    pq.write_table(users, tables.users)
    return tables


def _download_wheel(folder: Path) -> Path:
    command = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    print(f"fetching {WHEEL} for MovieLens-100K", flush=True)
    result = subprocess.run(
        [_python_with_pip(), *command, "--dest", str(folder), WHEEL],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if result.returncode != 0 or not wheels:
        reason = (result.stderr.strip().splitlines() or ["no output"])[-1]
        raise DataError(
            f"could not download {WHEEL}: {reason}. Check the network and pip's index,"
            f" or give --data a folder with {list(FILES)}"
        )
    return wheels[0]


def _python_with_pip() -> str:
    """This interpreter, or the one that its virtual environment was made from."""
    if importlib.util.find_spec("pip") is not None:
        return sys.executable
    return str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")


def _extract(wheel: Path, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in FILES:
            with written_whole(target / name) as unfinished:
                unfinished.write_bytes(archive.read(f"{INSIDE_WHEEL}/{name}"))


def _read(file: Path, columns: tuple[str, ...]) -> pa.Table:
    """A tab-separated file with a `name:type` header, as columns of strings."""
    return csv.read_csv(
        file,
        read_options=csv.ReadOptions(column_names=list(columns), skip_rows=1),
        parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string())),
    )


def _cast(table: pa.Table, types: dict[str, pa.DataType]) -> pa.Table:
    """Convert columns of text; an empty text or one that is no number becomes null."""
    for name, kind in types.items():
        text = pc.utf8_trim_whitespace(table[name])
        number = pc.match_substring_regex(text, r"^-?\d+(\.\d+)?$")
        values = pc.if_else(number, text, pa.scalar(None, pa.string())).cast(kind)
        table = table.set_column(table.schema.get_field_index(name), name, values)
    return table
