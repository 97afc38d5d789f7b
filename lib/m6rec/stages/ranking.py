"""Top-N lists: item-side arrays are shipped to the executors, user rows stay where they are.

Each batch of users is represented once by every member; every ranker is a weighted sum of members,
whose scores are made block by block where the best N are selected, with seen items and rules
masked.
"""

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
from m6rec.kernels.blending import Blend, Candidates, evidence_bins
from m6rec.kernels.explanation import (
    ATTRIBUTE,
    HISTORY,
    KINDS,
    POPULAR,
    POPULAR_WITH_ALL,
    TASTE_OF_ALL,
    ItemAttributes,
    Reasons,
    explain,
)
from m6rec.kernels.item_neighbours import ItemWeights
from m6rec.kernels.members import Member, UserBlock
from m6rec.kernels.rows import Float32, Float64, Int32, Int64
from m6rec.kernels.scoring import (
    Hidden,
    Ranker,
    hidden_items,
    make_ranker,
    part_scores,
    ranker_top_n,
    represent,
    scores_and_moments,
)
from m6rec.kernels.strings import Strings
from m6rec.schemas import LISTS, RECOMMENDATIONS
from m6rec.stages.arrow_rows import (
    batches_of,
    list_array,
    list_column,
    matrix_column,
    recency_column,
    rows_from_batch,
)
from m6rec.stages.shipping import Shipped, ship

# Bounds what a worker holds of users: their vectors, terms and lists.
USERS_PER_BLOCK = 4096
RULE_INDICES = "rule_indices"
TARGET_INDICES = "target_indices"

_CANDIDATE_SCHEMA = (
    "user_index long, interaction_count long, relevant_count long, item_indices array<int>,"
    " relevant array<boolean>, scores array<float>, moments array<double>"
)


@dataclass(frozen=True)
class Scoring:
    """What every partition needs to score its users; make it by `make_scoring`.

    Attributes:
        members: the members, by name.
        rankers: the rankers.
        item_counts: int64 [items]: interactions of each item in the fit.
        forbidden: bool [items]: items that no list may hold.
        mask_seen: whether a user's own items are left out.
        n: length of the lists.
    """

    members: dict[str, Member]
    rankers: tuple[Ranker, ...]
    item_counts: Int64
    forbidden: npt.NDArray[np.bool_]
    mask_seen: bool
    n: int


def make_scoring(
    members: Mapping[str, Member],
    blends: tuple[Blend, ...],
    item_counts: Int64,
    forbidden: npt.NDArray[np.bool_],
    mask_seen: bool,
    n: int,
) -> Scoring:
    """The blends made ready, with the members that they need."""
    needed = sorted({name for blend in blends for name in blend.coefficients()})
    rankers = tuple(make_ranker(blend, members, item_counts) for blend in blends)
    kept = {name: members[name] for name in needed}
    return Scoring(kept, rankers, item_counts, forbidden, mask_seen, n)


@dataclass(frozen=True)
class Explaining:
    """What a published list needs beside its scores.

    Attributes:
        item_weights: item-item weights that tell which history items speak for an item.
        attributes: the items' attributes.
        attribute_names, item_ids, titles: words for the indices.
        reasons: at most so many reasons an item.
        generated_at: time of the run.
    """

    item_weights: ItemWeights
    attributes: ItemAttributes
    attribute_names: Strings
    item_ids: Strings
    titles: Strings
    reasons: int
    generated_at: datetime.datetime


def user_inputs(
    matrix: DataFrame,
    user_features: DataFrame | None,
    given: dict[str, DataFrame],
    excluded_pairs: DataFrame | None,
) -> DataFrame:
    """The rows that ranking reads: a user's row, features, given vectors and exclusions.

    Args:
        matrix: columns of `user_item_matrix` for one fit.
        user_features: columns user_index, features, content; None gives empty ones.
        given: member name to columns user_index, factor.
        excluded_pairs: columns user_index, item_index; may be None.
    """
    rows = matrix.select(c.USER_INDEX, c.ITEM_INDICES, c.WEIGHTS, c.TIMES, c.EXCLUDED_INDICES)
    if user_features is None:
        nothing = F.array().cast("array<float>")
        rows = rows.withColumns({c.FEATURES: nothing, c.CONTENT: nothing})
    else:
        features = user_features.select(c.USER_INDEX, c.FEATURES, c.CONTENT)
        rows = rows.join(features, c.USER_INDEX, how="left")
    for name, vectors in given.items():
        renamed = vectors.select(c.USER_INDEX, F.col(c.FACTOR).alias(_given_column(name)))
        rows = rows.join(renamed, c.USER_INDEX, how="left")
    if excluded_pairs is None:
        return rows.withColumn(RULE_INDICES, F.array().cast("array<int>"))
    rules = excluded_pairs.groupBy(c.USER_INDEX).agg(
        F.collect_set(F.col(c.ITEM_INDEX).cast("int")).alias(RULE_INDICES)
    )
    return rows.join(rules, c.USER_INDEX, how="left").withColumn(
        RULE_INDICES, F.coalesce(RULE_INDICES, F.array().cast("array<int>"))
    )


def rank(users: DataFrame, scoring: Scoring) -> DataFrame:
    """The lists of every ranker for every user: columns of table `lists` without run_id and fit."""
    schema = T.StructType([f for f in LISTS.schema.fields if f.name not in (c.RUN_ID, c.FIT)])
    shipped = ship(users.sparkSession, scoring)
    return _spread(users).mapInArrow(partial(_rank_partition, shipped=shipped), schema)


def collect_candidates(
    users: DataFrame, targets: DataFrame, scoring: Scoring
) -> tuple[Candidates, dict[str, float]]:
    """Candidates of validation users with every member's score, and the members' deviations.

    Args:
        users: `user_inputs` of the users to collect; a bounded sample.
        targets: columns user_index, item_indices: the held-out items.
        scoring: a ranker for each member alone; candidates are the union of their lists.
    """
    renamed = targets.select(c.USER_INDEX, F.col(c.ITEM_INDICES).alias(TARGET_INDICES))
    shipped = ship(users.sparkSession, scoring)
    joined = users.join(renamed, c.USER_INDEX, how="inner")
    collected = (
        _spread(joined)
        .mapInArrow(partial(_candidates_partition, shipped=shipped), _CANDIDATE_SCHEMA)
        .orderBy(c.USER_INDEX)
        .toArrow()
        .combine_chunks()
    )
    names = [ranker.blend.name for ranker in scoring.rankers]
    return _assemble_candidates(collected, names, scoring.item_counts)


def recommend(
    users: DataFrame, user_ids: DataFrame, scoring: Scoring, explaining: Explaining
) -> DataFrame:
    """Explained lists of the first ranker: columns of table `recommendations` without run_id.

    Args:
        users: as `user_inputs` gives them.
        user_ids: columns user_index, user_id.
    """
    # What is the same in all rows need not come from Python.
    constants = {
        c.MODEL: F.lit(scoring.rankers[0].blend.name),
        c.GENERATED_AT: F.lit(explaining.generated_at),
    }
    apart = {c.RUN_ID, *constants}
    schema = T.StructType([f for f in RECOMMENDATIONS.schema.fields if f.name not in apart])
    shipped = ship(users.sparkSession, (scoring, explaining))
    named = users.join(user_ids, c.USER_INDEX, how="inner")
    lists = _spread(named).mapInArrow(partial(_recommend_partition, shipped=shipped), schema)
    return lists.withColumns(constants)


def _spread(users: DataFrame) -> DataFrame:
    """The users in equal shares: scoring costs the same a user, whatever files they came from."""
    tasks = 2 * users.sparkSession.sparkContext.defaultParallelism
    return users.repartition(tasks, c.USER_INDEX)


def _given_column(name: str) -> str:
    return f"given_{name}"


def blocks(
    batches: Iterator[pa.RecordBatch], size: int
) -> Iterator[tuple[UserBlock, pa.RecordBatch]]:
    """Blocks of at most `size` users of `user_inputs`, with the batch that each came from."""
    for batch in batches:
        for start, stop in batches_of(batch.num_rows, size):
            part = batch.slice(start, stop - start)
            given = {
                name.removeprefix("given_"): _vectors(part, name)
                for name in part.schema.names
                if name.startswith("given_")
            }
            yield (
                UserBlock(
                    rows_from_batch(part),
                    _vectors(part, c.FEATURES),
                    _vectors(part, c.CONTENT),
                    given,
                    recency_column(part),
                ),
                part,
            )


def _vectors(batch: pa.RecordBatch, name: str) -> Float32:
    """A vector column as a matrix; a user whom the table does not hold gets zeros."""
    column = batch.column(name)
    if column.null_count == 0:
        return matrix_column(batch, name)
    known = column.drop_null()
    width = len(known[0]) if len(known) else 0
    vectors = np.zeros((batch.num_rows, width), dtype=np.float32)
    present = column.is_valid().to_numpy(zero_copy_only=False)
    vectors[present] = known.flatten().to_numpy().reshape(len(known), width)
    return vectors


def _hidden(batch: pa.RecordBatch, scoring: Scoring) -> Hidden:
    names = [RULE_INDICES]
    if scoring.mask_seen:
        names += [c.ITEM_INDICES, c.EXCLUDED_INDICES]
    lists = [list_column(batch, name) for name in names]
    return hidden_items(lists, batch.num_rows, scoring.forbidden)


def _rank_partition(
    batches: Iterator[pa.RecordBatch], shipped: Shipped
) -> Iterator[pa.RecordBatch]:
    scoring: Scoring = shipped.load()
    for block, batch in blocks(batches, USERS_PER_BLOCK):
        users = represent(scoring.members, block)
        hidden = _hidden(batch, scoring)
        for ranker in scoring.rankers:
            found = ranker_top_n(ranker, users, hidden, scoring.n)
            offsets, items, values = _listed(*found)
            yield pa.RecordBatch.from_arrays(
                [
                    pa.repeat(ranker.blend.name, len(block.rows)),
                    pa.array(block.rows.user_index),
                    list_array(offsets, items),
                    list_array(offsets, values),
                ],
                names=[c.MODEL, c.USER_INDEX, c.ITEM_INDICES, c.SCORES],
            )


def _listed(items: Int32, values: Float32) -> tuple[Int64, Int32, Float32]:
    """The lists without their padding: offsets int64 [n + 1], items and scores."""
    listed = items >= 0
    offsets = np.concatenate([[0], np.cumsum(listed.sum(axis=1))]).astype(np.int64)
    return offsets, items[listed], values[listed]


def _candidates_partition(
    batches: Iterator[pa.RecordBatch], shipped: Shipped
) -> Iterator[pa.RecordBatch]:
    scoring: Scoring = shipped.load()
    n_items = len(scoring.forbidden)
    for block, batch in blocks(batches, USERS_PER_BLOCK):
        users = represent(scoring.members, block)
        hidden = _hidden(batch, scoring)
        best = [ranker_top_n(ranker, users, hidden, scoring.n)[0] for ranker in scoring.rankers]
        offsets, items = _union(np.hstack(best), n_items)
        scored = [
            scores_and_moments(scoring.members[name], users, offsets, items, n_items)
            for name in (ranker.blend.name for ranker in scoring.rankers)
        ]
        targets = list_column(batch, TARGET_INDICES)
        members = len(scored)
        scores = np.stack([one for one, _ in scored], axis=1)
        moments = np.stack([one for _, one in scored], axis=1)
        yield pa.RecordBatch.from_arrays(
            [
                pa.array(block.rows.user_index),
                pa.array(users.counts),
                pa.array(np.diff(targets[0])),
                list_array(offsets, items),
                list_array(offsets, _held_by(offsets, items, *targets, n_items)),
                list_array(offsets * members, scores.ravel()),
                list_array(np.arange(len(users.counts) + 1) * members * 2, moments.ravel()),
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


def _union(items: Int32, n_items: int) -> tuple[Int64, Int32]:
    """The distinct items of each row, ascending, without padding: offsets and items."""
    cells = items + np.arange(len(items), dtype=np.int64)[:, None] * n_items
    distinct = np.unique(cells[items >= 0])
    offsets = np.searchsorted(distinct, np.arange(len(items) + 1, dtype=np.int64) * n_items)
    return offsets.astype(np.int64), (distinct % n_items).astype(np.int32)


def _held_by(
    offsets: Int64, items: Int32, target_offsets: Int64, targets: Int32, n_items: int
) -> npt.NDArray[np.bool_]:
    """bool [entries]: whether each item is among its user's targets."""
    cells = _cells(offsets, items, n_items)
    return np.isin(cells, _cells(target_offsets, targets, n_items))


def _cells(offsets: Int64, items: Int32, n_items: int) -> Int64:
    users = np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))
    return users * n_items + items


def _assemble_candidates(
    table: pa.Table, members: list[str], item_counts: Int64
) -> tuple[Candidates, dict[str, float]]:
    lengths = pc.list_value_length(table.column("relevant")).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    relevant = pc.list_flatten(table.column("relevant")).to_numpy(zero_copy_only=False)
    items = pc.list_flatten(table.column(c.ITEM_INDICES)).to_numpy()
    scores = pc.list_flatten(table.column(c.SCORES)).to_numpy().reshape(-1, len(members))
    deviations = _deviations(pc.list_flatten(table.column("moments")).to_numpy(), len(members))
    candidates = Candidates(
        offsets,
        np.ascontiguousarray(scores.T) / deviations.astype(np.float32)[:, None],
        relevant,
        table.column("relevant_count").to_numpy(),
        evidence_bins(item_counts)[items],
        evidence_bins(table.column(c.INTERACTION_COUNT).to_numpy()),
    )
    return candidates, dict(zip(members, deviations.tolist(), strict=True))


def _deviations(moments: Float64, members: int) -> Float64:
    """float64 [members] from mean and mean square of each user; 1 where all scores are equal."""
    mean, square = moments.reshape(-1, members, 2).mean(axis=0).T
    variance = np.maximum(square - mean**2, 0.0)
    return np.where(variance > 0.0, np.sqrt(variance), 1.0)


def _recommend_partition(
    batches: Iterator[pa.RecordBatch], shipped: Shipped
) -> Iterator[pa.RecordBatch]:
    scoring, explaining = shipped.load()
    ranker = scoring.rankers[0]
    words = _Words.of(explaining)
    for block, batch in blocks(batches, USERS_PER_BLOCK):
        users = represent(scoring.members, block)
        found = ranker_top_n(ranker, users, _hidden(batch, scoring), scoring.n)
        offsets, items, values = _listed(*found)
        parts = part_scores(ranker, users, offsets, items)
        reasons = explain(
            explaining.item_weights,
            explaining.attributes,
            block.rows,
            offsets,
            items,
            explaining.reasons,
        )
        lengths = np.diff(offsets)
        listed_users = np.repeat(np.arange(len(lengths)), lengths)
        ranks = np.arange(len(items)) - np.repeat(offsets[:-1], lengths) + 1
        yield pa.RecordBatch.from_arrays(
            [
                batch.column(c.USER_ID).take(pa.array(listed_users)),
                pa.array(ranks.astype(np.int32)),
                words.item_ids.take(pa.array(items)),
                words.titles.take(pa.array(items)),
                pa.array(values.astype(np.float64)),
                _parts_column(parts, len(items)),
                _reasons_column(reasons, words),
            ],
            names=[c.USER_ID, c.RANK, c.ITEM_ID, "title", c.SCORE, c.PARTS, c.REASONS],
        )


@dataclass(frozen=True)
class _Words:
    """The words of published lists as Arrow columns.

    Attributes:
        item_ids, titles: by item index; an item without a title has null.
        values: what a reason may name: the items' titles or ids, the attributes, then the two
            phrases of reasons that name nothing.
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
        [kinds == HISTORY, kinds == ATTRIBUTE, kinds == POPULAR],
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
    return pa.ListArray.from_arrays(pa.array(reasons.offsets.astype(np.int32)), struct)
