"""Make the published lists: the best items of every user with titles, parts and reasons."""

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.kernels.arrays.contexts import Context
from m6rec.kernels.arrays.rows import Float32, Float64
from m6rec.kernels.arrays.strings import Strings
from m6rec.kernels.neighbours.item_neighbours import ItemWeights
from m6rec.kernels.ranking.explanation import (
    AFTER_REASON,
    AGAIN_REASON,
    ATTRIBUTE_REASON,
    HISTORY_REASON,
    KINDS,
    POPULAR_REASON,
    POPULAR_WITH_ALL,
    TASTE_OF_ALL,
    AfterEvidence,
    ItemAttributes,
    Reasons,
    explain,
)
from m6rec.kernels.ranking.members import HistoryMember, MemberWithin, UserBlock
from m6rec.kernels.ranking.scoring import (
    RepresentedUsers,
    blend_top_n,
    in_context,
    part_scores,
    represent,
)
from m6rec.rankers import REPEATS, TRANSITIONS
from m6rec.schemas import RECOMMENDATIONS_TABLE
from m6rec.spark.shipping import Shipped, ship
from m6rec.stages.ranking.lists import (
    USERS_PER_BLOCK,
    Scoring,
    blocks,
    listed_entries,
    masked_of_batch,
    spread,
)


@dataclass(frozen=True)
class Explaining:
    """What published lists show beside their scores.

    Attributes:
        item_weights: item-item weights, which tell how much each history item speaks for an item;
            transitions tell it too, where they have a part in the published scores.
        attributes: the items' attributes.
        attribute_names, item_ids, titles: the words for attribute and item indices.
        reasons: how many reasons an item gets at most.
        generated_at: the time of the run.
    """

    item_weights: ItemWeights
    attributes: ItemAttributes
    attribute_names: Strings
    item_ids: Strings
    titles: Strings
    reasons: int
    generated_at: datetime.datetime


def recommend(
    users: DataFrame,
    user_ids: DataFrame,
    scoring: Scoring,
    explaining: Explaining,
    contexts: Mapping[str, Context],
) -> DataFrame:
    """Explained lists of the first blend: columns of table `recommendations` without run_id.

    Each user gets a list without a context and one in each of `contexts`, and is encoded once for
    all of them.

    Args:
        users: as `user_inputs` gives them.
        user_ids: columns user_index, user_id.
        scoring: its first blend is published.
        explaining: words, attributes and weights for the reasons.
        contexts: by name.
    """
    # Columns that have one value in all rows need not pass through Python.
    constants = {
        c.DOMAIN: F.lit(scoring.domain_name).cast("string"),
        c.MODEL: F.lit(scoring.blends[0].blend.name),
        c.GENERATED_AT: F.lit(explaining.generated_at),
    }
    apart = {c.RUN_ID, *constants}
    schema = T.StructType([f for f in RECOMMENDATIONS_TABLE.schema.fields if f.name not in apart])
    shipped = ship(users.sparkSession, (scoring, explaining, contexts))
    named = users.join(user_ids, c.USER_INDEX, how="inner")
    lists = spread(named).mapInArrow(partial(_recommend_partition, shipped=shipped), schema)
    return lists.withColumns(constants)


def _recommend_partition(
    batches: Iterator[pa.RecordBatch], shipped: Shipped
) -> Iterator[pa.RecordBatch]:
    scoring, explaining, contexts = shipped.load()
    prepared = scoring.blends[0]
    words = _Words.of(explaining)
    for block, batch in blocks(batches, USERS_PER_BLOCK):
        masked = masked_of_batch(batch, scoring)
        for context, users in _in_each_context(scoring, block, contexts):
            found = blend_top_n(prepared, users, masked, scoring.n)
            indptr, items, values = listed_entries(*found)
            parts = part_scores(prepared, users, indptr, items)
            items = scoring.among_all(items)
            reasons = explain(
                explaining.item_weights,
                explaining.attributes,
                block.rows,
                indptr,
                items,
                explaining.reasons,
                _after_evidence(scoring, users, parts),
                _share_of(REPEATS, parts) if REPEATS in parts else None,
            )
            lengths = np.diff(indptr)
            listed_users = np.repeat(np.arange(len(lengths)), lengths)
            ranks = np.arange(len(items)) - np.repeat(indptr[:-1], lengths) + 1
            yield pa.RecordBatch.from_arrays(
                [
                    batch.column(c.USER_ID).take(pa.array(listed_users)),
                    pa.repeat(pa.scalar(context, pa.string()), len(items)),
                    pa.array(ranks.astype(np.int32)),
                    words.item_ids.take(pa.array(items)),
                    words.titles.take(pa.array(items)),
                    pa.array(values.astype(np.float64)),
                    _parts_column(parts, len(items)),
                    _reasons_column(reasons, words),
                ],
                names=[
                    c.USER_ID,
                    c.CONTEXT,
                    c.RANK,
                    c.ITEM_ID,
                    "title",
                    c.SCORE,
                    c.PARTS,
                    c.REASONS,
                ],
            )


def _in_each_context(
    scoring: Scoring, block: UserBlock, contexts: Mapping[str, Context]
) -> Iterator[tuple[str | None, RepresentedUsers]]:
    """A block of users without a context, and then in each, by its name."""
    users = represent(scoring.members, block)
    yield None, users
    for name, context in contexts.items():
        yield name, in_context(scoring.members, users, context)


def _after_evidence(
    scoring: Scoring, users: RepresentedUsers, parts: dict[str, Float32]
) -> AfterEvidence | None:
    """What transitions say for the listed items, if they are a part of the published blend."""
    member = scoring.members.get(TRANSITIONS)
    if isinstance(member, MemberWithin):
        member = member.member
    if TRANSITIONS not in parts or not isinstance(member, HistoryMember):
        return None
    factors = users.terms[TRANSITIONS].factors
    return AfterEvidence(member.weights, factors, _share_of(TRANSITIONS, parts))


def _share_of(member: str, parts: dict[str, Float32]) -> Float64:
    """float64 [listed items]: the member's share of what speaks for each item."""
    own = parts[member].astype(np.float64)
    # What speaks against an item takes no share.
    speaking = np.add.reduce([np.maximum(part, 0.0) for part in parts.values()], dtype=np.float64)
    return np.divide(own, speaking, out=np.zeros(len(own)), where=own > 0.0)


@dataclass(frozen=True)
class _Words:
    """The words of published lists as Arrow columns.

    Attributes:
        item_ids, titles: by item index; the title is null where an item has none.
        values: what a reason may name: first each item's title or id, then the attributes, then
            the two phrases for reasons that name nothing.
        attributes_from: the place in `values` of the first attribute.
    """

    item_ids: pa.Array
    titles: pa.Array
    values: pa.Array
    attributes_from: int

    @staticmethod
    def of(explaining: Explaining) -> "_Words":
        item_ids, titles = _string_array(explaining.item_ids), _string_array(explaining.titles)
        titles = pc.if_else(pc.equal(titles, ""), pa.scalar(None, pa.string()), titles)
        attributes = _string_array(explaining.attribute_names)
        phrases = pa.array([POPULAR_WITH_ALL, TASTE_OF_ALL], pa.string())
        values = pa.concat_arrays([pc.coalesce(titles, item_ids), attributes, phrases])
        return _Words(item_ids, titles, values, len(item_ids))


def _string_array(strings: Strings) -> pa.Array:
    array = pa.LargeStringArray.from_buffers(
        len(strings), pa.py_buffer(strings.offsets), pa.py_buffer(strings.characters)
    )
    return array.cast(pa.string())


def _parts_column(parts: dict[str, Float32], entries: int) -> pa.Array:
    names = pa.array(list(parts)).take(pa.array(np.tile(np.arange(len(parts)), entries)))
    values = np.stack(list(parts.values()), axis=1).astype(np.float64).ravel()
    offsets = np.arange(entries + 1, dtype=np.int32) * len(parts)
    return pa.MapArray.from_arrays(pa.array(offsets), names, pa.array(values))


def _reasons_column(reasons: Reasons, words: _Words) -> pa.Array:
    kinds = np.array(KINDS)[reasons.kinds]
    phrases_from = len(words.values) - 2
    places: npt.NDArray[Any] = np.select(
        [
            np.isin(kinds, (HISTORY_REASON, AFTER_REASON, AGAIN_REASON)),
            kinds == ATTRIBUTE_REASON,
            kinds == POPULAR_REASON,
        ],
        [reasons.indices, words.attributes_from + reasons.indices, phrases_from],
        phrases_from + 1,
    )
    struct = pa.StructArray.from_arrays(
        [
            pa.array(KINDS, pa.string()).take(pa.array(reasons.kinds)),
            words.values.take(pa.array(places)),
            pa.array(reasons.shares),
        ],
        names=["kind", "value", "share"],
    )
    return pa.ListArray.from_arrays(pa.array(reasons.indptr.astype(np.int32)), struct)
