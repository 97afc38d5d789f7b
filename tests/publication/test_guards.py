"""What guards measure, on the finished run and on lists made by hand."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs import publish
from m6rec import columns as c
from m6rec.command_line import errors_as_messages
from m6rec.config.data import AttributesSource
from m6rec.config.publication import GuardsConfig
from m6rec.config.run import Config
from m6rec.errors import GuardError
from m6rec.fits.fit import Fit
from m6rec.kernels.arrays.categories import item_categories, no_categories
from m6rec.kernels.arrays.likeness import ItemLikeness
from m6rec.kernels.arrays.rows import Float64
from m6rec.kernels.publication.drift import NO_WORD, drift_of_words, profile_of_words
from m6rec.kernels.ranking.members import DotMember
from m6rec.kernels.ranking.reranking import Reranking
from m6rec.lakehouse import PUBLISHED, Lakehouse
from m6rec.publication import guards
from m6rec.publication.guards import GUARDS
from m6rec.publication.publishing import published_run, rollback
from m6rec.spark.session import with_settings
from m6rec.stages.publication.lists import (
    ListCounts,
    count_beyond_quota,
    count_lists,
    count_lists_outside,
    shared_places,
)
from m6rec.stages.publication.profiles import (
    largest_drift,
    numbers_of_attributes,
    profiles_of,
    words_of,
    words_of_vectors,
)
from m6rec.stages.publication.validation import ndcg_by_user, paired_change
from tests.finished_runs import config_of, copy_run, finished_runs
from tests.synthetic_shop import Shop


def lists(spark: SparkSession, unknown: str = "", **items_of_users: str) -> DataFrame:
    """A list for each user, and one for whoever is unknown; an item for each letter."""
    rows = [
        (user, None, None, None, rank, item)
        for user, items in {**items_of_users, None: unknown}.items()
        for rank, item in enumerate(items, start=1)
    ]
    columns = (
        "user_id string, segment string, context string, domain string, rank int, item_id string"
    )
    return spark.createDataFrame(rows, columns)


def test_guards_stand_in_the_order_of_the_configuration() -> None:
    fields = [name for name in GuardsConfig.model_fields if name != "last_runs"]
    assert [record.name for record in GUARDS] == fields


@pytest.mark.parametrize("ansi", ["true", "false"])
def test_lists_are_counted(spark: SparkSession, ansi: str) -> None:
    items = spark.createDataFrame(
        [(item, index, None, item != "d") for index, item in enumerate("abcd")],
        "item_id string, item_index long, domain string, allowed boolean",
    )
    users = spark.createDataFrame(
        [("ann", []), ("bob", [0]), ("cid", [0, 1]), ("dan", []), ("eve", [])],
        "user_id string, held_back array<long>",
    )
    # bob has a already; cid may have but one item; dan has d, which is not allowed, and a twice;
    # x is unknown; eve has no list. Of the list for unknown users, y is unknown.
    found = lists(spark, "ya", ann="ab", bob="ab", cid="c", dan="daa", fay="x")
    # Before Spark 4, the size of nothing is a number.
    with with_settings(spark, {"spark.sql.ansi.enabled": ansi}):
        counted = count_lists(found, users, items, {None: 2})
    assert counted == ListCounts(
        eligible=4,
        full=3,
        unknown=2,
        forbidden=2,
        duplicate=1,
        allowed_items=3,
        listed_items=3,
        places=9,
        most_listed_places=9,
    )


def test_items_of_a_user_that_no_list_may_hold_are_not_missed_twice(spark: SparkSession) -> None:
    items = spark.createDataFrame(
        [(item, index, None, item in "ab") for index, item in enumerate("abcd")],
        "item_id string, item_index long, domain string, allowed boolean",
    )
    # Of ann's items c and d are withdrawn, and 9 has left the catalogue; bob has had a.
    users = spark.createDataFrame(
        [("ann", [2, 3, 9]), ("bob", [0, 2])], "user_id string, held_back array<long>"
    )
    counted = count_lists(lists(spark, ann="ab"), users, items, {None: 2})
    assert (counted.eligible, counted.full) == (1, 1)


def test_a_list_is_full_where_those_of_all_contexts_are_there_and_full(spark: SparkSession) -> None:
    items = spark.createDataFrame(
        [(item, index, None, True) for index, item in enumerate("abc")],
        "item_id string, item_index long, domain string, allowed boolean",
    )
    users = spark.createDataFrame(
        [(name, []) for name in ("ann", "bob", "eve", "fay")],
        "user_id string, held_back array<long>",
    )
    # In the morning eve's list is short, and bob has none; fay has no list at all.
    anyhow = lists(spark, ann="ab", bob="ab", eve="ab")
    in_the_morning = lists(spark, ann="bc", eve="a").withColumn("context", F.lit("morning"))
    found = anyhow.unionByName(in_the_morning)
    counted = count_lists(found, users, items, {None: 2}, contexts=1)
    assert (counted.eligible, counted.full) == (4, 1)


def test_what_is_beyond_a_quota_is_counted_in_each_list(spark: SparkSession) -> None:
    brands = {"a": "x", "b": "x", "c": "x", "d": "y", "e": "y"}
    values = spark.createDataFrame(list(brands.items()), "item_id string, value string")
    found = lists(spark, ann="abd", bob="abcde", eve="f")
    assert count_beyond_quota(found, values, 2) == 1
    assert count_beyond_quota(found, values, 1) == 1 + 3


def test_a_list_is_full_where_the_quota_lets_no_item_into_it(spark: SparkSession) -> None:
    genres = {"a": "xy", "b": "x", "c": "y", "d": "z", "e": "z", "u": "w"}
    items = spark.createDataFrame(
        [(item, index, None, item != "u") for index, item in enumerate("abcdeu")],
        "item_id string, item_index long, domain string, allowed boolean",
    )
    pairs = [(index, "wxyz".index(one)) for index, of in enumerate(genres.values()) for one in of]
    item, genre = (np.array(column) for column in zip(*pairs, strict=True))
    limited = item_categories(item, genre.astype(np.int32), 6, 4)
    alike = ItemLikeness(np.zeros((6, 0), np.float32), no_categories(6))
    quota = Reranking(6, 0.0, alike, 0.0, no_categories(6), 1, limited)
    users = spark.createDataFrame(
        [("ann", []), ("bob", []), ("cid", [2]), ("dan", [2]), ("eve", [])],
        "user_id string, held_back array<long>",
    )
    # After a and d, nothing is left of x, y and z. Bob may have c as well, which cid has had. Dan's
    # list lacks one of z, and eve has none.
    found = lists(spark, ann="ad", bob="bd", cid="bd", dan="b")
    counted = count_lists(found, users, items, {None: 3}, quota)
    assert (counted.eligible, counted.full) == (5, 2)
    assert count_lists(found, users, items, {None: 3}).full == 0
    in_film = items.withColumn("domain", F.lit("film"))
    of_film = found.withColumn("domain", F.lit("film"))
    ids = in_film.withColumn("item_id", F.concat(F.lit("film/"), "item_id"))
    counted = count_lists(of_film, users, ids, {"film": 3}, quota)
    assert (counted.eligible, counted.full) == (5, 2)


def test_a_list_is_missed_in_each_domain_that_has_enough_items_for_it(spark: SparkSession) -> None:
    # Shop has four items, film three and book, one item, has too few for anybody.
    items = spark.createDataFrame(
        [(f"shop/{item}", index, "shop", True) for index, item in enumerate("abcd")]
        + [(f"film/{item}", index, "film", True) for index, item in enumerate("xyz", start=4)]
        + [("book/b", 7, "book", True)],
        "item_id string, item_index long, domain string, allowed boolean",
    )
    users = spark.createDataFrame(
        [("ann", [0]), ("bob", [4, 5]), ("eve", [])], "user_id string, held_back array<long>"
    )
    found = (
        lists(spark, ann="bc", bob="cd", eve="a")
        .withColumn("domain", F.lit("shop"))
        .unionByName(lists(spark, ann="xy").withColumn("domain", F.lit("film")))
    )
    counted = count_lists(found, users, items, {"shop": 2, "film": 2, "book": 2})
    # Of films one is left for bob. Eve lacks both lists, of which one is short and one not there.
    assert (counted.eligible, counted.full) == (5, 3)


def test_lists_of_a_domain_that_is_gone_are_counted_for_users_who_are_still_there(
    spark: SparkSession,
) -> None:
    found = lists(spark, "x", ann="bc", bob="cd", eve="a").withColumn("domain", F.lit("film"))
    found = found.union(found.withColumn("context", F.lit("by phone")))
    users = spark.createDataFrame([("ann",), ("eve",)], "user_id string")
    assert count_lists_outside(found, users, ["shop"]) == {"film": 2}
    assert count_lists_outside(found, users, ["shop", "film"]) == {}


def test_within_a_domain_a_quota_is_of_the_items_of_that_domain(spark: SparkSession) -> None:
    brands = {"shop/a": "x", "shop/b": "x", "a": "x", "film/b": "y"}
    values = spark.createDataFrame(list(brands.items()), "item_id string, value string")
    found = lists(spark, ann="ab").withColumn("domain", F.lit("shop"))
    assert count_beyond_quota(found, values, 1) == 1


def test_the_overlap_is_the_mean_share_over_lists_of_both(spark: SparkSession) -> None:
    ours = lists(spark, ann="ab", bob="abcd", eve="a")
    theirs = lists(spark, ann="bx", bob="dcba", fay="a")
    assert shared_places(ours, theirs) == (2, 1.5)


def test_without_any_published_list_of_the_same_users_the_overlap_is_nothing(
    spark: SparkSession,
) -> None:
    runs = [
        SimpleNamespace(read=lambda _, rows=rows: rows, exists=lambda _: True)
        for rows in (lists(spark, "x", ann="ab"), lists(spark, "x", bob="ab"))
    ]
    subject = SimpleNamespace(lakehouse=runs[0], published=runs[1])
    nothing = guards.Measured(0.0, detail="no list has a published one")
    assert guards._of_overlap(subject) == {"overlap": nothing}  # type: ignore[arg-type]


def test_validation_is_compared_over_users_of_both_runs(spark: SparkSession) -> None:
    def measured(items: dict[int, list[int]], held_out: dict[int, list[int]]) -> DataFrame:
        schema = "user_index long, item_indices array<int>"
        return ndcg_by_user(
            spark.createDataFrame(list(items.items()), schema),
            spark.createDataFrame(list(held_out.items()), schema),
            2,
        )

    earlier = measured({1: [5, 6], 2: [7], 3: [5]}, {1: [5], 2: [7], 3: [5]})
    now = measured({1: [6, 5], 2: [7, 8, 9], 4: [5]}, {1: [5], 2: [9], 4: [5]})
    change = paired_change(earlier, now)
    assert (change.users, change.earlier) == (2, 2.0)
    assert change.now == pytest.approx(0.6309, abs=1e-4)
    assert change.squares == pytest.approx(1 + (1 - 0.6309) ** 2, abs=1e-4)


def test_validation_is_compared_at_a_depth_that_both_runs_have(
    spark: SparkSession, tmp_path: Path
) -> None:
    config = config_of(str(tmp_path), evaluate={"ks": [20]})
    before, now = finished_runs(spark, config, "before", "now")
    longer = config.replaced({"evaluate.ks": [10, 50]})
    held_out = spark.sql(
        "select 0L user_index, explode(array(0L, 30L)) item_index, 1D weight, 1D rating,"
        " cast(null as timestamp) event_time, true positive, 'validation' fold"
    )
    # The longer list has a second hit, beyond the depth of the other.
    for run, length in ((before, 20), (now, 50)):
        run.write("splits", held_out)
        ranked = f"sequence(0L, {length - 1}L) item_indices"
        scores = f"array_repeat(1F, {length}) scores"
        row = spark.sql(
            f"select 'hybrid' model, 0L user_index, cast(null as string) domain, {ranked}, {scores}"
        )
        run.write("lists", row, fit=c.SELECTION)
    subject = SimpleNamespace(
        published=before, lakehouse=now, config=longer, selection=Fit(now, longer, c.SELECTION)
    )

    measured = guards._of_validation(subject)["validation_ndcg"]  # type: ignore[arg-type]

    assert measured.measured == measured.reference == pytest.approx(1 / (1 + 1 / np.log2(3)))
    assert measured.detail.startswith("NDCG@20 ")

    # Lists within domains hold other items than those of all items.
    subject.config = longer.replaced({"interactions.columns.domain": "market"})
    measured = guards._of_validation(subject)["validation_ndcg"]  # type: ignore[arg-type]
    assert measured.value is None
    assert "named no column for interactions.columns.domain" in measured.detail


def test_the_finished_run_was_measured_before_it_was_published(
    lakehouse: Lakehouse, shop: Shop
) -> None:
    rows = {row["guard"]: row for row in lakehouse.read("guard_results").collect()}
    assert set(rows) == {record.name for record in GUARDS}
    assert {name for name, row in rows.items() if row["outcome"] == "not measured"} == {
        "overlap", "validation_ndcg", "rows_in", "new_users", "new_items", "freshness", "drift",
    }  # fmt: skip
    assert {row["outcome"] for row in rows.values()} <= {"passed", "not measured", "warned"}
    assert rows["full_lists"][c.VALUE] == 1.0
    events = len(pd.read_parquet(shop.interactions))
    # Five broken rows, and one that stands there twice.
    assert rows["rows_in"]["measured"] == events - 6
    assert rows["quarantine"][c.VALUE] == pytest.approx(6 / events)
    assert rows["effective_rank"][c.VALUE] > 5.0


def test_a_run_that_went_wrong_is_stopped_and_readers_keep_their_lists(
    spark: SparkSession, copied: Lakehouse, config: Config
) -> None:
    collapsed = F.array_repeat(F.lit(1.0).cast("float"), F.size("embedding").cast("int"))
    changes: dict[str, dict[str, Column]] = {
        "lists": {"item_indices": F.reverse("item_indices")},
        "item_embeddings": {"embedding": collapsed},
        "interactions": {"weight": F.lit(1.0), "event_time": F.lit(None).cast("timestamp")},
        "recommendations": {"item_id": F.when(F.col("rank") == 1, "?").otherwise(F.col("item_id"))},
    }
    same = ("catalogue", "user_item_matrix", "splits", "user_features", "item_features", "models")
    for table in (*same, "quarantine", *changes):
        copy_run(copied, table, "wrong", **changes.get(table, {}))
    work = copied.delta_table("runs").toDF().where("run_id = 'first' and job != 'publish'")
    rows = work.withColumn("run_id", F.lit("wrong"))
    rows.write.format("delta").mode("append").save(copied.address("runs"))
    wrong = copied.for_run("wrong")

    with pytest.raises(GuardError) as stopped:
        publish.run(wrong, config)

    message = str(stopped.value)
    lists_of_all = wrong.read("recommendations").where("rank = 1").count()
    assert f"guard unknown_items: {lists_of_all}, expected" in message
    assert "expected at most 0; look at" in message
    assert "guard effective_rank: 1 (of " in message
    assert published_run(wrong) == "first"
    lists = spark.read.format("delta").load(copied.address(PUBLISHED))
    assert {row["run_id"] for row in lists.select("run_id").distinct().collect()} == {"first"}
    rows = {row["guard"]: row for row in wrong.read("guard_results").collect()}
    outcomes = {name: row["outcome"] for name, row in rows.items()}
    assert {name for name, outcome in outcomes.items() if outcome == "stopped"} >= {
        "unknown_items", "effective_rank", "validation_ndcg",
    }  # fmt: skip
    assert outcomes["drift"] == "warned"
    assert rows["drift"]["detail"] == "of weight of an event"
    assert rows["overlap"]["value"] == pytest.approx(0.9)
    assert (rows["rows_in"]["value"], rows["new_users"]["value"]) == (1.0, 0.0)

    # What was kept back is no rule for the runs that come next.
    third = SimpleNamespace(lakehouse=copied.for_run("third"), config=config)
    assert {row["run_id"] for row in guards._earlier_results(third, "rows_in")} == {"first"}

    publish.run(wrong, config.replaced({f"guards.{name}": "off" for name in outcomes}))
    assert published_run(wrong) == "wrong"
    rollback(wrong, config)


def test_the_vectors_of_all_models_of_a_night_are_measured(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(1)
    factors = {"als": generator.normal(size=(40, 8)), "svd": generator.normal(size=(40, 4))}
    factors["mllib_als"] = np.full((2, 4), np.nan)
    factors["als"][0] = np.nan
    rows = [(m, v.astype(np.float32).tolist()) for m, vs in factors.items() for v in vs]
    table = spark.createDataFrame(rows, "method string, factor array<float>")
    lake = SimpleNamespace(
        exists=lambda _: False, read=lambda _, fit, method: table.where(F.col("method") == method)
    )
    trained = {"factors": [{"name": name} for name in factors], "towers": [{"name": "svd"}]}
    recommend = SimpleNamespace(ranker="hybrid")
    limits = SimpleNamespace(effective_rank=SimpleNamespace(limit=2.0))
    subject = SimpleNamespace(
        lakehouse=lake,
        final=SimpleNamespace(models_of=trained.get),
        config=SimpleNamespace(recommend=recommend, guards=limits),
    )
    collapsed = DotMember("towers_svd", None, np.ones((40, 6), np.float32))
    monkeypatch.setattr(guards, "read_members", lambda _, names: {names[0]: collapsed})

    measured = guards._of_embeddings(subject)

    assert measured["finite_embeddings"] == guards.Measured(1.0, detail="in item_factors of als")
    assert measured["effective_rank"].value == pytest.approx(1.0)
    assert measured["effective_rank"].detail == "of 6 directions in towers_svd"
    recommend.ranker = "mllib_als"
    assert guards._of_embeddings(subject)["finite_embeddings"].value == 3.0
    # Vectors of no more directions than the limit cannot spread over so many.
    limits.effective_rank.limit = 8.0
    few = guards._of_embeddings(subject)["effective_rank"]
    assert few == guards.Measured(detail="no vectors have more than 8 directions")


def test_an_attribute_that_is_gone_drifts_where_its_table_was_read() -> None:
    numbers = {"items: price": np.arange(100.0), "users of an item": np.arange(100.0)}
    words = {"items: genre": {"genre: a": 50, "genre: b": 50}}
    earlier = profiles_of(numbers, words)
    assert largest_drift(earlier, numbers, words, ("items",))[1] == 0.0
    others = {"items: colour": {"colour: red": 100}}
    without_price = {"users of an item": np.arange(100.0)}
    name, value = largest_drift(earlier, without_price, words, ("items",))
    assert (name, value > 0.25) == ("items: price", True)
    for left in (others, {}):
        name, value = largest_drift(earlier, numbers, left, ("items",), {"items": 100})
        assert (name, value > 0.25) == ("items: genre", True)
    no_rows = {**numbers, "items: price": np.zeros(0)}
    assert largest_drift(earlier, no_rows, words, ("items",))[1] > 0.25
    # A night that trains no features has no words, and a run may have no table of items.
    assert largest_drift(earlier, without_price, {})[1] == 0.0
    assert largest_drift(earlier, numbers, {}, ("items",))[1] == 0.0


def test_lists_that_are_gone_count_as_missing_once_in_each_row() -> None:
    # Two rows of ten words each.
    words = {"items: tags": {f"tags: {k}": 2 for k in range(10)}}
    drift = largest_drift(profiles_of({}, words), {}, {}, ("items",), {"items": 2})
    missing = drift_of_words(profile_of_words(words["items: tags"]), {NO_WORD: 2})
    assert drift == ("items: tags", missing)
    assert missing < drift_of_words(profile_of_words(words["items: tags"]), {NO_WORD: 20})


def test_numbers_of_attributes_are_those_of_features(spark: SparkSession) -> None:
    rows = [
        (f"i{k}", 1.5 * k, 7 * k % 11, f"{k},5", f"2026-01-{k:02}", k % 2 == 0, str(k % 3))
        for k in range(1, 13)
    ]
    columns = (
        "id string, price double, stock long, weight string, since string, new boolean, kind string"
    )
    frame = spark.createDataFrame(rows, columns)
    kinds = {"stock": "ignore", "kind": "categorical"}
    source = AttributesSource.model_validate(
        {"source": {"path": "items"}, "id": "id", "kinds": kinds}
    )
    found = numbers_of_attributes(frame, source, (), seed=1)
    assert set(found) == {"price", "weight", "since", "new"}
    assert sorted(found["weight"]) == [k + 0.5 for k in range(1, 13)]
    assert np.unique(np.diff(np.sort(found["since"]))).tolist() == [86400.0]
    assert sorted(found["new"]) == [0.0] * 6 + [1.0] * 6


def test_vectors_that_are_not_usable_any_more_drift() -> None:
    before, now = (
        {f"items: {name}": counts for name, counts in words_of_vectors(described).items()}
        for described in ({"usable_vectors": {"cover": [k, 100]}} for k in (98, 40))
    )
    assert before == {"items: cover": {"cover: vector": 98, "": 2}}
    earlier = profiles_of({}, before)
    assert largest_drift(earlier, {}, before, ("items",), {"items": 100})[1] == 0.0
    name, value = largest_drift(earlier, {}, now, ("items",), {"items": 100})
    assert (name, value > 0.25) == ("items: cover", True)


def test_words_are_those_of_the_items_and_users_of_the_run(spark: SparkSession) -> None:
    genres = [(0, ["genre: a"]), (1, ["genre: b"]), (2, ["genre: c"])]
    tables = {
        "item_features": spark.createDataFrame(genres, "item_index long, attributes array<string>"),
        "catalogue": spark.sql("select explode(array(0L, 1L)) item_index"),
    }
    subject = SimpleNamespace(
        lakehouse=SimpleNamespace(exists=tables.__contains__, read=lambda name, **_: tables[name]),
        config=SimpleNamespace(seed=1),
        final=SimpleNamespace(matrix=None, model=lambda *_: {}),
    )
    words, described = guards._words(subject)  # type: ignore[arg-type]
    assert words == {"items: genre": {"": 0, "genre: a": 1, "genre: b": 1}}
    assert described == {"items": 2}


def test_texts_and_pictures_that_are_gone_drift(spark: SparkSession) -> None:
    columns = "id string, story string, vector array<float>, poster string"
    vectors = [[float(k), 1.0] for k in range(1, 31)]
    rows = [(f"i{k}", f"a story of {k} words", v, f"{k}.png") for k, v in enumerate(vectors)]
    kinds = {"story": "text", "vector": "ignore", "poster": "image"}
    source = AttributesSource.model_validate(
        {"source": {"path": "items"}, "id": "id", "kinds": kinds}
    )

    def numbers(rows: list[tuple[Any, ...]]) -> dict[str, Float64]:
        found = numbers_of_attributes(spark.createDataFrame(rows, columns), source, (), seed=1)
        return {f"items: {name}": values for name, values in found.items()}

    earlier = profiles_of(numbers(rows), {})
    assert largest_drift(earlier, numbers(rows), {}, ("items",)) == ("items: story", 0.0)
    for place, name, nothing in ((1, "story", " "), (3, "poster", None)):
        emptied = [(*row[:place], nothing, *row[place + 1 :]) for row in rows]
        drift = largest_drift(earlier, numbers(emptied), {}, ("items",))
        assert (drift[0], drift[1] > 0.25) == (f"items: {name}", True)


def test_words_of_attributes_are_counted_with_the_rows_that_have_none(spark: SparkSession) -> None:
    rows = [(1, ["genre: a", "genre: b", "maker: x"]), (2, ["genre: a"]), (3, []), (4, None)]
    features = spark.createDataFrame(rows, "item_index long, attributes array<string>")
    counts = {
        "genre": {"": 2, "genre: a": 2, "genre: b": 1},
        "maker": {"": 3, "maker: x": 1},
    }
    assert words_of(features, c.ITEM_INDEX, 1) == (counts, 4)
    assert words_of(features.where("item_index > 2"), c.ITEM_INDEX, 1) == ({}, 2)
    assert words_of(features.where("item_index > 4"), c.ITEM_INDEX, 1) == ({}, 0)


def test_a_stop_is_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as left, errors_as_messages():
        raise GuardError("run r is not published")
    assert left.value.exit_code == 3
    assert "run r is not published" in capsys.readouterr().err
