"""Numbers of items say nothing of what is held out, and segments' lists nothing of one user."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from jobs import prepare_interactions
from m6rec import columns as c
from m6rec.config.run import Config, parse_config
from m6rec.fits.choices import members_with_weight
from m6rec.fits.fit import Fit, model_row
from m6rec.fits.listing import _items_by_segment, _quota
from m6rec.fits.reranking import reranking_of
from m6rec.fits.rules import items_outside_lists, warn_of_nameless_items
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import HYBRID


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
    # The number in an item's name falls with its popularity, and rises with the name.
    named = [int(row[c.ITEM_ID][4:]) for row in index]
    assert abs(np.corrcoef(named, range(24))[0, 1]) < 0.4


def test_what_a_minimum_of_interactions_leaves_out_is_seen_and_not_learned_from(
    spark: SparkSession, tmp_path: Path
) -> None:
    events = [(f"user{user}", f"item{item}", "") for user in range(6) for item in range(4)]
    events += [("user0", "rare", ""), ("user1", "nameless", "")]
    events += [("newcomer", "item0", ""), ("stranger", "item0", ""), ("newcomer", "rare", "")]
    events += [("tested", "item0", ""), ("tested", "item1", "")]
    tables = {
        "users": pd.DataFrame({"user_id": ["user0", "newcomer"]}),
        "items": pd.DataFrame({"item_id": ["item0", "rare"]}),
        "test": pd.DataFrame({"user_id": ["tested"], "item_id": ["item1"]}),
    }
    given: dict[str, dict[str, object]] = {}
    for name, table in tables.items():
        table.assign(colour="red").to_parquet(tmp_path / f"{name}.parquet", index=False)
        given[name] = {"source": {"path": str(tmp_path / f"{name}.parquet")}}
    features = {side: {**given[side], "id": f"{side[:-1]}_id"} for side in ("users", "items")}
    lakehouse, config = prepared(
        spark,
        tmp_path,
        events,
        interactions={"minimum_user_interactions": 3, "minimum_item_interactions": 3},
        features=features,
        split={"strategy": "provided", "test": given["test"]["source"]},
    )
    fit = Fit(lakehouse, config, c.FINAL)
    users = lakehouse.read("user_index").select(c.USER_INDEX, c.USER_ID)
    names = {row[c.ITEM_INDEX]: row[c.ITEM_ID] for row in lakehouse.rows("catalogue")}
    rows = fit.matrix.join(users, c.USER_INDEX).collect()
    seen = {row[c.USER_ID]: {names[item] for item in row[c.EXCLUDED_INDICES]} for row in rows}
    assert {user: items for user, items in seen.items() if items} == {
        "user0": {"rare"},
        "newcomer": {"item0", "rare"},
        # What is to be found in the test is not known.
        "tested": {"item0"},
    }
    assert "stranger" not in seen and "nameless" not in names.values()
    counts = {names[item]: count for item, count in enumerate(fit.item_counts) if count}
    assert counts == {f"item{item}": 6 for item in range(4)}
    learned = {row[c.USER_ID]: len(row[c.ITEM_INDICES]) for row in rows}
    assert learned == {**{f"user{user}": 4 for user in range(6)}, "newcomer": 0, "tested": 0}


@pytest.mark.parametrize("mask_seen", [True, "positive"])
def test_what_was_refused_for_its_time_alone_is_seen_and_not_learned_from(
    spark: SparkSession, tmp_path: Path, mask_seen: object
) -> None:
    rows = [
        (f"user{user}", f"item{item}", "shelf", f"2024-01-0{1 + item} 10:00:00", "buy")
        for user in range(5)
        for item in range(4)
        if (user, item) not in {(0, 1), (1, 2)}
    ]
    untimed = [
        ("user0", "item1", "shelf", "soon", "buy"),
        ("user1", "item2", "shelf", "2999-01-01 10:00:00", "buy"),
        # Of this pair another event has a time; these are of no item, no interaction or nobody.
        ("user2", "item1", "shelf", "soon", "buy"),
        ("user0", "item9", "shelf", "soon", "buy"),
        ("user1", "item1", "", "soon", "buy"),
        ("user1", "item2", "shelf", "soon", "shown"),
        ("stranger", "item1", "shelf", "soon", "buy"),
    ]
    table = pd.DataFrame([*rows, *untimed], columns=["user_id", "item_id", "shelf", "at", "kind"])
    table.to_parquet(tmp_path / "events.parquet", index=False)
    interactions = {
        "source": {"path": str(tmp_path / "events.parquet")},
        "columns": {"domain": "shelf", "time": "at", "event_type": "kind"},
        "event_weights": {"buy": 1.0},
        "positive_minimum": 1.0,
    }
    recommend = {"rules": {"mask_seen": mask_seen}}
    given = {"interactions": interactions, "lake": str(tmp_path / "lake"), "recommend": recommend}
    config = parse_config(given, "test")
    lakehouse = Lakehouse(spark, config.lake, "run")
    prepare_interactions.run(lakehouse, config)
    users = {row[c.USER_INDEX]: row[c.USER_ID] for row in lakehouse.rows("user_index")}
    names = {row[c.ITEM_INDEX]: row[c.ITEM_ID] for row in lakehouse.rows("catalogue")}
    seen = {
        (row[c.FIT], users[row[c.USER_INDEX]], names[item])
        for row in lakehouse.rows("user_item_matrix")
        for item in row[c.EXCLUDED_INDICES]
    }
    pairs = {("user0", "item1"), ("user1", "item2")}
    in_domain = {item[-5:]: item for item in names.values()}
    expected = {(fit, user, in_domain[item]) for fit in c.FITS for user, item in pairs}
    assert seen == (expected if mask_seen is True else set())


def test_a_segment_has_lists_in_the_domains_where_it_has_enough_users(
    spark: SparkSession, tmp_path: Path
) -> None:
    events = [(f"user{user}", f"book{item}", "books") for user in range(6) for item in range(4)]
    events += [("user0", f"film{item}", "films") for item in range(4)]
    events += [(f"other{user}", f"film{item}", "films") for user in range(6) for item in range(4)]
    # The codes of countries as pandas writes them where one is missing.
    users = [(f"user{user}", 354.0) for user in range(6)]
    users += [(f"other{user}", 47.0) for user in range(6)] + [("nobody", float("nan"))]
    table = pd.DataFrame(users, columns=["user_id", "country"])
    table.to_parquet(tmp_path / "users.parquet", index=False)
    lakehouse, config = prepared(
        spark,
        tmp_path,
        events,
        interactions={"columns": {"domain": "shelf"}},
        features={"users": {"source": {"path": str(tmp_path / "users.parquet")}, "id": "user_id"}},
        recommend={"default_segments": "country", "default_segment_users": 5},
        split={"strategy": "none"},
    )
    fit = Fit(lakehouse, config, c.FINAL)
    found = {
        domain.name: {row[c.SEGMENT]: row[c.USERS] for row in rows.collect()}
        for domain in fit.domains
        if (rows := _items_by_segment(fit, domain)) is not None
    }
    assert found == {"books": {"354": 6}, "films": {"47": 6}}


def test_each_value_of_a_column_of_lists_is_a_segment(spark: SparkSession, tmp_path: Path) -> None:
    events = [(f"user{user}", f"item{item}", "") for user in range(4) for item in range(3)]
    hobbies = [["music"], ["cooking", "music", "music"], ["music", "cooking"], None]
    users = pd.DataFrame({"user_id": [f"user{user}" for user in range(4)], "hobbies": hobbies})
    users.to_parquet(tmp_path / "users.parquet", index=False)
    lakehouse, config = prepared(
        spark,
        tmp_path,
        events,
        features={"users": {"source": {"path": str(tmp_path / "users.parquet")}, "id": "user_id"}},
        recommend={"default_segments": "hobbies", "default_segment_users": 2},
        split={"strategy": "none"},
    )
    rows = _items_by_segment(Fit(lakehouse, config, c.FINAL), None)
    assert rows is not None
    assert {(row[c.SEGMENT], row[c.USERS]) for row in rows.collect()} == {
        ("music", 3),
        ("cooking", 2),
    }


def test_a_column_of_domains_has_any_case_in_the_tables_of_items_and_rules(
    spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    events = [(f"user{user}", f"{item}", "books") for user in range(4) for item in range(4)]
    events += [(f"user{user}", f"{item}", "films") for user in range(4) for item in range(4)]
    items = [
        (str(item), shelf, f"maker {item % 2}") for item in range(4) for shelf in ("books", "films")
    ]
    columns = ["item_id", "Shelf", "maker"]
    pd.DataFrame(items, columns=columns).to_csv(tmp_path / "items.csv", index=False)
    withdrawn = pd.DataFrame([("1", "books"), ("2", None)], columns=["item_id", "SHELF"])
    withdrawn.to_csv(tmp_path / "withdrawn.csv", index=False)
    rule = {"path": str(tmp_path / "withdrawn.csv")}
    lakehouse, config = prepared(
        spark,
        tmp_path,
        events,
        interactions={"columns": {"domain": "shelf"}},
        features={"items": {"source": {"path": str(tmp_path / "items.csv")}, "id": "item_id"}},
        recommend={
            "rules": {"at_most": {"column": "maker", "count": 1}, "excluded_items": rule},
            "diversity": {"column": "maker", "strength": 0.5},
        },
        split={"strategy": "none"},
    )
    fit = Fit(lakehouse, config, c.FINAL)
    reranking = reranking_of(fit)
    assert reranking is not None
    assert np.diff(reranking.limited.indptr).tolist() == [1] * 8
    quota = _quota(fit)
    assert quota is not None
    assert quota.values.count() == 8
    masked = items_outside_lists(fit)
    names = {
        row[c.ITEM_ID]
        for row in lakehouse.read("item_index").collect()
        if masked[row[c.ITEM_INDEX]]
    }
    assert names == {"books/1"}
    # It was meant for both shelves, perhaps; the owner has to say so.
    warn_of_nameless_items(fit)
    assert "1 rows of table" in capfd.readouterr().err


def test_a_night_needs_the_members_of_domains_before_it_knows_them(
    spark: SparkSession, tmp_path: Path
) -> None:
    source = {"path": str(tmp_path / "events.parquet")}
    interactions = {"source": source, "columns": {"domain": "shelf"}}
    config = parse_config({"interactions": interactions, "lake": str(tmp_path / "lake")}, "test")
    lakehouse = Lakehouse(spark, config.lake, "night")
    names = ["als", "own_als", "own_ridge", "popularity"]
    chosen = {
        "members": names,
        "weights": [1.0, 0.0, 0.0, 0.001],
        "domains": {"books": [0.0, 1.0, 0.0, 0.001]},
        "deviations": [1.0] * 4,
        "item_factors": [[1.0] * 4] * 4,
        "user_factors": [[1.0] * 4] * 4,
    }
    row = {"kind": HYBRID, **model_row(HYBRID, chosen)}
    lakehouse.write_rows("models", [row], fit=c.SELECTION)
    found = members_with_weight(Fit(lakehouse, config, c.SELECTION), HYBRID)
    assert set(found) == {"als", "own_als", "popularity"}
