"""What the published lists of a fit are made with: rules, words, and lists for the unknown."""

from collections.abc import Mapping
from datetime import UTC, datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.fits.fit import Fit
from m6rec.kernels.factors.projection import vectors_of_evidence
from m6rec.kernels.neighbours.item_neighbours import no_weights
from m6rec.kernels.ranking.blending import Blend
from m6rec.kernels.ranking.explanation import FactorEvidence
from m6rec.kernels.ranking.members import Member
from m6rec.spark.sources import read_ids, read_source
from m6rec.spark.values import owner_column
from m6rec.stages.features.attributes import attributes_by_index, column_name
from m6rec.stages.pairs.catalogue import catalogue_words, masked_by_rules
from m6rec.stages.ranking.lists import Scoring, make_scoring
from m6rec.stages.ranking.popular import popular_lists
from m6rec.stages.ranking.recommendations import Explaining


def published_scoring(fit: Fit, members: Mapping[str, Member], blend: Blend) -> Scoring:
    """The blend, ready to rank for the published lists, under the rules."""
    rules, settings = fit.config.recommend.rules, fit.config.recommend
    allowed, excluded = (
        None
        if table is None
        else read_ids(fit.spark, table, {c.ITEM_ID: table.item}, fit.config.interactions)
        for table in (rules.allowed_items, rules.excluded_items)
    )
    catalogue = fit.lakehouse.read("catalogue")
    return make_scoring(
        members,
        (blend,),
        fit.item_counts,
        masked_items=masked_by_rules(catalogue, fit.n_items, allowed, excluded),
        mask_seen=not fit.config.ranks_repeats,
        n=settings.top_n,
        mask_disliked=rules.masks_disliked,
    )


def read_explaining(
    fit: Fit, evidence: str | None = "ridge", by_factors: bool = False
) -> Explaining:
    """What published lists say beside their scores: words, and weights that give reasons.

    `evidence` is the model by which items speak for each other: of item-item weights or, where
    `by_factors` says so, of factors.
    """
    weights, factors = no_weights(fit.n_items), None
    if evidence is not None and by_factors:
        factors = FactorEvidence(*vectors_of_evidence(fit.factor_model(evidence)))
    elif evidence is not None:
        weights = fit.item_weights(evidence)
    words = catalogue_words(fit.lakehouse.read("catalogue"), fit.item_features, fit.n_items)
    return Explaining(
        item_weights=weights,
        attributes=words.attributes,
        attribute_names=words.attribute_names,
        item_ids=words.item_ids,
        titles=words.titles,
        reasons=fit.config.recommend.reasons,
        generated_at=datetime.now(UTC),
        factors=factors,
    )


def excluded_pairs(fit: Fit) -> DataFrame | None:
    """user_id, user_index, item_id, item_index: the items that a user's own list may not hold.

    The index is null of users whom the run does not know.
    """
    table = fit.config.recommend.rules.excluded_pairs
    if table is None:
        return None
    names = {c.USER_ID: table.user, c.ITEM_ID: table.item}
    pairs = read_ids(fit.spark, table, names, fit.config.interactions)
    users = fit.lakehouse.read("user_index").select(c.USER_ID, c.USER_INDEX)
    items = fit.lakehouse.read("item_index").select(c.ITEM_ID, c.ITEM_INDEX)
    return pairs.join(users, c.USER_ID, how="left").join(items, c.ITEM_ID, how="inner")


def lists_for_unknown(fit: Fit, scoring: Scoring, explaining: Explaining) -> DataFrame:
    """What is most popular under the rules, for everyone and in each segment of the users."""
    return popular_lists(
        fit.spark,
        fit.item_counts,
        scoring.masked_items,
        scoring.n,
        explaining,
        _items_by_segment(fit),
    )


def _items_by_segment(fit: Fit) -> DataFrame | None:
    """segment, item_index, users: how many users of each segment have each item."""
    settings, source = fit.config.recommend, fit.config.features.users
    if settings.default_segments is None or source is None:
        return None
    frame = read_source(fit.spark, source.source, (source.id, settings.default_segments))
    indices = fit.lakehouse.read("user_index").select(c.USER_ID, c.USER_INDEX)
    attributes = attributes_by_index(frame, source, fit.config.interactions, indices)
    name = column_name(settings.default_segments, c.USER_INDEX)
    segments = attributes.select(
        c.USER_INDEX, owner_column(name).cast("string").alias(c.SEGMENT)
    ).where(F.trim(c.SEGMENT) != "")
    rows = fit.matrix.where(F.size(c.ITEM_INDICES) > 0).join(segments, c.USER_INDEX)
    sizes = rows.groupBy(c.SEGMENT).count()
    large = sizes.where(F.col("count") >= settings.default_segment_users)
    kept = rows.join(large, c.SEGMENT, how="left_semi")
    events = kept.select(c.SEGMENT, F.explode(c.ITEM_INDICES).alias(c.ITEM_INDEX))
    return events.groupBy(c.SEGMENT, c.ITEM_INDEX).agg(F.count("*").alias(c.USERS))
