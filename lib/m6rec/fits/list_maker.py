"""Make lists with a finished run's models for any users, whether or not they were in training.

What is known of a user (events, attributes) becomes a row of the user-item matrix and features, and
from there on the function that ranks in batch makes the lists.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, reduce

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.data import AttributesSource
from m6rec.config.run import Config
from m6rec.errors import ConfigError, M6RecError
from m6rec.fits.events_of_run import EventsOfRun, read_events_of_run
from m6rec.fits.fit import Fit
from m6rec.fits.later_items import with_later_items
from m6rec.fits.listing import published_scoring, read_explaining
from m6rec.fits.members import read_blends, read_members
from m6rec.fits.reranking import reranking_of
from m6rec.fits.rules import excluded_pairs, items_outside_lists
from m6rec.fits.sources import Events
from m6rec.kernels.arrays.rows import Float32
from m6rec.kernels.ranking.blending import Blend
from m6rec.kernels.ranking.members import Member, OwnMembers
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import ranker_named
from m6rec.spark.failures import THROWN, unforeseen
from m6rec.spark.messages import keep_trace, say
from m6rec.spark.sources import read_source
from m6rec.spark.worker_rows import WorkerRows
from m6rec.stages.features.attributes import attributes_by_index, encoded_texts
from m6rec.stages.features.behaviour import (
    Surroundings,
    behaviour_of,
    event_mix,
    is_shipped,
    surroundings_of,
    with_domain_as_context,
)
from m6rec.stages.features.given import typed_as_own
from m6rec.stages.features.inputs import read_attributes
from m6rec.stages.features.pipeline import FeaturePipeline
from m6rec.stages.features.texts import with_texts_encoded
from m6rec.stages.features.vectors import VectorFacts, vector_facts
from m6rec.stages.pairs.aggregation import aggregate_pairs
from m6rec.stages.pairs.cleaning import Cleaned, clean_interactions
from m6rec.stages.pairs.matrix import user_item_matrix
from m6rec.stages.ranking.lists import Scoring, user_inputs
from m6rec.stages.ranking.recommendations import (
    Explaining,
    ShippedRanking,
    explained_lists,
    ship_ranking,
)

_MIX = "mix "
_LARGEST_HASH = (1 << 62) - 1
EVENT_COLUMNS = (c.USER_ID, c.ITEM_ID, c.EVENT_TIME, c.EVENT_TYPE, c.WEIGHT, c.CONTEXT)
_KEY = (c.USER_ID, c.ITEM_ID, c.EVENT_TIME, c.EVENT_TYPE)


@dataclass(frozen=True)
class KnownOfUsers:
    """What is known of the users who are to have lists.

    Attributes:
        users: user_id, user_index; each user once.
        events: the columns of table `interactions`, of these users.
        attributes: the owner's columns by user_index; None where there are none.
        given: attributes of some of the users, which replace those in `attributes`; None where none
            are replaced.
    """

    users: DataFrame
    events: DataFrame
    attributes: DataFrame | None
    given: DataFrame | None = None


class ListMaker:
    """The final fit of a finished run, whose item side is read and sent once.

    Attributes:
        fit: the fit, with the items that came after the run and have been read.
    """

    def __init__(self, lakehouse: Lakehouse, config: Config) -> None:
        """Read nothing yet.

        Args:
            lakehouse: the tables of the run.
            config: the configuration that the run was made with.

        Raises:
            ConfigError: the run's ranker can only rank for users who were in training.
        """
        self.fit = self._fit_of_run = Fit(lakehouse.for_one_job(), config, c.FINAL)
        ranker = config.recommend.ranker
        if "factors" in ranker_named(ranker).user_inputs:
            raise ConfigError(
                f"run {lakehouse.run_id} publishes lists of ranker {ranker}, whose vectors of users"
                " are those of the training alone; publish a run of another recommend.ranker"
            )

    @cached_property
    def scorings(self) -> tuple[Scoring, ...]:
        """The published blend under the rules, once for each domain if there are any."""
        return self._scorings_without(self._masked_items)

    def _scorings_without(self, masked_items: npt.NDArray[np.bool_]) -> tuple[Scoring, ...]:
        fit, reranking = self.fit, reranking_of(self.fit)
        return tuple(
            published_scoring(fit, self._read, blend, masked_items, reranking, domain)
            for blend, domain in zip(self._blends, fit.ranked_domains, strict=True)
        )

    @cached_property
    def _blends(self) -> list[Blend]:
        ranker, domains = self.fit.config.recommend.ranker, self.fit.ranked_domains
        return [read_blends(self.fit, (ranker,), domain)[0] for domain in domains]

    @cached_property
    def _read(self) -> dict[str, Member | OwnMembers]:
        """The members of all blends, by name."""
        names = dict.fromkeys(name for blend in self._blends for name in blend.coefficients())
        return read_members(self.fit, names, knows_cold_histories=True)

    @cached_property
    def _masked_items(self) -> npt.NDArray[np.bool_]:
        return items_outside_lists(self.fit)

    @cached_property
    def _explaining(self) -> Explaining:
        return read_explaining(self.fit)

    @cached_property
    def events_of_run(self) -> EventsOfRun:
        """How the run has read its events."""
        return read_events_of_run(self.fit)

    @property
    def latest(self) -> datetime | None:
        """The time up to which the weights of the run's events have decayed."""
        return self.events_of_run.latest

    def cleaned(self, opened: Events, rows: DataFrame) -> Cleaned:
        """Rows of a table of events, cleaned as those of the run were.

        If the table has neither weights nor types of events, each event gets the least weight with
        which the run counts a pair as liked (`positive_minimum`, but at least 1).
        """
        config = self.fit.config
        cleaned = clean_interactions(
            rows,
            opened.config,
            datetime.now(UTC),
            opened.version,
            opened.reading,
            config.ratings.enabled,
            self.latest,
        )
        minimum = config.interactions.positive_minimum
        if minimum is None or opened.config.positive_minimum is not None:
            return cleaned
        weight = F.col(c.WEIGHT) * F.lit(max(minimum, 1.0))
        return replace(cleaned, interactions=cleaned.interactions.withColumn(c.WEIGHT, weight))

    def with_items_read_anew(self) -> "ListMaker":
        """One that knows the items of the owner's table as it is now; this one where it does.

        All are ranked by the models of the run, those that came after it by their attributes. Where
        the table cannot be read as the run has read it, lists know the items of before.
        """
        try:
            fit = with_later_items(self._fit_of_run, self.fit)
        except (M6RecError, *THROWN) as error:
            # A table may be empty, or written anew, for a moment.
            keep_trace(error)
            found = str(error) if isinstance(error, M6RecError) else unforeseen(error)
            say("warning", f"{found}; lists know the items of before")
            return self
        if fit is self.fit:
            return self
        maker = ListMaker(self._fit_of_run.lakehouse, fit.config)
        maker.fit = fit
        return maker

    def read_rules_anew(self) -> None:
        """Have the lists from now on follow the owner's rules and quotas as they are now.

        Where these cannot be read, lists follow those of before.
        """
        masked_items = items_outside_lists(self.fit)
        is_same = np.array_equal(masked_items, self._masked_items)
        if is_same and not self.fit.config.recommend.item_columns():
            return
        scorings = self._scorings_without(masked_items)
        rankings = self._shipped(scorings)
        self.__dict__.update(_masked_items=masked_items, scorings=scorings, _rankings=rankings)

    def lists(self, inputs: DataFrame, generated_at: datetime) -> DataFrame:
        """Explained lists: columns of table `recommendations` without run_id.

        Args:
            inputs: as `inputs` gives them.
            generated_at: the time of the lists.
        """
        return reduce(
            DataFrame.unionByName, (one.frame() for one in self._lists(inputs, generated_at))
        )

    def lists_here(self, inputs: DataFrame, held: pa.Table, generated_at: datetime) -> pa.Table:
        """The same for a few users, made by the driver.

        Args:
            inputs: as `inputs` gives them.
            held: their rows.
            generated_at: the time of the lists.
        """
        return pa.concat_tables(one.made_of(held) for one in self._lists(inputs, generated_at))

    def _lists(self, inputs: DataFrame, generated_at: datetime) -> list[WorkerRows]:
        return [explained_lists(inputs, ranking, generated_at) for ranking in self._rankings]

    def inputs(self, rows: DataFrame, users: DataFrame) -> DataFrame:
        """What ranking reads of each user: `user_inputs` with user_id.

        Args:
            rows: as `rows` gives them.
            users: user_id, user_index.
        """
        pairs = excluded_pairs(self.fit)
        if pairs is not None:
            # Users whom the run does not know have rules, too.
            own = users.select(c.USER_ID, F.col(c.USER_INDEX).alias("_index"))
            pairs = pairs.join(own, c.USER_ID).select(
                F.col("_index").alias(c.USER_INDEX), c.ITEM_INDEX
            )
        return user_inputs(rows, None, {}, pairs).join(users, c.USER_INDEX)

    def rows(self, known: KnownOfUsers, as_trained: DataFrame | None = None) -> DataFrame:
        """A row of the user-item matrix for each user, with features where the ranker needs them.

        Items that the run does not know are left out.

        Args:
            known: of the users.
            as_trained: user_index of those who keep the row that the run was trained on, if any.
        """
        indexed = self._indexed(known)
        pairs = self._pairs(known)
        of_train = pairs.withColumn(c.FOLD, F.lit(c.TRAIN))
        rows = user_item_matrix(of_train, known.users, (c.FINAL,)).drop(c.FIT)
        if as_trained is not None:
            # The run's events lack some of what it has learned from: the owner's table of
            # validation is not among them, and of some repeats the run has only sums.
            own = self.fit.matrix.join(as_trained, c.USER_INDEX, "left_semi").select(rows.columns)
            others = rows.join(own.select(c.USER_INDEX), c.USER_INDEX, "left_anti")
            rows = others.unionByName(own)
        if not self._needs_features:
            return rows
        behaviour = self._behaviour(rows, indexed)
        features = self._features(known, behaviour)
        return rows.join(features.select(c.USER_INDEX, c.FEATURES, c.CONTENT), c.USER_INDEX)

    def _features(self, known: KnownOfUsers, behaviour: DataFrame | None) -> DataFrame:
        transform = self._pipeline.transform
        if known.given is None:
            return transform(known.attributes, behaviour, known.users)
        # The two tables may store the same column with different types, so that each is transformed
        # by itself.
        named = known.given.select(c.USER_INDEX)
        having = known.users.join(named, c.USER_INDEX, "left_semi")
        others = known.users.join(named, c.USER_INDEX, "left_anti")
        return transform(known.given, behaviour, having).unionByName(
            transform(known.attributes, behaviour, others)
        )

    def users(self, ids: DataFrame, kept_index: DataFrame | None = None) -> DataFrame:
        """user_id, user_index of distinct user ids; users whom the run does not know get negative
        ones.

        A negative index depends on the id alone.

        Args:
            ids: user_id.
            kept_index: the rows of `index`, where they are kept; the ids are then few, and each
                task can hold them.
        """
        ids = ids.select(c.USER_ID)
        if kept_index is None:
            known = self.index
        else:
            known = F.broadcast(kept_index.join(F.broadcast(ids), c.USER_ID, "left_semi"))
        known = known.toDF(*known.columns)
        unknown = -F.xxhash64(c.USER_ID).bitwiseAND(F.lit(_LARGEST_HASH)) - 1
        named = ids.join(known, c.USER_ID, how="left")
        return named.select(c.USER_ID, F.coalesce(c.USER_INDEX, unknown).alias(c.USER_INDEX))

    @cached_property
    def index(self) -> DataFrame:
        """user_id, user_index of the users whom the run knows."""
        return self.fit.lakehouse.read("user_index").select(c.USER_ID, c.USER_INDEX)

    def training_events(self, users: DataFrame) -> DataFrame:
        """The events of users that the run's final fit has learned from."""
        own = users.select(c.USER_ID)
        return self.fit.training_events.join(own, c.USER_ID, "left_semi").select(*EVENT_COLUMNS)

    @cached_property
    def items(self) -> DataFrame:
        """item_id, item_index, is_seen (by the training) of the items that the run knows."""
        fit = self.fit
        seen = fit.matrix.select(F.explode(c.ITEM_INDICES).alias(c.ITEM_INDEX)).distinct()
        items = fit.lakehouse.read("catalogue").select(c.ITEM_ID, c.ITEM_INDEX)
        marked = items.join(seen.withColumn("is_seen", F.lit(True)), c.ITEM_INDEX, "left")
        return marked.select(
            c.ITEM_ID, c.ITEM_INDEX, F.coalesce("is_seen", F.lit(False)).alias("is_seen")
        ).persist()

    def attributes(self, users: DataFrame, given: DataFrame | None = None) -> DataFrame | None:
        """The attributes of users by index, from the run's table of users or from another.

        Raises:
            TableError: the other table lacks a column that the run's features are made of.
        """
        source = self.fit.config.features.users
        if source is None or not self._needs_features:
            return None
        frame = self._read_attributes(source)
        if given is not None:
            frame = typed_as_own(given, frame.schema, source.id, self._pipeline.columns)
        indices = users.select(c.USER_ID, c.USER_INDEX)
        indexed = attributes_by_index(frame, source, self.fit.config.interactions, indices)
        texts = encoded_texts(source, c.USER_INDEX)
        indexed = with_texts_encoded(indexed, texts, self.fit.config.features.text_model)
        if given is not None:
            read_attributes(indexed, self._pipeline.columns, c.USER_INDEX)
        return indexed

    def facts_of_vectors(self, attributes: DataFrame) -> tuple[VectorFacts, ...]:
        """What attributes of `attributes` hold of the columns of vectors that the run reads.

        Not those of texts: each has a vector, and to count these would encode all texts once more.
        """
        columns = (block.column for block in self._pipeline.vectors)
        source = self.fit.config.features.users
        texts = [] if source is None else encoded_texts(source, c.USER_INDEX)
        return tuple(vector_facts(attributes, one) for one in columns if one.name not in texts)

    @property
    def _needs_features(self) -> bool:
        return any("features" in ranker_named(name).user_inputs for name in self._members)

    @property
    def _members(self) -> set[str]:
        return {name for scoring in self.scorings for name in scoring.members}

    @cached_property
    def _rankings(self) -> tuple[ShippedRanking, ...]:
        return self._shipped(self.scorings)

    def _shipped(self, scorings: tuple[Scoring, ...]) -> tuple[ShippedRanking, ...]:
        contexts = self.fit.config.recommend.contexts
        return tuple(
            ship_ranking(self.fit.spark, scoring, self._explaining, contexts)
            for scoring in scorings
        )

    @cached_property
    def _pipeline(self) -> FeaturePipeline:
        return FeaturePipeline.load(self.fit.saved_artifact("features", "users"))

    @cached_property
    def _content(self) -> Float32 | None:
        content = self.fit.item_matrix(c.CONTENT)
        return content if is_shipped(*content.shape) else None

    @cached_property
    def _surroundings(self) -> Surroundings:
        return surroundings_of(self.fit.matrix, self.fit.n_items)

    def _read_attributes(self, source: AttributesSource) -> DataFrame:
        return read_source(self.fit.spark, source.source, source.named_columns)

    def _indexed(self, known: KnownOfUsers) -> DataFrame:
        items = F.broadcast(self.items.select(c.ITEM_ID, c.ITEM_INDEX))
        return known.events.join(items, c.ITEM_ID).join(known.users, c.USER_ID)

    def _pairs(self, known: KnownOfUsers) -> DataFrame:
        config = self.fit.config
        items = F.broadcast(self.items.select(c.ITEM_ID, c.ITEM_INDEX))
        every = {"minimum_user_interactions": 1, "minimum_item_interactions": 1}
        interactions = config.interactions.model_copy(update=every)
        pairs = aggregate_pairs(known.events, interactions, config.ratings.enabled, self.latest)
        return pairs.join(items, c.ITEM_ID).join(known.users, c.USER_ID)

    def _behaviour(self, rows: DataFrame, events: DataFrame) -> DataFrame | None:
        columns = self._pipeline.behaviour_columns
        if not columns:
            return None
        behaviour = behaviour_of(rows, self._surroundings, self._content)
        mix = tuple(name for name in columns if name.startswith(_MIX))
        if not mix:
            return behaviour
        if self.fit.domains:
            events = with_domain_as_context(events)
        shares = event_mix(events, c.USER_INDEX, names=mix)
        return behaviour.join(shares, c.USER_INDEX, "left")


def with_new_events(base: DataFrame, events: DataFrame, are_few: bool = False) -> DataFrame:
    """Events of `base` with those of `events` that it lacks; both like table `interactions`."""
    return base.unionByName(events_not_in(events, base, are_few))


def events_not_in(events: DataFrame, base: DataFrame, are_few: bool = False) -> DataFrame:
    """The events for which `base` has no event with the same user, item, time and type.

    `are_few` says that each task can hold those of `base`.
    """
    renamed = base.select(*(F.col(name).alias(f"_{name}") for name in _KEY))
    if are_few:
        renamed = F.broadcast(renamed)
    same: Column = F.lit(True)
    for name in _KEY:
        same = same & F.col(name).eqNullSafe(F.col(f"_{name}"))
    return events.join(renamed, same, "left_anti")
