"""What each step costs, in users N, items M, interactions E, rank k and the cluster's size.

A cost is work by kind, divided by the rate of that kind (benchmark.json's `constants`), and bytes.
Rates are of one core; work is of the core that has most. Arrays are float32 and int32 unless said
otherwise.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from m6rec.config.models import AlsConfig, NeighboursConfig, SvdConfig
from m6rec.config.towers import TowersConfig
from m6rec.kernels.ranking import top_n as top_n_kernel
from m6rec.stages.training.gram import BLOCK_ENTRIES
from m6rec.stages.training.neighbours import GRAM_BUDGET
from m6rec.towers.batches import POOL_ROWS

WORD = 4
DOUBLE = 8
NETWORK = "network_bytes_per_second"
# An entry of a row beside a vector of k: multiply and add for the dot product and for the sum.
_OPERATIONS_OF_ENTRY = 4
# Indices and weights as read, then index, confidence and right-hand side by user and by item.
_ALS_WORDS_OF_ENTRY = 2 + 3 + 3
# Item factors, residuals, directions and products.
_ALS_ITEM_ARRAYS = 4
# User vectors of up to so many bytes are close to a rank, those of so many or more far, in memory;
# in between it goes by the logarithm.
CLOSE_BYTES, FAR_BYTES = 32e6, 256e6
# Indices and weights as read and normalised.
_SVD_WORDS_OF_ENTRY = 4
# The basis, the one before, the image and a product in the making.
_SVD_ITEM_ARRAYS = 4
_FORWARD_AND_BACKWARD = 3
# Parameters, gradients and both moments of AdamW.
_COPIES_OF_PARAMETERS = 4


@dataclass(frozen=True)
class Matrix:
    """Sizes; `pairs` is the sum over users of the squared length of their history."""

    users: float
    items: float
    interactions: float
    pairs: float = 0.0


@dataclass(frozen=True)
class Cluster:
    """Executors, each one rank of a barrier stage; the cores of each; how many a machine has."""

    executors: int
    cores_of_each: int = 1
    executors_of_machine: int = 1

    @property
    def cores(self) -> int:
        """All of them."""
        return self.executors * self.cores_of_each


@dataclass(frozen=True)
class Cost:
    """What a step asks of a cluster.

    Attributes:
        work: by the name of its rate, in the rate's unit, of one core.
        network_bytes: that one executor sends.
        memory_bytes: that one executor holds, beside Spark and libraries.
    """

    work: Mapping[str, float]
    network_bytes: float
    memory_bytes: float

    @property
    def operations(self) -> float:
        """Floating-point operations of one core."""
        return sum(value for name, value in self.work.items() if name.endswith("_operations"))

    def seconds(self, rates: Mapping[str, float]) -> float:
        """Wall time: the parts one after another, as the programs run them."""
        worked = sum(value / rates[name] for name, value in self.work.items())
        return worked + (self.network_bytes / rates[NETWORK] if self.network_bytes else 0.0)


def ring(payload: float, executors: int) -> float:
    """Bytes that each of `executors` sends to all-reduce `payload` bytes in a ring."""
    return 2.0 * (executors - 1) / executors * payload


def als_payload(items: float, config: AlsConfig) -> float:
    """Bytes that an iteration reduces: each sweep over the items, and two Gram matrices."""
    sweeps = config.conjugate_gradient_steps + 1
    return WORD * (sweeps * items * config.rank + 2 * config.rank**2)


def als_iteration(matrix: Matrix, config: AlsConfig, cluster: Cluster) -> Cost:
    """An iteration of conjugate gradient on both sides.

    What is done to whole arrays of the items (their sums, their steps) every executor does itself.
    """
    rank, cores, executors = config.rank, cluster.cores, cluster.executors
    sweeps = config.conjugate_gradient_steps + 1
    swept = sweeps * _OPERATIONS_OF_ENTRY * rank * matrix.interactions / cores
    # A product with the Gram matrix a sweep, and the Gram matrix itself.
    dense = (sweeps + 1) * 2 * rank**2 * (matrix.users + matrix.items) / cores
    entries = WORD * _ALS_WORDS_OF_ENTRY * matrix.interactions / executors
    users = WORD * rank * matrix.users / executors
    far = far_share(users)
    items = WORD * rank * _ALS_ITEM_ARRAYS * matrix.items
    return Cost(
        {
            "als_user_operations": swept,
            "als_item_operations": swept * (1.0 - far),
            "als_far_item_operations": swept * far,
            "als_product_operations": dense,
            "als_item_numbers": sweeps * matrix.items * rank / cluster.cores_of_each,
        },
        ring(als_payload(matrix.items, config), executors),
        entries + users + items,
    )


def far_share(bytes_of_vectors: float) -> float:
    """The share of reads at random that have to wait for memory."""
    if bytes_of_vectors <= CLOSE_BYTES:
        return 0.0
    beyond = math.log(bytes_of_vectors / CLOSE_BYTES) / math.log(FAR_BYTES / CLOSE_BYTES)
    return min(beyond, 1.0)


def svd_width(config: SvdConfig) -> int:
    """Columns of the basis."""
    return config.rank + config.oversampling


def svd_payload(items: float, config: SvdConfig) -> float:
    """Bytes that a decomposition reduces: counts, sweeps, and a Gram matrix a triangle."""
    width = svd_width(config)
    sweeps, triangles = config.power_passes + 1, config.power_passes + 2
    counts = DOUBLE * (items + 1)
    return counts + sweeps * WORD * items * width + triangles * DOUBLE * width**2


def svd(matrix: Matrix, config: SvdConfig, cluster: Cluster) -> Cost:
    """A decomposition, with what it takes to bring the rows into the program.

    Sweeps, loading, scaling and what is done to whole arrays of the items (drawing, ordering and
    copying them) have one thread an executor; products have all its cores. A sweep reads the basis
    at random, so that executors of one machine are in each other's way.
    """
    width, executors = svd_width(config), cluster.executors
    sweeps, triangles = config.power_passes + 1, config.power_passes + 2
    swept = sweeps * _OPERATIONS_OF_ENTRY * width * matrix.interactions / executors
    square = 2 * matrix.items * width**2
    # Gram matrices are divided, half of each by symmetry; the products with triangles and
    # Rayleigh-Ritz are on every executor.
    gram = triangles * square / 2 / executors
    products = (triangles + 1 + config.rank / width) * square
    entries = WORD * _SVD_WORDS_OF_ENTRY * matrix.interactions / executors
    shares_machine = cluster.executors_of_machine > 1
    return Cost(
        {
            "svd_normalised_interactions": matrix.interactions / executors,
            "svd_shared_sweep_operations" if shares_machine else "svd_sweep_operations": swept,
            "svd_product_operations": (gram + products) / cluster.cores_of_each,
            "svd_item_numbers": matrix.items * width,
            "svd_starts": 1.0,
            "loaded_interactions": matrix.interactions / executors,
            "barrier_starts": 1.0,
            "handed_over_bytes": WORD * matrix.items * config.rank,
        },
        ring(svd_payload(matrix.items, config), executors),
        entries + WORD * width * _SVD_ITEM_ARRAYS * matrix.items,
    )


def top_n(matrix: Matrix, rank: int, cluster: Cluster) -> Cost:
    """Exact lists of all users by dot product; every executor is sent the items."""
    items = WORD * rank * matrix.items
    block = WORD * top_n_kernel._USERS_PER_BLOCK * top_n_kernel._ITEMS_PER_BLOCK
    operations = 2 * rank * matrix.users * matrix.items / cluster.cores
    sent = items if cluster.executors > 1 else 0.0
    memory = items + cluster.cores_of_each * block
    return Cost({"top_n_operations": operations}, sent, memory)


def prepare(matrix: Matrix, bytes_of_interaction: float, cluster: Cluster) -> Cost:
    """Cleaning, numbering, splitting and the matrix: Spark's shuffles, which spill to disk."""
    shuffled = bytes_of_interaction * matrix.interactions / cluster.executors
    return Cost(
        {"prepare_starts": 1.0, "prepared_interactions": matrix.interactions / cluster.cores},
        shuffled * (cluster.executors - 1) / cluster.executors,
        0.0,
    )


def neighbours(matrix: Matrix, config: NeighboursConfig, cluster: Cluster) -> Cost:
    """Co-occurrence of all pairs within the histories, by blocks of items."""
    history = min(matrix.interactions / matrix.users, config.maximum_history)
    pairs = min(matrix.pairs, matrix.interactions * config.maximum_history)
    blocks = min(pairs, matrix.items**2) / BLOCK_ENTRIES
    # A row goes to each block that it touches.
    copies = max(1.0, min(blocks, history))
    return Cost(
        {"neighbour_pairs": pairs / cluster.cores},
        2 * WORD * matrix.interactions * copies / cluster.executors,
        cluster.cores_of_each * DOUBLE * BLOCK_ENTRIES,
    )


def ridge(matrix: Matrix, config: NeighboursConfig, cluster: Cluster) -> Cost:
    """The neighbours' pairs, then a Cholesky factorisation an item."""
    gram = neighbours(matrix, config, cluster)
    systems = matrix.items * config.ridge.candidates**3 / 3 / cluster.cores
    return Cost(
        {**gram.work, "ridge_operations": systems},
        gram.network_bytes,
        gram.memory_bytes + DOUBLE * GRAM_BUDGET,
    )


def tower_parameters(rank: int, config: TowersConfig) -> float:
    """Weights and biases of both towers without features, the shared map, and popularity's."""
    side = 2 * rank * config.hidden + config.hidden + rank
    return 2 * side + rank**2 + 1


def tower_epoch(matrix: Matrix, rank: int, config: TowersConfig, cluster: Cluster) -> Cost:
    """Each user once, with sampled negatives and, of its history, the targets."""
    steps = matrix.users / config.users_per_batch / cluster.executors
    vector = 2 * (2 * rank * config.hidden + rank**2)
    targets = config.target_share * matrix.interactions / matrix.users
    # Targets that several users of a batch share are embedded once: at most all items.
    embedded = min(config.negatives + targets * config.users_per_batch, matrix.items)
    scores = 2 * rank * config.users_per_batch * config.negatives
    forward = vector * (config.users_per_batch + embedded) + scores
    parameters = WORD * tower_parameters(rank, config)
    history = WORD * 2 * matrix.interactions / matrix.users
    return Cost(
        {"tower_operations": _FORWARD_AND_BACKWARD * forward * steps / cluster.cores_of_each},
        ring(parameters * steps, cluster.executors),
        _COPIES_OF_PARAMETERS * parameters + WORD * rank * matrix.items + POOL_ROWS * history,
    )
