"""The ranks of a training: on which device each computes, and how they add up what they have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.config.towers import DeviceChoice
from m6rec.errors import ClusterError
from m6rec.kernels.arrays.communicator import Communicator, LocalCommunicator

CPU = torch.device("cpu")


class TensorCommunicator(Communicator, Protocol):
    """A group of ranks that adds up tensors as well as arrays."""

    def all_reduce_tensor(self, tensor: Tensor) -> None:
        """Replace a float32 `tensor`, wherever it lies, by the sum over ranks, in place."""


class LocalRank(LocalCommunicator):
    """A group of one rank, whose tensors are their own sum."""

    def all_reduce_tensor(self, tensor: Tensor) -> None:
        """Leave the tensor as it is, for it is the sum over one rank."""


@dataclass(frozen=True)
class Rank:
    """One rank of a training.

    Attributes:
        group: all ranks; they call the same collectives in the same order.
        device: where this rank's model lies.
    """

    group: TensorCommunicator
    device: torch.device = CPU

    @property
    def number(self) -> int:
        """The number of this rank, from 0; rank 0 validates and saves."""
        return self.group.rank

    @property
    def size(self) -> int:
        """How many ranks there are."""
        return self.group.size

    def sums(self, first: float, second: float) -> tuple[float, float]:
        """Two numbers, each summed over ranks."""
        cell = np.array([first, second], np.float64)
        self.group.all_reduce(cell)
        return float(cell[0]), float(cell[1])

    def wait(self) -> None:
        """Wait until all ranks have come here."""
        self.sums(0.0, 0.0)

    def average_gradients(
        self, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], pairs: int
    ) -> None:
        """Replace the gradients over this rank's pairs by the mean over the pairs of all ranks.

        Parameters that are held fixed keep none, since by one of zeros their weights would decay.
        """
        if self.size == 1:
            return
        by_rows = {
            id(parameter)
            for optimizer in optimizers
            if isinstance(optimizer, torch.optim.SparseAdam)
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        dense = [p for p in model.parameters() if p.requires_grad and id(p) not in by_rows]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad * pairs for p in dense]
        count = torch.tensor([float(pairs)], device=self.device)
        # The pairs travel with the gradients, which saves a collective in each step.
        flat = torch.cat([*(part.reshape(-1) for part in parts), count])
        self.group.all_reduce_tensor(flat)
        of_all = flat[-1].clamp_min(1.0)
        mean = flat[:-1] / of_all
        start = 0
        for parameter in dense:
            stop = start + parameter.numel()
            parameter.grad = mean[start:stop].view_as(parameter)
            start = stop
        for parameter in model.parameters():
            if id(parameter) in by_rows:
                parameter.grad = self._sum_of_rows(parameter, pairs / of_all)

    def _sum_of_rows(self, parameter: Tensor, share: Tensor) -> Tensor:
        """The sum over ranks of sparse gradients, each weighted by its rank's share of the pairs.

        Each rank fills a section of its own in a common array, so that the sum of these arrays
        concatenates the rows of all ranks.
        """
        gradient = parameter.grad
        if gradient is None:
            gradient = torch.zeros_like(parameter).to_sparse(1)
        gradient = gradient.coalesce()
        sizes = np.zeros(self.size, np.int64)
        sizes[self.number] = gradient.indices().shape[1]
        self.group.all_reduce(sizes)
        stop = int(sizes[: self.number + 1].sum())
        start = stop - int(sizes[self.number])
        rows = np.zeros(int(sizes.sum()), np.int64)
        rows[start:stop] = gradient.indices()[0].cpu().numpy()
        self.group.all_reduce(rows)
        values = torch.zeros((len(rows), *parameter.shape[1:]), device=self.device)
        values[start:stop] = gradient.values() * share
        self.group.all_reduce_tensor(values)
        indices = torch.from_numpy(rows)[None].to(self.device)
        return torch.sparse_coo_tensor(indices, values, parameter.shape).coalesce()


ALONE = Rank(LocalRank())


def chosen_device(choice: DeviceChoice, gpus: Sequence[str] | None) -> torch.device:
    """Where a rank computes.

    Args:
        choice: of the configuration.
        gpus: the addresses of the GPUs that Spark has given to the rank's task; None where the rank
            is no task, but trains alone in the driver's process and may take any.

    Raises:
        ClusterError: a GPU was asked for, and there is none.
    """
    match choice:
        case "cpu":
            return CPU
        case "auto":
            has_one = torch.cuda.is_available() and gpus != ()
            return _gpu(gpus) if has_one else CPU
        case "cuda":
            if not torch.cuda.is_available():
                raise ClusterError(
                    f"towers.device is cuda, and torch {torch.__version__} finds no CUDA device"
                    " where it trains; set towers.device: auto, or install torch for CUDA on a"
                    " machine that has a GPU"
                )
            if gpus == ():
                raise ClusterError(
                    "towers.device is cuda, and Spark has given no GPU to this rank's task; set"
                    " spark.executor.resource.gpu.amount, its discoveryScript, and"
                    " spark.task.resource.gpu.amount to 1"
                )
            return _gpu(gpus)
        case _:
            assert_never(choice)


def _gpu(gpus: Sequence[str] | None) -> torch.device:
    return torch.device("cuda", int(gpus[0]) if gpus else torch.cuda.current_device())
