"""By which share of itself a mean over users changes, with intervals over the users."""

from dataclasses import dataclass

import numpy as np

from m6rec.kernels.arrays.rows import Float64
from m6rec.kernels.evaluation.bootstrap import mean_sums, percentile_interval, poisson_weights

REPLICATES = 1000
_SEED = 0


@dataclass(frozen=True)
class Change:
    """A share, and the ends of its 95% interval."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval."""
        return (self.high - self.low) / 2


def relative_change(before: Float64, after: Float64) -> Change:
    """mean(after) / mean(before) - 1, where both have a value for each user: float64 [n].

    Replicates of the Poisson bootstrap draw users, each with both values.
    """
    return _change(_shares(before, after)[:, None])


def difference_of_changes(
    before: Float64, after: Float64, other_before: Float64, other_after: Float64
) -> Change:
    """By how much one relative change is above another one of the same users.

    Both are measured on the same users in each replicate.
    """
    differences = _shares(before, after) - _shares(other_before, other_after)
    return _change(differences[:, None])


def _shares(before: Float64, after: Float64) -> Float64:
    """float64 [1 + replicates]: the share of all users, then that of each replicate."""
    values = np.stack([before, after], axis=1)
    sums = mean_sums(values, poisson_weights(_SEED, np.arange(len(values)), REPLICATES))
    means = np.concatenate([sums.means()[None], sums.replicate_means()])
    safe = np.where(means[:, 0] > 0.0, means[:, 0], np.inf)
    return np.where(means[:, 0] > 0.0, means[:, 1] / safe - 1.0, 0.0)


def _change(shares: Float64) -> Change:
    low, high = percentile_interval(shares[1:], 0.95)
    return Change(float(shares[0, 0]), float(low[0]), float(high[0]))
