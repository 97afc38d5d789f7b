"""What the published lists of a fit are made with: rules, words, and lists for the unknown."""

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.errors import ConfigError
from m6rec.fits.fit import Fit
from m6rec.fits.sources import read_column_of_items
from m6rec.kernels.arrays.domains import Domain
from m6rec.kernels.arrays.rows import NO_ITEM, Int32
from m6rec.kernels.arrays.strings import Strings
from m6rec.kernels.ranking.blending import Blend
from m6rec.kernels.ranking.members import Member, OwnMembers
from m6rec.kernels.ranking.reranking import Reranking
from m6rec.spark.sources import read_source
from m6rec.spark.values import text_column
from m6rec.stages.features.attributes import attributes_by_index, column_name
from m6rec.stages.features.categories import values_of_items
from m6rec.stages.features.pipeline import FeaturePipeline
from m6rec.stages.pairs.catalogue import catalogue_words
from m6rec.stages.ranking.lists import Scoring, make_scoring
from m6rec.stages.ranking.popular import Quota, popular_lists
from m6rec.stages.ranking.recommendations import Explaining


def published_scoring(
    fit: Fit,
    members: Mapping[str, Member | OwnMembers],
    blend: Blend,
    masked_items: npt.NDArray[np.bool_],
    reranking: Reranking | None,
    domain: Domain | None = None,
) -> Scoring:
    """The blend, ready to rank for the published lists under the rules, within a domain if any.

    `masked_items` are those that no list may hold, as `items_outside_lists` gives them.
    """
    settings = fit.config.recommend
    return make_scoring(
        members,
        (blend,),
        fit.item_evidence,
        masked_items=masked_items,
        mask_seen=not fit.config.ranks_repeats,
        n=settings.top_n,
        mask_disliked=settings.rules.masks_disliked,
        reranking=reranking,
        domain=domain,
    )


def read_explaining(fit: Fit) -> Explaining:
    """The words and reasons that published lists show beside their scores."""
    settings = fit.config.recommend.reasons
    features = fit.item_features if fit.lakehouse.exists("item_features") else None
    words = catalogue_words(fit.lakehouse.read("catalogue"), features, fit.n_items)
    return Explaining(
        attributes=words.attributes,
        attribute_names=words.attribute_names,
        item_ids=words.item_ids,
        whole_ids=words.whole_ids,
        titles=words.titles,
        reasons=settings.count,
        generated_at=datetime.now(UTC),
        sentences=_sentences(fit),
        content_places=_content_places(fit, words.attribute_names),
    )


def _content_places(fit: Fit, names: Strings) -> Int32 | None:
    """The place of each attribute in the items' content, -1 where it has none of its own.

    None without attributes: a night whose ranker needs no features has no pipeline of them.
    """
    if not len(names):
        return None
    known = FeaturePipeline.load(fit.saved_artifact("features", "items")).content_places
    return np.array([known.get(names[one], -1) for one in range(len(names))], np.int32)


def _sentences(fit: Fit) -> dict[str, str] | None:
    try:
        return fit.config.recommend.reasons.sentences()
    except ConfigError as error:
        raise ConfigError(
            f"run {fit.lakehouse.run_id} says reasons in sentences: {error} (lists of a finished"
            " run need its file where that run found it)"
        ) from error


def lists_for_unknown(
    fit: Fit,
    explaining: Explaining,
    masked_items: npt.NDArray[np.bool_],
    domain: Domain | None = None,
) -> DataFrame:
    """What is most popular under the rules, for everyone and in each segment of the users."""
    if domain is not None:
        masked_items = masked_items | (domain.places == NO_ITEM)
    return popular_lists(
        fit.spark,
        fit.item_counts,
        masked_items,
        fit.config.recommend.top_n,
        explaining,
        _items_by_segment(fit, domain),
        None if domain is None else domain.name,
        _quota(fit),
    )


def _quota(fit: Fit) -> Quota | None:
    """The quota of `recommend.rules.at_most`, by item_index."""
    limited, items = fit.config.recommend.rules.at_most, fit.config.features.items
    if limited.column is None or items is None:
        return None
    interactions = fit.config.interactions
    frame = read_column_of_items(fit.spark, items, limited.column, interactions)
    values = values_of_items(frame, items, limited.column, interactions)
    index = fit.lakehouse.read("item_index").select(c.ITEM_ID, c.ITEM_INDEX)
    return Quota(values.join(index, c.ITEM_ID).select(c.ITEM_INDEX, c.VALUE), limited.count)


def _items_by_segment(fit: Fit, domain: Domain | None) -> DataFrame | None:
    """segment, item_index, users: how many users of each segment have each item, of a domain.

    A segment is left out of which too few users have any of these items.
    """
    settings, source = fit.config.recommend, fit.config.features.users
    if settings.default_segments is None or source is None:
        return None
    frame = read_source(fit.spark, source.source, (source.id, settings.default_segments))
    indices = fit.lakehouse.read("user_index").select(c.USER_ID, c.USER_INDEX)
    attributes = attributes_by_index(frame, source, fit.config.interactions, indices)
    name = column_name(settings.default_segments, c.USER_INDEX)
    if isinstance(attributes.schema[name].dataType, T.ArrayType):
        attributes = attributes.withColumn(name, F.explode(F.array_distinct(name)))
    segments = attributes.select(
        c.USER_INDEX, text_column(attributes, name).alias(c.SEGMENT)
    ).where(F.trim(c.SEGMENT) != "")
    pairs = fit.matrix.select(c.USER_INDEX, F.explode(c.ITEM_INDICES).alias(c.ITEM_INDEX))
    if domain is not None:
        own = fit.lakehouse.read("catalogue").where(F.col(c.DOMAIN) == domain.name)
        pairs = pairs.join(own.select(c.ITEM_INDEX), c.ITEM_INDEX, how="left_semi")
    taken = pairs.join(segments, c.USER_INDEX)
    sizes = taken.groupBy(c.SEGMENT).agg(F.count_distinct(c.USER_INDEX).alias("size"))
    large = sizes.where(F.col("size") >= settings.default_segment_users)
    kept = taken.join(large, c.SEGMENT, how="left_semi")
    return kept.groupBy(c.SEGMENT, c.ITEM_INDEX).agg(F.count("*").alias(c.USERS))
