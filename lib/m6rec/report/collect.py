"""Gather what the report shows from the tables of a finished run."""

import json
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.publication import GuardsConfig
from m6rec.config.run import Config
from m6rec.lakehouse import Lakehouse
from m6rec.report.page import ReportData
from m6rec.runs import configurations_evaluated, step_seconds

EXAMPLE_USERS = 3
HISTORY_SHOWN = 10


def collect_report(lakehouse: Lakehouse, config: Config) -> ReportData:
    """Read metrics, comparisons, models, runs and some lists of the run."""
    models = lakehouse.read("models").collect()
    hybrid = next(json.loads(row["parameters"]) for row in models if row["kind"] == "hybrid")
    return ReportData(
        run_id=lakehouse.run_id,
        config_hash=config.fingerprint(),
        counts=_counts(lakehouse),
        quarantined={
            row[c.REASON]: row["count"]
            for row in lakehouse.read("quarantine").groupBy(c.REASON).count().collect()
        },
        metrics=[row.asDict() for row in lakehouse.read("metrics").collect()],
        comparisons=[row.asDict() for row in lakehouse.read("comparisons").collect()],
        histories={
            f"{row['name']}, {row[c.FIT]}": json.loads(row["parameters"])["history"]
            for row in models
            if row["kind"] == "towers"
        },
        hybrid_weights=dict(zip(hybrid["members"], hybrid["weights"], strict=True)),
        examples=_examples(lakehouse),
        ablations=[row.asDict() for row in lakehouse.read("ablations").collect()],
        guards=_guards(lakehouse),
        configurations_on_test=configurations_evaluated(lakehouse),
        validation_trials=hybrid["validation_trials"],
        step_seconds=step_seconds(lakehouse),
        k=min(config.evaluate.ks),
    )


def _guards(lakehouse: Lakehouse) -> list[dict[str, Any]]:
    """What the guards measured, in the order in which they stand in the configuration."""
    if not lakehouse.exists("guard_results"):
        return []
    order = {name: place for place, name in enumerate(GuardsConfig.model_fields)}
    rows = [row.asDict() for row in lakehouse.read("guard_results").collect()]
    return sorted(rows, key=lambda row: order.get(row["guard"], len(order)))


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
    named = chosen.join(F.broadcast(users), c.USER_INDEX, how="inner").orderBy(c.USER_INDEX)
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
