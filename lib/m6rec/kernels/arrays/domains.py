"""Items by domain: users are shared, and each item belongs to one domain.

Ranking within a domain uses arrays of the domain's items alone, numbered from 0 in the order of all
items, so that its cost grows with the domain and not with the catalogue. The items of users'
histories keep their numbers among all items.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.rows import NO_ITEM, Int32, Int64, indptr_of


@dataclass(frozen=True)
class Domain:
    """The items of one domain.

    Attributes:
        name: the domain's name.
        items: int32 [m], ascending; the domain's items among all items.
        n_items: the number of items of all domains.
    """

    name: str
    items: Int32
    n_items: int

    @cached_property
    def places(self) -> Int32:
        """int32 [n_items]: each item's number within the domain, or NO_ITEM."""
        places = np.full(self.n_items, NO_ITEM, np.int32)
        places[self.items] = np.arange(len(self.items), dtype=np.int32)
        return places

    def holds(self, items: Int32) -> npt.NDArray[np.bool_]:
        """Whether each item is one of the domain's."""
        found: npt.NDArray[np.bool_] = self.places[items] != NO_ITEM
        return found

    def own(self, indptr: Int64, items: Int32) -> tuple[Int64, Int32]:
        """Lists of items cut to those of the domain, by their numbers within it.

        Args:
            indptr: int64 [n + 1] into items.
            items: int32 [entries], among all items; ascending lists stay ascending.
        """
        places = self.places[items]
        kept = places != NO_ITEM
        return indptr_of(kept)[indptr], places[kept]


def domains_of(names: list[str | None]) -> tuple[Domain, ...]:
    """The domains by ascending name, from the name of each item's; None is of no domain."""
    of_items = np.array(["" if name is None else name for name in names], dtype=object)
    return tuple(
        Domain(name, np.flatnonzero(of_items == name).astype(np.int32), len(names))
        for name in sorted({name for name in names if name is not None})
    )
