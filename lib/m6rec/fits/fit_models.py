"""The models of a fit as its members need them, and what stands in where a model knows nothing.

An item without interactions has no place of its own in factors or neighbourhoods. There its
neighbours by content stand in for it, or by pictures where these alone are known: on the side of
the items in all lists, and on the side of the users in histories that come after the training.
"""

from dataclasses import replace
from functools import cached_property

import numpy as np

from m6rec import columns as c
from m6rec.fits.fit import Fit
from m6rec.kernels.arrays.rows import Float32
from m6rec.kernels.factors.projection import FactorModel, ready_to_ship
from m6rec.kernels.neighbours.content_neighbours import (
    neighbours_by_vectors,
    represent_by_neighbours,
    rows_by_neighbours,
)
from m6rec.kernels.neighbours.item_neighbours import ItemWeights, item_weights_from_scipy, transpose
from m6rec.kernels.ranking.blending import PICTURES_ALONE
from m6rec.stages.training.neighbours import kept_entries
from m6rec.towers.artifact import load_towers
from m6rec.towers.bagging import BaggedTowers
from m6rec.towers.encoder import TowerEncoder

_CONTENT = "content_neighbours"


class FitModels:
    """The models of one fit while its members are read; what several of them need is read once.

    Attributes:
        fit: the fit.
        knows_cold_histories: whether histories may hold items without interactions in the fit.
    """

    def __init__(self, fit: Fit, knows_cold_histories: bool) -> None:
        self.fit = fit
        self.knows_cold_histories = knows_cold_histories
        self._factor_models: dict[str, FactorModel] = {}
        self._item_weights: dict[str, ItemWeights] = {}
        self._towers: dict[str, TowerEncoder | BaggedTowers] = {}

    def factors(self, method: str) -> FactorModel:
        """The factor model of a method."""
        if method not in self._factor_models:
            self._factor_models[method] = self.fit.factor_model(method)
        return self._factor_models[method]

    def item_weights(self, method: str) -> ItemWeights:
        """The item-item weights of a method by history item, whichever items histories may hold."""
        if method not in self._item_weights:
            self._item_weights[method] = self._of_histories(self._trained_weights(method))
        return self._item_weights[method]

    def _trained_weights(self, method: str) -> ItemWeights:
        if method == _CONTENT:
            return transpose(self._by_content_or_pictures)
        return self.fit.item_weights(method)

    def _of_histories(self, weights: ItemWeights) -> ItemWeights:
        if not self.knows_cold_histories or self.fit.config.features.items is None:
            return weights
        by_target, counts = self._by_content_or_pictures, self.fit.item_counts
        return rows_by_neighbours(weights, by_target, counts, kept_entries(self.fit.n_items))

    def of_histories(self, model: FactorModel) -> FactorModel:
        """The model that projects histories, whichever items these may hold."""
        if not self.knows_cold_histories:
            return model
        factors = self.with_content_or_pictures(model, model.factors)
        projection = model.projection
        if projection is not None:
            projection = self.with_content_or_pictures(model, projection)
        return ready_to_ship(replace(model, factors=factors, projection=projection))

    def with_content(self, model: FactorModel, vectors: Float32) -> Float32:
        """Item vectors in which content neighbours stand in for items without interactions.

        Where the model's factors know attributes, those of the run have vectors of their own.
        """
        if self.fit.config.features.items is None:
            return vectors
        return self._represented(vectors, self._stand_ins(model, self._by_content))

    def with_content_or_pictures(self, model: FactorModel, vectors: Float32) -> Float32:
        """The same of vectors that do not know pictures: what these tell stands in for content."""
        if self.fit.config.features.items is None:
            return vectors
        return self._represented(vectors, self._stand_ins(model, self._by_content_or_pictures))

    def with_pictures(self, vectors: Float32) -> Float32:
        """Content vectors, in which neighbours by pictures stand in for missing content."""
        return self._represented(vectors, self._by_pictures)

    def _represented(self, vectors: Float32, by_target: ItemWeights | None) -> Float32:
        if by_target is None:
            return vectors
        return represent_by_neighbours(vectors, by_target, self.fit.item_counts)

    def _stand_ins(self, model: FactorModel, by_target: ItemWeights) -> ItemWeights | None:
        """The neighbours, by target, of the items that the model does not know."""
        if not model.knows_attributes:
            return by_target
        return None if self.fit.later is None else self.fit.later.by_target

    @cached_property
    def _by_content(self) -> ItemWeights:
        """The content neighbours of all items, by target."""
        return transpose(self.fit.item_weights(_CONTENT))

    @cached_property
    def _by_content_or_pictures(self) -> ItemWeights:
        if self._by_pictures is None:
            return self._by_content
        both = self._by_content.to_scipy() + self._by_pictures.to_scipy()
        return item_weights_from_scipy(both)

    @cached_property
    def _by_pictures(self) -> ItemWeights | None:
        """The neighbours, by target, of items of which pictures alone are known: those that the
        first towers place nearest. None where there are no such items or towers.
        """
        fit = self.fit
        targets = np.flatnonzero(fit.item_evidence == PICTURES_ALONE)
        trained = {row["name"] for row in fit.models_of("towers")}
        name = next((one for one in fit.config.towers.inputs if one in trained), None)
        if not len(targets) or name is None:
            return None
        settings = fit.settings.neighbours.content
        directions = self.embeddings(name)[:, : -self.towers(name).popularity_width]
        return neighbours_by_vectors(
            directions, targets, fit.item_counts, settings.candidates, settings.regularisation
        )

    def towers(self, name: str) -> TowerEncoder | BaggedTowers:
        """The towers on sets of a name."""
        if name not in self._towers:
            fit = self.fit
            artifact = load_towers(fit.saved_artifact("towers", name))
            if fit.later is not None and artifact.reads_pictures:
                # It imports torch, which only these towers need.
                from m6rec.towers.later_pictures import with_later_pictures  # noqa: PLC0415

                artifact = with_later_pictures(artifact, fit.later_pictures)
            towers = artifact.encoder(self.factors(fit.config.towers.factors_of(name)))
            assert isinstance(towers, TowerEncoder | BaggedTowers)
            self._towers[name] = towers
        return self._towers[name]

    def embeddings(self, name: str) -> Float32:
        """The embeddings of all items by the towers of a name, without their neighbours."""
        features = self.fit.item_matrix(c.FEATURES)
        return self.towers(name).encode_items(features if features.shape[1] else None)
