"""Factor models trained on the cluster.

`matrix` is everywhere the user-item matrix of one fit: columns user_index, item_indices, weights.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import scipy.sparse as sp
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.cluster import run_program
from m6rec.config import AlsConfig, MllibAlsConfig, SvdConfig
from m6rec.errors import ArtifactError
from m6rec.kernels.als import train_als as train_als_on_rows
from m6rec.kernels.communicator import Communicator, all_sum
from m6rec.kernels.item_neighbours import largest_in_rows, offsets_of
from m6rec.kernels.projection import (
    ATTRIBUTE_WEIGHT,
    FactorModel,
    build_factor_model,
)
from m6rec.kernels.rows import Float32, Rows
from m6rec.kernels.sparse_products import count_items
from m6rec.kernels.svd import randomized_svd, svd_factor_model
from m6rec.stages.arrow_rows import (
    ROW_COLUMNS,
    list_array,
)
from m6rec.stages.item_counts import interaction_counts
from m6rec.stages.shipping import HANDED_OVER, collect_value, hand_over

_INTERACTIONS_PER_BLOCK = 1_000_000
_MOST_BLOCKS = 200
_TERMS_OF_ITEM = 50

_ROW_SCHEMA = T.StructType(
    [
        T.StructField(c.USER_INDEX, T.LongType(), False),
        T.StructField(c.ITEM_INDICES, T.ArrayType(T.IntegerType(), False), False),
        T.StructField(c.WEIGHTS, T.ArrayType(T.FloatType(), False), False),
    ]
)


def train_svd(matrix: DataFrame, n_items: int, config: SvdConfig, seed: int) -> FactorModel:
    """Randomized SVD over all task slots; see m6rec.kernels.svd.

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
    """Alternating least squares over all task slots; see m6rec.kernels.als.

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
    parts = (terms.data[kept], terms.indices[kept], offsets_of(counts))
    return sp.csr_matrix(parts, shape=terms.shape)


def train_mllib_als(
    matrix: DataFrame,
    n_items: int,
    config: MllibAlsConfig,
    seed: int,
    checkpoint_folder: str | None = None,
) -> tuple[FactorModel, DataFrame]:
    """Spark MLlib's implicit ALS, as a reference.

    Args:
        matrix: columns user_index, item_indices, weights.
        n_items: M.
        config: of the program.
        seed: of the initial factors, which MLlib draws a block of users or items.
        checkpoint_folder: where the session keeps checkpoints from here on; the executors share
            it. More than some 20 iterations need one: without, the plan of the last iteration
            holds all before it, and overflows the JVM's stack.

    Returns:
        The model, whose items without interactions have zero factors, and MLlib's own user
        factors: user_index, factor, of the users that have interactions.
    """
    counts = interaction_counts(matrix, n_items)
    if checkpoint_folder is not None:
        matrix.sparkSession.sparkContext.setCheckpointDir(checkpoint_folder)
    ratings = matrix.select(
        F.col(c.USER_INDEX).cast("int").alias("user"),
        F.explode(F.arrays_zip(c.ITEM_INDICES, c.WEIGHTS)).alias("entry"),
    ).select(
        "user",
        F.col(f"entry.{c.ITEM_INDICES}").alias("item"),
        F.col(f"entry.{c.WEIGHTS}").alias("rating"),
    )
    blocks = _mllib_blocks(int(counts.sum()))
    estimator = ALS(
        rank=config.rank,
        maxIter=config.iterations,
        regParam=config.regularisation,
        numUserBlocks=blocks,
        numItemBlocks=blocks,
        implicitPrefs=True,
        alpha=config.alpha,
        seed=seed,
        userCol="user",
        itemCol="item",
        ratingCol="rating",
    )
    fitted = estimator.fit(ratings)
    factors = np.zeros((n_items, config.rank), np.float32)
    items = fitted.itemFactors.toPandas()
    if len(items):
        factors[items["id"].to_numpy()] = np.stack(items["features"].to_list())
    # MLlib weighs the unobserved by 1, scales weights by alpha and lambda by the count.
    parameters = {
        "unobserved_weight": 1.0,
        "weight_scale": config.alpha,
        "regularisation": config.regularisation,
        "frequency_exponent": 1.0,
        "frequency_offset": 0.0,
        "explicit": 0.0,
        "mean_rating": 0.0,
    }
    model = build_factor_model(
        "mllib_als", factors, None, np.ones(n_items, np.float32), parameters, counts
    )
    users = fitted.userFactors.select(
        F.col("id").cast("long").alias(c.USER_INDEX), F.col("features").alias(c.FACTOR)
    )
    return model, users


def _mllib_blocks(interactions: int) -> int:
    """Blocks of users and of items: a task each an iteration, by the data alone.

    The number of cores must not decide, for the initial factors depend on the blocks.
    """
    return min(max(2, -(-interactions // _INTERACTIONS_PER_BLOCK)), _MOST_BLOCKS)


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
        model = train_als_on_rows(rows, n_items, config, seed, communicator)
    else:
        fingerprint = _fingerprint(rows, n_items, config, seed, communicator)
        start = _resume(checkpoint_path, fingerprint, (n_items, config.rank), communicator)
        write = partial(_write_checkpoint, checkpoint_path, fingerprint)
        model = train_als_on_rows(rows, n_items, config, seed, communicator, write, start)
    # Terms are no users.
    counts = count_items(rows.slice(int(np.searchsorted(rows.user_index, 0)), len(rows)), n_items)
    communicator.all_reduce(counts)
    parameters = model.parameters | {ATTRIBUTE_WEIGHT: config.attribute_weight}
    model = replace(model, interaction_counts=counts, parameters=parameters)
    if communicator.rank == 0:
        yield from hand_over(model)


def _fingerprint(
    rows: Rows, n_items: int, config: AlsConfig, seed: int, communicator: Communicator
) -> str:
    """Says whether a checkpoint was made from the same rows, config and seed."""
    # Sums of whole numbers do not depend on how rows are divided among ranks.
    spread = np.repeat(rows.user_index + 1, rows.counts) * (rows.item_indices.astype(np.int64) + 1)
    sums = np.array(
        [len(rows), rows.entries, spread.sum(), rows.weights.view(np.int32).sum(dtype=np.int64)]
    )
    communicator.all_reduce(sums)
    parts = [n_items, config.model_dump(mode="json"), seed, sums.tolist()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _resume(
    path: str, fingerprint: str, shape: tuple[int, int], communicator: Communicator
) -> tuple[int, Float32] | None:
    iteration, factors = 0, np.zeros(shape, np.float32)
    if communicator.rank == 0:
        found = _read_checkpoint(path, fingerprint)
        if found is not None:
            iteration, factors = found
    done = int(all_sum(communicator, iteration))
    if done == 0:
        return None
    communicator.broadcast(factors)
    return done, factors


def _write_checkpoint(path: str, fingerprint: str, iteration: int, factors: Float32) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, fingerprint=np.array(fingerprint), iteration=iteration, factors=factors)
    files, place = _filesystem(path)
    files.create_dir(os.path.dirname(place), recursive=True)  # noqa: PTH120 - may be a URI's path
    # Written aside and moved, so that a reader never finds half of one.
    aside = f"{place}.writing"
    with files.open_output_stream(aside) as stream:
        stream.write(buffer.getvalue())
    files.move(aside, place)


def _read_checkpoint(path: str, fingerprint: str) -> tuple[int, Float32] | None:
    files, place = _filesystem(path)
    if files.get_file_info(place).type != pafs.FileType.File:
        return None
    with files.open_input_stream(place) as stream:
        content = io.BytesIO(stream.read())
    try:
        with np.load(content, allow_pickle=False) as saved:
            if str(saved["fingerprint"]) != fingerprint:
                return None
            return int(saved["iteration"]), np.ascontiguousarray(saved["factors"], np.float32)
    except (ValueError, KeyError, OSError, EOFError) as error:
        raise ArtifactError(
            f"the ALS checkpoint {path} cannot be read ({error}); remove it to start anew"
        ) from error


def _filesystem(path: str) -> tuple[pafs.FileSystem, str]:
    if "://" in path:
        files, place = pafs.FileSystem.from_uri(path)
        return files, place
    local = path.removeprefix("file:")
    return pafs.LocalFileSystem(), str(Path(local).absolute())
