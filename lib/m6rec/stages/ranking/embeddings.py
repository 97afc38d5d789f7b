"""Make the tables of embeddings of users and items: the fusion model's members side by side.

The dot product of a user's and an item's embedding is the score of ranker `fusion`.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from m6rec import columns as c
from m6rec.kernels.arrays.rows import Float32, Int64
from m6rec.kernels.ranking.members import DotMember
from m6rec.spark.arrow_rows import list_array_from_matrix
from m6rec.spark.made_rows import made_rows
from m6rec.spark.shipping import Shipped, ship
from m6rec.stages.ranking.lists import blocks

_USERS_PER_BLOCK = 512
_USER_SCHEMA = "user_index long, embedding array<float>, interaction_count long"
_ITEM_SCHEMA = "item_index long, embedding array<float>, interaction_count long"


def user_embeddings(users: DataFrame, members: list[DotMember]) -> DataFrame:
    """The users' embeddings: columns user_index, embedding, interaction_count.

    Args:
        users: as `user_inputs` gives them.
        members: the members whose user vectors are put side by side.
    """
    shipped = ship(users.sparkSession, [member.encoder for member in members])
    return users.mapInArrow(partial(_embed_partition, shipped=shipped), _USER_SCHEMA)


def item_embeddings(
    spark: SparkSession,
    members: list[DotMember],
    coefficients: Sequence[float],
    item_counts: Int64,
) -> DataFrame:
    """The items' embeddings: columns item_index, embedding, interaction_count.

    Args:
        spark: the session.
        members: the members whose item vectors are put side by side.
        coefficients: what the blend multiplies each member's score by.
        item_counts: int64 [items]: interactions of each item.
    """
    scaled = zip(members, coefficients, strict=True)
    vectors = np.hstack([coefficient * member.item_vectors for member, coefficient in scaled])
    vectors = vectors.astype(np.float32)
    side = (vectors, item_counts)
    return made_rows(spark, side, _items_batch, _ITEM_SCHEMA, len(vectors), vectors.size)


def _items_batch(side: tuple[Float32, Int64], start: int, stop: int) -> pa.RecordBatch:
    vectors, item_counts = side
    return pa.RecordBatch.from_arrays(
        [
            pa.array(np.arange(start, stop, dtype=np.int64)),
            list_array_from_matrix(vectors[start:stop]),
            pa.array(item_counts[start:stop]),
        ],
        names=[c.ITEM_INDEX, c.EMBEDDING, c.INTERACTION_COUNT],
    )


def _embed_partition(
    batches: Iterator[pa.RecordBatch], shipped: Shipped
) -> Iterator[pa.RecordBatch]:
    encoders = shipped.load()
    for block, _ in blocks(batches, _USERS_PER_BLOCK):
        vectors = np.hstack([encoder.encode(block) for encoder in encoders]).astype(np.float32)
        yield pa.RecordBatch.from_arrays(
            [
                pa.array(block.rows.user_index),
                list_array_from_matrix(vectors),
                pa.array(block.rows.counts),
            ],
            names=[c.USER_INDEX, c.EMBEDDING, c.INTERACTION_COUNT],
        )
