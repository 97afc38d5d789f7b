"""Rank held-out items among a random sample of the items that their users do not have."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.kernels.arrays.rows import Float32, Int32, Int64
from m6rec.kernels.evaluation.sampling import drawn_items, places_among
from m6rec.kernels.ranking.scoring import (
    PreparedBlend,
    RepresentedUsers,
    masked_for_users,
    part_scores,
    represent,
)
from m6rec.spark.arrow_rows import list_column
from m6rec.spark.shipping import Shipped, ship
from m6rec.stages.ranking.candidates import TARGET_INDICES
from m6rec.stages.ranking.lists import USERS_PER_BLOCK, Scoring, blocks, masked_of_batch, spread

PLACE = "place"
DRAWN = "drawn"
_SCHEMA = f"{c.MODEL} string, {c.USER_INDEX} long, {c.ITEM_INDEX} long, {PLACE} long, {DRAWN} long"


@dataclass(frozen=True)
class Draws:
    """How many items are drawn for each user, and by which seed."""

    items: int
    seed: int


def rank_among_sampled(
    users: DataFrame, targets: DataFrame, scoring: Scoring, draws: Draws
) -> DataFrame:
    """The place of each held-out item among drawn ones.

    Returns:
        Columns model, user_index, item_index, place (from 1), drawn (how many items were drawn;
        where a user lacks fewer than asked for, all of these) and domain. A held-out item that no
        list may hold is a miss, as in lists of all items: its place is behind as many items as are
        asked for, also where fewer were drawn.

    Args:
        users: `user_inputs` of users with held-out items.
        targets: columns user_index, item_indices: the held-out items, of any domain.
        scoring: the rankers; where it is of a domain, its items alone are ranked and drawn.
        draws: of the sample.
    """
    shipped = ship(users.sparkSession, scoring)
    renamed = targets.select(c.USER_INDEX, F.col(c.ITEM_INDICES).alias(TARGET_INDICES))
    joined = spread(users.join(renamed, c.USER_INDEX, how="inner"))
    places = joined.mapInArrow(partial(_partition, shipped=shipped, draws=draws), _SCHEMA)
    return places.withColumn(c.DOMAIN, F.lit(scoring.domain_name).cast("string"))


def _partition(
    batches: Iterator[pa.RecordBatch], shipped: Shipped, draws: Draws
) -> Iterator[pa.RecordBatch]:
    scoring: Scoring = shipped.load()
    possible = np.flatnonzero(~scoring.masked_items).astype(np.int32)
    for block, batch in blocks(batches, USERS_PER_BLOCK):
        held_out = list_column(batch, TARGET_INDICES)
        target_indptr, targets = scoring.own(held_out[0], held_out[1].astype(np.int32))
        owned = masked_of_batch(batch, scoring)
        lists = [(owned.indptr, owned.item_indices), (target_indptr, targets)]
        taken = masked_for_users(lists, len(block.rows), scoring.masked_items)
        indptr, items = drawn_items(
            block.rows.user_index,
            taken.indptr,
            taken.item_indices,
            possible,
            draws.items,
            draws.seed,
        )
        users = represent(scoring.members, block)
        drawn = np.repeat(np.diff(indptr), np.diff(target_indptr))
        for prepared in scoring.blends:
            places = places_among(
                indptr,
                _scores(prepared, users, indptr, items),
                target_indptr,
                _scores(prepared, users, target_indptr, targets),
            )
            places = np.where(scoring.masked_items[targets], draws.items + 1, places)
            owners = np.repeat(block.rows.user_index, np.diff(target_indptr))
            yield pa.RecordBatch.from_arrays(
                [
                    pa.repeat(prepared.blend.name, len(targets)),
                    pa.array(owners),
                    pa.array(scoring.among_all(targets).astype(np.int64)),
                    pa.array(places),
                    pa.array(drawn),
                ],
                names=[c.MODEL, c.USER_INDEX, c.ITEM_INDEX, PLACE, DRAWN],
            )


def _scores(
    prepared: PreparedBlend, users: RepresentedUsers, indptr: Int64, items: Int32
) -> Float32:
    parts = part_scores(prepared, users, indptr, items)
    total: Float32 = np.add.reduce(list(parts.values()), dtype=np.float32)
    return total
