"""Measure every ranker's lists by segment, with bootstrap intervals and paired tests over users.

One pass suffices: each user's held-out items are joined with the lists of all rankers, each
partition turns its users into sums (`Tally`), and the sums of all partitions are added. A user with
held-out items but without a list counts as 0. Rows of single users never leave their partition.

Segments:
    all: every user with held-out items.
    warm: users with training interactions; only held-out items that have some count as relevant.
    cold_users: users without an interaction in training.
    activity_low, activity_middle, activity_high: thirds of the users with training interactions,
        by their number; users with equally many stay together.
    cold_items: users who hold out an item without an interaction in training; only such items
        count as relevant.
    popularity_head, popularity_torso, popularity_tail: likewise for items of training. Of the items
        by falling count (ties by index), the head are the first ones, which together have a third
        of all training interactions, the torso are those up to two thirds, the tail are the rest.
    cold_items with A and B, cold_items without vectors: cold_items by which columns of vectors they
        have, where they differ in that.
    domain: NAME: the lists of users in a domain. Where there are domains, a user counts in the
        other segments once for each domain that holds items of the user's out.
Coverage is a property of a set of lists, so it is given only for the segments of users.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.outputs import EvaluateConfig
from m6rec.errors import DataError
from m6rec.kernels.arrays.categories import ItemCategories
from m6rec.kernels.arrays.likeness import ItemLikeness
from m6rec.kernels.arrays.rows import Int32, Rows
from m6rec.kernels.evaluation import metrics as kernel
from m6rec.kernels.evaluation.tally import (
    ALL,
    COMPARED_METRICS,
    SEGMENTS,
    ItemSide,
    MeasuredUsers,
    Plan,
    Tally,
    domain_segment,
    item_side,
    pack_tally,
    sum_tallies,
    tally_block,
    unpack_tally,
)
from m6rec.spark.arrow_rows import list_column
from m6rec.spark.shipping import Shipped, ship
from m6rec.stages.evaluation.rows import OTHER_RUN, both_ways, comparison_rows, metric_rows

HISTORY_INDICES = "history_indices"
HISTORY_WEIGHTS = "history_weights"
_LISTS = "lists"
_PAYLOAD = "payload"


@dataclass(frozen=True)
class Evaluation:
    """The rows of tables `metrics` and `comparisons`, without `run_id`."""

    metrics: list[dict[str, Any]]
    comparisons: list[dict[str, Any]]


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
    likeness: ItemLikeness | None = None,
    categories: ItemCategories | None = None,
    item_groups: Mapping[str, npt.NDArray[np.bool_]] | None = None,
    domains: tuple[str, ...] = (),
) -> Evaluation:
    """Measure every ranker of `config.rankers` that has lists, and compare each with all others.

    Args:
        lists: model, user_index, item_indices (best first).
        targets: user_index, item_indices (held out, in any order); one row for each user, or with
            domains one for each user and `domain`, and lists have that column, too.
        user_counts: user_index, interaction_count in the training of this fit.
        item_counts: [M]; training interactions of each item.
        catalogue_size: how many items may be recommended.
        item_vectors: float [M, d], for diversity; None leaves diversity out.
        config: depths, replicates, confidence.
        seed: of the bootstrap.
        fold: written to the rows.
        run_id: written to `other_run_id`, because all comparisons are within the run.
        likeness: for the similarity within lists; None leaves it out.
        categories: for calibration, which also needs the columns history_indices and
            history_weights of `user_counts`; None leaves it out.
        item_groups: bool [M] by name; further segments of items.
        domains: the names of the domains, if there are any. Every list counts as a user's then.

    Raises:
        DataError: no ranker of the config has a list, or no user holds out an item.
    """
    models = _models_in(lists, config)
    items = item_side(item_counts, item_vectors, likeness, categories, item_groups)
    plan = Plan(
        models=models,
        ks=tuple(sorted(set(config.ks))),
        metrics=(*kernel.RELEVANCE_METRICS, *items.list_metrics()),
        segments=(*SEGMENTS, *items.groups, *map(domain_segment, domains)),
        pairs=tuple((a, b) for a in range(len(models)) for b in range(a + 1, len(models))),
        activity_limits=_activity_limits(user_counts),
        n_items=len(item_counts),
        replicates=config.bootstrap_replicates,
        seed=seed,
        domains=domains,
    )
    tally = _measure(lists, targets, user_counts, items, plan)
    _require_users(tally, fold)
    return Evaluation(
        metric_rows(tally, plan, config.confidence, catalogue_size, fold),
        both_ways(comparison_rows(tally, plan, config.confidence, fold, run_id)),
    )


def compare_runs(
    lists: DataFrame,
    other_lists: DataFrame,
    other_run_id: str,
    targets: DataFrame,
    config: EvaluateConfig,
    seed: int,
    fold: str,
    domains: tuple[str, ...] = (),
) -> list[dict[str, Any]]:
    """Compare this run's lists with those of another run, on this run's held-out items.

    Each ranker is compared with the other run's ranker of the same name, and `hybrid` with all
    rankers of the other run.

    Args:
        lists, other_lists: model, user_index, item_indices (best first). All runs of one lake give
            an item the same index.
        other_run_id: written to the rows.
        targets: user_index, item_indices (held out).
        config, seed, fold, domains: as in `evaluate_lists`.

    Returns:
        Rows of `comparisons` without `run_id`.

    Raises:
        DataError: a run has no list of the config's rankers, or the runs have no common ranker.
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
        models=models + tuple(OTHER_RUN + other for other in others),
        ks=tuple(sorted(set(config.ks))),
        metrics=COMPARED_METRICS,
        segments=(ALL, *map(domain_segment, domains)),
        pairs=pairs,
        activity_limits=(0, 0),
        n_items=0,
        replicates=config.bootstrap_replicates,
        seed=seed,
        domains=domains,
    )
    key = [c.USER_INDEX, c.DOMAIN] if c.DOMAIN in targets.columns else [c.USER_INDEX]
    both = lists.select(c.MODEL, *key, c.ITEM_INDICES).unionByName(
        other_lists.select(F.concat(F.lit(OTHER_RUN), c.MODEL).alias(c.MODEL), *key, c.ITEM_INDICES)
    )
    nobody = targets.select(c.USER_INDEX, F.lit(0).alias(c.INTERACTION_COUNT)).limit(0)
    tally = _measure(both, targets, nobody, None, plan)
    _require_users(tally, fold)
    return comparison_rows(tally, plan, config.confidence, fold, other_run_id)


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
    if tally.pairs[0].users == 0:
        raise DataError(f"no user holds out an item in fold {fold}; give the split a larger share")


def _activity_limits(user_counts: DataFrame) -> tuple[int, int]:
    """The smallest counts that a third, and two thirds, of the warm users do not exceed."""
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
    if plan.domains:
        joined = joined.repartition(c.USER_INDEX).sortWithinPartitions(c.USER_INDEX)
    spark = targets.sparkSession
    tasks = _tasks(spark)
    partials = joined.coalesce(tasks).mapInArrow(
        partial(_tally_partition, items=ship(spark, items), plan=plan), f"{_PAYLOAD} binary"
    )
    payloads = _merged(partials, plan, tasks).collect()
    return sum_tallies((unpack_tally(bytes(row[_PAYLOAD]), plan) for row in payloads), plan)


def _tasks(spark: SparkSession) -> int:
    """How many tasks make sums: as many as run at once.

    The sums of a task are as large for a few users as for many.
    """
    return spark.sparkContext.defaultParallelism


def _users_with_lists(
    lists: DataFrame, targets: DataFrame, user_counts: DataFrame, plan: Plan
) -> DataFrame:
    """user_index, item_indices (held out), interaction_count, lists: array of (model, items)."""
    cut = F.slice(F.col(c.ITEM_INDICES).cast("array<int>"), 1, max(plan.ks))
    # A user's held-out items of a domain are looked for in the user's lists of that domain.
    key = [c.USER_INDEX, c.DOMAIN] if c.DOMAIN in targets.columns else [c.USER_INDEX]
    of_user = (
        lists.where(F.col(c.MODEL).isin(*plan.models))
        .select(*key, F.struct(c.MODEL, cut.alias(c.ITEM_INDICES)).alias(_LISTS))
        .groupBy(*key)
        .agg(F.collect_list(_LISTS).alias(_LISTS))
    )
    return (
        targets.where(F.size(c.ITEM_INDICES) > 0)
        .join(user_counts, c.USER_INDEX, "left")
        .join(of_user, key, "left")
        .select(
            *key[1:],
            F.col(c.USER_INDEX).cast("long"),
            F.col(c.ITEM_INDICES).cast("array<int>"),
            F.coalesce(F.col(c.INTERACTION_COUNT), F.lit(0))
            .cast("long")
            .alias(c.INTERACTION_COUNT),
            F.coalesce(F.col(_LISTS), _no_lists()).alias(_LISTS),
            *_history_columns(user_counts),
        )
    )


def _history_columns(user_counts: DataFrame) -> list[Column]:
    if HISTORY_INDICES not in user_counts.columns:
        return []
    kinds = {HISTORY_INDICES: "array<int>", HISTORY_WEIGHTS: "array<float>"}
    return [
        F.coalesce(F.col(name).cast(kind), F.array().cast(kind)).alias(name)
        for name, kind in kinds.items()
    ]


def _no_lists() -> Column:
    return F.array().cast(f"array<struct<{c.MODEL}:string,{c.ITEM_INDICES}:array<int>>>")


def _merged(partials: DataFrame, plan: Plan, tasks: int) -> DataFrame:
    """Merge the payloads to about the root of their number, so that the driver collects few."""
    partitions = partials.sparkSession.conf.get("spark.sql.shuffle.partitions", "200")
    groups = math.isqrt(min(int(partitions or "200"), tasks))
    if groups <= 3:
        return partials
    return partials.repartition(groups).mapInArrow(
        partial(_merge_partition, plan=plan), f"{_PAYLOAD} binary"
    )


def _tally_partition(
    batches: Iterable[pa.RecordBatch], items: Shipped, plan: Plan
) -> Iterator[pa.RecordBatch]:
    item_side: ItemSide | None = items.load()
    if plan.domains:
        batches = _with_whole_users(batches)
    blocks = (_block_of(batch, plan) for batch in batches if batch.num_rows)
    yield from _payload_of((tally_block(block, item_side, plan) for block in blocks), plan)


def _with_whole_users(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Rows in the order of their users, cut so that no batch has some rows of a user only."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held += [batch]
        together = pa.Table.from_batches(held)
        users = together.column(c.USER_INDEX).to_numpy()
        is_last = users == users[-1] if len(users) else np.zeros(0, np.bool_)
        # Not by slices, whose beginning the columns within a column do not know.
        yield from together.filter(pa.array(~is_last)).combine_chunks().to_batches()
        held = together.filter(pa.array(is_last)).to_batches()
    yield from pa.Table.from_batches(held).combine_chunks().to_batches() if held else ()


def _merge_partition(batches: Iterable[pa.RecordBatch], plan: Plan) -> Iterator[pa.RecordBatch]:
    payloads = (value.as_py() for batch in batches for value in batch.column(_PAYLOAD))
    yield from _payload_of((unpack_tally(payload, plan) for payload in payloads), plan)


def _payload_of(tallies: Iterator[Tally], plan: Plan) -> Iterator[pa.RecordBatch]:
    """The sum of the tallies as a row; none where there are no tallies, as many partitions have."""
    first = next(tallies, None)
    if first is not None:
        total = pack_tally(sum_tallies(chain([first], tallies), plan))
        yield pa.RecordBatch.from_arrays([pa.array([total], pa.binary())], [_PAYLOAD])


def _block_of(batch: pa.RecordBatch, plan: Plan) -> MeasuredUsers:
    indptr, indices = list_column(batch, c.ITEM_INDICES)
    return MeasuredUsers(
        batch.column(c.USER_INDEX).to_numpy(zero_copy_only=False).astype(np.int64),
        indptr,
        indices.astype(np.int32, copy=False),
        batch.column(c.INTERACTION_COUNT).to_numpy(zero_copy_only=False).astype(np.int64),
        _ranked_of(batch, plan),
        _domains_of(batch, plan),
        _history_of(batch),
    )


def _history_of(batch: pa.RecordBatch) -> Rows | None:
    if HISTORY_INDICES not in batch.schema.names:
        return None
    indptr, items = list_column(batch, HISTORY_INDICES)
    _, weights = list_column(batch, HISTORY_WEIGHTS)
    users = batch.column(c.USER_INDEX).to_numpy(zero_copy_only=False)
    return Rows(users, indptr, items.astype(np.int32), weights.astype(np.float32))


def _domains_of(batch: pa.RecordBatch, plan: Plan) -> Int32:
    """int32 [n]: the place of each row's domain among those of the plan; 0 without domains."""
    if c.DOMAIN not in batch.schema.names:
        return np.zeros(batch.num_rows, np.int32)
    names = pa.array(plan.domains, pa.string())
    found = pc.fill_null(pc.index_in(batch.column(c.DOMAIN), names), -1)
    places: Int32 = found.to_numpy(zero_copy_only=False).astype(np.int32)
    return places


def _ranked_of(batch: pa.RecordBatch, plan: Plan) -> Int32:
    """int32 [models, n, max K]; each user's list of each model, padded with -1."""
    depth = max(plan.ks)
    ranked = np.full((len(plan.models), batch.num_rows, depth), -1, dtype=np.int32)
    per_user = batch.column(_LISTS).value_lengths().to_numpy(zero_copy_only=False)
    users = np.repeat(np.arange(batch.num_rows), per_user)
    structs = pa.RecordBatch.from_struct_array(batch.column(_LISTS).flatten())
    models = pc.index_in(structs.column(c.MODEL), pa.array(plan.models)).to_numpy(
        zero_copy_only=False
    )
    indptr, items = list_column(structs, c.ITEM_INDICES)
    lengths = np.diff(indptr)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    places = np.arange(len(items)) - indptr[owners]
    ranked[models[owners], users[owners], places] = items
    return ranked
