"""Turn attributes and behaviour into features by a fitted pipeline, which is saved and loaded."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.ml import PipelineModel, Transformer
from pyspark.ml.feature import (
    CountVectorizerModel,
)
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.config.data import TokenKind
from m6rec.errors import ArtifactError, TableError
from m6rec.stages.features.blocks import (
    BEHAVIOUR,
    KNOWN,
    NUMERIC,
    RAW_FEATURES,
    TokenBlock,
    counts_column,
    encode_batches,
    size_column,
)
from m6rec.stages.features.vocabularies import split_text, token_column

_MANIFEST = "pipeline.json"
_ARRAYS = "blocks.npz"
_FLOATS = "array<float>"
_STAGES_WITH_PCA = 4


@dataclass(frozen=True)
class AttributeColumns:
    """The attribute columns that a pipeline uses.

    Attributes:
        numeric: columns of numbers, booleans and dates (as seconds).
        tokens: categorical, multi-valued and text columns, each with its kind.
        separators: for each of `tokens`, what separates the values of a multi-valued string.
        documents: how many training rows have attributes.
    """

    numeric: tuple[str, ...] = ()
    tokens: tuple[tuple[str, TokenKind], ...] = ()
    separators: tuple[str, ...] = ()
    documents: int = 0

    @property
    def names(self) -> list[str]:
        """All used columns."""
        return [*self.numeric, *(name for name, _ in self.tokens)]


@dataclass(frozen=True)
class FeaturePipeline:
    """A fitted pipeline from attributes and behaviour to the features of users or items.

    Attributes:
        index_column: user_index or item_index.
        columns: the attribute columns.
        behaviour_columns: the behaviour columns.
        blocks: the fitted token columns.
        preparation: Imputer and StandardScaler of the numeric columns; None where there are none.
        selection: VarianceThresholdSelector and StandardScaler, then PCA and StandardScaler where
            there were too many features; None where there are no features.
        names: the name of each selected feature.
        attribute_width: how many of the selected features come from attributes.
        clip: features are clipped to ±clip standard deviations.
    """

    index_column: str
    columns: AttributeColumns
    behaviour_columns: tuple[str, ...]
    blocks: tuple[TokenBlock, ...]
    preparation: PipelineModel | None
    selection: tuple[Transformer, ...] | None
    names: tuple[str, ...]
    attribute_width: int
    clip: float

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each position of `features`; PCA components are numbered."""
        if self.selection is not None and len(self.selection) == _STAGES_WITH_PCA:
            components = self.selection[2].getOrDefault("k")
            return tuple(f"component {k + 1}" for k in range(components))
        return self.names

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """The attribute columns in use."""
        return tuple(self.columns.names)

    @property
    def content_width(self) -> int:
        """The length of a content vector."""
        return len(self.columns.numeric) + sum(block.width for block in self.blocks)

    def transform(
        self, attributes: DataFrame | None, behaviour: DataFrame | None, all_indices: DataFrame
    ) -> DataFrame:
        """The features of every index in `all_indices`.

        Returns:
            index_column; features array<float>, standardised and clipped, 0 where attributes or
            behaviour are unknown; content array<float>, of length 1 or zero; attributes
            array<string>, such as `genre: Drama`, rarest first; term_indices array<int> and
            term_weights array<float>, the TF-IDF weights of all tokens, of length 1 or empty.

        Raises:
            TableError: a column that the pipeline was fitted with is missing.
        """
        known = read_attributes(attributes, self.columns, self.index_column)
        indices = all_indices.select(self.index_column).distinct()
        joined = join_inputs(
            indices,
            known,
            behaviour,
            self.index_column,
            self.columns.numeric,
            self.behaviour_columns,
        )
        encoded = self.encode(joined)
        features = F.array().cast(_FLOATS) if self.selection is None else F.col(c.FEATURES)
        if self.selection is not None:
            encoded = _select(encoded, self.selection, self.attribute_width, self.clip)
        return encoded.select(
            self.index_column,
            features.alias(c.FEATURES),
            c.CONTENT,
            c.ATTRIBUTES,
            c.TERM_INDICES,
            c.TERM_WEIGHTS,
        )

    def save(self, path: str) -> None:
        """Write the pipeline to a folder: Spark ML models, JSON and npz.

        Raises:
            ArtifactError: the folder cannot be written.
        """
        folder = Path(path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtifactError(f"cannot write the feature pipeline to {path}: {error}") from error
        if self.preparation is not None:
            self.preparation.write().overwrite().save(_address(folder / "preparation"))
        if self.selection is not None:
            models = PipelineModel(list(self.selection))
            models.write().overwrite().save(_address(folder / "selection"))
        arrays = {f"weights_{k}": block.weights for k, block in enumerate(self.blocks)}
        arrays |= {
            f"projection_{k}": block.projection
            for k, block in enumerate(self.blocks)
            if block.projection is not None
        }
        np.savez(folder / _ARRAYS, **arrays)
        # The manifest is written last: a folder without one is an unfinished save.
        (folder / _MANIFEST).write_text(json.dumps(self._manifest(), indent=1))

    @staticmethod
    def load(spark: SparkSession, path: str) -> "FeaturePipeline":
        """Read a pipeline that `save` has written.

        Raises:
            ArtifactError: the folder holds no complete pipeline.
        """
        folder = Path(path)
        if not (folder / _MANIFEST).is_file():
            raise ArtifactError(
                f"{path} holds no feature pipeline ({_MANIFEST} is missing); run build_features"
            )
        manifest = json.loads((folder / _MANIFEST).read_text())
        with np.load(folder / _ARRAYS) as stored:
            arrays = {name: stored[name] for name in stored.files}
        preparation = (
            PipelineModel.load(_address(folder / "preparation")) if manifest["prepared"] else None
        )
        selection = (
            tuple(PipelineModel.load(_address(folder / "selection")).stages)
            if manifest["selected"]
            else None
        )
        return FeaturePipeline(
            index_column=manifest["index_column"],
            columns=AttributeColumns(
                tuple(manifest["numeric"]),
                tuple((name, kind) for name, kind in manifest["tokens"]),
                tuple(manifest["separators"]),
                manifest["documents"],
            ),
            behaviour_columns=tuple(manifest["behaviour_columns"]),
            blocks=tuple(
                TokenBlock(
                    block["name"],
                    block["kind"],
                    tuple(block["vocabulary"]),
                    arrays[f"weights_{k}"],
                    arrays.get(f"projection_{k}"),
                )
                for k, block in enumerate(manifest["blocks"])
            ),
            preparation=preparation,
            selection=selection,
            names=tuple(manifest["names"]),
            attribute_width=manifest["attribute_width"],
            clip=manifest["clip"],
        )

    def _manifest(self) -> dict[str, Any]:
        return {
            "index_column": self.index_column,
            "numeric": self.columns.numeric,
            "tokens": self.columns.tokens,
            "separators": self.columns.separators,
            "documents": self.columns.documents,
            "behaviour_columns": self.behaviour_columns,
            "blocks": [
                {"name": block.name, "kind": block.kind, "vocabulary": block.vocabulary}
                for block in self.blocks
            ],
            "prepared": self.preparation is not None,
            "selected": self.selection is not None,
            "names": self.names,
            "attribute_width": self.attribute_width,
            "clip": self.clip,
        }

    def encode(self, joined: DataFrame) -> DataFrame:
        """Turn rows of `join_inputs` into index, known, raw (unscaled), content, words, terms."""
        prepared = joined if self.preparation is None else self.preparation.transform(joined)
        positions = {name: k for k, (name, _) in enumerate(self.columns.tokens)}
        tokens = [tokens_name(positions[block.name]) for block in self.blocks]
        for k, block in enumerate(self.blocks):
            prepared = count_tokens(prepared, tokens[k], counts_column(k), block.vocabulary)
        empty = F.array().cast(_FLOATS)
        numeric = F.col(NUMERIC) if self.columns.numeric else None
        behaviour = F.col(BEHAVIOUR) if self.behaviour_columns else None
        inputs = prepared.select(
            self.index_column,
            KNOWN,
            (empty if numeric is None else vector_to_array(numeric, "float32")).alias(NUMERIC),
            (empty if behaviour is None else vector_to_array(behaviour, "float32")).alias(
                BEHAVIOUR
            ),
            *(counts_column(k) for k in range(len(tokens))),
            *(F.size(token).alias(size_column(k)) for k, token in enumerate(tokens)),
        )
        index_type = joined.schema[self.index_column].dataType.simpleString()
        encode = partial(encode_batches, index_column=self.index_column, blocks=self.blocks)
        return inputs.mapInArrow(
            encode,
            f"{self.index_column} {index_type}, {KNOWN} boolean, {RAW_FEATURES} array<float>,"
            f" {c.CONTENT} array<float>, {c.ATTRIBUTES} array<string>,"
            f" {c.TERM_INDICES} array<int>, {c.TERM_WEIGHTS} array<float>",
        )


def read_attributes(
    attributes: DataFrame | None, columns: AttributeColumns, index_column: str
) -> DataFrame | None:
    """The attributes as index_column, known, doubles, and array<string> for token columns."""
    if attributes is None:
        return None
    check_columns(attributes, columns.names)
    fields = {name: attributes.schema[name].dataType for name in columns.names}
    texts = {}
    selected = []
    for k, (name, kind) in enumerate(columns.tokens):
        column = token_column(name, kind, fields[name], columns.separators[k])
        if kind == "text":
            texts[f"text_{k}"] = tokens_name(k)
        selected.append(column.alias(f"text_{k}" if kind == "text" else tokens_name(k)))
    frame = attributes.select(
        F.col(index_column),
        F.lit(True).alias(KNOWN),
        *(
            number_column(name, fields[name]).alias(numeric_name(k))
            for k, name in enumerate(columns.numeric)
        ),
        *selected,
    )
    return split_text(frame, texts)


def _select(
    encoded: DataFrame, stages: Sequence[Transformer], attribute_width: int, clip: float
) -> DataFrame:
    frame = encoded.withColumn(RAW_FEATURES, array_to_vector(F.col(RAW_FEATURES)))
    frame = stages[1].transform(stages[0].transform(frame))
    frame = clip_known(frame, "scaled", attribute_width, clip)
    output = "scaled"
    if len(stages) == _STAGES_WITH_PCA:
        frame = stages[3].transform(stages[2].transform(frame))
        frame = clip_known(frame, "rescaled", 0, clip)
        output = "rescaled"
    return frame.withColumn(c.FEATURES, vector_to_array(F.col(output), "float32"))


def clip_known(frame: DataFrame, column: str, attribute_width: int, clip: float) -> DataFrame:
    """Clip a standardised vector; without attributes, their part is 0, which is the mean."""
    values = F.expr(
        f"transform(standardised, (value, position) -> IF({KNOWN} OR position >="
        f" {attribute_width}, greatest(least(value, {clip}D), -{clip}D), 0D))"
    )
    return (
        frame.withColumn("standardised", vector_to_array(F.col(column)))
        .withColumn(column, array_to_vector(values))
        .drop("standardised")
    )


def join_inputs(
    indices: DataFrame,
    known: DataFrame | None,
    behaviour: DataFrame | None,
    index_column: str,
    numeric: Sequence[str],
    behaviour_columns: Sequence[str],
) -> DataFrame:
    """One row for each index with its attributes and behaviour, and null where there is none."""
    joined = indices
    if known is None:
        joined = joined.withColumn(KNOWN, F.lit(False))
    else:
        joined = joined.join(known, index_column, "left")
        joined = joined.withColumn(KNOWN, F.coalesce(KNOWN, F.lit(False)))
        arrays = {
            field.name: F.coalesce(field.name, F.array().cast("array<string>"))
            for field in known.schema.fields
            if isinstance(field.dataType, T.ArrayType)
        }
        joined = joined.withColumns(arrays) if arrays else joined
    if behaviour_columns:
        if behaviour is None:
            raise TableError(
                f"the pipeline was fitted with the behaviour columns {behaviour_columns}; give"
                " transform a behaviour table"
            )
        check_columns(behaviour, list(behaviour_columns))
        renamed = behaviour.select(
            index_column,
            *(
                F.col(f"`{name}`").cast("double").alias(behaviour_name(k))
                for k, name in enumerate(behaviour_columns)
            ),
        )
        joined = joined.join(renamed, index_column, "left")
    return joined


def count_tokens(
    frame: DataFrame, tokens: str, output: str, vocabulary: Sequence[str]
) -> DataFrame:
    """Add the sparse token counts of an array<string> column, for a given vocabulary."""
    model = CountVectorizerModel.from_vocabulary(list(vocabulary), tokens, output, minTF=1.0)
    return model.transform(frame)


def number_column(name: str, data_type: T.DataType) -> Column:
    """A column as a finite double; dates become seconds, and what is no number becomes null."""
    column = F.col(f"`{name}`")
    if isinstance(data_type, T.StringType):
        value = F.expr(f"try_cast(`{name}` AS DOUBLE)")
    elif isinstance(data_type, T.DateType | T.TimestampType):
        value = F.unix_seconds(column.cast("timestamp")).cast("double")
    else:
        value = column.cast("double")
    finite = value.isNotNull() & ~F.isnan(value) & (F.abs(value) < F.lit(float("inf")))
    return F.when(finite, value)


def check_columns(frame: DataFrame, names: list[str]) -> None:
    """Refuse a table that lacks a column.

    Raises:
        TableError: columns are missing; the message names them.
    """
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise TableError(
            f"the table for features lacks the columns {missing} that the pipeline uses; it has"
            f" {frame.columns}"
        )


def _address(path: Path) -> str:
    return path.absolute().as_uri()


def numeric_name(position: int) -> str:
    """The pipeline's own name of a numeric column; the owner's name may hold any character."""
    return f"number_{position}"


def behaviour_name(position: int) -> str:
    """The pipeline's own name of a behaviour column."""
    return f"behaviour_{position}"


def tokens_name(position: int) -> str:
    """The pipeline's own name of a token column."""
    return f"tokens_{position}"
