"""Two epochs of the towers that know order, against the number of interactions.

Users grow with the interactions and items stay, as in the scaling of the matrix programs. The order
of a history is drawn at random: what an epoch costs does not depend on it.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from m6rec.config.towers import SequenceConfig, TowersConfig
from m6rec.kernels.factors.projection import FactorModel
from m6rec.towers.batches import PetastormRowBatches
from m6rec.towers.encoder import ItemInputs
from m6rec.towers.row_files import Manifest, cut_rows, pack_width, write_row_file
from m6rec.towers.sequence_training import train_sequence_towers
from tests.benchmarks.measure import Contender, Measure, Workspace, time_of
from tests.benchmarks.scaling import dataset_of_size, fitted_exponent

KEY = "sequence_tower_seconds"
FULL = (100_000, 1_000_000, 10_000_000)
QUICK = (20_000,)
EPOCHS = 2
RANK = 64
ROWS_PER_FILE = 32_768


def prepare(workspace: Workspace) -> Measure:
    """Training through Petastorm, from files like those of job `train_towers`."""
    manifest = write_rows(workspace)
    items = _items(workspace)
    workspace.facts.update(workspace.dataset.sizes(), workers=1, epochs=EPOCHS)

    def train() -> None:
        train_sequence_towers(
            PetastormRowBatches(manifest),
            items,
            SequenceConfig(),
            workspace.seed,
            epochs=EPOCHS,
            threads=1,
        )

    return lambda: time_of(train)


def write_rows(workspace: Workspace) -> Manifest:
    """Files like those of job `train_towers`, in the workspace's scratch folder."""
    rows, config = workspace.dataset.rows(), TowersConfig()
    times = np.random.default_rng(workspace.seed).permutation(rows.entries)
    cut, places = cut_rows(rows, times, config.maximum_history, workspace.seed)
    width = pack_width(cut.entries, len(cut), int(cut.counts.max()))
    names, counts = [], []
    for start in range(0, len(cut), ROWS_PER_FILE):
        stop = min(start + ROWS_PER_FILE, len(cut))
        of_part = times[places[cut.indptr[start] : cut.indptr[stop]]]
        part = cut.slice(start, stop)
        names.append(f"{start:010d}.parquet")
        counts.append(stop - start)
        write_row_file(workspace.scratch / names[-1], part, None, width, of_part)
    return Manifest(str(workspace.scratch), tuple(names), tuple(counts), width, 0, 1, timed=True)


def _items(workspace: Workspace) -> ItemInputs:
    """Items with random factors; the cost does not depend on their values."""
    n_items = workspace.dataset.n_items
    generator = np.random.default_rng(workspace.seed)
    factors = generator.standard_normal((n_items, RANK), np.float32)
    counts = np.bincount(workspace.dataset.rows().item_indices, minlength=n_items)
    return ItemInputs(
        FactorModel("svd", factors, None, np.ones(n_items, np.float32), {}, counts.astype(np.int64))
    )


def contenders(sizes: tuple[int, ...], items: int, folder: Path, seed: int) -> list[Contender]:
    """One of each size."""
    return [
        Contender(
            KEY,
            str(size),
            "m6rec",
            prepare,
            dataset=partial(dataset_of_size, folder / str(size), size, items, seed),
        )
        for size in sizes
    ]


def summary(
    medians: Mapping[str, float], facts: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """Case `exponent`: the slopes of log seconds and log bytes against log interactions.

    Args:
        medians: seconds, by case.
        facts: of each case; `interactions` and `peak_bytes` among them.
    """
    if len(medians) < 2:
        return {}
    sizes = {case: facts[case]["interactions"] for case in medians}
    peaks = {sizes[case]: facts[case]["peak_bytes"] for case in medians}
    seconds = {sizes[case]: medians[case] for case in medians}
    return {"exponent": {"seconds": fitted_exponent(seconds), "peak_bytes": fitted_exponent(peaks)}}
