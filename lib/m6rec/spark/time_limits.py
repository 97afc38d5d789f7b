"""Give up a query of Spark's where it takes too long."""

import threading
import uuid
from collections.abc import Callable
from typing import TypeVar

from pyspark.sql import SparkSession

from m6rec.spark.failures import THROWN

Given = TypeVar("Given")


def within_seconds(spark: SparkSession, seconds: float, work: Callable[[], Given]) -> Given | None:
    """What the work gives; None where it took longer, and its jobs were cancelled."""
    if seconds <= 0.0:
        return None
    context, tag = spark.sparkContext, f"m6rec-{uuid.uuid4().hex}"
    is_late = threading.Event()

    def cancel() -> None:
        is_late.set()
        context.cancelJobsWithTag(tag)

    timer = threading.Timer(seconds, cancel)
    timer.daemon = True
    context.addJobTag(tag)
    timer.start()
    try:
        return work()
    except THROWN:
        if is_late.is_set():
            return None
        raise
    finally:
        timer.cancel()
        context.removeJobTag(tag)
