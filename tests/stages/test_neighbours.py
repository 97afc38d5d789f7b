"""The distributed neighbours against the same kernels on one machine."""

from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest
import scipy.sparse as sp
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs import train_neighbours
from m6rec import columns as c
from m6rec.config.models import NeighboursConfig, RidgeConfig
from m6rec.config.run import Config, parse_config
from m6rec.errors import DataError, M6RecError
from m6rec.fits.fit import Fit
from m6rec.kernels.arrays.rows import Rows
from m6rec.kernels.neighbours import item_neighbours as kernel
from m6rec.kernels.neighbours import ridge as ridge_kernel
from m6rec.kernels.neighbours.user_neighbours import CandidateUsers, user_neighbour_search
from m6rec.lakehouse import Lakehouse
from m6rec.stages.training import gram
from m6rec.stages.training import neighbours as stage
from m6rec.stages.training.gram import (
    assign_blocks,
    matrix_statistics,
    packed_by_block,
    partition_keys,
)
from m6rec.stages.training.item_weights import item_weights_from_batches, item_weights_to_frame
from m6rec.stages.training.pieces import unpack_pieces
from tests.item_frames import batches_of
from tests.matrix_rows import rows_from_scipy

N_USERS, N_ITEMS = 120, 40
CONFIG = NeighboursConfig(
    neighbours=6,
    user_neighbours=5,
    ridge=RidgeConfig(candidates=8, regularisation=20.0, kept=5),
)


def _dense() -> np.ndarray:
    generator = np.random.default_rng(11)
    values = generator.integers(1, 4, (N_USERS, N_ITEMS))
    popularity = np.linspace(0.05, 0.4, N_ITEMS)
    dense = np.where(generator.random((N_USERS, N_ITEMS)) < popularity, values, 0)
    # An item that nobody has, and a user without history.
    dense[:, 3] = 0
    dense[7] = 0
    return dense.astype(np.float32)


def _frame(spark: SparkSession, rows: Rows, partitions: int) -> DataFrame:
    schema = T.StructType(
        [
            T.StructField(c.USER_INDEX, T.LongType(), False),
            T.StructField(c.ITEM_INDICES, T.ArrayType(T.IntegerType(), False), False),
            T.StructField(c.WEIGHTS, T.ArrayType(T.FloatType(), False), False),
        ]
    )
    data = []
    for position, user in enumerate(rows.user_index):
        low, high = rows.indptr[position], rows.indptr[position + 1]
        items, weights = rows.item_indices[low:high], rows.weights[low:high]
        data.append((int(user), items.tolist(), weights.tolist()))
    return spark.createDataFrame(data, schema).repartition(partitions, c.USER_INDEX)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return rows_from_scipy(sp.csr_matrix(_dense()))


@pytest.fixture(scope="module")
def matrix(spark: SparkSession, rows: Rows) -> DataFrame:
    return _frame(spark, rows, 3).cache()


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram, "BLOCK_ENTRIES", 300)


def _assert_equal(found: kernel.ItemWeights, expected: kernel.ItemWeights) -> None:
    npt.assert_array_equal(found.indptr, expected.indptr)
    npt.assert_array_equal(found.neighbour_indices, expected.neighbour_indices)
    npt.assert_allclose(found.weights, expected.weights, rtol=1e-5)


def test_item_neighbours_equal_the_kernel_on_one_machine(matrix: DataFrame, rows: Rows) -> None:
    expected = kernel.item_neighbours(rows, N_ITEMS, 6, 0.5, 0.5)
    _assert_equal(stage.train_item_neighbours(matrix, N_ITEMS, CONFIG), expected)


@pytest.mark.usefixtures("small_blocks")
def test_many_blocks_give_what_one_gives_to_the_last_bit(
    spark: SparkSession, rows: Rows, matrix: DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = stage.train_item_neighbours(matrix, N_ITEMS, CONFIG)
    monkeypatch.setattr(gram, "BLOCK_ENTRIES", 10**9)
    shuffled = rows.to_scipy(N_ITEMS)[::-1].tocsr()
    other = _frame(spark, rows_from_scipy(shuffled, rows.user_index[::-1].copy()), 1)
    one = stage.train_item_neighbours(other, N_ITEMS, CONFIG)
    npt.assert_array_equal(many.neighbour_indices, one.neighbour_indices)
    npt.assert_array_equal(many.weights, one.weights)


@pytest.mark.parametrize("seed", [1, 2])
def test_blocks_of_an_item_each_change_no_bit(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    held = sp.random(60, N_ITEMS, 0.15, "csr", np.float32, np.random.default_rng(seed))
    matrix = _frame(spark, rows_from_scipy(held), 2)
    one = stage.train_item_neighbours(matrix, N_ITEMS, CONFIG)
    monkeypatch.setattr(gram, "BLOCK_ENTRIES", 10)
    # Each message of a batch has rows of a few blocks alone.
    monkeypatch.setattr(gram, "PIECE_ENTRIES", 100)
    statistics = matrix_statistics(matrix, N_ITEMS, CONFIG.maximum_history)
    assert assign_blocks(statistics.costs, 2)[1] > N_ITEMS
    many = stage.train_item_neighbours(matrix, N_ITEMS, CONFIG)
    npt.assert_array_equal(many.indptr, one.indptr)
    npt.assert_array_equal(many.neighbour_indices, one.neighbour_indices)
    npt.assert_array_equal(many.weights, one.weights)


def test_rows_are_packed_for_each_block_that_they_touch_and_for_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocks_of_all, n_items = 5_000, 20_000
    generator = np.random.default_rng(4)
    held = sp.random(50, n_items, 0.005, "csr", np.float32, generator)
    rows = rows_from_scipy(held, np.arange(50) + 7)
    block_of_item = generator.integers(0, blocks_of_all, n_items).astype(np.int32)
    monkeypatch.setattr(gram, "PIECE_ENTRIES", 50_000)
    parts = list(packed_by_block(rows, block_of_item))
    # Not one for each block, of which there may be hundreds of thousands.
    assert len(parts) < 20
    found = {
        int(block): unpack_pieces(packed, row)
        for blocks, packed in parts
        for row, block in enumerate(blocks)
    }
    assert list(found) == np.unique(block_of_item[rows.item_indices]).tolist()
    for block in list(found)[::100]:
        touching = [
            row
            for row in range(len(rows))
            if (block_of_item[rows.slice(row, row + 1).item_indices] == block).any()
        ]
        expected = rows.take(np.array(touching))
        npt.assert_array_equal(found[block].keys, expected.user_index)
        npt.assert_array_equal(found[block].indptr, expected.indptr)
        npt.assert_array_equal(found[block].indices, expected.item_indices)
        npt.assert_array_equal(found[block].values, expected.weights)


def test_rows_without_items_are_packed_for_no_block() -> None:
    for users in (0, 3):
        empty = rows_from_scipy(sp.csr_matrix((users, N_ITEMS)))
        assert list(packed_by_block(empty, np.zeros(N_ITEMS, np.int32))) == []


@pytest.mark.parametrize("n_blocks", [1, 2, 700])
def test_each_block_has_a_key_that_leads_to_a_partition_of_its_own(
    spark: SparkSession, n_blocks: int
) -> None:
    keys = partition_keys(spark, n_blocks)
    frame = spark.createDataFrame([(int(key),) for key in keys], "key long")
    reached = frame.select(F.pmod(F.hash("key"), F.lit(n_blocks))).collect()
    assert [row[0] for row in reached] == list(range(n_blocks))


def test_a_small_catalogue_gets_the_ridge_with_all_candidates(
    matrix: DataFrame, rows: Rows
) -> None:
    expected = ridge_kernel.ridge(kernel.binary_rows(rows), N_ITEMS, 8, 0.25, 0.3, 20.0, 5)
    _assert_equal(stage.train_ridge(matrix, N_ITEMS, CONFIG), expected)


def test_unless_told_a_small_catalogue_keeps_all_weights_of_the_ridge(
    matrix: DataFrame, rows: Rows
) -> None:
    ridge = RidgeConfig(candidates=8, regularisation=20.0)
    config = CONFIG.model_copy(update={"ridge": ridge})
    expected = ridge_kernel.ridge(kernel.binary_rows(rows), N_ITEMS, 8, 0.25, 0.3, 20.0, N_ITEMS)
    _assert_equal(stage.train_ridge(matrix, N_ITEMS, config), expected)
    assert [stage.kept_entries(n_items) for n_items in (5_000, 40_000)] == [300, 100]


@pytest.mark.usefixtures("small_blocks")
def test_a_large_catalogue_gets_the_local_ridge_solved_by_target(
    matrix: DataFrame, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ridge_kernel, "ALL_CANDIDATES_LIMIT", 0)
    expected = ridge_kernel.ridge(kernel.binary_rows(rows), N_ITEMS, 8, 0.25, 0.3, 20.0, 5)
    _assert_equal(stage.train_ridge(matrix, N_ITEMS, CONFIG), expected)


def test_long_histories_are_cut_before_they_cost_their_square(
    spark: SparkSession, rows: Rows
) -> None:
    config = CONFIG.model_copy(update={"maximum_history": 5})
    cut = kernel.sample_long_rows(rows, 5)
    expected = kernel.item_neighbours(cut, N_ITEMS, 6, 0.5, 0.5)
    _assert_equal(stage.train_item_neighbours(_frame(spark, rows, 2), N_ITEMS, config), expected)
    statistics = matrix_statistics(_frame(spark, rows, 2), N_ITEMS, 5)
    assert statistics.costs.sum() == (cut.counts**2).sum()


def test_statistics_are_the_counts_of_the_matrix(matrix: DataFrame) -> None:
    dense = _dense()
    found = matrix_statistics(matrix, N_ITEMS, 2000)
    npt.assert_array_equal(found.counts, (dense > 0).sum(axis=0))
    npt.assert_allclose(found.degrees, dense.sum(axis=0))
    npt.assert_array_equal(found.costs, ((dense > 0).sum(axis=1)[:, None] * (dense > 0)).sum(0))
    assert found.largest_weight == 3.0
    counts = (dense > 0).sum(axis=1)
    assert found.mean_scale(0.5) == pytest.approx((counts[counts > 0] ** -0.5).mean())


def test_candidates_are_all_users_with_a_history(matrix: DataFrame) -> None:
    candidates = stage.candidate_users(matrix, CONFIG, seed=1)
    assert candidates.rows.user_index.tolist() == [u for u in range(N_USERS) if u != 7]


def test_candidates_are_bounded_and_chosen_by_seed_alone(
    spark: SparkSession, matrix: DataFrame, rows: Rows
) -> None:
    config = CONFIG.model_copy(update={"maximum_candidate_users": 20})
    first = stage.candidate_users(matrix, config, seed=1)
    again = stage.candidate_users(_frame(spark, rows, 1), config, seed=1)
    other = stage.candidate_users(matrix, config, seed=2)
    assert len(first) == 20
    npt.assert_array_equal(first.rows.user_index, again.rows.user_index)
    npt.assert_array_equal(first.rows.item_indices, again.rows.item_indices)
    assert set(first.rows.user_index) != set(other.rows.user_index)


def test_no_candidates_give_every_user_an_empty_list(spark: SparkSession) -> None:
    empty = rows_from_scipy(sp.csr_matrix((4, N_ITEMS)))
    candidates = stage.candidate_users(_frame(spark, empty, 1), CONFIG, seed=1)
    assert isinstance(candidates, CandidateUsers)
    found = user_neighbour_search(candidates, N_ITEMS, 5, 0.5).find(empty)
    assert found.indptr.tolist() == [0] * 5


def test_an_empty_matrix_has_no_item_neighbours_and_no_ridge(spark: SparkSession) -> None:
    empty = _frame(spark, rows_from_scipy(sp.csr_matrix((4, N_ITEMS))), 2)
    assert len(stage.train_item_neighbours(empty, N_ITEMS, CONFIG).weights) == 0
    with pytest.raises(DataError, match="no interactions"):
        stage.train_ridge(empty, N_ITEMS, CONFIG)


def test_weights_survive_the_table(spark: SparkSession) -> None:
    weights = kernel.item_weights_from_scipy(sp.random(50, 50, 0.1, "csr", random_state=4))
    frame = item_weights_to_frame(spark, weights, "ridge")
    assert frame.count() == np.count_nonzero(np.diff(weights.indptr))
    again = item_weights_from_batches(batches_of(frame.orderBy(F.rand(1))), 50)
    npt.assert_array_equal(again.indptr, weights.indptr)
    npt.assert_array_equal(again.neighbour_indices, weights.neighbour_indices)
    npt.assert_array_equal(again.weights, weights.weights)
    with pytest.raises(DataError, match="once at most"):
        item_weights_from_batches(batches_of(frame.union(frame)), 50)


def test_items_beyond_the_index_are_named(matrix: DataFrame) -> None:
    with pytest.raises(Exception, match="holds item_index 39, expected less than the 20 items"):
        stage.train_item_neighbours(matrix, 20, CONFIG)


def test_blocks_share_the_cost_about_equally() -> None:
    costs = np.random.default_rng(2).zipf(1.7, 5000).clip(max=2000) * 1000
    blocks, n_blocks = assign_blocks(costs, 4)
    shares = np.bincount(blocks, weights=costs) / costs.sum()
    assert n_blocks == len(shares) == 4
    assert shares.max() < 1.3 / n_blocks


def _config() -> Config:
    return parse_config(
        {
            "interactions": {"source": {"path": "unused"}},
            "neighbours": CONFIG.model_dump(),
        },
        "test",
    )


def test_the_job_writes_both_methods_and_user_neighbours_of_both_fits(
    spark: SparkSession, matrix: DataFrame, tmp_path: Path
) -> None:
    lakehouse = Lakehouse(spark, str(tmp_path / "lake"), "run")
    index = spark.range(N_ITEMS).select(
        F.col("id").cast("string").alias(c.ITEM_ID), F.col("id").alias(c.ITEM_INDEX)
    )
    lakehouse.append_new("item_index", index, (c.ITEM_ID,))
    full = matrix.withColumns(
        {
            c.TIMES: F.array_repeat(F.lit(None).cast("timestamp"), F.size(c.ITEM_INDICES)),
            c.EXCLUDED_INDICES: F.slice(c.ITEM_INDICES, 1, 0),
        }
    )
    fits = [full.withColumn(c.FIT, F.lit(fit)) for fit in (c.SELECTION, c.FINAL)]
    lakehouse.write("user_item_matrix", fits[0].union(fits[1]))
    train_neighbours.run(lakehouse, _config())
    ridge = Fit(lakehouse, _config(), c.FINAL).item_weights("ridge")
    _assert_equal(ridge, stage.train_ridge(matrix, N_ITEMS, CONFIG))
    parts = lakehouse.read("item_neighbours").select(c.FIT, c.METHOD).distinct().count()
    assert parts == 4


def test_the_job_names_the_table_that_is_missing(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(M6RecError, match="user_item_matrix does not exist; run the job"):
        train_neighbours.run(Lakehouse(spark, str(tmp_path / "lake"), "run"), _config())
