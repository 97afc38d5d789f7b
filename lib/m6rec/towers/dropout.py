"""Drop activations by random bytes, which a processor draws faster than torch's random numbers."""

import numpy as np
import torch
from torch import Tensor, nn

_VALUES_OF_A_BYTE = 256


class RandomBytes:
    """A stream of random bytes that the dropouts of one model share."""

    def __init__(self, seed: int) -> None:
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Begin the stream that belongs to `seed`."""
        self._source = np.random.SFC64(seed)

    def draw(self, n: int) -> Tensor:
        """The next `n` bytes: uint8 [n]."""
        words = self._source.random_raw(-(-n // 8))
        return torch.from_numpy(words.view(np.uint8))[:n]


class Dropout(nn.Module):
    """Sets activations to zero in training and scales the others up, so that their mean stays.

    The probability is rounded to a multiple of 1/256. On a GPU, torch's own dropout is used.
    """

    def __init__(self, probability: float, source: RandomBytes) -> None:
        super().__init__()
        self.probability = probability
        self.source = source
        # A probability below 1 must leave something to scale up.
        self._dropped = min(round(probability * _VALUES_OF_A_BYTE), _VALUES_OF_A_BYTE - 1)

    def forward(self, x: Tensor) -> Tensor:
        """The activations that are left, scaled; `x` itself outside training."""
        if not self.training or not self._dropped:
            return x
        if x.device.type != "cpu":
            return nn.functional.dropout(x, self.probability)
        kept = self.source.draw(x.numel()).view(x.shape) >= self._dropped
        scale = _VALUES_OF_A_BYTE / (_VALUES_OF_A_BYTE - self._dropped)
        # Numbers of one byte become floats faster than truth values do.
        return x * kept.view(torch.int8).to(x.dtype).mul_(scale)
