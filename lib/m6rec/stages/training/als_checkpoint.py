"""Save and restore the item factors of ALS after some iterations, in a file of any file system."""

from zipfile import BadZipFile

import numpy as np

from m6rec.config.models import AlsConfig
from m6rec.errors import ArtifactError
from m6rec.files import AnyPlace, as_place, at_hand, written_whole
from m6rec.fingerprints import fingerprint_of
from m6rec.kernels.arrays.communicator import Communicator, all_sum
from m6rec.kernels.arrays.rows import Float32, Rows


def checkpoint_fingerprint(
    rows: Rows, n_items: int, config: AlsConfig, seed: int, communicator: Communicator
) -> str:
    """A text that is equal for checkpoints made from the same rows, config and seed."""
    # Sums of whole numbers do not depend on how the rows are divided among ranks.
    spread = np.repeat(rows.user_index + 1, rows.counts) * (rows.item_indices.astype(np.int64) + 1)
    sums = np.array(
        [len(rows), rows.entries, spread.sum(), rows.weights.view(np.int32).sum(dtype=np.int64)]
    )
    communicator.all_reduce(sums)
    parts = [n_items, config.model_dump(mode="json"), seed, sums.tolist()]
    return fingerprint_of(parts)


def resume_from_checkpoint(
    path: AnyPlace, fingerprint: str, shape: tuple[int, int], communicator: Communicator
) -> tuple[int, Float32] | None:
    """The iterations done and the item factors, on all ranks; None where training starts anew.

    Args:
        path: the file, which only rank 0 reads.
        fingerprint: of this training; a checkpoint with another one is ignored.
        shape: of the item factors.
        communicator: the group; all ranks call this function together.
    """
    iteration, factors = 0, np.zeros(shape, np.float32)
    if communicator.rank == 0:
        found = read_checkpoint(path, fingerprint)
        if found is not None:
            iteration, factors = found
    done = int(all_sum(communicator, iteration))
    if done == 0:
        return None
    communicator.broadcast(factors)
    return done, factors


def write_checkpoint(path: AnyPlace, fingerprint: str, iteration: int, factors: Float32) -> None:
    """Replace the checkpoint by the item factors after `iteration` iterations, float32 [M, k]."""
    with written_whole(path) as unfinished, unfinished.open("wb") as stream:
        np.savez(stream, fingerprint=np.array(fingerprint), iteration=iteration, factors=factors)


def read_checkpoint(path: AnyPlace, fingerprint: str) -> tuple[int, Float32] | None:
    """The iterations done and the item factors; None without a checkpoint of this training.

    Raises:
        ArtifactError: the file is damaged.
    """
    place = as_place(path)
    if not place.is_file():
        return None
    try:
        with at_hand(place) as file, np.load(file, allow_pickle=False) as saved:
            if str(saved["fingerprint"]) != fingerprint:
                return None
            return int(saved["iteration"]), np.ascontiguousarray(saved["factors"], np.float32)
    except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
        raise ArtifactError(
            f"the ALS checkpoint {path} cannot be read ({error}); remove it to start anew"
        ) from error
