"""Metrics of every ranker by segment, with bootstrap intervals and paired tests over users.

One pass: held-out items are joined with all rankers' lists of the same user, each partition turns
its users into sums (`Tally`), and the sums of all partitions are added. A user with held-out items
and no list counts as 0. Nothing that has a row a user leaves its partition.

Segments:
    all: every user with held-out items.
    warm: users with training interactions; only held-out items that have some count as relevant.
    cold_users: users without an interaction in training.
    activity_low, activity_middle, activity_high: thirds of the users with training interactions,
        by their number; users with equally many stay together.
    cold_items: only held-out items without an interaction in training count as relevant, over
        users who hold out such an item.
    popularity_head, popularity_torso, popularity_tail: likewise with items of training. Items by
        falling count (ties by index): the head are the first items, which together hold a third of
        all training interactions, the torso those up to two thirds, the tail the rest.
Coverage is a property of a set of lists, so it is given for the segments of users alone.
"""

import io
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config import EvaluateConfig
from m6rec.errors import DataError
from m6rec.kernels import metrics as kernel
from m6rec.kernels.bootstrap import (
    MeanSums,
    PairedSums,
    mean_sums,
    no_means,
    no_pairs,
    paired_sums,
    paired_t_test,
    percentile_interval,
    poisson_weights,
)
from m6rec.kernels.content import unit_rows
from m6rec.kernels.rows import Float32, Float64, Int32, Int64
from m6rec.stages.arrow_rows import list_column
from m6rec.stages.shipping import Shipped, ship

ALL = "all"
WARM = "warm"
COLD_USERS = "cold_users"
ACTIVITY = ("activity_low", "activity_middle", "activity_high")
COLD_ITEMS = "cold_items"
POPULARITY = ("popularity_head", "popularity_torso", "popularity_tail")
USER_SEGMENTS = (ALL, COLD_USERS, *ACTIVITY)
# The place of a segment here is the class of an item in `ItemSide.classes`.
ITEM_SEGMENTS = (COLD_ITEMS, *POPULARITY)
SEGMENTS = (*USER_SEGMENTS, WARM, *ITEM_SEGMENTS)

COMPARED_METRICS = ("ndcg", "recall")
_OTHER_RUN = "other run: "
_LISTS = "lists"
_PAYLOAD = "payload"


@dataclass(frozen=True)
class Evaluation:
    """Rows of the tables `metrics` and `comparisons`, without `run_id`."""

    metrics: list[dict[str, Any]]
    comparisons: list[dict[str, Any]]


@dataclass(frozen=True)
class ItemSide:
    """What every partition needs to know of the items.

    Attributes:
        information: float64 [M]; surprise of each item in bits.
        classes: int8 [M]; place of the item's segment in ITEM_SEGMENTS.
        vectors: float32 [M, d], rows of length 1 or 0, or None.
    """

    information: Float64
    classes: npt.NDArray[np.int8]
    vectors: Float32 | None


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        models: labels of the rankers, in the order of all arrays.
        ks: depths.
        metrics: names of the metrics that have a value a user.
        segments: names.
        pairs: places in `models` of the rankers compared, (model, other model).
        activity_limits: the highest training counts of the lower and of the middle third.
        n_items: M.
        replicates: of the bootstrap.
        seed: of the bootstrap.
    """

    models: tuple[str, ...]
    ks: tuple[int, ...]
    metrics: tuple[str, ...]
    segments: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    activity_limits: tuple[int, int]
    n_items: int
    replicates: int
    seed: int

    @property
    def values_shape(self) -> tuple[int, int, int]:
        """Models, metrics, depths: the axes of a user's values."""
        return len(self.models), len(self.metrics), len(self.ks)

    @property
    def covered_segments(self) -> tuple[str, ...]:
        """The segments that have a coverage."""
        return tuple(segment for segment in self.segments if segment in USER_SEGMENTS)


@dataclass(frozen=True)
class UserBlock:
    """Users with held-out items and their lists.

    Attributes:
        user_index: int64 [n].
        offsets, indices: int64 [n + 1], int32; held-out items.
        training_counts: int64 [n].
        ranked: int32 [models, n, N], padded with -1.
    """

    user_index: Int64
    offsets: Int64
    indices: Int32
    training_counts: Int64
    ranked: Int32


@dataclass(frozen=True)
class Tally:
    """Sums over users, which add up over blocks and partitions.

    Attributes:
        means: sums of each segment, in the order of `Plan.segments`.
        pairs: sums of differences over all users, [pairs x compared metrics x ks].
        recommended: bool [covered segments, models, ks, M].
    """

    means: tuple[MeanSums, ...]
    pairs: PairedSums
    recommended: npt.NDArray[np.bool_]

    def plus(self, other: "Tally") -> "Tally":
        """The sums over the users of both."""
        return Tally(
            tuple(a.plus(b) for a, b in zip(self.means, other.means, strict=True)),
            self.pairs.plus(other.pairs),
            self.recommended | other.recommended,
        )


def evaluate_lists(
    lists: DataFrame,
    targets: DataFrame,
    user_counts: DataFrame,
    item_counts: npt.NDArray[Any],
    catalogue_size: int,
    item_vectors: npt.NDArray[Any] | None,
    config: EvaluateConfig,
    seed: int,
    fold: str,
    run_id: str = "",
) -> Evaluation:
    """Measure every ranker of `config.rankers` that has lists, and compare each with each.

    Args:
        lists: model, user_index, item_indices (best first).
        targets: user_index, item_indices (held out, any order); one row a user.
        user_counts: user_index, interaction_count; of the training of this fit.
        item_counts: [M]; training interactions of each item.
        catalogue_size: how many items may be recommended.
        item_vectors: float [M, d] for the diversity, or None, which leaves it out.
        config: depths, replicates, confidence.
        seed: of the bootstrap.
        fold: written to the rows.
        run_id: written to `other_run_id` of the comparisons, which are within the run.

    Raises:
        DataError: no ranker of the config has a list, or no user holds out an item.
    """
    models = _models_in(lists, config)
    items = _item_side(item_counts, item_vectors)
    listwise = (kernel.NOVELTY,) + (() if items.vectors is None else (kernel.DIVERSITY,))
    plan = Plan(
        models=models,
        ks=tuple(sorted(set(config.ks))),
        metrics=(*kernel.RELEVANCE_METRICS, *listwise),
        segments=SEGMENTS,
        pairs=tuple((a, b) for a in range(len(models)) for b in range(a + 1, len(models))),
        activity_limits=_activity_limits(user_counts),
        n_items=len(item_counts),
        replicates=config.bootstrap_replicates,
        seed=seed,
    )
    tally = _measure(lists, targets, user_counts, items, plan)
    _require_users(tally, fold)
    return Evaluation(
        _metric_rows(tally, plan, config.confidence, catalogue_size, fold),
        _both_ways(_comparison_rows(tally, plan, config.confidence, fold, run_id)),
    )


def compare_runs(
    lists: DataFrame,
    other_lists: DataFrame,
    other_run_id: str,
    targets: DataFrame,
    config: EvaluateConfig,
    seed: int,
    fold: str,
) -> list[dict[str, Any]]:
    """Compare this run's lists with another run's on this run's held-out items.

    Each ranker meets the other run's of the same name, and `hybrid` meets all of the other run's.

    Args:
        lists, other_lists: model, user_index, item_indices (best first). Dense indices mean the
            same in all runs of one lake.
        other_run_id: written to the rows.
        targets: user_index, item_indices (held out).
        config, seed, fold: as in `evaluate_lists`.

    Returns:
        Rows of `comparisons` without `run_id`.

    Raises:
        DataError: a run has no list of the config's rankers, or they share no ranker.
    """
    models = _models_in(lists, config)
    others = _models_in(other_lists, config)
    pairs = tuple(
        (models.index(model), len(models) + others.index(other))
        for model in models
        for other in others
        if model in (other, "hybrid")
    )
    if not pairs:
        raise DataError(
            f"runs have no ranker in common: this run has {list(models)}, run {other_run_id} has"
            f" {list(others)}; give evaluate.compare_with_run a run with the same rankers"
        )
    plan = Plan(
        models=models + tuple(_OTHER_RUN + other for other in others),
        ks=tuple(sorted(set(config.ks))),
        metrics=COMPARED_METRICS,
        segments=(ALL,),
        pairs=pairs,
        activity_limits=(0, 0),
        n_items=0,
        replicates=config.bootstrap_replicates,
        seed=seed,
    )
    both = lists.select(c.MODEL, c.USER_INDEX, c.ITEM_INDICES).unionByName(
        other_lists.select(
            F.concat(F.lit(_OTHER_RUN), c.MODEL).alias(c.MODEL), c.USER_INDEX, c.ITEM_INDICES
        )
    )
    nobody = targets.select(c.USER_INDEX, F.lit(0).alias(c.INTERACTION_COUNT)).limit(0)
    tally = _measure(both, targets, nobody, None, plan)
    _require_users(tally, fold)
    return _comparison_rows(tally, plan, config.confidence, fold, other_run_id)


def tally_block(block: UserBlock, items: ItemSide | None, plan: Plan) -> Tally:
    """The sums of one block of users, by the kernels alone.

    `items` may be None where the plan has neither list metrics nor segments but `all`.
    """
    relevant = np.diff(block.offsets)
    hits = [kernel.hit_matrix(ranked, block.offsets, block.indices) for ranked in block.ranked]
    values = _relevance_values(hits, relevant, plan)
    listwise = _listwise_values(block, items, plan)
    weights = poisson_weights(plan.seed, block.user_index, plan.replicates)

    means = []
    for segment in plan.segments:
        if segment not in USER_SEGMENTS:
            of_segment = _items_of_segment(segment, _required(items))
            chosen, segment_relevant = _users_with_targets(block, of_segment)
            if segment == WARM:
                chosen = chosen[block.training_counts[chosen] > 0]
            segment_hits = [
                hit[chosen] & of_segment[ranked[chosen]]
                for hit, ranked in zip(hits, block.ranked, strict=True)
            ]
            segment_values = _relevance_values(segment_hits, segment_relevant[chosen], plan)
        else:
            chosen = np.flatnonzero(_in_user_segment(segment, block.training_counts, plan))
            segment_values = values[chosen]
        everything = np.concatenate([segment_values, listwise[chosen]], axis=2)
        width = math.prod(everything.shape[1:])
        means.append(mean_sums(everything.reshape(len(chosen), width), weights[chosen]))
    return Tally(tuple(means), paired_sums(_differences(values, plan)), _recommended(block, plan))


def _models_in(lists: DataFrame, config: EvaluateConfig) -> tuple[str, ...]:
    present = {str(row[c.MODEL]) for row in lists.select(c.MODEL).distinct().collect()}
    models = tuple(name for name in config.rankers if name in present)
    if not models:
        raise DataError(
            f"table lists has no list of the rankers {list(config.rankers)}, it has"
            f" {sorted(present)}; run recommend before evaluate, or correct evaluate.rankers"
        )
    return models


def _require_users(tally: Tally, fold: str) -> None:
    if tally.pairs.users == 0:
        raise DataError(f"no user holds out an item in fold {fold}; give the split a larger share")


def _item_side(counts: npt.NDArray[Any], vectors: npt.NDArray[Any] | None) -> ItemSide:
    usable = vectors is not None and vectors.size > 0 and bool(np.any(vectors))
    return ItemSide(
        kernel.information_content(counts),
        item_classes(counts),
        unit_rows(vectors) if usable and vectors is not None else None,
    )


def item_classes(counts: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
    """int8 [M]: the place in ITEM_SEGMENTS of each item's segment, from its training count."""
    order = np.lexsort((np.arange(len(counts)), -counts))
    before = np.concatenate(([0], np.cumsum(counts[order])[:-1])) if len(counts) else counts
    thirds = np.minimum(3 * before // max(int(np.sum(counts)), 1), 2)
    classes = np.zeros(len(counts), dtype=np.int8)
    classes[order] = 1 + thirds
    classes[counts == 0] = ITEM_SEGMENTS.index(COLD_ITEMS)
    return classes


def _activity_limits(user_counts: DataFrame) -> tuple[int, int]:
    """The smallest counts that a third and two thirds of the warm users do not exceed."""
    histogram = (
        user_counts.where(F.col(c.INTERACTION_COUNT) > 0)
        .groupBy(c.INTERACTION_COUNT)
        .agg(F.count("*").alias(c.USERS))
        .orderBy(c.INTERACTION_COUNT)
        .collect()
    )
    if not histogram:
        return 0, 0
    counts = np.array([row[c.INTERACTION_COUNT] for row in histogram])
    users = np.cumsum([row[c.USERS] for row in histogram])
    low, middle = (int(counts[np.searchsorted(users, users[-1] * q / 3)]) for q in (1, 2))
    return low, middle


def _measure(
    lists: DataFrame,
    targets: DataFrame,
    user_counts: DataFrame,
    items: ItemSide | None,
    plan: Plan,
) -> Tally:
    joined = _users_with_lists(lists, targets, user_counts, plan)
    shipped = ship(targets.sparkSession, items)
    partials = joined.mapInArrow(
        partial(_tally_partition, items=shipped, plan=plan), f"{_PAYLOAD} binary"
    )
    payloads = _merged(partials, plan).collect()
    return _sum((_unpack(bytes(row[_PAYLOAD]), plan) for row in payloads), plan)


def _users_with_lists(
    lists: DataFrame, targets: DataFrame, user_counts: DataFrame, plan: Plan
) -> DataFrame:
    """user_index, item_indices (held out), interaction_count, lists: array of (model, items)."""
    cut = F.slice(F.col(c.ITEM_INDICES).cast("array<int>"), 1, max(plan.ks))
    of_user = (
        lists.where(F.col(c.MODEL).isin(*plan.models))
        .select(c.USER_INDEX, F.struct(c.MODEL, cut.alias(c.ITEM_INDICES)).alias(_LISTS))
        .groupBy(c.USER_INDEX)
        .agg(F.collect_list(_LISTS).alias(_LISTS))
    )
    return (
        targets.where(F.size(c.ITEM_INDICES) > 0)
        .join(user_counts, c.USER_INDEX, "left")
        .join(of_user, c.USER_INDEX, "left")
        .select(
            F.col(c.USER_INDEX).cast("long"),
            F.col(c.ITEM_INDICES).cast("array<int>"),
            F.coalesce(F.col(c.INTERACTION_COUNT), F.lit(0))
            .cast("long")
            .alias(c.INTERACTION_COUNT),
            F.coalesce(F.col(_LISTS), _no_lists()).alias(_LISTS),
        )
    )


def _no_lists() -> Column:
    return F.array().cast(f"array<struct<{c.MODEL}:string,{c.ITEM_INDICES}:array<int>>>")


def _merged(partials: DataFrame, plan: Plan) -> DataFrame:
    """About √partitions payloads in place of one a partition, so that the driver gets few."""
    partitions = partials.sparkSession.conf.get("spark.sql.shuffle.partitions", "200")
    groups = math.isqrt(int(partitions or "200"))
    if groups <= 3:
        return partials
    return partials.repartition(groups).mapInArrow(
        partial(_merge_partition, plan=plan), f"{_PAYLOAD} binary"
    )


def _tally_partition(
    batches: Iterable[pa.RecordBatch], items: Shipped, plan: Plan
) -> Iterator[pa.RecordBatch]:
    item_side: ItemSide | None = items.load()
    blocks = (_block_of(batch, plan) for batch in batches if batch.num_rows)
    yield _payload_batch(_sum((tally_block(block, item_side, plan) for block in blocks), plan))


def _merge_partition(batches: Iterable[pa.RecordBatch], plan: Plan) -> Iterator[pa.RecordBatch]:
    payloads = (value.as_py() for batch in batches for value in batch.column(_PAYLOAD))
    yield _payload_batch(_sum((_unpack(payload, plan) for payload in payloads), plan))


def _payload_batch(tally: Tally) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([_pack(tally)], pa.binary())], [_PAYLOAD])


def _sum(tallies: Iterable[Tally], plan: Plan) -> Tally:
    total = _empty_tally(plan)
    for tally in tallies:
        total = total.plus(tally)
    return total


def _empty_tally(plan: Plan) -> Tally:
    models, metrics, depths = plan.values_shape
    return Tally(
        tuple(no_means(models * metrics * depths, plan.replicates) for _ in plan.segments),
        no_pairs(len(plan.pairs) * len(COMPARED_METRICS) * depths),
        np.zeros((len(plan.covered_segments), models, depths, plan.n_items), dtype=np.bool_),
    )


def _pack(tally: Tally) -> bytes:
    """The sums as an npz archive (plain arrays, no pickle)."""
    file = io.BytesIO()
    # Of millions of items a partition recommends few: compressed, their bits take little room.
    recommended = zlib.compress(np.packbits(tally.recommended, axis=-1).tobytes(), level=1)
    np.savez(
        file,
        users=np.array([means.users for means in tally.means], dtype=np.int64),
        totals=np.stack([means.totals for means in tally.means]),
        replicate_weights=np.stack([means.replicate_weights for means in tally.means]),
        replicate_totals=np.stack([means.replicate_totals for means in tally.means]),
        pair_users=np.array(tally.pairs.users, dtype=np.int64),
        differences=tally.pairs.differences,
        squares=tally.pairs.squares,
        recommended=np.frombuffer(recommended, dtype=np.uint8),
    )
    return file.getvalue()


def _unpack(payload: bytes, plan: Plan) -> Tally:
    with np.load(io.BytesIO(payload), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    means = zip(
        arrays["users"],
        arrays["totals"],
        arrays["replicate_weights"],
        arrays["replicate_totals"],
        strict=True,
    )
    return Tally(
        tuple(MeanSums(int(users), *sums) for users, *sums in means),
        PairedSums(int(arrays["pair_users"]), arrays["differences"], arrays["squares"]),
        _unpack_recommended(arrays["recommended"].tobytes(), plan),
    )


def _unpack_recommended(compressed: bytes, plan: Plan) -> npt.NDArray[np.bool_]:
    models, _, depths = plan.values_shape
    packed = np.frombuffer(zlib.decompress(compressed), dtype=np.uint8)
    shape = (len(plan.covered_segments), models, depths, -(-plan.n_items // 8))
    bits = np.unpackbits(packed.reshape(shape), axis=-1, count=plan.n_items)
    return bits.astype(np.bool_)


def _block_of(batch: pa.RecordBatch, plan: Plan) -> UserBlock:
    offsets, indices = list_column(batch, c.ITEM_INDICES)
    return UserBlock(
        batch.column(c.USER_INDEX).to_numpy(zero_copy_only=False).astype(np.int64),
        offsets,
        indices.astype(np.int32, copy=False),
        batch.column(c.INTERACTION_COUNT).to_numpy(zero_copy_only=False).astype(np.int64),
        _ranked_of(batch, plan),
    )


def _ranked_of(batch: pa.RecordBatch, plan: Plan) -> Int32:
    """int32 [models, n, max K]; a model's last list of a user counts where there are several."""
    depth = max(plan.ks)
    ranked = np.full((len(plan.models), batch.num_rows, depth), -1, dtype=np.int32)
    per_user = batch.column(_LISTS).value_lengths().to_numpy(zero_copy_only=False)
    users = np.repeat(np.arange(batch.num_rows), per_user)
    structs = pa.RecordBatch.from_struct_array(batch.column(_LISTS).flatten())
    models = pc.index_in(structs.column(c.MODEL), pa.array(plan.models)).to_numpy(
        zero_copy_only=False
    )
    offsets, items = list_column(structs, c.ITEM_INDICES)
    lengths = np.diff(offsets)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    places = np.arange(len(items)) - offsets[owners]
    ranked[models[owners], users[owners], places] = items
    return ranked


def _relevance_values(
    hits: Sequence[npt.NDArray[np.bool_]], relevant: Int64, plan: Plan
) -> Float64:
    """float64 [n, models, relevance metrics of the plan, ks]."""
    functions = [
        kernel.RELEVANCE_METRICS[name] for name in plan.metrics if name in kernel.RELEVANCE_METRICS
    ]
    values = np.empty((len(relevant), len(plan.models), len(functions), len(plan.ks)))
    for model, hit in enumerate(hits):
        for place, function in enumerate(functions):
            for depth, k in enumerate(plan.ks):
                values[:, model, place, depth] = function(hit, relevant, k)
    return values


def _listwise_values(block: UserBlock, items: ItemSide | None, plan: Plan) -> Float64:
    """float64 [n, models, list metrics of the plan, ks]."""
    names = [name for name in plan.metrics if name not in kernel.RELEVANCE_METRICS]
    values = np.empty((len(block.user_index), len(plan.models), len(names), len(plan.ks)))
    for model, ranked in enumerate(block.ranked):
        for place, name in enumerate(names):
            for depth, k in enumerate(plan.ks):
                values[:, model, place, depth] = _listwise(name, ranked, _required(items), k)
    return values


def _listwise(name: str, ranked: Int32, items: ItemSide, k: int) -> Float64:
    if name == kernel.NOVELTY:
        return kernel.novelty(ranked, items.information, k)
    if items.vectors is None:
        raise DataError("diversity needs item vectors, and there are none; leave the metric out")
    return kernel.diversity(ranked, items.vectors, k)


def _required(items: ItemSide | None) -> ItemSide:
    if items is None:
        raise DataError("the plan has list metrics or item segments, which need the item side")
    return items


def _items_of_segment(segment: str, items: ItemSide) -> npt.NDArray[np.bool_]:
    cold: npt.NDArray[np.bool_] = items.classes == ITEM_SEGMENTS.index(COLD_ITEMS)
    return ~cold if segment == WARM else items.classes == ITEM_SEGMENTS.index(segment)


def _users_with_targets(block: UserBlock, of_segment: npt.NDArray[np.bool_]) -> tuple[Int64, Int64]:
    """Places of the users who hold out an item of the segment, and how many each user does."""
    owners = np.repeat(np.arange(len(block.user_index)), np.diff(block.offsets))
    counts = np.bincount(owners[of_segment[block.indices]], minlength=len(block.user_index))
    return np.flatnonzero(counts), counts


def _in_user_segment(segment: str, counts: Int64, plan: Plan) -> npt.NDArray[np.bool_]:
    low, middle = plan.activity_limits
    bounds = {
        ALL: (0, np.inf),
        COLD_USERS: (0, 0),
        ACTIVITY[0]: (1, low),
        ACTIVITY[1]: (low + 1, middle),
        ACTIVITY[2]: (middle + 1, np.inf),
    }
    lowest, highest = bounds[segment]
    inside: npt.NDArray[np.bool_] = (counts >= lowest) & (counts <= highest)
    return inside


def _differences(values: Float64, plan: Plan) -> Float64:
    """float64 [n, pairs x compared metrics x ks]: model minus other model."""
    compared = values[:, :, [plan.metrics.index(name) for name in COMPARED_METRICS], :]
    pairs = np.array(plan.pairs, dtype=np.int64).reshape(-1, 2)
    return (compared[:, pairs[:, 0]] - compared[:, pairs[:, 1]]).reshape(len(values), -1)


def _recommended(block: UserBlock, plan: Plan) -> npt.NDArray[np.bool_]:
    models, _, depths = plan.values_shape
    segments = plan.covered_segments
    recommended = np.zeros((len(segments), models, depths, plan.n_items), dtype=np.bool_)
    if plan.n_items == 0:
        return recommended
    for place, segment in enumerate(segments):
        chosen = _in_user_segment(segment, block.training_counts, plan)
        for model, ranked in enumerate(block.ranked):
            for depth, k in enumerate(plan.ks):
                recommended[place, model, depth] = kernel.recommended_items(
                    ranked[chosen], k, plan.n_items
                )
    return recommended


def _metric_rows(
    tally: Tally, plan: Plan, confidence: float, catalogue_size: int, fold: str
) -> list[dict[str, Any]]:
    rows = []
    for segment, sums in zip(plan.segments, tally.means, strict=True):
        if sums.users == 0:
            continue
        means = sums.means().reshape(plan.values_shape)
        low, high = (
            end.reshape(plan.values_shape)
            for end in percentile_interval(sums.replicate_means(), confidence)
        )
        for m, model in enumerate(plan.models):
            for d, k in enumerate(plan.ks):
                for j, metric in enumerate(plan.metrics):
                    cell = (m, j, d)
                    ends = (_number(low[cell]), _number(high[cell]))
                    rows.append(
                        _metric_row(
                            model, fold, segment, metric, k, float(means[cell]), ends, sums.users
                        )
                    )
                if segment in plan.covered_segments:
                    listed = tally.recommended[plan.covered_segments.index(segment), m, d]
                    share = kernel.coverage(listed, catalogue_size)
                    rows.append(
                        _metric_row(
                            model,
                            fold,
                            segment,
                            kernel.COVERAGE,
                            k,
                            share,
                            (None, None),
                            sums.users,
                        )
                    )
    return rows


def _metric_row(
    model: str,
    fold: str,
    segment: str,
    metric: str,
    k: int,
    value: float,
    ends: tuple[float | None, float | None],
    users: int,
) -> dict[str, Any]:
    return {
        c.MODEL: model,
        c.FOLD: fold,
        c.SEGMENT: segment,
        c.METRIC: metric,
        c.K: k,
        c.VALUE: value,
        c.CI_LOW: ends[0],
        c.CI_HIGH: ends[1],
        c.USERS: users,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _comparison_rows(
    tally: Tally, plan: Plan, confidence: float, fold: str, other_run_id: str
) -> list[dict[str, Any]]:
    if not plan.pairs:
        return []
    shape = (len(plan.pairs), len(COMPARED_METRICS), len(plan.ks))
    differences = (tally.pairs.differences / tally.pairs.users).reshape(shape)
    p_values = paired_t_test(tally.pairs).reshape(shape)
    # A user has the same weight for both rankers, so the difference of their replicates' means is
    # the replicate's mean difference.
    replicates = tally.means[plan.segments.index(ALL)].replicate_means()
    replicate_differences = _differences(replicates.reshape(-1, *plan.values_shape), plan)
    low, high = (
        end.reshape(shape) for end in percentile_interval(replicate_differences, confidence)
    )
    return [
        {
            c.MODEL: plan.models[a],
            "other_run_id": other_run_id,
            "other_model": plan.models[b].removeprefix(_OTHER_RUN),
            c.FOLD: fold,
            c.METRIC: metric,
            c.K: k,
            "difference": float(differences[p, j, d]),
            c.CI_LOW: float(low[p, j, d]),
            c.CI_HIGH: float(high[p, j, d]),
            "p_value": float(p_values[p, j, d]),
            c.USERS: tally.pairs.users,
        }
        for p, (a, b) in enumerate(plan.pairs)
        for j, metric in enumerate(COMPARED_METRICS)
        for d, k in enumerate(plan.ks)
    ]


def _both_ways(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each comparison and its mirror, so that any ranker can be looked up as the first."""
    mirrored = [
        {
            **row,
            c.MODEL: row["other_model"],
            "other_model": row[c.MODEL],
            "difference": -row["difference"],
            c.CI_LOW: -row[c.CI_HIGH],
            c.CI_HIGH: -row[c.CI_LOW],
        }
        for row in rows
    ]
    return rows + mirrored
