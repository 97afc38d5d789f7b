"""Numbers in units of their own spread, and which of them are worth keeping."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.rows import Float64, Int64


@dataclass(frozen=True)
class Standardisation:
    """Of each column, what becomes 0 and what becomes 1.

    Attributes:
        means: float64 [columns].
        deviations: float64 [columns]; a column without any is 0 in all rows.
    """

    means: Float64
    deviations: Float64

    def of(self, values: npt.NDArray[Any]) -> Float64:
        """float64 [n, columns]: the values less the means, in deviations."""
        spread = self.deviations != 0.0
        scale = np.divide(1.0, self.deviations, out=np.zeros_like(self.deviations), where=spread)
        scaled: Float64 = (values.astype(np.float64) - self.means) * scale
        return scaled


@dataclass(frozen=True)
class Selection:
    """Which features are kept, and how they are standardised.

    Attributes:
        kept: int64 [k]; their places among all features.
        standardisation: of those that are kept.
        described: how many of those that are kept tell of attributes; they come first.
        clip: the kept features lie within ±clip deviations.
    """

    kept: Int64
    standardisation: Standardisation
    described: int
    clip: float

    def of(self, raw: npt.NDArray[Any], known: npt.NDArray[np.bool_]) -> Float64:
        """float64 [n, k]: the kept features, standardised and clipped.

        Args:
            raw: [n, features].
            known: bool [n]; without attributes, their features are 0, which is the mean.
        """
        scaled = clipped(self.standardisation.of(raw[:, self.kept]), self.clip)
        scaled[~known, : self.described] = 0.0
        return scaled


def clipped(values: Float64, limit: float) -> Float64:
    """The values within ±limit; what is no number becomes the limit."""
    within: Float64 = np.fmax(np.fmin(values, limit), -limit)
    return within
