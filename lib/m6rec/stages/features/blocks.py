"""Turn attribute columns into blocks of numbers: from token counts to dense features and content.

A block is a column of tokens with its vocabulary. A large vocabulary is projected to `text_rank`
dimensions by the right singular vectors of the training rows' TF-IDF matrix; a small one is left as
it is. A content vector consists of all blocks side by side, each scaled to the weight of its kind.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from m6rec import columns as c
from m6rec.config.data import TokenKind
from m6rec.kernels.arrays.principal_components import Reduction
from m6rec.kernels.arrays.rows import Float32, Float64, Int64
from m6rec.kernels.arrays.standardisation import Selection, Standardisation
from m6rec.kernels.neighbours.content import tf_idf, truncated_svd, unit_rows
from m6rec.kernels.neighbours.vectors import VectorSpace
from m6rec.spark.arrow_rows import (
    list_array,
    list_array_from_matrix,
    list_column,
)
from m6rec.stages.features.vectors import VectorColumn, vectors_name

KNOWN = "known"
NUMERIC = "numeric"
BEHAVIOUR = "behaviour"
PLACED = "placed"
RAW_FEATURES = "raw"
SELECTED = "selected"

# Numbers tell less about similarity than words: a difference of a year is not one of genre.
CONTENT_WEIGHTS: Mapping[TokenKind | Literal["numeric", "embedding"], float] = {
    "embedding": 1.0,
    "multi_valued": 1.0,
    "text": 1.0,
    "categorical": 0.7,
    "numeric": 0.3,
}
MAXIMUM_WORDS = 12
_LONGEST_WORD = 60
_LEAST_SQUARE = 1e-12


@dataclass(frozen=True)
class TokenBlock:
    """A fitted token column.

    Attributes:
        name: the owner's column name.
        kind: categorical, multi_valued or text.
        vocabulary: the known tokens; all others count as unknown.
        weights: float32 [v]; inverse document frequencies.
        projection: float32 [v, r], or None where the vocabulary stays as it is.
    """

    name: str
    kind: TokenKind
    vocabulary: tuple[str, ...]
    weights: Float32
    projection: Float32 | None = None

    @property
    def width(self) -> int:
        """Dimensions of the block's values, without the unknown bucket."""
        return len(self.vocabulary) if self.projection is None else self.projection.shape[1]

    @property
    def label(self) -> str:
        """The column as words: `genre:token_seq` gives `genre`, `home_town` gives `home town`."""
        return readable(self.name)

    @property
    def feature_names(self) -> list[str]:
        """The features' names: those of the block's values, then the share of unknown tokens."""
        if self.projection is None:
            names = [f"{self.label}: {token}" for token in self.vocabulary]
        else:
            names = [f"{self.label} direction {k + 1}" for k in range(self.width)]
        return [*names, f"{self.label}: (unknown)"]

    def values(self, counts: sp.csr_matrix) -> Float32:
        """The values of token counts [n, v] as dense vectors, float32 [n, width].

        Text and multi-valued rows have length 1 or 0. A categorical row is one-hot times
        idf / max idf, so that a shared rare category counts more than a shared common one.
        """
        match self.kind:
            case "categorical":
                peak = float(self.weights.max(initial=0.0))
                scale = self.weights / peak if peak > 0 else np.ones_like(self.weights)
                return np.asarray((counts @ sp.diags(scale)).todense(), dtype=np.float32)
            case "multi_valued" | "text":
                return self._directions(counts)
            case _:
                assert_never(self.kind)

    def _directions(self, counts: sp.csr_matrix) -> Float32:
        weighted = tf_idf(counts, self.weights)
        if self.projection is None:
            return np.asarray(weighted.todense(), dtype=np.float32)
        return unit_rows(np.asarray(weighted @ self.projection, dtype=np.float32))


@dataclass(frozen=True)
class VectorBlock:
    """A fitted column of vectors.

    Attributes:
        column: how the column is read.
        space: where its vectors are placed.
    """

    column: VectorColumn
    space: VectorSpace

    @property
    def width(self) -> int:
        """Dimensions of a placed vector."""
        return self.space.width

    @property
    def feature_names(self) -> list[str]:
        """The features' names: the axes of each vector of a row."""
        label = readable(self.column.name)
        several = self.column.vectors > 1
        return [
            f"{label} axis {k + 1}" + (f" of vector {v + 1}" if several else "")
            for v in range(self.column.vectors)
            for k in range(self.width)
        ]

    def place(self, indptr: Int64, values: Float32) -> Float32:
        """Rows' vectors in the space: float32 [n, vectors, width], zero where there is none.

        Args:
            indptr: int64 [n + 1].
            values: float32; the vectors of each row, one after the other.
        """
        length, most = self.column.length, self.column.vectors
        counts = np.diff(indptr) // length
        rows = np.repeat(np.arange(len(counts)), counts)
        places = np.arange(len(rows)) - np.repeat(indptr[:-1] // length, counts)
        placed: Float32 = np.zeros((len(counts), most, self.width), np.float32)
        placed[rows, places] = self.space.place(values.reshape(-1, length))
        return placed


def readable(column: str) -> str:
    """A column name as words."""
    return column.partition(":")[0].replace("_", " ")


def tokens_name(position: int) -> str:
    """The pipeline's own name of a token column; the owner's name may hold any character."""
    return f"tokens_{position}"


def fit_projection(counts: sp.csr_matrix, weights: Float32, rank: int, seed: int) -> Float32:
    """The directions of a large vocabulary: right singular vectors of the rows' TF-IDF matrix.

    Args:
        counts: csr [n, v]; token counts of the training rows, always in the same order.
        weights: float32 [v]; inverse document frequencies.
        rank: how many directions.
        seed: of the random start.

    Returns:
        float32 [v, rank].
    """
    _, vectors = truncated_svd(tf_idf(counts, weights), rank, seed)
    return vectors


def count_tokens(tokens: pa.ListArray, vocabulary: Sequence[str]) -> sp.csr_matrix:
    """How often each row has each token of a vocabulary: csr float64 [n, v].

    Args:
        tokens: lists of strings, without nulls.
        vocabulary: the tokens that are counted.
    """
    indptr = tokens.offsets.to_numpy().astype(np.int64)
    found = pc.index_in(tokens.flatten(), pa.array(vocabulary, pa.string()))
    places = found.fill_null(-1).to_numpy(zero_copy_only=False)
    row = np.repeat(np.arange(len(tokens)), np.diff(indptr))
    known = places >= 0
    counted = sp.csr_matrix(
        (np.ones(int(known.sum())), (row[known], places[known])),
        shape=(len(tokens), len(vocabulary)),
    )
    counted.sum_duplicates()
    return counted


def list_counts(
    batches: Iterable[pa.RecordBatch], vocabulary: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Of batches of an index and tokens: the index, and lists of places and counts."""
    for batch in batches:
        counts = count_tokens(batch.column(1), vocabulary)
        yield pa.RecordBatch.from_arrays(
            [
                batch.column(0),
                list_array(counts.indptr, counts.indices),
                list_array(counts.indptr, counts.data),
            ],
            names=[batch.schema.names[0], "positions", "values"],
        )


def numbers_with_gaps(batch: pa.RecordBatch, name: str, width: int) -> Float64:
    """A column of lists of numbers, of which some are null and some lists are empty.

    Returns:
        float64 [n, width]; NaN for what is missing.
    """
    indptr, values = list_column(batch, name)
    numbers: Float64 = np.full((batch.num_rows, width), np.nan)
    if width:
        numbers[np.diff(indptr) > 0] = values.reshape(-1, width)
    return numbers


@dataclass(frozen=True)
class Encoding:
    """What turns counts and numbers into features, content, words and terms.

    Attributes:
        index_column: user_index or item_index.
        blocks: the fitted token columns.
        vectors: the fitted columns of vectors.
        token_columns: for each block, the column that holds its tokens.
        numbers: standardises the numeric columns, where there are any.
        behaviour_means: float64; what stands for a missing number of each behaviour column.
        selection: of the features, once that has been fitted.
        reduction: of the selected features, where they are too many.
    """

    index_column: str
    blocks: Sequence[TokenBlock]
    vectors: Sequence[VectorBlock]
    token_columns: Sequence[str]
    numbers: Standardisation | None
    behaviour_means: Float64
    selection: Selection | None
    reduction: Reduction | None

    def of_batches(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Batches of index, known, raw, selected, placed, content, words, terms."""
        for batch in batches:
            if batch.num_rows:
                yield _encode(batch, self)

    def numeric(self, batch: pa.RecordBatch) -> Float32:
        """The numeric columns, standardised, 0 where a number is missing: float32 [n, columns]."""
        if self.numbers is None:
            return np.zeros((batch.num_rows, 0), np.float32)
        numbers = numbers_with_gaps(batch, NUMERIC, len(self.numbers.means))
        return np.nan_to_num(self.numbers.of(numbers)).astype(np.float32)

    def behaviour(self, batch: pa.RecordBatch) -> Float32:
        """The behaviour columns: float32 [n, columns]."""
        numbers = numbers_with_gaps(batch, BEHAVIOUR, len(self.behaviour_means))
        return np.where(np.isnan(numbers), self.behaviour_means, numbers).astype(np.float32)

    def raw_or_selected(
        self, raw: Float32, known: npt.NDArray[np.bool_]
    ) -> tuple[Float32, Float64]:
        """The raw features until some are selected, then the selected ones; the other is empty."""
        if self.selection is None:
            return raw, np.zeros((len(raw), 0), np.float64)
        selected = self.selection.of(raw, known)
        if self.reduction is not None:
            selected = self.reduction.of(selected, self.selection.clip)
        return np.zeros((len(raw), 0), np.float32), selected


def raw_names(
    blocks: Sequence[TokenBlock], numeric: Sequence[str], behaviour: Sequence[str]
) -> tuple[str, ...]:
    """The names of the features in `raw`, in order: numbers, blocks, behaviour."""
    names = [readable(name) for name in numeric]
    for block in blocks:
        names += block.feature_names
    # What stands behind a colon is a part of an event type's or a context's value.
    return (*names, *(name.replace("_", " ") for name in behaviour))


def _encode(batch: pa.RecordBatch, encoding: Encoding) -> pa.RecordBatch:
    blocks, vectors = encoding.blocks, encoding.vectors
    numeric = encoding.numeric(batch)
    known: npt.NDArray[np.bool_] = batch.column(KNOWN).to_numpy(zero_copy_only=False)
    raw, content = [numeric], []
    if numeric.shape[1]:
        scale = CONTENT_WEIGHTS["numeric"] / np.sqrt(numeric.shape[1])
        is_known = known.astype(np.float32)[:, None]
        content.append(np.float32(scale) * is_known * np.clip(numeric, -3, 3))
    tokens = [batch.column(name) for name in encoding.token_columns]
    counted = [
        count_tokens(column, block.vocabulary) for column, block in zip(tokens, blocks, strict=True)
    ]
    for column, block, counts in zip(tokens, blocks, counted, strict=True):
        values = block.values(counts)
        raw += [values, _unknown_share(counts, np.diff(column.offsets.to_numpy()))]
        content.append(np.float32(CONTENT_WEIGHTS[block.kind]) * values)
    raw.append(encoding.behaviour(batch))
    weighted = [
        np.float32(CONTENT_WEIGHTS[block.kind]) * tf_idf(counts, block.weights)
        for block, counts in zip(blocks, counted, strict=True)
    ]
    placed = [np.zeros((batch.num_rows, 0), np.float32)]
    for position, of_vectors in enumerate(vectors):
        each = of_vectors.place(*list_column(batch, vectors_name(position)))
        # Scaled so, the numbers of a vector vary by about 1, as standardised features do.
        placed.append(each.reshape(batch.num_rows, -1) * np.float32(np.sqrt(2 * of_vectors.width)))
        mean = mean_vectors(each)
        content.append(np.float32(CONTENT_WEIGHTS["embedding"]) * mean)
        near = of_vectors.space.terms(mean)
        weighted.append(np.float32(CONTENT_WEIGHTS["embedding"]) * near)
    terms = _terms(weighted) if weighted else sp.csr_matrix((batch.num_rows, 0), dtype="f4")
    empty = np.zeros((batch.num_rows, 0), dtype=np.float32)
    unscaled, selected = encoding.raw_or_selected(np.hstack(raw).astype(np.float32), known)
    return pa.RecordBatch.from_arrays(
        [
            batch.column(encoding.index_column),
            batch.column(KNOWN),
            list_array_from_matrix(unscaled),
            list_array_from_matrix(selected),
            list_array_from_matrix(np.hstack(placed)),
            list_array_from_matrix(_joined([empty, *content], len(vectors))),
            pa.array(_words(counted, blocks, batch.num_rows), pa.list_(pa.string())),
            list_array(terms.indptr, terms.indices),
            list_array(terms.indptr, terms.data),
        ],
        names=[
            encoding.index_column,
            KNOWN,
            RAW_FEATURES,
            SELECTED,
            PLACED,
            c.CONTENT,
            c.ATTRIBUTES,
            c.TERM_INDICES,
            c.TERM_WEIGHTS,
        ],
    )


def mean_vectors(vectors: Float32) -> Float32:
    """The mean of the vectors [n, vectors, width] that each row has, float32 [n, width]."""
    counts = vectors.any(axis=2).sum(axis=1)
    mean: Float32 = vectors.sum(axis=1) / np.maximum(counts, 1).astype(np.float32)[:, None]
    return mean


def _joined(blocks: Sequence[Float32], vectors: int) -> Float32:
    """Blocks side by side, of which the last `vectors` are of vectors: rows no longer than 1.

    Rows are scaled as if each vector had its full length, so that one that says little stays short.
    """
    joined = np.hstack(blocks)
    if not vectors:
        return unit_rows(joined)
    first = len(blocks) - vectors
    squares = sum(np.einsum("nk,nk->n", block, block) for block in blocks[:first])
    full = CONTENT_WEIGHTS["embedding"] ** 2
    squares = squares + sum(full * block.any(axis=1) for block in blocks[first:])
    lengths = np.sqrt(np.maximum(squares, _LEAST_SQUARE))[:, None]
    return np.asarray(joined / lengths, dtype=np.float32)


def _terms(weighted: Sequence[sp.csr_matrix]) -> sp.csr_matrix:
    """The terms of all blocks side by side, float32 [n, sum of v], rows of length 1."""
    joined = sp.csr_matrix(sp.hstack(weighted, format="csr"), dtype=np.float32)
    lengths = np.sqrt(np.asarray(joined.multiply(joined).sum(axis=1)).ravel())
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    unit = sp.csr_matrix(sp.diags(scale) @ joined, dtype=np.float32)
    unit.sort_indices()
    return unit


def _unknown_share(counts: sp.csr_matrix, sizes: Int64) -> Float32:
    tokens = np.asarray(counts.sum(axis=1)).reshape(-1)
    share = 1.0 - np.divide(tokens, sizes, out=np.ones_like(tokens), where=sizes > 0)
    return share.astype(np.float32)[:, None]


def _words(
    counted: Sequence[sp.csr_matrix], blocks: Sequence[TokenBlock], rows: int
) -> list[list[str]]:
    words: list[list[tuple[float, str]]] = [[] for _ in range(rows)]
    for counts, block in zip(counted, blocks, strict=True):
        if block.kind == "text":
            continue
        for row in range(rows):
            for token in counts.indices[counts.indptr[row] : counts.indptr[row + 1]]:
                if len(block.vocabulary[token]) <= _LONGEST_WORD:
                    word = f"{block.label}: {block.vocabulary[token]}"
                    words[row].append((-float(block.weights[token]), word))
    return [[word for _, word in sorted(each)[:MAXIMUM_WORDS]] for each in words]
