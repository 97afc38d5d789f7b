"""Collect candidate items of validation users with every member's scores, to choose weights by."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.errors import DataError
from m6rec.kernels.arrays.rows import Float32, Int64, indptr_of
from m6rec.kernels.ranking.blending import Candidates, evidence_bins
from m6rec.kernels.ranking.candidates import deviations_of, held_by, score_candidates
from m6rec.spark.arrow_rows import (
    list_array,
    list_column,
)
from m6rec.spark.runtimes import arrow_table
from m6rec.spark.shipping import Shipped, ship
from m6rec.stages.ranking.lists import (
    USERS_PER_BLOCK,
    Scoring,
    blocks,
    masked_of_batch,
    spread,
)

TARGET_INDICES = "target_indices"

_CANDIDATE_SCHEMA = (
    "user_index long, interaction_count long, relevant_count long, item_indices array<int>,"
    " relevant array<boolean>, scores array<float>, moments array<double>"
)


def collect_candidates(
    users: DataFrame, targets: DataFrame, scoring: Scoring
) -> tuple[Candidates, dict[str, float]]:
    """Candidates of validation users with every member's scores, and the members' deviations.

    Args:
        users: `user_inputs` of the users to collect, a bounded sample.
        targets: columns user_index, item_indices: the held-out items.
        scoring: one blend for each member alone; the candidates of a user are the union of the
            lists of these blends. Within a domain, users who hold out nothing of it are left out.
    """
    renamed = targets.select(c.USER_INDEX, F.col(c.ITEM_INDICES).alias(TARGET_INDICES))
    shipped = ship(users.sparkSession, scoring)
    joined = users.join(renamed, c.USER_INDEX, how="inner")
    candidates = spread(joined).mapInArrow(
        partial(_candidates_partition, shipped=shipped), _CANDIDATE_SCHEMA
    )
    # Spark would score all users twice to sort what comes of it.
    collected = arrow_table(candidates).combine_chunks()
    names = [prepared.blend.name for prepared in scoring.blends]
    return _assemble_candidates(collected, names, scoring.item_evidence)


def _candidates_partition(
    batches: Iterator[pa.RecordBatch], shipped: Shipped
) -> Iterator[pa.RecordBatch]:
    scoring: Scoring = shipped.load()
    n_items = len(scoring.masked_items)
    for block, batch in blocks(_with_targets(batches, scoring), USERS_PER_BLOCK):
        masked = masked_of_batch(batch, scoring)
        found = score_candidates(scoring.blends, scoring.members, block, masked, scoring.n)
        targets = scoring.own(*list_column(batch, TARGET_INDICES))
        n_users, members = found.moments.shape[:2]
        yield pa.RecordBatch.from_arrays(
            [
                pa.array(block.rows.user_index),
                pa.array(block.rows.counts),
                pa.array(np.diff(targets[0])),
                list_array(found.indptr, found.items),
                list_array(found.indptr, held_by(found.indptr, found.items, *targets, n_items)),
                list_array(found.indptr * members, found.scores.ravel()),
                list_array(np.arange(n_users + 1) * members * 2, found.moments.ravel()),
            ],
            names=[
                c.USER_INDEX,
                c.INTERACTION_COUNT,
                "relevant_count",
                c.ITEM_INDICES,
                "relevant",
                c.SCORES,
                "moments",
            ],
        )


def _with_targets(batches: Iterator[pa.RecordBatch], scoring: Scoring) -> Iterator[pa.RecordBatch]:
    """Within a domain, the users who hold out something of it."""
    for batch in batches:
        if scoring.domain is None:
            yield batch
            continue
        indptr, _ = scoring.own(*list_column(batch, TARGET_INDICES))
        yield batch.filter(pa.array(np.diff(indptr) > 0))


def _check_finite(members: list[str], scores: Float32) -> None:
    for member, of_member in zip(members, scores.T, strict=True):
        wrong = int(np.count_nonzero(~np.isfinite(of_member)))
        if wrong:
            raise DataError(
                f"{wrong} of {len(of_member)} scores of {member} for validation users are not"
                " finite, expected numbers; look for extreme weights or features in its input, or"
                " leave it out of hybrid.members"
            )


def _assemble_candidates(
    table: pa.Table, members: list[str], item_evidence: Int64
) -> tuple[Candidates, dict[str, float]]:
    lengths = pc.list_value_length(table.column("relevant")).to_numpy()
    indptr = indptr_of(lengths)
    relevant = pc.list_flatten(table.column("relevant")).to_numpy(zero_copy_only=False)
    items = pc.list_flatten(table.column(c.ITEM_INDICES)).to_numpy()
    scores = pc.list_flatten(table.column(c.SCORES)).to_numpy().reshape(-1, len(members))
    _check_finite(members, scores)
    by_user = np.argsort(table.column(c.USER_INDEX).to_numpy())
    moments = pc.list_flatten(table.column("moments")).to_numpy()
    deviations = deviations_of(moments.reshape(-1, len(members), 2)[by_user])
    candidates = Candidates(
        indptr,
        np.ascontiguousarray(scores.T) / deviations.astype(np.float32)[:, None],
        relevant,
        table.column("relevant_count").to_numpy(),
        evidence_bins(item_evidence)[items],
        evidence_bins(table.column(c.INTERACTION_COUNT).to_numpy()),
        table.column(c.USER_INDEX).to_numpy(),
    ).of_users(by_user)
    return candidates, dict(zip(members, deviations.tolist(), strict=True))
