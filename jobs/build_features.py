"""Build the features of users and items, for both fits.

Everything is fitted on the fit's training fold, and each pipeline is saved for scoring.
"""

from dataclasses import dataclass
from functools import partial, reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.check.writing import Writing
from m6rec.command_line import command_line
from m6rec.config.data import AttributesSource, FeatureKind
from m6rec.config.run import Config
from m6rec.fits.fit import Fit, fits_of, model_row
from m6rec.job_records import BUILD_FEATURES
from m6rec.kernels.text.encoder_files import find_encoder
from m6rec.kernels.text.sentence_encoder import load_sentence_encoder
from m6rec.lakehouse import Lakehouse
from m6rec.runs import Job
from m6rec.spark.sources import read_source
from m6rec.spark.values import quoted
from m6rec.stages.features.attributes import attribute_id, attributes_by_index, column_name
from m6rec.stages.features.behaviour import (
    event_mix,
    is_shipped,
    item_behaviour,
    user_behaviour,
    with_domain_as_context,
)
from m6rec.stages.features.fitting import fit_features
from m6rec.stages.features.kinds import kinds_of_attributes
from m6rec.stages.features.pictures import PictureColumn, load_pictures
from m6rec.stages.features.pipeline import FeaturePipeline
from m6rec.stages.features.texts import encode_texts, texts_of, with_text_vectors
from m6rec.stages.features.vectors import VectorFacts, measure_vectors


@dataclass(frozen=True)
class _Attributes:
    """An attribute table by dense index, and what its columns are."""

    frame: DataFrame
    kinds: dict[str, FeatureKind]
    writings: dict[str, Writing]
    vectors: tuple[VectorFacts, ...]


def run(lakehouse: Lakehouse, config: Config, fits: tuple[str, ...] = c.FITS) -> None:
    """Build the features of a run.

    Raises:
        TableError: an attribute table is missing, lacks a column, or matches no training row.
    """
    try:
        users = _read_attributes(
            lakehouse, config, config.features.users, "user_index", c.USER_ID, c.USER_INDEX
        )
        items = _read_attributes(
            lakehouse, config, config.features.items, "item_index", c.ITEM_ID, c.ITEM_INDEX
        )
        _write_pictures(lakehouse, config, items)
        trained = fits_of(lakehouse, config, fits)
        list(lakehouse.run_calls([partial(_build, fit, users, items) for fit in trained]))
    finally:
        lakehouse.spark.catalog.clearCache()


def _build(fit: Fit, users: _Attributes | None, items: _Attributes | None) -> None:
    matrix = fit.matrix.persist()
    events = _training_events(fit)
    item_training = matrix.select(
        F.explode(F.col(c.ITEM_INDICES).cast("array<long>")).alias(c.ITEM_INDEX)
    )
    item_acts = _with_mix(item_behaviour(matrix), events, c.ITEM_INDEX)
    item_pipeline = _fit_and_write(fit, "item", items, item_acts, item_training.distinct())
    content = None
    if is_shipped(fit.n_items, item_pipeline.content_width):
        content = fit.item_matrix(c.CONTENT)
    user_training = matrix.where(F.size(c.ITEM_INDICES) > 0).select(c.USER_INDEX)
    user_acts = _with_mix(user_behaviour(matrix, fit.n_items, content), events, c.USER_INDEX)
    user_pipeline = _fit_and_write(fit, "user", users, user_acts, user_training)
    _record(fit, {"items": (item_pipeline, items), "users": (user_pipeline, users)})
    for frame in (matrix, events):
        if frame is not None:
            frame.unpersist()


def _fit_and_write(
    fit: Fit,
    side: str,
    attributes: _Attributes | None,
    behaviour: DataFrame,
    training: DataFrame,
) -> FeaturePipeline:
    index_column, config = f"{side}_index", fit.config
    acts = behaviour.persist() if config.has_behaviour else None
    frame = None if attributes is None else attributes.frame
    kinds = {} if attributes is None else attributes.kinds
    writings = {} if attributes is None else attributes.writings
    vectors = () if attributes is None else tuple(one.column for one in attributes.vectors)
    pipeline = fit_features(
        frame, acts, index_column, kinds, config.features, training, config.seed, writings, vectors
    )
    pipeline.save(fit.artifact_place("features", f"{side}s"))
    indices = fit.lakehouse.read(index_column).select(index_column)
    fit.write(f"{side}_features", pipeline.transform(frame, acts, indices))
    if acts is not None:
        acts.unpersist()
    return pipeline


def _record(fit: Fit, built: dict[str, tuple[FeaturePipeline, _Attributes | None]]) -> None:
    rows = [
        model_row(
            name,
            {
                "feature_names": pipeline.feature_names,
                "attribute_names": pipeline.attribute_names,
                "features": len(pipeline.feature_names),
                "content": pipeline.content_width,
                "modalities": pipeline.modalities,
                "modality_names": [block.column.name for block in pipeline.vectors],
                "usable_vectors": {
                    facts.column.name: (facts.usable, facts.rows)
                    for facts in (() if attributes is None else attributes.vectors)
                },
            },
            fit.artifact_path("features", name),
        )
        for name, (pipeline, attributes) in built.items()
    ]
    fit.write_models("features", rows)


def _read_attributes(
    lakehouse: Lakehouse,
    config: Config,
    source: AttributesSource | None,
    index_table: str,
    id_column: str,
    index_column: str,
) -> _Attributes | None:
    """The owner's table by dense index; of several rows of an id, the one with the least hash."""
    if source is None:
        return None
    of_items = id_column == c.ITEM_ID
    id_parts = config.interactions.columns.parts_of_item_id if of_items else ()
    required = (*source.named_columns, *id_parts)
    frame = read_source(lakehouse.spark, source.source, required)
    columns = kinds_of_attributes(frame, source, id_parts)
    _say_repeats(frame.select(attribute_id(frame, source, config.interactions, id_column)), source)
    indices = lakehouse.read(index_table).select(id_column, index_column)
    ours = {name: column_name(name, index_column) for name in frame.columns}
    used = ((ours[name], kind) for name, kind in columns.kinds.items())
    kinds: dict[str, FeatureKind] = {name: kind for name, kind in used if kind != "ignore"}
    indexed = attributes_by_index(frame, source, config.interactions, indices)
    indexed = indexed.selectExpr(index_column, *map(quoted, kinds)).persist()
    texts = [name for name, kind in kinds.items() if kind == "text_embedding"]
    if texts:
        vectors_of = _text_vectors(lakehouse, config, indexed, texts, of_items)
        indexed = with_text_vectors(indexed, texts, vectors_of).persist()
    named = f"features.{'items' if of_items else 'users'}: {source.source.name}"
    vectors = tuple(
        measure_vectors(indexed, name, config.features.maximum_vectors, named)
        for name, kind in kinds.items()
        if kind in {"embedding", "text_embedding"}
    )
    for facts in vectors:
        print(f"{source.source.name}: {facts}", flush=True)
    return _Attributes(
        indexed,
        kinds,
        {ours[name]: writing for name, writing in columns.writings.items()},
        vectors,
    )


def _text_vectors(
    lakehouse: Lakehouse, config: Config, frame: DataFrame, names: list[str], kept: bool
) -> DataFrame:
    """The vectors of all texts of the columns; where they are kept, only new ones are encoded.

    What people write of themselves is not kept beyond the run.
    """
    folder = config.features.text_model or ""
    texts = texts_of(frame, names).persist()
    if not kept:
        return encode_texts(texts, load_sentence_encoder(folder)).persist()
    model = find_encoder(folder).digest
    new = texts
    if lakehouse.exists("text_vectors"):
        known = lakehouse.read("text_vectors").where(F.col(c.MODEL) == model)
        new = texts.join(known, c.TEXT_HASH, "anti").persist()
    count = new.count()
    print(f"{count} of {texts.count()} texts are new and encoded", flush=True)
    if not count and new is texts:
        return texts.select(c.TEXT_HASH, F.array().cast("array<float>").alias(c.VECTOR))
    if count:
        encoded = encode_texts(new, load_sentence_encoder(folder)).persist()
        vectors = encoded.withColumn(c.MODEL, F.lit(model))
        lakehouse.append_new("text_vectors", vectors, (c.MODEL, c.TEXT_HASH))
    return lakehouse.read("text_vectors").where(F.col(c.MODEL) == model)


def _say_repeats(ids: DataFrame, source: AttributesSource) -> None:
    named = ids.toDF("id")
    row = named.agg(F.count("id").alias("rows"), F.count_distinct("id").alias("ids")).first()
    if row is not None and row["rows"] > row["ids"]:
        print(
            f"{source.source.name}: {row['rows'] - row['ids']} rows repeat an id in column"
            f" {source.id}; one row of each id is used",
            flush=True,
        )


def _write_pictures(lakehouse: Lakehouse, config: Config, items: _Attributes | None) -> None:
    """Write the items' images and frames of videos, of all columns at once."""
    source, features = config.features.items, config.features
    if items is None or source is None:
        return
    named = {column_name(name, c.ITEM_INDEX) for name in source.kinds}
    decoded: list[DataFrame] = []
    for name, kind in items.kinds.items():
        if kind in {"image", "video"}:
            column = PictureColumn(name, kind, features.video_frames)
            table = f"features.items: {source.source.name}"
            rows, facts = load_pictures(
                items.frame, column, features.image_size, table, name in named
            )
            print(f"{source.source.name}: {facts}", flush=True)
            decoded.append(rows)
    if decoded:
        lakehouse.write("item_images", reduce(DataFrame.unionByName, decoded))


def _training_events(fit: Fit) -> DataFrame | None:
    """The events behind the fit's training pairs; None where the source has neither types
    nor context nor domains."""
    names = fit.config.interactions.columns
    described = names.event_type is not None or names.context or names.domain is not None
    if not fit.config.has_behaviour or not described:
        return None
    training = fit.training_events
    if names.domain is not None:
        training = with_domain_as_context(training)
    return training.select(c.USER_INDEX, c.ITEM_INDEX, c.EVENT_TYPE, c.CONTEXT).persist()


def _with_mix(behaviour: DataFrame, events: DataFrame | None, index_column: str) -> DataFrame:
    if events is None:
        return behaviour
    return behaviour.join(event_mix(events, index_column), index_column, "left")


JOB = Job(BUILD_FEATURES, run)

if __name__ == "__main__":
    command_line(JOB, __doc__)
