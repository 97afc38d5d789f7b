"""Places of tables: versions, views, formats, and failures in words."""

import datetime as dt
import gzip
import json
import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.errors import PySparkException
from pyspark.ml.linalg import Vectors
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from typer import Exit

from jobs.check import check
from m6rec import columns as c
from m6rec.check.findings import Place
from m6rec.command_line import errors_as_messages
from m6rec.config.base import TableSource
from m6rec.config.run import parse_config
from m6rec.errors import ClusterError, DataError, TableError, WorkerError
from m6rec.fits.inspection import inspect_sources
from m6rec.fits.sources import open_events, open_sources
from m6rec.spark.failures import THROWN, as_our_error, following_table, in_words, saying_what_failed
from m6rec.spark.json_samples import schema_of_sample
from m6rec.spark.readings import columns_left_out
from m6rec.spark.session import with_settings
from m6rec.spark.sources import load_source, read_source, source_version
from m6rec.spark.time_limits import within_seconds
from m6rec.stages.features.kinds import infer_columns
from m6rec.stages.features.pictures import PictureColumn, _decode_batches
from m6rec.stages.features.texts import _encode_partition


def source(**settings: Any) -> TableSource:
    return TableSource.model_validate(settings)


@pytest.fixture(scope="module")
def delta(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Delta table of two versions, of one row and of two."""
    path = str(tmp_path_factory.mktemp("delta") / "my events")
    rows = spark.createDataFrame([("ann", "tea")], "user_id string, item_id string")
    rows.write.format("delta").save(path)
    rows.write.format("delta").mode("append").save(path)
    return path


@pytest.mark.parametrize(
    ("settings", "version", "rows"),
    [
        ({}, 1, 2),
        ({"version": 0}, 0, 1),
        ({"options": {"versionAsOf": 0}}, 0, 1),
        ({"timestamp": "2999-01-01"}, 1, 2),
        ({"options": {"timestampAsOf": "2999-01-01"}}, 1, 2),
    ],
)
def test_a_delta_table_is_read_as_it_was_and_the_version_is_known(
    spark: SparkSession, delta: str, settings: dict[str, Any], version: int, rows: int
) -> None:
    asked = source(path=delta, **settings)
    assert source_version(spark, asked) == version
    assert read_source(spark, asked, ()).count() == rows
    config = {"interactions": {"source": {"path": delta, **settings}}}
    opened = open_sources(spark, parse_config(config, "test"))
    assert opened.interactions.version == version
    assert opened.interactions.frame.count() == rows


def test_optional_columns_of_events_are_found_as_those_of_ids_are(
    spark: SparkSession, tmp_path: Path
) -> None:
    file = tmp_path / "events.json"
    file.write_text(
        '{"who": {"id": 7}, "What": "tea", "seen": {"at": "2026-01-02 03:04:05"}, "STARS": 4}\n'
    )
    place = {"path": str(file), "format": "json"}
    names = {"user": "who.id", "item": "what", "time": "seen.at", "weight": "stars"}
    columns = {**names, "event_type": "kind"}
    config = parse_config(
        {"interactions": {"source": place, "columns": columns, "event_weights": {"view": 2.0}}},
        "test",
    )
    opened = open_events(spark, "--users", source(**place), config.interactions)
    own = opened.config.columns
    assert (own.time, own.weight, own.event_type) == ("seen.at", "stars", None)
    read = opened.frame.select(*(f"`{name}`" for name in names.values())).collect()
    assert [tuple(row) for row in read] == [(7, "tea", "2026-01-02 03:04:05", 4)]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"version": 9}, r"has no version 9; set source.version to one from 0 to \d"),
        (
            {"timestamp": "18/03/2024"},
            "source.timestamp 18/03/2024 is no time; write it as in 2026",
        ),
        ({"timestamp": "1999-01-01"}, "had no version at 1999-01-01; it was made"),
    ],
)
def test_a_version_that_there_is_not_is_said(
    spark: SparkSession, delta: str, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(TableError, match=words):
        read_source(spark, source(path=delta, **settings), ())


def test_views_and_tables_of_other_formats_have_no_version(
    spark: SparkSession, delta: str, tmp_path: Path
) -> None:
    spark.read.format("delta").load(delta).createOrReplaceTempView("some_view")
    viewed = source(table="some_view")
    assert read_source(spark, viewed, ("user_id",)).count() == 2
    assert source_version(spark, viewed) is None
    spark.catalog.dropTempView("some_view")


def test_tables_of_the_catalogue_are_read_in_any_format(
    spark: SparkSession, tmp_path: Path
) -> None:
    rows = spark.createDataFrame([("ann", "tea")], "user_id string, item_id string")
    for kind in ("parquet", "csv", "delta"):
        rows.write.format(kind).option("path", str(tmp_path / kind)).saveAsTable(f"m6_{kind}")
    spark.sql("create view m6_view as select * from m6_delta")
    try:
        for name, version in {"parquet": None, "csv": None, "view": None, "delta": 0}.items():
            named = source(table=f"m6_{name}")
            assert [tuple(row) for row in read_source(spark, named, ()).collect()] == [
                ("ann", "tea")
            ]
            assert source_version(spark, named) == version
        for name in ("parquet", "view"):
            config = {"interactions": {"source": {"table": f"m6_{name}", "version": 0}}}
            [problem] = inspect_sources(spark, parse_config(config, "test")).lines("problem")
            assert "it is no Delta table and has no versions; leave out version" in problem
    finally:
        spark.sql("drop view m6_view")
        for kind in ("parquet", "csv", "delta"):
            spark.sql(f"drop table m6_{kind}")


def test_a_path_as_a_name_and_a_view_of_all_sessions_are_read(
    spark: SparkSession, delta: str
) -> None:
    spark.read.format("delta").load(delta).createOrReplaceGlobalTempView("m6_everywhere")
    for name in (f"delta.`{delta}`", "global_temp.m6_everywhere"):
        assert read_source(spark, source(table=name), ("user_id",)).count() == 2
    spark.catalog.dropGlobalTempView("m6_everywhere")


def test_files_that_came_into_a_table_without_versions_are_read(
    spark: SparkSession, tmp_path: Path
) -> None:
    rows = spark.createDataFrame([("ann", "tea")], "user_id string, item_id string")
    rows.write.option("path", str(tmp_path)).format("parquet").saveAsTable("m6_growing")
    spark.sql("create view m6_seen as select * from m6_growing")
    try:
        places = [source(table=name) for name in ("m6_growing", "m6_seen")]
        assert [read_source(spark, place, ()).count() for place in places] == [1, 1]
        pq.write_table(pa.table({"user_id": ["bob"], "item_id": ["ale"]}), tmp_path / "new.parquet")
        assert [read_source(spark, place, ()).count() for place in places] == [2, 2]
    finally:
        spark.sql("drop view m6_seen")
        spark.sql("drop table m6_growing")


@pytest.mark.parametrize("pattern", ["part-*.csv", "{part-1,part-2}.csv", ""])
@pytest.mark.parametrize("scheme", ["", "file:", "file://"])
def test_paths_follow_the_rules_of_spark(
    spark: SparkSession, tmp_path: Path, pattern: str, scheme: str
) -> None:
    for number in (1, 2):
        (tmp_path / f"part-{number}.csv").write_text("user_id,item_id\nann,tea\n")
    frame = read_source(spark, source(path=f"{scheme}{tmp_path}/{pattern}"), ("user_id",))
    assert frame.count() == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"path": "s3a://bucket/events"}, "jar of the file system s3a: .*hadoop-aws"),
        ({"path": "gs://bucket/events"}, "jar of the file system gs: .*gcs-connector"),
        ({"path": "/no/such/place", "format": "parquet"}, "does not exist"),
        ({"table": "no.such.table"}, "the catalogue has no such table"),
        ({"path": "C:\\data\\events.csv"}, "it is a path of Windows"),
        ({"path": "C:/data/events.csv"}, "it is a path of Windows"),
        ({"path": "~/no/events.csv"}, "neither ~ nor \\$ stands for anything"),
        ({"path": "/no/events.csv "}, "has white space around it"),
    ],
)
def test_what_is_missing_is_said_with_what_mends_it(
    spark: SparkSession, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(TableError, match=words):
        read_source(spark, source(**settings), (), "features.items")


def test_columns_that_differ_in_case_alone_are_two(spark: SparkSession, tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "Price": [1.0], "price": [2.0]}), tmp_path / "i.parquet")
    try:
        frame = read_source(spark, source(path=str(tmp_path / "i.parquet")), ("id", "price"))
        assert [tuple(row) for row in frame.collect()] == [("a", 1.0, 2.0)]
        assert infer_columns(frame, "id", {}).kinds == {"Price": "numeric", "price": "numeric"}
    finally:
        spark.conf.unset("spark.sql.caseSensitive")


def test_a_file_of_a_delta_table_is_no_table(spark: SparkSession, delta: str) -> None:
    for path in (str(next(Path(delta).glob("*.parquet"))), f"{delta}/*.parquet"):
        config = parse_config({"interactions": {"source": {"path": path}}}, "test")
        problems = inspect_sources(spark, config).lines("problem")
        # One of the files may be without rows.
        assert any(f"is of the Delta table {delta} and is read as" in line for line in problems)


def test_vectors_of_spark_ml_are_arrays(spark: SparkSession, tmp_path: Path) -> None:
    vectors = [Vectors.dense([0.5, 2.0]), Vectors.sparse(2, [1], [3.0])]
    rows = [(f"i{k}", vector) for k, vector in enumerate(vectors)]
    spark.createDataFrame(rows, ["id", "v"]).coalesce(1).write.parquet(str(tmp_path / "items"))
    frame = read_source(spark, source(path=str(tmp_path / "items")), ("id",))
    assert sorted(tuple(row) for row in frame.collect()) == [("i0", [0.5, 2.0]), ("i1", [0.0, 3.0])]
    assert infer_columns(frame, "id", {}).kinds == {"v": "embedding"}


@pytest.mark.parametrize("units", [("ns", "us"), ("us", "ns")])
def test_files_that_write_times_in_other_units_are_told_apart(
    spark: SparkSession, tmp_path: Path, units: tuple[str, str]
) -> None:
    for number, unit in enumerate(units):
        times = pa.array([1_700_000_000_000_000_000], pa.timestamp("ns")).cast(pa.timestamp(unit))
        events = pa.table({"user_id": ["ann"], "at": times})
        pq.write_table(events, tmp_path / f"part-{number}.parquet")
    table = TableSource(path=str(tmp_path), format="parquet")
    with pytest.raises(TableError, match=r"column at is in nanoseconds .*part-0.*part-1.*alike"):
        load_source(spark, table)


def test_a_column_of_nanoseconds_may_have_come_later(spark: SparkSession, tmp_path: Path) -> None:
    times = pa.array([1_700_000_000_000_000_000], pa.timestamp("ns"))
    pq.write_table(pa.table({"user_id": ["ann"], "at": times}), tmp_path / "part-0.parquet")
    pq.write_table(pa.table({"user_id": ["bob"]}), tmp_path / "part-1.parquet")
    rows = load_source(spark, TableSource(path=str(tmp_path), format="parquet")).collect()
    assert {row["user_id"]: row["at"] is None for row in rows} == {"ann": False, "bob": True}


def test_a_file_that_is_no_delta_table_is_told(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user_id,item_id\nann,tea\n")
    asked = source(path=str(tmp_path / "events.csv"), format="delta")
    with pytest.raises(TableError, match="it is no Delta table; leave out format"):
        read_source(spark, asked, ())


def test_what_fails_while_rows_are_read_is_said_without_a_trace(
    spark: SparkSession, tmp_path: Path
) -> None:
    file = tmp_path / "events.parquet"
    spark.range(10).coalesce(1).write.parquet(str(file))
    [part] = file.glob("*.parquet")
    part.write_bytes(part.read_bytes()[:4] + b"\0" * 50 + part.read_bytes()[54:])
    frame = spark.read.schema("id long").parquet(str(file))
    with (
        pytest.raises(TableError, match=r"job recommend: cannot read file .*part-"),
        saying_what_failed("job recommend"),
    ):
        frame.collect()
    named = [("features.items", source(path=str(file)), ())]
    with (
        pytest.raises(TableError, match=r"job recommend: cannot read features\.items: file /"),
        saying_what_failed("job recommend", named),
    ):
        frame.collect()
    with pytest.raises(ZeroDivisionError), saying_what_failed("job recommend"):
        print(1 / 0)


def test_a_worker_that_fails_is_named_with_its_stage_and_without_a_trace(
    spark: SparkSession,
) -> None:
    decode = partial(_decode_batches, column=PictureColumn("cover", "image", 1), size=4)
    frame = spark.range(1).select(F.lit("no/such.png").alias("given"))
    with (
        pytest.raises(WorkerError) as refused,
        saying_what_failed("job build_features"),
    ):
        frame.mapInArrow(decode, "item_index long, pixels binary").collect()
    said = str(refused.value)
    stage = r"stage stages\.features\.pictures, _decode_batches, line \d+: KeyError: "
    assert re.match(rf"job build_features: a Python worker failed in {stage}", said), said
    assert "Traceback" not in said
    assert "\n" not in said


def test_a_value_over_which_a_worker_fails_is_named(spark: SparkSession) -> None:
    class Picky:
        def load(self) -> "Picky":
            return self

        def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
            if "bad" in texts:
                raise ValueError("no such word")
            return np.zeros((len(texts), 2), np.float32)

    rows = [("1", "good"), ("2", "bad"), ("3", "also good")]
    texts = spark.createDataFrame(rows, f"{c.TEXT_HASH} string, _m6rec_text string").coalesce(1)
    encode = partial(_encode_partition, shipped=cast(Any, Picky()))
    stage = (
        r"stage stages\.features\.texts, _encoded, line \d+, at the text 'bad': ValueError: no such"
    )
    with pytest.raises(WorkerError, match=stage), saying_what_failed("job build_features"):
        texts.mapInArrow(encode, f"{c.TEXT_HASH} string, {c.VECTOR} array<float>").collect()

    decode = partial(_decode_batches, column=PictureColumn("cover", "image", 1), size=4)
    covers = spark.createDataFrame([(7, "//[no address")], f"{c.ITEM_INDEX} long, given string")
    schema = f"{c.ITEM_INDEX} long, attribute string, frame int, pixels binary"
    [row] = covers.mapInArrow(decode, schema).collect()
    assert (row[c.ITEM_INDEX], row["pixels"]) == (7, None)


def test_a_worker_that_is_ended_from_outside_is_said(spark: SparkSession) -> None:
    def end(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        os._exit(1)

    with (
        pytest.raises(ClusterError, match=r"job x: a worker took .* or was ended from outside"),
        saying_what_failed("job x"),
    ):
        spark.range(1).mapInArrow(end, "id long").collect()


def test_any_other_failure_of_spark_is_one_line(
    spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exit) as stop, errors_as_messages():
        spark.sql("select raise_error('out of order')").collect()
    assert stop.value.exit_code == 1
    shown = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("\t")]
    assert len(shown) == 1
    assert "error: Spark failed: " in shown[0]
    assert "out of order" in shown[0]
    with pytest.raises(Exit) as stop, errors_as_messages():
        within_seconds(None, 1.0, str)  # type: ignore[arg-type]
    assert stop.value.exit_code == 1
    said = capsys.readouterr().err
    assert re.search(
        r"^error: AttributeError: .* \(spark\.time_limits, within_seconds, line", said, re.M
    )


def test_the_schema_of_large_json_is_told_from_all_parts_of_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    objects: list[dict[str, Any]] = [{"user_id": k, "item_id": "tea"} for k in range(3000)]
    for k in range(1000, 2000):
        objects[k] = {"user_id": f"u{k}", "item_id": "tea", "late": {"at": 1.5}}
    text = "".join(json.dumps(one) + "\n" for one in objects)
    (tmp_path / "a.json").write_text(text)
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(b'{"packed": true}\n' * 3000))
    asked = source(path=str(tmp_path))
    assert schema_of_sample(spark, asked) is None
    found = schema_of_sample(spark, asked, largest_whole=1000, piece=1000)
    assert found == spark.read.json(str(tmp_path)).schema
    assert found["user_id"].dataType == T.StringType()
    given = source(path=str(tmp_path), options={"samplingRatio": 1})
    assert schema_of_sample(spark, given, largest_whole=1000) is None


@pytest.mark.parametrize("with_time", [("a", "z"), ("a",), ("z",)])
def test_columns_of_all_files_are_read_beside_one_that_spark_does_not_read(
    spark: SparkSession, tmp_path: Path, with_time: tuple[str, ...]
) -> None:
    noon = {"at": pa.array([dt.time(12)], pa.time64("us"))}
    ids = {"user_id": ["ann"], "item_id": ["tea"]}
    for name, weight in {"a": {}, "z": {"weight": [2.0]}}.items():
        columns = ids | weight | (noon if name in with_time else {})
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    both = source(path=str(tmp_path), format="parquet", options={"mergeSchema": "true"})
    rows = load_source(spark, both).select("user_id", "weight").collect()
    assert {row["weight"] for row in rows} == {None, 2.0}
    assert "at" not in load_source(spark, both).columns
    [left_out] = columns_left_out(spark, Place("interactions.source", "it"), both)
    assert left_out.place.column == "at"


def test_work_that_takes_too_long_is_given_up(spark: SparkSession) -> None:
    endless = spark.range(10**15).selectExpr("sum(hash(id))")
    assert within_seconds(spark, 0.2, endless.collect) is None
    assert within_seconds(spark, 0.0, endless.collect) is None
    assert within_seconds(spark, 60.0, spark.range(3).count) == 3
    with pytest.raises(THROWN, match="out of order"):
        within_seconds(spark, 60.0, spark.sql("select raise_error('out of order')").collect)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        (
            "cast(item_id as int)",
            "it casts 'tea' \\(STRING\\) to INT, which it is not; use",
        ),
        ("1 / (length(item_id) - 3)", "it divides by zero"),
    ],
)
def test_a_view_that_fails_is_said_in_words(
    spark: SparkSession, expression: str, words: str
) -> None:
    rows = spark.createDataFrame([("ann", "tea")], "user_id string, item_id string")
    # Spark 3.5 gives null instead, unless it is told to keep to the standard.
    with with_settings(spark, {"spark.sql.ansi.enabled": "true"}):
        view = rows.selectExpr("user_id", f"{expression} as item_id")
    view.createOrReplaceTempView("m6_failing")
    config = parse_config({"interactions": {"source": {"table": "m6_failing"}}}, "test")
    [problem] = inspect_sources(spark, config).lines("problem")
    assert re.search(words, problem), problem
    spark.catalog.dropTempView("m6_failing")


def test_credentials_that_are_missing_are_named() -> None:
    error = RuntimeError("software.amazon.awssdk: Unable to load credentials from any provider")
    assert "AWS_ACCESS_KEY_ID" in in_words(error)


@pytest.mark.parametrize(
    ("thrown", "words"),
    [
        ('For input string: "maybe"', "a value of options is wrong"),
        ("Delimiter cannot be empty", "a value of options is wrong"),
        (
            "[INVALID_IDENTIFIER] The unquoted identifier my-table is invalid",
            "write the part my-table of its name in back-ticks: `my-table`",
        ),
        (
            "[COLUMN_ALREADY_EXISTS] The column `w` already exists.",
            "it has two columns named w; rename one or, where they differ in case, set",
        ),
        ("[FAILED_READ_FILE.FILE_NOT_EXIST] a.parquet", "rerun cannot make a run again any more"),
        ("java.lang.UnsupportedOperationException", "http"),
        (
            "[DELTA_UNSUPPORTED_FEATURES_FOR_READ] Unsupported Delta read feature: table requires"
            ' reader table feature(s) that are unsupported by Delta Lake "4.0.1": someFeature.',
            "it needs a newer Delta, for someFeature; run with LANE=current",
        ),
        (
            "[PARSE_SYNTAX_ERROR] Syntax error at or near 'table': extra",
            "cannot be the name of a table, from table on",
        ),
        ("URISyntaxException: Relative path in absolute URI: jdbc:postgresql:/x/y", "a database;"),
        ('No FileSystem for scheme "snowflake"', "snowflake: is no file system but a database"),
        ("native zStandard library not available: this version", "compressed by zStandard, which"),
        ("ClassNotFoundException: org.apache.hadoop.io.compress.BrotliCodec", "by Brotli, which"),
        (
            "[FAILED_READ_FILE.NO_HINT] Encountered error while reading file file:///a.parquet.\n"
            "SparkUnsupportedOperationException: Unsupported encoding: BYTE_STREAM_SPLIT",
            "the encoding BYTE_STREAM_SPLIT, which Spark's fast reader of Parquet does not read;"
            " write it without (in pandas and pyarrow: use_byte_stream_split=False), or set",
        ),
        (
            "java.lang.UnsupportedOperationException: Unsupported encoding: DELTA_BYTE_ARRAY",
            "DELTA_BYTE_ARRAY, which Spark's fast reader of Parquet does not read; write it without"
            " (in pandas and pyarrow: no column_encoding)",
        ),
        ("Index 20480 out of bounds for length 20480", "raise maxColumns (20480 unless"),
        (
            "Length of parsed input (2) exceeds the maximum number of characters defined",
            "more characters",
        ),
        ("An error occurred while calling o1.load.\n: a.b.SomeException: no luck", "no luck"),
        ("URISyntaxException: Relative path in absolute URI: at:12.csv", "(at:12.csv); rename it"),
    ],
)
def test_what_is_thrown_has_words(thrown: str, words: str) -> None:
    assert words in in_words(RuntimeError(thrown))


def test_a_commit_of_another_job_is_no_defect() -> None:
    thrown = "[DELTA_CONCURRENT_APPEND.WITH_PARTITION_HINT] Files were added"
    assert "another job has chan" in str(as_our_error(RuntimeError(thrown)))


@pytest.mark.parametrize(
    ("thrown", "words"),
    [
        (
            "[DELTA_SCHEMA_CHANGED_WITH_STARTING_OPTIONS] Detected schema change in version 2:",
            "/lake/events have changed; start the job again, .* Where it ends .* again, from now",
        ),
        ("DIFFERENT_DELTA_TABLE_READ_BY_STREAMING_SOURCE", "is another table .*; anew"),
        ("[DELTA_TRUNCATED_TRANSACTION_LOG] /lake/events/_delta_log", "has the log .*; from now"),
        (
            "[DELTA_MISSING_CHANGE_DATA] Error getting change data for range [0 , 3]",
            "/lake/events lacks the changes of some commits .*enableChangeDataFeed .*; from now",
        ),
        ("[FAILED_READ_FILE.FILE_NOT_EXIST] reading file /lake/events/1.parquet", "; from now"),
        ("[FAILED_READ_FILE.FILE_NOT_EXIST] reading file /lake/other/1.parquet", "a file of the"),
    ],
)
def test_it_is_said_why_a_table_cannot_be_followed(thrown: str, words: str) -> None:
    source = TableSource(path="/lake/events")
    with (
        pytest.raises(DataError, match=f"fold_in cannot go on: .*{words}"),
        following_table(source, "anew", "from now"),
    ):
        raise PySparkException(f"[STREAM_FAILED] Query [id = 1] terminated with: {thrown}")


def test_the_check_prints_every_column_and_all_problems(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "events.csv").write_text("user_id,item_id,at,note\nann,tea,1710763200,x\n")
    interactions = {"source": {"path": str(tmp_path / "events.csv")}}
    check(spark, parse_config({"interactions": interactions}, "test"))
    printed = capsys.readouterr().out
    for text in ("user_id", "string", "'ann'", "not used", "a run can start"):
        assert text in printed
    interactions |= {"columns": {"time": "at", "weight": "note"}}
    with pytest.raises(TableError) as refused:
        check(spark, parse_config({"interactions": interactions}, "test"))
    assert "time_unit: seconds" in str(refused.value)
    assert "note: holds 'x', expected numbers" in str(refused.value)
