"""An explanation of a run whose users and items are no longer those of the lake's indices."""

import pytest
from pyspark.sql import functions as F

from jobs.explain import explain_of_run
from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.errors import DataError
from m6rec.job_records import FORGET
from m6rec.lakehouse import Lakehouse
from m6rec.runs import Attempt


def add_to_index(lakehouse: Lakehouse, side: str, outside_id: str, index: int) -> None:
    row = {f"{side}_id": outside_id, f"{side}_index": index}
    lakehouse.for_run("later").append_rows(f"{side}_index", [row])


def test_users_and_items_of_a_later_run_are_unknown_to_an_earlier_one(
    copied: Lakehouse, config: Config
) -> None:
    moved = config.replaced({"lake": copied.location})
    listed = copied.read("recommendations").where("user_id = 'user-4' and rank = 2").first()
    assert listed is not None
    item_id = str(listed[c.ITEM_ID])
    add_to_index(copied, "item", "later", 1_000)
    add_to_index(copied, "user", "later", 1_000)
    spark, run_id = copied.spark, copied.run_id
    assert explain_of_run(spark, moved, run_id, "user-4", item_id).place is not None
    with pytest.raises(DataError, match="has no item 'later'; give --item"):
        explain_of_run(spark, moved, run_id, "user-4", "later")
    with pytest.raises(DataError, match="has no user 'later'; give --user"):
        explain_of_run(spark, moved, run_id, "later", item_id)
    # The index of users is then read as it is now.
    Attempt(copied.for_run("receipt"), moved, FORGET.name).add({})
    assert explain_of_run(spark, moved, run_id, "user-4", item_id).place is not None
    is_own = F.col(c.USER_INDEX) == int(index_of(copied, "user-4"))
    copied.delta_table("user_item_matrix").delete(is_own)
    with pytest.raises(DataError, match="has no user 'user-4'; give --user"):
        explain_of_run(spark, moved, run_id, "user-4", item_id)


def index_of(lakehouse: Lakehouse, user_id: str) -> int:
    row = lakehouse.read("user_index").where(F.col(c.USER_ID) == user_id).first()
    assert row is not None
    return int(row[c.USER_INDEX])
