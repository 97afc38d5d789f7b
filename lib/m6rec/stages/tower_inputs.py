"""What a training of towers gets from tables besides its rows: a validation sample."""

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.errors import DataError
from m6rec.kernels.rows import Rows
from m6rec.stages.arrow_rows import ROW_COLUMNS, list_column, matrix_column, rows_from_batch
from m6rec.stages.tower_rows import feature_width, join_features
from m6rec.towers.validation import ValidationSample

_TARGETS = "targets"


def validation_sample(
    matrix: DataFrame,
    targets: DataFrame,
    user_features: DataFrame | None,
    maximum_users: int,
    seed: int,
) -> ValidationSample:
    """Collect at most `maximum_users` users with held-out items, chosen by a hash.

    Args:
        matrix: user_index, item_indices, weights of the selection fit.
        targets: user_index, item_indices (held out).
        user_features: user_index, features; None where the towers have none.
        maximum_users: bound of what is collected.
        seed: of the choice.
    """
    order = F.xxhash64(F.col(c.USER_INDEX), F.lit(seed))
    chosen = targets.orderBy(order, c.USER_INDEX).limit(maximum_users)
    held_out = chosen.select(c.USER_INDEX, F.col(c.ITEM_INDICES).alias(_TARGETS))
    frame = held_out.join(matrix.select(*ROW_COLUMNS), c.USER_INDEX)
    width = 0
    if user_features is not None:
        width = feature_width(user_features)
        frame = join_features(frame, user_features, width)
    table = frame.orderBy(c.USER_INDEX).toArrow().combine_chunks()
    if table.num_rows == 0:
        raise DataError(
            "no user has a held-out item in fold validation, so no epoch can be chosen; give a"
            " larger split.validation_share"
        )
    batch = table.to_batches()[0]
    features = matrix_column(batch, c.FEATURES) if width else None
    return ValidationSample(rows_from_batch(batch), _target_rows(batch), features)


def _target_rows(batch: pa.RecordBatch) -> Rows:
    offsets, items = list_column(batch, _TARGETS)
    return Rows(
        batch.column(c.USER_INDEX).to_numpy().astype(np.int64),
        offsets,
        items.astype(np.int32),
        np.ones(len(items), dtype=np.float32),
    )
