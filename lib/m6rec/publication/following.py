"""The published run that a stream of events follows: its models, its events, its users' vectors."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.fits.list_maker import EVENT_COLUMNS, ListMaker
from m6rec.kernels.arrays.rows import Rows
from m6rec.kernels.factors.projection import FactorModel, project
from m6rec.spark.arrow_rows import rows_from_batches
from m6rec.spark.collecting import BYTES_OF_WORDS, collected_table
from m6rec.spark.runtimes import arrow_table, frame_of_arrow

_FACTORS = ("als", "svd")
_USERS_OF_DISTANCE = 500
_EVENTS = "_events"
# What does not depend on the items that a maker knows.
_OF_USERS = frozenset({"seen_items", "base", "histories", "index"})


@dataclass(frozen=True)
class Followed:
    """The published run, whose item side is read once.

    Attributes:
        publication: the version of the published table that the run's publication made.
        maker: makes lists with the run's models.
        since: when following began; what is read later may be kept from then on.
    """

    publication: int
    maker: ListMaker
    since: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.maker.fit.lakehouse.run_id

    def with_maker(self, maker: ListMaker) -> "Followed":
        """The same run with a maker that knows other items; what is kept of users stays so."""
        followed = replace(self, maker=maker)
        kept = {name: value for name, value in vars(self).items() if name in _OF_USERS}
        vars(followed).update(kept)
        return followed

    @cached_property
    def seen_items(self) -> frozenset[str]:
        """The ids of the items that the training has seen."""
        items = self.maker.items.where("is_seen").select(c.ITEM_ID)
        seen = collected_table(items, self.maker.fit.n_items * BYTES_OF_WORDS)
        return frozenset(seen.column(0).to_pylist())

    @cached_property
    def base(self) -> DataFrame:
        """The events that the run has."""
        return self.maker.fit.lakehouse.read("interactions").select(*EVENT_COLUMNS)

    @cached_property
    def histories(self) -> DataFrame:
        """user_id, events: `base` with a row a user, kept by the executors.

        A batch looks for some users among all, and there are far fewer users than events.
        """
        of_user = [name for name in EVENT_COLUMNS if name != c.USER_ID]
        events = F.collect_list(F.struct(*of_user)).alias(_EVENTS)
        return self.base.groupBy(c.USER_ID).agg(events).persist()

    @cached_property
    def index(self) -> DataFrame:
        """user_id, user_index of the users whom the run knows, kept by the executors."""
        return self.maker.index.persist()

    def keep_histories(self) -> None:
        """Have `histories` made in as many parts as the session's settings now ask for.

        Those of a batch are for its few users, and the histories are those of all users.
        """
        _ = self.histories

    def events_of(self, users: DataFrame) -> DataFrame:
        """The events that the run has of a few users."""
        ids = F.broadcast(users.select(c.USER_ID))
        own = self.histories.join(ids, c.USER_ID, "left_semi")
        return own.select(c.USER_ID, F.inline(_EVENTS)).select(*EVENT_COLUMNS)

    def let_go(self) -> None:
        """Free the memory of the histories and of the index."""
        self.histories.unpersist()
        self.index.unpersist()

    @cached_property
    def factor_model(self) -> FactorModel | None:
        """The factors by which drift is told; a night trains those alone that its lists need."""
        fit = self.maker.fit
        trained = {row["name"] for row in fit.models_of("factors")}
        name = next((name for name in _FACTORS if name in trained), None)
        return None if name is None else fit.factor_model(name)

    def distance(self, rows: pa.Table) -> float | None:
        """The mean cosine distance of some users' vectors from those of their rows in training.

        It takes a pass over all rows of the training.

        Args:
            rows: of the user-item matrix, as they are now; of the first ones the distance is told.

        Returns:
            None where there are no factors, or none of the users was in training.
        """
        model = self.factor_model
        if model is None:
            return None
        columns = [c.USER_INDEX, c.ITEM_INDICES, c.WEIGHTS]
        is_known = pc.and_(
            pc.greater_equal(rows.column(c.USER_INDEX), 0),
            pc.greater(pc.list_value_length(rows.column(c.ITEM_INDICES)), 0),
        )
        now = rows.select(columns).filter(is_known).slice(0, _USERS_OF_DISTANCE)
        if now.num_rows == 0:
            return None
        fit = self.maker.fit
        matrix = fit.matrix.where(F.size(c.ITEM_INDICES) > 0)
        ids = frame_of_arrow(fit.spark, now.select([c.USER_INDEX]), f"{c.USER_INDEX} long")
        again = matrix.select(*columns).join(F.broadcast(ids), c.USER_INDEX, "left_semi")
        before = arrow_table(again)
        kept = now.filter(
            pc.is_in(now.column(c.USER_INDEX), before.column(c.USER_INDEX).combine_chunks())
        )
        if kept.num_rows == 0:
            return None
        vectors = [project(model, _rows_by_user(table)) for table in (before, kept)]
        lengths = np.linalg.norm(vectors[0], axis=1) * np.linalg.norm(vectors[1], axis=1)
        dots = (vectors[0] * vectors[1]).sum(axis=1)
        cosines = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0.0)
        return float(1.0 - cosines.mean())


def _rows_by_user(table: pa.Table) -> Rows:
    return rows_from_batches(table.sort_by(c.USER_INDEX).combine_chunks().to_batches())
