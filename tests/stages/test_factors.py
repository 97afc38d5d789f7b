"""Factor models trained on two ranks equal those of one process, and survive tables and stops."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from pyspark.sql import DataFrame, SparkSession

from m6rec.config.models import AlsConfig, MllibAlsConfig, SvdConfig
from m6rec.errors import ArtifactError, DataError
from m6rec.kernels.arrays.communicator import LocalCommunicator
from m6rec.kernels.arrays.rows import Rows
from m6rec.kernels.factors import als
from m6rec.kernels.factors.projection import aligned_with, project
from m6rec.kernels.factors.svd import randomized_svd, svd_factor_model
from m6rec.spark.arrow_rows import list_array
from m6rec.spark.shipping import ship
from m6rec.stages.training import factors as stage
from m6rec.stages.training.als_checkpoint import (
    checkpoint_fingerprint,
    read_checkpoint,
    write_checkpoint,
)
from m6rec.stages.training.factor_models import model_from_batches, model_to_frame
from m6rec.stages.training.mllib import train_mllib_als
from tests.item_frames import batches_of
from tests.matrix_rows import rows_from_scipy

USERS, ITEMS = 90, 50
ALS = AlsConfig(rank=5, iterations=6, checkpoint_every=2, unobserved_total=10.0)


def _rows() -> Rows:
    matrix = sp.random(USERS, ITEMS, 0.15, format="lil", random_state=3, dtype=np.float32)
    matrix[7, :] = 0
    matrix[8, :] = 1.0
    matrix[:, 5] = 0
    return rows_from_scipy(matrix.tocsr())


@pytest.fixture(scope="module")
def matrix(spark: SparkSession) -> DataFrame:
    rows = _rows()
    table = pa.table(
        {
            "user_index": rows.user_index,
            "item_indices": list_array(rows.indptr, rows.item_indices),
            "weights": list_array(rows.indptr, rows.weights),
        }
    )
    frame = spark.createDataFrame(
        table.to_pandas(), "user_index long, item_indices array<int>, weights array<float>"
    )
    return frame.repartition(3).cache()


def test_svd_on_two_ranks_equals_one_process(matrix: DataFrame) -> None:
    config = SvdConfig(rank=4, oversampling=20, power_passes=8)
    found = stage.train_svd(matrix, ITEMS, config, 1)
    result = randomized_svd(_rows(), ITEMS, config, 1, LocalCommunicator())
    expected = svd_factor_model(result, config)
    np.testing.assert_allclose(found.factors, expected.factors, atol=1e-4)
    assert found.projection is not None and expected.projection is not None
    np.testing.assert_allclose(found.projection, expected.projection, atol=1e-4)
    np.testing.assert_array_equal(found.scales, expected.scales)
    np.testing.assert_array_equal(found.interaction_counts, expected.interaction_counts)


def test_als_on_two_ranks_equals_one_process(matrix: DataFrame) -> None:
    found = stage.train_als(matrix, ITEMS, ALS, 1, None)
    expected = als.alternating_least_squares(_rows(), ITEMS, ALS, 1, LocalCommunicator())
    np.testing.assert_allclose(found.factors, expected.factors, atol=1e-4)
    assert found.parameters == expected.parameters | {"attribute_weight": 0.0}
    np.testing.assert_allclose(project(found, _rows()), project(expected, _rows()), atol=1e-3)


def test_als_stopped_after_a_checkpoint_resumes_to_the_same_model(
    matrix: DataFrame, tmp_path: Path
) -> None:
    path = str(tmp_path / "new" / "als.npz")
    local = LocalCommunicator()
    fingerprint = checkpoint_fingerprint(_rows(), ITEMS, ALS, 1, local)
    iterations = []

    def write_and_stop(iteration: int, factors: np.ndarray) -> None:
        write_checkpoint(path, fingerprint, iteration, factors)
        iterations.append(iteration)
        if iteration == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        als.alternating_least_squares(_rows(), ITEMS, ALS, 1, local, write_and_stop)
    assert iterations == [2, 4]
    resumed = stage.train_als(matrix, ITEMS, ALS, 1, path)
    whole = stage.train_als(matrix, ITEMS, ALS, 1, None)
    np.testing.assert_allclose(resumed.factors, whole.factors, atol=1e-4)


def test_a_checkpoint_is_used_only_for_the_same_rows_config_and_seed(
    matrix: DataFrame, tmp_path: Path
) -> None:
    path = str(tmp_path / "als.npz")
    stage.train_als(matrix, ITEMS, ALS, 1, path)
    fingerprint = checkpoint_fingerprint(_rows(), ITEMS, ALS, 1, LocalCommunicator())
    found = read_checkpoint(path, fingerprint)
    assert found is not None and found[0] == 4
    other = checkpoint_fingerprint(_rows(), ITEMS, ALS, 2, LocalCommunicator())
    assert read_checkpoint(path, other) is None
    assert [file.name for file in tmp_path.iterdir()] == ["als.npz"]


def test_a_broken_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "als.npz"
    path.write_bytes(b"half a file")
    with pytest.raises(ArtifactError, match="remove it"):
        read_checkpoint(str(path), "any")


def test_a_model_survives_its_table(spark: SparkSession) -> None:
    for model in (
        als.alternating_least_squares(_rows(), ITEMS, ALS, 1, LocalCommunicator()),
        svd_factor_model(
            randomized_svd(_rows(), ITEMS, SvdConfig(rank=4), 1, LocalCommunicator()),
            SvdConfig(rank=4),
        ),
    ):
        frame = model_to_frame(spark, model)
        parameters = json.loads(json.dumps(model.parameters))
        back = model_from_batches(
            batches_of(frame.repartition(3)), parameters, model.interaction_counts
        )
        assert (back.method, back.parameters) == (model.method, model.parameters)
        np.testing.assert_array_equal(back.factors, model.factors)
        np.testing.assert_array_equal(project(back, _rows()), project(model, _rows()))
    with pytest.raises(DataError, match="expected one for each item index"):
        model_from_batches(batches_of(frame.union(frame)), parameters, model.interaction_counts)


def test_a_turned_model_takes_along_what_each_worker_would_compute(spark: SparkSession) -> None:
    trained = als.alternating_least_squares(_rows(), ITEMS, ALS, 1, LocalCommunicator())
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((ALS.rank, ALS.rank)))[0]
    turned = aligned_with(trained, (trained.factors @ rotation).astype(np.float32))
    rows = batches_of(model_to_frame(spark, turned))
    back = model_from_batches(rows, turned.parameters, turned.interaction_counts)
    arrived = ship(spark, back).load()
    assert "on_axes" in vars(arrived)
    assert not any(array.flags.writeable for array in arrived.on_axes)
    np.testing.assert_array_equal(project(arrived, _rows()), project(turned, _rows()))


def test_mllib_users_are_what_project_gives(matrix: DataFrame, tmp_path: Path) -> None:
    # So many iterations overflow the stack of a JVM that keeps no checkpoints.
    config = MllibAlsConfig(rank=4, iterations=25)
    model, users = train_mllib_als(matrix, ITEMS, config, 1, str(tmp_path))
    assert not model.factors[5].any()
    found = {row["user_index"]: row["factor"] for row in users.collect()}
    assert 7 not in found
    # MLlib's users were solved against the items of one iteration before.
    projected = project(model, _rows())
    scores = np.array([found[user] for user in sorted(found)]) @ model.factors.T
    np.testing.assert_allclose(scores, np.delete(projected, 7, axis=0) @ model.factors.T, atol=0.05)


def test_terms_give_items_without_interactions_the_factors_of_items_like_them(
    spark: SparkSession, matrix: DataFrame
) -> None:
    """Items 0 to 3 and three new ones share term 0 or 1 with the known ones; one has nothing."""
    known = ITEMS
    term_of = {0: 0, 1: 0, 2: 1, 3: 1, known: 0, known + 1: 1}
    rows, columns = list(term_of), list(term_of.values())
    terms = sp.csr_matrix(
        (np.ones(len(rows), np.float32), (rows, columns)), shape=(known + 3, 3), dtype=np.float32
    )
    config = ALS.model_copy(update={"attribute_weight": 2.0})
    model = stage.train_als(matrix, known + 3, config, 1, None, terms)
    plain = stage.train_als(matrix, known + 3, ALS, 1, None, terms)
    assert model.knows_attributes and not plain.knows_attributes
    assert not plain.factors[known:].any()
    assert model.factors[known : known + 2].any(axis=1).all()
    assert not model.factors[known + 2].any()
    cosines = model.factors @ model.factors.T
    assert cosines[known, 0] > cosines[known, 2]
    assert cosines[known + 1, 2] > cosines[known + 1, 0]
    np.testing.assert_array_equal(model.interaction_counts, plain.interaction_counts)
    assert not model.interaction_counts[known:].any()


def test_rows_of_terms_hold_each_items_heaviest_terms_and_no_term_of_one_item(
    spark: SparkSession,
) -> None:
    dense = np.zeros((3, 60), np.float32)
    dense[0] = np.arange(1, 61)
    dense[1, :12] = 1.0
    dense[2, [3, 59]] = 0.5
    rows = stage.attribute_rows(spark, sp.csr_matrix(dense), 2.0).collect()
    found = {-1 - row.user_index: (row.item_indices, row.weights) for row in rows}
    assert found[59] == ([0, 2], [120.0, 1.0])
    assert found[10] == ([0, 1], [22.0, 2.0])
    # Beyond the fifty heaviest terms of item 0.
    assert found[3] == ([1, 2], [2.0, 1.0])
    assert set(found) == {3, 10, 11, 59}
