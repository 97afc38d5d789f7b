"""The members of the hybrid, read back from the tables of a fit.

MEMBERS has a function for each ranker of `rankers.py` that scores by itself: from the fit's tables
to a member of `kernels/ranking`. The others are blends of members.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
from pyspark.sql import DataFrame

from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.fits.fit import Fit
from m6rec.fits.fit_models import FitModels
from m6rec.kernels.arrays.domains import Domain
from m6rec.kernels.neighbours.content import unit_rows
from m6rec.kernels.neighbours.user_neighbours import user_neighbour_search
from m6rec.kernels.ranking.blending import BINS, Blend, Factors
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
from m6rec.stages.training.neighbours import candidate_users
from m6rec.towers.artifact import load_towers


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
    models = FitModels(fit, knows_cold_histories)
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


def _towers(models: FitModels, ranker: Ranker) -> Member:
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


def _sequence_towers(models: FitModels, ranker: Ranker) -> Member:
    fit = models.fit
    model = models.factors(fit.config.towers.sequence.factors)
    towers = load_towers(fit.saved_artifact("towers", _model_of(ranker))).encoder(model)
    features = fit.item_matrix(c.FEATURES)
    vectors = models.with_content(
        model, towers.encode_items(features if features.shape[1] else None)
    )
    return DotMember(ranker.name, towers.user_encoder(vectors), vectors)


def _projected_factors(models: FitModels, ranker: Ranker) -> Member:
    model = models.factors(_model_of(ranker))
    vectors = models.with_content_or_pictures(model, model.scored_factors)
    return DotMember(ranker.name, FactorEncoder(models.of_histories(model)), vectors)


def _factor_directions(models: FitModels, ranker: Ranker) -> Member:
    """The length of a factor tells of popularity, which new items do not have yet."""
    model = models.factors(_model_of(ranker))
    vectors = models.with_content_or_pictures(model, model.scored_factors)
    return DotMember(ranker.name, DirectionEncoder(models.of_histories(model)), unit_rows(vectors))


def _given_factors(models: FitModels, ranker: Ranker) -> Member:
    vectors = models.factors(_model_of(ranker)).scored_factors
    return DotMember(ranker.name, GivenEncoder(ranker.name, vectors.shape[1]), vectors)


def _own_factors(models: FitModels, ranker: Ranker) -> OwnMembers:
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


def _history(models: FitModels, ranker: Ranker) -> Member:
    return HistoryMember(ranker.name, models.item_weights(_model_of(ranker)), "square_root")


def _recent_history(models: FitModels, ranker: Ranker) -> Member:
    scale = models.fit.settings.neighbours.recency_scale
    weights = models.item_weights(_model_of(ranker))
    return HistoryMember(ranker.name, weights, "square_root", scale)


def _transitions(models: FitModels, ranker: Ranker) -> Member:
    scale = models.fit.settings.neighbours.transitions.recency_scale
    weights = models.item_weights(_model_of(ranker))
    return HistoryMember(ranker.name, weights, recency_scale=scale)


def _repeats(models: FitModels, _: Ranker) -> Member:
    settings = models.fit.settings
    # Without times all items of a history are equally recent.
    timed = settings.interactions.columns.time is not None
    scale = settings.neighbours.recency_scale if timed else None
    return repeats_member(models.fit.n_items, scale)


def _user_neighbours(models: FitModels, ranker: Ranker) -> Member:
    fit, settings = models.fit, models.fit.settings.neighbours
    candidates = candidate_users(fit.matrix, settings, fit.config.seed)
    search = user_neighbour_search(
        candidates, fit.n_items, settings.user_neighbours, settings.item_exponent
    )
    return UserNeighboursMember(search, ranker.name)


def _content(models: FitModels, ranker: Ranker) -> Member:
    fit = models.fit
    content = fit.item_matrix(c.CONTENT)
    encoder = read_content_encoder(fit.matrix, fit.user_features, content)
    return DotMember(ranker.name, ContentUserEncoder(encoder), models.with_pictures(content))


def _content_neighbours(models: FitModels, ranker: Ranker) -> Member:
    settings = models.fit.settings.neighbours.content
    return ExpandedHistoryMember(
        ranker.name,
        models.item_weights(_model_of(ranker)),
        HistoryMember("ridge", models.item_weights("ridge")),
        settings.expansion,
        settings.expanded,
    )


def _popularity(models: FitModels, _: Ranker) -> Member:
    return popularity_member(models.fit.item_counts)


def _model_of(ranker: Ranker) -> str:
    assert ranker.model is not None
    return ranker.model


MEMBERS: Mapping[str, Callable[[FitModels, Ranker], Member | OwnMembers]] = {
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
