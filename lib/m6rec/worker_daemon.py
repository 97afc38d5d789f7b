"""PySpark's daemon, which has imported what tasks need before it forks the Python workers.

torch, numba and SciPy take seconds to import: once here, instead of once a worker. Named by
`spark.python.daemon.module` in conf/spark-local.conf; the workers' Python must find this package
when it starts, as it does in local mode.
"""

import gc

import pyspark.daemon

# Each task's imports come with these; nothing here starts a thread, which no fork would survive.
import m6rec.cluster
import m6rec.stages.factors
import m6rec.stages.ranking  # noqa: F401

if __name__ == "__main__":
    # A worker collects garbage after each task: what was imported is never garbage.
    gc.freeze()
    pyspark.daemon.manager()  # type: ignore[no-untyped-call]
