"""Turn the sums of an evaluation into rows of the tables `metrics` and `comparisons`."""

import math
from typing import Any

import numpy as np

from m6rec import columns as c
from m6rec.kernels.evaluation import metrics as kernel
from m6rec.kernels.evaluation.bootstrap import (
    MeanSums,
    PairedSums,
    UInt8,
    paired_t_test,
    percentile_interval,
)
from m6rec.kernels.evaluation.tally import (
    COMPARED_METRICS,
    Plan,
    Tally,
    paired_differences,
)

OTHER_RUN = "other run: "


def metric_rows(
    tally: Tally, plan: Plan, confidence: float, catalogue_size: int, fold: str
) -> list[dict[str, Any]]:
    """A row for each ranker, segment, metric and depth; segments without users have none."""
    rows = []
    for segment, sums in zip(plan.segments, tally.means, strict=True):
        if sums.users:
            rows += _mean_rows(segment, sums, plan, confidence, fold)
    for place, segment in enumerate(plan.covered_segments):
        users = tally.means[plan.segments.index(segment)].users
        if users:
            listed = tally.recommended[place]
            rows += _coverage_rows(segment, users, listed, plan, catalogue_size, fold)
    return rows


def _mean_rows(
    segment: str, sums: MeanSums, plan: Plan, confidence: float, fold: str
) -> list[dict[str, Any]]:
    low, high = percentile_interval(sums.replicate_means(), confidence)
    means, low, high = (part.reshape(plan.values_shape) for part in (sums.means(), low, high))
    return [
        {
            c.MODEL: model,
            c.FOLD: fold,
            c.SEGMENT: segment,
            c.METRIC: metric,
            c.K: k,
            c.VALUE: float(means[m, j, d]),
            c.CI_LOW: _number(low[m, j, d]),
            c.CI_HIGH: _number(high[m, j, d]),
            c.USERS: sums.users,
        }
        for m, model in enumerate(plan.models)
        for j, metric in enumerate(plan.metrics)
        for d, k in enumerate(plan.ks)
    ]


def _coverage_rows(
    segment: str,
    users: int,
    listed: UInt8,
    plan: Plan,
    catalogue_size: int,
    fold: str,
) -> list[dict[str, Any]]:
    """Coverage belongs to a set of lists and not to a user, so that it has no interval."""
    return [
        {
            c.MODEL: model,
            c.FOLD: fold,
            c.SEGMENT: segment,
            c.METRIC: kernel.COVERAGE,
            c.K: k,
            c.VALUE: kernel.coverage(np.unpackbits(listed[m, d]).view(np.bool_), catalogue_size),
            c.CI_LOW: None,
            c.CI_HIGH: None,
            c.USERS: users,
        }
        for m, model in enumerate(plan.models)
        for d, k in enumerate(plan.ks)
    ]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def comparison_rows(
    tally: Tally, plan: Plan, confidence: float, fold: str, other_run_id: str
) -> list[dict[str, Any]]:
    """A row for each pair of rankers, compared metric and depth, over the users of a segment."""
    if not plan.pairs:
        return []
    return [
        row
        for segment, pairs in zip(plan.compared_segments, tally.pairs, strict=True)
        if pairs.users
        for row in _compared(tally, pairs, segment, plan, confidence, fold, other_run_id)
    ]


def _compared(
    tally: Tally,
    pairs: PairedSums,
    segment: str,
    plan: Plan,
    confidence: float,
    fold: str,
    other_run_id: str,
) -> list[dict[str, Any]]:
    shape = (len(plan.pairs), len(COMPARED_METRICS), len(plan.ks))
    means = tally.means[plan.segments.index(segment)]
    # Where there are domains, a user may have several lists.
    differences = (pairs.differences / means.users).reshape(shape)
    p_values = paired_t_test(pairs).reshape(shape)
    # A user has the same weight for both rankers, so the difference of two means of a replicate is
    # the replicate's mean of differences.
    replicates = means.replicate_means()
    replicate_differences = paired_differences(replicates.reshape(-1, *plan.values_shape), plan)
    low, high = (
        end.reshape(shape) for end in percentile_interval(replicate_differences, confidence)
    )
    return [
        {
            c.MODEL: plan.models[a],
            "other_run_id": other_run_id,
            "other_model": plan.models[b].removeprefix(OTHER_RUN),
            c.FOLD: fold,
            c.SEGMENT: segment,
            c.METRIC: metric,
            c.K: k,
            "difference": float(differences[p, j, d]),
            c.CI_LOW: float(low[p, j, d]),
            c.CI_HIGH: float(high[p, j, d]),
            "p_value": float(p_values[p, j, d]),
            c.USERS: pairs.users,
        }
        for p, (a, b) in enumerate(plan.pairs)
        for j, metric in enumerate(COMPARED_METRICS)
        for d, k in enumerate(plan.ks)
    ]


def both_ways(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add the mirror of each comparison, so that every ranker can be looked up as the first."""
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
