"""PySpark's daemon, with the code that runs in its Python workers measured by coverage, too.

Without this the line coverage of lib/ would not see what partitions run. Used as
`spark.python.daemon.module` when coverage is on.
"""

import gc
import os
import signal
from types import FrameType
from typing import IO

import coverage
import pyspark.daemon
import pyspark.worker

from m6rec.startup.worker_daemon import keep_archive_directories

original_main = pyspark.worker.main
measured: coverage.Coverage | None = None


def measured_main(infile: IO[bytes], outfile: IO[bytes]) -> None:
    """Run one task; what it executed is saved before the worker is reused or killed."""
    global measured  # noqa: PLW0603 - one measurement a worker process
    if measured is None:
        measured = coverage.Coverage(
            data_file=os.environ["M6REC_COVERAGE_FILE"], data_suffix=True, source_pkgs=["m6rec"]
        )
        signal.signal(signal.SIGHUP, _stop)
    measured.start()
    try:
        original_main(infile, outfile)
    finally:
        measured.stop()
        measured.save()


def _stop(_signal: int, _frame: FrameType | None) -> None:
    os._exit(0)


if __name__ == "__main__":
    # Spark 4.1 and later look for it in the module; those before have it by a name of their own.
    pyspark.worker.main = measured_main
    pyspark.daemon.worker_main = measured_main
    keep_archive_directories()
    gc.freeze()
    pyspark.daemon.manager()
