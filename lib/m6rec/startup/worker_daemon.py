"""PySpark's daemon, which has imported what tasks need before it forks the Python workers.

The import of numba and SciPy takes half a second, and that of torch a second and a half. The daemon
does it once, so that no worker has to. `spark.python.daemon.module` in conf/spark-local.conf names
this module. The workers' Python must find this package when it starts, as it does in local mode.
"""

import gc
import os
import zipimport

import pyspark.daemon

import m6rec.stages.ranking.lists

# These modules import all that tasks need. None of them starts a thread, which would not survive a
# fork.
import m6rec.stages.training.factor_models
from m6rec.spark.session import WITH_TORCH

if WITH_TORCH in os.environ:
    # The first optimiser of a process imports it, which takes as long as torch itself.
    import torch._dynamo  # noqa: F401

    import m6rec.spark.barrier  # noqa: F401


def keep_archive_directories() -> None:
    """Let the directories of pyspark.zip and Spark's jars be read once and not before each task.

    Before each task PySpark invalidates the caches of all importers. One of a zip archive answers
    by reading the archive's directory again, and there is one for each package that was imported
    from it; together they take a tenth of a second and more. Spark replaces no archive that a
    worker has on its path, and one that is added later gets an importer of its own.
    """
    zipimport.zipimporter.invalidate_caches = _keep  # type: ignore[assignment, method-assign]


def _keep(_: zipimport.zipimporter) -> None:
    """The directory stays as it was read."""


if __name__ == "__main__":
    keep_archive_directories()
    # Workers collect garbage after each task, and need not scan what was imported before the fork.
    gc.freeze()
    pyspark.daemon.manager()  # type: ignore[no-untyped-call]
