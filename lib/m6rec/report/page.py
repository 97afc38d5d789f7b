"""The HTML report of a run: one file without anything outside it."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from m6rec import columns as c
from m6rec.files import AnyPlace, as_place
from m6rec.report import plots
from m6rec.report.wording import (
    BEST_LOW,
    ERROR_NAMES,
    METRIC_NAMES,
    count_text,
    duration_text,
    model_name,
    number_text,
    p_value_text,
    reason_text,
    segment_name,
)

_SEGMENT_ORDER = (
    "all",
    "warm",
    "cold_users",
    "activity_low",
    "activity_middle",
    "activity_high",
    "popularity_head",
    "popularity_torso",
    "popularity_tail",
    "cold_items",
)


@dataclass(frozen=True)
class ReportData:
    """What the report shows, as plain Python data. Parts that are empty are left out.

    Attributes:
        run_id: of the run.
        config_hash: fingerprint of its configuration.
        counts: what was counted, by name, such as users, items, interactions.
        quarantined: rows refused by cleaning, by reason.
        metrics: rows of the table `metrics`.
        comparisons: rows of the table `comparisons`.
        histories: training curves by name (a tower of a fit): dicts of epoch, loss,
            validation_ndcg.
        hybrid_weights: weight of each member of the hybrid.
        domain_weights: the same for each domain that has weights of its own, by its name.
        hybrid_evidence: the weights for each bin of evidence: dicts of side (items or users), bin,
            rests_on (how many held-out items of validation), weights (by member).
        examples: users with their lists: dicts of user_id, history (titles), model, and items:
            dicts of rank, item_id, title, score, reasons (dicts of kind, value, share).
        ablations: rows of the table `ablations`.
        guards: rows of the table `guard_results`.
        configurations_on_test: how many configurations of this lake were scored on test.
        validation_trials: how many weightings of the hybrid were scored on validation.
        step_seconds: wall time of each step, in order.
        kept: of a nightly run, what was kept and what was trained, in words.
        hybrid: the ranker that the others are compared with.
        metric, k: what the plots show.
    """

    run_id: str
    config_hash: str
    counts: Mapping[str, int] = field(default_factory=dict)
    quarantined: Mapping[str, int] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, Any]] = ()
    comparisons: Sequence[Mapping[str, Any]] = ()
    histories: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    hybrid_weights: Mapping[str, float] = field(default_factory=dict)
    domain_weights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    hybrid_evidence: Sequence[Mapping[str, Any]] = ()
    examples: Sequence[Mapping[str, Any]] = ()
    ablations: Sequence[Mapping[str, Any]] = ()
    guards: Sequence[Mapping[str, Any]] = ()
    configurations_on_test: int = 1
    validation_trials: int = 0
    step_seconds: Mapping[str, float] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    hybrid: str = "hybrid"
    metric: str = "ndcg"
    k: int = 10


def write_report(path: AnyPlace, data: ReportData, drawn: Mapping[str, str] | None = None) -> None:
    """Write the report; the folder of `path` is made where it is missing.

    `drawn` are the `plots_of` its data, drawn here unless given.
    """
    as_place(path).write_text(render_report(data, drawn))


def render_report(data: ReportData, drawn: Mapping[str, str] | None = None) -> str:
    """The report as HTML; arguments as for `write_report`."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        number=number_text,
        count=count_text,
        duration=duration_text,
        p_value=p_value_text,
        model=model_name,
        segment=segment_name,
        reason=reason_text,
        metric=lambda name: METRIC_NAMES.get(name, name),
    )
    source = resources.files("m6rec.report").joinpath("report.html").read_text(encoding="utf-8")
    fold = main_fold(data.metrics)
    return environment.from_string(source).render(
        data=data,
        fold=fold,
        headline=_headline(data, fold),
        plots=plots_of(data) if drawn is None else drawn,
        tables=_metric_tables(data, fold),
        segments=_segment_table(data, fold),
        comparisons=_comparisons(data, fold),
        ratings=rating_errors(data.metrics, fold),
        folds=_validation_and_test(data),
        ablations=_ablations(data),
        total_seconds=sum(data.step_seconds.values()),
    )


def plots_of(data: ReportData) -> dict[str, str]:
    """The plots by name, as addresses that hold the pictures themselves."""
    figures = _figures(data, main_fold(data.metrics))
    return {name: _image(figure) for name, figure in figures.items()}


def main_fold(metrics: Sequence[Mapping[str, Any]]) -> str:
    """The fold that results are told of: test, or validation where nothing else was measured."""
    folds = {str(row[c.FOLD]) for row in metrics}
    return c.VALIDATION if folds == {c.VALIDATION} else c.TEST


def best_first(
    metrics: Sequence[Mapping[str, Any]], fold: str, metric: str, k: int
) -> list[Mapping[str, Any]]:
    """The rows of all users for one metric, best ranker first (ties by name)."""
    rows = [
        row
        for row in metrics
        if (row[c.FOLD], row[c.SEGMENT], row[c.METRIC], row[c.K]) == (fold, "all", metric, k)
    ]
    return sorted(rows, key=lambda row: (-row[c.VALUE], row[c.MODEL]))


def rating_errors(
    metrics: Sequence[Mapping[str, Any]], fold: str
) -> dict[str, dict[str, Mapping[str, Any]]]:
    """The rows `rmse` and `mae` of each model that predicts ratings, least error first."""
    models: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in metrics:
        if row[c.FOLD] == fold and row[c.METRIC] in ERROR_NAMES:
            models.setdefault(row[c.MODEL], {})[row[c.METRIC]] = row
    return dict(sorted(models.items(), key=lambda model: model[1]["rmse"][c.VALUE]))


def _figures(data: ReportData, fold: str) -> dict[str, Figure]:
    figures = {}
    if best_first(data.metrics, fold, data.metric, data.k):
        figures["quality"] = plots.quality(data.metrics, data.metric, data.k, data.hybrid)
        figures["coverage"] = plots.novelty_against_coverage(
            data.metrics, fold, data.k, data.hybrid
        )
    if any(data.histories.values()):
        figures["training"] = plots.training(data.histories)
    if data.hybrid_weights:
        figures["weights"] = plots.hybrid_weights(data.hybrid_weights)
    if data.step_seconds:
        figures["time"] = plots.step_times(data.step_seconds)
    return figures


def _image(figure: Figure) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(plots.svg(figure)).decode("ascii")


def _headline(data: ReportData, fold: str) -> Mapping[str, Any] | None:
    rows = best_first(data.metrics, fold, data.metric, data.k)
    return next((row for row in rows if row[c.MODEL] == data.hybrid), rows[0] if rows else None)


def _metric_tables(data: ReportData, fold: str) -> list[dict[str, Any]]:
    """A table a depth: rankers by metrics, best first; the best of each column is marked."""
    tables = []
    for k in sorted({int(row[c.K]) for row in data.metrics}):
        cells = {
            (row[c.MODEL], row[c.METRIC]): row
            for row in data.metrics
            if (row[c.FOLD], row[c.SEGMENT], row[c.K]) == (fold, "all", k)
        }
        names = [name for name in METRIC_NAMES if any(metric == name for _, metric in cells)]
        models = [row[c.MODEL] for row in best_first(data.metrics, fold, data.metric, k)]
        best = {
            name: (min if name in BEST_LOW else max)(
                cells[model, name][c.VALUE] for model in models if (model, name) in cells
            )
            for name in names
            if models
        }
        if names and models:
            tables.append(
                {"k": k, "metrics": names, "models": models, "cells": cells, "best": best}
            )
    return tables


def _segment_table(data: ReportData, fold: str) -> dict[str, Any]:
    """Rankers by segments for the main metric and depth."""
    cells = {
        (row[c.MODEL], row[c.SEGMENT]): row
        for row in data.metrics
        if (row[c.FOLD], row[c.METRIC], row[c.K]) == (fold, data.metric, data.k)
    }
    found = {segment for _, segment in cells}
    known = [segment for segment in _SEGMENT_ORDER if segment in found]
    known += sorted(found.difference(_SEGMENT_ORDER))
    users = {segment: row[c.USERS] for (_, segment), row in cells.items()}
    models = [row[c.MODEL] for row in best_first(data.metrics, fold, data.metric, data.k)]
    best = {
        segment: max(row[c.VALUE] for (_, other), row in cells.items() if other == segment)
        for segment in known
    }
    return {"segments": known, "models": models, "cells": cells, "users": users, "best": best}


def _validation_and_test(data: ReportData) -> list[dict[str, Any]]:
    """Each ranker's main metric on both folds, best on test first; empty where one is missing."""
    values = {
        (row[c.MODEL], row[c.FOLD]): row
        for row in data.metrics
        if (row[c.SEGMENT], row[c.METRIC], row[c.K]) == ("all", data.metric, data.k)
    }
    return [
        {c.MODEL: row[c.MODEL], c.VALIDATION: values[row[c.MODEL], c.VALIDATION], c.TEST: row}
        for row in best_first(data.metrics, c.TEST, data.metric, data.k)
        if (row[c.MODEL], c.VALIDATION) in values
    ]


def _ablations(data: ReportData) -> list[Mapping[str, Any]]:
    """The hybrid's parts, then those of other rankers; what is missed most first."""
    return sorted(data.ablations, key=lambda row: (row[c.MODEL] != data.hybrid, row["difference"]))


def _comparisons(data: ReportData, fold: str) -> list[Mapping[str, Any]]:
    """The hybrid against each, by the main metric at every depth; other runs after this one."""
    shown = (data.hybrid, fold, "all", data.metric)
    rows = [
        row
        for row in data.comparisons
        if (row[c.MODEL], row[c.FOLD], row[c.SEGMENT], row[c.METRIC]) == shown
    ]
    return sorted(
        rows,
        key=lambda row: (
            row["other_run_id"] != data.run_id,
            row["other_run_id"],
            row[c.K],
            row["difference"],
            row["other_model"],
        ),
    )
