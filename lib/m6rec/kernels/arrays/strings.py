"""Hold many strings as two flat arrays, which can be mapped into memory from files."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.rows import Int64, indptr_of


@dataclass(frozen=True)
class Strings:
    """An immutable sequence of strings.

    Attributes:
        offsets: int64 [n + 1]; string s has the characters offsets[s] up to offsets[s + 1].
        characters: uint8; the UTF-8 of all strings, one after the other.
    """

    offsets: Int64
    characters: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        low, high = self.offsets[index], self.offsets[index + 1]
        return bytes(self.characters[low:high]).decode()


def pack_strings(values: Sequence[str]) -> Strings:
    """Pack the strings, in order."""
    encoded = [value.encode() for value in values]
    offsets = indptr_of([len(value) for value in encoded])
    return Strings(offsets, np.frombuffer(b"".join(encoded), dtype=np.uint8))
