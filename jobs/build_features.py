"""Build the features of users and items, for both fits.

Reads the attribute tables of section features, user_item_matrix, the indices, splits and
interactions; writes user_features, item_features, item_images (where there is an image column)
and models, and saves each pipeline for scoring. Everything is fitted on the fit's training fold.
"""

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.data import AttributesSource, FeatureKind
from m6rec.config.run import Config
from m6rec.fits.fit import item_count
from m6rec.fits.models import model_row
from m6rec.lakehouse import Lakehouse
from m6rec.spark.sources import read_source
from m6rec.stages.features.behaviour import event_mix, item_behaviour, user_behaviour
from m6rec.stages.features.fitting import fit_features
from m6rec.stages.features.images import load_images
from m6rec.stages.features.kinds import infer_kinds
from m6rec.stages.features.pipeline import FeaturePipeline
from m6rec.stages.features.reading import item_matrix

# Breadth of taste looks at the items' content, which then goes to every worker: only while small.
_LARGEST_SHIPPED_CONTENT = 50_000_000


@dataclass(frozen=True)
class _Attributes:
    """An attribute table by dense index, and what its columns are."""

    frame: DataFrame
    kinds: dict[str, FeatureKind]


def run(lakehouse: Lakehouse, config: Config, fits: tuple[str, ...] = c.FITS) -> None:
    """Build the features of a run.

    Raises:
        TableError: an attribute table is missing, lacks a column, or matches no training row.
    """
    try:
        users = _read_attributes(
            lakehouse, config.features.users, "user_index", c.USER_ID, c.USER_INDEX
        )
        items = _read_attributes(
            lakehouse, config.features.items, "item_index", c.ITEM_ID, c.ITEM_INDEX
        )
        _write_images(lakehouse, config, items)
        n_items = item_count(lakehouse)
        for fit in fits:
            _build(lakehouse, config, fit, users, items, n_items)
    finally:
        lakehouse.spark.catalog.clearCache()


def _build(
    lakehouse: Lakehouse,
    config: Config,
    fit: str,
    users: _Attributes | None,
    items: _Attributes | None,
    n_items: int,
) -> None:
    matrix = lakehouse.read("user_item_matrix", fit=fit).persist()
    events = _training_events(lakehouse, config, fit)
    item_training = matrix.select(
        F.explode(F.col(c.ITEM_INDICES).cast("array<long>")).alias(c.ITEM_INDEX)
    )
    item_acts = _with_mix(item_behaviour(matrix), events, c.ITEM_INDEX, config)
    item_pipeline = _fit_and_write(
        lakehouse, config, fit, "item", items, item_acts, item_training.distinct()
    )
    content = None
    if 0 < n_items * item_pipeline.content_width <= _LARGEST_SHIPPED_CONTENT:
        written = lakehouse.read("item_features", fit=fit)
        content = item_matrix(written, c.CONTENT, n_items)
    user_training = matrix.where(F.size(c.ITEM_INDICES) > 0).select(c.USER_INDEX)
    user_acts = _with_mix(user_behaviour(matrix, n_items, content), events, c.USER_INDEX, config)
    user_pipeline = _fit_and_write(lakehouse, config, fit, "user", users, user_acts, user_training)
    _record(lakehouse, fit, {"items": item_pipeline, "users": user_pipeline})
    lakehouse.spark.catalog.clearCache()


def _fit_and_write(
    lakehouse: Lakehouse,
    config: Config,
    fit: str,
    side: str,
    attributes: _Attributes | None,
    behaviour: DataFrame,
    training: DataFrame,
) -> FeaturePipeline:
    index_column = f"{side}_index"
    acts = behaviour.persist() if config.has_behaviour else None
    frame = None if attributes is None else attributes.frame
    kinds = {} if attributes is None else attributes.kinds
    pipeline = fit_features(
        frame, acts, index_column, kinds, config.features, training, config.seed
    )
    pipeline.save(lakehouse.artifact_path("features", fit, f"{side}s"))
    indices = lakehouse.read(index_column).select(index_column)
    lakehouse.write(f"{side}_features", pipeline.transform(frame, acts, indices), fit=fit)
    return pipeline


def _record(lakehouse: Lakehouse, fit: str, pipelines: dict[str, FeaturePipeline]) -> None:
    rows = [
        model_row(
            name,
            {
                "feature_names": pipeline.feature_names,
                "attribute_names": pipeline.attribute_names,
                "features": len(pipeline.feature_names),
                "content": pipeline.content_width,
            },
            lakehouse.artifact_path("features", fit, name),
        )
        for name, pipeline in pipelines.items()
    ]
    lakehouse.write_rows("models", rows, fit=fit, kind="features")


def _read_attributes(
    lakehouse: Lakehouse,
    source: AttributesSource | None,
    index_table: str,
    id_column: str,
    index_column: str,
) -> _Attributes | None:
    """The owner's table by dense index; of several rows with one id the one of least hash."""
    if source is None:
        return None
    titles = () if source.title is None else (source.title,)
    frame = read_source(lakehouse.spark, source.source, (source.id, *titles))
    # A title is read as text, though all titles are distinct as ids are.
    overrides: dict[str, FeatureKind] = dict.fromkeys(titles, "text")
    kinds = infer_kinds(frame, source.id, {**overrides, **source.kinds})
    owner_columns = [name for name in frame.columns if name != source.id]
    renamed = frame.select(
        F.col(f"`{source.id}`").cast("string").alias(id_column),
        *(F.col(f"`{name}`") for name in owner_columns),
    )
    order = Window.partitionBy(id_column).orderBy(F.xxhash64("*"))
    single = renamed.withColumn("_copy", F.row_number().over(order)).where("_copy = 1")
    indices = lakehouse.read(index_table).select(id_column, index_column)
    indexed = single.join(indices, id_column, "inner").drop(id_column, "_copy")
    return _Attributes(indexed.persist(), kinds)


def _write_images(lakehouse: Lakehouse, config: Config, items: _Attributes | None) -> None:
    columns = [] if items is None else [n for n, kind in items.kinds.items() if kind == "image"]
    if items is not None and columns:
        images = load_images(items.frame, columns[0], config.features.image_size)
        lakehouse.write("item_images", images)


def _training_events(lakehouse: Lakehouse, config: Config, fit: str) -> DataFrame | None:
    """The events behind the fit's training pairs; None where the source has neither types
    nor context."""
    names = config.interactions.columns
    if not config.has_behaviour or (names.event_type is None and not names.context):
        return None
    folds = list(c.FOLDS_OF_FIT[fit])
    pairs = lakehouse.read("splits").where(F.col(c.FOLD).isin(folds))
    users = lakehouse.read("user_index").select(c.USER_ID, c.USER_INDEX)
    items = lakehouse.read("item_index").select(c.ITEM_ID, c.ITEM_INDEX)
    events = lakehouse.read("interactions").join(users, c.USER_ID).join(items, c.ITEM_ID)
    training = events.join(
        pairs.select(c.USER_INDEX, c.ITEM_INDEX), [c.USER_INDEX, c.ITEM_INDEX], "semi"
    )
    return training.select(c.USER_INDEX, c.ITEM_INDEX, c.EVENT_TYPE, c.CONTEXT).persist()


def _with_mix(
    behaviour: DataFrame, events: DataFrame | None, index_column: str, config: Config
) -> DataFrame:
    if events is None:
        return behaviour
    return behaviour.join(event_mix(events, index_column), index_column, "left")


if __name__ == "__main__":
    command_line("build_features", run, __doc__)
