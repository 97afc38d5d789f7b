"""How many tasks the session runs at once, counted when its executors have registered.

A cluster starts them while the driver is at work already, and replaces one that was lost.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pyspark.sql import SparkSession

from m6rec.spark.messages import say
from m6rec.spark.session import is_local

# In this time YARN and Kubernetes replace an executor, unless a machine has to be started for it.
MOST_SECONDS = 120.0
_SECONDS_BETWEEN_LOOKS = 0.5
# The ids of applications whose expected executors did not arrive in that time; their later stages
# do not wait again.
_APPLICATIONS_SHORT_OF_EXECUTORS: set[str] = set()


def task_slots(spark: SparkSession, ranks: int | None = None) -> int:
    """The task slots; on a cluster, once there are enough, or after `MOST_SECONDS`.

    Args:
        spark: a classic session.
        ranks: how many are enough; those of all executors that the properties name, unless given.
    """
    context = spark.sparkContext
    count = partial(_slots_and_executors, context._jsc.sc())
    if is_local(spark):
        return count()[0]
    expected = expected_executors(str(context.master), dict(context.getConf().getAll()))
    if ranks is None and (
        expected is None or context.applicationId in _APPLICATIONS_SHORT_OF_EXECUTORS
    ):
        ranks = 1
    slots, executors = wait_for_slots(count, ranks, expected)
    if ranks is None and expected is not None and executors < expected:
        _APPLICATIONS_SHORT_OF_EXECUTORS.add(context.applicationId)
    return slots


def _slots_and_executors(context: Any) -> tuple[int, int]:
    profile = context.resourceProfileManager().defaultResourceProfile()
    # The driver has memory for blocks, too.
    executors = context.getExecutorMemoryStatus().size() - 1
    return int(context.maxNumConcurrentTasks(profile)), int(executors)


def expected_executors(master: str, settings: Mapping[str, str]) -> int | None:
    """How many executors the properties ask of the cluster; None where they do not say it."""
    if not master.startswith("spark://"):
        executors = settings.get("spark.executor.instances")
        return None if executors is None else int(executors)
    # A standalone cluster starts as many as the cores make.
    cores = settings.get("spark.cores.max")
    of_executor = settings.get("spark.executor.cores")
    return None if cores is None or of_executor is None else int(cores) // int(of_executor)


def wait_for_slots(
    count: Callable[[], tuple[int, int]],
    ranks: int | None,
    expected: int | None,
    sleep: Callable[[float], object] = time.sleep,
) -> tuple[int, int]:
    """The slots and executors, once they are enough or the time is over.

    Args:
        count: the slots and executors that there are.
        ranks: as many slots are enough; None waits for executors alone.
        expected: when there are as many executors, no other slot will come; None knows no number.
        sleep: waits so many seconds.
    """
    for look in range(int(MOST_SECONDS / _SECONDS_BETWEEN_LOOKS)):
        slots, executors = count()
        enough = ranks is not None and slots >= ranks
        if enough or (expected is not None and executors >= expected):
            return slots, executors
        if look == 0:
            awaited = f"{ranks} task slots" if expected is None else f"{expected} executors"
            say(
                "note",
                f"waiting for {awaited}, at most {MOST_SECONDS:.0f} seconds; there are {slots} task"
                f" slots of {executors} executors",
            )
        sleep(_SECONDS_BETWEEN_LOOKS)
    return count()
