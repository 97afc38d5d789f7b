"""Gather what the report shows from the tables of a finished run."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.publication import GuardsConfig
from m6rec.config.run import Config
from m6rec.fits.choices import Choices
from m6rec.fits.fit import Fit
from m6rec.fits.members import read_blends
from m6rec.fits.needs import Needs
from m6rec.kernels.ranking.blending import BIN_LABELS
from m6rec.lakehouse import Lakehouse
from m6rec.report.page import ReportData
from m6rec.runs import configurations_evaluated, step_seconds

EXAMPLE_USERS = 3
HISTORY_SHOWN = 10


def collect_report(lakehouse: Lakehouse, config: Config) -> ReportData:
    """Read metrics, comparisons, models, runs and some lists of the run, but not its guards."""
    models = lakehouse.rows("models")
    hybrid = next(json.loads(row["parameters"]) for row in models if row["kind"] == "hybrid")
    return ReportData(
        run_id=lakehouse.run_id,
        config_hash=config.fingerprint(),
        counts=_counts(lakehouse),
        quarantined=_quarantined(lakehouse),
        metrics=[row.asDict() for row in lakehouse.rows("metrics")],
        comparisons=[row.asDict() for row in lakehouse.rows("comparisons")],
        histories={
            f"{row['name']}, {row[c.FIT]}": _with_start(json.loads(row["parameters"]))
            for row in models
            if row["kind"] == "towers"
        },
        hybrid_weights=dict(zip(hybrid["members"], hybrid["weights"], strict=True)),
        domain_weights={
            domain: dict(zip(hybrid["members"], weights, strict=True))
            for domain, weights in hybrid.get("domains", {}).items()
        },
        hybrid_evidence=_by_evidence(hybrid),
        examples=_examples(lakehouse),
        ablations=[row.asDict() for row in lakehouse.rows("ablations")],
        configurations_on_test=configurations_evaluated(lakehouse),
        validation_trials=hybrid["validation_trials"],
        step_seconds=step_seconds(lakehouse),
        k=min(config.evaluate.ks),
    )


def collect_night(selection: Fit, choices: Choices, needs: Needs) -> ReportData:
    """What the report of a run that has kept its choices shows, without its guards."""
    lakehouse, config = selection.lakehouse, selection.config
    settings = [f"{key} = {value}" for key, value in selection.chosen_values.items()]
    trained = {
        "Features": ("items and users",) if needs.features else (),
        "Factors": needs.factors,
        "Neighbours": needs.neighbours,
        "Towers": needs.towers,
    }
    kept = {
        "Choices of run": choices.chosen_by,
        "Chosen at": f"{choices.chosen_at:%Y-%m-%d %H:%M} UTC",
        "Taken over from run": choices.kept_from,
        "Settings": ", ".join(settings) or "those of the configuration",
        **_members_by_domain(selection, config.recommend.ranker),
        **{f"{name} trained": ", ".join(models) or "none" for name, models in trained.items()},
    }
    return ReportData(
        run_id=lakehouse.run_id,
        config_hash=config.fingerprint(),
        counts=_counts(lakehouse),
        quarantined=_quarantined(lakehouse),
        examples=_examples(lakehouse),
        step_seconds=step_seconds(lakehouse),
        kept=kept,
        hybrid=config.recommend.ranker,
        k=min(config.evaluate.ks),
    )


def _members_by_domain(selection: Fit, ranker: str) -> dict[str, str]:
    """The members of the published lists with their weights, for each domain that is ranked."""
    found = {}
    for domain in selection.ranked_domains:
        [blend] = read_blends(selection, (ranker,), domain)
        where = "" if domain is None else f" in {domain.name}"
        weights = zip(blend.members, blend.weights, strict=True)
        found[f"Members of {ranker}{where}"] = ", ".join(
            f"{name} {weight:.3g}" for name, weight in weights if weight > 0.0
        )
    return found


def _with_start(towers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The epochs of a training, and as epoch 0 its untrained start, where that was measured."""
    start = towers["start_ndcg"]
    measured = [] if start is None else [{"epoch": 0, "validation_ndcg": start}]
    return [*measured, *towers["history"]]


def _by_evidence(hybrid: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The weights of members for each bin of evidence, and what each bin rests on.

    The bin of pictures alone is told of where validation holds such items.
    """
    weights = np.array(hybrid["weights"])[:, None]
    rows = [
        {
            "side": side,
            "bin": label,
            "rests_on": rests_on,
            "weights": dict(zip(hybrid["members"], column.tolist(), strict=True)),
        }
        for side in ("items", "users")
        for label, rests_on, column in zip(
            BIN_LABELS,
            hybrid["rests_on"][side],
            (weights * np.array(hybrid[f"{side[:-1]}_factors"])).T,
            strict=False,
        )
    ]
    return [row for row in rows if row["rests_on"] or row["bin"] != BIN_LABELS[-1]]


def with_guards(report: ReportData, lakehouse: Lakehouse) -> ReportData:
    """The report with what the guards measured, in the order of the configuration."""
    if not lakehouse.exists("guard_results"):
        return report
    order = {name: place for place, name in enumerate(GuardsConfig.model_fields)}
    rows = [row.asDict() for row in lakehouse.rows("guard_results")]
    guards = sorted(rows, key=lambda row: order.get(row["guard"], len(order)))
    return replace(report, guards=guards)


def _quarantined(lakehouse: Lakehouse) -> dict[str, int]:
    """How many rows were refused, by reason."""
    rows = lakehouse.read("quarantine").groupBy(c.REASON).count().collect()
    return {row[c.REASON]: row["count"] for row in rows}


def _counts(lakehouse: Lakehouse) -> dict[str, int]:
    folds = lakehouse.read("splits").groupBy(c.FOLD).count().collect()
    return {
        "users": lakehouse.read("user_item_matrix", fit=c.FINAL).count(),
        "items": lakehouse.read("catalogue").count(),
        "interactions": lakehouse.read("interactions").count(),
        **{f"{row[c.FOLD]} pairs": row["count"] for row in sorted(folds)},
    }


def _examples(lakehouse: Lakehouse) -> list[dict[str, Any]]:
    """The lists of the users with the median number of interactions, and what they are based on."""
    matrix = lakehouse.read("user_item_matrix", fit=c.FINAL)
    sized = matrix.select(c.USER_INDEX, c.ITEM_INDICES, F.size(c.ITEM_INDICES).alias("size"))
    middle = sized.agg(F.percentile_approx("size", 0.5)).first()
    if middle is None:
        return []
    chosen = sized.orderBy(F.abs(F.col("size") - middle[0]), c.USER_INDEX).limit(EXAMPLE_USERS)
    users = lakehouse.read("user_index").select(c.USER_INDEX, c.USER_ID)
    named = users.join(F.broadcast(chosen), c.USER_INDEX).orderBy(c.USER_INDEX)
    found = named.collect()
    lists = _lists(lakehouse.read("recommendations"), [row[c.USER_ID] for row in found])
    titles = _titles(lakehouse.read("catalogue"), [i for row in found for i in row[c.ITEM_INDICES]])
    return [
        {
            c.USER_ID: row[c.USER_ID],
            "history": [titles[item] for item in row[c.ITEM_INDICES][:HISTORY_SHOWN]],
            c.MODEL: lists[row[c.USER_ID]][0][c.MODEL],
            "items": lists[row[c.USER_ID]],
        }
        for row in found
        if row[c.USER_ID] in lists
    ]


def _lists(recommendations: DataFrame, user_ids: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The lists without a context; where there are domains, one after the other."""
    wanted = F.col(c.USER_ID).isin(user_ids) & F.col(c.CONTEXT).isNull()
    rows = recommendations.where(wanted).orderBy(c.USER_ID, c.DOMAIN, c.RANK)
    lists: dict[str, list[dict[str, Any]]] = {}
    for row in rows.collect():
        shown = row.asDict(recursive=True)
        if row[c.DOMAIN] is not None:
            shown["title"] = f"{row[c.DOMAIN]}: {row['title'] or row[c.ITEM_ID]}"
        lists.setdefault(row[c.USER_ID], []).append(shown)
    return lists


def _titles(catalogue: DataFrame, items: list[int]) -> dict[int, str]:
    rows = catalogue.where(F.col(c.ITEM_INDEX).isin(items)).collect()
    return {row[c.ITEM_INDEX]: row["title"] or row[c.ITEM_ID] for row in rows}
