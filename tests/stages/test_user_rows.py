"""A task sees the pairs of its users in blocks, and no block divides a user."""

import numpy as np
import pyarrow as pa
import pytest

from m6rec.stages.pairs.user_rows import PAIRS_OF_USER, whole_users

# The numbers of pairs of the users, in the order in which these come; the fourth has most.
COUNTS = (3, 1, 1, 12, 2, 4)


@pytest.mark.parametrize("batch", [1, 2, 5, 100])
@pytest.mark.parametrize("least", [1, 4, 1000])
def test_blocks_hold_whole_users_in_their_order(batch: int, least: int) -> None:
    users = np.repeat([7, 3, 9, 1, 8, 2], COUNTS)
    rows = pa.table({"user_index": users, PAIRS_OF_USER: np.repeat(COUNTS, COUNTS)})
    blocks = list(whole_users(rows.to_batches(batch), least))
    assert pa.concat_tables(blocks).equals(rows)
    assert all(len(block) < max(least, *COUNTS) + batch for block in blocks)
    # Were a user divided, it would be counted in two blocks.
    of_blocks = [set(block.column("user_index").to_pylist()) for block in blocks]
    assert sum(map(len, of_blocks)) == len(COUNTS)


def test_no_rows_give_no_block() -> None:
    rows = pa.table(
        {"user_index": pa.array([], pa.int64()), PAIRS_OF_USER: pa.array([], pa.int64())}
    )
    assert list(whole_users(rows.to_batches() or [])) == []
