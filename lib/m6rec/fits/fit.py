"""One fit of a run: its tables, and what follows from them, each read once.

`selection` trains on the training fold and is measured on validation, where every choice is made;
`final` trains on both with those choices and is measured on the test fold.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.errors import TableError
from m6rec.files import FilePlace
from m6rec.kernels.arrays.domains import Domain
from m6rec.kernels.arrays.rows import Float32, Int64
from m6rec.kernels.factors.projection import FactorModel, padded_by_later_items
from m6rec.kernels.neighbours.content_neighbours import LaterItems, joined_by_later
from m6rec.kernels.neighbours.item_neighbours import ItemWeights
from m6rec.kernels.ranking.blending import PICTURES_ALONE
from m6rec.lakehouse import Lakehouse
from m6rec.spark.collecting import BYTES_OF_ITEM
from m6rec.spark.item_matrices import item_rows
from m6rec.spark.places import place_of
from m6rec.spark.session import is_local
from m6rec.spark.worker_rows import WorkerRows
from m6rec.stages.features.behaviour import events_before_holdout
from m6rec.stages.features.pictures import pictures_of
from m6rec.stages.features.reading import item_terms
from m6rec.stages.pairs.catalogue import by_domain, item_domains, masked_by_rules
from m6rec.stages.pairs.matrix import interaction_counts, sample_users, target_rows
from m6rec.stages.training.factor_models import (
    MODEL_SCHEMA,
    factors_from_batches,
    model_from_batches,
)
from m6rec.stages.training.item_weights import item_weights_from_batches
from m6rec.towers.pictures import Pictures, no_pictures

SETTINGS = "settings"
_FEW_PAIRS = 20_000


def fits_of(
    lakehouse: Lakehouse, config: Config, names: Sequence[str] = c.FITS
) -> tuple["Fit", ...]:
    """The named fits of a run, in that order; what they have in common is read once."""
    first = Fit(lakehouse, config, names[0])
    return (first, *(first.other(name) for name in names[1:]))


class Fit:
    """What the jobs of a run ask of one of its fits.

    A job makes its fits when it starts, on tables pinned to one version, and keeps them for its
    own duration: what has been read is not read again.

    Attributes:
        lakehouse: the tables of the run.
        name: `selection` or `final`.
    """

    def __init__(
        self, lakehouse: Lakehouse, config: Config, name: str, run: "_Run | None" = None
    ) -> None:
        self.lakehouse = lakehouse
        self.name = name
        self._item_matrices: dict[str, Float32] = {}
        self._run = _Run(lakehouse, config) if run is None else run
        self._run.fits[name] = self

    def followed_by(self, lakehouse: Lakehouse, later: LaterItems) -> "Fit":
        """The same fit, whose items are followed by some that came after the run.

        Args:
            lakehouse: the run's tables, to whose rows those of the later items have been added.
            later: the items.
        """
        return Fit(lakehouse, self.config, self.name, _Run(lakehouse, self.config, later))

    def other(self, name: str) -> "Fit":
        """The run's fit of another name, which shares what does not differ between fits."""
        return self._run.fits.get(name) or Fit(self.lakehouse, self.config, name, self._run)

    @property
    def spark(self) -> SparkSession:
        """The session."""
        return self.lakehouse.spark

    @property
    def config(self) -> Config:
        """The configuration as the owner gave it."""
        return self._run.given

    @property
    def settings(self) -> Config:
        """The configuration with what job `choose_settings` has chosen, where it has run."""
        return self._run.chosen

    @property
    def chosen_values(self) -> Mapping[str, Any]:
        """What job `choose_settings` has chosen, by key of the configuration."""
        return self._run.chosen_values

    @property
    def n_items(self) -> int:
        """How many dense item indices there are.

        Raises:
            TableError: there are none.
        """
        return self._run.n_items

    @property
    def later(self) -> LaterItems | None:
        """The last of the items, which came after the run, if any are known."""
        return self._run.later

    @property
    def trained_items(self) -> int:
        """How many of the items the run knows, which come first."""
        return self.n_items - (0 if self.later is None else len(self.later.item_ids))

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The domains of the run's items; none where the configuration names no column."""
        return self._run.domains

    @property
    def ranked_domains(self) -> tuple[Domain | None, ...]:
        """The domains within which lists are made in turn; a single None stands for all items."""
        return self.domains or (None,)

    @cached_property
    def item_counts(self) -> Int64:
        """int64 [items]: how many users have each item in this fit."""
        of_fit = F.col(c.FIT) == self.name
        return self.lakehouse.known(
            "user_item_matrix",
            f"counts of {self.name}",
            lambda matrix: interaction_counts(matrix.where(of_fit), self.n_items),
        )

    @cached_property
    def item_evidence(self) -> Int64:
        """`item_counts`, with `PICTURES_ALONE` for items of which nothing else is known."""
        counts = self.item_counts
        seen = np.zeros(self.n_items, np.bool_)
        for mask in self.items_with_pictures.values():
            seen |= mask & (counts == 0)
        if not seen.any():
            return counts
        described = self.item_matrix(c.CONTENT).any(axis=1)
        return np.where(seen & ~described, PICTURES_ALONE, counts)

    @property
    def has_pictures_alone(self) -> bool:
        """Whether there are items of which pictures alone are known."""
        return bool(self.picture_columns) and bool((self.item_evidence == PICTURES_ALONE).any())

    @property
    def ranks(self) -> int | None:
        """How many tasks share the rows of an iterative program: as many as there are if None.

        In local mode a program over few pairs has one, so that several run at once. It is the data
        alone that decide, because sums over another number of tasks round otherwise.
        """
        return 1 if is_local(self.spark) and self.item_counts.sum() <= _FEW_PAIRS else None

    @property
    def events(self) -> DataFrame:
        """The rows of `interactions`, with user_index and item_index."""
        read = self.lakehouse.read
        users = read("user_index").select(c.USER_ID, c.USER_INDEX)
        items = read("item_index").select(c.ITEM_ID, c.ITEM_INDEX)
        return read("interactions").join(users, c.USER_ID).join(items, c.ITEM_ID)

    @property
    def training_events(self) -> DataFrame:
        """The rows of `events` behind the pairs of the fit's folds."""
        folds, splits = list(c.FOLDS_OF_FIT[self.name]), self.lakehouse.read("splits")
        if self.config.ranks_repeats:
            has_time = self.config.interactions.columns.time is not None
            return events_before_holdout(self.events, splits, folds, has_time)
        keys = [c.USER_INDEX, c.ITEM_INDEX]
        return self.events.join(splits.where(F.col(c.FOLD).isin(folds)), keys, "semi")

    @property
    def matrix(self) -> DataFrame:
        """The rows of `user_item_matrix`."""
        return self.lakehouse.read("user_item_matrix", fit=self.name)

    @property
    def item_features(self) -> DataFrame:
        """The rows of `item_features`."""
        return self.lakehouse.read("item_features", fit=self.name)

    def item_matrix(self, column: str) -> Float32:
        """float32 [items, width]: a column of `item_features`; an item without a row is zero."""
        if column not in self._item_matrices:
            rows = self._item_rows("item_features", (c.ITEM_INDEX, column))
            self._item_matrices[column] = item_rows(rows, column, self.n_items).values
        return self._item_matrices[column]

    def item_terms(self) -> sp.csr_matrix:
        """float32 [items, V]: the terms of `item_features`; an item without a row has none."""
        columns = (c.ITEM_INDEX, c.TERM_INDICES, c.TERM_WEIGHTS)
        return item_terms(self._item_rows("item_features", columns), self.n_items)

    @property
    def user_features(self) -> DataFrame:
        """The rows of `user_features`."""
        return self.lakehouse.read("user_features", fit=self.name)

    @property
    def item_pictures(self) -> tuple[Pictures, ...]:
        """The columns of the items' images and videos."""
        return self._run.item_pictures

    @property
    def picture_columns(self) -> tuple[str, ...]:
        """The names of the columns of images and videos of which items have any, ascending."""
        if not self.lakehouse.exists("item_images"):
            return ()
        rows = self.lakehouse.read("item_images").select("attribute").distinct().collect()
        return tuple(sorted(row["attribute"] for row in rows))

    @property
    def later_pictures(self) -> tuple[Pictures, ...]:
        """`item_pictures` of the items alone that came after the run: the same columns."""
        first, size = self.trained_items, self.config.features.image_size
        rows = self.lakehouse.read("item_images").where(F.col(c.ITEM_INDEX) >= first)
        of_all = {one.name: one for one in pictures_of(rows, self.n_items)}
        return tuple(
            of_all[name].of_items_from(first)
            if name in of_all
            else no_pictures(name, self.n_items - first, size)
            for name in self.picture_columns
        )

    @property
    def items_with_pictures(self) -> dict[str, npt.NDArray[np.bool_]]:
        """bool [items] by column of images or videos: which items have any."""
        if not self.lakehouse.exists("item_images"):
            return {}
        rows = self.lakehouse.read("item_images").select(c.ITEM_INDEX, "attribute").distinct()
        found: dict[str, npt.NDArray[np.bool_]] = {}
        for row in rows.orderBy("attribute").collect():
            mask = found.setdefault(row["attribute"], np.zeros(self.n_items, np.bool_))
            mask[row[c.ITEM_INDEX]] = True
        return found

    @property
    def targets(self) -> DataFrame:
        """The held-out items that the fit is measured on: user_index, item_indices."""
        return target_rows(self.lakehouse.read("splits"), c.TARGET_FOLD_OF_FIT[self.name])

    def sample_targets(self, maximum_users: int) -> DataFrame:
        """`targets` of at most so many users, chosen by a seeded hash."""
        return sample_users(self.targets, maximum_users, self.config.seed)

    @property
    def measured_users(self) -> DataFrame:
        """The users whose lists are measured, with their held-out items.

        All users with items in the test fold; of the validation fold a sample.
        """
        if self.name == c.FINAL:
            return self.targets
        return self.sample_targets(self.config.evaluate.maximum_validation_users)

    @property
    def measured_targets(self) -> DataFrame:
        """`measured_users`, with a row for each domain of a user's where there are domains."""
        if not self.domains:
            return self.measured_users
        return by_domain(self.measured_users, self.lakehouse.read("catalogue"))

    @property
    def outside_catalogue(self) -> npt.NDArray[np.bool_]:
        """bool [items]: items that earlier runs of the lake had and this one has not."""
        return self.lakehouse.known(
            "catalogue", "masked", lambda catalogue: masked_by_rules(catalogue, self.n_items)
        )

    @cached_property
    def masked_items(self) -> npt.NDArray[np.bool_]:
        """bool [items]: items that no measured list may hold, as `evaluate.candidates` says.

        If only cold items are ranked, the selection fit ranks those that validation holds out and
        not the test's as well. Among so many more candidates, lists of the same length would reach
        less deep than on the test.
        """
        masked = self.outside_catalogue.copy()
        if self.config.evaluate.ranks_cold_items:
            masked |= self.item_counts > 0
            if self.name == c.SELECTION:
                masked |= self.other(c.FINAL).item_counts == 0
        return masked

    def factor_model(self, method: str) -> FactorModel:
        """The factor model of a method, from `item_factors` and its row of `models`."""
        rows, parameters = self._factor_rows(method), self.model("factors", method)
        counts = self.item_counts[: self.trained_items]
        model = model_from_batches(rows, parameters, counts)
        return padded_by_later_items(model, self.n_items - self.trained_items)

    def item_factors(self, method: str) -> Float32:
        """float32 [items, k]: the factors of a method; zeros for items after the run."""
        trained = factors_from_batches(self._factor_rows(method), self.trained_items)
        return np.pad(trained, ((0, self.n_items - self.trained_items), (0, 0)))

    def _factor_rows(self, method: str) -> Iterator[pa.RecordBatch]:
        return self._item_rows("item_factors", MODEL_SCHEMA.names, method=method)

    def item_weights(self, method: str) -> ItemWeights:
        """The item-item weights of a method, from `item_neighbours`."""
        columns = (c.ITEM_INDEX, c.NEIGHBOUR_INDICES, c.WEIGHTS)
        rows = self._item_rows("item_neighbours", columns, method=method)
        weights = item_weights_from_batches(rows, self.n_items)
        if self.later is None or method != "content_neighbours":
            return weights
        return joined_by_later(weights, self.later)

    def _item_rows(
        self, table: str, columns: Sequence[str], **part: str
    ) -> Iterator[pa.RecordBatch]:
        most_bytes = self.n_items * BYTES_OF_ITEM
        return self.lakehouse.batches(table, columns, most_bytes, fit=self.name, **part)

    def model(self, kind: str, name: str) -> dict[str, Any]:
        """The parameters that table `models` records, with `artifact` where there is a folder.

        Raises:
            TableError: the model has not been trained in this run.
        """
        found = [row for row in self.models_of(kind) if row["name"] == name]
        if not found:
            raise TableError(
                f"table models has no {kind} {name} of fit {self.name} in run"
                f" {self.lakehouse.run_id}; run the job that trains it"
            )
        parameters: dict[str, Any] = json.loads(found[0]["parameters"])
        if found[0]["artifact"] is not None:
            parameters["artifact"] = found[0]["artifact"]
        return parameters

    def models_of(self, kind: str) -> list[Row]:
        """The fit's rows of one kind in table `models`."""
        return self._run.models(self.name, kind)

    def modalities(self, side: str) -> tuple[tuple[int, int], ...]:
        """The columns of vectors that the features of `users` or `items` end with.

        For each column, the most vectors that a row has, and how many numbers a vector has.
        """
        described = self.model("features", side).get("modalities", ())
        return tuple((int(vectors), int(width)) for vectors, width in described)

    def write(self, table: str, frame: DataFrame) -> None:
        """Replace the fit's rows of a table."""
        self.lakehouse.write(table, frame, fit=self.name)

    def write_made(self, table: str, made: Sequence[WorkerRows]) -> None:
        """Replace the fit's rows of a table by some that Python workers make."""
        self.lakehouse.write_made(table, made, fit=self.name)

    def write_models(self, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace the fit's rows of one kind in table `models`; `model_row` makes a row."""
        self.lakehouse.write_rows("models", rows, fit=self.name, kind=kind)
        self._run.forget_models()

    def artifact_path(self, kind: str, *parts: str) -> str:
        """The path of a folder or file of this fit that is not a table."""
        return self.lakehouse.artifact_path(kind, self.name, *parts)

    def artifact_place(self, kind: str, *parts: str) -> FilePlace:
        """The same, with the means of reaching it."""
        return self.lakehouse.artifact_place(kind, self.name, *parts)

    def saved_artifact(self, kind: str, name: str) -> FilePlace:
        """Where a model of table `models` was saved, wherever the lake has moved since."""
        saved = self.lakehouse.address_of_saved(self.model(kind, name)["artifact"])
        return place_of(self.spark, saved)


def model_row(
    name: str, parameters: Mapping[str, Any], artifact: str | None = None
) -> dict[str, Any]:
    """A row of table `models`: parameters as JSON, and the folder of the saved artifact."""
    return {"name": name, "parameters": json.dumps(dict(parameters)), "artifact": artifact}


class _Run:
    """What the fits of a run have in common."""

    def __init__(
        self, lakehouse: Lakehouse, config: Config, later: LaterItems | None = None
    ) -> None:
        self._lakehouse = lakehouse
        self.later = later
        self.given = config
        self.fits: dict[str, Fit] = {}

    @cached_property
    def n_items(self) -> int:
        largest = self._lakehouse.known("item_index", "largest", _largest_item)
        if largest is None:
            raise TableError("table item_index is empty; run prepare_interactions first")
        return largest + 1

    @cached_property
    def domains(self) -> tuple[Domain, ...]:
        if self.given.interactions.columns.domain is None:
            return ()
        return item_domains(self._lakehouse.read("catalogue"), self.n_items)

    @cached_property
    def item_pictures(self) -> tuple[Pictures, ...]:
        if not self._lakehouse.exists("item_images"):
            return ()
        return pictures_of(self._lakehouse.read("item_images"), self.n_items)

    @cached_property
    def chosen(self) -> Config:
        values = self.chosen_values
        return self.given.replaced(values) if values else self.given

    @cached_property
    def chosen_values(self) -> dict[str, Any]:
        if not self._lakehouse.exists("models"):
            return {}
        rows = self.models(c.SELECTION, SETTINGS)
        values: dict[str, Any] = json.loads(rows[0]["parameters"])["chosen"] if rows else {}
        return values

    def models(self, fit: str, kind: str) -> list[Row]:
        return [row for row in self._model_rows if row[c.FIT] == fit and row["kind"] == kind]

    def forget_models(self) -> None:
        self.__dict__.pop("_model_rows", None)

    @cached_property
    def _model_rows(self) -> list[Row]:
        return self._lakehouse.rows("models")


def _largest_item(index: DataFrame) -> int | None:
    row = index.agg(F.max(c.ITEM_INDEX)).first()
    return None if row is None else row[0]
