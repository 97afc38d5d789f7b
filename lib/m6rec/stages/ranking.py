"""Top-N lists: item-side arrays are shipped to the executors, user rows stay where they are.

Each block of users is scored by the members once; every ranker is a weighted sum of those scores;
seen items and rules are masked before the best N are selected.
"""

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.kernels.blending import Blend, Candidates
from m6rec.kernels.explanation import (
    ATTRIBUTE,
    HISTORY,
    POPULAR,
    POPULAR_WITH_ALL,
    TASTE_OF_ALL,
    Evidence,
    ItemAttributes,
    attribute_profile,
    explain,
)
from m6rec.kernels.item_neighbours import ItemWeights
from m6rec.kernels.members import Member, UserBlock, transformed_scores
from m6rec.kernels.rows import Float32, Float64, Int32, Int64
from m6rec.kernels.strings import Strings
from m6rec.kernels.top_n import mask_items, top_n
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

SCORES_PER_BLOCK = 4_000_000
RULE_INDICES = "rule_indices"
TARGET_INDICES = "target_indices"

_CANDIDATE_SCHEMA = (
    "user_index long, relevant_count long, relevant array<boolean>, scores array<float>,"
    " moments array<double>"
)
_CANDIDATE_ARROW_SCHEMA = pa.schema(
    [
        (c.USER_INDEX, pa.int64()),
        ("relevant_count", pa.int64()),
        ("relevant", pa.list_(pa.bool_())),
        (c.SCORES, pa.list_(pa.float32())),
        ("moments", pa.list_(pa.float64())),
    ]
)


@dataclass(frozen=True)
class Scoring:
    """What every partition needs to score its users.

    Attributes:
        members: the members, by name.
        blends: the rankers.
        forbidden: bool [items]: items that no list may hold.
        mask_seen: whether a user's own items are left out.
        n: length of the lists.
    """

    members: dict[str, Member]
    blends: tuple[Blend, ...]
    forbidden: npt.NDArray[np.bool_]
    mask_seen: bool
    n: int

    @property
    def users_per_block(self) -> int:
        """How many users are scored at once, so that a block of scores has a bounded size."""
        return max(8, min(512, SCORES_PER_BLOCK // max(len(self.forbidden), 1)))


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
    user_features: DataFrame,
    given: dict[str, DataFrame],
    excluded_pairs: DataFrame | None,
) -> DataFrame:
    """The rows that ranking reads: a user's row, features, given vectors and exclusions.

    Args:
        matrix: columns of `user_item_matrix` for one fit.
        user_features: columns user_index, features, content.
        given: member name to columns user_index, factor.
        excluded_pairs: columns user_index, item_index; may be None.
    """
    rows = matrix.select(c.USER_INDEX, c.ITEM_INDICES, c.WEIGHTS, c.TIMES, c.EXCLUDED_INDICES)
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
    """The lists of every blend for every user: columns of table `lists` without run_id and fit."""
    schema = T.StructType([f for f in LISTS.schema.fields if f.name not in (c.RUN_ID, c.FIT)])
    shipped = ship(users.sparkSession, scoring)
    return users.mapInArrow(partial(_rank_partition, shipped=shipped), schema)


def collect_candidates(
    users: DataFrame, targets: DataFrame, scoring: Scoring, per_member: int
) -> tuple[Candidates, dict[str, float]]:
    """Candidates of validation users with every member's score, and the members' deviations.

    Args:
        users: `user_inputs` of the users to collect; a bounded sample.
        targets: columns user_index, item_indices: the held-out items.
        scoring: its members are scored, in the order of its dictionary; blends are not used.
        per_member: candidates are the union of each member's best so many.
    """
    renamed = targets.select(c.USER_INDEX, F.col(c.ITEM_INDICES).alias(TARGET_INDICES))
    shipped = ship(users.sparkSession, scoring)
    joined = users.join(renamed, c.USER_INDEX, how="inner")
    collected = (
        joined.mapInArrow(
            partial(_candidates_partition, shipped=shipped, per_member=per_member),
            _CANDIDATE_SCHEMA,
        )
        .orderBy(c.USER_INDEX)
        .toArrow()
        .combine_chunks()
    )
    return _assemble_candidates(collected, list(scoring.members))


def recommend(
    users: DataFrame, user_ids: DataFrame, scoring: Scoring, explaining: Explaining
) -> DataFrame:
    """Explained lists of the first blend: columns of table `recommendations` without run_id.

    Args:
        users: as `user_inputs` gives them.
        user_ids: columns user_index, user_id.
    """
    schema = T.StructType([f for f in RECOMMENDATIONS.schema.fields if f.name != c.RUN_ID])
    shipped = ship(users.sparkSession, (scoring, explaining))
    named = users.join(user_ids, c.USER_INDEX, how="inner")
    return named.mapInArrow(partial(_recommend_partition, shipped=shipped), schema)


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


def _mask(scores: Float32, batch: pa.RecordBatch, scoring: Scoring) -> None:
    scores[:, scoring.forbidden] = -np.inf
    hidden = [RULE_INDICES]
    if scoring.mask_seen:
        hidden += [c.ITEM_INDICES, c.EXCLUDED_INDICES]
    for name in hidden:
        offsets, items = list_column(batch, name)
        mask_items(scores, offsets, items)


def _needed(blends: Sequence[Blend]) -> list[str]:
    return sorted({member for blend in blends for member in blend.coefficients()})


def _blend(blend: Blend, parts: dict[str, Float32]) -> Float32:
    total: Float32 | None = None
    for member, coefficient in blend.coefficients().items():
        share = parts[member] * np.float32(coefficient)
        total = share if total is None else total.__iadd__(share)
    if total is None:
        raise ValueError(f"blend {blend.name} has no member with a weight")
    return total


def _rank_partition(
    batches: Iterator[pa.RecordBatch], shipped: Shipped
) -> Iterator[pa.RecordBatch]:
    scoring: Scoring = shipped.load()
    needed = _needed(scoring.blends)
    for block, batch in blocks(batches, scoring.users_per_block):
        parts = {name: transformed_scores(scoring.members[name], block) for name in needed}
        for blend in scoring.blends:
            scores = _blend(blend, parts)
            _mask(scores, batch, scoring)
            items, values = top_n(scores, scoring.n)
            yield _list_batch(blend.name, block.rows.user_index, items, values)


def _list_batch(model: str, user_index: Int64, items: Int32, values: Float32) -> pa.RecordBatch:
    listed = items >= 0
    offsets = np.concatenate([[0], np.cumsum(listed.sum(axis=1))]).astype(np.int64)
    return pa.RecordBatch.from_arrays(
        [
            pa.array([model] * len(user_index), pa.string()),
            pa.array(user_index),
            list_array(offsets, items[listed]),
            list_array(offsets, values[listed]),
        ],
        names=[c.MODEL, c.USER_INDEX, c.ITEM_INDICES, c.SCORES],
    )


def _candidates_partition(
    batches: Iterator[pa.RecordBatch], shipped: Shipped, per_member: int
) -> Iterator[pa.RecordBatch]:
    scoring: Scoring = shipped.load()
    for block, batch in blocks(batches, scoring.users_per_block):
        parts = [transformed_scores(member, block) for member in scoring.members.values()]
        moments = np.stack([_moments(part) for part in parts], axis=1)
        best = []
        for part in parts:
            _mask(part, batch, scoring)
            best.append(top_n(part, per_member)[0])
        offsets, targets = list_column(batch, TARGET_INDICES)
        records = []
        for user, user_index in enumerate(block.rows.user_index):
            own = targets[offsets[user] : offsets[user + 1]]
            union = np.unique(np.concatenate([items[user] for items in best]))
            union = union[union >= 0]
            records.append(
                {
                    c.USER_INDEX: int(user_index),
                    "relevant_count": len(own),
                    "relevant": np.isin(union, own),
                    c.SCORES: np.stack([part[user, union] for part in parts], axis=1).ravel(),
                    "moments": moments[user].ravel(),
                }
            )
        yield pa.RecordBatch.from_pylist(records, schema=_CANDIDATE_ARROW_SCHEMA)


def _moments(scores: Float32) -> Float64:
    """float64 [n, 2]: mean and mean square of each user's scores."""
    exact = scores.astype(np.float64)
    return np.stack([exact.mean(axis=1), np.square(exact).mean(axis=1)], axis=1)


def _assemble_candidates(
    table: pa.Table, members: list[str]
) -> tuple[Candidates, dict[str, float]]:
    counts = table.column("relevant_count").to_numpy()
    lengths = pc.list_value_length(table.column("relevant")).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    relevant = pc.list_flatten(table.column("relevant")).to_numpy(zero_copy_only=False)
    scores = pc.list_flatten(table.column(c.SCORES)).to_numpy()
    moments = pc.list_flatten(table.column("moments")).to_numpy()
    mean, square = moments.reshape(len(counts), len(members), 2).mean(axis=0).T
    deviations = np.sqrt(np.maximum(square - mean**2, 0.0))
    deviations = np.where(deviations > 0.0, deviations, 1.0)
    standardised = scores.reshape(-1, len(members)) / deviations.astype(np.float32)
    return (
        Candidates(offsets, standardised.astype(np.float32), relevant, counts),
        dict(zip(members, deviations.tolist(), strict=True)),
    )


def _recommend_partition(
    batches: Iterator[pa.RecordBatch], shipped: Shipped
) -> Iterator[pa.RecordBatch]:
    scoring, explaining = shipped.load()
    blend = scoring.blends[0]
    coefficients = blend.coefficients()
    schema = _arrow_schema()
    for block, batch in blocks(batches, scoring.users_per_block):
        parts = {name: transformed_scores(scoring.members[name], block) for name in coefficients}
        scores = _blend(blend, parts)
        _mask(scores, batch, scoring)
        items, values = top_n(scores, scoring.n)
        user_ids = batch.column(c.USER_ID).to_pylist()
        records = [
            record
            for user, user_id in enumerate(user_ids)
            for record in _records(
                block, user, user_id, items[user], values[user], parts, blend, explaining
            )
        ]
        yield pa.RecordBatch.from_pylist(records, schema=schema)


def _records(
    block: UserBlock,
    user: int,
    user_id: str,
    items: Int32,
    values: Float32,
    parts: dict[str, Float32],
    blend: Blend,
    explaining: Explaining,
) -> Iterator[dict[str, object]]:
    low, high = block.rows.offsets[user], block.rows.offsets[user + 1]
    history = block.rows.item_indices[low:high]
    history_weights = block.rows.weights[low:high]
    profile = attribute_profile(explaining.attributes, history)
    coefficients = blend.coefficients()
    for position, item in enumerate(items[items >= 0]):
        evidence = explain(
            explaining.item_weights,
            explaining.attributes,
            profile,
            history,
            history_weights,
            int(item),
            explaining.reasons,
        )
        yield {
            c.USER_ID: user_id,
            c.RANK: position + 1,
            c.ITEM_ID: explaining.item_ids[item],
            "title": explaining.titles[item] or None,
            c.SCORE: float(values[position]),
            c.PARTS: [
                (name, float(parts[name][user, item]) * coefficient)
                for name, coefficient in coefficients.items()
            ],
            c.REASONS: [_reason(one, explaining) for one in evidence],
            c.MODEL: blend.name,
            c.GENERATED_AT: explaining.generated_at,
        }


def _reason(evidence: Evidence, explaining: Explaining) -> dict[str, object]:
    if evidence.kind == HISTORY:
        value = explaining.titles[evidence.index] or explaining.item_ids[evidence.index]
    elif evidence.kind == ATTRIBUTE:
        value = explaining.attribute_names[evidence.index]
    else:
        value = POPULAR_WITH_ALL if evidence.kind == POPULAR else TASTE_OF_ALL
    return {"kind": evidence.kind, "value": value, "share": evidence.share}


def _arrow_schema() -> pa.Schema:
    reason = pa.struct([("kind", pa.string()), ("value", pa.string()), ("share", pa.float64())])
    return pa.schema(
        [
            (c.USER_ID, pa.string()),
            (c.RANK, pa.int32()),
            (c.ITEM_ID, pa.string()),
            ("title", pa.string()),
            (c.SCORE, pa.float64()),
            (c.PARTS, pa.map_(pa.string(), pa.float64())),
            (c.REASONS, pa.list_(reason)),
            (c.MODEL, pa.string()),
            (c.GENERATED_AT, pa.timestamp("us", tz="UTC")),
        ]
    )
