"""PySpark's daemon, which has imported what tasks need before it forks the Python workers.

The import of numba and SciPy takes half a second, and that of torch a second and a half. The daemon
does it once, so that no worker has to. `spark.python.daemon.module` in conf/spark-local.conf names
this module. The workers' Python must find this package when it starts, as it does in local mode.
"""

import gc
import os

import pyspark.daemon

import m6rec.stages.ranking.lists

# Each task's imports come with these; nothing here starts a thread, which no fork would survive.
import m6rec.stages.training.factor_models
from m6rec.spark.session import WITH_TORCH

if WITH_TORCH in os.environ:
    import m6rec.spark.barrier  # noqa: F401

if __name__ == "__main__":
    # A worker collects garbage after each task, and need not look at what was imported before.
    gc.freeze()
    pyspark.daemon.manager()  # type: ignore[no-untyped-call]
