"""Train models on what users have in one domain alone, for every domain."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from pyspark.sql import DataFrame

from m6rec.config.models import AlsConfig
from m6rec.kernels.arrays.domains import Domain
from m6rec.kernels.arrays.rows import Float32, Int64
from m6rec.kernels.factors.projection import FactorModel, build_factor_model
from m6rec.spark.arrow_rows import ROW_COLUMNS, list_array, rows_from_batch
from m6rec.spark.shipping import Shipped, ship
from m6rec.stages.training.factors import ROW_SCHEMA, train_als

# Of a parameter's name in a model of all domains: the domain stands before it.
_OF = " of "


def rows_of_domain(matrix: DataFrame, domain: Domain) -> DataFrame:
    """The matrix cut to a domain's items, by their numbers within it.

    Args:
        matrix: user_index, item_indices, weights.
        domain: the domain.
    """
    cut = partial(_cut_partition, shipped=ship(matrix.sparkSession, domain))
    return matrix.select(*ROW_COLUMNS).mapInArrow(cut, ROW_SCHEMA)


def train_own_als(
    matrix: DataFrame,
    domains: Sequence[Domain],
    config: AlsConfig,
    seed: int,
    checkpoints: str | None,
    terms: sp.csr_matrix | None,
) -> FactorModel:
    """ALS of each domain alone as one model: an item's factor is that of its domain's ALS.

    Arguments are as in `train_als`; to the path `checkpoints` each domain adds its place.

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
            None if checkpoints is None else f"{checkpoints}-{place}",
            None if terms is None else terms[domain.items],
        )
        factors[domain.items] = model.scored_factors
        counts[domain.items] = model.interaction_counts
        parameters |= {f"{name}{_OF}{domain.name}": v for name, v in model.parameters.items()}
    ones = np.ones(n_items, np.float32)
    return FactorModel("own_als", factors, None, ones, parameters, counts)


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
                name.removesuffix(f"{_OF}{domain.name}"): value
                for name, value in parameters.items()
                if name.endswith(f"{_OF}{domain.name}")
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
