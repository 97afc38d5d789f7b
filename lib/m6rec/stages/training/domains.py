"""Models of what users have in one domain alone, for every domain."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from m6rec.kernels.arrays.domains import Domain
from m6rec.kernels.arrays.rows import Float32, Int64
from m6rec.kernels.factors.projection import FactorModel, build_factor_model
from m6rec.spark.arrow_rows import ROW_COLUMNS, ROW_SCHEMA, list_array, rows_from_batch
from m6rec.spark.shipping import Shipped, ship

# Stands between the name of a parameter and that of its domain, in a model of all domains.
OF = " of "


def rows_of_domain(matrix: DataFrame, domain: Domain) -> DataFrame:
    """The matrix cut to a domain's items, by their numbers within it.

    Args:
        matrix: user_index, item_indices, weights.
        domain: the domain.
    """
    cut = partial(_cut_partition, shipped=ship(matrix.sparkSession, domain))
    return matrix.select(*ROW_COLUMNS).mapInArrow(cut, ROW_SCHEMA)


def own_factor_models(
    factors: Float32, parameters: dict[str, float], counts: Int64, domains: Sequence[Domain]
) -> dict[str, FactorModel]:
    """The model of each domain by its name, of the domain's items by their numbers within it.

    Args:
        factors, parameters: of the model that `train_own_als` gives.
        counts: int64 [n_items].
        domains: the domains.
    """
    return {
        domain.name: build_factor_model(
            "own_als",
            factors[domain.items],
            None,
            np.ones(len(domain.items), np.float32),
            {
                name.removesuffix(f"{OF}{domain.name}"): value
                for name, value in parameters.items()
                if name.endswith(f"{OF}{domain.name}")
            },
            counts[domain.items],
        )
        for domain in domains
    }


def _cut_partition(batches: Iterable[pa.RecordBatch], shipped: Shipped) -> Iterator[pa.RecordBatch]:
    domain: Domain = shipped.load()
    for batch in batches:
        rows = rows_from_batch(batch)
        indptr, items = domain.own(rows.indptr, rows.item_indices)
        weights = rows.weights[domain.holds(rows.item_indices)]
        yield pa.RecordBatch.from_arrays(
            [pa.array(rows.user_index), list_array(indptr, items), list_array(indptr, weights)],
            names=list(ROW_COLUMNS),
        )
