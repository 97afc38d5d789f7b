"""Factor models trained on the cluster.

`matrix` is everywhere the user-item matrix of one fit: columns user_index, item_indices, weights.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.config.models import AlsConfig, SvdConfig
from m6rec.kernels.arrays.communicator import Communicator
from m6rec.kernels.arrays.rows import Rows, indptr_of
from m6rec.kernels.arrays.sparse_products import count_items
from m6rec.kernels.factors.als import alternating_least_squares
from m6rec.kernels.factors.projection import ATTRIBUTE_WEIGHT, FactorModel
from m6rec.kernels.factors.svd import randomized_svd, svd_factor_model
from m6rec.kernels.neighbours.item_neighbours import largest_in_rows
from m6rec.spark.arrow_rows import ROW_COLUMNS, list_array
from m6rec.spark.barrier import run_program
from m6rec.spark.shipping import HANDED_OVER, collect_value, hand_over
from m6rec.stages.training.als_checkpoint import (
    checkpoint_fingerprint,
    resume_from_checkpoint,
    write_checkpoint,
)

_TERMS_OF_ITEM = 50

_ROW_SCHEMA = T.StructType(
    [
        T.StructField(c.USER_INDEX, T.LongType(), False),
        T.StructField(c.ITEM_INDICES, T.ArrayType(T.IntegerType(), False), False),
        T.StructField(c.WEIGHTS, T.ArrayType(T.FloatType(), False), False),
    ]
)


def train_svd(matrix: DataFrame, n_items: int, config: SvdConfig, seed: int) -> FactorModel:
    """Randomized SVD over all task slots; see m6rec.kernels.factors.svd.

    Raises:
        ClusterError: the cluster cannot run a barrier stage.
    """
    program = partial(_svd_program, n_items=n_items, config=config, seed=seed)
    model = collect_value(run_program(matrix, program, HANDED_OVER), FactorModel)
    return replace(model, projection=model.factors / model.scales[:, None])


def train_als(
    matrix: DataFrame,
    n_items: int,
    config: AlsConfig,
    seed: int,
    checkpoint_path: str | None,
    terms: sp.csr_matrix | None = None,
) -> FactorModel:
    """Alternating least squares over all task slots; see m6rec.kernels.factors.als.

    Args:
        matrix: columns user_index, item_indices, weights.
        n_items: M.
        config: of the program.
        seed: of the initial item factors.
        checkpoint_path: a file (local path or URI) that rank 0 writes each
            `config.checkpoint_every` iterations and a later run with the same rows, config and
            seed resumes from; the caller removes it when the model is safe. None writes none.
        terms: float32 [M, V]; of the items, for `config.attribute_weight`.

    Raises:
        ClusterError: the cluster cannot run a barrier stage.
    """
    program = partial(
        _als_program, n_items=n_items, config=config, seed=seed, checkpoint_path=checkpoint_path
    )
    rows = matrix.select(*ROW_COLUMNS)
    if terms is not None and config.attribute_weight > 0.0:
        rows = rows.unionByName(attribute_rows(matrix.sparkSession, terms, config.attribute_weight))
    return collect_value(run_program(rows, program, HANDED_OVER), FactorModel)


def attribute_rows(spark: SparkSession, terms: sp.csr_matrix, weight: float) -> DataFrame:
    """Rows of the user-item matrix that stand for terms: their items, and weights.

    A user and a term are factorised alike (Singh and Gordon 2008, "Relational learning via
    collective matrix factorization", with shared item factors).

    Args:
        spark: the session.
        terms: float32 [M, V]; an item's rows beyond its heaviest terms are left out, and terms of
            one item, which relate it to no other.
        weight: times a term's weight, the weight of an entry.

    Returns:
        Columns user_index (below zero), item_indices, weights.
    """
    by_term = sp.csr_matrix(_heaviest_terms(terms).T)
    by_term.sort_indices()
    counts = np.diff(by_term.indptr)
    shared = np.flatnonzero(counts > 1)
    by_term = by_term[shared]
    table = pa.table(
        {
            c.USER_INDEX: -1 - shared.astype(np.int64),
            c.ITEM_INDICES: list_array(by_term.indptr, by_term.indices.astype(np.int32)),
            c.WEIGHTS: list_array(by_term.indptr, (weight * by_term.data).astype(np.float32)),
        }
    )
    return spark.createDataFrame(table, _ROW_SCHEMA)


def _heaviest_terms(terms: sp.csr_matrix) -> sp.csr_matrix:
    """Each item's heaviest terms, so that long texts do not outgrow the interactions."""
    kept, counts = largest_in_rows(terms.indptr, terms.data, _TERMS_OF_ITEM)
    parts = (terms.data[kept], terms.indices[kept], indptr_of(counts))
    return sp.csr_matrix(parts, shape=terms.shape)


def _svd_program(
    rows: Rows, communicator: Communicator, n_items: int, config: SvdConfig, seed: int
) -> Iterator[pa.RecordBatch]:
    result = randomized_svd(rows, n_items, config, seed, communicator)
    if communicator.rank == 0:
        # The projection D_i^-b V f is the factors over the scales, so it need not travel.
        yield from hand_over(replace(svd_factor_model(result, config), projection=None))


def _als_program(
    rows: Rows,
    communicator: Communicator,
    n_items: int,
    config: AlsConfig,
    seed: int,
    checkpoint_path: str | None,
) -> Iterator[pa.RecordBatch]:
    if checkpoint_path is None:
        model = alternating_least_squares(rows, n_items, config, seed, communicator)
    else:
        fingerprint = checkpoint_fingerprint(rows, n_items, config, seed, communicator)
        start = resume_from_checkpoint(
            checkpoint_path, fingerprint, (n_items, config.rank), communicator
        )
        write = partial(write_checkpoint, checkpoint_path, fingerprint)
        model = alternating_least_squares(rows, n_items, config, seed, communicator, write, start)
    # Terms are no users.
    counts = count_items(rows.slice(int(np.searchsorted(rows.user_index, 0)), len(rows)), n_items)
    communicator.all_reduce(counts)
    parameters = model.parameters | {ATTRIBUTE_WEIGHT: config.attribute_weight}
    model = replace(model, interaction_counts=counts, parameters=parameters)
    if communicator.rank == 0:
        yield from hand_over(model)
