"""Draw the items among which a held-out item is ranked, where a protocol ranks among a sample.

Ranks among a sample say less than ranks among all items. They serve to compare with published
results that were measured in this way.
"""

import numpy as np

from m6rec.kernels.arrays.rows import Float32, Int32, Int64, indptr_of


def drawn_items(
    user_index: Int64, indptr: Int64, owned: Int32, possible: Int32, draws: int, seed: int
) -> tuple[Int64, Int32]:
    """Items that each user does not have, drawn at random without replacement.

    Args:
        user_index: int64 [n]; with the seed, it decides what is drawn.
        indptr: int64 [n + 1] into owned.
        owned: int32; the items of each user.
        possible: int32; the items that can be drawn.
        draws: how many to draw for each user; where there are fewer, all of them are.
        seed: of the draws.

    Returns:
        int64 [n + 1] and int32, the items of each user.
    """
    of_users = []
    for row, user in enumerate(user_index):
        own = owned[indptr[row] : indptr[row + 1]]
        enough = min(len(possible), draws + len(own))
        drawn = np.random.default_rng((seed, int(user))).choice(possible, enough, replace=False)
        of_users.append(drawn[~np.isin(drawn, own)][:draws])
    items = np.concatenate([np.empty(0, np.int32), *of_users])
    return indptr_of([len(items) for items in of_users]), items


def places_among(indptr: Int64, scores: Float32, target_indptr: Int64, targets: Float32) -> Int64:
    """int64 [targets]: the place of each held-out item among the drawn ones, from 1.

    A drawn item of the same score stands before it.

    Args:
        indptr: int64 [n + 1] into scores.
        scores: float32; of the drawn items of each user.
        target_indptr: int64 [n + 1] into targets.
        targets: float32; the scores of each user's held-out items.
    """
    places = [
        1 + (scores[indptr[row] : indptr[row + 1]] >= targets[place]).sum()
        for row in range(len(indptr) - 1)
        for place in range(target_indptr[row], target_indptr[row + 1])
    ]
    return np.array(places, dtype=np.int64)
