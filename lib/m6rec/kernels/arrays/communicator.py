"""How the ranks of a matrix program add up what each has computed on its own rows."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Communicator(Protocol):
    """A group of ranks that call the same collectives in the same order."""

    @property
    def rank(self) -> int:
        """This rank, from 0."""

    @property
    def size(self) -> int:
        """How many ranks there are."""

    def all_reduce(self, array: npt.NDArray[Any]) -> None:
        """Replace `array` on every rank by the sum over ranks, in place."""

    def start_all_reduce(self, array: npt.NDArray[Any]) -> Callable[[], None]:
        """Begin `all_reduce`; calling the result waits until the array is the sum."""

    def broadcast(self, array: npt.NDArray[Any]) -> None:
        """Replace `array` on every rank by that of rank 0, in place."""


class LocalCommunicator:
    """The group of one: every collective leaves its array as it is."""

    rank = 0
    size = 1

    def all_reduce(self, array: npt.NDArray[Any]) -> None:
        """The sum over one rank."""

    def start_all_reduce(self, array: npt.NDArray[Any]) -> Callable[[], None]:
        """The sum over one rank."""
        return lambda: None

    def broadcast(self, array: npt.NDArray[Any]) -> None:
        """What rank 0 has, on rank 0."""


def all_sum(communicator: Communicator, value: float) -> float:
    """The sum of a number over ranks, in float64."""
    cell = np.array([value], dtype=np.float64)
    communicator.all_reduce(cell)
    return float(cell[0])
