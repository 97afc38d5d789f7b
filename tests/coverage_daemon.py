"""The daemon of Python workers, with what runs in them measured by coverage, too.

Without this the line coverage of lib/ would not see what partitions run. Used as
`spark.python.daemon.module` when coverage is on.
"""

import gc
import os
import signal
import time
from types import FrameType
from typing import IO

import coverage
import pyspark.daemon
import pyspark.worker

from m6rec.startup.worker_daemon import keep_archive_directories

# A worker that has been idle for a minute is killed; one with work has many short tasks, each of
# which a save would lengthen by 20 ms.
SECONDS_BETWEEN_SAVES = 2.0
original_main = pyspark.worker.main


class Measurement:
    """What one worker process executes of the package."""

    def __init__(self) -> None:
        self._measured = coverage.Coverage(
            data_file=os.environ["M6REC_COVERAGE_FILE"], data_suffix=True, source_pkgs=["m6rec"]
        )
        # Imported before the fork, and counted where the tests' own process imports it.
        self._measured.set_option("run:disable_warnings", ["module-not-measured"])
        self._saved_at = float("-inf")
        signal.signal(signal.SIGHUP, self._stop)

    def run(self, infile: IO[bytes], outfile: IO[bytes]) -> None:
        """Run one task; save what was executed so far, unless that was done a moment ago."""
        self._measured.start()
        try:
            original_main(infile, outfile)
        finally:
            self._measured.stop()
            if time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES:
                self._measured.save()
                self._saved_at = time.monotonic()

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        try:
            self._measured.stop()
            self._measured.save()
        finally:
            os._exit(0)


measurement: Measurement | None = None


def measured_main(infile: IO[bytes], outfile: IO[bytes]) -> None:
    """Run one task, measured."""
    global measurement  # noqa: PLW0603 - one measurement a worker process
    if measurement is None:
        measurement = Measurement()
    measurement.run(infile, outfile)


if __name__ == "__main__":
    # Spark 4.1 and later look for it in the module; those before have it by a name of their own.
    pyspark.worker.main = measured_main
    pyspark.daemon.worker_main = measured_main
    keep_archive_directories()
    gc.freeze()
    pyspark.daemon.manager()
