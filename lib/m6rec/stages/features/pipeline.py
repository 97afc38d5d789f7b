"""Turn attributes and behaviour into features by a fitted pipeline, which is saved and loaded."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

import numpy as np
from pyspark.ml import PipelineModel, Transformer
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.errors import ArtifactError
from m6rec.files import AnyPlace, FilePlace, as_place, at_hand, written_whole
from m6rec.kernels.neighbours.vectors import VectorSpace
from m6rec.stages.features.blocks import (
    BEHAVIOUR,
    KNOWN,
    NUMERIC,
    PLACED,
    RAW_FEATURES,
    TokenBlock,
    VectorBlock,
    counts_column,
    encode_batches,
    size_column,
)
from m6rec.stages.features.inputs import (
    AttributeColumns,
    clip_known,
    count_tokens,
    join_inputs,
    read_attributes,
    tokens_name,
)
from m6rec.stages.features.vectors import VectorColumn, vectors_name

_MANIFEST = "pipeline.json"
_ARRAYS = "blocks.npz"
_FLOATS = "array<float>"
_STAGES_WITH_PCA = 4


@dataclass(frozen=True)
class FeaturePipeline:
    """A fitted pipeline from attributes and behaviour to the features of users or items.

    Attributes:
        index_column: user_index or item_index.
        columns: the attribute columns.
        behaviour_columns: the behaviour columns.
        blocks: the fitted token columns.
        vectors: the fitted columns of vectors, whose features come after the selected ones.
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
    vectors: tuple[VectorBlock, ...]
    preparation: PipelineModel | None
    selection: tuple[Transformer, ...] | None
    names: tuple[str, ...]
    attribute_width: int
    clip: float

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each position of `features`; PCA components are numbered."""
        names = self.names
        if self.selection is not None and len(self.selection) == _STAGES_WITH_PCA:
            components = self.selection[2].getOrDefault("k")
            names = tuple(f"component {k + 1}" for k in range(components))
        return (*names, *(name for block in self.vectors for name in block.feature_names))

    @property
    def modalities(self) -> tuple[tuple[int, int], ...]:
        """The columns of vectors at the end of `features`: how many vectors, and their width."""
        return tuple((block.column.vectors, block.width) for block in self.vectors)

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """The attribute columns in use."""
        return tuple(self.columns.names)

    @property
    def content_width(self) -> int:
        """The length of a content vector."""
        of_vectors = sum(block.width for block in self.vectors)
        return len(self.columns.numeric) + sum(block.width for block in self.blocks) + of_vectors

    def transform(
        self, attributes: DataFrame | None, behaviour: DataFrame | None, all_indices: DataFrame
    ) -> DataFrame:
        """The features of every index in `all_indices`.

        Returns:
            index_column; features array<float>, standardised and clipped, 0 where attributes or
            behaviour are unknown; content array<float>, of length 1 or zero, or between where there
            are vectors; attributes array<string>, such as `genre: Drama`, rarest first;
            term_indices array<int> and term_weights array<float>, the TF-IDF weights of all tokens
            and the anchors of vectors, of length 1 or empty.

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
        if self.vectors:
            features = F.concat(features, F.col(PLACED))
        return encoded.select(
            self.index_column,
            features.alias(c.FEATURES),
            c.CONTENT,
            c.ATTRIBUTES,
            c.TERM_INDICES,
            c.TERM_WEIGHTS,
        )

    def save(self, path: AnyPlace) -> None:
        """Write the pipeline to a folder: Spark ML models, JSON and npz.

        Raises:
            ArtifactError: the folder cannot be written.
        """
        folder = as_place(path)
        arrays = {f"weights_{k}": block.weights for k, block in enumerate(self.blocks)}
        arrays |= {
            f"projection_{k}": block.projection
            for k, block in enumerate(self.blocks)
            if block.projection is not None
        }
        arrays |= {
            f"{name}_of_vectors_{k}": array
            for k, block in enumerate(self.vectors)
            for name, array in vars(block.space).items()
        }
        try:
            with written_whole(folder / _ARRAYS) as unfinished, unfinished.open("wb") as stream:
                np.savez(stream, **arrays)
        except OSError as error:
            raise ArtifactError(f"cannot write the feature pipeline to {path}: {error}") from error
        if self.preparation is not None:
            self.preparation.write().overwrite().save((folder / "preparation").uri)
        if self.selection is not None:
            models = PipelineModel(list(self.selection))
            models.write().overwrite().save((folder / "selection").uri)
        # The manifest is written last: a folder without one is an unfinished save.
        (folder / _MANIFEST).write_text(json.dumps(self._manifest(), indent=1))

    @staticmethod
    def load(spark: SparkSession, path: AnyPlace) -> "FeaturePipeline":
        """Read a pipeline that `save` has written.

        Raises:
            ArtifactError: the folder holds no complete pipeline.
        """
        folder = as_place(path)
        if not (folder / _MANIFEST).is_file():
            raise ArtifactError(
                f"{path} holds no feature pipeline ({_MANIFEST} is missing); run build_features"
            )
        manifest = json.loads((folder / _MANIFEST).read_text())
        preparation, selection = None, None
        if manifest["prepared"]:
            preparation = PipelineModel.load((folder / "preparation").uri)
        if manifest["selected"]:
            selection = tuple(PipelineModel.load((folder / "selection").uri).stages)
        return FeaturePipeline(
            index_column=manifest["index_column"],
            columns=AttributeColumns(
                tuple(manifest["numeric"]),
                tuple((name, kind) for name, kind in manifest["tokens"]),
                tuple(manifest["separators"]),
                manifest["documents"],
                tuple(manifest["decimal_signs"]),
                tuple(VectorColumn(**column) for column in manifest["vectors"]),
                tuple(manifest["languages"]),
            ),
            behaviour_columns=tuple(manifest["behaviour_columns"]),
            blocks=_load_blocks(folder / _ARRAYS, manifest["blocks"]),
            vectors=_load_vectors(folder / _ARRAYS, manifest["vectors"]),
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
            "decimal_signs": self.columns.decimal_signs,
            "vectors": [asdict(column) for column in self.columns.vectors],
            "languages": self.columns.languages,
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
        """Turn rows of `join_inputs` into index, known, raw (unscaled), placed vectors, content,
        words and terms.
        """
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
            *(vectors_name(k) for k in range(len(self.vectors))),
        )
        index_type = joined.schema[self.index_column].dataType.simpleString()
        encode = partial(
            encode_batches,
            index_column=self.index_column,
            blocks=self.blocks,
            vectors=self.vectors,
        )
        return inputs.mapInArrow(
            encode,
            f"{self.index_column} {index_type}, {KNOWN} boolean, {RAW_FEATURES} array<float>,"
            f" {PLACED} array<float>, {c.CONTENT} array<float>, {c.ATTRIBUTES} array<string>,"
            f" {c.TERM_INDICES} array<int>, {c.TERM_WEIGHTS} array<float>",
        )


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


def _load_blocks(file: FilePlace, described: list[dict[str, Any]]) -> tuple[TokenBlock, ...]:
    with at_hand(file) as path, np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return tuple(
        TokenBlock(
            block["name"],
            block["kind"],
            tuple(block["vocabulary"]),
            arrays[f"weights_{k}"],
            arrays.get(f"projection_{k}"),
        )
        for k, block in enumerate(described)
    )


def _load_vectors(file: FilePlace, described: list[dict[str, Any]]) -> tuple[VectorBlock, ...]:
    with at_hand(file) as path, np.load(path) as stored:
        return tuple(
            VectorBlock(
                VectorColumn(**column),
                VectorSpace(
                    *(stored[f"{part.name}_of_vectors_{k}"] for part in fields(VectorSpace))
                ),
            )
            for k, column in enumerate(described)
        )
