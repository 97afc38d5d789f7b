"""The rules of published lists, read from the owner's tables: which items, and which pairs."""

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.outputs import ItemTable
from m6rec.errors import DataError
from m6rec.fits.fit import Fit
from m6rec.spark.messages import say
from m6rec.spark.sources import read_ids
from m6rec.stages.pairs.catalogue import masked_by_rules


def items_of_rule(fit: Fit, table: ItemTable | None) -> DataFrame | None:
    """item_id of the items that a rule names; None where there is no such rule."""
    if table is None:
        return None
    names = {c.ITEM_ID: table.item}
    return read_ids(fit.spark, table, names, fit.config.interactions)


def items_outside_lists(fit: Fit) -> npt.NDArray[np.bool_]:
    """bool [items]: items that no published list may hold.

    Raises:
        DataError: the rules leave none to be listed.
    """
    rules = fit.config.recommend.rules
    given = {"allowed_items": rules.allowed_items, "excluded_items": rules.excluded_items}
    allowed, excluded = (items_of_rule(fit, table) for table in given.values())
    masked = masked_by_rules(fit.lakehouse.read("catalogue"), fit.n_items, allowed, excluded)
    named = [f"{name} ({table.name})" for name, table in given.items() if table is not None]
    if named and masked.all():
        raise DataError(
            f"recommend.rules leave none of the {fit.n_items} items to be listed: look at"
            f" {' and '.join(named)}, whose ids are compared with those of the interactions;"
            " correct these tables; a run that has begun reads them as they were then, so start one"
            " anew, with another --run-id"
        )
    return masked


def excluded_pairs(fit: Fit) -> DataFrame | None:
    """user_id, user_index, item_id, item_index: the items that a user's own list may not hold.

    user_index is null for users whom the run does not know. None where there is no such rule.
    """
    table = fit.config.recommend.rules.excluded_pairs
    if table is None:
        return None
    names = {c.USER_ID: table.user, c.ITEM_ID: table.item}
    pairs = read_ids(fit.spark, table, names, fit.config.interactions)
    users = fit.lakehouse.read("user_index").select(c.USER_ID, c.USER_INDEX)
    items = fit.lakehouse.read("item_index").select(c.ITEM_ID, c.ITEM_INDEX)
    return pairs.join(users, c.USER_ID, how="left").join(items, c.ITEM_ID, how="inner")


def warn_of_nameless_items(fit: Fit) -> None:
    """Warn of rows of the rules' tables that name no item, such as those without a domain."""
    rules, interactions = fit.config.recommend.rules, fit.config.interactions
    for table in (rules.allowed_items, rules.excluded_items, rules.excluded_pairs):
        if table is None:
            continue
        ids = read_ids(fit.spark, table, {c.ITEM_ID: table.item}, interactions)
        nameless = ids.where(F.col(c.ITEM_ID).isNull()).count()
        if nameless:
            needed = " and ".join((table.item, *interactions.columns.parts_of_item_id))
            say(
                "warning",
                f"recommend.rules: {nameless} rows of table {table.name} name no item, as they have"
                f" no usable {needed}, and change no list",
            )
