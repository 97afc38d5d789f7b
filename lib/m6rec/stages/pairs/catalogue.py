"""The catalogue of a run: which items may be listed, and the words for them."""

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
    """Outside ids, titles and attributes of all items, by item index."""

    item_ids: Strings
    titles: Strings
    attributes: ItemAttributes
    attribute_names: Strings


def forbidden_items(
    catalogue: DataFrame,
    n_items: int,
    allowed: DataFrame | None = None,
    excluded: DataFrame | None = None,
) -> npt.NDArray[np.bool_]:
    """bool [n_items]: items outside the catalogue or the allowed ones, and the excluded ones.

    Args:
        catalogue: columns item_index, item_id.
        n_items: number of dense item indices.
        allowed: column item_id; only these may be listed, where given.
        excluded: column item_id; these may not.
    """
    items = catalogue.select(c.ITEM_INDEX, c.ITEM_ID)
    if allowed is not None:
        items = items.join(_ids(allowed), c.ITEM_ID, how="left_semi")
    if excluded is not None:
        items = items.join(_ids(excluded), c.ITEM_ID, how="left_anti")
    listed = items.select(c.ITEM_INDEX).toArrow().column(0).to_numpy()
    forbidden = np.ones(n_items, dtype=np.bool_)
    forbidden[listed] = False
    return forbidden


def catalogue_words(catalogue: DataFrame, item_features: DataFrame, n_items: int) -> CatalogueWords:
    """Collect ids, titles and attributes.

    Args:
        catalogue: columns item_index, item_id, title.
        item_features: columns item_index, attributes.
        n_items: number of dense item indices.
    """
    ids, titles = [""] * n_items, [""] * n_items
    words = catalogue.select(c.ITEM_INDEX, c.ITEM_ID, "title").toArrow().to_pydict()
    for item, item_id, title in zip(*words.values(), strict=True):
        ids[item], titles[item] = item_id, title or ""
    attributes: list[list[str]] = [[] for _ in range(n_items)]
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
