"""A validation that ends its own process, as a machine that fails does."""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from m6rec.towers.encoder import ItemInputs, Towers
from m6rec.towers.validation import TowerValidation

Victim = Literal["worker", "executor"]


@dataclass(frozen=True)
class KillingValidation:
    """The validation of a training; some of its calls kill the process that makes them.

    Attributes:
        validation: what it measures by.
        folder: where each call leaves a file, so that a new process goes on counting.
        victims: by the number of the call, whether the Python worker dies alone, or with its
            executor.
    """

    validation: TowerValidation
    folder: str
    victims: Mapping[int, Victim]

    def __call__(self, encoder: Towers, items: ItemInputs) -> float:
        """The metric of the towers, if the process lives to tell."""
        calls = len(list(Path(self.folder).iterdir()))
        (Path(self.folder) / str(calls)).touch()
        if calls in self.victims:
            if self.victims[calls] == "executor":
                # A worker's parent is Python's daemon, and that one's parent is the executor.
                os.kill(parent_of(os.getppid()), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        return self.validation(encoder, items)


def parent_of(pid: int) -> int:
    """The process that started another one."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
