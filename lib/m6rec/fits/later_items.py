"""Items that came after a run, known by their attributes: the item side of a fit with them.

They are numbered after the run's items, in memory alone: the next run gives them indices for good.
The run's fitted pipeline makes their features, and their content neighbours stand in for the
interactions that nobody has had with them yet.
"""

from functools import reduce

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.config.data import AttributesSource, FeatureKind, PictureKind
from m6rec.fits.fit import Fit
from m6rec.fits.sources import ids_and_titles
from m6rec.kernels.neighbours.content_neighbours import LaterItems
from m6rec.kernels.neighbours.item_neighbours import ItemWeights
from m6rec.spark.runtimes import arrow_table, frame_of_arrow
from m6rec.spark.sources import read_source
from m6rec.spark.values import domain_of
from m6rec.stages.features.attributes import attributes_by_index, column_name, encoded_texts
from m6rec.stages.features.pictures import PictureColumn, load_pictures
from m6rec.stages.features.pipeline import FeaturePipeline
from m6rec.stages.features.texts import with_texts_encoded
from m6rec.stages.training.neighbours import content_weights_by_target

_HASH = "_hash"
_SCHEMA = T.StructType(
    [
        T.StructField(c.ITEM_ID, T.StringType()),
        T.StructField(c.ITEM_INDEX, T.LongType()),
        T.StructField("title", T.StringType()),
        T.StructField(c.DOMAIN, T.StringType()),
    ]
)


def with_later_items(fit: Fit, before: Fit) -> Fit:
    """The fit with the items that the owner's table has now and the run's index has not.

    Args:
        fit: of the run.
        before: what an earlier call returned, or `fit` itself. It is returned again where there are
            no other items than then, or where the run knows no attributes of items.

    Raises:
        TableError: the owner's table does not exist or lacks a column that the run has read.
    """
    source = fit.config.features.items
    if source is None or not any(row["name"] == "items" for row in fit.models_of("features")):
        return before
    id_parts = fit.config.interactions.columns.parts_of_item_id
    frame = read_source(fit.spark, source.source, (*source.named_columns, *id_parts))
    items = _numbered(fit, ids_and_titles(frame, source, c.ITEM_ID, fit.config.interactions))
    item_ids = tuple(items.column(c.ITEM_ID).to_pylist())
    if item_ids == (() if before.later is None else before.later.item_ids):
        return before
    if not item_ids:
        return fit
    added = frame_of_arrow(fit.spark, items, _SCHEMA)
    lakehouse = fit.lakehouse.with_rows("item_index", added).with_rows("catalogue", added)
    attributes = _attributes(fit, source, frame, added)
    features = _features(fit, attributes, added)
    lakehouse = lakehouse.with_rows("item_features", features, fit=fit.name)
    pictures = _pictures(fit, source, attributes)
    if pictures is not None:
        lakehouse = lakehouse.with_rows("item_images", pictures)
    by_target = _neighbours_of_later(Fit(lakehouse, fit.config, fit.name), fit.n_items)
    print(
        f"{len(item_ids)} items of {source.source.name} came after run {fit.lakehouse.run_id}, and"
        " are ranked by their attributes",
        flush=True,
    )
    return fit.followed_by(lakehouse, LaterItems(item_ids, by_target))


def _numbered(fit: Fit, named: DataFrame) -> pa.Table:
    """The rows of `catalogue` of the items that the run's index lacks, numbered after it.

    Those of a domain that the run has not are left out. The order is that of a hash, because what a
    ranker scores alike stands in the order of the numbers, and ids may tell of popularity.
    """
    known = fit.lakehouse.read("item_index").select(c.ITEM_ID)
    new = named.join(known, c.ITEM_ID, "left_anti").withColumn(_HASH, F.xxhash64(c.ITEM_ID))
    if fit.config.interactions.columns.domain is None:
        new = new.withColumn(c.DOMAIN, F.lit(None).cast("string"))
    else:
        new = new.withColumn(c.DOMAIN, domain_of(F.col(c.ITEM_ID)))
        new = new.where(F.col(c.DOMAIN).isin([domain.name for domain in fit.domains]))
    ordered = arrow_table(new).sort_by([(_HASH, "ascending"), (c.ITEM_ID, "ascending")])
    numbers = pa.array(np.arange(ordered.num_rows, dtype=np.int64) + fit.n_items)
    return ordered.append_column(c.ITEM_INDEX, numbers).select(_SCHEMA.names)


def _attributes(
    fit: Fit, source: AttributesSource, frame: DataFrame, items: DataFrame
) -> DataFrame:
    """The owner's columns of the items, with vectors in place of the texts that are encoded."""
    ids = items.select(c.ITEM_ID, c.ITEM_INDEX)
    attributes = attributes_by_index(frame, source, fit.config.interactions, ids)
    texts = encoded_texts(source, c.ITEM_INDEX)
    return with_texts_encoded(attributes, texts, fit.config.features.text_model)


def _features(fit: Fit, attributes: DataFrame, items: DataFrame) -> DataFrame:
    """The features of the items, as the run's pipeline makes them of attributes."""
    pipeline = FeaturePipeline.load(fit.saved_artifact("features", "items"))
    no_numbers = {name: F.lit(None).cast("double") for name in pipeline.behaviour_columns}
    behaviour = items.select(c.ITEM_INDEX).withColumns(no_numbers).limit(0)
    return pipeline.transform(attributes, behaviour, items)


def _pictures(fit: Fit, source: AttributesSource, attributes: DataFrame) -> DataFrame | None:
    """The items' pictures and frames of videos, in the columns of which the run has read some."""
    decoded = []
    for name in fit.picture_columns:
        kind: PictureKind = "video" if _kind(source, name) == "video" else "image"
        column = PictureColumn(name, kind, fit.config.features.video_frames)
        size, table = fit.config.features.image_size, f"features.items: {source.source.name}"
        rows, facts = load_pictures(attributes, column, size, table, named=False)
        print(f"items that came after the run: {facts}", flush=True)
        decoded.append(rows)
    return reduce(DataFrame.unionByName, decoded) if decoded else None


def _kind(source: AttributesSource, column: str) -> FeatureKind | None:
    """The kind that the config names for a column beside the index."""
    kinds = {column_name(name, c.ITEM_INDEX): kind for name, kind in source.kinds.items()}
    return kinds.get(column)


def _neighbours_of_later(fit: Fit, first: int) -> ItemWeights:
    """Those of the items from `first` on, by target."""
    settings = fit.settings
    return content_weights_by_target(
        fit.spark,
        fit.item_terms(),
        fit.item_matrix(c.CONTENT),
        fit.item_counts,
        settings.neighbours.content,
        settings.seed,
        bool(fit.modalities("items")),
        first,
    )
