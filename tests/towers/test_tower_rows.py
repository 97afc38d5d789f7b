"""From tables to training rows, by Spark."""

import datetime
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from m6rec.errors import DataError
from m6rec.kernels.arrays.rows import Rows
from m6rec.stages.features.pictures import pictures_of
from m6rec.stages.pairs.matrix import sample_users
from m6rec.stages.ranking.lists import user_inputs
from m6rec.stages.ranking.validation import collect_validation_users
from m6rec.stages.training.tower_rows import write_tower_rows
from m6rec.towers.batches import ArrowRowBatches, concatenate_training_rows, reader_named
from m6rec.towers.pictures import NO_FRAME
from m6rec.towers.row_files import Manifest

MATRIX = "user_index long, item_indices array<int>, weights array<float>"


def matrix_of(spark: SparkSession, rows: Rows) -> DataFrame:
    values = [
        (int(user), rows.item_indices[low:high].tolist(), rows.weights[low:high].tolist())
        for user, low, high in zip(rows.user_index, rows.indptr[:-1], rows.indptr[1:], strict=True)
    ]
    return spark.createDataFrame(values, MATRIX)


def write(matrix: DataFrame, folder: Path, features: DataFrame | None = None) -> Manifest:
    return write_tower_rows(matrix, features, str(folder), 2, 3, maximum_history=50, seed=1)


def users_of(manifest: Manifest) -> list[list[int]]:
    return [
        [
            int(user)
            for batch in ArrowRowBatches(manifest, rank, seed=0, pool_rows=1).epoch(0, 1)
            for user in batch.rows.user_index
        ]
        for rank in range(manifest.world_size)
    ]


def test_the_ranks_get_all_rows_in_equal_shares(
    spark: SparkSession, rows: Rows, tmp_path: Path
) -> None:
    manifest = write(matrix_of(spark, rows.slice(0, 119)), tmp_path)
    shares = users_of(manifest)
    assert sorted(map(len, shares)) == [59, 60]
    assert sorted(shares[0] + shares[1]) == list(range(119))
    assert max(manifest.rows) - min(manifest.rows) <= 1


def test_the_files_do_not_depend_on_the_partitioning(
    spark: SparkSession, rows: Rows, tmp_path: Path
) -> None:
    matrix = matrix_of(spark, rows)
    first = write(matrix.repartition(5), tmp_path / "first")
    second = write(matrix.coalesce(1).orderBy("weights"), tmp_path / "second")
    assert first.files == second.files
    assert users_of(first) == users_of(second)
    for name in first.files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_rows_with_fewer_than_two_items_are_left_out(spark: SparkSession, tmp_path: Path) -> None:
    values = [(0, [3, 4], [1.0, 2.0]), (1, [5], [1.0]), (2, [], []), (3, [1, 7, 9], [1.0] * 3)]
    manifest = write(spark.createDataFrame(values, MATRIX), tmp_path)
    assert sorted(user for share in users_of(manifest) for user in share) == [0, 3]


def test_features_come_with_their_user_and_are_zero_where_there_are_none(
    spark: SparkSession, rows: Rows, tmp_path: Path
) -> None:
    values = [(user, [float(user), 1.0]) for user in range(0, 120, 2)]
    features = spark.createDataFrame(values, "user_index long, features array<float>")
    manifest = write_tower_rows(matrix_of(spark, rows), features, str(tmp_path), 1, 2, 50, 1)
    block = concatenate_training_rows(list(ArrowRowBatches(manifest).epoch(0, 1)))
    even = block.rows.user_index % 2 == 0
    np.testing.assert_array_equal(block.features[even, 0], block.rows.user_index[even])
    assert not block.features[~even].any()


def test_the_codes_of_contexts_stay_with_their_interactions(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = [datetime.datetime(2026, 1, day, tzinfo=datetime.UTC) for day in range(1, 5)]
    values = [
        (0, [3, 4], [1.0] * 2, at[:2], [31, 32, 41, 42]),
        # The cut leaves the latest items.
        (1, [5, 6, 7], [1.0] * 3, [at[2], at[0], at[1]], [51, 52, 61, 62, 71, 72]),
    ]
    matrix = spark.createDataFrame(values, f"{MATRIX}, times array<timestamp>, contexts array<int>")
    manifest = write_tower_rows(matrix, None, str(tmp_path), 1, 1, 2, 1, context_columns=2)
    for reader in (ArrowRowBatches, reader_named("auto")):
        block = concatenate_training_rows(list(reader(manifest).epoch(0, 2)))
        items = block.rows.item_indices
        assert sorted(items) == [3, 4, 5, 7]
        np.testing.assert_array_equal(block.contexts, np.stack([items * 10 + 1, items * 10 + 2], 1))


def test_features_of_length_zero_are_no_features(
    spark: SparkSession, rows: Rows, tmp_path: Path
) -> None:
    empty = spark.createDataFrame([(0, [])], "user_index long, features array<float>")
    assert write(matrix_of(spark, rows), tmp_path, empty).features == 0


def test_without_a_row_of_two_items_there_is_nothing_to_train_on(
    spark: SparkSession, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="no user has two items"):
        write(spark.createDataFrame([(0, [3], [1.0])], MATRIX), tmp_path)


def test_validation_users_are_collected_with_their_rows_and_targets(
    spark: SparkSession, rows: Rows
) -> None:
    targets = spark.createDataFrame(
        [(user, [user % 7, 50]) for user in range(0, 120, 3)],
        "user_index long, item_indices array<int>",
    )
    matrix = matrix_of(spark, rows).withColumns(
        {
            "times": F.transform("item_indices", lambda _: F.lit(None).cast("timestamp")),
            "excluded_indices": F.array((F.col("user_index") % 5).cast("int")),
        }
    )
    inputs = user_inputs(matrix, None, {}, None)
    nothing = np.zeros(60, np.bool_)
    chosen = sample_users(targets, 10, seed=1)
    sample = collect_validation_users(inputs, chosen, nothing, True)
    again = collect_validation_users(inputs.repartition(3), chosen.repartition(3), nothing, True)
    assert sample is not None and again is not None and len(sample) == 10
    found = sample.users.rows
    np.testing.assert_array_equal(found.user_index, again.users.rows.user_index)
    np.testing.assert_array_equal(sample.targets[::2], found.user_index % 7)
    assert sample.disliked is not None
    np.testing.assert_array_equal(sample.disliked[1], found.user_index % 5)
    liked_alone = collect_validation_users(inputs, chosen, nothing, True, mask_disliked=False)
    assert liked_alone is not None and liked_alone.disliked is None
    first = int(found.user_index[0])
    np.testing.assert_array_equal(
        found.item_indices[: found.indptr[1]],
        rows.item_indices[rows.indptr[first] : rows.indptr[first + 1]],
    )
    assert collect_validation_users(inputs, chosen.limit(0), nothing, True) is None


def test_pictures_are_laid_out_by_channel_and_frames_by_item(spark: SparkSession) -> None:
    frames = [bytearray(bytes(range(start, start + 12))) for start in (0, 100, 200)]
    rows = [(2, "trailer", 1, frames[2]), (1, "cover", 0, frames[0]), (2, "trailer", 0, frames[1])]
    frame = spark.createDataFrame(
        rows, "item_index long, attribute string, frame int, pixels binary"
    )
    cover, trailer = pictures_of(frame, 3)
    assert (cover.name, trailer.name) == ("cover", "trailer")
    np.testing.assert_array_equal(cover.places, [[NO_FRAME], [0], [NO_FRAME]])
    np.testing.assert_array_equal(cover.pixels[0, 0], [[0, 3], [6, 9]])
    np.testing.assert_array_equal(trailer.places[2], [0, 1])
    np.testing.assert_array_equal(trailer.pixels[:, 0, 0, 0], [100, 200])
    np.testing.assert_array_equal(trailer.present, [False, False, True])
