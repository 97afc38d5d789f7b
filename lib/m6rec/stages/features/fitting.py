"""Fit the feature pipeline of users or items on the training fold of a fit.

Attributes become blocks of tokens (see `blocks`), and behaviour comes as numeric columns (see
`behaviour`). Missing numbers are the mean; numbers are standardised, and tokens are counted; then
come the blocks' own projections. Of all these features, those that vary are kept and standardised,
and reduced to their principal components where there are too many.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import assert_never

import numpy as np
import scipy.sparse as sp
from pyspark.ml.functions import array_to_vector
from pyspark.ml.stat import Summarizer
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from m6rec.check.writing import AS_IS, Writing
from m6rec.config.data import FeatureKind, FeaturesConfig, TokenKind
from m6rec.errors import TableError
from m6rec.kernels.arrays.principal_components import Reduction, principal_components
from m6rec.kernels.arrays.rows import Float64, indptr_of
from m6rec.kernels.arrays.standardisation import Selection, Standardisation
from m6rec.kernels.neighbours.content import (
    inverse_document_frequency,
)
from m6rec.kernels.neighbours.vectors import fit_vector_space
from m6rec.spark.arrow_rows import doubles_column
from m6rec.spark.runtimes import arrow_table
from m6rec.stages.features.blocks import (
    BEHAVIOUR,
    NUMERIC,
    RAW_FEATURES,
    SELECTED,
    TokenBlock,
    VectorBlock,
    fit_projection,
    list_counts,
    raw_names,
    tokens_name,
)
from m6rec.stages.features.inputs import (
    AttributeColumns,
    check_columns,
    join_inputs,
    numbers_column,
    read_attributes,
)
from m6rec.stages.features.moments import sums_of
from m6rec.stages.features.pipeline import FeaturePipeline
from m6rec.stages.features.vectors import VectorColumn, vectors_name
from m6rec.stages.features.vocabularies import (
    NO_LANGUAGE,
    NO_SEPARATOR,
    Vocabulary,
    fit_vocabularies,
    inferred_languages,
    token_column,
)

# How many rows the projection of a large vocabulary is learned from: enough for some hundred
# directions, and few enough for the driver however many users there are.
PROJECTION_ROWS = 200_000
# How many numbers of a column of vectors the driver holds to learn its space.
_SAMPLED_NUMBERS = 50_000_000
# Of a mean over millions of numbers.
_ROUNDING = 1e-12
# How many rows the language of a text is inferred by.
_LANGUAGE_ROWS = 2_000


def fit_features(
    attributes: DataFrame | None,
    behaviour: DataFrame | None,
    index_column: str,
    kinds: Mapping[str, FeatureKind],
    config: FeaturesConfig,
    training_indices: DataFrame,
    seed: int,
    writings: Mapping[str, Writing] | None = None,
    vectors: Sequence[VectorColumn] = (),
) -> FeaturePipeline:
    """Fit a pipeline on the rows whose index is in `training_indices`.

    Args:
        attributes: index_column and attribute columns, one row for each index; None without
            attributes.
        behaviour: index_column and double columns from the training fold; None without behaviour.
        index_column: user_index or item_index.
        kinds: the kind of each attribute column, as `infer_columns` gives it.
        config: the features section.
        training_indices: index_column; the users or items of the training fold.
        seed: of the randomized projections.
        writings: how columns that are not plain are written, as `infer_columns` gives it.
        vectors: the columns of kind embedding; those without a vector in a training row are left
            out.

    Raises:
        TableError: a column of `kinds` is missing, or no attribute row is a training row.
    """
    training = training_indices.select(index_column).distinct().persist()
    columns = _fit_columns(attributes, index_column, kinds, training, writings or {})
    languages = _languages(attributes, index_column, columns, config)
    columns = replace(columns, vectors=tuple(vectors), languages=languages)
    behaviour_columns = () if behaviour is None else _other_columns(behaviour, index_column)
    known = read_attributes(attributes, columns, index_column)
    if known is not None:
        known = known.join(training, index_column, "semi").persist()
    blocks = _fit_blocks(known, columns, index_column, config, seed)
    fitted_vectors = _fit_vectors(known, columns, index_column, config, seed)
    joined = join_inputs(training, known, behaviour, index_column, behaviour_columns).persist()
    numeric = len(columns.numeric)
    means = _means(joined, numeric, len(behaviour_columns))
    pipeline = FeaturePipeline(
        index_column=index_column,
        columns=columns,
        behaviour_columns=behaviour_columns,
        blocks=blocks,
        vectors=fitted_vectors,
        numbers=_fit_numbers(joined, means[:numeric]),
        behaviour_means=tuple(means[numeric:].tolist()),
    )
    fitted = _fit_selection(pipeline, joined, config)
    joined.unpersist()
    if known is not None:
        known.unpersist()
    training.unpersist()
    return fitted


def _fit_columns(
    attributes: DataFrame | None,
    index_column: str,
    kinds: Mapping[str, FeatureKind],
    training: DataFrame,
    writings: Mapping[str, Writing],
) -> AttributeColumns:
    """Choose the usable columns; one of numbers without training values is left out."""
    if attributes is None:
        return AttributeColumns()
    check_columns(attributes, list(kinds))
    fields = {name: attributes.schema[name].dataType for name in kinds}
    numeric, tokens = _used_columns(kinds)
    written = [writings.get(name, AS_IS) for name in numeric]
    trained = attributes.join(training, index_column, "semi")
    given = sums_of(trained.select(numbers_column(numeric, fields, written)), len(numeric))
    if not given.rows:
        raise TableError(
            f"no row of the attribute table has an {index_column} of the training fold; check"
            " that features.*.id names the column with the ids that interactions use"
        )
    used = np.flatnonzero(given.counts)
    return AttributeColumns(
        tuple(numeric[k] for k in used),
        tuple(tokens),
        tuple(writings.get(name, AS_IS).separator for name, _ in tokens),
        given.rows,
        tuple(written[k] for k in used),
    )


def _languages(
    attributes: DataFrame | None,
    index_column: str,
    columns: AttributeColumns,
    config: FeaturesConfig,
) -> tuple[str, ...]:
    """For each column of tokens, the language whose stop words are left out if it is text."""
    if attributes is None or config.language != "auto":
        return (config.language,) * len(columns.tokens)
    fields = {name: attributes.schema[name].dataType for name, _ in columns.tokens}
    texts = {
        name: token_column(name, kind, fields[name], NO_SEPARATOR)
        for name, kind in columns.tokens
        if kind == "text"
    }
    inferred = inferred_languages(_rows_by_chance(attributes, index_column, _LANGUAGE_ROWS), texts)
    return tuple(inferred.get(name, NO_LANGUAGE) for name, _ in columns.tokens)


def _used_columns(
    kinds: Mapping[str, FeatureKind],
) -> tuple[list[str], list[tuple[str, TokenKind]]]:
    """The columns that are numbers, and those that are words with their kinds."""
    numeric: list[str] = []
    tokens: list[tuple[str, TokenKind]] = []
    for name, kind in kinds.items():
        match kind:
            case "numeric":
                numeric.append(name)
            case "categorical" | "multi_valued" | "text":
                tokens.append((name, kind))
            case "embedding" | "text_embedding" | "image" | "video" | "ignore":
                pass
            case _:
                assert_never(kind)
    return numeric, tokens


def _fit_blocks(
    known: DataFrame | None,
    columns: AttributeColumns,
    index_column: str,
    config: FeaturesConfig,
    seed: int,
) -> tuple[TokenBlock, ...]:
    if known is None or not columns.tokens:
        return ()
    # One category more than are kept tells whether there are more.
    limits = {
        tokens_name(k): min(config.vocabulary_size, _vocabulary_limit(kind, config) + 1)
        for k, (_, kind) in enumerate(columns.tokens)
    }
    vocabularies = fit_vocabularies(known, limits, config.minimum_count, columns.documents)
    blocks = []
    for k, (name, kind) in enumerate(columns.tokens):
        limit = _vocabulary_limit(kind, config)
        found = vocabularies[tokens_name(k)]
        vocabulary = found.first(limit)
        if len(found.tokens) > limit:
            logging.getLogger(__name__).warning(
                "column %s has more than features.text_rank = %d values; the rarer ones count as"
                " unknown, whatever features.vocabulary_size is",
                name,
                config.text_rank,
            )
        if not vocabulary.tokens:
            continue
        weights = inverse_document_frequency(vocabulary.document_counts, vocabulary.documents)
        projection = None
        if len(vocabulary.tokens) > config.text_rank:
            counts = _collect_counts(known, tokens_name(k), vocabulary, index_column)
            projection = fit_projection(counts, weights, config.text_rank, seed + k)
        blocks.append(TokenBlock(name, kind, vocabulary.tokens, weights, projection))
    return tuple(blocks)


def _fit_vectors(
    known: DataFrame | None,
    columns: AttributeColumns,
    index_column: str,
    config: FeaturesConfig,
    seed: int,
) -> tuple[VectorBlock, ...]:
    """The spaces of the columns of vectors, each fitted on a sample of the training rows."""
    if known is None:
        return ()
    blocks = []
    for k, column in enumerate(columns.vectors):
        name = vectors_name(k)
        numbers = column.length * column.vectors
        placed = known.where(F.size(name) > 0).select(index_column, name)
        most = max(1, min(PROJECTION_ROWS, _SAMPLED_NUMBERS // numbers))
        sample = _rows_by_chance(placed, index_column, most).toPandas().sort_values(index_column)
        given = [*sample[name], np.ones(0)]
        rows = np.concatenate(given).astype(np.float32).reshape(-1, column.length)
        blocks.append(VectorBlock(column, fit_vector_space(rows, config.text_rank, seed + k)))
    return tuple(blocks)


def _vocabulary_limit(kind: TokenKind, config: FeaturesConfig) -> int:
    """The most tokens of a column that are inferred apart."""
    match kind:
        case "categorical":
            # There are no similarities to learn between single categories, so those beyond
            # text_rank count as unknown.
            return min(config.vocabulary_size, config.text_rank)
        case "multi_valued" | "text":
            return config.vocabulary_size
        case _:
            assert_never(kind)


def _collect_counts(
    known: DataFrame, tokens: str, vocabulary: Vocabulary, index_column: str
) -> sp.csr_matrix:
    sample = _rows_by_chance(known.select(index_column, tokens), index_column, PROJECTION_ROWS)
    rows = (
        sample.mapInArrow(
            partial(list_counts, vocabulary=vocabulary.tokens),
            f"{index_column} long, positions array<int>, values array<double>",
        )
        .toPandas()
        .sort_values(index_column)
    )
    lengths = rows["positions"].map(len).to_numpy(np.int64)
    return sp.csr_matrix(
        (
            np.concatenate(rows["values"].to_list()),
            np.concatenate(rows["positions"].to_list()),
            indptr_of(lengths),
        ),
        shape=(len(rows), len(vocabulary.tokens)),
    )


def _means(joined: DataFrame, numeric: int, behaviour: int) -> Float64:
    """The mean of each numeric column and of each behaviour column; 0 where all are missing."""
    if not numeric + behaviour:
        return np.zeros(0)
    return sums_of(joined.select(NUMERIC, BEHAVIOUR), numeric, behaviour).means


def _fit_numbers(joined: DataFrame, means: Float64) -> Standardisation | None:
    """The scale of the numeric columns, with the mean in place of what is missing."""
    if not len(means):
        return None
    about = sums_of(joined.select(NUMERIC), len(means), about=means)
    deviations = np.sqrt(about.sums / max(about.rows - 1, 1))
    # The mean of equal numbers may differ from them by a rounding error.
    deviations[deviations <= _ROUNDING * np.abs(means)] = 0.0
    return Standardisation(means, deviations)


def _spread(vectors: DataFrame) -> tuple[Standardisation, Float64]:
    """Means and deviations of the coordinates of vectors, the only column, and their variances."""
    summary = Summarizer.metrics("mean", "std", "variance").summary(F.col(vectors.columns[0]))
    found = _first(vectors.select(summary.alias("summary")))["summary"]
    means, deviations, variances = (
        np.asarray(found[name].toArray(), np.float64) for name in ("mean", "std", "variance")
    )
    return Standardisation(means, deviations), variances


def _fit_selection(
    pipeline: FeaturePipeline, joined: DataFrame, config: FeaturesConfig
) -> FeaturePipeline:
    names = raw_names(pipeline.blocks, pipeline.columns.numeric, pipeline.behaviour_columns)
    if not names:
        return pipeline
    raw = pipeline.encode(joined).select(array_to_vector(F.col(RAW_FEATURES)))
    spread, variances = _spread(raw)
    kept = np.flatnonzero(variances > config.minimum_variance)
    if not len(kept):
        return pipeline
    described = int((kept < len(names) - len(pipeline.behaviour_columns)).sum())
    standardisation = Standardisation(spread.means[kept], spread.deviations[kept])
    fitted = replace(
        pipeline,
        selection=Selection(kept, standardisation, described, config.clip),
        names=tuple(names[k] for k in kept),
    )
    if len(kept) <= config.maximum_features:
        return fitted
    return replace(fitted, reduction=_fit_reduction(fitted, joined, config))


def _fit_reduction(
    pipeline: FeaturePipeline, joined: DataFrame, config: FeaturesConfig
) -> Reduction:
    """The principal components of the selected features, by a sample of the rows."""
    index_column, width = pipeline.index_column, len(pipeline.names)
    most = max(2, min(PROJECTION_ROWS, _SAMPLED_NUMBERS // width))
    sample = _rows_by_chance(joined, index_column, most)
    encoded = arrow_table(pipeline.encode(sample).select(index_column, SELECTED))
    (ordered,) = encoded.sort_by(index_column).combine_chunks().to_batches()
    return principal_components(doubles_column(ordered, SELECTED), config.maximum_features)


def _rows_by_chance(frame: DataFrame, index_column: str, rows: int) -> DataFrame:
    """At most so many rows, by chance and yet always the same ones."""
    return frame.orderBy(F.xxhash64(index_column), index_column).limit(rows)


def _first(frame: DataFrame) -> Row:
    row = frame.first()
    if row is None:
        raise TableError("an aggregate over the attribute table gave no row")
    return row


def _other_columns(frame: DataFrame, index_column: str) -> tuple[str, ...]:
    return tuple(name for name in frame.columns if name != index_column)
