"""What a job says on stderr: errors, warnings, notes, and traces for the log."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TextIO

from rich.console import Console

MessageKind = Literal["error", "warning", "note"]
_STYLES: dict[MessageKind, str] = {"error": "bold red", "warning": "bold yellow", "note": "bold"}


def say(kind: MessageKind, message: str) -> None:
    """Print `kind: message` on stderr."""
    with _error_stream() as stream:
        # spark-submit.sh knows a message by how its line begins, and FORCE_COLOR would colour that.
        console = Console(
            file=stream,
            force_terminal=stream.isatty(),
            highlight=False,
            soft_wrap=True,
            emoji=False,
        )
        console.print(f"{kind}: ", style=_STYLES[kind], end="")
        console.print(message, markup=False)


def keep_trace(error: BaseException) -> None:
    """Write an error's trace into the log, whose lines of traces spark-submit.sh does not show."""
    with _error_stream() as stream:
        if stream.isatty() and os.environ.get("M6REC_VERBOSE") != "1":
            return
        for line in "".join(traceback.format_exception(error)).splitlines():
            print(f"\t{line}", file=stream)


@contextmanager
def _error_stream() -> Iterator[TextIO]:
    """The stderr of the process that called spark-submit.sh.

    Spark's own spark-submit merges the driver's stderr into stdout. So spark-submit.sh passes the
    place of its stderr in the environment.
    """
    place = os.environ.get("M6REC_STDERR")
    if place is None or not os.access(place, os.W_OK):
        yield sys.stderr
        return
    with Path(place).open("a") as stream:
        yield stream
