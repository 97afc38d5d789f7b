"""Read the catalogue of a run: which of its items are masked, and the words for items."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.check.ids import text_within
from m6rec.kernels.arrays.domains import Domain, domains_of
from m6rec.kernels.arrays.strings import Strings, pack_strings
from m6rec.kernels.ranking.explanation import ItemAttributes, item_attributes
from m6rec.spark.collecting import BYTES_OF_NUMBER, BYTES_OF_WORDS, collected_table
from m6rec.spark.values import id_within


@dataclass(frozen=True)
class CatalogueWords:
    """Outside ids, titles and attributes of all items, by item index.

    Attributes:
        item_ids, titles: a string for each item, empty where there is none.
        whole_ids: the ids with their domains before them, where there are domains.
        attributes: the attributes of each item.
        attribute_names: the words for attribute indices.
    """

    item_ids: Strings
    whole_ids: Strings
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
    found = collected_table(items.select(c.ITEM_INDEX), n_items * BYTES_OF_NUMBER)
    listed = found.column(0).to_numpy()
    masked_items = np.ones(n_items, dtype=np.bool_)
    masked_items[listed] = False
    return masked_items


def item_domains(catalogue: DataFrame, n_items: int) -> tuple[Domain, ...]:
    """The domains of the catalogue's items by ascending name.

    Args:
        catalogue: columns item_index, domain.
        n_items: number of dense item indices.
    """
    names: list[str | None] = [None] * n_items
    found = collected_table(catalogue.select(c.ITEM_INDEX, c.DOMAIN), n_items * BYTES_OF_WORDS)
    for item, name in zip(*found.to_pydict().values(), strict=True):
        names[item] = name
    return domains_of(names)


def by_domain(targets: DataFrame, catalogue: DataFrame) -> DataFrame:
    """Held-out items by user and domain: user_index, domain, item_indices.

    Args:
        targets: user_index, item_indices.
        catalogue: columns item_index, domain.
    """
    items = targets.select(
        c.USER_INDEX, F.explode(F.col(c.ITEM_INDICES).cast("array<long>")).alias(c.ITEM_INDEX)
    )
    domains = F.broadcast(catalogue.select(c.ITEM_INDEX, c.DOMAIN))
    listed = F.sort_array(F.collect_list(F.col(c.ITEM_INDEX).cast("int")))
    return (
        items.join(domains, c.ITEM_INDEX, how="inner")
        .groupBy(c.USER_INDEX, c.DOMAIN)
        .agg(listed.alias(c.ITEM_INDICES))
    )


def catalogue_words(
    catalogue: DataFrame, item_features: DataFrame | None, n_items: int
) -> CatalogueWords:
    """Collect the ids, titles and attributes of all items.

    Args:
        catalogue: columns item_index, item_id, title, domain.
        item_features: columns item_index, attributes; None where there are none.
        n_items: number of dense item indices.
    """
    ids, titles, domains = ([""] * n_items for _ in range(3))
    own = catalogue.select(c.ITEM_INDEX, owners_id().alias(c.ITEM_ID), "title", c.DOMAIN)
    words = collected_table(own, n_items * BYTES_OF_WORDS).to_pydict()
    for item, item_id, title, domain in zip(*words.values(), strict=True):
        ids[item], titles[item], domains[item] = item_id, title or "", domain or ""
    attributes: list[list[str]] = [[] for _ in range(n_items)]
    if item_features is not None:
        described = item_features.where(F.size(c.ATTRIBUTES) > 0)
        named = described.select(c.ITEM_INDEX, c.ATTRIBUTES)
        held = collected_table(named, n_items * BYTES_OF_WORDS).to_pydict()
        for item, names_of_item in zip(*held.values(), strict=True):
            attributes[item] = names_of_item
    names = sorted({name for one in attributes for name in one})
    position = {name: index for index, name in enumerate(names)}
    indices = [[position[name] for name in one] for one in attributes]
    packed = pack_strings(ids)
    whole = packed
    if any(domains):
        both = zip(domains, ids, strict=True)
        whole = pack_strings([text_within(*one) if one[0] else one[1] for one in both])
    return CatalogueWords(
        packed,
        whole,
        pack_strings(titles),
        item_attributes(indices, len(names), len(words[c.ITEM_INDEX])),
        pack_strings(names),
    )


def owners_id() -> Column:
    """The id that the owner has for an item of the catalogue."""
    within = id_within(F.col(c.DOMAIN), F.lit(""))
    after = F.substr(F.col(c.ITEM_ID), F.length(within) + 1)
    return F.when(F.col(c.DOMAIN).isNull(), F.col(c.ITEM_ID)).otherwise(after)


def _ids(frame: DataFrame) -> DataFrame:
    return frame.select(F.col(c.ITEM_ID).cast("string").alias(c.ITEM_ID)).distinct()
