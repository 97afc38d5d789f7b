"""The events of a followed table, cleaned as those of the published run are."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.base import TableSource
from m6rec.fits.list_maker import EVENT_COLUMNS, ListMaker
from m6rec.fits.sources import Events, open_events
from m6rec.publication.later_rows import LaterRows, later_rows
from m6rec.publication.replacing import frame_of_users
from m6rec.runs import start_of_work, users_forgotten_since, work_of_run
from m6rec.spark.runtimes import held_frame
from m6rec.spark.values import id_column

_TOUCHED = "_touched"


@dataclass(frozen=True)
class FollowedEvents:
    """The events of the followed table as it is at any moment.

    Attributes:
        spark: the session.
        source: the table.
        maker: of the published run, by whose configuration they are read.
        first_version: the first version of the table that the run has not read; None where it has
            read none.
    """

    spark: SparkSession
    source: TableSource
    maker: ListMaker
    first_version: int | None

    def opened(self) -> Events:
        """The table as it is now."""
        interactions = self.maker.fit.config.interactions
        reading = self.maker.events_of_run.reading
        return open_events(self.spark, "fold_in.source", self.source, interactions, reading)

    def of_all(self) -> DataFrame:
        """Those of all users, like `interactions`."""
        opened = self.opened()
        return self._cleaned(opened, opened.frame)

    def of_many(self, users: Sequence[str]) -> DataFrame:
        """Those of some users."""
        opened = self.opened()
        ids = frame_of_users(self.spark, users).select(F.col(c.USER_ID).alias(_TOUCHED))
        user = id_column(opened.frame, opened.config.columns.user, opened.config)
        own = opened.frame.join(F.broadcast(ids), user == F.col(_TOUCHED), "left_semi")
        return self._cleaned(opened, own)

    def of_few(self, users: Sequence[str]) -> DataFrame:
        """The same for users whose events the driver can hold.

        Events that the run has, and that stand in the table since, may be left out.
        """
        later = self._later
        rows = None if later is None else later.of(users)
        if later is None or rows is None:
            # A table that has just got a commit takes a query of its own to be planned.
            return held_frame(self.of_many(users))
        return self._cleaned(later.opened, rows)

    @cached_property
    def _later(self) -> LaterRows | None:
        first_version = None if self._run_has_lost_events else self.first_version
        return later_rows(self.spark, self.source, self.opened(), first_version)

    @property
    def _run_has_lost_events(self) -> bool:
        """Whether users may have been forgotten whose events the run had read."""
        run = self.maker.fit.lakehouse
        return users_forgotten_since(run, start_of_work(work_of_run(run)))

    def _cleaned(self, opened: Events, rows: DataFrame) -> DataFrame:
        return self.maker.cleaned(opened, rows).interactions.select(*EVENT_COLUMNS)
