"""Fit the feature pipeline of users or items on the training fold of a fit.

Attributes become blocks of tokens (see `blocks`), and behaviour comes as numeric columns (see
`behaviour`). The pipeline applies Imputer, StandardScaler and CountVectorizer to the columns, then
the blocks' own projections, then VarianceThresholdSelector and StandardScaler, and PCA where there
are too many features.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import assert_never

import numpy as np
import scipy.sparse as sp
from pyspark.ml import PipelineModel, Transformer
from pyspark.ml.feature import (
    PCA,
    Imputer,
    StandardScaler,
    VarianceThresholdSelector,
    VectorAssembler,
)
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from m6rec.check.numbers import DecimalSign
from m6rec.config.data import FeatureKind, FeaturesConfig, TokenKind
from m6rec.errors import TableError
from m6rec.kernels.arrays.rows import indptr_of
from m6rec.kernels.neighbours.content import (
    inverse_document_frequency,
)
from m6rec.kernels.neighbours.vectors import fit_vector_space
from m6rec.stages.features.blocks import (
    BEHAVIOUR,
    KNOWN,
    NUMERIC,
    RAW_FEATURES,
    TokenBlock,
    VectorBlock,
    fit_projection,
    list_counts,
    raw_names,
)
from m6rec.stages.features.inputs import (
    AttributeColumns,
    behaviour_name,
    check_columns,
    clip_known,
    count_tokens,
    join_inputs,
    number_column,
    numeric_name,
    read_attributes,
    tokens_name,
)
from m6rec.stages.features.pipeline import FeaturePipeline
from m6rec.stages.features.vectors import VectorColumn, vectors_name
from m6rec.stages.features.vocabularies import (
    NO_LANGUAGE,
    NO_SEPARATOR,
    Vocabulary,
    fit_vocabularies,
    separator_votes,
    token_column,
    told_languages,
)

# How many rows the projection of a large vocabulary is learned from: enough for some hundred
# directions, and few enough for the driver however many users there are.
PROJECTION_ROWS = 200_000
# How many numbers of a column of vectors the driver holds to learn its space.
_SAMPLED_NUMBERS = 50_000_000
# How many rows the language of a text is told by.
_LANGUAGE_ROWS = 2_000


def fit_features(
    attributes: DataFrame | None,
    behaviour: DataFrame | None,
    index_column: str,
    kinds: Mapping[str, FeatureKind],
    config: FeaturesConfig,
    training_indices: DataFrame,
    seed: int,
    decimal_signs: Mapping[str, DecimalSign] | None = None,
    vectors: Sequence[VectorColumn] = (),
) -> FeaturePipeline:
    """Fit a pipeline on the rows whose index is in `training_indices`.

    Args:
        attributes: index_column and attribute columns, one row for each index; None without
            attributes.
        behaviour: index_column and double columns from the training fold; None without behaviour.
        index_column: user_index or item_index.
        kinds: the kind of each attribute column, as `infer_kinds` gives it.
        config: the features section.
        training_indices: index_column; the users or items of the training fold.
        seed: of the randomized projections.
        decimal_signs: for numeric columns of text that is not plain, the sign before the fraction.
        vectors: the columns of kind embedding; those without a vector in a training row are left
            out.

    Raises:
        TableError: a column of `kinds` is missing, or no attribute row is a training row.
    """
    training = training_indices.select(index_column).distinct().persist()
    columns = _fit_columns(attributes, index_column, kinds, training, decimal_signs or {})
    languages = _languages(attributes, index_column, columns, config)
    columns = replace(columns, vectors=tuple(vectors), languages=languages)
    behaviour_columns = () if behaviour is None else _other_columns(behaviour, index_column)
    known = read_attributes(attributes, columns, index_column)
    if known is not None:
        known = known.join(training, index_column, "semi").persist()
    blocks = _fit_blocks(known, columns, index_column, config, seed)
    fitted_vectors = _fit_vectors(known, columns, index_column, config, seed)
    joined = join_inputs(
        training, known, behaviour, index_column, columns.numeric, behaviour_columns
    ).persist()
    preparation = _fit_preparation(joined, columns.numeric, behaviour_columns)
    pipeline = FeaturePipeline(
        index_column=index_column,
        columns=columns,
        behaviour_columns=behaviour_columns,
        blocks=blocks,
        vectors=fitted_vectors,
        preparation=preparation,
        selection=None,
        names=(),
        attribute_width=0,
        clip=config.clip,
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
    signs: Mapping[str, DecimalSign],
) -> AttributeColumns:
    """Choose the usable columns in one job; a column without training values is left out."""
    if attributes is None:
        return AttributeColumns()
    check_columns(attributes, list(kinds))
    fields = {name: attributes.schema[name].dataType for name in kinds}
    numeric, tokens = _used_columns(kinds)
    facts = _first(
        attributes.join(training, index_column, "semi").agg(
            F.count(F.lit(1)).alias("documents"),
            *(
                F.count(number_column(name, fields[name], signs.get(name, ""))).alias(f"n_{k}")
                for k, name in enumerate(numeric)
            ),
            *(
                (
                    separator_votes(name, fields[name])
                    if kind == "multi_valued"
                    else F.lit(NO_SEPARATOR)
                ).alias(f"s_{k}")
                for k, (name, kind) in enumerate(tokens)
            ),
        )
    )
    if facts["documents"] == 0:
        raise TableError(
            f"no row of the attribute table has an {index_column} of the training fold; check"
            " that features.*.id names the column with the ids that interactions use"
        )
    used = tuple(name for k, name in enumerate(numeric) if facts[f"n_{k}"] > 0)
    return AttributeColumns(
        used,
        tuple(tokens),
        tuple(facts[f"s_{k}"] for k in range(len(tokens))),
        facts["documents"],
        tuple(signs.get(name, "") for name in used),
    )


def _languages(
    attributes: DataFrame | None,
    index_column: str,
    columns: AttributeColumns,
    config: FeaturesConfig,
) -> tuple[str, ...]:
    """For each column of tokens, whose stop words are left out where it is text."""
    if attributes is None or config.language != "auto":
        return (config.language,) * len(columns.tokens)
    fields = {name: attributes.schema[name].dataType for name, _ in columns.tokens}
    texts = {
        name: token_column(name, kind, fields[name], NO_SEPARATOR)
        for name, kind in columns.tokens
        if kind == "text"
    }
    sample = attributes.orderBy(F.xxhash64(index_column), index_column).limit(_LANGUAGE_ROWS)
    told = told_languages(sample, texts)
    return tuple(told.get(name, NO_LANGUAGE) for name, _ in columns.tokens)


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
        sample = (
            known.where(F.size(name) > 0)
            .select(index_column, name)
            .orderBy(F.xxhash64(index_column), index_column)
            .limit(max(1, min(PROJECTION_ROWS, _SAMPLED_NUMBERS // numbers)))
            .toPandas()
            .sort_values(index_column)
        )
        given = [*sample[name], np.ones(0)]
        rows = np.concatenate(given).astype(np.float32).reshape(-1, column.length)
        blocks.append(VectorBlock(column, fit_vector_space(rows, config.text_rank, seed + k)))
    return tuple(blocks)


def _vocabulary_limit(kind: TokenKind, config: FeaturesConfig) -> int:
    """The most tokens of a column that are told apart."""
    match kind:
        case "categorical":
            # A category has no likeness to learn, so beyond text_rank it is unknown.
            return min(config.vocabulary_size, config.text_rank)
        case "multi_valued" | "text":
            return config.vocabulary_size
        case _:
            assert_never(kind)


def _collect_counts(
    known: DataFrame, tokens: str, vocabulary: Vocabulary, index_column: str
) -> sp.csr_matrix:
    counted = count_tokens(known, tokens, "counts", vocabulary.tokens).select(
        index_column, "counts"
    )
    sample = counted.orderBy(F.xxhash64(index_column), index_column).limit(PROJECTION_ROWS)
    rows = (
        sample.mapInArrow(
            partial(list_counts, index_column=index_column),
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


def _fit_preparation(
    joined: DataFrame, numeric: Sequence[str], behaviour: Sequence[str]
) -> PipelineModel | None:
    """Fit the imputer of means and the assemblers; numeric attributes are standardised as well."""
    names = [numeric_name(k) for k in range(len(numeric))]
    names += [behaviour_name(k) for k in range(len(behaviour))]
    if not names:
        return None
    imputer = Imputer(inputCols=names, outputCols=names, strategy="mean").fit(joined)
    stages: list[Transformer] = [imputer]
    if numeric:
        assembler = VectorAssembler(inputCols=names[: len(numeric)], outputCol="numbers")
        assembled = assembler.transform(imputer.transform(joined))
        scaler = StandardScaler(inputCol="numbers", outputCol=NUMERIC, withMean=True, withStd=True)
        stages += [assembler, scaler.fit(assembled)]
    if behaviour:
        stages.append(VectorAssembler(inputCols=names[len(numeric) :], outputCol=BEHAVIOUR))
    return PipelineModel(stages)


def _fit_selection(
    pipeline: FeaturePipeline, joined: DataFrame, config: FeaturesConfig
) -> FeaturePipeline:
    names = raw_names(pipeline.blocks, pipeline.columns.numeric, pipeline.behaviour_columns)
    if not names:
        return pipeline
    encoded = (
        pipeline.encode(joined)
        .select(KNOWN, array_to_vector(F.col(RAW_FEATURES)).alias(RAW_FEATURES))
        .persist()
    )
    selector = VarianceThresholdSelector(
        featuresCol=RAW_FEATURES, outputCol="selected", varianceThreshold=config.minimum_variance
    ).fit(encoded)
    kept = list(selector.selectedFeatures)
    if not kept:
        encoded.unpersist()
        return pipeline
    selected = selector.transform(encoded)
    scaler = StandardScaler(
        inputCol="selected", outputCol="scaled", withMean=True, withStd=True
    ).fit(selected)
    stages: tuple[Transformer, ...] = (selector, scaler)
    attribute_width = sum(k < len(names) - len(pipeline.behaviour_columns) for k in kept)
    if len(kept) > config.maximum_features:
        scaled = clip_known(scaler.transform(selected), "scaled", attribute_width, config.clip)
        pca = PCA(k=config.maximum_features, inputCol="scaled", outputCol="reduced").fit(scaled)
        rescaler = StandardScaler(
            inputCol="reduced", outputCol="rescaled", withMean=True, withStd=True
        ).fit(pca.transform(scaled))
        stages = (*stages, pca, rescaler)
    encoded.unpersist()
    return replace(
        pipeline,
        selection=stages,
        names=tuple(names[k] for k in kept),
        attribute_width=attribute_width,
    )


def _first(frame: DataFrame) -> Row:
    row = frame.first()
    if row is None:
        raise TableError("an aggregate over the attribute table gave no row")
    return row


def _other_columns(frame: DataFrame, index_column: str) -> tuple[str, ...]:
    return tuple(name for name in frame.columns if name != index_column)
