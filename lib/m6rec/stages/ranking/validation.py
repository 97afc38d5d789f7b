"""Collect validation users, and measure on them how well members and towers rank."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.errors import DataError
from m6rec.kernels.arrays.rows import Int32, Int64, Rows
from m6rec.kernels.evaluation.metrics import hit_matrix, ndcg
from m6rec.kernels.ranking.blending import Blend
from m6rec.kernels.ranking.members import Member, UserBlock
from m6rec.kernels.ranking.scoring import blend_top_n, masked_for_users, prepare_blend, represent
from m6rec.spark.arrow_rows import (
    ROW_COLUMNS,
    list_column,
    matrix_column,
    recency_column,
    rows_from_batch,
)
from m6rec.stages.pairs.matrix import sample_users
from m6rec.stages.training.tower_rows import feature_width, join_features
from m6rec.towers.validation import ValidationSample

_TARGETS = "targets"


@dataclass(frozen=True)
class ValidationUsers:
    """Users with held-out items, on whom members are measured.

    Attributes:
        rows: the users' training rows.
        recency: float32 [entries of rows]; how many of the user's interactions came later.
        target_indptr: int64 [n + 1] into targets.
        targets: int32; the held-out items.
        masked_items: bool [items]; items that no list may hold.
    """

    rows: Rows
    recency: npt.NDArray[np.float32]
    target_indptr: Int64
    targets: Int32
    masked_items: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.rows)

    def ndcg(self, member: Member, k: int) -> float:
        """Mean NDCG@k of the member's lists; the users' own items are masked."""
        n = len(self)
        nothing = np.zeros((n, 0), np.float32)
        block = UserBlock(self.rows, nothing, nothing, {}, self.recency)
        blend = Blend(member.name, (member.name,), (1.0,), (1.0,))
        members = {member.name: member}
        counts = np.zeros(len(self.masked_items), np.int64)
        seen = self.rows.indptr, self.rows.item_indices
        masked = masked_for_users([seen], n, self.masked_items)
        prepared = prepare_blend(blend, members, counts)
        ranked, _ = blend_top_n(prepared, represent(members, block), masked, k)
        hits = hit_matrix(ranked, self.target_indptr, self.targets)
        return float(ndcg(hits, np.diff(self.target_indptr), k).mean())


def collect_validation_users(
    matrix: DataFrame, targets: DataFrame, masked_items: npt.NDArray[np.bool_]
) -> ValidationUsers | None:
    """Collect the users of `targets` with their rows; None where there are none.

    Args:
        matrix: columns of `user_item_matrix` for one fit.
        targets: user_index, item_indices (held out); few enough rows to collect.
        masked_items: bool [items]; items that no list may hold.
    """
    held_out = targets.select(c.USER_INDEX, F.col(c.ITEM_INDICES).alias(_TARGETS))
    columns = (c.USER_INDEX, c.ITEM_INDICES, c.WEIGHTS, c.TIMES)
    table = matrix.select(*columns).join(held_out, c.USER_INDEX).orderBy(c.USER_INDEX).toArrow()
    if table.num_rows == 0:
        return None
    batch = table.combine_chunks().to_batches()[0]
    indptr, items = list_column(batch, _TARGETS)
    return ValidationUsers(
        rows_from_batch(batch),
        recency_column(batch),
        indptr,
        items.astype(np.int32, copy=False),
        masked_items,
    )


def validation_sample(
    matrix: DataFrame,
    targets: DataFrame,
    user_features: DataFrame | None,
    maximum_users: int,
    seed: int,
) -> ValidationSample:
    """Collect at most `maximum_users` users with held-out items, chosen by a hash, for the towers.

    Args:
        matrix: user_index, item_indices, weights of the selection fit.
        targets: user_index, item_indices (held out).
        user_features: user_index, features; None where the towers have none.
        maximum_users: how many users are collected at most.
        seed: of the choice.

    Raises:
        DataError: no user has a held-out item.
    """
    chosen = sample_users(targets, maximum_users, seed, second_draw=True)
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
    indptr, items = list_column(batch, _TARGETS)
    return Rows(
        batch.column(c.USER_INDEX).to_numpy().astype(np.int64),
        indptr,
        items.astype(np.int32),
        np.ones(len(items), dtype=np.float32),
    )
