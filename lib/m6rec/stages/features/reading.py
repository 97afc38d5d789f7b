"""Read feature tables as arrays: features, content and terms of items, and the content encoder."""

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from pyspark.sql import DataFrame

from m6rec import columns as c
from m6rec.kernels.arrays.rows import Float32
from m6rec.kernels.neighbours.content import (
    ContentEncoder,
    ProfileSums,
    content_profiles,
    fit_profile_regression,
    profile_sums,
)
from m6rec.spark.arrow_rows import (
    list_array_from_matrix,
    list_column,
    matrix_column,
    rows_from_batch,
)
from m6rec.spark.collecting import collected_batches
from m6rec.spark.shipping import ShippedArrays, ship_arrays

_NONE = np.zeros(0, np.int64)


def item_terms(batches: Iterable[pa.RecordBatch], n_items: int) -> sp.csr_matrix:
    """The terms of items as float32 [n_items, V]; an item without a row has none.

    `batches` have item_index, term_indices and term_weights.
    """
    items, terms, weights = [_NONE], [_NONE], [_NONE.astype(np.float32)]
    for batch in batches:
        indptr, of_batch = list_column(batch, c.TERM_INDICES)
        items.append(np.repeat(batch.column(c.ITEM_INDEX).to_numpy(), np.diff(indptr)))
        terms.append(of_batch)
        weights.append(list_column(batch, c.TERM_WEIGHTS)[1])
    columns = np.concatenate(terms)
    entries = (np.concatenate(weights), (np.concatenate(items), columns))
    width = int(columns.max(initial=-1)) + 1
    return sp.csr_matrix(entries, shape=(n_items, width), dtype=np.float32)


def read_content_encoder(
    matrix: DataFrame, user_features: DataFrame, item_content: Float32
) -> ContentEncoder:
    """The content encoder of a fit, whose regression is summed over the users' partitions.

    Args:
        matrix: user_index, item_indices, weights of the fit.
        user_features: user_index, content.
        item_content: float32 [M, c]; from `item_matrix`.
    """
    first = user_features.select(c.CONTENT).first()
    width = 0 if first is None else len(first[c.CONTENT])
    if width == 0 or item_content.shape[1] == 0:
        return ContentEncoder(item_content)
    items = ship_arrays(matrix.sparkSession, {c.CONTENT: item_content})
    joined = matrix.select(c.USER_INDEX, c.ITEM_INDICES, c.WEIGHTS).join(
        user_features.select(c.USER_INDEX, c.CONTENT), c.USER_INDEX, "inner"
    )
    sums = joined.mapInArrow(
        partial(_profile_sums, items=items, width=width),
        "gram array<double>, cross array<double>, users long",
    )
    shape = (width, item_content.shape[1])
    total = ProfileSums(np.zeros((width, width)), np.zeros(shape), 0)
    bytes_of_partition = 8 * width * (width + shape[1])
    partitions = int(matrix.sparkSession.conf.get("spark.sql.shuffle.partitions", "200") or 200)
    for batch in collected_batches(sums, partitions * bytes_of_partition):
        grams, crosses = (list_column(batch, name)[1] for name in ("gram", "cross"))
        of_partitions = zip(
            grams.reshape(-1, width, width),
            crosses.reshape(-1, *shape),
            batch.column("users").to_pylist(),
            strict=True,
        )
        for gram, cross, users in of_partitions:
            total += ProfileSums(gram, cross, users)
    return ContentEncoder(item_content, fit_profile_regression(total))


def _profile_sums(
    batches: Iterator[pa.RecordBatch], items: ShippedArrays, width: int
) -> Iterator[pa.RecordBatch]:
    item_content = items.load()[c.CONTENT]
    shape = (width, item_content.shape[1])
    total = ProfileSums(np.zeros((width, width)), np.zeros(shape), 0)
    for batch in batches:
        if batch.num_rows:
            profiles = content_profiles(rows_from_batch(batch), item_content)
            total += profile_sums(profiles, matrix_column(batch, c.CONTENT))
    yield pa.RecordBatch.from_arrays(
        [
            list_array_from_matrix(total.gram.reshape(1, -1)),
            list_array_from_matrix(total.cross.reshape(1, -1)),
            pa.array([total.users], pa.int64()),
        ],
        names=["gram", "cross", "users"],
    )
