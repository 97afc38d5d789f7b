"""Train item neighbours, local ridge, transitions and content neighbours of one fit on the cluster.

Item neighbours and the ridge start from gram rows. A block of target items needs only the rows of
users who have one of its items, so each partition of users sends a row once to each block that it
touches. The task of a block adds up the gram rows of its targets and prunes them, and only what is
kept is collected. The ridge's systems are then solved for each target item with the pruned gram,
which every executor maps into memory.

The memory is bounded. A task holds at most `ROWS_AT_ONCE` interactions and the gram entries of one
block (about `BLOCK_ENTRIES`). The driver and each executor hold `GRAM_BUDGET` gram entries of 8
bytes, or more where there are so many items that this would leave each fewer entries than the ridge
has candidates. A user's row is cut to `maximum_history` interactions, so that no user costs the
square of an unbounded number.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.models import ContentNeighboursConfig, NeighboursConfig
from m6rec.kernels.arrays.domains import Domain
from m6rec.kernels.arrays.rows import Float32, Float64, Int32, Int64, Rows
from m6rec.kernels.neighbours.content_neighbours import content_weights, warm_postings
from m6rec.kernels.neighbours.item_neighbours import (
    GramBlock,
    ItemWeights,
    item_weights_from_scipy,
    prune_rows,
    sample_long_rows,
    similar_items,
    transpose,
)
from m6rec.kernels.neighbours.ridge import (
    Gram,
    pruned_gram_rows,
    ridge_penalty,
    solve_all,
    solve_targets,
    uses_all_candidates,
)
from m6rec.kernels.neighbours.user_neighbours import CandidateUsers
from m6rec.spark.arrow_rows import ROW_COLUMNS, rows_from_batch
from m6rec.spark.shipping import Shipped, ship
from m6rec.stages.pairs.matrix import sample_users
from m6rec.stages.training.domains import rows_of_domain
from m6rec.stages.training.gram import MatrixStatistics, gram_pieces, matrix_statistics
from m6rec.stages.training.item_weights import item_weights_of_pieces
from m6rec.stages.training.pieces import (
    PACKED_SCHEMA,
    Pieces,
    collect_pieces,
    packed_pieces,
    sorted_by_key,
    task_count,
)
from m6rec.stages.training.transitions import train_transitions
from m6rec.towers.boosting import HALVES

GRAM_BUDGET = 120_000_000
GRAM_ENTRIES = 2_000
# The share of likeness by content vectors, unless the config says it, without and with vectors of
# the owner's. Terms of words tell more than their projection; those of vectors are only anchors.
SHARE_OF_CONTENT, SHARE_WITH_VECTORS = 0.25, 0.75
# Of a user, on average, to tell how much room many users take; few have as many as are kept.
_ENTRIES_OF_A_HISTORY = 512
KEPT_BUDGET = 1_500_000
KEPT_ENTRIES = 100


def train_item_neighbours(
    matrix: DataFrame,
    n_items: int,
    config: NeighboursConfig,
    statistics: MatrixStatistics | None = None,
) -> ItemWeights:
    """Train normalised co-occurrence, top K for each target (kernels.neighbours.item_neighbours).

    Args:
        matrix: user_index, item_indices, weights of one fit; the weights are R's values.
        n_items: M.
        config: of the neighbours.
        statistics: what `matrix_statistics` says of the matrix; counted unless given.
    """
    if statistics is None:
        statistics = matrix_statistics(matrix, n_items, config.maximum_history)
    prune = partial(
        _similar_pieces, neighbours=config.neighbours, item_exponent=config.item_exponent
    )
    by_target = gram_pieces(
        matrix,
        n_items,
        config.maximum_history,
        statistics,
        False,
        config.user_exponent,
        prune,
        config.neighbours,
    )
    return transpose(item_weights_of_pieces(by_target, n_items))


def train_ridge(
    matrix: DataFrame,
    n_items: int,
    config: NeighboursConfig,
    statistics: MatrixStatistics | None = None,
) -> ItemWeights:
    """Train local ridge weights, and keep the largest of each item (kernels.neighbours.ridge).

    Args:
        matrix: user_index, item_indices, weights of one fit; every interaction counts as 1.
        n_items: M.
        config: of the neighbours.
        statistics: what `matrix_statistics` says of the matrix; counted unless given.

    Raises:
        DataError: the matrix has no interactions.
    """
    settings = config.ridge
    if statistics is None:
        statistics = matrix_statistics(matrix, n_items, config.maximum_history)
    degrees = statistics.counts.astype(np.float64)
    scale = statistics.mean_scale(2.0 * settings.user_exponent)
    penalty = ridge_penalty(settings.regularisation, scale, degrees, settings.item_exponent)
    everything = uses_all_candidates(n_items, settings.candidates)
    entries = n_items if everything else gram_entries(n_items, settings.candidates)
    prune = partial(_pruned_gram_pieces, item_exponent=settings.item_exponent, entries=entries)
    pieces = gram_pieces(
        matrix,
        n_items,
        config.maximum_history,
        statistics,
        True,
        2.0 * settings.user_exponent,
        prune,
        entries,
    )
    rows = item_weights_of_pieces(pieces, n_items)
    gram = Gram(rows.indptr, rows.neighbour_indices, rows.weights, degrees)
    kept = settings.kept or kept_entries(n_items)
    if everything:
        return prune_rows(solve_all(gram, penalty, settings.item_exponent), kept)
    spark = matrix.sparkSession
    solve = partial(
        _solve_partition,
        gram=ship(spark, gram),
        candidates=settings.candidates,
        penalty=penalty,
        item_exponent=settings.item_exponent,
    )
    solved = _numbered_tasks(spark, n_items).mapInArrow(solve, PACKED_SCHEMA)
    pieces = collect_pieces(solved, n_items, settings.candidates)
    found = item_weights_of_pieces(pieces, n_items)
    return prune_rows(transpose(found), kept)


def train_cross_fitted_ridge(
    matrix: DataFrame, n_items: int, config: NeighboursConfig
) -> tuple[ItemWeights, ...]:
    """The local ridge for the users of each half, trained on those of the other (`half_of`).

    Args:
        matrix: user_index, item_indices, weights of one fit.
        n_items: M.
        config: of the neighbours.
    """
    half = F.col(c.USER_INDEX) % HALVES
    return tuple(train_ridge(matrix.where(half != own), n_items, config) for own in range(HALVES))


def train_own_ridge(
    matrix: DataFrame, counts: Int64, domains: Sequence[Domain], config: NeighboursConfig
) -> ItemWeights:
    """The local ridge of each domain alone: no item has a weight on one of another domain.

    Args:
        matrix: user_index, item_indices, weights of one fit.
        counts: int64 [n_items]; how many users have each item.
        domains: the domains; one without any interaction gets no weights.
        config: of the neighbours.
    """
    n_items = domains[0].n_items
    # The budget is that of all items: each of many small domains would take a whole one.
    kept = config.ridge.kept or kept_entries(n_items)
    config = config.model_copy(update={"ridge": config.ridge.model_copy(update={"kept": kept})})
    found = [(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))]
    for domain in (one for one in domains if counts[one.items].any()):
        own = train_ridge(rows_of_domain(matrix, domain), len(domain.items), config)
        history = np.repeat(domain.items, np.diff(own.indptr))
        found.append((history, domain.items[own.neighbour_indices], own.weights))
    histories, targets, weights = (np.concatenate(parts) for parts in zip(*found, strict=True))
    total = sp.csr_matrix((weights, (histories, targets)), shape=(n_items, n_items))
    return item_weights_from_scipy(total)


def train_content_neighbours(
    spark: SparkSession,
    terms: sp.csr_matrix,
    vectors: Float32,
    interaction_counts: Int64,
    config: ContentNeighboursConfig,
    seed: int,
    of_vectors: bool = False,
) -> ItemWeights:
    """Train content weights, by history item (see kernels.neighbours.content_neighbours).

    Args:
        spark: the session whose executors solve the systems.
        terms: float32 [M, V]; the items' terms.
        vectors: float32 [M, c]; the items' content vectors.
        interaction_counts: int64 [M].
        config: of the content neighbours.
        seed: of the samples of items for terms that very many items have.
        of_vectors: whether the items have vectors of the owner's.
    """
    return transpose(
        content_weights_by_target(
            spark, terms, vectors, interaction_counts, config, seed, of_vectors
        )
    )


def content_weights_by_target(
    spark: SparkSession,
    terms: sp.csr_matrix,
    vectors: Float32,
    interaction_counts: Int64,
    config: ContentNeighboursConfig,
    seed: int,
    of_vectors: bool = False,
    first: int = 0,
) -> ItemWeights:
    """Content weights by target of the items from `first` on; the rows of the others are empty.

    The other arguments are those of `train_content_neighbours`.
    """
    n_items = terms.shape[0]
    postings = warm_postings(terms, interaction_counts, config.longest_posting, seed)
    shipped = ship(spark, (terms, vectors, postings))
    share = share_of_vectors(config, of_vectors)
    solve = partial(
        _solve_content_partition, shipped=shipped, config=config, vector_share=share, first=first
    )
    solved = _numbered_tasks(spark, n_items - first).mapInArrow(solve, PACKED_SCHEMA)
    pieces = collect_pieces(solved, n_items, config.candidates)
    return item_weights_of_pieces(pieces, n_items)


def share_of_vectors(config: ContentNeighboursConfig, of_vectors: bool) -> float:
    """The share of likeness that is by vectors; `of_vectors`: whether the owner gave some."""
    if config.vector_share is not None:
        return config.vector_share
    return SHARE_WITH_VECTORS if of_vectors else SHARE_OF_CONTENT


def candidate_users(matrix: DataFrame, config: NeighboursConfig, seed: int) -> CandidateUsers:
    """Collect a sample of at most `maximum_candidate_users` users with history.

    Args:
        matrix: user_index, item_indices, weights of one fit.
        config: the size of the sample, and the length to which rows are cut.
        seed: of the sample.
    """
    with_history = matrix.where(F.size(c.ITEM_INDICES) > 0).select(*ROW_COLUMNS)
    chosen = sample_users(with_history, config.maximum_candidate_users, seed, second_draw=True)
    pack = partial(_pack_rows_partition, maximum_history=config.maximum_history)
    packed = chosen.mapInArrow(pack, PACKED_SCHEMA)
    pieces = sorted_by_key(
        collect_pieces(packed, config.maximum_candidate_users, _ENTRIES_OF_A_HISTORY)
    )
    return CandidateUsers(Rows(pieces.keys, pieces.indptr, pieces.indices, pieces.values))


@dataclass(frozen=True)
class NeighbourInputs:
    """What item-item weights of a fit are trained on.

    Attributes:
        matrix: user_index, item_indices, weights, and for transitions times.
        n_items: M.
        statistics: what `matrix_statistics` says of the matrix.
        config: of the neighbours.
        seed: of samples.
        terms: float32 [M, V]; the items' terms, or None where items have no attributes.
        vectors: float32 [M, c]; the items' content vectors, or None likewise.
        of_vectors: whether the items have vectors of the owner's.
        domains: of the items.
    """

    matrix: DataFrame
    n_items: int
    statistics: MatrixStatistics
    config: NeighboursConfig
    seed: int
    terms: sp.csr_matrix | None
    vectors: Float32 | None
    of_vectors: bool = False
    domains: tuple[Domain, ...] = ()


def _item_neighbours_of(inputs: NeighbourInputs) -> ItemWeights:
    return train_item_neighbours(inputs.matrix, inputs.n_items, inputs.config, inputs.statistics)


def _ridge_of(inputs: NeighbourInputs) -> ItemWeights:
    return train_ridge(inputs.matrix, inputs.n_items, inputs.config, inputs.statistics)


def _own_ridge_of(inputs: NeighbourInputs) -> ItemWeights:
    counts = inputs.statistics.counts
    return train_own_ridge(inputs.matrix, counts, inputs.domains, inputs.config)


def _transitions_of(inputs: NeighbourInputs) -> ItemWeights:
    return train_transitions(inputs.matrix, inputs.n_items, inputs.config)


def _content_neighbours_of(inputs: NeighbourInputs) -> ItemWeights:
    assert inputs.terms is not None and inputs.vectors is not None
    return train_content_neighbours(
        inputs.matrix.sparkSession,
        inputs.terms,
        inputs.vectors,
        inputs.statistics.counts,
        inputs.config.content,
        inputs.seed,
        inputs.of_vectors,
    )


# By the name of the model in `rankers.py` and in table `item_neighbours`.
NEIGHBOUR_TRAINERS: Mapping[str, Callable[[NeighbourInputs], ItemWeights]] = {
    "item_neighbours": _item_neighbours_of,
    "ridge": _ridge_of,
    "own_ridge": _own_ridge_of,
    "transitions": _transitions_of,
    "content_neighbours": _content_neighbours_of,
}


def gram_entries(n_items: int, candidates: int) -> int:
    """How many entries of a gram row are kept: within the budget, but at least the candidates."""
    return max(candidates, min(GRAM_ENTRIES, GRAM_BUDGET // max(n_items, 1)))


def kept_entries(n_items: int) -> int:
    """How many weights of a history item are kept: more in a small catalogue.

    Small weights help as well. On MovieLens-100K (1,682 items), 100 weights for each item reach an
    NDCG@10 of .434, and all weights reach .443.
    """
    return max(KEPT_ENTRIES, KEPT_BUDGET // max(n_items, 1))


def _similar_pieces(
    block: GramBlock, degrees: Float64, unit: float, neighbours: int, item_exponent: float
) -> Pieces:
    rows = similar_items(block, degrees, unit, neighbours, item_exponent)
    return Pieces(block.targets.astype(np.int64), rows.indptr, rows.neighbour_indices, rows.weights)


def _pruned_gram_pieces(
    block: GramBlock, degrees: Float64, unit: float, item_exponent: float, entries: int
) -> Pieces:
    rows = pruned_gram_rows(block, degrees, item_exponent, entries)
    return Pieces(block.targets.astype(np.int64), *rows)


def _solve_partition(
    batches: Iterable[pa.RecordBatch],
    gram: Shipped,
    candidates: int,
    penalty: float,
    item_exponent: float,
) -> Iterator[pa.RecordBatch]:
    shared: Gram = gram.load()
    for targets in _targets_of(batches, len(shared)):
        solved = solve_targets(shared, targets, candidates, penalty, item_exponent)
        yield from _packed_weights(targets, solved)


def _solve_content_partition(
    batches: Iterable[pa.RecordBatch],
    shipped: Shipped,
    config: ContentNeighboursConfig,
    vector_share: float,
    first: int,
) -> Iterator[pa.RecordBatch]:
    terms, vectors, postings = shipped.load()
    for targets in _targets_of(batches, terms.shape[0], first):
        solved = content_weights(
            terms,
            vectors,
            postings,
            targets,
            config.candidates,
            vector_share,
            config.regularisation,
        )
        yield from _packed_weights(targets, solved)


def _numbered_tasks(spark: SparkSession, n_items: int) -> DataFrame:
    """A row for each task: its number, and how many tasks there are."""
    tasks = min(n_items, 4 * task_count(spark))
    return spark.range(0, tasks, 1, tasks).withColumn("tasks", F.lit(tasks))


def _targets_of(batches: Iterable[pa.RecordBatch], n_items: int, first: int = 0) -> Iterator[Int32]:
    """The items of each task, interleaved, because neighbouring items are often equally popular."""
    for batch in batches:
        numbers = zip(
            batch.column("id").to_pylist(), batch.column("tasks").to_pylist(), strict=True
        )
        for number, tasks in numbers:
            yield np.arange(first + number, n_items, tasks, dtype=np.int32)


def _packed_weights(targets: Int32, solved: ItemWeights) -> Iterator[pa.RecordBatch]:
    yield from packed_pieces(
        Pieces(targets.astype(np.int64), solved.indptr, solved.neighbour_indices, solved.weights)
    )


def _pack_rows_partition(
    batches: Iterable[pa.RecordBatch], maximum_history: int
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        rows = sample_long_rows(rows_from_batch(batch), maximum_history)
        yield from packed_pieces(
            Pieces(rows.user_index, rows.indptr, rows.item_indices, rows.weights)
        )
