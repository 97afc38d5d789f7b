"""The cells of the study: one fit of one data set each, kept in a file once it is measured."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from m6rec.config.run import Config, parse_config
from m6rec.kernels.arrays.rows import Float64
from m6rec.kernels.ranking.blending import Candidates
from m6rec.kernels.ranking.members import Member
from tests.quality.validation_study.data import Data, Pairs
from tests.quality.validation_study.holdouts import held_out
from tests.quality.validation_study.local_fit import LocalFit

FINAL = "final"
SEED = 1
MAXIMUM_USERS, MAXIMUM_USERS_OF_SETTINGS = 2_000, 1_000
CANDIDATES_PER_MEMBER = 100
# Of a large catalogue, where a rank of 256 would take half of a cell's time.
RANK_OF_SVD, MANY_ITEMS = 64, 5_000
K_OF_VALIDATION, K_OF_TEST = 50, 20
# ALS is tried as the product tries it.
SMALL_ALS = {"factors.als.rank": 64, "factors.als.iterations": 8}
# Settings by the member on which they are tried: the default first.
SETTINGS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "ridge": (
        {},
        {"neighbours.ridge.user_exponent": 0.1, "neighbours.ridge.item_exponent": 0.2},
        {"neighbours.ridge.regularisation": 50.0},
        {"neighbours.ridge.regularisation": 200.0},
    ),
    "als": (
        SMALL_ALS,
        {**SMALL_ALS, "factors.als.unobserved_total": 100.0},
        {**SMALL_ALS, "factors.als.unobserved_total": 900.0},
    ),
    "als_cosine": (SMALL_ALS, {**SMALL_ALS, "factors.als.attribute_weight": 1.0}),
    "recent_ridge": (
        {},
        {"neighbours.recency_scale": 4.0},
        {"neighbours.recency_scale": 16.0},
        {"neighbours.recency_scale": 32.0},
    ),
}


@dataclass(frozen=True)
class Cell:
    """What one fit offers the users that it is measured on.

    Attributes:
        members: their names.
        candidates: scores are divided by the fit's own deviations.
        deviations: float64 [members].
        settings: float NDCG of each of `SETTINGS`, by member.
    """

    members: tuple[str, ...]
    candidates: Candidates
    deviations: Float64
    settings: dict[str, list[float]]

    def scaled_by(self, deviations: Float64) -> Candidates:
        """The candidates with scores divided by the deviations of another fit."""
        one = self.candidates
        scale = (self.deviations / deviations).astype(np.float32)[:, None]
        return Candidates(
            one.indptr,
            one.scores * scale,
            one.relevant,
            one.relevant_counts,
            one.item_bins,
            one.user_bins,
            one.owners,
        )


def measured_cell(data: Data, strategy: str, share: float, settings: Config) -> Cell:
    """Train and measure the final fit (`FINAL`) on the test, or a selection fit on validation."""
    training, targets, k = data.training, data.test, K_OF_TEST
    if strategy != FINAL:
        held = held_out(strategy, data, share, SEED)
        training, targets, k = (
            data.training.where(~held),
            data.training.where(held),
            K_OF_VALIDATION,
        )
    return _measure(data, training, targets, k, settings)


def _measure(data: Data, training: Pairs, targets: Pairs, k: int, settings: Config) -> Cell:
    fit = LocalFit(data, training, targets, settings)
    members = fit.members()
    users = fit.measured_users(MAXIMUM_USERS)
    candidates, deviations = fit.candidates(members, users, CANDIDATES_PER_MEMBER)
    users = fit.measured_users(MAXIMUM_USERS_OF_SETTINGS)
    tried = {
        name: [
            users.ndcg(_member(fit, name, settings.replaced(values)), k) for values in alternatives
        ]
        for name, alternatives in SETTINGS.items()
        if name in members
    }
    return Cell(tuple(members), candidates, deviations, tried)


def _member(fit: LocalFit, name: str, settings: Config) -> Member:
    member: Member = getattr(fit.with_settings(settings), name)
    return member


def settings_for(data: Data) -> Config:
    """The product's defaults, but for a smaller SVD of many items."""
    table = {"path": "unused", "format": "parquet"}
    columns = {} if data.training.times is None else {"time": "event_time"}
    values: dict[str, Any] = {
        "interactions": {"source": table, "columns": columns},
    }
    if data.content is not None:
        values["features"] = {"items": {"source": table, "id": "item_id"}}
    if data.n_items > MANY_ITEMS:
        values["factors"] = {"svd": {"rank": RANK_OF_SVD}}
    return parse_config(values, "the study")


def save_cell(cell: Cell, file: Path) -> None:
    """Write the cell: arrays, and the rest as JSON beside them."""
    one = cell.candidates
    arrays = {name: getattr(one, name) for name in Candidates.__annotations__}
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file.with_suffix(".npz"), deviations=cell.deviations, **arrays)
    facts = {"members": cell.members, "settings": cell.settings}
    file.with_suffix(".json").write_text(json.dumps(facts, indent=1))


def load_cell(file: Path) -> Cell:
    """The cell that `save_cell` wrote."""
    facts = json.loads(file.with_suffix(".json").read_text())
    with np.load(file.with_suffix(".npz")) as arrays:
        candidates = Candidates(*(arrays[name] for name in Candidates.__annotations__))
        deviations = arrays["deviations"]
    return Cell(tuple(facts["members"]), candidates, deviations, facts["settings"])
