"""Items that came after a run: lists know them by their attributes, and nothing else changes."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs import score as job
from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.fits.list_maker import KnownOfUsers, ListMaker
from m6rec.lakehouse import PUBLISHED, Lakehouse
from m6rec.publication.folding import FoldIn
from m6rec.publication.repeating import given_of_run, with_own_indices
from m6rec.publication.scoring import GivenUsers
from m6rec.runs import work_of_run
from tests.publication.test_folding import append
from tests.publication.test_scoring import written
from tests.synthetic_shop import Shop

# Items of the catalogue that nobody has, and later ones with the same attributes.
TWINS = {"item-60": "later-60", "item-61": "later-61"}


def with_twins(shop: Shop, place: Path) -> Path:
    """The owner's table of items, to which the twins have been added."""
    items = pd.read_parquet(shop.items)
    twins = items[items["product"].isin(TWINS)].replace({"product": TWINS})
    pd.concat([items, twins]).to_parquet(place, index=False)
    return place


def maker_of(lakehouse: Lakehouse, changes: Mapping[str, Any]) -> ListMaker:
    work = work_of_run(lakehouse)
    given = given_of_run(lakehouse, work).replaced(dict(changes))
    return ListMaker(with_own_indices(lakehouse, work).with_tables_in_memory(), given)


@pytest.fixture(scope="module")
def items(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_twins(shop, tmp_path_factory.mktemp("items") / "items.parquet")


@pytest.fixture(scope="module")
def before(lakehouse: Lakehouse, items: Path) -> ListMaker:
    return maker_of(lakehouse, {"features.items.source.path": str(items)})


@pytest.fixture(scope="module")
def after(before: ListMaker) -> ListMaker:
    return before.with_items_read_anew()


def lists_of(maker: ListMaker, events: DataFrame | None = None) -> pd.DataFrame:
    """The lists without a context of all users whom the run knows, or who have the events."""
    users = maker.index if events is None else maker.users(events.select(c.USER_ID).distinct())
    own = maker.training_events(users) if events is None else events
    rows = maker.rows(KnownOfUsers(users, own, maker.attributes(users)))
    lists = maker.lists(maker.inputs(rows, users), datetime.now(UTC)).toPandas()
    return lists[lists[c.CONTEXT].isna()]


def test_an_item_that_nobody_has_is_scored_alike_whether_it_came_before_the_run_or_after(
    lakehouse: Lakehouse, items: Path, tmp_path: Path
) -> None:
    four = written(pd.DataFrame({"product": [*TWINS, *TWINS.values()]}), tmp_path / "four.parquet")
    maker = maker_of(
        lakehouse,
        {
            "features.items.source.path": str(items),
            "recommend.rules.allowed_items": {"path": four, "item": "product"},
        },
    )
    lists = lists_of(maker.with_items_read_anew())
    assert set(lists[c.ITEM_ID]) == {*TWINS, *TWINS.values()}
    by_item = lists.set_index([c.USER_ID, c.ITEM_ID])
    assert by_item[c.SCORE].nunique() > 10
    for earlier, later in TWINS.items():
        pair = [by_item.xs(item, level=c.ITEM_ID).sort_index() for item in (earlier, later)]
        assert list(pair[0].index) == list(pair[1].index)
        assert pair[0][c.SCORE].to_list() == pytest.approx(pair[1][c.SCORE].to_list(), abs=1e-5)
        for one, two in zip(pair[0][c.PARTS], pair[1][c.PARTS], strict=True):
            assert dict(one) == pytest.approx(dict(two), abs=1e-5)
        assert pair[0]["title"].to_list() == pair[1]["title"].to_list()


def test_items_of_the_run_are_scored_as_before(before: ListMaker, after: ListMaker) -> None:
    assert after.fit.later is not None
    assert set(after.fit.later.item_ids) == set(TWINS.values())
    merged = lists_of(before).merge(lists_of(after), on=[c.USER_ID, c.ITEM_ID])
    assert len(merged) > 800
    assert merged["score_x"].to_list() == pytest.approx(merged["score_y"].to_list(), abs=1e-5)


def of_stranger(spark: SparkSession, item: str) -> DataFrame:
    """An event of a user whom the run does not know."""
    names = [c.USER_ID, c.ITEM_ID, c.EVENT_TIME, c.EVENT_TYPE, c.WEIGHT, c.CONTEXT]
    row = spark.range(1).select(
        F.lit("stranger"), F.lit(item), F.lit(datetime(2025, 6, 1, tzinfo=UTC)),
        F.lit(None).cast("string"), F.lit(4.0), F.lit(None).cast("map<string,string>"),
    )  # fmt: skip
    return row.toDF(*names)


def test_a_later_item_in_a_history_tells_of_its_user_and_is_not_listed_again(
    spark: SparkSession, before: ListMaker, after: ListMaker
) -> None:
    # Item 60 is a drama.
    unknown, known = (lists_of(maker, of_stranger(spark, "later-60")) for maker in (before, after))
    of_twin = lists_of(after, of_stranger(spark, "item-60"))
    assert set(unknown[c.ITEM_ID]) != set(known[c.ITEM_ID])
    assert "later-60" not in set(known[c.ITEM_ID])
    dramas = known["title"].str.contains("drama")
    assert dramas.sum() > unknown["title"].str.contains("drama").sum()
    common = known.merge(of_twin, on=c.ITEM_ID)
    assert len(common) >= len(known) - 1
    assert common["score_x"].to_list() == pytest.approx(common["score_y"].to_list(), abs=1e-4)


@pytest.mark.parametrize("ranker", ["svd", "als", "ridge", "item_neighbours", "transitions"])
def test_items_that_nobody_has_tell_every_member_of_who_has_them(
    spark: SparkSession, lakehouse: Lakehouse, items: Path, ranker: str
) -> None:
    """Both one of the catalogue and one that came after the run; these are dramas."""
    changes = {
        "features.items.source.path": str(items),
        "recommend.ranker": ranker,
        "recommend.contexts": {},
    }
    maker = maker_of(lakehouse, changes).with_items_read_anew()
    for item in ("item-60", "later-60"):
        listed = lists_of(maker, of_stranger(spark, item))
        assert listed["title"].str.contains("drama").sum() >= 8
        kinds = {reason["kind"] for reasons in listed[c.REASONS] for reason in reasons}
        assert "popular" not in kinds


def test_nothing_is_made_anew_where_no_item_has_come(
    lakehouse: Lakehouse, after: ListMaker
) -> None:
    maker = maker_of(lakehouse, {})
    assert maker.with_items_read_anew() is maker
    assert after.with_items_read_anew() is after


def test_a_table_that_cannot_be_read_leaves_the_items_of_before(
    after: ListMaker, items: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = items.read_bytes()
    try:
        pd.read_parquet(items).drop(columns="name").to_parquet(items, index=False)
        assert after.with_items_read_anew() is after
    finally:
        items.write_bytes(whole)
    assert re.search("column name.*; lists know the items of before", capsys.readouterr().err)


def given_items(lakehouse: Lakehouse, items: Path) -> None:
    """Have the run's own configuration name this table of items."""
    given = given_of_run(lakehouse, work_of_run(lakehouse))
    changed = given.replaced({"features.items.source.path": str(items)})
    row = {"given": F.lit(json.dumps(changed.given()))}
    lakehouse.delta_table("runs").update(F.col(c.RUN_ID) == lakehouse.run_id, row)


def test_job_score_lists_later_items_and_counts_their_events_as_known(
    copied: Lakehouse, items: Path, tmp_path: Path
) -> None:
    given_items(copied, items)
    events = pd.DataFrame(
        {"customer": ["stranger"] * 2, "product": ["later-60", "no such item"], "stars": [4.0, 4.0]}
    )
    scored = job.run(
        copied, GivenUsers(written(events, tmp_path / "events.parquet")), str(tmp_path / "lists")
    )
    assert (scored.unknown_events, scored.unknown_items) == (1, 1)


def test_fold_in_looks_for_later_items_once_in_a_while(
    spark: SparkSession, copied: Lakehouse, config: Config, items: Path, shop: Shop, tmp_path: Path
) -> None:
    events = tmp_path / "events"
    append(spark, events, ("stranger", "later-60", 1))
    place = {"path": str(events), "format": "delta"}
    following = config.replaced({"fold_in.source": place, "lake": copied.location})
    own = tmp_path / "own.parquet"
    own.write_bytes(shop.items.read_bytes())
    given_items(copied, own)
    fold_in = FoldIn(copied, following)
    followed = fold_in.follow()
    histories = followed.histories
    own.write_bytes(items.read_bytes())
    assert fold_in._with_items_read_anew(followed) is followed
    # Ten minutes later.
    fold_in._next_items = 0.0
    knowing = fold_in._with_items_read_anew(followed)
    assert knowing.maker.fit.later is not None
    assert fold_in.follow() is knowing
    assert knowing.histories is histories
    fold_in.start(once=True).awaitTermination()
    lists = copied.spark.read.format("delta").load(copied.address(PUBLISHED))
    own_list = lists.where((F.col(c.USER_ID) == "stranger") & F.col(c.CONTEXT).isNull())
    titles = [row["title"] for row in own_list.collect()]
    assert len(titles) == 10 and sum("drama" in title for title in titles) > 5
