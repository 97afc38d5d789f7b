"""Replace the published lists of some users in one commit, where possible by deletion vectors.

A few users have rows in every file of the lists. So a commit marks the rows that it takes out by
Delta's deletion vectors, where the table allows it, and writes files for the new ones alone. Where
the lists lie on the driver's own disk and it holds the new ones, `m6rec.spark.deletion_vectors`
does so without a query; else Spark does.
"""

from collections.abc import Sequence
from typing import Literal

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.lakehouse import PUBLISHED, Lakehouse
from m6rec.schemas import RECOMMENDATIONS_TABLE
from m6rec.spark.deletion_vectors import (
    PROPERTIES_OF_MARKED,
    Replacement,
    RowsOfKeys,
    replace_rows,
)
from m6rec.spark.failures import THROWN, is_overtaken
from m6rec.spark.runtimes import arrow_schema, frame_of_arrow, named_set
from m6rec.spark.session import with_settings

_IS_OLD = "_is_old"
_APPLICATION = "spark.databricks.delta.write.txnAppId"
_TRANSACTION = "spark.databricks.delta.write.txnVersion"
# The new rows are known to fulfil the condition, so that Delta need not check each of them.
_UNCHECKED = {"spark.databricks.delta.replaceWhere.constraintCheck.enabled": "false"}
_READS_TWICE = "spark.databricks.delta.merge.materializeSource"
# Files of a whole night's lists are larger, and stay until half of their rows are marked.
_COMPACTING = {
    "spark.databricks.delta.optimize.minFileSize": str(16 << 20),
    "spark.databricks.delta.optimize.maxDeletedRowsRatio": "0.5",
}


Replaced = int | Literal["done before", "done by Spark", "overtaken"]
"""The version of the commit that has put lists in the place of others, where it is known.

After a commit by Spark others may have come. `overtaken`: another came first, and nothing was done.
"""


class PublishedLists:
    """Table published/recommendations of a lake by path."""

    def __init__(self, lakehouse: Lakehouse) -> None:
        """Read nothing yet; the run id of `lakehouse` is not used."""
        self._lakehouse = lakehouse
        self._spark = lakehouse.spark

    def enable_deletion_vectors(self) -> None:
        """Let commits mark the rows that they take out, from now on."""
        details = self._lakehouse.delta_table(PUBLISHED).detail().select("properties").collect()
        if not PROPERTIES_OF_MARKED.items() <= details[0][0].items():
            name = self._lakehouse.sql_name(PUBLISHED)
            wanted = ", ".join(f"'{key}' = '{one}'" for key, one in PROPERTIES_OF_MARKED.items())
            self._spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ({wanted})")

    def replace(
        self,
        lists: DataFrame | pa.Table,
        users: Sequence[str],
        application: str,
        number: int,
        found: RowsOfKeys | None = None,
    ) -> Replaced:
        """Put lists in the place of all that these users have, in one commit.

        Args:
            lists: the columns of table `recommendations`, of these users alone.
            users: whose lists are replaced.
            application, number: Delta makes no commit of an application whose number is not above
                that of its last one.
            found: what `rows_of_users` gives, for lists that the driver holds.
        """
        schema = RECOMMENDATIONS_TABLE.schema
        if isinstance(lists, pa.Table):
            rows = lists.select(schema.names).cast(arrow_schema(schema))
            if found is not None:
                outcome = replace_rows(schema, Replacement(found, rows, application, number))
                if outcome != "left to Spark":
                    return outcome
            lists = frame_of_arrow(self._spark, rows, schema)
        new = lists.select(*schema.names)
        once = (application, str(number))
        are_touched = self.set_of_users(users)
        try:
            if are_touched is not None:
                self._overwrite(new, are_touched, once)
            elif not self._merge(new, users, once):
                return "overtaken"
        except THROWN as error:
            if is_overtaken(error):
                return "overtaken"
            raise
        return "done by Spark"

    def rows_of_users(self, users: Sequence[str]) -> RowsOfKeys | None:
        """What finds the rows of these users in the files of the lists; None where Spark has to."""
        folder = self._lakehouse.local_folder(PUBLISHED)
        return None if folder is None else RowsOfKeys(folder, c.USER_ID, users)

    def compact(self) -> None:
        """Join small files, and rewrite those that have many marked rows."""
        table = self._lakehouse.delta_table(PUBLISHED)
        try:
            with with_settings(self._spark, _COMPACTING):
                table.optimize().executeCompaction()
        except THROWN as error:
            # If another run is published meanwhile, the files to join are gone.
            if not is_overtaken(error):
                raise

    def set_of_users(self, users: Sequence[str]) -> str | None:
        """SQL that is true for the rows of these users and holds none of their ids.

        Delta's log keeps this SQL, and users may ask to be forgotten. None where Spark or Delta
        cannot do it (see `named_set`).
        """
        return named_set(self._spark, "m6rec_touched_users", c.USER_ID, users)

    def _overwrite(self, new: DataFrame, are_touched: str, once: tuple[str, str]) -> None:
        """Replace lists by one pass over the table's users."""
        application, number = once
        writer = new.write.format("delta").mode("overwrite").option("replaceWhere", are_touched)
        writer = writer.option("txnAppId", application).option("txnVersion", number)
        with with_settings(self._spark, _UNCHECKED):
            writer.save(self._lakehouse.address(PUBLISHED))

    def _merge(self, new: DataFrame, users: Sequence[str], once: tuple[str, str]) -> bool:
        """Replace lists by joining the table, which takes three passes.

        Returns:
            False where another commit came while the lists were made, and nothing was done.
        """
        version = self._lakehouse.version(PUBLISHED)
        # Without this checkpoint the merge would compute the lists several times. It reads the
        # table only after they are computed, so commits that came meanwhile are found here.
        new = new.localCheckpoint()
        if self._lakehouse.version(PUBLISHED) != version:
            return False
        nothing = [
            F.lit(None).cast(item.dataType).alias(item.name)
            for item in RECOMMENDATIONS_TABLE.schema
            if item.name != c.USER_ID
        ]
        old = frame_of_users(self._spark, users).select(c.USER_ID, *nothing).select(*new.columns)
        source = new.withColumn(_IS_OLD, F.lit(False)).unionByName(
            old.withColumn(_IS_OLD, F.lit(True))
        )
        replaced = f"target.{c.USER_ID} = source.{c.USER_ID} AND source.{_IS_OLD}"
        values: dict[str, str | Column] = {name: f"source.{name}" for name in new.columns}
        table = self._lakehouse.delta_table(PUBLISHED)
        settings = dict(zip((_APPLICATION, _TRANSACTION), once, strict=True))
        with with_settings(self._spark, {**settings, _READS_TWICE: "none"}):
            (
                table.alias("target")
                .merge(source.alias("source"), replaced)
                .whenMatchedDelete()
                .whenNotMatchedInsert(f"NOT source.{_IS_OLD}", values)
                .execute()
            )
        return True


def frame_of_users(spark: SparkSession, users: Sequence[str]) -> DataFrame:
    """user_id of a few users."""
    ids = pa.table({c.USER_ID: pa.array(users, pa.string())})
    return frame_of_arrow(spark, ids, f"{c.USER_ID} string")
