"""Results of a run in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from m6rec import columns as c
from m6rec.rankers import HYBRID
from m6rec.report.page import ReportData, best_first, main_fold, rating_errors
from m6rec.report.wording import ERROR_NAMES, METRIC_NAMES, model_name, number_text, reason_text

_ITEMS_SHOWN = 10
_USERS_SHOWN = 3
_TRIALS_SHOWN = 10
_MAIN_METRIC = "ndcg"
# What fits beside the names and the interval in a narrow terminal.
_WIDE_ENOUGH = 136
_NARROW_METRICS = ("ndcg", "recall", "map", "mrr", "coverage")


def print_results(
    console: Console,
    metrics: Sequence[Mapping[str, Any]],
    examples: Sequence[Mapping[str, Any]],
    k: int = 10,
) -> None:
    """Print the rankers with all metrics at `k`, and the top 10 of the first three examples.

    `metrics` are rows of the table; `examples` are as in `ReportData`.
    """
    shown = tuple(METRIC_NAMES) if console.width >= _WIDE_ENOUGH else _NARROW_METRICS
    console.print(_metrics_table(metrics, k, shown))
    ratings = rating_errors(metrics, main_fold(metrics))
    if ratings:
        console.print(_ratings_table(ratings))
    for example in examples[:_USERS_SHOWN]:
        console.print(_list_table(example))


def _metrics_table(metrics: Sequence[Mapping[str, Any]], k: int, shown: tuple[str, ...]) -> Table:
    fold = main_fold(metrics)
    ranked = best_first(metrics, fold, _MAIN_METRIC, k)
    cells = {
        (row[c.MODEL], row[c.METRIC]): row[c.VALUE]
        for row in metrics
        if (row[c.FOLD], row[c.SEGMENT], row[c.K]) == (fold, "all", k)
    }
    names = [name for name in shown if any(found == name for _, found in cells)]
    users = f", {ranked[0][c.USERS]} users" if ranked else ""
    table = Table(
        title=f"Rankers at K = {k} on {fold}{users}",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("Ranker", no_wrap=True)
    for name in names:
        table.add_column(METRIC_NAMES[name], justify="right", no_wrap=True)
    table.add_column(f"{METRIC_NAMES[_MAIN_METRIC]} interval", no_wrap=True)
    for row in ranked:
        model = row[c.MODEL]
        values = [number_text(cells.get((model, name)), 3) for name in names]
        interval = f"{number_text(row[c.CI_LOW], 3)} to {number_text(row[c.CI_HIGH], 3)}"
        style = "bold" if model == HYBRID else None
        table.add_row(model_name(model), *values, interval, style=style)
    return table


def _ratings_table(models: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    table = Table(title="Predicted ratings", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Model", no_wrap=True)
    for name in ERROR_NAMES.values():
        table.add_column(name, justify="right", no_wrap=True)
    for model, errors in models.items():
        values = [number_text(errors[metric][c.VALUE]) for metric in ERROR_NAMES]
        table.add_row(model_name(model), *values)
    return table


def _list_table(example: Mapping[str, Any]) -> Table:
    # Each domain has a list of its own, of which the first items are shown.
    domains = {item.get(c.DOMAIN) for item in example["items"]}
    length = max(1, _ITEMS_SHOWN // max(1, len(domains)))
    items = [item for item in example["items"] if item[c.RANK] <= length][:_ITEMS_SHOWN]
    longest = max((item[c.RANK] for item in items), default=0)
    of_each = " in each domain" if len(domains) > 1 else ""
    user = escape(str(example[c.USER_ID]))
    table = Table(title=f"Top {longest}{of_each} of user {user}", box=box.SIMPLE_HEAD)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("Title", overflow="fold")
    table.add_column("Why", overflow="fold", ratio=1)
    for item in items:
        reasons = "; ".join(item.get(c.SENTENCES) or map(reason_text, item[c.REASONS]))
        title = str(item["title"] or item[c.ITEM_ID])
        table.add_row(str(item[c.RANK]), escape(title), escape(reasons))
    return table


def print_night(
    console: Console, kept: Mapping[str, str], step_seconds: Mapping[str, float]
) -> None:
    """Print what a nightly run has kept and trained, and what each of its jobs took."""
    table = Table(title="A nightly run", box=box.SIMPLE_HEAD, pad_edge=False, show_header=False)
    table.add_column("What", no_wrap=True)
    table.add_column("Value", overflow="fold", ratio=1)
    for name, value in kept.items():
        table.add_row(name, escape(value))
    for job, seconds in step_seconds.items():
        table.add_row(job, f"{seconds:.1f} s")
    table.add_row("all jobs", f"{sum(step_seconds.values()):.1f} s")
    console.print(table)


def hybrid_and_best_member(data: ReportData, members: Sequence[str]) -> str:
    """A line that compares the hybrid with its best single member; empty where none was measured.

    Args:
        data: its metrics and comparisons.
        members: the names of the hybrid's members.
    """
    fold = main_fold(data.metrics)
    ranked = best_first(data.metrics, fold, data.metric, data.k)
    values = {row[c.MODEL]: row[c.VALUE] for row in ranked}
    best = next((name for name in values if name in members and values[name] > 0.0), None)
    if best is None or data.hybrid not in values:
        return ""
    intervals = [
        f" ({row['difference']:+.4f}, paired interval {row[c.CI_LOW]:+.4f} to"
        f" {row[c.CI_HIGH]:+.4f})"
        for row in data.comparisons
        if (row[c.MODEL], row["other_run_id"], row["other_model"])
        == (data.hybrid, data.run_id, best)
        and (row[c.FOLD], row[c.SEGMENT]) == (fold, "all")
        and (row[c.METRIC], row[c.K]) == (data.metric, data.k)
    ]
    return (
        f"{model_name(data.hybrid)} beside its best single member,"
        f" {METRIC_NAMES[data.metric]}@{data.k} on {fold}: {values[data.hybrid]:.4f},"
        f" {model_name(best)} {values[best]:.4f}; {values[data.hybrid] / values[best] - 1.0:+.1%}"
        f"{''.join(intervals)}"
    )


def print_guards(console: Console, guards: Sequence[Mapping[str, Any]]) -> None:
    """Print what guards measured; `guards` are rows of `guard_results`."""
    table = Table(title="Guards of the publication", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Guard", no_wrap=True)
    table.add_column("Outcome", no_wrap=True)
    table.add_column("Value", justify="right", no_wrap=True)
    table.add_column("Expected", no_wrap=True)
    table.add_column("Detail", overflow="fold", ratio=1)
    for row in guards:
        limit = f"{row['bound']} {row['limit']:g}"
        cells = (row["guard"], row["outcome"], number_text(row[c.VALUE]), limit)
        style = "bold red" if row["outcome"] in {"warned", "stopped"} else None
        table.add_row(*cells, escape(row["detail"] or ""), style=style)
    console.print(table)


def print_history(console: Console, history: Sequence[Mapping[str, Any]]) -> None:
    """Print who published what when: dicts of at, who, action, run_id, version (or None)."""
    table = Table(title="Publications", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("When (UTC)", "Who", "What", "Run", "Version"):
        table.add_column(name, no_wrap=True)
    for row in history:
        version = "" if row["version"] is None else str(row["version"])
        when = f"{row['at']:%Y-%m-%d %H:%M:%S}"
        table.add_row(when, row["who"] or "", row["action"], row[c.RUN_ID], version)
    console.print(table)


def print_trials(
    console: Console,
    trials: Sequence[Mapping[str, Any]],
    given: Mapping[str, Any],
    best: Mapping[str, Any],
    k: int,
) -> None:
    """Print the best trials of a search, and the values of the best one beside the given ones.

    `trials` are rows of `tuning.trial_rows`; `given` and `best` map keys of the config to values.
    """
    console.print(_trials_table(trials, k))
    changes = Table(title="Best values", box=box.SIMPLE_HEAD, pad_edge=False)
    changes.add_column("Key", no_wrap=True)
    changes.add_column("Given", justify="right", no_wrap=True)
    changes.add_column("Best", justify="right", no_wrap=True)
    for key, value in given.items():
        style = None if best[key] == value else "bold"
        changes.add_row(key, _value_text(value), _value_text(best[key]), style=style)
    console.print(changes)


def _trials_table(trials: Sequence[Mapping[str, Any]], k: int) -> Table:
    pruned = sum(row["ndcg"] is None for row in trials)
    table = Table(
        title=f"Best of {len(trials)} trials, of which {pruned} were pruned",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("Trial", justify="right", no_wrap=True)
    table.add_column(f"Validation NDCG@{k}", justify="right", no_wrap=True)
    table.add_column("Without towers", justify="right", no_wrap=True)
    table.add_column("Seconds", justify="right", no_wrap=True)
    complete = [row for row in trials if row["ndcg"] is not None]
    ranked = sorted(complete, key=lambda row: (-row["ndcg"], row["trial"]))
    for place, row in enumerate(ranked[:_TRIALS_SHOWN]):
        table.add_row(
            str(row["trial"]),
            number_text(row["ndcg"], 4),
            number_text(row["ndcg_before_towers"], 4),
            number_text(row["seconds"], 0),
            style=None if place else "bold",
        )
    return table


def _value_text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
