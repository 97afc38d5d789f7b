"""Write files that are whole whenever anyone sees them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(file: Path) -> Iterator[Path]:
    """Give a path to write to, and rename it to `file` when the block ends without an error.

    A reader finds the whole old file or the whole new one, also after a process was killed. The
    folder is made where it is missing.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.unfinished")
    try:
        yield unfinished
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
