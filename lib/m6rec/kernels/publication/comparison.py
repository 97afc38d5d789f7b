"""Compare numbers of a run with those of others, and tell whether embeddings have collapsed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.rows import Float32, Float64
from m6rec.kernels.evaluation.bootstrap import PairedSums, paired_t_test


@dataclass(frozen=True)
class PairedChange:
    """The sums over users who have a value in two runs.

    Attributes:
        users: how many they are.
        earlier, now: the sums of their values.
        squares: the sum of the squared differences.
    """

    users: int
    earlier: float
    now: float
    squares: float

    @property
    def relative(self) -> float:
        """The change of the mean as a share of the earlier mean; 0 where that is 0.

        >>> PairedChange(users=4, earlier=2.0, now=1.5, squares=0.25).relative
        -0.25
        """
        return (self.now - self.earlier) / self.earlier if self.earlier else 0.0

    @property
    def p_value(self) -> float:
        """Of Student's paired t-test, two-sided."""
        difference = np.array([self.now - self.earlier])
        sums = PairedSums(self.users, difference, np.array([self.squares]))
        return float(paired_t_test(sums)[0])


def effective_rank(embeddings: Float32) -> float:
    """How many directions embeddings spread over: exp of the entropy of their singular values.

    With shares p of the singular values in their sum, this is exp(-Σ p ln p) (Roy and Vetterli
    2007, "The effective rank"): the length where all directions are alike, and 1 where there is
    but one.

    Args:
        embeddings: float32 [items, length], finite.

    >>> round(effective_rank(np.eye(4, dtype=np.float32)), 6)
    4.0
    >>> round(effective_rank(np.ones((5, 4), dtype=np.float32)), 6)
    1.0
    """
    wide = embeddings.astype(np.float64)
    spectrum = np.clip(np.linalg.eigvalsh(wide.T @ wide), 0.0, None)
    # What is left of a direction without any extent is the rounding error of the product.
    spectrum[spectrum <= spectrum.max(initial=0.0) * len(spectrum) * np.finfo(np.float64).eps] = 0.0
    values = np.sqrt(spectrum[spectrum > 0.0])
    if len(values) == 0:
        return 0.0
    shares: Float64 = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def finite_rows(embeddings: Float32) -> npt.NDArray[np.bool_]:
    """bool [n]: which rows hold nothing but finite numbers.

    >>> finite_rows(np.array([[1, 2], [np.nan, 0], [np.inf, 0]], dtype=np.float32)).tolist()
    [True, False, False]
    """
    finite: npt.NDArray[np.bool_] = np.isfinite(embeddings).all(axis=1)
    return finite


def middle(values: Sequence[float]) -> float | None:
    """The median; None without values.

    >>> middle([3.0, 1.0, 10.0]), middle([])
    (3.0, None)
    """
    return float(np.median(values)) if values else None
