"""A pipeline that is killed half way ends, started again, as if it had not been killed.

It is another process with another lake than the run that it is compared with, so equal lists also
show that a seed gives the same recommendations.
"""

import signal

from pyspark.sql import SparkSession

from m6rec.lakehouse import Lakehouse
from m6rec.publication.publishing import published_run
from tests.process_runs import KilledRun
from tests.synthetic_shop import published_lists


def test_killed_and_started_again_it_gives_the_lists_of_a_run_that_was_not(
    spark: SparkSession, killed_run: KilledRun, lakehouse: Lakehouse
) -> None:
    code, printed = killed_run.killed
    assert code == -signal.SIGKILL, printed
    killed = Lakehouse(spark, str(killed_run.lake_when_killed), "killed")
    assert killed.exists("runs")
    assert published_run(killed) is None

    code, printed = killed_run.again
    assert code == 0, printed
    assert "train_factors: skipped (finished)" in printed
    again = Lakehouse(spark, str(killed_run.lake), "killed")
    assert published_run(again) == "killed"
    assert published_lists(again) == published_lists(lakehouse)
