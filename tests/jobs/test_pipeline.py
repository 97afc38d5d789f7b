"""The whole pipeline, in one session, on a small shop."""

import json
import re
import shutil
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import jobs
from jobs.pipeline import JOBS_IN_ORDER, jobs_of, run_pipeline
from jobs.train_hybrid import tell_of_new_items
from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.errors import ConfigError
from m6rec.fits.contexts import context_vocabulary
from m6rec.fits.fit import Fit
from m6rec.job_records import JOBS, JOBS_OF_A_RUN, JobRecord
from m6rec.kernels.ratings.ratings import RATING_MODELS
from m6rec.lakehouse import Lakehouse
from m6rec.publication.publishing import published_run, read_published
from m6rec.schemas import TABLES
from tests.synthetic_shop import CONTEXTS, Shop


def test_metrics_hold_every_ranker_at_every_depth_on_both_folds(
    lakehouse: Lakehouse, config: Config, output: Path
) -> None:
    rows = json.loads((output / "metrics.json").read_text())
    assert set(rows[0]) == {
        "run_id", "model", "fold", "segment", "metric", "k", "value", "ci_low", "ci_high", "users",
    }  # fmt: skip
    found = {(r["model"], r["fold"], r["k"]) for r in rows if r["segment"] == "all"}
    expected = {
        (model, fold, k)
        for model in config.usable(config.evaluate.rankers)
        for fold in (c.VALIDATION, c.TEST)
        for k in config.evaluate.ks
    }
    assert expected <= found
    assert {"hit_rate", "precision", "recall", "f1", "ndcg", "map", "mrr"} <= {
        r["metric"] for r in rows
    }


def test_metrics_hold_the_errors_of_every_model_that_predicts_ratings(
    lakehouse: Lakehouse, output: Path
) -> None:
    rows = json.loads((output / "metrics.json").read_text())
    errors = [r for r in rows if r["metric"] in ("rmse", "mae")]
    assert {(r["model"], r["fold"], r["metric"]) for r in errors} == {
        (model, fold, metric)
        for model in RATING_MODELS
        for fold in (c.VALIDATION, c.TEST)
        for metric in ("rmse", "mae")
    }
    assert all(r["ci_low"] <= r["value"] <= r["ci_high"] for r in errors)
    assert {r["k"] for r in errors} == {0}
    assert "Predicted ratings" in (output / "report.html").read_text()


def test_taste_is_learned_better_than_popularity(lakehouse: Lakehouse, output: Path) -> None:
    rows = json.loads((output / "metrics.json").read_text())
    ndcg = {
        r["model"]: r["value"]
        for r in rows
        if (r["fold"], r["segment"], r["metric"], r["k"]) == (c.TEST, "all", "ndcg", 10)
    }
    assert ndcg["hybrid"] > 1.2 * ndcg["popularity"]


def test_rows_in_are_rows_kept_and_rows_quarantined(
    spark: SparkSession, lakehouse: Lakehouse, shop: Shop
) -> None:
    rows_in = spark.read.parquet(str(shop.interactions)).count()
    kept = lakehouse.read("interactions").count()
    quarantined = lakehouse.read("quarantine").count()
    assert (rows_in, quarantined) == (kept + quarantined, shop.bad_rows)


def test_every_user_gets_a_full_list_even_without_any_history(lakehouse: Lakehouse) -> None:
    """And in every context, too."""
    lists = lakehouse.read("recommendations").where(F.col(c.USER_ID).isNotNull())
    users = {row[c.USER_ID] for row in lakehouse.read("user_index").collect()}
    counts = {
        (row[c.USER_ID], row[c.CONTEXT]): row["count"]
        for row in lists.groupBy(c.USER_ID, c.CONTEXT).count().collect()
    }
    assert set(counts) == {(user, context) for user in users for context in (None, *CONTEXTS)}
    assert set(counts.values()) == {10}


def test_reasons_of_a_user_without_history_are_what_chose_the_items(lakehouse: Lakehouse) -> None:
    lists = lakehouse.read("recommendations")
    for row in lists.where(F.col(c.USER_ID) == "user-90").collect():
        speaking = {name: max(part, 0.0) for name, part in row[c.PARTS].items()}
        apart = {name: speaking.pop(name, 0.0) for name in ("popularity", "content")}
        expected = {"popular": apart["popularity"], "attribute": apart["content"]}
        expected["model"] = sum(speaking.values())
        if all(reason["kind"] != "attribute" for reason in row[c.REASONS]):
            # No attribute can be told apart, so that content counts as what cannot be divided.
            expected["model"] += expected.pop("attribute")
        total = sum(expected.values())
        for reason in row[c.REASONS]:
            assert reason["share"] == pytest.approx(expected[reason["kind"]] / total, rel=1e-3)
        assert max(reason["share"] for reason in row[c.REASONS]) > 0.0


def test_no_list_holds_an_item_that_the_user_has(lakehouse: Lakehouse) -> None:
    lists = lakehouse.read("recommendations")
    items = lakehouse.read("item_index").select(c.ITEM_ID, c.ITEM_INDEX)
    users = lakehouse.read("user_index").select(c.USER_ID, c.USER_INDEX)
    matrix = lakehouse.read("user_item_matrix", fit=c.FINAL)
    items_had = F.explode(F.col(c.ITEM_INDICES).cast("array<long>"))
    seen = matrix.select(c.USER_INDEX, items_had.alias(c.ITEM_INDEX))
    listed = lists.join(items, c.ITEM_ID).join(users, c.USER_ID)
    assert listed.join(seen, [c.USER_INDEX, c.ITEM_INDEX], how="left_semi").count() == 0


def test_reasons_name_the_users_own_items_and_parts_add_up(lakehouse: Lakehouse) -> None:
    rows = lakehouse.read("recommendations").where(F.col(c.USER_ID) == "user-3").collect()
    kinds = {reason["kind"] for row in rows for reason in row[c.REASONS]}
    assert "history" in kinds
    for row in rows:
        assert sum(row[c.PARTS].values()) == pytest.approx(row[c.SCORE], rel=1e-3)


NOT_MADE = {"item_images", "text_vectors", "receipts", "fold_in_batches"}


@pytest.mark.parametrize("name", sorted(set(TABLES) - NOT_MADE))
def test_every_table_has_its_schema_and_key(lakehouse: Lakehouse, name: str) -> None:
    table = TABLES[name]
    frame = lakehouse.read(name)
    assert [(f.name, f.dataType) for f in frame.schema] == [
        (f.name, f.dataType) for f in table.schema
    ]
    required = [f.name for f in table.schema if not f.nullable]
    assert frame.where(" OR ".join(f"{one} IS NULL" for one in required)).count() == 0
    if table.key:
        key = [*table.key] if table.shared and name != "runs" else [c.RUN_ID, *table.key]
        assert frame.groupBy(*key).count().where("count > 1").count() == 0


def test_the_run_is_published_and_read_at_its_versions(
    spark: SparkSession, lakehouse: Lakehouse, config: Config
) -> None:
    assert published_run(lakehouse) == "first"
    published = read_published(spark, config.lake, "recommendations")
    assert published.count() == lakehouse.read("recommendations").count()


def test_settings_are_tried_on_validation_within_the_budget(lakehouse: Lakehouse) -> None:
    row = lakehouse.read("models", fit=c.SELECTION, kind="settings").first()
    assert row is not None
    trials = json.loads(row["parameters"])["trials"]
    # Seven seconds by the cost model are the config's own ridge and one other.
    assert [list(trial["values"]) for trial in trials] == [
        ["neighbours.ridge.user_exponent", "neighbours.ridge.item_exponent"]
    ]
    assert all(0.0 < trial["ndcg"] < 1.0 for trial in trials)


def test_what_each_part_is_worth_is_measured(lakehouse: Lakehouse) -> None:
    rows = lakehouse.read("ablations").collect()
    parts = {(row[c.MODEL], row["part"]) for row in rows}
    of_sequences = {("towers_sequence", "order"), ("towers_sequence", "context")}
    assert {("towers_on_sets", "mlp"), ("towers_on_sets", "gate")} | of_sequences <= parts
    assert {model for model, _ in parts} == {"towers_on_sets", "hybrid", "towers_sequence"}
    assert all(row[c.CI_LOW] <= row["difference"] <= row[c.CI_HIGH] for row in rows)


def test_it_is_said_where_validation_tells_little_of_items_without_interactions(
    lakehouse: Lakehouse, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = Fit(lakehouse, config, c.SELECTION)
    tell_of_new_items(fit, 24)
    said = capsys.readouterr().out
    assert re.match(r"hybrid: \d+ items of the catalogue have no interaction, .* holds 24 ", said)
    tell_of_new_items(fit, 25)
    assert capsys.readouterr().out == ""


def test_a_context_with_a_value_that_no_interaction_has_is_refused(
    lakehouse: Lakehouse, config: Config
) -> None:
    asked = config.replaced({"recommend.contexts": {"by fax": {"device": "fax"}}})
    with pytest.raises(ConfigError, match=r"'by fax' has device: fax, .* apart: phone, desk;"):
        context_vocabulary(Fit(lakehouse, asked, c.SELECTION))


def test_the_same_run_id_again_does_nothing(
    spark: SparkSession, lakehouse: Lakehouse, config: Config, output: Path
) -> None:
    before = {name: lakehouse.version(name) for name in TABLES if lakehouse.exists(name)}
    run_pipeline(spark, config, "first", output)
    assert {name: lakehouse.version(name) for name in before} == before


def test_artifacts_are_read_beside_the_tables_wherever_these_have_moved(
    spark: SparkSession, lakehouse: Lakehouse, config: Config, tmp_path: Path
) -> None:
    lake = Path(lakehouse.location)
    shutil.copytree(lake / "models", tmp_path / "models")
    moved = Fit(Lakehouse(spark, str(tmp_path), lakehouse.run_id), config, c.FINAL)
    place = moved.saved_artifact("towers", "svd")
    assert Path(str(place)) == tmp_path / "_artifacts" / lakehouse.run_id / "towers/final/svd"


def test_the_jobs_of_a_run_are_recorded_with_what_they_read_and_wrote(
    lakehouse: Lakehouse, config: Config
) -> None:
    rows = lakehouse.read("runs").where(F.col(c.RUN_ID) == "first").collect()
    assert {row["job"] for row in rows} == {*(job.name for job in jobs_of(config)), "publish"}
    assert {row["status"] for row in rows} == {"finished"}


@pytest.mark.parametrize("record", JOBS_OF_A_RUN, ids=lambda record: record.name)
def test_a_job_reads_and_writes_what_its_record_says(
    lakehouse: Lakehouse, record: JobRecord
) -> None:
    """On a shop where everything is on; what a record calls optional may be missing there."""
    [row] = lakehouse.read("runs").where(F.col("job") == record.name).collect()
    written = set(row["outputs"])
    assert set(record.writes) <= written <= {*record.writes, *record.writes_if_asked}
    # Tables that the job wrote itself are its own.
    read = set(row["inputs"]) - written
    assert set(record.reads) - written <= read <= {*record.reads, *record.reads_if_made}


def test_every_table_is_written_by_a_job_whose_record_names_it() -> None:
    named = {name for record in JOBS for name in (*record.writes, *record.writes_if_asked)}
    assert named == set(TABLES)


def test_the_pipeline_runs_the_jobs_in_the_order_of_their_records() -> None:
    assert tuple(job.record for job in JOBS_IN_ORDER) == JOBS_OF_A_RUN


def test_every_file_of_jobs_has_a_record() -> None:
    files = {file.stem for file in Path(jobs.__file__).parent.glob("*.py")} - {"__init__"}
    assert files == {record.name for record in JOBS}
