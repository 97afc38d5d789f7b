"""What an earlier run has trained, for the trainings of a later one to go on from.

Users and items keep their dense index for good, so that rows of both runs are matched by index. An
item that the earlier run did not know has a row of zeros: it starts from its interactions or its
attributes.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from m6rec import columns as c
from m6rec.fits.fit import Fit
from m6rec.kernels.arrays.rows import Float32, Int64
from m6rec.spark.collecting import BYTES_OF_ITEM
from m6rec.spark.item_matrices import item_rows
from m6rec.towers.artifact import DESCRIPTION_FILE, load_towers
from m6rec.towers.warm_start import NOT_KNOWN_BEFORE, EarlierTowers


class EarlierRun:
    """The final fit of an earlier run.

    Attributes:
        als_iterations: how many iterations of ALS follow on its factors.
    """

    def __init__(self, fit: Fit, als_iterations: int, tower_epochs: float) -> None:
        """Read nothing yet.

        Args:
            fit: the final fit of the earlier run.
            als_iterations: how many iterations of ALS follow on its factors.
            tower_epochs: the share of the chosen epochs that towers are trained for.
        """
        self._fit = fit
        self.als_iterations = als_iterations
        self._tower_epochs = tower_epochs

    def factors(self, models: Sequence[str], n_items: int) -> dict[str, Float32]:
        """float32 [n_items, k] for each of the factor models that the run has trained."""
        if not self._fit.lakehouse.exists("item_factors"):
            return {}
        found = {
            model: item_rows(self._factor_rows(model, n_items), c.FACTOR, n_items)
            for model in models
        }
        return {model: matrix.values for model, matrix in found.items() if matrix.rows}

    def _factor_rows(self, model: str, n_items: int) -> Iterator[pa.RecordBatch]:
        columns, most_bytes = (c.ITEM_INDEX, c.FACTOR), n_items * BYTES_OF_ITEM
        batches, fit = self._fit.lakehouse.batches, self._fit.name
        return batches("item_factors", columns, most_bytes, fit=fit, method=model)

    def towers(self, fit: Fit, model: str, epochs: int) -> EarlierTowers | None:
        """The towers of that name, whose training goes on with the last of the chosen epochs.

        None where the run has no such towers, where their files are gone, and where validation
        chose to train them for no epoch.

        Args:
            fit: that is to be trained.
            model: a name of `Config.trained_towers`.
            epochs: for how many the towers are trained from their start.
        """
        rows = [row for row in self._fit.models_of("towers") if row["name"] == model]
        if not rows or epochs == 0:
            return None
        saved = self._fit.saved_artifact("towers", model)
        if not (saved / DESCRIPTION_FILE).is_file():
            return None
        artifact = load_towers(saved)
        follow = math.ceil(epochs * self._tower_epochs)
        return EarlierTowers(
            weights=artifact.weights,
            contexts=artifact.contexts,
            first_epoch=epochs - follow,
            epochs=follow,
            user_columns=self._places_of_features(fit, "users"),
            item_columns=self._places_of_features(fit, "items"),
        )

    def _places_of_features(self, fit: Fit, side: str) -> Int64:
        """int64 [features]: where the earlier run had each feature of the fit."""
        names, before = (_feature_names(one, side) for one in (fit, self._fit))
        places = {name: place for place, name in enumerate(before)}
        # Principal components have numbers for names, but those of another night are other
        # directions.
        known = [
            NOT_KNOWN_BEFORE
            if name.startswith("component ")
            else places.get(name, NOT_KNOWN_BEFORE)
            for name in names
        ]
        return np.array(known, np.int64)


def _feature_names(fit: Fit, side: str) -> Sequence[str]:
    rows: Mapping[str, Sequence[str]] = {
        row["name"]: fit.model("features", row["name"])["feature_names"]
        for row in fit.models_of("features")
    }
    return rows.get(side, ())
