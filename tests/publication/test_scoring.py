"""Lists for the users of a table, with the models of a run that has finished."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs import score as job
from m6rec import columns as c
from m6rec.config.base import TableSource
from m6rec.config.run import Config, parse_config
from m6rec.errors import ConfigError, DataError, TableError
from m6rec.fits.list_maker import EVENT_COLUMNS, KnownOfUsers, ListMaker
from m6rec.fits.sources import open_events
from m6rec.job_records import FORGET
from m6rec.lakehouse import Lakehouse
from m6rec.publication.folding import FoldIn
from m6rec.publication.publishing import run_to_follow
from m6rec.publication.scoring import GivenUsers, Scored, _with_left_out, list_maker_of
from m6rec.runs import Attempt
from m6rec.schemas import RECOMMENDATIONS_TABLE
from m6rec.spark.session import with_settings
from m6rec.stages.features.vectors import VectorColumn
from tests.finished_runs import config_of
from tests.lanes import ROWS_ARE_ROUNDED_ALIKE
from tests.synthetic_shop import START, Shop

KEY = [c.USER_ID, c.CONTEXT, c.RANK]
SOME = [f"user-{number}" for number in (0, 7, 33, 89, 90)]


def by_place(lists: DataFrame) -> dict[tuple[str, str | None, int], Any]:
    """All of a list but when it was made, by user, context and rank."""
    rows = [row.asDict(recursive=True) for row in lists.drop(c.GENERATED_AT).collect()]
    return {(row[c.USER_ID], row[c.CONTEXT], row[c.RANK]): row for row in rows}


def scored(lakehouse: Lakehouse, folder: Path, users: str, **given: Any) -> tuple[Scored, Any]:
    target = str(folder / "lists")
    counts = job.run(lakehouse, GivenUsers(users, **given), target)
    lists = lakehouse.spark.read.format("delta").load(target)
    assert lists.schema.names == RECOMMENDATIONS_TABLE.schema.names
    return counts, by_place(lists)


def assert_same_lists(found: dict[Any, Any], expected: dict[Any, Any]) -> None:
    """Equal to the bit; where BLAS rounds a row by its place, but for the last digits of scores."""
    if not ROWS_ARE_ROUNDED_ALIKE:
        assert numbers_of(found) == pytest.approx(numbers_of(expected), rel=1e-5, abs=1e-6)
        found, expected = without_numbers(found), without_numbers(expected)
    assert found == expected


def numbers_of(lists: dict[Any, Any]) -> dict[Any, float]:
    """The scores, parts and shares of all listed items."""
    numbers = {(*place, c.SCORE): row[c.SCORE] for place, row in lists.items()}
    for place, row in lists.items():
        numbers |= {(*place, name): part for name, part in row[c.PARTS].items()}
        numbers |= {(*place, k): one["share"] for k, one in enumerate(row[c.REASONS])}
    return numbers


def without_numbers(lists: dict[Any, Any]) -> dict[Any, Any]:
    named = {
        place: [(one["kind"], one["value"]) for one in row[c.REASONS]]
        for place, row in lists.items()
    }
    return {
        place: {**row, c.SCORE: None, c.PARTS: None, c.REASONS: named[place]}
        for place, row in lists.items()
    }


def written(frame: pd.DataFrame, place: Path) -> str:
    frame.to_parquet(place, index=False, coerce_timestamps="us", allow_truncated_timestamps=True)
    return str(place)


def test_users_who_were_in_training_have_the_lists_of_the_batch_to_the_bit(
    lakehouse: Lakehouse, shop: Shop, tmp_path: Path
) -> None:
    batch = lakehouse.read("recommendations")
    expected = by_place(batch.where(F.col(c.USER_ID).isin(*SOME)))
    assert {user for user, _, _ in expected} == set(SOME)

    ids = pd.DataFrame({"user_id": SOME})
    ids.to_csv(tmp_path / "ids.csv", index=False)
    counts, lists = scored(lakehouse, tmp_path, str(tmp_path / "ids.csv"))
    assert (counts.users, counts.unknown_users, counts.unknown_events) == (len(SOME), 0, 0)
    assert_same_lists(lists, expected)

    # Their events as the owner has them, without those that the training has not seen.
    events = pd.read_parquet(shop.interactions)
    with_history = set(SOME) - {"user-90"}
    learned = _learned(lakehouse)
    known = events[
        [
            (user, item) in learned and user in with_history
            for user, item in zip(events["customer"], events["product"], strict=True)
        ]
    ]
    _, lists = scored(lakehouse, tmp_path, written(known, tmp_path / "events.parquet"))
    known_lists = {place: row for place, row in expected.items() if place[0] in with_history}
    assert_same_lists(lists, known_lists)


def test_ids_alone_have_all_events_of_the_run_where_history_is_asked_for(
    lakehouse: Lakehouse, shop: Shop, tmp_path: Path
) -> None:
    users = written(pd.DataFrame({"user_id": SOME}), tmp_path / "ids.parquet")
    events = pd.read_parquet(shop.interactions)
    owned = set(zip(events["customer"], events["product"], strict=True))

    def offered_again(with_history: bool) -> set[tuple[str, str]]:
        _, lists = scored(lakehouse, tmp_path, users, with_history=with_history)
        return owned & {(place[0], row[c.ITEM_ID]) for place, row in lists.items()}

    # Those of the test are not learned from.
    assert offered_again(with_history=False)
    assert not offered_again(with_history=True)


def test_days_of_lists_are_those_of_utc_whatever_zone_the_session_has(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone, lakehouse = "spark.sql.session.timeZone", Lakehouse(spark, str(tmp_path), "any")

    def lists_of_zone(*_: Any) -> Scored:
        return Scored(spark.sql("select current_timezone() zone"), 0, 0, 0, 0, 0, {})

    monkeypatch.setattr(
        job, "list_maker_of", lambda _: SimpleNamespace(fit=SimpleNamespace(config=None))
    )
    monkeypatch.setattr(job, "_refuse_to_replace", lambda *_: None)
    monkeypatch.setattr(job, "score", lists_of_zone)
    target = str(tmp_path / "lists")
    with with_settings(spark, {zone: "Asia/Tokyo"}):
        job.run(lakehouse, GivenUsers("any"), target)
        with FoldIn(lakehouse, config_of(str(tmp_path))).session_for_batches():
            assert spark.conf.get(zone) == "UTC"
        assert spark.conf.get(zone) == "Asia/Tokyo"
    assert spark.read.format("delta").load(target).collect() == [("UTC",)]


def test_a_table_of_events_is_told_by_its_column_of_items_whatever_its_case(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    rows = [("stranger", f"item-{number}", 5.0, START) for number in (2, 5, 8)]
    events = pd.DataFrame(rows, columns=["Customer", "PRODUCT", "Stars", "At "])
    counts, lists = scored(lakehouse, tmp_path, written(events, tmp_path / "events.parquet"))
    assert (counts.users, counts.events, counts.unknown_events) == (1, 3, 0)
    assert lists
    assert not {row[c.ITEM_ID] for row in lists.values()} & {"item-2", "item-5", "item-8"}


def _learned(lakehouse: Lakehouse) -> set[tuple[str, str]]:
    events = ListMaker(lakehouse, list_maker_of(lakehouse).fit.config).fit.training_events
    rows = events.select(c.USER_ID, c.ITEM_ID).collect()
    return {(row[c.USER_ID], row[c.ITEM_ID]) for row in rows}


def test_a_table_without_weights_holds_what_its_users_like(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    of_run = list_maker_of(lakehouse).fit
    stars = of_run.config.replaced({"interactions.positive_minimum": 4.0, "ratings.enabled": False})
    liked = [f"item-{number}" for number in (2, 5, 8)]
    table = pd.DataFrame({"customer": "stranger", "product": liked})
    source = TableSource(path=written(table, tmp_path / "events.parquet"), format="parquet")
    maker = ListMaker(of_run.lakehouse, stars)
    opened = open_events(lakehouse.spark, "--users", source, stars.interactions)
    events = maker.cleaned(opened, opened.frame).interactions.select(*EVENT_COLUMNS)
    users = maker.users(events.select(c.USER_ID).distinct())
    (row,) = maker.rows(KnownOfUsers(users, events, maker.attributes(users))).collect()
    assert (len(row[c.ITEM_INDICES]), row[c.EXCLUDED_INDICES]) == (3, [])


def test_users_without_events_of_their_own_have_the_rows_that_the_run_trained_on(
    lakehouse: Lakehouse,
) -> None:
    maker = list_maker_of(lakehouse)
    users = maker.index.where(F.col(c.USER_ID).isin(*SOME))
    nothing = lakehouse.read("interactions").select(*EVENT_COLUMNS).limit(0)
    known = KnownOfUsers(users, nothing, maker.attributes(users))
    found = maker.rows(known, users.select(c.USER_INDEX))
    trained = maker.fit.matrix.join(users, c.USER_INDEX, "left_semi")
    histories = [
        {row[c.USER_INDEX]: row[c.ITEM_INDICES] for row in frame.collect()}
        for frame in (found, trained)
    ]
    assert histories[0] == histories[1]
    assert any(histories[1].values())


def test_a_user_who_came_after_training_is_folded_in_and_unknown_items_are_counted(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    horror = [f"item-{number}" for number in (2, 5, 8, 11)]
    events = pd.DataFrame(
        [
            ("stranger", item, 5.0, START + pd.Timedelta(days=day), "phone")
            for day, item in enumerate([*horror, "item-999", "item-999"])
        ]
        + [("", "item-2", 5.0, START, None)],
        columns=["customer", "product", "stars", "at", "device"],
    )
    place = written(events, tmp_path / "events.parquet")
    counts, lists = scored(lakehouse, tmp_path, place)
    assert (counts.users, counts.unknown_users) == (1, 1)
    assert (counts.events, counts.unknown_events, counts.unknown_items) == (6, 2, 1)
    assert counts.refused == {"null or empty user id": 1}
    listed = [row[c.ITEM_ID] for (_, context, _), row in lists.items() if context is None]
    assert len(listed) == 10
    assert not set(listed) & set(horror)
    own_taste = [item for item in listed if int(item.removeprefix("item-")) % 3 == 2]
    assert len(own_taste) >= 6
    kinds = {reason["kind"] for row in lists.values() for reason in row[c.REASONS]}
    assert "history" in kinds


def test_a_user_whose_events_are_all_refused_has_the_list_of_the_run(
    lakehouse: Lakehouse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        ("user-3", "item-1", 5.0, pd.Timestamp("1700-01-01"), None),
        ("user-4", "item-1", 5.0, START, None),
        ("", "item-1", 5.0, START, None),
    ]
    events = pd.DataFrame(rows, columns=["customer", "product", "stars", "at", "device"])
    events.to_csv(tmp_path / "events.csv", index=False)
    counts, lists = scored(lakehouse, tmp_path, str(tmp_path / "events.csv"))
    assert (counts.users, counts.refused_users) == (2, 1)
    assert {user for user, *_ in lists} == {"user-3", "user-4"}
    job._say(counts, "lists", None)
    assert "1 users have no other rows, and lists by what the run knows" in capsys.readouterr().out


def test_it_is_said_that_the_config_of_the_run_counts(
    lakehouse: Lakehouse, config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pd.DataFrame({"user_id": SOME[:1]}).to_csv(tmp_path / "ids.csv", index=False)
    users, target = GivenUsers(str(tmp_path / "ids.csv")), str(tmp_path / "lists")
    job.run(lakehouse, users, target, config)
    assert "lists follow the config" not in capsys.readouterr().err
    job.run(lakehouse, users, target, config.replaced({"recommend.top_n": 3}))
    assert "differs in recommend.top_n, which has no effect" in capsys.readouterr().err


def test_a_user_of_a_later_run_is_new_also_after_a_forgetting(
    copied: Lakehouse, config: Config, tmp_path: Path
) -> None:
    later = copied.spark.sql("select 'newcomer' user_id, 9999L user_index")
    copied.append_new("user_index", later, (c.USER_ID,))
    Attempt(copied.for_run("forgetting"), config, FORGET.name).add({})
    pd.DataFrame({"user_id": ["user-0", "newcomer"]}).to_csv(tmp_path / "ids.csv", index=False)
    counts, _ = scored(copied, tmp_path, str(tmp_path / "ids.csv"))
    assert (counts.users, counts.unknown_users) == (2, 1)


def test_users_with_attributes_alone_have_lists_and_the_table_must_have_the_columns(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    ids = pd.DataFrame({"user_id": ["user-0"]})
    ids.to_csv(tmp_path / "ids.csv", index=False)
    attributes = pd.DataFrame({"customer": ["newcomer"], "age": [33]})
    place = written(attributes, tmp_path / "attributes.parquet")
    counts, lists = scored(lakehouse, tmp_path, str(tmp_path / "ids.csv"), attributes=place)
    assert (counts.users, counts.unknown_users) == (2, 1)
    assert {user for user, _, _ in lists} == {"user-0", "newcomer"}
    # Of a user whom the table does not have, the run's own table tells.
    batch = by_place(lakehouse.read("recommendations").where("user_id = 'user-0'"))
    assert {one: row for one, row in lists.items() if one[0] == "user-0"} == batch
    wrong = written(attributes.drop(columns="customer"), tmp_path / "wrong.parquet")
    with pytest.raises(TableError, match="has no column"):
        scored(lakehouse, tmp_path, str(tmp_path / "ids.csv"), attributes=wrong)
    fewer = written(attributes.drop(columns="age"), tmp_path / "fewer.parquet")
    with pytest.raises(TableError, match=r"lacks the columns \['age'\] .*; add them, empty"):
        scored(lakehouse, tmp_path, str(tmp_path / "ids.csv"), attributes=fewer)


def test_a_fault_in_a_given_table_is_said_of_its_option_and_mended_there(
    lakehouse: Lakehouse, shop: Shop, tmp_path: Path
) -> None:
    events = pd.read_parquet(shop.interactions).head(3)
    ids = written(events[["customer"]], tmp_path / "ids.parquet")
    gone = str(tmp_path / "gone.parquet")
    numbered = written(events.assign(at=1.7e9), tmp_path / "numbered.parquet")
    listed = written(events.assign(stars=[[1.0]] * 3), tmp_path / "listed.parquet")
    young = written(pd.DataFrame({"customer": ["user-0"]}), tmp_path / "young.parquet")
    like = "write it as interactions is written, which the run has read"
    for users, attributes, words in (
        (gone, None, f"^--users: cannot read .* {gone}: it does not exist; correct the path$"),
        (numbered, None, f"^--users: table {numbered}: time column at is a number, .*; {like}$"),
        (listed, None, f"^--users: cannot read table {listed}: .*cannot cast"),
        (ids, gone, f"^--attributes: cannot read .* {gone}: it does not exist"),
        (ids, young, rf"^--attributes: table {young}: .* lacks the columns \['age'\]"),
    ):
        with pytest.raises(TableError, match=words):
            scored(lakehouse, tmp_path, users, attributes=attributes)
    torn = Path(written(events, tmp_path / "torn.parquet"))
    torn.write_bytes(b"PAR1" + bytes(400) + torn.read_bytes()[404:])
    with pytest.raises(TableError, match=rf"job score: cannot read --users: file \S*{torn}: it "):
        scored(lakehouse, tmp_path, str(torn))


def test_rows_without_an_id_are_counted(
    lakehouse: Lakehouse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = written(pd.DataFrame({"user_id": ["user-0", None, " ", ""]}), tmp_path / "ids.parquet")
    rows = pd.DataFrame({"customer": ["user-1", None], "age": [33, 34]})
    attributes = written(rows, tmp_path / "attributes.parquet")
    counts, lists = scored(lakehouse, tmp_path, ids, attributes=attributes)
    assert {user for user, *_ in lists} == {"user-0", "user-1"}
    job._say(counts, "lists", attributes)
    assert capsys.readouterr().out.splitlines()[-3:] == [
        f"{ids}: 3 rows have no id, and were left out",
        f"{attributes}: 1 rows have no id, and were left out",
        "lists of 2 users, 0 of them new to the run: lists",
    ]


def test_vectors_of_given_attributes_are_counted_in_the_words_of_a_run(
    spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(0, [1.0, 2.0], "sea"), (1, [1.0], "desert")]
    people = spark.createDataFrame(rows, "user_index long, taste array<double>, bio string")
    columns = (VectorColumn("taste", 2, 1), VectorColumn("bio", 4, 1))
    source = SimpleNamespace(kinds={"taste": "embedding", "bio": "text_embedding"})
    features = SimpleNamespace(users=source)
    maker = SimpleNamespace(
        fit=SimpleNamespace(config=SimpleNamespace(features=features)),
        _pipeline=SimpleNamespace(vectors=[SimpleNamespace(column=one) for one in columns]),
    )
    vectors = ListMaker.facts_of_vectors(maker, people)  # type: ignore[arg-type]
    job._say(Scored(people, 2, 2, 0, 0, 0, {}, vectors), "lists", "people.csv")
    assert capsys.readouterr().out.splitlines() == [
        "people.csv: column taste: vectors of 2 numbers in 1 of 2 rows; 1 of another length, which"
        " count as without",
        "lists of 2 users, 2 of them new to the run: lists",
    ]


def test_whom_a_minimum_has_left_out_of_the_run_has_seen_what_the_run_knows(
    spark: SparkSession,
) -> None:
    given = {"interactions": {"source": {"path": "x"}, "minimum_user_interactions": 2}}
    events = spark.createDataFrame(
        [("left out", "i1"), ("left out", "unknown"), ("own", "i1"), ("known", "i1")],
        "user_id string, item_id string",
    )
    times = ", ".join(f"{name} string" for name in (c.EVENT_TIME, c.EVENT_TYPE, c.CONTEXT))
    empty = spark.createDataFrame([], f"user_id string, item_id string, {times}, weight double")
    whole = events.unionByName(empty, allowMissingColumns=True)
    users = spark.createDataFrame(
        [("left out", -1), ("own", -2), ("known", 0)], "user_id string, user_index long"
    )
    rows = users.select(
        c.USER_INDEX, F.array(F.lit(7)).alias(c.EXCLUDED_INDICES), F.lit("x").alias("other")
    )
    items = spark.createDataFrame([("i1", 3)], "item_id string, item_index long")
    fit = SimpleNamespace(
        config=parse_config(given, "test"),
        matrix=users.where("user_index = 0"),
        lakehouse=SimpleNamespace(read=lambda _: whole),
    )
    maker = SimpleNamespace(fit=fit, items=items)
    of_own = users.where("user_id = 'own'")
    found = _with_left_out(maker, rows, users, of_own)  # type: ignore[arg-type]
    assert found.columns == rows.columns
    seen = {row[c.USER_INDEX]: row[c.EXCLUDED_INDICES] for row in found.collect()}
    assert seen == {-1: [3, 7], -2: [7], 0: [7]}


def test_lists_replace_no_table_that_the_run_reads_or_has_written(
    lakehouse: Lakehouse, config: Config, tmp_path: Path
) -> None:
    ids = tmp_path / "ids"
    pd.DataFrame({"user_id": ["user-0"]}).to_csv(ids.with_suffix(".csv"), index=False)
    users = lakehouse.spark.read.csv(f"{ids}.csv", header=True)
    users.write.format("delta").save(str(ids))
    for target in (
        f"file:{ids}/",
        str(config.interactions.source.path),
        lakehouse.address("recommendations"),
        lakehouse.address("published/recommendations"),
    ):
        with pytest.raises(ConfigError, match="is a table that the run reads or has written"):
            job.run(lakehouse, GivenUsers(str(ids)), target)
    assert lakehouse.spark.read.format("delta").load(str(ids)).columns == ["user_id"]
    now = {"interactions.source.path": "/data/now", "fold_in.source": {"path": "/data/followed"}}
    for target in ("/data/now", "/data/followed"):
        with pytest.raises(ConfigError, match="has written, or of the config, and the lists would"):
            job.run(lakehouse, GivenUsers(str(ids)), target, config.replaced(now))
    users.write.parquet(str(tmp_path / "files"))
    named = Lakehouse(lakehouse.spark, "spark_catalog.shop", "run")
    of_catalogue = SimpleNamespace(lakehouse=named, spark=lakehouse.spark)
    with pytest.raises(ConfigError, match="has written, or of the config, and the lists would"):
        job._refuse_to_replace(of_catalogue, GivenUsers("/ids"), "shop.metrics_published", ())
    with pytest.raises(ConfigError, match="holds files and is no Delta table"):
        job.run(lakehouse, GivenUsers(str(ids)), str(tmp_path / "files"))


@pytest.mark.parametrize(
    ("one", "other", "file_system"),
    [
        ("/data/lake/lists", "hdfs://nn:8020/data/lake/lists", "hdfs://nn:8020"),
        ("hdfs:///data/lake/lists/", "/data//lake/lists", "hdfs://nn:8020/"),
        ("dbfs:/data/lists", "/data/lists", "dbfs:///"),
        ("file:/data/lists", "/data/more/../lists", "file:///"),
        ("shop.lists", "main.shop.lists", "file:///"),
        ("`main`.Shop.`lists`", "shop.lists", "file:///"),
    ],
)
def test_two_names_of_one_table_name_one_place(one: str, other: str, file_system: str) -> None:
    assert job.place_of_table(one, file_system, "main") == job.place_of_table(
        other, file_system, "main"
    )


def test_two_tables_have_two_places() -> None:
    names = (
        "/data/lists",
        "s3a://data/lists",
        "hdfs://other/data/lists",
        "shop.lists",
        "a.b.lists",
    )
    assert len({job.place_of_table(name, "hdfs://nn:8020", "main") for name in names}) == len(names)


def test_a_table_of_the_catalogue_is_known_by_its_path(spark: SparkSession, tmp_path: Path) -> None:
    place = tmp_path / "lists"
    spark.range(1).write.format("delta").save(str(place))
    spark.sql(f"CREATE TABLE default.some_lists USING delta LOCATION '{place}'")
    try:
        names = list(job._names_of(spark, "default.some_lists"))
        assert [job.place_of_table(name, "file:///", "main") for name in names] == [
            "main.default.some_lists", str(place),
        ]  # fmt: skip
    finally:
        spark.sql("DROP TABLE default.some_lists")


def test_a_run_that_is_not_there_is_refused(spark: SparkSession, lakehouse: Lakehouse) -> None:
    assert run_to_follow(lakehouse.for_run("any"), None).run_id == lakehouse.run_id
    message = f"run nothing has no lists .* of which there are: .*{lakehouse.run_id}"
    with pytest.raises(DataError, match=message):
        list_maker_of(lakehouse.for_run("nothing"))


def test_a_ranker_that_knows_only_users_of_the_training_is_refused(
    lakehouse: Lakehouse, config: Config
) -> None:
    given = config.replaced({"recommend": {"ranker": "mllib_als"}})
    with pytest.raises(ConfigError, match="mllib_als, whose vectors of users are those of the"):
        ListMaker(lakehouse, given)


def test_whoever_is_unknown_has_the_list_of_what_most_users_have(lakehouse: Lakehouse) -> None:
    rows = lakehouse.read("recommendations").where(F.col(c.USER_ID).isNull())
    listed = [row[c.ITEM_ID] for row in rows.orderBy(c.RANK).collect()]
    matrix = lakehouse.read("user_item_matrix", fit=c.FINAL)
    items = lakehouse.read("item_index").select(c.ITEM_ID, c.ITEM_INDEX)
    had = matrix.select(F.explode(c.ITEM_INDICES).alias(c.ITEM_INDEX)).groupBy(c.ITEM_INDEX).count()
    best = had.join(items, c.ITEM_INDEX).orderBy(F.desc("count"), c.ITEM_INDEX).limit(10)
    assert listed == [row[c.ITEM_ID] for row in best.collect()]
    assert {row[c.SEGMENT] for row in rows.collect()} == {None}
