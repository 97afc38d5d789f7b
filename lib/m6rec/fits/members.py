"""The members of the hybrid, read back from the tables of a fit.

MEMBERS has a function for each ranker of `rankers.py` that scores by itself: from the fit's tables
to a member of `kernels/ranking`. The others are blends of members.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np
from pyspark.sql import DataFrame

from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.fits.fit import Fit
from m6rec.kernels.arrays.domains import Domain
from m6rec.kernels.arrays.rows import Float32
from m6rec.kernels.factors.projection import FactorModel, ready_to_ship
from m6rec.kernels.neighbours.content import unit_rows
from m6rec.kernels.neighbours.content_neighbours import (
    neighbours_by_vectors,
    represent_by_neighbours,
    rows_by_neighbours,
)
from m6rec.kernels.neighbours.item_neighbours import ItemWeights, item_weights_from_scipy, transpose
from m6rec.kernels.neighbours.user_neighbours import user_neighbour_search
from m6rec.kernels.ranking.blending import BINS, PICTURES_ALONE, Blend, Factors
from m6rec.kernels.ranking.expanded_history import ExpandedHistoryMember
from m6rec.kernels.ranking.members import (
    ContentUserEncoder,
    DirectionEncoder,
    DotMember,
    FactorEncoder,
    GivenEncoder,
    HistoryMember,
    Member,
    OwnMembers,
    OwnRowsEncoder,
    UserNeighboursMember,
    popularity_member,
    repeats_member,
)
from m6rec.kernels.ranking.reranking import Reranking
from m6rec.rankers import (
    FUSION,
    HYBRID,
    POPULARITY,
    RANKERS,
    REPEATS,
    TRANSITIONS,
    Ranker,
    ranker_named,
)
from m6rec.stages.features.reading import read_content_encoder
from m6rec.stages.ranking.lists import Scoring, make_scoring, user_inputs
from m6rec.stages.training.domains import own_factor_models
from m6rec.stages.training.neighbours import candidate_users, kept_entries
from m6rec.towers.artifact import load_towers
from m6rec.towers.bagging import BaggedTowers
from m6rec.towers.encoder import TowerEncoder


def member_names(ranker: str, config: Config) -> tuple[str, ...]:
    """The names of the members whose scores a ranker adds up."""
    if ranker == FUSION:
        return tuple(pair_of_towers(model) for model in config.trained_towers)
    if ranker == HYBRID:
        return tuple(
            name for member in config.hybrid_members for name in member_names(member, config)
        )
    return (ranker,)


def member_names_of(rankers: Iterable[str], config: Config) -> tuple[str, ...]:
    """The names of the members of several rankers, each once."""
    return tuple(dict.fromkeys(name for one in rankers for name in member_names(one, config)))


def read_members(
    fit: Fit, names: Iterable[str], knows_cold_histories: bool = False
) -> dict[str, Member | OwnMembers]:
    """The named members of a fit, in the order of the names.

    Args:
        fit: the fit.
        names: of the members.
        knows_cold_histories: whether histories may hold items without interactions in the fit, for
            which their content neighbours then stand in. Those of the fit itself hold none.
    """
    models = _Models(fit, knows_cold_histories)
    return {name: MEMBERS[name](models, ranker_named(name)) for name in dict.fromkeys(names)}


def read_blends(
    fit: Fit, rankers: Iterable[str], domain: Domain | None = None
) -> tuple[Blend, ...]:
    """The rankers as weighted sums of members, in a domain if one is given.

    Weights that were chosen on validation are those of the selection fit: they serve the final fit
    unchanged.
    """
    return tuple(
        _chosen_blend(fit.other(c.SELECTION), ranker, domain)
        if ranker == HYBRID or (ranker == FUSION and weighs_fusion(fit.config))
        else equal_weights(ranker, member_names(ranker, fit.config))
        for ranker in rankers
    )


def weighs_fusion(config: Config) -> bool:
    """Whether the weights of the towers in `fusion` are chosen on validation.

    Towers on sets resemble each other and get equal weights. Towers on order differ from them, so
    that with these the weights are chosen.
    """
    return config.has_order and FUSION in config.hybrid_members


def member_inputs(
    fit: Fit, names: Iterable[str], excluded_pairs: DataFrame | None = None
) -> DataFrame:
    """What the named members score users by: the rows of `user_inputs`.

    Tables that no member looks at are not opened, which takes the driver half a second each.
    """
    rankers = [ranker_named(name) for name in names]
    described = any("features" in ranker.user_inputs for ranker in rankers)
    given = {
        ranker.name: fit.lakehouse.read("user_factors", fit=fit.name, method=ranker.model or "")
        for ranker in rankers
        if "factors" in ranker.user_inputs
    }
    features = fit.user_features if described else None
    return user_inputs(fit.matrix, features, given, excluded_pairs)


def measured_scoring(
    fit: Fit,
    members: Mapping[str, Member | OwnMembers],
    blends: tuple[Blend, ...],
    n: int,
    domain: Domain | None,
    reranking: Reranking | None = None,
) -> Scoring:
    """The blends, ready for lists of n items that are measured and not published."""
    return make_scoring(
        members,
        blends,
        fit.item_evidence,
        masked_items=fit.masked_items,
        mask_seen=not fit.config.ranks_repeats,
        n=n,
        mask_disliked=fit.config.recommend.rules.masks_disliked,
        reranking=reranking,
        domain=domain,
    )


def pair_of_towers(model: str) -> str:
    """The name of the ranker whose model is this pair of towers."""
    return next(
        ranker.name for ranker in RANKERS if ranker.role == "part" and ranker.model == model
    )


def equal_weights(name: str, members: tuple[str, ...]) -> Blend:
    """The blend in which all members count alike."""
    ones = (1.0,) * len(members)
    return Blend(name, members, ones, ones)


def _chosen_blend(fit: Fit, ranker: str, domain: Domain | None) -> Blend:
    chosen = fit.model(ranker, ranker)
    weights = chosen["weights"]
    if domain is not None:
        weights = chosen.get("domains", {}).get(domain.name, weights)
    return Blend(
        ranker,
        tuple(chosen["members"]),
        tuple(weights),
        tuple(chosen["deviations"]),
        _of_all_bins(chosen["item_factors"]),
        _of_all_bins(chosen["user_factors"]),
    )


def _of_all_bins(factors: list[list[float]]) -> Factors:
    """Factors by evidence; an earlier release had one for all items without interactions."""
    return tuple((*own, *own[:1] * (BINS - len(own))) for own in factors)


class _Models:
    """The models of one fit while its members are read; what several of them need is read once."""

    def __init__(self, fit: Fit, knows_cold_histories: bool = False) -> None:
        self.fit = fit
        self.knows_cold_histories = knows_cold_histories
        self._factor_models: dict[str, FactorModel] = {}
        self._item_weights: dict[str, ItemWeights] = {}
        self._towers: dict[str, TowerEncoder | BaggedTowers] = {}

    def factors(self, method: str) -> FactorModel:
        if method not in self._factor_models:
            self._factor_models[method] = self.fit.factor_model(method)
        return self._factor_models[method]

    def item_weights(self, method: str) -> ItemWeights:
        if method not in self._item_weights:
            weights = self.fit.item_weights(method)
            if method == "content_neighbours" and self._by_pictures is not None:
                weights = transpose(self._by_content_or_pictures)
            self._item_weights[method] = weights
        return self._item_weights[method]

    def history_weights(self, method: str) -> ItemWeights:
        """Item-item weights by history item, whichever items histories may hold."""
        weights = self.item_weights(method)
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
        return (
            vectors if self._by_pictures is None else self._represented(vectors, self._by_pictures)
        )

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
        return transpose(self.fit.item_weights("content_neighbours"))

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


def _towers(models: _Models, ranker: Ranker) -> Member:
    fit = models.fit
    model = models.factors(fit.config.towers.factors_of(_model_of(ranker)))
    towers, vectors = models.towers(_model_of(ranker)), models.embeddings(_model_of(ranker))
    # The last coordinates are the item's own popularity, which must not come from neighbours.
    own, popularity = np.split(vectors, [vectors.shape[1] - towers.popularity_width], axis=1)
    directions = models.with_content(model, own)
    if towers.seen_items is not None:
        # Neighbours by content are found without the pictures, which the towers have read. So an
        # item with pictures gets the mean of its own vector and that of its neighbours.
        lent = (directions != own).any(axis=1)
        halfway = (lent & towers.seen_items)[:, None]
        directions = np.where(halfway, (directions + own) / 2, directions)
    represented = np.hstack([directions, popularity])
    of_users = replace(towers, factor_model=models.of_histories(model))
    return DotMember(ranker.name, of_users.user_encoder(represented), represented)


def _sequence_towers(models: _Models, ranker: Ranker) -> Member:
    fit = models.fit
    model = models.factors(fit.config.towers.sequence.factors)
    towers = load_towers(fit.saved_artifact("towers", _model_of(ranker))).encoder(model)
    features = fit.item_matrix(c.FEATURES)
    vectors = models.with_content(
        model, towers.encode_items(features if features.shape[1] else None)
    )
    return DotMember(ranker.name, towers.user_encoder(vectors), vectors)


def _projected_factors(models: _Models, ranker: Ranker) -> Member:
    model = models.factors(_model_of(ranker))
    vectors = models.with_content_or_pictures(model, model.scored_factors)
    return DotMember(ranker.name, FactorEncoder(models.of_histories(model)), vectors)


def _factor_directions(models: _Models, ranker: Ranker) -> Member:
    """The length of a factor tells of popularity, which new items do not have yet."""
    model = models.factors(_model_of(ranker))
    vectors = models.with_content_or_pictures(model, model.scored_factors)
    return DotMember(ranker.name, DirectionEncoder(models.of_histories(model)), unit_rows(vectors))


def _given_factors(models: _Models, ranker: Ranker) -> Member:
    vectors = models.factors(_model_of(ranker)).scored_factors
    return DotMember(ranker.name, GivenEncoder(ranker.name, vectors.shape[1]), vectors)


def _own_factors(models: _Models, ranker: Ranker) -> OwnMembers:
    fit, method = models.fit, _model_of(ranker)
    own = own_factor_models(
        fit.item_factors(method),
        fit.model("factors", method),
        fit.item_counts,
        fit.domains,
    )
    return OwnMembers(
        ranker.name,
        {
            domain.name: DotMember(
                ranker.name,
                OwnRowsEncoder(own[domain.name], domain),
                own[domain.name].scored_factors,
            )
            for domain in fit.domains
        },
    )


def _history(models: _Models, ranker: Ranker) -> Member:
    return HistoryMember(ranker.name, models.history_weights(_model_of(ranker)), "square_root")


def _recent_history(models: _Models, ranker: Ranker) -> Member:
    scale = models.fit.settings.neighbours.recency_scale
    weights = models.history_weights(_model_of(ranker))
    return HistoryMember(ranker.name, weights, "square_root", scale)


def _transitions(models: _Models, ranker: Ranker) -> Member:
    scale = models.fit.settings.neighbours.transitions.recency_scale
    weights = models.history_weights(_model_of(ranker))
    return HistoryMember(ranker.name, weights, recency_scale=scale)


def _repeats(models: _Models, _: Ranker) -> Member:
    settings = models.fit.settings
    # Without times all items of a history are equally recent.
    timed = settings.interactions.columns.time is not None
    scale = settings.neighbours.recency_scale if timed else None
    return repeats_member(models.fit.n_items, scale)


def _user_neighbours(models: _Models, ranker: Ranker) -> Member:
    fit, settings = models.fit, models.fit.settings.neighbours
    candidates = candidate_users(fit.matrix, settings, fit.config.seed)
    search = user_neighbour_search(
        candidates, fit.n_items, settings.user_neighbours, settings.item_exponent
    )
    return UserNeighboursMember(search, ranker.name)


def _content(models: _Models, ranker: Ranker) -> Member:
    fit = models.fit
    content = fit.item_matrix(c.CONTENT)
    encoder = read_content_encoder(fit.matrix, fit.user_features, content)
    return DotMember(ranker.name, ContentUserEncoder(encoder), models.with_pictures(content))


def _content_neighbours(models: _Models, ranker: Ranker) -> Member:
    settings = models.fit.settings.neighbours.content
    return ExpandedHistoryMember(
        ranker.name,
        models.history_weights(_model_of(ranker)),
        HistoryMember("ridge", models.history_weights("ridge")),
        settings.expansion,
        settings.expanded,
    )


def _popularity(models: _Models, _: Ranker) -> Member:
    return popularity_member(models.fit.item_counts)


def _model_of(ranker: Ranker) -> str:
    assert ranker.model is not None
    return ranker.model


MEMBERS: Mapping[str, Callable[[_Models, Ranker], Member | OwnMembers]] = {
    "towers_svd": _towers,
    "towers_als": _towers,
    "towers_sequence": _sequence_towers,
    "bagged_towers": _towers,
    "boosted_towers": _towers,
    "svd": _projected_factors,
    "als": _projected_factors,
    "als_cosine": _factor_directions,
    "own_als": _own_factors,
    "ridge": _history,
    "own_ridge": _history,
    "recent_ridge": _recent_history,
    "item_neighbours": _history,
    "recent_item_neighbours": _recent_history,
    TRANSITIONS: _transitions,
    REPEATS: _repeats,
    "user_neighbours": _user_neighbours,
    "content": _content,
    "content_neighbours": _content_neighbours,
    POPULARITY: _popularity,
    "mllib_als": _given_factors,
}
