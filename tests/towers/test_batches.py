"""One contract for both readers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp

from m6rec.errors import DataError
from m6rec.kernels.arrays.rows import UNKNOWN_TIME, Float32, Rows
from m6rec.towers.batches import READERS, TrainingRows, concatenate_training_rows
from m6rec.towers.row_files import Manifest, cut_rows, write_row_file
from tests.lanes import needs_petastorm
from tests.matrix_rows import rows_from_scipy
from tests.towers.coloured import write_files

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture(params=["arrow", pytest.param("petastorm", marks=needs_petastorm)])
def reader(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def in_order(batches: list[TrainingRows]) -> TrainingRows:
    together = concatenate_training_rows(batches)
    assert len(np.unique(together.rows.user_index)) == len(together)
    return together


def untimed(rows: Rows, features: Float32) -> TrainingRows:
    no_contexts = np.zeros((rows.entries, 0), np.int32)
    return TrainingRows(rows, np.full(rows.entries, UNKNOWN_TIME), features, no_contexts)


def by_user(block: TrainingRows) -> dict[int, tuple[list[int], list[float], list[float]]]:
    rows = block.rows
    return {
        int(user): (
            rows.item_indices[start:stop].tolist(),
            rows.weights[start:stop].tolist(),
            features.tolist(),
        )
        for user, start, stop, features in zip(
            rows.user_index, rows.indptr[:-1], rows.indptr[1:], block.features, strict=True
        )
    }


def test_an_epoch_holds_every_row_once_and_whole(
    reader: str, manifest: Manifest, rows: Rows, user_features: Float32
) -> None:
    batches = list(READERS[reader](manifest, seed=1).epoch(0, steps=7))
    assert by_user(in_order(batches)) == by_user(untimed(rows, user_features))


def test_an_epoch_has_the_asked_steps_of_equal_size(reader: str, manifest: Manifest) -> None:
    sizes = [len(batch) for batch in READERS[reader](manifest, seed=1).epoch(0, steps=7)]
    assert len(sizes) == 7
    assert max(sizes) - min(sizes) <= 1


def test_an_epoch_can_be_drawn_again_and_the_next_has_another_order(
    reader: str, manifest: Manifest
) -> None:
    def users(epoch: int) -> list[int]:
        batches = READERS[reader](manifest, seed=1).epoch(epoch, steps=5)
        return [int(user) for batch in batches for user in batch.rows.user_index]

    assert users(0) == users(0)
    assert users(0) != users(1)


def test_pools_smaller_than_the_rows_lose_nothing(reader: str, manifest: Manifest) -> None:
    batches = READERS[reader](manifest, seed=1, pool_rows=13).epoch(0, steps=7)
    assert len(in_order(list(batches))) == 120


def test_rows_that_fit_in_a_pool_are_read_once_for_all_epochs(
    reader: str, rows: Rows, user_features: Float32, tmp_path: Path
) -> None:
    manifest = write_files(tmp_path, rows, user_features, files=2, world_size=1)
    kept, fresh = (READERS[reader](manifest, seed=1) for _ in range(2))
    expected = [batch.rows.user_index.tolist() for batch in fresh.epoch(1, steps=5)]
    list(kept.epoch(0, steps=5))
    for name in manifest.files:
        (tmp_path / name).unlink()
    assert [batch.rows.user_index.tolist() for batch in kept.epoch(1, steps=5)] == expected


def test_the_ranks_share_the_rows_and_take_equal_steps(
    reader: str, rows: Rows, user_features: Float32, tmp_path: Path
) -> None:
    manifest = write_files(tmp_path, rows, user_features, files=4, world_size=2)
    shares = [list(READERS[reader](manifest, rank, seed=1).epoch(0, 3)) for rank in (0, 1)]
    assert [len(share) for share in shares] == [3, 3]
    assert len(in_order([*shares[0], *shares[1]])) == 120


def test_rows_without_features_have_features_of_width_zero(
    reader: str, rows: Rows, tmp_path: Path
) -> None:
    manifest = write_files(tmp_path, rows, None, files=2, world_size=1)
    together = in_order(list(READERS[reader](manifest).epoch(0, steps=3)))
    assert together.features.shape == (120, 0)
    assert together.features.dtype == np.float32


@pytest.mark.parametrize("name", ["my out", "\u00e9t\u00e9", "2024-05-01T02:00", "a?b#c%20;d"])
def test_rows_lie_in_a_folder_of_any_name(
    reader: str, rows: Rows, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    manifest = write_files(folder, rows, None, files=2, world_size=1)
    assert len(in_order(list(READERS[reader](manifest).epoch(0, steps=3)))) == 120


@pytest.mark.parametrize("difference", [-1, 1])
def test_an_epoch_that_differs_from_the_manifest_is_an_error(
    reader: str, manifest: Manifest, difference: int
) -> None:
    wrong = replace(manifest, rows=(*manifest.rows[:-1], manifest.rows[-1] + difference))
    with pytest.raises(DataError, match="the manifest counts"):
        list(READERS[reader](wrong).epoch(0, steps=3))


@needs_petastorm
def test_both_readers_give_the_same_batches(manifest: Manifest) -> None:
    petastorm, arrow = (
        [batch.rows.user_index.tolist() for batch in READERS[name](manifest, seed=4).epoch(2, 6)]
        for name in ("petastorm", "arrow")
    )
    assert petastorm == arrow


def test_packs_end_with_their_users_or_their_room(reader: str, rows: Rows, tmp_path: Path) -> None:
    few = rows_from_scipy(sp.csr_matrix(np.ones((130, 2), np.float32)))
    for number, (block, width, packs) in enumerate([(few, 200, 3), (rows, 10_000, 2)]):
        file = tmp_path / f"{number}.parquet"
        write_row_file(file, block, None, width)
        assert pq.read_metadata(file).num_rows == packs
        manifest = Manifest(str(tmp_path), (file.name,), (len(block),), width, 0, world_size=1)
        together = in_order(list(READERS[reader](manifest).epoch(0, 1)))
        nothing = np.zeros((len(block), 0), np.float32)
        assert by_user(together) == by_user(untimed(block, nothing))


def test_a_long_row_is_cut_to_an_ascending_choice_of_its_items(rows: Rows) -> None:
    cut, _ = cut_rows(rows, None, 5, seed=1)
    again, _ = cut_rows(rows.slice(30, 40), None, 5, seed=1)
    np.testing.assert_array_equal(cut.slice(30, 40).item_indices, again.item_indices)
    np.testing.assert_array_equal(cut.counts, np.minimum(rows.counts, 5))
    for row in range(len(rows)):
        kept = cut.slice(row, row + 1).item_indices
        assert (np.diff(kept) > 0).all()
        assert np.isin(kept, rows.slice(row, row + 1).item_indices).all()


def test_small_data_gets_the_minimum_of_steps_and_no_step_without_a_row() -> None:
    manifest = Manifest("nowhere", ("a", "b"), (50, 49), 3, 0, world_size=2)
    assert manifest.steps_per_epoch(users_per_batch=256, minimum_steps=16) == 16
    assert manifest.steps_per_epoch(users_per_batch=5, minimum_steps=1) == 10
    assert manifest.steps_per_epoch(users_per_batch=256, minimum_steps=1000) == 49
