"""Table `models`: what a fit learned beside its other tables."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pyspark.sql import Row

from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.errors import TableError
from m6rec.kernels.evaluation.ablation import Ablation
from m6rec.lakehouse import Lakehouse

SETTINGS = "settings"


def read_model(lakehouse: Lakehouse, fit: str, kind: str, name: str) -> dict[str, Any]:
    """The parameters that table `models` records, with `artifact` where there is a folder.

    Raises:
        TableError: the model has not been trained in this run.
    """
    found = [row for row in model_rows(lakehouse, fit, kind) if row["name"] == name]
    if not found:
        raise TableError(
            f"table models has no {kind} {name} of fit {fit} in run {lakehouse.run_id};"
            f" run the job that trains it"
        )
    parameters: dict[str, Any] = json.loads(found[0]["parameters"])
    if found[0]["artifact"] is not None:
        parameters["artifact"] = found[0]["artifact"]
    return parameters


def model_row(
    name: str, parameters: Mapping[str, Any], artifact: str | None = None
) -> dict[str, Any]:
    """A row of table `models`."""
    return {"name": name, "parameters": json.dumps(dict(parameters)), "artifact": artifact}


def with_chosen_settings(lakehouse: Lakehouse, config: Config) -> Config:
    """The config with what job choose_settings has chosen in this run, if it has run."""
    if not lakehouse.exists("models"):
        return config
    rows = model_rows(lakehouse, c.SELECTION, SETTINGS)
    return config.replaced(json.loads(rows[0]["parameters"])["chosen"]) if rows else config


def model_rows(lakehouse: Lakehouse, fit: str, kind: str) -> list[Row]:
    rows = lakehouse.once("models", "rows", lambda: lakehouse.read("models").collect())
    return [row for row in rows if row[c.FIT] == fit and row["kind"] == kind]


def ablation_rows(lines: Sequence[Ablation], k: int) -> list[dict[str, Any]]:
    """Rows of table `ablations` of one ranker, measured by NDCG@k on validation."""
    return [{**asdict(line), "k": k} for line in lines]
