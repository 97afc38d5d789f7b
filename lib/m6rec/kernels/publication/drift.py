"""Measure how far a distribution is from an earlier one, of which only the bins are known.

The population stability index of shares p (earlier) and q (now) over bins is Σ (q - p) ln(q / p),
the symmetric Kullback-Leibler divergence. Where nothing has changed and n and m values were drawn,
PSI / (1/n + 1/m) has about a chi-squared distribution with one degree of freedom less than there
are bins (Yurdakul 2018, "Statistical Properties of Population Stability Index").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from m6rec.kernels.arrays.rows import Float64, Int64

PROFILE_BINS = 10
MOST_CATEGORIES = 50
# Stands among counts of words for the rows that have none.
NO_WORD = ""
# Keeps the index finite where one side has a bin without a value.
_SMOOTHING = 0.5
_CONFIDENCE = 0.999


@dataclass(frozen=True)
class Profile:
    """The distribution of a quantity, as much of it as a later run needs to compare its own.

    Attributes:
        edges: ascending numbers between the bins of a number; empty for words.
        categories: the most frequent words; empty for numbers.
        counts: how many values each bin holds. The last bin is that of missing numbers, or of rows
            without a word, before which stands that of all other words. Profiles of words that
            earlier releases made end with the latter.
    """

    edges: tuple[float, ...]
    categories: tuple[str, ...]
    counts: tuple[int, ...]

    @property
    def values(self) -> int:
        """How many values there are."""
        return sum(self.counts)


def profile_of_numbers(values: Float64) -> Profile:
    """The deciles of the numbers as bins; NaN is a missing number.

    A value that holds more than a decile of all gets a bin of its own.

    >>> profile_of_numbers(np.array([1.0, 1.0, 1.0, np.nan]))
    Profile(edges=(0.9999999999999999, 1.0), categories=(), counts=(0, 3, 0, 1))
    """
    known = values[~np.isnan(values)]
    edges = np.zeros(0)
    if len(known):
        deciles = np.quantile(known, np.arange(1, PROFILE_BINS) / PROFILE_BINS, method="lower")
        edges, times = np.unique(deciles, return_counts=True)
        edges = np.unique(np.concatenate([edges, np.nextafter(edges[times > 1], -np.inf)]))
    return Profile(tuple(edges.tolist()), (), _numbers_in_bins(edges, values))


def profile_of_words(counts: Mapping[str, int]) -> Profile:
    """The most frequent words, ties by name, the rest of them as one bin, and rows without any.

    >>> profile_of_words({"a": 3, "b": 1, NO_WORD: 2})
    Profile(edges=(), categories=('a', 'b'), counts=(3, 1, 0, 2))
    """
    words = sorted(counts.keys() - {NO_WORD}, key=lambda word: (-counts[word], word))
    words = words[:MOST_CATEGORIES]
    return Profile((), tuple(words), _words_in_bins(words, counts))


def drift_of_numbers(earlier: Profile, values: Float64) -> float:
    """How far numbers are from their earlier distribution; 0 where sampling explains it."""
    return beyond_sampling(earlier.counts, _numbers_in_bins(np.array(earlier.edges), values))


def drift_of_words(earlier: Profile, counts: Mapping[str, int]) -> float:
    """How far words are from their earlier distribution; 0 where sampling explains it."""
    bins = _words_in_bins(earlier.categories, counts)
    return beyond_sampling(earlier.counts, bins[: len(earlier.counts)])


def stability_index(earlier: Sequence[int], now: Sequence[int]) -> float:
    """The population stability index of two counts of the same bins.

    >>> round(stability_index([5000, 5000], [7500, 2500]), 3)
    0.275
    """
    p, q = (_shares(counts) for counts in (earlier, now))
    return float(((q - p) * np.log(q / p)).sum())


def beyond_sampling(earlier: Sequence[int], now: Sequence[int]) -> float:
    """How far the index is above what 999 in 1,000 pairs of samples of one distribution reach."""
    # A bin that neither side has filled tells nothing.
    used = [(one, two) for one, two in zip(earlier, now, strict=True) if one or two]
    n, m = sum(one for one, _ in used), sum(two for _, two in used)
    if len(used) < 2 or n == 0 or m == 0:
        return 0.0
    # The quantile of the chi-squared distribution.
    quantile = 2.0 * float(special.gammaincinv((len(used) - 1) / 2, _CONFIDENCE))
    explained = quantile * (1 / n + 1 / m)
    index = stability_index([one for one, _ in used], [two for _, two in used])
    return max(0.0, index - explained)


def _shares(counts: Sequence[int]) -> Float64:
    smoothed = np.asarray(counts, dtype=np.float64) + _SMOOTHING
    shares: Float64 = smoothed / smoothed.sum()
    return shares


def _numbers_in_bins(edges: Float64, values: Float64) -> tuple[int, ...]:
    """How many values there are up to each edge, above the last, and missing."""
    missing = np.isnan(values)
    bins = np.searchsorted(edges, values[~missing], side="left")
    counts: Int64 = np.bincount(bins, minlength=len(edges) + 1)
    return (*counts.tolist(), int(missing.sum()))


def _words_in_bins(words: Sequence[str], counts: Mapping[str, int]) -> tuple[int, ...]:
    named, missing = [counts.get(word, 0) for word in words], counts.get(NO_WORD, 0)
    return (*named, sum(counts.values()) - sum(named) - missing, missing)
