"""Ten nights in a row on a table that grows and changes, with the choices of the first night."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs import keep_choices
from jobs.nightly import run_nightly, train_and_rank
from jobs.pipeline import for_its_size
from jobs.rerun import rerun
from m6rec import columns as c
from m6rec.config.run import Config, parse_config
from m6rec.fits.earlier import EarlierRun
from m6rec.fits.fit import Fit
from m6rec.fits.listing import read_explaining
from m6rec.kernels.factors.projection import project
from m6rec.lakehouse import Lakehouse
from m6rec.publication.forgetting import forget
from m6rec.publication.publishing import published_run, read_published
from m6rec.runs import work_of_run
from m6rec.schemas import TABLES
from m6rec.spark.arrow_rows import rows_from_batch
from m6rec.spark.runtimes import arrow_table
from tests.finished_runs import copy_run
from tests.first_night import publish_first_night
from tests.synthetic_shop import published_lists

NIGHTS = 10
LAST_NIGHT = f"night-{NIGHTS - 1}"
USERS, ITEMS = 30, 24
TOP_N = 5
FEW_DELETED_AT, WITHDRAWN_AT, GONE_AT, FORGOTTEN_AT = 3, 4, 6, 7
WITHDRAWN, GONE, FORGOTTEN = "item-0", "item-5", "user-3"
RETENTION = 2
FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)


class GrowingShop:
    """The owner's tables, as they are on each night."""

    def __init__(self, folder: Path) -> None:
        self.interactions, self.withdrawn = folder / "events.parquet", folder / "withdrawn.parquet"
        self._rng = np.random.default_rng(5)
        self._catalogue = np.arange(ITEMS)
        self._events = [
            (f"user-{user}", f"item-{item}", 0)
            for user in range(USERS)
            for item in self._items_of(user, 6)
        ]

    def write(self, night: int) -> None:
        """A day's events: a new user, a new item, one that comes late, and what was deleted."""
        newcomer, novelty = USERS + night, f"item-{ITEMS + night}"
        if night == GONE_AT:
            self._catalogue = self._catalogue[self._catalogue != int(GONE.removeprefix("item-"))]
        self._events += [
            (f"user-{newcomer}", f"item-{i}", night) for i in self._items_of(newcomer, 5)
        ]
        taste = [f"user-{user}" for user in range(USERS) if user % 2 == night % 2]
        fans = [user for user in self._rng.permutation(taste) if user != FORGOTTEN][:10]
        self._events += [(user, novelty, night) for user in fans]
        self._events.append((f"user-{night}", f"item-{(night + 8) % ITEMS}", -night))
        if night == FEW_DELETED_AT:
            self._events = [one for one in self._events if one[0] != "user-8" or one[2] < 0]
        if night == GONE_AT:
            self._events = [one for one in self._events if one[1] != GONE]
        if night == FORGOTTEN_AT:
            self._events = [one for one in self._events if one[0] != FORGOTTEN]
        frame = pd.DataFrame(self._events, columns=["user_id", "item_id", "day"]).drop_duplicates(
            ["user_id", "item_id"]
        )
        frame["at"] = FIRST_DAY + pd.to_timedelta(frame.pop("day"), unit="D")
        frame.to_parquet(self.interactions, coerce_timestamps="us", allow_truncated_timestamps=True)
        withdrawn = [WITHDRAWN] if night >= WITHDRAWN_AT else ["item-of-another-shop"]
        pd.DataFrame({"item_id": withdrawn}).to_parquet(self.withdrawn)

    def _items_of(self, user: int, number: int) -> list[int]:
        own = self._catalogue[self._catalogue % 2 == user % 2]
        return self._rng.choice(own, number, replace=False).tolist()


@dataclass
class Seen:
    """What was there after a night."""

    users: dict[str, int]
    items: dict[str, int]
    factors_of_items: dict[str, np.ndarray]
    factors_of_users: dict[str, np.ndarray]
    histories: dict[str, frozenset[int]]
    lists: dict[str, list[str]]
    runs: set[str]
    artifacts: set[str]


@dataclass
class Nights:
    """All of them."""

    config: Config
    lakehouse: Lakehouse
    seen: list[Seen] = field(default_factory=list)
    runs_at_the_end: dict[str, set[str]] = field(default_factory=dict)


def runs_in(lakehouse: Lakehouse, table: str) -> set[str]:
    rows = lakehouse.delta_table(table).toDF().select("run_id").distinct()
    return {row[0] for row in rows.collect()}


def look(of_night: Lakehouse, config: Config) -> Seen:
    with for_its_size(of_night, config) as lakehouse:
        return seen_in(lakehouse, config)


def seen_in(lakehouse: Lakehouse, config: Config) -> Seen:
    fit = Fit(lakehouse, config, c.FINAL)
    users, items = (
        {row[id_name]: row[name] for row in lakehouse.rows(name)}
        for name, id_name in (("user_index", c.USER_ID), ("item_index", c.ITEM_ID))
    )
    model = fit.factor_model("als")
    [batch] = arrow_table(fit.matrix.coalesce(1)).combine_chunks().to_batches()
    rows = rows_from_batch(batch)
    vectors, user_ids = project(model, rows), {index: name for name, index in users.items()}
    named = [user_ids[index] for index in rows.user_index.tolist()]
    lists: dict[str, list[str]] = {}
    for user, _, _, item in published_lists(lakehouse):
        lists.setdefault(user, []).append(item)
    return Seen(
        users,
        items,
        {name: model.factors[index] for name, index in items.items()},
        dict(zip(named, vectors, strict=True)),
        {
            name: frozenset(rows.item_indices[rows.indptr[k] : rows.indptr[k + 1]].tolist())
            for k, name in enumerate(named)
        },
        lists,
        runs_in(lakehouse, "recommendations"),
        {place.name for place in Path(lakehouse.artifact_path("x")).parent.parent.glob("*")},
    )


@pytest.fixture(scope="module")
def nights(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    folder = tmp_path_factory.mktemp("nights")
    shop = GrowingShop(folder)
    shop.write(0)
    config = parse_config(
        {
            "lake": str(folder / "lake"),
            "interactions": {
                "source": {"path": str(shop.interactions), "format": "parquet"},
                "columns": {"time": "at"},
            },
            "split": {"strategy": "none"},
            "factors": {"als": {"rank": 5, "iterations": 30}},
            "recommend": {
                "ranker": "als",
                "top_n": TOP_N,
                "rules": {"excluded_items": {"path": str(shop.withdrawn), "format": "parquet"}},
            },
            "retention": {"runs": RETENTION, "days": 0},
            # Each has tests of its own, and ten times they take a while.
            "guards": dict.fromkeys(("drift", "new_users", "new_items", "effective_rank"), "off"),
        },
        "test",
    )
    lakehouse = Lakehouse(spark, config.lake, "night-0")
    publish_first_night(lakehouse, config)
    found = Nights(config, lakehouse, [look(lakehouse, config)])
    for night in range(1, NIGHTS):
        shop.write(night)
        if night == FORGOTTEN_AT:
            ids = spark.createDataFrame([(FORGOTTEN,)], "user_id string")
            forget(lakehouse.for_run("forgetting"), config, ids)
        own = run_nightly(spark, config, f"night-{night}", folder / "output")
        found.seen.append(look(own, config))
        found.lakehouse = own
    for table in ("item_factors", "user_item_matrix", "models"):
        found.runs_at_the_end[table] = runs_in(own, table)
    yield found


def test_users_and_items_keep_their_index(nights: Nights) -> None:
    for before, after in zip(nights.seen, nights.seen[1:], strict=False):
        assert {before.items[name] for name in before.items} <= set(after.items.values())
        assert all(after.items[name] == index for name, index in before.items.items())
        left = {name: after.users.get(name) for name in before.users}
        assert {n for n, index in left.items() if index != before.users[n]} <= {FORGOTTEN}


def test_factors_of_who_has_not_changed_keep_their_meaning(nights: Nights) -> None:
    for before, after in zip(nights.seen, nights.seen[1:], strict=False):
        same = [
            name
            for name, row in before.histories.items()
            if row and after.histories.get(name) == row
        ]
        assert len(same) > USERS / 3
        then, now = (
            np.array([seen.factors_of_users[name] for name in same]) for seen in (before, after)
        )
        cosines = (
            (then * now).sum(axis=1) / np.linalg.norm(then, axis=1) / np.linalg.norm(now, axis=1)
        )
        print(np.round(np.quantile(cosines, [0, 0.1, 0.5]), 3))
        assert np.median(cosines) > 0.95


def test_new_users_and_new_items_are_in_the_lists_of_their_first_night(nights: Nights) -> None:
    for night, seen in enumerate(nights.seen):
        assert len(seen.lists[f"user-{USERS + night}"]) == TOP_N
        listed = {item for items in seen.lists.values() for item in items}
        assert f"item-{ITEMS + night}" in listed


def test_an_item_that_is_withdrawn_or_gone_is_never_listed(nights: Nights) -> None:
    for night, seen in enumerate(nights.seen):
        listed = {item for items in seen.lists.values() for item in items}
        assert (WITHDRAWN in listed) == (night < WITHDRAWN_AT)
        assert (GONE in listed) == (night < GONE_AT)


def test_a_forgotten_user_is_in_no_later_night(nights: Nights) -> None:
    for night, seen in enumerate(nights.seen):
        known = FORGOTTEN in seen.users
        assert known == (FORGOTTEN in seen.lists) == (night < FORGOTTEN_AT)


def test_retention_bounds_runs_files_and_artifacts(nights: Nights) -> None:
    for night, seen in enumerate(nights.seen[RETENTION + 1 :], start=RETENTION + 1):
        kept = {f"night-{night - back}" for back in range(RETENTION)}
        assert seen.runs == kept
        assert {name for name in seen.artifacts if name.startswith("night")} <= kept
    assert all(runs == kept for runs in nights.runs_at_the_end.values())
    details = [
        nights.lakehouse.delta_table(name).detail().select("numFiles").collect()[0][0]
        for name in TABLES
        if nights.lakehouse.exists(name) and not TABLES[name].shared
    ]
    assert max(details) <= 8 * RETENTION


def test_the_last_night_equals_a_run_that_starts_from_nothing_with_the_same_choices(
    nights: Nights,
) -> None:
    """In nine of ten places of the lists: four iterations on earlier factors against thirty."""
    fresh = nights.lakehouse.for_run("fresh")
    cold = nights.config.replaced({"nightly.warm_start": False})
    with for_its_size(fresh, cold) as tables:
        train_and_rank(tables, cold, LAST_NIGHT)
    last, other = nights.seen[-1], look(fresh, cold)
    shares = [
        len(set(last.lists[user]) & set(items)) / TOP_N for user, items in other.lists.items()
    ]
    print(np.mean(shares))
    assert last.lists.keys() == other.lists.keys()
    assert np.mean(shares) > 0.9


def test_a_night_trains_als_alone_and_says_whose_choices_it_keeps(
    spark: SparkSession, nights: Nights
) -> None:
    assert published_run(nights.lakehouse) == LAST_NIGHT
    assert read_published(spark, nights.config.lake, "recommendations").count() > 0
    jobs = {row["job"] for row in work_of_run(nights.lakehouse)}
    assert jobs == {"keep_choices", "prepare_interactions", "train_factors", "recommend"}


def test_a_night_is_made_again_from_the_night_before(spark: SparkSession, nights: Nights) -> None:
    assert rerun(spark, nights.config, LAST_NIGHT, "again").are_equal


def test_neighbours_of_cold_items_outlast_a_night_whose_ranker_does_without(
    copied: Lakehouse, config: Config
) -> None:
    copy_run(copied, "runs", "ridge-night")
    rankers = {"ridge-night": "ridge", "als-night": "als"}
    kept_from = copied.run_id
    for run_id, ranker in rankers.items():
        given = config.replaced({"recommend": {"ranker": ranker}})
        keep_choices.run(copied.for_run(run_id), given, kept_from)
        kept_from = run_id

    def carried(run_id: str) -> int:
        rows = copied.for_run(run_id).read("item_neighbours", fit=c.FINAL)
        return rows.where(F.col(c.METHOD) == "content_neighbours").count()

    assert carried("ridge-night") == 0
    assert carried("als-night") == carried(copied.run_id) > 0


def test_a_night_without_features_explains_its_lists_in_a_lake_that_has_some(
    copied: Lakehouse, config: Config
) -> None:
    copy_run(copied, "catalogue", "bare-night")
    explaining = read_explaining(Fit(copied.for_run("bare-night"), config, c.FINAL))
    assert explaining.content_places is None
    assert len(explaining.titles) > 0


def test_a_run_that_goes_on_from_itself_turns_no_feature(copied: Lakehouse, config: Config) -> None:
    fit = Fit(copied, config, c.FINAL)
    earlier = EarlierRun(fit, als_iterations=4, tower_epochs=0.5).towers(fit, "als", epochs=4)
    assert earlier is not None
    assert (earlier.first_epoch, earlier.epochs) == (2, 2)
    for side, known in (("users", earlier.users), ("items", earlier.items)):
        named = fit.model("features", side)["feature_names"]
        assert len(known.plain) == len(named) > 0
        np.testing.assert_allclose(known.plain, np.eye(len(named)), atol=1e-4)
