"""Turn attributes and behaviour into features by a fitted pipeline, which is saved and loaded."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.check.writing import Writing
from m6rec.errors import ArtifactError
from m6rec.files import AnyPlace, as_place, at_hand, written_whole
from m6rec.kernels.arrays.principal_components import Reduction
from m6rec.kernels.arrays.standardisation import Selection, Standardisation
from m6rec.kernels.neighbours.vectors import VectorSpace
from m6rec.stages.features.blocks import (
    BEHAVIOUR,
    KNOWN,
    NUMERIC,
    PLACED,
    RAW_FEATURES,
    SELECTED,
    Encoding,
    TokenBlock,
    VectorBlock,
    tokens_name,
)
from m6rec.stages.features.inputs import (
    AttributeColumns,
    join_inputs,
    read_attributes,
)
from m6rec.stages.features.vectors import VectorColumn, vectors_name

_MANIFEST = "pipeline.json"
_ARRAYS = "blocks.npz"
# Of the folder; other releases wrote it in another way.
_FORMAT = 5
_FLOATS = "array<float>"


@dataclass(frozen=True)
class FeaturePipeline:
    """A fitted pipeline from attributes and behaviour to the features of users or items.

    Attributes:
        index_column: user_index or item_index.
        columns: the attribute columns.
        behaviour_columns: the behaviour columns.
        blocks: the fitted token columns.
        vectors: the fitted columns of vectors, whose features come after the selected ones.
        numbers: of the numeric columns; a missing number is their mean.
        behaviour_means: what stands for a missing number of each behaviour column.
        selection: the features that vary, standardised; None where there are none.
        reduction: to the principal components where there were too many features, or None.
        names: the name of each selected feature.
    """

    index_column: str
    columns: AttributeColumns
    behaviour_columns: tuple[str, ...]
    blocks: tuple[TokenBlock, ...]
    vectors: tuple[VectorBlock, ...]
    numbers: Standardisation | None = None
    behaviour_means: tuple[float, ...] = ()
    selection: Selection | None = None
    reduction: Reduction | None = None
    names: tuple[str, ...] = ()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each position of `features`; principal components are numbered."""
        names = self.names
        if self.reduction is not None:
            components = self.reduction.directions.shape[1]
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

    @property
    def content_places(self) -> dict[str, int]:
        """The place in a content vector of each attribute that has one of its own.

        Those of a large vocabulary, which is projected, share theirs.
        """
        first, places = len(self.columns.numeric), dict[str, int]()
        for block in self.blocks:
            if block.projection is None:
                names = block.feature_names[: block.width]
                places |= {name: first + place for place, name in enumerate(names)}
            first += block.width
        return places

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
        joined = join_inputs(indices, known, behaviour, self.index_column, self.behaviour_columns)
        encoded = self.encode(joined)
        features = F.col(SELECTED).cast(_FLOATS)
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
        """Write the pipeline to a folder: JSON and npz.

        Raises:
            ArtifactError: the folder cannot be written.
        """
        folder = as_place(path)
        try:
            with written_whole(folder / _ARRAYS) as unfinished, unfinished.open("wb") as stream:
                np.savez(stream, **self._arrays())
        except OSError as error:
            raise ArtifactError(f"cannot write the feature pipeline to {path}: {error}") from error
        # The manifest is written last: a folder without one is an unfinished save.
        (folder / _MANIFEST).write_text(json.dumps(self._manifest(), indent=1))

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        behaviour_means = np.array(self.behaviour_means, np.float64)
        arrays: dict[str, npt.NDArray[Any]] = {"behaviour_means": behaviour_means}
        if self.numbers is not None:
            arrays |= _named(self.numbers, "numbers")
        if self.selection is not None:
            arrays |= {"kept": self.selection.kept}
            arrays |= _named(self.selection.standardisation, "selected")
        if self.reduction is not None:
            arrays |= {"directions": self.reduction.directions}
            arrays |= _named(self.reduction.scale, "components")
        arrays |= {f"weights_{k}": block.weights for k, block in enumerate(self.blocks)}
        arrays |= {
            f"projection_{k}": block.projection
            for k, block in enumerate(self.blocks)
            if block.projection is not None
        }
        return arrays | {
            f"{name}_of_vectors_{k}": array
            for k, block in enumerate(self.vectors)
            for name, array in vars(block.space).items()
        }

    @staticmethod
    def load(path: AnyPlace) -> "FeaturePipeline":
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
        if manifest.get("format") != _FORMAT:
            raise ArtifactError(
                f"{path} holds a feature pipeline of another release, as {_MANIFEST} says; run the"
                " pipeline, or nightly, once with this release"
            )
        with at_hand(folder / _ARRAYS) as file, np.load(file) as stored:
            arrays = {name: stored[name] for name in stored.files}
        selection, reduction = None, None
        if manifest["selected"] is not None:
            selection = Selection(
                arrays["kept"], _standardisation(arrays, "selected"), **manifest["selected"]
            )
        if manifest["reduced"]:
            reduction = Reduction(arrays["directions"], _standardisation(arrays, "components"))
        return FeaturePipeline(
            index_column=manifest["index_column"],
            columns=AttributeColumns(
                tuple(manifest["numeric"]),
                tuple((name, kind) for name, kind in manifest["tokens"]),
                tuple(manifest["separators"]),
                manifest["documents"],
                tuple(Writing(**one) for one in manifest["writings"]),
                tuple(VectorColumn(**column) for column in manifest["vectors"]),
                tuple(manifest["languages"]),
            ),
            behaviour_columns=tuple(manifest["behaviour_columns"]),
            blocks=_blocks(arrays, manifest["blocks"]),
            vectors=_vectors(arrays, manifest["vectors"]),
            behaviour_means=tuple(arrays["behaviour_means"].tolist()),
            numbers=_standardisation(arrays, "numbers") if manifest["numeric"] else None,
            selection=selection,
            reduction=reduction,
            names=tuple(manifest["names"]),
        )

    def _manifest(self) -> dict[str, Any]:
        selected = self.selection
        return {
            "format": _FORMAT,
            "index_column": self.index_column,
            "numeric": self.columns.numeric,
            "tokens": self.columns.tokens,
            "separators": self.columns.separators,
            "documents": self.columns.documents,
            "writings": [asdict(one) for one in self.columns.writings],
            "vectors": [asdict(column) for column in self.columns.vectors],
            "languages": self.columns.languages,
            "behaviour_columns": self.behaviour_columns,
            "blocks": [
                {"name": block.name, "kind": block.kind, "vocabulary": block.vocabulary}
                for block in self.blocks
            ],
            "selected": selected and {"described": selected.described, "clip": selected.clip},
            "reduced": self.reduction is not None,
            "names": self.names,
        }

    def encode(self, joined: DataFrame) -> DataFrame:
        """Turn rows of `join_inputs` into index, known, raw (unscaled), selected (as doubles),
        placed vectors, content, words and terms.

        What is selected stays empty where nothing is, and raw features where something is.
        """
        tokens = self._token_columns
        vectors = (vectors_name(k) for k in range(len(self.vectors)))
        inputs = joined.select(self.index_column, KNOWN, NUMERIC, BEHAVIOUR, *tokens, *vectors)
        encoding = Encoding(
            self.index_column,
            self.blocks,
            self.vectors,
            tokens,
            self.numbers,
            np.array(self.behaviour_means, np.float64),
            self.selection,
            self.reduction,
        )
        index_type = joined.schema[self.index_column].dataType.simpleString()
        return inputs.mapInArrow(
            encoding.of_batches,
            f"{self.index_column} {index_type}, {KNOWN} boolean, {RAW_FEATURES} array<float>,"
            f" {SELECTED} array<double>, {PLACED} array<float>, {c.CONTENT} array<float>,"
            f" {c.ATTRIBUTES} array<string>, {c.TERM_INDICES} array<int>,"
            f" {c.TERM_WEIGHTS} array<float>",
        )

    @property
    def _token_columns(self) -> list[str]:
        """The pipeline's own name of the column of each block."""
        positions = {name: k for k, (name, _) in enumerate(self.columns.tokens)}
        return [tokens_name(positions[block.name]) for block in self.blocks]


def _named(scales: Standardisation, name: str) -> dict[str, npt.NDArray[Any]]:
    return {f"{name}_{part.name}": getattr(scales, part.name) for part in fields(scales)}


def _standardisation(arrays: dict[str, npt.NDArray[Any]], name: str) -> Standardisation:
    return Standardisation(*(arrays[f"{name}_{part.name}"] for part in fields(Standardisation)))


def _blocks(
    arrays: dict[str, npt.NDArray[Any]], described: list[dict[str, Any]]
) -> tuple[TokenBlock, ...]:
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


def _vectors(
    arrays: dict[str, npt.NDArray[Any]], described: list[dict[str, Any]]
) -> tuple[VectorBlock, ...]:
    return tuple(
        VectorBlock(
            VectorColumn(**column),
            VectorSpace(*(arrays[f"{part.name}_of_vectors_{k}"] for part in fields(VectorSpace))),
        )
        for k, column in enumerate(described)
    )
