"""One fit of a run."""

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.errors import TableError
from m6rec.kernels.arrays.rows import Int64
from m6rec.lakehouse import Lakehouse
from m6rec.stages.pairs.catalogue import forbidden_items
from m6rec.stages.pairs.matrix import interaction_counts, sample_users, target_rows


def item_count(lakehouse: Lakehouse) -> int:
    """How many dense item indices there are."""

    def count() -> int:
        row = lakehouse.read("item_index").agg(F.max(c.ITEM_INDEX)).first()
        if row is None or row[0] is None:
            raise TableError("table item_index is empty; run prepare_interactions first")
        return int(row[0]) + 1

    return lakehouse.once("item_index", "count", count)


def unlisted_items(lakehouse: Lakehouse, config: Config, fit: str) -> npt.NDArray[np.bool_]:
    """bool [items]: items that no measured list of a fit may hold, as `evaluate.candidates` says.

    Of cold items the selection fit ranks those that validation has held out, and not those of the
    test: among so many more, lists of one length would reach less deep than on test.
    """
    unlisted = forbidden_items(lakehouse.read("catalogue"), item_count(lakehouse))
    if config.evaluate.ranks_cold_items:
        unlisted |= read_item_counts(lakehouse, fit) > 0
        if fit == c.SELECTION:
            unlisted |= read_item_counts(lakehouse, c.FINAL) == 0
    return unlisted


def measured_users(lakehouse: Lakehouse, config: Config, fit: str) -> DataFrame:
    """The users whose lists are measured, with their held-out items: user_index, item_indices.

    All users with items in the test fold; of the validation fold a sample.
    """
    targets = target_rows(lakehouse.read("splits"), c.TARGET_FOLD_OF_FIT[fit])
    if fit == c.FINAL:
        return targets
    return sample_users(targets, config.evaluate.maximum_validation_users, config.seed)


def read_item_counts(lakehouse: Lakehouse, fit: str) -> Int64:
    """int64 [items]: interactions of each item in a fit."""

    def count() -> Int64:
        matrix = lakehouse.read("user_item_matrix", fit=fit)
        return interaction_counts(matrix, item_count(lakehouse))

    return lakehouse.once("user_item_matrix", fit, count)
