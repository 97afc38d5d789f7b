"""Save and restore the state of a training after its last whole epoch."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from m6rec.files import AnyPlace, as_place, at_hand, written_whole

CHECKPOINT_FILE = "last.safetensors"
_RANKS = "ranks"


@dataclass(frozen=True)
class EpochRecord:
    """The loss, the validation and the seconds of an epoch; the NDCG is None without validation."""

    epoch: int
    loss: float
    validation_ndcg: float | None
    seconds: float


@dataclass
class TrainingProgress:
    """The course of a training, which a checkpoint keeps beside the model and the optimiser.

    Attributes:
        history: a record for each epoch.
        start_score: the validation metric of the untrained start; None without validation.
        best_epoch: how many epochs gave the best score.
        best_score: the best validation metric.
        best_weights: the model's state at that time.
    """

    history: list[EpochRecord] = field(default_factory=list)
    start_score: float | None = None
    best_epoch: int = 0
    best_score: float = -math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def keep_best(self, epoch: int, score: float | None, model: nn.Module) -> None:
        """Remember the model where its score is the best so far, or where there is no score."""
        if score is not None and score <= self.best_score:
            return
        self.best_epoch = epoch
        self.best_score = -math.inf if score is None else score
        self.best_weights = {
            name: value.detach().clone() for name, value in model.state_dict().items()
        }

    def stopped(self, patience: int) -> bool:
        """Whether the last `patience` epochs brought no better score."""
        return len(self.history) - self.best_epoch >= patience


class TrainingCheckpoint:
    """The state after the last whole epoch, in one safetensors file with JSON in its header."""

    def __init__(self, folder: AnyPlace, fingerprint: str, ranks: int) -> None:
        self._file = as_place(folder) / CHECKPOINT_FILE
        self._fingerprint = fingerprint
        self._ranks = str(ranks)

    def save(
        self,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        progress: TrainingProgress,
    ) -> None:
        """Replace the saved state by this one."""
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in progress.best_weights.items()}
        for number, optimizer in enumerate(optimizers):
            for place, state in optimizer.state_dict()["state"].items():
                # SparseAdam counts its steps by an integer, which here is a tensor as well.
                tensors |= {
                    f"optimizer.{number}.{place}.{name}": torch.as_tensor(value)
                    for name, value in state.items()
                }
        metadata = {
            "fingerprint": self._fingerprint,
            _RANKS: self._ranks,
            "history": json.dumps([asdict(record) for record in progress.history]),
            "start_score": json.dumps(progress.start_score),
            "best_epoch": str(progress.best_epoch),
            "best_score": repr(progress.best_score),
        }
        with written_whole(self._file) as unfinished:
            save_file({k: v.contiguous() for k, v in tensors.items()}, unfinished, metadata)

    def restore(
        self,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        progress: TrainingProgress,
    ) -> None:
        """Load the saved state into the arguments, where there is one of the same training.

        A state of other settings or rows, as users that were forgotten since leave it, is ignored.
        So is one of another number of ranks: each rank draws its own examples, and every step sums
        over all ranks, so that no run without an interruption could make such towers again.
        """
        if not self._file.is_file():
            return
        with at_hand(self._file) as path, safe_open(str(path), "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if (metadata["fingerprint"], metadata[_RANKS]) != (self._fingerprint, self._ranks):
            return
        model.load_state_dict(_with_prefix(tensors, "model."))
        for number, optimizer in enumerate(optimizers):
            state: dict[int, dict[str, Tensor | int]] = {}
            counts_by_integers = isinstance(optimizer, torch.optim.SparseAdam)
            for name, value in _with_prefix(tensors, f"optimizer.{number}.").items():
                place, key = name.split(".", 1)
                is_count = counts_by_integers and key == "step"
                state.setdefault(int(place), {})[key] = int(value) if is_count else value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        progress.history = [EpochRecord(**record) for record in json.loads(metadata["history"])]
        progress.start_score = json.loads(metadata["start_score"])
        progress.best_epoch = int(metadata["best_epoch"])
        progress.best_score = float(metadata["best_score"])
        progress.best_weights = _with_prefix(tensors, "best.")


def ranks_of_state(folder: AnyPlace) -> int | None:
    """How many ranks made the state of a folder; None without a state, or where it does not say."""
    state = as_place(folder) / CHECKPOINT_FILE
    if not state.is_file():
        return None
    with at_hand(state) as path, safe_open(str(path), "pt") as file:
        ranks = file.metadata().get(_RANKS)
    return None if ranks is None else int(ranks)


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
