"""Predict the held-out ratings of both fits, where `ratings.enabled` says that weights are ratings.

Reads splits and item_index; writes rating_predictions, and the blend's weights to models. The
weights are chosen on validation and serve the final fit unchanged.
"""

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.errors import ConfigError
from m6rec.fits.fit import item_count
from m6rec.fits.models import model_row
from m6rec.kernels.arrays.rows import Float64
from m6rec.kernels.ratings.ratings import RATING_HYBRID, RATING_MEMBERS
from m6rec.lakehouse import Lakehouse
from m6rec.stages.training.ratings import (
    choose_rating_weights,
    predict_parts,
    predictions,
    rating_rows,
    rating_targets,
    train_ratings,
)


def run(lakehouse: Lakehouse, config: Config) -> None:
    """Train all members of both fits and write what they and their blend predict.

    Raises:
        ConfigError: ratings are not enabled.
    """
    if not config.ratings.enabled:
        raise ConfigError(
            "ratings.enabled is false; set it where interactions.columns.weight holds ratings"
        )
    weights = _predict_fit(lakehouse, config, c.SELECTION, None)
    _predict_fit(lakehouse, config, c.FINAL, weights)


def _predict_fit(
    lakehouse: Lakehouse, config: Config, fit: str, weights: Float64 | None
) -> Float64:
    splits = lakehouse.read("splits")
    rows = rating_rows(splits, fit).cache()
    model = train_ratings(rows, item_count(lakehouse), config.ratings, config.seed)
    targets = rating_targets(splits, c.TARGET_FOLD_OF_FIT[fit])
    parts = predict_parts(rows, targets, model).cache()
    if weights is None:
        weights = choose_rating_weights(parts)
    lakehouse.write("rating_predictions", predictions(parts, rows, weights), fit=fit)
    chosen = {"members": RATING_MEMBERS, "weights": weights.tolist()}
    row = model_row(RATING_HYBRID, chosen)
    lakehouse.write_rows("models", [row], fit=fit, kind="ratings")
    parts.unpersist()
    rows.unpersist()
    return weights


if __name__ == "__main__":
    command_line("train_ratings", run, __doc__)
