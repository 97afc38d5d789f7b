"""Read the catalogue of a run: which of its items are masked, and the words for items."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.kernels.arrays.strings import Strings, pack_strings
from m6rec.kernels.ranking.explanation import ItemAttributes, item_attributes


@dataclass(frozen=True)
class CatalogueWords:
    """Outside ids, titles and attributes of all items, by item index.

    Attributes:
        item_ids, titles: a string for each item, empty where there is none.
        attributes: the attributes of each item.
        attribute_names: the words for attribute indices.
    """

    item_ids: Strings
    titles: Strings
    attributes: ItemAttributes
    attribute_names: Strings


def masked_by_rules(
    catalogue: DataFrame,
    n_items: int,
    allowed: DataFrame | None = None,
    excluded: DataFrame | None = None,
) -> npt.NDArray[np.bool_]:
    """bool [n_items]: items that no list may hold by the catalogue and the owner's rules.

    Args:
        catalogue: columns item_index, item_id; items outside it are masked.
        n_items: number of dense item indices.
        allowed: column item_id; where given, all other items are masked.
        excluded: column item_id; where given, these items are masked.
    """
    items = catalogue.select(c.ITEM_INDEX, c.ITEM_ID)
    if allowed is not None:
        items = items.join(_ids(allowed), c.ITEM_ID, how="left_semi")
    if excluded is not None:
        items = items.join(_ids(excluded), c.ITEM_ID, how="left_anti")
    listed = items.select(c.ITEM_INDEX).toArrow().column(0).to_numpy()
    masked_items = np.ones(n_items, dtype=np.bool_)
    masked_items[listed] = False
    return masked_items


def catalogue_words(
    catalogue: DataFrame, item_features: DataFrame | None, n_items: int
) -> CatalogueWords:
    """Collect the ids, titles and attributes of all items.

    Args:
        catalogue: columns item_index, item_id, title.
        item_features: columns item_index, attributes; None where there are none.
        n_items: number of dense item indices.
    """
    ids, titles = [""] * n_items, [""] * n_items
    words = catalogue.select(c.ITEM_INDEX, c.ITEM_ID, "title").toArrow().to_pydict()
    for item, item_id, title in zip(*words.values(), strict=True):
        ids[item], titles[item] = item_id, title or ""
    attributes: list[list[str]] = [[] for _ in range(n_items)]
    if item_features is not None:
        described = item_features.where(F.size(c.ATTRIBUTES) > 0)
        held = described.select(c.ITEM_INDEX, c.ATTRIBUTES).toArrow().to_pydict()
        for item, names_of_item in zip(*held.values(), strict=True):
            attributes[item] = names_of_item
    names = sorted({name for one in attributes for name in one})
    position = {name: index for index, name in enumerate(names)}
    indices = [[position[name] for name in one] for one in attributes]
    return CatalogueWords(
        pack_strings(ids),
        pack_strings(titles),
        item_attributes(indices, len(names)),
        pack_strings(names),
    )


def _ids(frame: DataFrame) -> DataFrame:
    return frame.select(F.col(c.ITEM_ID).cast("string").alias(c.ITEM_ID)).distinct()
