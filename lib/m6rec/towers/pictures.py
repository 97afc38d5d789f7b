"""Columns of the items' pictures and videos as the towers read them; a video is some frames."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.rows import Int64

NO_FRAME = -1


@dataclass(frozen=True)
class Pictures:
    """One column of the items' pictures.

    Attributes:
        name: of the column.
        pixels: uint8 [p, 3, size, size]; all pictures and frames that there are.
        places: int64 [M, frames]; where the frames of each item are among the pixels, NO_FRAME
            where there is none.
    """

    name: str
    pixels: npt.NDArray[np.uint8]
    places: Int64

    @property
    def frames(self) -> int:
        """How many frames an item has at most."""
        return self.places.shape[1]

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """bool [M]: which items have any."""
        there: npt.NDArray[np.bool_] = (self.places != NO_FRAME).any(axis=1)
        return there

    def of_items_from(self, first: int) -> "Pictures":
        """The column of the items from one on."""
        return replace(self, places=self.places[first:])


def no_pictures(name: str, n_items: int, size: int) -> Pictures:
    """A column of which no item has a picture."""
    pixels = np.zeros((0, 3, size, size), np.uint8)
    return Pictures(name, pixels, np.full((n_items, 1), NO_FRAME, np.int64))
