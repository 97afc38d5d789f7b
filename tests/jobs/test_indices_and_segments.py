"""Numbers of items say nothing of what is held out, and segments' lists nothing of one user."""

from pathlib import Path

import pandas as pd
from pyspark.sql import SparkSession

from jobs import prepare_interactions
from m6rec import columns as c
from m6rec.config.run import Config, parse_config
from m6rec.fits.fit import Fit
from m6rec.fits.listing import _items_by_segment
from m6rec.lakehouse import Lakehouse


def prepared(
    spark: SparkSession, folder: Path, events: list[tuple[str, str, str]], **sections: object
) -> tuple[Lakehouse, Config]:
    """The tables of job prepare_interactions, of events of user, item and shelf."""
    table = pd.DataFrame(events, columns=["user_id", "item_id", "shelf"])
    table.to_parquet(folder / "events.parquet", index=False)
    interactions = {"source": {"path": str(folder / "events.parquet")}}
    interactions |= sections.pop("interactions", {})  # type: ignore[operator]
    given = {"interactions": interactions, "lake": str(folder / "lake"), **sections}
    config = parse_config(given, "test")
    lakehouse = Lakehouse(spark, config.lake, "run")
    prepare_interactions.run(lakehouse, config)
    return lakehouse, config


def test_items_that_are_held_out_whole_are_not_numbered_by_their_popularity(
    spark: SparkSession, tmp_path: Path
) -> None:
    events = [
        (f"user{user}", f"item{item:02d}", "") for user in range(24) for item in range(24 - user)
    ]
    events += [(user, f"item{23 - int(item[4:]):02d}", "") for user, item, _ in events[:40]]
    split = {"strategy": "cold_items", "validation_strategy": "cold_items"}
    lakehouse, _ = prepared(spark, tmp_path, events, split=split)
    index = lakehouse.read("item_index").orderBy(c.ITEM_INDEX).collect()
    assert [row[c.ITEM_ID] for row in index] == sorted(row[c.ITEM_ID] for row in index)


def test_a_segment_has_lists_in_the_domains_where_it_has_enough_users(
    spark: SparkSession, tmp_path: Path
) -> None:
    events = [(f"user{user}", f"book{item}", "books") for user in range(6) for item in range(4)]
    events += [("user0", f"film{item}", "films") for item in range(4)]
    events += [(f"other{user}", f"film{item}", "films") for user in range(6) for item in range(4)]
    users = [(f"user{user}", "IS") for user in range(6)]
    users += [(f"other{user}", "NO") for user in range(6)]
    pd.DataFrame(users, columns=["user_id", "country"]).to_csv(tmp_path / "users.csv", index=False)
    lakehouse, config = prepared(
        spark,
        tmp_path,
        events,
        interactions={"columns": {"domain": "shelf"}},
        features={"users": {"source": {"path": str(tmp_path / "users.csv")}, "id": "user_id"}},
        recommend={"default_segments": "country", "default_segment_users": 5},
        split={"strategy": "none"},
    )
    fit = Fit(lakehouse, config, c.FINAL)
    found = {
        domain.name: {row[c.SEGMENT]: row[c.USERS] for row in rows.collect()}
        for domain in fit.domains
        if (rows := _items_by_segment(fit, domain)) is not None
    }
    assert found == {"books": {"IS": 6}, "films": {"NO": 6}}
