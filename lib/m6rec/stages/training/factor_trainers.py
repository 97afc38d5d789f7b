"""How each factor model is trained, by the model's name in `rankers.py`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import scipy.sparse as sp
from pyspark.sql import DataFrame

from m6rec.config.models import FactorsConfig
from m6rec.files import AnyPlace, as_place
from m6rec.kernels.arrays.domains import Domain
from m6rec.kernels.arrays.rows import Float32
from m6rec.kernels.factors.projection import FactorModel, aligned_with
from m6rec.stages.training.factors import train_als, train_own_als, train_svd
from m6rec.stages.training.mllib import train_mllib_als


@dataclass(frozen=True)
class FactorInputs:
    """What the factor models of a fit are trained on.

    Attributes:
        matrix: user_index, item_indices, weights.
        n_items: M.
        config: of the factor models.
        seed: of everything that is drawn.
        checkpoints: a folder for checkpoints; each model uses a part of it named like the model.
        terms: float32 [M, V]; the items' terms, or None where ALS does not use attributes.
        earlier: float32 [M, k] by model; the factors of an earlier training, zero for an item that
            it did not know. ALS starts from them. Those of the SVD only give its dimensions their
            meaning: to go on from an earlier basis would add passes each time.
        domains: of the items.
        ranks: how many tasks share the rows; all slots unless given.
        iterations_from_earlier: of ALS, where it starts from earlier factors.
    """

    matrix: DataFrame
    n_items: int
    config: FactorsConfig
    seed: int
    checkpoints: AnyPlace
    terms: sp.csr_matrix | None
    earlier: Mapping[str, Float32] = field(default_factory=dict)
    domains: tuple[Domain, ...] = ()
    ranks: int | None = None
    iterations_from_earlier: int | None = None


@dataclass(frozen=True)
class TrainedFactors:
    """A factor model.

    Attributes:
        model: its item side.
        user_factors: user_index, factor; None where a user's factor follows from the user's row.
    """

    model: FactorModel
    user_factors: DataFrame | None = None


def _svd(inputs: FactorInputs) -> TrainedFactors:
    svd = inputs.config.svd
    model = train_svd(inputs.matrix, inputs.n_items, svd, inputs.seed, inputs.ranks)
    return TrainedFactors(_aligned(model, inputs))


def _als(inputs: FactorInputs) -> TrainedFactors:
    checkpoint = as_place(inputs.checkpoints) / "als"
    config, earlier = inputs.config.als, inputs.earlier.get("als")
    if earlier is not None and earlier.shape[1] != config.rank:
        earlier = None
    if earlier is not None and inputs.iterations_from_earlier is not None:
        config = config.model_copy(update={"iterations": inputs.iterations_from_earlier})
    model = train_als(
        inputs.matrix,
        inputs.n_items,
        config,
        inputs.seed,
        checkpoint,
        inputs.terms,
        earlier,
        inputs.ranks,
    )
    return TrainedFactors(_aligned(model, inputs))


def _aligned(model: FactorModel, inputs: FactorInputs) -> FactorModel:
    earlier = inputs.earlier.get(model.method)
    return model if earlier is None else aligned_with(model, earlier)


def _own_als(inputs: FactorInputs) -> TrainedFactors:
    checkpoints = as_place(inputs.checkpoints) / "own_als"
    model = train_own_als(
        inputs.matrix,
        inputs.domains,
        inputs.config.als,
        inputs.seed,
        checkpoints,
        inputs.terms,
        inputs.ranks,
    )
    return TrainedFactors(model)


def _mllib_als(inputs: FactorInputs) -> TrainedFactors:
    folder = (as_place(inputs.checkpoints) / "mllib_als").uri
    model, users = train_mllib_als(
        inputs.matrix, inputs.n_items, inputs.config.mllib_als, inputs.seed, folder
    )
    return TrainedFactors(model, users)


FACTOR_TRAINERS: Mapping[str, Callable[[FactorInputs], TrainedFactors]] = {
    "svd": _svd,
    "als": _als,
    "own_als": _own_als,
    "mllib_als": _mllib_als,
}
