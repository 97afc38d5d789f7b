"""Read the values of a column of the items' attributes as categories, as features split them."""

import numpy as np
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.check.writing import AS_IS
from m6rec.config.data import AttributesSource, InteractionsConfig
from m6rec.kernels.arrays.categories import ItemCategories, item_categories
from m6rec.spark.collecting import BYTES_OF_WORDS, collected_table
from m6rec.spark.values import item_id_column, owner_column
from m6rec.stages.features.kinds import infer_columns
from m6rec.stages.features.vocabularies import token_column


def categories_of_items(
    frame: DataFrame,
    attributes: AttributesSource,
    column: str,
    interactions: InteractionsConfig,
    item_index: DataFrame,
    n_items: int,
) -> ItemCategories:
    """The values of a column for every item; an item of several rows has those of all of them.

    Args:
        frame: the owner's table of items.
        attributes: its id and the kinds of its columns.
        column: a column that holds one value of an item, or several as kind `multi_valued` does.
        interactions: how ids are read.
        item_index: columns item_id, item_index.
        n_items: number of dense item indices.
    """
    of_items = (
        values_of_items(frame, attributes, column, interactions)
        .join(item_index.select(c.ITEM_ID, c.ITEM_INDEX), c.ITEM_ID, how="inner")
        .select(F.col(c.ITEM_INDEX).cast("long").alias(c.ITEM_INDEX), c.VALUE)
    )
    pairs = collected_table(of_items, n_items * BYTES_OF_WORDS)
    # The order of the values is that of their text, whatever the order of the rows.
    names = pairs.column(c.VALUE).unique().sort()
    places = pc.index_in(pairs.column(c.VALUE), value_set=names)
    return item_categories(
        pairs.column(c.ITEM_INDEX).to_numpy().astype(np.int64),
        places.to_numpy().astype(np.int32),
        n_items,
        len(names),
    )


def values_of_items(
    frame: DataFrame,
    attributes: AttributesSource,
    column: str,
    interactions: InteractionsConfig,
) -> DataFrame:
    """The distinct pairs of item_id and value of a column of the owner's table of items."""
    data_type = frame.schema[column].dataType
    # A column of the owner's may have the name of one of ours.
    narrow = frame.select(
        item_id_column(frame, attributes.id, interactions).alias(c.ITEM_ID),
        owner_column(column).alias(c.VALUE),
    )
    given = {c.VALUE: attributes.kinds[column]} if column in attributes.kinds else {}
    separator = infer_columns(narrow, c.ITEM_ID, given).writings.get(c.VALUE, AS_IS).separator
    values = token_column(c.VALUE, "multi_valued", data_type, separator)
    return narrow.select(c.ITEM_ID, F.explode(values).alias(c.VALUE)).distinct()
