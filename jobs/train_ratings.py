"""Predict the held-out ratings of both fits, where `ratings.enabled` says that weights are ratings.

The blend's weights are chosen on validation and serve the final fit unchanged.
"""

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.errors import ConfigError
from m6rec.fits.fit import Fit, fits_of, model_row
from m6rec.job_records import TRAIN_RATINGS
from m6rec.kernels.arrays.rows import Float64
from m6rec.kernels.ratings.ratings import RATING_HYBRID, RATING_MEMBERS
from m6rec.lakehouse import Lakehouse
from m6rec.runs import Job
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
    weights = None
    for fit in fits_of(lakehouse, config):
        weights = _predict_fit(fit, weights)


def _predict_fit(fit: Fit, weights: Float64 | None) -> Float64:
    config, splits = fit.config, fit.lakehouse.read("splits")
    rows = rating_rows(splits, fit.name, config.ranks_repeats).cache()
    seed, ranks = config.seed, fit.ranks
    model = train_ratings(rows, fit.n_items, config.ratings, seed, ranks)
    targets = rating_targets(splits, c.TARGET_FOLD_OF_FIT[fit.name])
    parts = predict_parts(rows, targets, model).cache()
    if weights is None:
        weights = choose_rating_weights(parts)
    fit.write("rating_predictions", predictions(parts, rows, weights))
    chosen = {"members": RATING_MEMBERS, "weights": weights.tolist()}
    fit.write_models("ratings", [model_row(RATING_HYBRID, chosen)])
    parts.unpersist()
    rows.unpersist()
    return weights


JOB = Job(TRAIN_RATINGS, run)

if __name__ == "__main__":
    command_line(JOB, __doc__)
