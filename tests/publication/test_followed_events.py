"""Which events of a followed table a batch of few users gets, beside those that the run has."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from m6rec.config.base import TableSource
from m6rec.fits.list_maker import EVENT_COLUMNS
from m6rec.fits.sources import Events
from m6rec.job_records import FORGET
from m6rec.lakehouse import Lakehouse
from m6rec.publication.followed_events import FollowedEvents
from m6rec.runs import Attempt
from tests.finished_runs import config_of, finished_runs

EVENTS = (
    "user_id string, item_id string, event_time timestamp, event_type string, weight double,"
    " context map<string, string>"
)


def append(spark: SparkSession, place: Path, item: str) -> None:
    frame = spark.createDataFrame([("user", item, None, None, 1.0, None)], EVENTS)
    frame.write.format("delta").mode("append").save(str(place))


def cleaned(_: Events, rows: DataFrame) -> Any:
    others = [f"null {name}" for name in EVENT_COLUMNS if name not in ("user_id", "item_id")]
    return SimpleNamespace(interactions=rows.selectExpr("user_id", "item_id", *others))


@pytest.mark.parametrize(
    ("forgotten", "found"), [("before", ["later"]), ("since", ["later", "read"])]
)
def test_where_users_were_forgotten_since_the_run_began_no_event_is_left_to_the_run(
    spark: SparkSession, tmp_path: Path, forgotten: str, found: list[str]
) -> None:
    config, events = config_of(str(tmp_path / "lake")), tmp_path / "events"
    forgetting = Attempt(Lakehouse(spark, config.lake, "receipt"), config, FORGET.name)
    if forgotten == "before":
        forgetting.add({})
    [run] = finished_runs(spark, config, "run")
    if forgotten == "since":
        forgetting.add({})
    append(spark, events, "read")
    append(spark, events, "later")

    maker: Any = SimpleNamespace(
        fit=SimpleNamespace(lakehouse=run, config=config),
        events_of_run=SimpleNamespace(reading=None),
        cleaned=cleaned,
    )
    source = TableSource(path=str(events), format="delta")
    rows = FollowedEvents(spark, source, maker, first_version=1).of_few(["user"]).collect()
    assert sorted(row["item_id"] for row in rows) == found
