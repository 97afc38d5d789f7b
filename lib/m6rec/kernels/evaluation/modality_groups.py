"""Group the items without interactions by which columns of vectors they have."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_MOST_GROUPS = 8


def groups_of_cold_items(
    present: npt.NDArray[np.bool_], names: Sequence[str], counts: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[np.bool_]]:
    """Masks bool [M] of the items without interactions, by what they have of the columns.

    The groups are named such as `cold_items with picture and sound`. There are none where all such
    items have the same columns; of very many groups the largest are given.

    Args:
        present: bool [M, C]; which columns an item has.
        names: of the columns.
        counts: int64 [M]; training interactions.
    """
    cold = np.flatnonzero(counts == 0)
    patterns, members, sizes = np.unique(
        present[cold], axis=0, return_inverse=True, return_counts=True
    )
    if len(patterns) < 2:
        return {}
    groups = {}
    for place in np.argsort(-sizes, kind="stable")[:_MOST_GROUPS]:
        has = [name for name, there in zip(names, patterns[place], strict=True) if there]
        words = f"with {' and '.join(has)}" if has else "without vectors"
        mask = np.zeros(len(counts), np.bool_)
        mask[cold[members.reshape(-1) == place]] = True
        groups[f"cold_items {words}"] = mask
    return groups
