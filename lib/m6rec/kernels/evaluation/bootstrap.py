"""Compute confidence intervals and paired tests over users from sums that partitions add up.

The Poisson bootstrap (Chamandy, Muralidharan, Najmi, Naidu 2012, "Estimating uncertainty for
massive data streams") does not draw n users with replacement. Instead it gives each user an
independent Poisson(1) weight in each replicate. A weight depends only on the seed, the user and the
replicate, so it is the same wherever the user's row lies, and a replicate's mean is a ratio of two
sums.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from m6rec.kernels.arrays.hashing import INCREMENT, mix_bits
from m6rec.kernels.arrays.rows import Float64, Int64

UInt8 = npt.NDArray[np.uint8]

_DRAWS_PER_HASH = 4


@dataclass(frozen=True)
class MeanSums:
    """The sums from which the means over users, and their replicates, follow.

    Attributes:
        users: how many users are in the sums.
        totals: float64 [J]; Σ_u value_uj.
        replicate_weights: float64 [R]; Σ_u w_ur.
        replicate_totals: float64 [R, J]; Σ_u w_ur value_uj.
    """

    users: int
    totals: Float64
    replicate_weights: Float64
    replicate_totals: Float64

    def plus(self, other: "MeanSums") -> "MeanSums":
        """The sums over the users of both."""
        return MeanSums(
            self.users + other.users,
            self.totals + other.totals,
            self.replicate_weights + other.replicate_weights,
            self.replicate_totals + other.replicate_totals,
        )

    def means(self) -> Float64:
        """float64 [J]: mean over users; NaN without users."""
        return self.totals / self.users if self.users else np.full_like(self.totals, np.nan)

    def replicate_means(self) -> Float64:
        """float64 [R, J]: mean over users in each replicate; NaN where a replicate drew none."""
        weights = np.where(self.replicate_weights > 0, self.replicate_weights, np.nan)
        means: Float64 = self.replicate_totals / weights[:, None]
        return means


@dataclass(frozen=True)
class PairedSums:
    """The sums of the paired test: users, Σ d and Σ d² (float64 [P]) of differences d."""

    users: int
    differences: Float64
    squares: Float64

    def plus(self, other: "PairedSums") -> "PairedSums":
        """The sums over the users of both."""
        return PairedSums(
            self.users + other.users,
            self.differences + other.differences,
            self.squares + other.squares,
        )


def poisson_weights(seed: int, user_index: Int64, replicates: int) -> UInt8:
    """Poisson(1) weights, uint8 [n, replicates], each a function of (seed, user, replicate).

    The probabilities are those of Poisson(1), rounded to 2^-16. One 64-bit hash gives four weights.
    """
    hashes_per_user = -(-replicates // _DRAWS_PER_HASH)
    counters = np.arange(1, hashes_per_user + 1, dtype=np.uint64)
    stream = mix_bits(np.array([seed & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64) + INCREMENT)
    keys = mix_bits(stream ^ (user_index.astype(np.uint64) * INCREMENT))
    hashes = mix_bits(keys[:, None] + counters[None, :] * INCREMENT)
    # A fixed byte order keeps the draws the same on every machine.
    draws = np.ascontiguousarray(hashes.astype("<u8", copy=False)).view("<u2")
    weights: UInt8 = _POISSON_OF_DRAW[draws[:, :replicates]]
    return weights


def mean_sums(values: Float64, weights: UInt8) -> MeanSums:
    """The sums over a block of users: `values` float64 [n, J], `weights` uint8 [n, R]."""
    weighting = weights.astype(np.float64)
    return MeanSums(len(values), values.sum(axis=0), weighting.sum(axis=0), weighting.T @ values)


def no_means(values: int, replicates: int) -> MeanSums:
    """The sums over no user."""
    return MeanSums(0, np.zeros(values), np.zeros(replicates), np.zeros((replicates, values)))


def paired_sums(differences: Float64) -> PairedSums:
    """The sums over a block of users of their differences, float64 [n, P]."""
    return PairedSums(len(differences), differences.sum(axis=0), np.square(differences).sum(axis=0))


def sums_by_owner(values: Float64, owners: Int64) -> Float64:
    """float64 [owners, P]: the sum of the rows of `values`, [n, P], of each owner."""
    order = np.argsort(owners, kind="stable")
    first = np.flatnonzero(np.diff(owners[order], prepend=-1))
    sums: Float64 = np.add.reduceat(values[order], first, axis=0) if len(first) else values
    return sums


def no_pairs(pairs: int) -> PairedSums:
    """The sums over no user."""
    return PairedSums(0, np.zeros(pairs), np.zeros(pairs))


def percentile_interval(replicates: Float64, confidence: float) -> tuple[Float64, Float64]:
    """Low and high end (float64 [J] each) of the central `confidence` of float64 [R, J].

    Replicates that are NaN are left out; where all are NaN, so are the ends.
    """
    low, high = (1 - confidence) / 2, (1 + confidence) / 2
    drawn = ~np.isnan(replicates).all(axis=1)
    if not drawn.any():
        empty = np.full(replicates.shape[1], np.nan)
        return empty, empty
    ends = np.quantile(replicates[drawn], [low, high], axis=0)
    return ends[0], ends[1]


def paired_t_test(sums: PairedSums) -> Float64:
    """Two-sided p-values (float64 [P]) of Student's paired t-test.

    t = mean(d) sqrt(n) / s with s² = (Σ d² - (Σ d)² / n) / (n - 1) and n - 1 degrees of freedom.
    Where all differences are equal, the p-value is 1 if they are 0, else 0. With fewer than two
    users it is 1.
    """
    n = sums.users
    if n < 2:
        return np.ones_like(sums.differences)
    scatter = sums.squares - np.square(sums.differences) / n
    # Equal differences leave only a rounding error, of about n units in the last place of Σ d².
    alike = scatter <= sums.squares * n * np.finfo(np.float64).eps
    deviation = np.sqrt(np.where(alike, 1.0, scatter) / (n - 1))
    statistic = sums.differences / n * np.sqrt(n) / deviation
    p_values = 2 * special.stdtr(n - 1, -np.abs(statistic))
    certain = np.where(sums.differences == 0, 1.0, 0.0)
    chosen: Float64 = np.where(alike, certain, p_values)
    return chosen


def _poisson_table() -> UInt8:
    middles = (np.arange(1 << 16) + 0.5) / (1 << 16)
    table: UInt8 = np.searchsorted(special.pdtr(np.arange(20), 1.0), middles).astype(np.uint8)
    return table


_POISSON_OF_DRAW = _poisson_table()
