"""Rank: lists of every evaluated ranker for users with held-out items, and the published lists.

Reads what the fits have learned; writes lists, recommendations, and the embeddings of users and
items.
"""

import datetime
from concurrent.futures import ThreadPoolExecutor

from pyspark.sql import DataFrame

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.fits.fit import item_count, measured_users, read_item_counts, unlisted_items
from m6rec.fits.members import member_inputs, member_names, read_blends, read_members
from m6rec.kernels.ranking.blending import Blend
from m6rec.kernels.ranking.members import Member
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import FUSION
from m6rec.spark.sources import read_ids
from m6rec.stages.pairs.catalogue import catalogue_words, forbidden_items
from m6rec.stages.ranking.embeddings import item_embeddings, user_embeddings
from m6rec.stages.ranking.lists import make_scoring, rank
from m6rec.stages.ranking.recommendations import Explaining, recommend
from m6rec.stages.training.item_weights import item_weights_from_frame


def run(lakehouse: Lakehouse, config: Config) -> None:
    """Write the lists that `evaluate` measures, then the lists that are published."""
    evaluated = config.usable(config.evaluate.rankers)
    rankers = tuple(dict.fromkeys((*evaluated, config.recommend.ranker)))
    with ThreadPoolExecutor(1) as beside:
        explaining = beside.submit(read_explaining, lakehouse, config)
        blends = read_blends(lakehouse, config, rankers)
        rank_for_evaluation(lakehouse, config, c.SELECTION, blends)
        members = rank_for_evaluation(lakehouse, config, c.FINAL, blends)
        publishable(lakehouse, config, members, blends, explaining.result())
    embed(lakehouse, config, members)


def rank_for_evaluation(
    lakehouse: Lakehouse, config: Config, fit: str, blends: tuple[Blend, ...]
) -> dict[str, Member]:
    """Lists of all evaluated rankers for the users with items in the fit's target fold.

    Returns:
        The members of all `blends`.
    """
    names = tuple(dict.fromkeys(name for blend in blends for name in blend.members))
    members = read_members(lakehouse, config, fit, names)
    item_counts = read_item_counts(lakehouse, fit)
    scoring = make_scoring(
        members,
        tuple(blend for blend in blends if blend.name in config.evaluate.rankers),
        item_counts,
        forbidden=unlisted_items(lakehouse, config, fit),
        mask_seen=True,
        n=max(config.evaluate.ks),
    )
    targets = measured_users(lakehouse, config, fit)
    users = member_inputs(lakehouse, fit, names).join(
        targets.select(c.USER_INDEX), c.USER_INDEX, how="left_semi"
    )
    lakehouse.write("lists", rank(users, scoring), fit=fit)
    return members


def read_explaining(lakehouse: Lakehouse, config: Config) -> Explaining:
    """What published lists say beside their scores: words, and weights that give reasons."""
    n_items = item_count(lakehouse)
    features = lakehouse.read("item_features", fit=c.FINAL)
    words = catalogue_words(lakehouse.read("catalogue"), features, n_items)
    weights = lakehouse.read("item_neighbours", fit=c.FINAL, method="ridge")
    return Explaining(
        item_weights=item_weights_from_frame(weights, n_items),
        attributes=words.attributes,
        attribute_names=words.attribute_names,
        item_ids=words.item_ids,
        titles=words.titles,
        reasons=config.recommend.reasons,
        generated_at=datetime.datetime.now(datetime.UTC),
    )


def publishable(
    lakehouse: Lakehouse,
    config: Config,
    members: dict[str, Member],
    blends: tuple[Blend, ...],
    explaining: Explaining,
) -> None:
    """The explained lists of the configured ranker for every user, under the rules."""
    rules = config.recommend.rules
    spark = lakehouse.spark
    blend = next(one for one in blends if one.name == config.recommend.ranker)
    names = tuple(blend.coefficients())
    allowed, excluded = (
        None if table is None else read_ids(spark, table, {c.ITEM_ID: table.item})
        for table in (rules.allowed_items, rules.excluded_items)
    )
    scoring = make_scoring(
        members,
        (blend,),
        read_item_counts(lakehouse, c.FINAL),
        forbidden=forbidden_items(
            lakehouse.read("catalogue"), item_count(lakehouse), allowed, excluded
        ),
        mask_seen=rules.mask_seen,
        n=config.recommend.top_n,
    )
    users = member_inputs(lakehouse, c.FINAL, names, _excluded_pairs(lakehouse, config))
    user_ids = lakehouse.read("user_index").select(c.USER_INDEX, c.USER_ID)
    lakehouse.write("recommendations", recommend(users, user_ids, scoring, explaining))


def embed(lakehouse: Lakehouse, config: Config, members: dict[str, Member]) -> None:
    """The embeddings of the fusion model, for readers of the tables."""
    names = [name for name in member_names(FUSION, config) if name in members]
    if not names:
        return
    parts = [members[name] for name in names]
    users = member_inputs(lakehouse, c.FINAL, names)
    items = item_embeddings(lakehouse.spark, parts, read_item_counts(lakehouse, c.FINAL))
    lakehouse.write("item_embeddings", items, fit=c.FINAL)
    lakehouse.write("user_embeddings", user_embeddings(users, parts), fit=c.FINAL)


def _excluded_pairs(lakehouse: Lakehouse, config: Config) -> DataFrame | None:
    table = config.recommend.rules.excluded_pairs
    if table is None:
        return None
    pairs = read_ids(lakehouse.spark, table, {c.USER_ID: table.user, c.ITEM_ID: table.item})
    users = lakehouse.read("user_index").select(c.USER_ID, c.USER_INDEX)
    items = lakehouse.read("item_index").select(c.ITEM_ID, c.ITEM_INDEX)
    return pairs.join(users, c.USER_ID, how="inner").join(items, c.ITEM_ID, how="inner")


if __name__ == "__main__":
    command_line("recommend", run, __doc__)
