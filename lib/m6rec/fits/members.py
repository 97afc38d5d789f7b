"""What a fit has learned, read back from its tables as the members of the hybrid."""

from collections.abc import Callable, Sequence

import numpy as np
from pyspark.sql import DataFrame

from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.fits.fit import item_count, read_item_counts, unlisted_items
from m6rec.fits.models import read_model, with_chosen_settings
from m6rec.kernels.arrays.rows import Float32, Int64
from m6rec.kernels.factors.projection import FactorModel
from m6rec.kernels.neighbours.content import unit_rows
from m6rec.kernels.neighbours.content_neighbours import represent_by_neighbours
from m6rec.kernels.neighbours.item_neighbours import ItemWeights, transpose
from m6rec.kernels.neighbours.user_neighbours import user_neighbour_search
from m6rec.kernels.ranking.blending import Blend, Candidates
from m6rec.kernels.ranking.members import (
    ContentUserEncoder,
    DirectionEncoder,
    DotMember,
    FactorEncoder,
    GivenEncoder,
    HistoryMember,
    Member,
    UserNeighboursMember,
    popularity_member,
)
from m6rec.kernels.ranking.scoring import ExpandedHistoryMember
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import FUSION, HYBRID, MLLIB_ALS
from m6rec.stages.features.images import image_array
from m6rec.stages.features.reading import item_matrix, read_content_encoder
from m6rec.stages.pairs.matrix import sample_users, target_rows
from m6rec.stages.ranking.candidates import collect_candidates
from m6rec.stages.ranking.lists import make_scoring, user_inputs
from m6rec.stages.training.factor_models import model_from_frame
from m6rec.stages.training.item_weights import item_weights_from_frame
from m6rec.stages.training.neighbours import candidate_users
from m6rec.towers.artifact import load_towers
from m6rec.towers.encoder import TowerUserEncoder

_TOWERS = "towers_"


def read_factor_model(lakehouse: Lakehouse, fit: str, method: str, counts: Int64) -> FactorModel:
    """A factor model from `item_factors` and its row of `models`.

    Args:
        lakehouse: the tables of the run.
        fit: `selection` or `final`.
        method: svd, als or mllib_als.
        counts: int64 [items]: interactions of each item in the fit.
    """
    parameters = read_model(lakehouse, fit, "factors", method)
    frame = lakehouse.read("item_factors", fit=fit, method=method)
    return model_from_frame(frame, parameters, counts)


def member_names(ranker: str, config: Config) -> tuple[str, ...]:
    """The members that a ranker's name stands for."""
    if ranker == FUSION:
        return tuple(f"{_TOWERS}{method}" for method in config.towers.inputs)
    if ranker == HYBRID:
        return tuple(
            name for member in config.hybrid_members for name in member_names(member, config)
        )
    return (ranker,)


def read_blends(
    lakehouse: Lakehouse, config: Config, rankers: tuple[str, ...]
) -> tuple[Blend, ...]:
    """The rankers as weighted sums of members; only `hybrid` has weights of its own.

    The hybrid's weights are those of the selection fit: they serve the final fit unchanged.
    """
    return tuple(
        _hybrid_blend(lakehouse) if ranker == HYBRID else _plain_blend(ranker, config)
        for ranker in rankers
    )


def read_members(
    lakehouse: Lakehouse, config: Config, fit: str, names: tuple[str, ...]
) -> dict[str, Member]:
    """The named members of a fit, in the order of the names."""
    reader = _MemberReader(lakehouse, config, fit)
    return {name: reader.read(name) for name in dict.fromkeys(names)}


def member_inputs(
    lakehouse: Lakehouse, fit: str, names: Sequence[str], excluded_pairs: DataFrame | None = None
) -> DataFrame:
    """What the named members score users by: the rows of `ranking.user_inputs`.

    Tables that no member looks at are not opened, which takes the driver half a second each.
    """
    described = any(name == "content" or name.startswith(_TOWERS) for name in names)
    # Only MLlib's user factors are not projections.
    given = {}
    if MLLIB_ALS in names:
        given[MLLIB_ALS] = lakehouse.read("user_factors", fit=fit, method=MLLIB_ALS)
    return user_inputs(
        lakehouse.read("user_item_matrix", fit=fit),
        lakehouse.read("user_features", fit=fit) if described else None,
        given,
        excluded_pairs,
    )


def _plain_blend(ranker: str, config: Config) -> Blend:
    members = member_names(ranker, config)
    ones = (1.0,) * len(members)
    return Blend(ranker, members, ones, ones)


def _hybrid_blend(lakehouse: Lakehouse) -> Blend:
    chosen = read_model(lakehouse, c.SELECTION, HYBRID, HYBRID)
    return Blend(
        HYBRID,
        tuple(chosen["members"]),
        tuple(chosen["weights"]),
        tuple(chosen["deviations"]),
        tuple(map(tuple, chosen["item_factors"])),
        tuple(map(tuple, chosen["user_factors"])),
    )


class _MemberReader:
    """Reads members of one fit; what several of them need is read once."""

    def __init__(self, lakehouse: Lakehouse, config: Config, fit: str) -> None:
        self._lakehouse = lakehouse
        self._config = with_chosen_settings(lakehouse, config)
        self._fit = fit
        self._n_items = item_count(lakehouse)
        self._factor_models: dict[str, FactorModel] = {}
        self._weights: dict[str, ItemWeights] = {}
        self._content_by_target: ItemWeights | None = None
        self._counts = read_item_counts(lakehouse, fit)

    def read(self, name: str) -> Member:
        if name.startswith(_TOWERS):
            return self._towers(name, name.removeprefix(_TOWERS))
        scale = self._config.neighbours.recency_scale
        readers: dict[str, Callable[[], Member]] = {
            "svd": lambda: self._factors("svd", projected=True),
            "als": lambda: self._factors("als", projected=True),
            "als_cosine": self._als_cosine,
            MLLIB_ALS: lambda: self._factors(MLLIB_ALS, projected=False),
            "ridge": lambda: self._history(name, "ridge", None),
            "recent_ridge": lambda: self._history(name, "ridge", scale),
            "item_neighbours": lambda: self._history(name, "item_neighbours", None),
            "recent_item_neighbours": lambda: self._history(name, "item_neighbours", scale),
            "user_neighbours": self._user_neighbours,
            "content": self._content,
            "content_neighbours": self._content_neighbours,
            "popularity": lambda: popularity_member(self._counts),
        }
        return readers[name]()

    def _matrix(self) -> DataFrame:
        return self._lakehouse.read("user_item_matrix", fit=self._fit)

    def _features(self) -> DataFrame:
        return self._lakehouse.read("item_features", fit=self._fit)

    def _towers(self, name: str, method: str) -> Member:
        parameters = read_model(self._lakehouse, self._fit, "towers", method)
        towers = load_towers(parameters["artifact"]).encoder(self._factor_model(method))
        features = item_matrix(self._features(), c.FEATURES, self._n_items)
        images = None
        if self._lakehouse.exists("item_images"):
            images = image_array(self._lakehouse.read("item_images"), self._n_items)
        vectors = towers.encode_items(features if features.shape[1] else None, images)
        # The last coordinate is the item's own popularity, which no neighbour lends.
        directions = self._with_content(self._factor_model(method), vectors[:, :-1])
        represented = np.hstack([directions, vectors[:, -1:]])
        return DotMember(name, TowerUserEncoder(towers), represented)

    def _factors(self, name: str, projected: bool) -> Member:
        model = self._factor_model(name)
        vectors = model.scored_factors
        if not projected:
            return DotMember(name, GivenEncoder(name), vectors)
        return DotMember(name, FactorEncoder(model), self._with_content(model, vectors))

    def _als_cosine(self) -> Member:
        """Without the length by which a factor tells of popularity, which the new have not yet."""
        model = self._factor_model("als")
        vectors = self._with_content(model, model.scored_factors)
        return DotMember("als_cosine", DirectionEncoder(model), unit_rows(vectors))

    def _with_content(self, model: FactorModel, vectors: Float32) -> Float32:
        """Item vectors in which content neighbours speak for items without interactions.

        Where the model's factors know attributes, those items have vectors of their own.
        """
        if self._config.features.items is None or model.knows_attributes:
            return vectors
        if self._content_by_target is None:
            self._content_by_target = transpose(self._item_weights("content_neighbours"))
        return represent_by_neighbours(vectors, self._content_by_target, self._counts)

    def _content_neighbours(self) -> Member:
        settings = self._config.neighbours.content
        return ExpandedHistoryMember(
            "content_neighbours",
            self._item_weights("content_neighbours"),
            HistoryMember("ridge", self._item_weights("ridge")),
            settings.expansion,
            settings.expanded,
        )

    def _history(self, name: str, method: str, recency_scale: float | None) -> Member:
        return HistoryMember(name, self._item_weights(method), "square_root", recency_scale)

    def _factor_model(self, method: str) -> FactorModel:
        if method not in self._factor_models:
            self._factor_models[method] = read_factor_model(
                self._lakehouse, self._fit, method, self._counts
            )
        return self._factor_models[method]

    def _item_weights(self, method: str) -> ItemWeights:
        if method not in self._weights:
            frame = self._lakehouse.read("item_neighbours", fit=self._fit, method=method)
            self._weights[method] = item_weights_from_frame(frame, self._n_items)
        return self._weights[method]

    def _user_neighbours(self) -> Member:
        settings = self._config.neighbours
        candidates = candidate_users(self._matrix(), settings, self._config.seed)
        return UserNeighboursMember(
            user_neighbour_search(
                candidates, self._n_items, settings.user_neighbours, settings.item_exponent
            )
        )

    def _content(self) -> Member:
        content = item_matrix(self._features(), c.CONTENT, self._n_items)
        users = self._lakehouse.read("user_features", fit=self._fit)
        encoder = read_content_encoder(self._matrix(), users, content)
        return DotMember("content", ContentUserEncoder(encoder), content)


def validation_candidates(
    lakehouse: Lakehouse, config: Config, names: tuple[str, ...]
) -> tuple[Candidates, dict[str, float]]:
    """What the named members of the selection fit offer a sample of validation users.

    Returns:
        The candidates, members in the order of the names, and the deviation of each member.
    """
    item_counts = read_item_counts(lakehouse, c.SELECTION)
    scoring = make_scoring(
        read_members(lakehouse, config, c.SELECTION, names),
        tuple(Blend(name, (name,), (1.0,), (1.0,)) for name in names),
        item_counts,
        masked_items=unlisted_items(lakehouse, config, c.SELECTION),
        mask_seen=True,
        n=config.hybrid.candidates_per_member,
    )
    targets = target_rows(lakehouse.read("splits"), c.VALIDATION)
    sample = sample_users(targets, config.hybrid.maximum_users, config.seed)
    users = member_inputs(lakehouse, c.SELECTION, names)
    return collect_candidates(users, sample, scoring)
