"""Collectives by which the ranks of a matrix program add up what each has computed."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Communicator(Protocol):
    """A group of ranks that call the same collectives in the same order."""

    @property
    def rank(self) -> int:
        """The number of this rank, from 0."""

    @property
    def size(self) -> int:
        """How many ranks there are."""

    def all_reduce(self, array: npt.NDArray[Any]) -> None:
        """Replace `array` on every rank by the sum over ranks, in place."""

    def start_all_reduce(self, array: npt.NDArray[Any]) -> Callable[[], None]:
        """Begin `all_reduce`; calling the result waits until the array is the sum."""

    def broadcast(self, array: npt.NDArray[Any]) -> None:
        """Replace `array` on every rank by the array of rank 0, in place."""


class LocalCommunicator:
    """A group of one rank, whose collectives leave every array as it is."""

    rank = 0
    size = 1

    def all_reduce(self, array: npt.NDArray[Any]) -> None:
        """Leave the array as it is, for it is the sum over one rank."""

    def start_all_reduce(self, array: npt.NDArray[Any]) -> Callable[[], None]:
        """Leave the array as it is; there is nothing to wait for."""
        return lambda: None

    def broadcast(self, array: npt.NDArray[Any]) -> None:
        """Leave the array as it is, for it is rank 0's own."""


def all_sum(communicator: Communicator, value: float) -> float:
    """The sum of a number over ranks, in float64."""
    cell = np.array([value], dtype=np.float64)
    communicator.all_reduce(cell)
    return float(cell[0])
