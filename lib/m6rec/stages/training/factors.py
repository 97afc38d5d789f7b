"""Train the factor models, SVD and ALS, on the cluster.

`matrix` always means the user-item matrix of one fit: columns user_index, item_indices, weights.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from pyspark.sql import DataFrame, SparkSession

from m6rec.config.models import AlsConfig, SvdConfig
from m6rec.files import AnyPlace, FilePlace
from m6rec.kernels.arrays.communicator import Communicator
from m6rec.kernels.arrays.domains import Domain
from m6rec.kernels.arrays.rows import Float32, Rows, indptr_of
from m6rec.kernels.arrays.selection import largest_in_rows
from m6rec.kernels.arrays.sparse_products import count_items
from m6rec.kernels.factors.als import alternating_least_squares
from m6rec.kernels.factors.projection import ATTRIBUTE_WEIGHT, FactorModel
from m6rec.kernels.factors.svd import randomized_svd, svd_factor_model
from m6rec.spark.arrow_rows import ROW_COLUMNS, ROW_SCHEMA, list_array
from m6rec.spark.barrier import run_program
from m6rec.spark.made_rows import made_rows
from m6rec.spark.shipping import HANDED_OVER, Shipped, collect_value, hand_over, ship
from m6rec.stages.training.als_checkpoint import (
    checkpoint_fingerprint,
    resume_from_checkpoint,
    write_checkpoint,
)
from m6rec.stages.training.domains import OF, rows_of_domain

_TERMS_OF_ITEM = 50


def train_svd(
    matrix: DataFrame, n_items: int, config: SvdConfig, seed: int, ranks: int | None = None
) -> FactorModel:
    """Train a randomized SVD on all task slots, or on `ranks`; see m6rec.kernels.factors.svd.

    Raises:
        ClusterError: the cluster cannot run a barrier stage.
    """
    program = partial(_svd_program, n_items=n_items, config=config, seed=seed)
    trained = run_program(matrix, program, HANDED_OVER, ranks)
    model = collect_value(trained, FactorModel, n_items * _bytes_of_item(config.rank))
    return replace(model, projection=model.factors / model.scales[:, None])


def _bytes_of_item(rank: int) -> int:
    """Of a factor model that is handed over: the factor, and what else there is of an item."""
    return 4 * rank + 32


def train_als(
    matrix: DataFrame,
    n_items: int,
    config: AlsConfig,
    seed: int,
    checkpoint_path: AnyPlace | None,
    terms: sp.csr_matrix | None = None,
    initial: Float32 | None = None,
    ranks: int | None = None,
) -> FactorModel:
    """Train by alternating least squares; see m6rec.kernels.factors.als.

    Args:
        matrix: columns user_index, item_indices, weights.
        n_items: M.
        config: rank, iterations, weights and solver.
        seed: of the initial item factors.
        checkpoint_path: a file (local path or URI) that rank 0 writes after every
            `config.checkpoint_every` iterations. A later run with the same rows, config and seed
            goes on from it. Job train_factors removes it when the model is saved. None writes none.
        terms: float32 [M, V]; the items' terms, which take part where `config.attribute_weight`
            is above 0.
        initial: float32 [M, rank]; item factors of an earlier training to start from.
        ranks: how many tasks share the rows; all slots unless given.

    Raises:
        ClusterError: the cluster cannot run a barrier stage.
    """
    program = partial(
        _als_program,
        n_items=n_items,
        config=config,
        seed=seed,
        checkpoint_path=checkpoint_path,
        initial=None if initial is None else ship(matrix.sparkSession, initial),
    )
    rows = matrix.select(*ROW_COLUMNS)
    if terms is not None and config.attribute_weight > 0.0:
        rows = rows.unionByName(attribute_rows(matrix.sparkSession, terms, config.attribute_weight))
    trained = run_program(rows, program, HANDED_OVER, ranks)
    return collect_value(trained, FactorModel, n_items * _bytes_of_item(config.rank))


def train_own_als(
    matrix: DataFrame,
    domains: Sequence[Domain],
    config: AlsConfig,
    seed: int,
    checkpoints: FilePlace | None,
    terms: sp.csr_matrix | None,
    ranks: int | None = None,
) -> FactorModel:
    """ALS of each domain alone as one model: an item's factor is that of its domain's ALS.

    Arguments are as in `train_als`; in the folder `checkpoints` each domain has a file.

    Returns:
        The model, which projects no rows: `own_factor_models` gives those that do.
    """
    n_items = domains[0].n_items
    factors = np.zeros((n_items, config.rank), np.float32)
    counts = np.zeros(n_items, np.int64)
    parameters: dict[str, float] = {}
    for place, domain in enumerate(domains):
        model = train_als(
            rows_of_domain(matrix, domain),
            len(domain.items),
            config,
            seed,
            None if checkpoints is None else checkpoints / str(place),
            None if terms is None else terms[domain.items],
            ranks=ranks,
        )
        factors[domain.items] = model.scored_factors
        counts[domain.items] = model.interaction_counts
        parameters |= {f"{name}{OF}{domain.name}": v for name, v in model.parameters.items()}
    ones = np.ones(n_items, np.float32)
    return FactorModel("own_als", factors, None, ones, parameters, counts)


def attribute_rows(spark: SparkSession, terms: sp.csr_matrix, weight: float) -> DataFrame:
    """Rows for the user-item matrix that stand for terms instead of users, with the terms' items.

    ALS then factorises users and terms alike, with shared item factors (Singh and Gordon 2008,
    "Relational learning via collective matrix factorization").

    Args:
        spark: the session.
        terms: float32 [M, V]; only the heaviest terms of each item are kept. A term that only one
            item has is left out, because it relates that item to no other.
        weight: the weight of an entry is this times the term's weight.

    Returns:
        Columns user_index (below zero for a term), item_indices, weights.
    """
    by_term = sp.csr_matrix(heaviest_terms(terms).T)
    by_term.sort_indices()
    counts = np.diff(by_term.indptr)
    shared = np.flatnonzero(counts > 1)
    by_term = by_term[shared]
    rows = Rows(
        -1 - shared.astype(np.int64),
        by_term.indptr.astype(np.int64),
        by_term.indices.astype(np.int32),
        (weight * by_term.data).astype(np.float32),
    )
    return made_rows(spark, rows, _rows_batch, ROW_SCHEMA, len(rows), rows.entries)


def _rows_batch(rows: Rows, start: int, stop: int) -> pa.RecordBatch:
    part = rows.slice(start, stop)
    return pa.RecordBatch.from_arrays(
        [
            pa.array(part.user_index),
            list_array(part.indptr, part.item_indices),
            list_array(part.indptr, part.weights),
        ],
        names=list(ROW_COLUMNS),
    )


def heaviest_terms(terms: sp.csr_matrix) -> sp.csr_matrix:
    """Only the heaviest terms of each item, so that long texts do not outweigh interactions."""
    kept, counts = largest_in_rows(terms.indptr, terms.data, _TERMS_OF_ITEM)
    parts = (terms.data[kept], terms.indices[kept], indptr_of(counts))
    return sp.csr_matrix(parts, shape=terms.shape)


def _svd_program(
    rows: Rows, communicator: Communicator, n_items: int, config: SvdConfig, seed: int
) -> Iterator[pa.RecordBatch]:
    result = randomized_svd(rows, n_items, config, seed, communicator)
    if communicator.rank == 0:
        # The projection D_i^-b V f equals the factors divided by the scales, so it is not sent.
        yield from hand_over(replace(svd_factor_model(result, config), projection=None))


def _als_program(
    rows: Rows,
    communicator: Communicator,
    n_items: int,
    config: AlsConfig,
    seed: int,
    checkpoint_path: AnyPlace | None,
    initial: Shipped | None,
) -> Iterator[pa.RecordBatch]:
    # A training that starts from earlier factors is over before a checkpoint would pay.
    if checkpoint_path is None or initial is not None:
        given = None if initial is None else initial.load()
        model = alternating_least_squares(rows, n_items, config, seed, communicator, initial=given)
    else:
        fingerprint = checkpoint_fingerprint(rows, n_items, config, seed, communicator)
        start = resume_from_checkpoint(
            checkpoint_path, fingerprint, (n_items, config.rank), communicator
        )
        write = partial(write_checkpoint, checkpoint_path, fingerprint)
        model = alternating_least_squares(rows, n_items, config, seed, communicator, write, start)
    # Rows with a negative user_index stand for terms, so they count as no interaction.
    counts = count_items(rows.slice(int(np.searchsorted(rows.user_index, 0)), len(rows)), n_items)
    communicator.all_reduce(counts)
    parameters = model.parameters | {ATTRIBUTE_WEIGHT: config.attribute_weight}
    model = replace(model, interaction_counts=counts, parameters=parameters)
    if communicator.rank == 0:
        yield from hand_over(model)
