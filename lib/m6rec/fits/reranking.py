"""Read by what lists are chosen and measured besides relevance: diversity, calibration, a quota."""

from dataclasses import dataclass

import numpy as np

from m6rec.fits.fit import Fit
from m6rec.fits.members import read_members
from m6rec.fits.sources import read_column_of_items
from m6rec.kernels.arrays.categories import ItemCategories, no_categories
from m6rec.kernels.arrays.likeness import ItemLikeness
from m6rec.kernels.neighbours.content import unit_rows
from m6rec.kernels.ranking.members import DotMember
from m6rec.kernels.ranking.reranking import Reranking
from m6rec.stages.features.categories import categories_of_items


@dataclass(frozen=True)
class ListCriteria:
    """The criteria, besides relevance, by which lists are chosen or measured.

    Attributes:
        likeness: of items, where diversity is asked for.
        categories: whose mix is calibrated, where calibration is asked for.
    """

    likeness: ItemLikeness | None
    categories: ItemCategories | None


def read_criteria(fit: Fit) -> ListCriteria:
    """The criteria that the configuration names; None for those that it does not."""
    settings = fit.config.recommend
    column = settings.calibration.column
    return ListCriteria(_likeness(fit), None if column is None else _categories(fit, column))


def read_reranking(fit: Fit, criteria: ListCriteria) -> Reranking | None:
    """How the lists of a fit are chosen from candidates; None where they are the best items."""
    settings = fit.config.recommend
    if not settings.reranks:
        return None
    nothing = no_categories(fit.n_items)
    limited = settings.rules.at_most
    return Reranking(
        candidates=settings.candidates,
        diversity=settings.diversity.strength,
        likeness=criteria.likeness or ItemLikeness(np.zeros((fit.n_items, 0), np.float32), nothing),
        calibration=0.0 if criteria.categories is None else settings.calibration.strength,
        categories=criteria.categories or nothing,
        at_most=0 if limited.column is None else limited.count,
        limited=nothing if limited.column is None else _categories(fit, limited.column),
    )


def reranking_of(fit: Fit) -> Reranking | None:
    """How the fit's lists are chosen from each user's best items, measured and published alike."""
    return read_reranking(fit, read_criteria(fit)) if fit.config.recommend.reranks else None


def _likeness(fit: Fit) -> ItemLikeness | None:
    diversity = fit.config.recommend.diversity
    if diversity.column is not None:
        no_vectors = np.zeros((fit.n_items, 0), np.float32)
        return ItemLikeness(no_vectors, _categories(fit, diversity.column))
    if diversity.strength == 0.0:
        return None
    factors = read_members(fit, ("als",))["als"]
    assert isinstance(factors, DotMember)
    return ItemLikeness(unit_rows(factors.item_vectors), no_categories(fit.n_items))


def _categories(fit: Fit, column: str) -> ItemCategories:
    items = fit.config.features.items
    assert items is not None
    interactions = fit.config.interactions
    frame = read_column_of_items(fit.spark, items, column, interactions)
    index = fit.lakehouse.read("item_index")
    return categories_of_items(frame, items, column, interactions, index, fit.n_items)
