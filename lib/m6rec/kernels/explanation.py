"""Why an item is in a user's list: which of the user's own items and which attributes speak for it.

Evidence of a history item h for item j is w_uh max(B_hj, 0), with B the item-item weights.
Evidence of an attribute a of item j is p(a | history) log(p(a | history) / p(a | catalogue)): how
often the user's items have it, where that is more often than items in general.
"""

from dataclasses import dataclass

import numpy as np

from m6rec.kernels.item_neighbours import ItemWeights
from m6rec.kernels.rows import Float32, Float64, Int32, Int64

HISTORY = "history"
ATTRIBUTE = "attribute"
POPULAR = "popular"
POPULAR_WITH_ALL = "popular with all users"
MODEL = "model"
TASTE_OF_ALL = "the taste that your whole history shows"


@dataclass(frozen=True)
class ItemAttributes:
    """The attributes of items as a sparse binary matrix.

    Attributes:
        offsets: int64 [items + 1] into attribute_indices.
        attribute_indices: int32.
        shares: float64 [attributes]: share of the items that have each.
    """

    offsets: Int64
    attribute_indices: Int32
    shares: Float64


@dataclass(frozen=True)
class Evidence:
    """One reason: its kind, the index of the item or attribute, and its share of its kind."""

    kind: str
    index: int
    share: float


def item_attributes(lists: list[list[int]], n_attributes: int) -> ItemAttributes:
    """Attribute indices of each item, as one sparse matrix."""
    offsets = np.cumsum([0] + [len(one) for one in lists]).astype(np.int64)
    flat = np.array([a for one in lists for a in one], dtype=np.int32)
    shares = np.bincount(flat, minlength=n_attributes) / max(len(lists), 1)
    return ItemAttributes(offsets, flat, shares)


def history_evidence(
    weights: ItemWeights, history: Int32, history_weights: Float32, item: int
) -> Float64:
    """float64 [history]: each history item's evidence for `item`."""
    evidence = np.zeros(len(history))
    for position, history_item in enumerate(history):
        low, high = weights.offsets[history_item], weights.offsets[history_item + 1]
        found = low + np.searchsorted(weights.neighbour_indices[low:high], item)
        if found < high and weights.neighbour_indices[found] == item:
            evidence[position] = history_weights[position] * max(weights.weights[found], 0.0)
    return evidence


def attribute_profile(attributes: ItemAttributes, history: Int32) -> Float64:
    """float64 [attributes]: evidence of each attribute for items that have it."""
    counts = np.zeros(len(attributes.shares))
    for item in history:
        low, high = attributes.offsets[item], attributes.offsets[item + 1]
        counts[attributes.attribute_indices[low:high]] += 1.0
    own = counts / max(len(history), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        evidence = own * np.log(own / attributes.shares)
    return np.where(own > attributes.shares, evidence, 0.0)


def explain(
    weights: ItemWeights,
    attributes: ItemAttributes,
    profile: Float64,
    history: Int32,
    history_weights: Float32,
    item: int,
    limit: int,
) -> list[Evidence]:
    """At most `limit` reasons for one item: history items first, one place kept for an attribute.

    Without any evidence the list holds one reason of kind `popular` for a user without history
    and of kind `model` otherwise.
    """
    if limit == 0:
        return []
    own = history_evidence(weights, history, history_weights, item)
    low, high = attributes.offsets[item], attributes.offsets[item + 1]
    its_attributes = attributes.attribute_indices[low:high]
    by_attribute = _strongest(ATTRIBUTE, its_attributes, profile[its_attributes], 1)
    by_history = _strongest(HISTORY, history, own, limit - min(len(by_attribute), limit - 1))
    found = (by_history + by_attribute)[:limit]
    if found:
        return found
    return [Evidence(POPULAR if len(history) == 0 else MODEL, -1, 1.0)]


def _strongest(kind: str, indices: Int32, evidence: Float64, limit: int) -> list[Evidence]:
    total = evidence.sum()
    if total <= 0.0:
        return []
    order = np.lexsort((indices, -evidence))[:limit]
    return [
        Evidence(kind, int(indices[position]), float(evidence[position] / total))
        for position in order
        if evidence[position] > 0.0
    ]
