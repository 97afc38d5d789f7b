"""Collect a bounded sample of validation users from tables, with all that members know of them."""

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.kernels.arrays.domains import Domain
from m6rec.kernels.ranking.validation import ValidationUsers
from m6rec.spark.arrow_rows import list_column
from m6rec.spark.runtimes import arrow_table
from m6rec.stages.ranking.lists import blocks

_TARGETS = "targets"


def collect_validation_users(
    users: DataFrame,
    targets: DataFrame,
    masked_items: npt.NDArray[np.bool_],
    mask_seen: bool,
    domains: tuple[Domain, ...] = (),
    mask_disliked: bool = True,
) -> ValidationUsers | None:
    """Collect the users of `targets` with their inputs; None where there are none.

    Args:
        users: rows as `lists.user_inputs` gives them.
        targets: user_index, item_indices (held out); few enough rows to collect.
        masked_items: bool [items]; items that no list may hold.
        mask_seen: whether the users' own items are masked as well.
        domains: within which lists are made, if there are any.
        mask_disliked: whether items that the user has seen without liking are masked as well.
    """
    held_out = targets.select(c.USER_INDEX, F.col(c.ITEM_INDICES).alias(_TARGETS))
    table = arrow_table(users.join(held_out, c.USER_INDEX).orderBy(c.USER_INDEX))
    if table.num_rows == 0:
        return None
    batches = table.combine_chunks().to_batches()
    block, batch = next(blocks(iter(batches), table.num_rows))
    indptr, items = list_column(batch, _TARGETS)
    held = items.astype(np.int32, copy=False)
    disliked = list_column(batch, c.EXCLUDED_INDICES) if mask_disliked else None
    return ValidationUsers(block, indptr, held, masked_items, mask_seen, domains, disliked=disliked)
