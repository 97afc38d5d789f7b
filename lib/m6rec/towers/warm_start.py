"""Go on with the training of earlier towers, whose items and features may have been others."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.kernels.arrays.contexts import NO_CONTEXTS, ContextVocabulary
from m6rec.kernels.arrays.rows import Float32

_Shapes = Mapping[str, tuple[int, ...]]

_OF_PLAIN = ("feature.weight", "stand_in.weight")
_OF_VECTORS = re.compile(r"modalities\.(layers|queries)\.(\d+)")
_OF_CONTEXTS = ("context_shift", "context_scale")
# The layers whose units the hidden layer of a side reads after the factor, in their order.
_VECTORS, _PICTURES = "modalities.layers.{}", "pictures.{}.out"
_LAYERS = ("feature", _VECTORS, _PICTURES)
_RANK = "rank"
# The weights that have a row for each item or for each dimension of the factors.
_BY_ROWS = re.compile(r"(?:own|shared|(?:user|item)\.(?:last|(?:\w+_)?stand_in))\.(?:weight|bias)")
# In these weights inputs that the earlier towers do not know start at zero, so that the layers
# after them, which are trained already, are not disturbed.
_STARTS_AT_ZERO = re.compile(r"(?:user|item)\.first\.weight|factor\.weight")


@dataclass(frozen=True)
class VectorMap:
    """What turns a column of vectors into one that earlier towers read.

    Attributes:
        place: of the earlier column among the earlier columns of vectors.
        matrix: float32 [width, width before].
    """

    place: int
    matrix: Float32


@dataclass(frozen=True)
class FeatureMap:
    """What turns the features of users or items into those that earlier towers read.

    Attributes:
        plain: float32 [features, features before]; of those that are no vectors. A row of zeros is
            a feature that the towers do not know.
        vectors: of each column of vectors; None for one that the towers do not know.
    """

    plain: Float32
    vectors: tuple[VectorMap | None, ...] = ()


@dataclass(frozen=True)
class EarlierTowers:
    """Towers to go on from.

    Attributes:
        weights: float32 arrays by the names of the model's parameters.
        contexts: the contexts that they know.
        first_epoch: the epoch of the schedule, counted from 0, with which training goes on.
        epochs: for how many it does.
        users, items: how their features are read.
    """

    weights: Mapping[str, Float32]
    contexts: ContextVocabulary
    first_epoch: int
    epochs: int
    users: FeatureMap
    items: FeatureMap


def take_over(
    model: nn.Module, earlier: EarlierTowers, contexts: ContextVocabulary = NO_CONTEXTS
) -> None:
    """Give a model that is about to be trained the weights of earlier towers.

    What they do not know (a new item, a new feature, a layer of another size) starts as it is. A
    column of vectors or a dimension of the factors that they do not know is not read at first by
    the layers that they have trained.

    Args:
        model: as it starts without earlier towers.
        earlier: the towers.
        contexts: those that the model learns.
    """
    maps = _WeightMaps(model, earlier)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            given = earlier.weights.get(maps.earlier_name(name) or "")
            if given is None:
                continue
            known = torch.from_numpy(np.array(given, np.float32)).to(parameter.device)
            if name in _OF_CONTEXTS:
                _take_contexts(parameter, known, contexts, earlier.contexts)
            elif parameter.ndim == 0:
                # Artifacts have scalars as arrays of one number, too.
                parameter.fill_(known.item())
            else:
                _take(name, parameter, known, maps.of(name))


def _take(name: str, parameter: Tensor, known: Tensor, matrix: Float32 | None) -> None:
    """Take over the rows and the columns that are known."""
    columns: slice | Tensor = slice(None)
    if matrix is not None:
        if matrix.shape != (parameter.shape[-1], known.shape[-1]):
            return
        turned = torch.from_numpy(matrix).to(known.device)
        columns = turned.any(dim=1)
        known = known @ turned.T
    rows = min(len(known), len(parameter)) if _BY_ROWS.fullmatch(name) else len(parameter)
    if known[:rows].shape != parameter[:rows].shape:
        return
    if _STARTS_AT_ZERO.fullmatch(name):
        parameter.zero_()
    parameter[:rows][..., columns] = known[:rows][..., columns]


def _take_contexts(
    parameter: Tensor, known: Tensor, now: ContextVocabulary, before: ContextVocabulary
) -> None:
    """Give each value of a key, and its other values together, the row that they had."""
    if known.shape[1:] != parameter.shape[1:]:
        return
    for key in now.codes.keys() & before.codes.keys():
        codes, earlier = now.codes[key], before.codes[key]
        rows = {codes.other: earlier.other}
        for value in codes.of_values.keys() & earlier.of_values.keys():
            rows[codes.of_values[value]] = earlier.of_values[value]
        parameter[list(rows)] = known[list(rows.values())]


class _WeightMaps:
    """What turns what the weights of a model read into what those of earlier towers read."""

    def __init__(self, model: nn.Module, earlier: EarlierTowers) -> None:
        self._now: _Shapes = {name: tuple(one.shape) for name, one in model.named_parameters()}
        self._before: _Shapes = {name: one.shape for name, one in earlier.weights.items()}
        self._sides = {"user.": earlier.users, "item.": earlier.items, "": earlier.items}
        pictures = [len(_layers(one, "item.", _PICTURES)) for one in (self._now, self._before)]
        self._knows_pictures = pictures[0] == pictures[1]

    def earlier_name(self, name: str) -> str | None:
        """The name that a weight had; None for one that reads nothing that is known."""
        side, rest = _divided(name)
        of_vectors = _OF_VECTORS.match(rest)
        if of_vectors is not None:
            known = self._sides[side].vectors[int(of_vectors[2])]
            if known is None:
                return None
            return f"{side}modalities.{of_vectors[1]}.{known.place}{rest[of_vectors.end() :]}"
        # Pictures are matched by their places, which change where a column comes or goes.
        if rest.startswith("picture") and not self._knows_pictures:
            return None
        return None if rest.startswith("feature") and not self._sides[side].plain.any() else name

    def of(self, name: str) -> Float32 | None:
        """float32 [numbers, numbers before] that a weight reads; None where they are the same."""
        side, rest = _divided(name)
        if rest in _OF_PLAIN:
            return self._sides[side].plain
        of_vectors = _OF_VECTORS.match(rest)
        if of_vectors is not None:
            known = self._sides[side].vectors[int(of_vectors[2])]
            return None if known is None or rest.endswith("bias") else known.matrix
        now = _parts(self._now, name)
        return self._joined(now, _parts(self._before, name)) if now else None

    def _joined(self, now: Mapping[str, int], before: Mapping[str, int]) -> Float32:
        whole: Float32 = np.zeros((sum(now.values()), sum(before.values())), np.float32)
        stops = dict(zip(before, np.cumsum(list(before.values())), strict=True))
        stop = 0
        for part, width in now.items():
            stop += width
            known = self.earlier_name(part)
            if known is not None and known in before:
                place = slice(stop - width, stop), slice(stops[known] - before[known], stops[known])
                matrix = self.of(part)
                whole[place] = np.eye(width, before[known]) if matrix is None else matrix
        return whole


def _parts(shapes: _Shapes, name: str) -> dict[str, int]:
    """What the columns of a weight read, in their order, and how many columns each part has.

    A part has the name of a weight that reads or makes the same numbers. There are none where
    columns neither come nor go.
    """
    side, rest = _divided(name)
    vectors = _layers(shapes, side, _VECTORS)
    match rest:
        case "factor.weight" | "shared.weight":
            return {_RANK: shapes[name][1]}
        case "first.weight":
            layers = [layer for kind in _LAYERS for layer in _layers(shapes, side, kind)]
            units = {f"{layer}.bias": shapes[f"{layer}.bias"][0] for layer in layers}
            return {_RANK: shapes[name][1] - sum(units.values()), **units}
        case "modality_out.weight":
            return {f"{layer}.bias": shapes[f"{layer}.bias"][0] for layer in vectors}
        case "modality_stand_in.weight":
            return {f"{layer}.weight": shapes[f"{layer}.weight"][1] for layer in vectors}
        case _:
            return {}


def _layers(shapes: _Shapes, side: str, kind: str) -> list[str]:
    """The layers of a kind on a side, in their order."""
    most = len(shapes) if "{}" in kind else 1
    names = (side + kind.format(place) for place in range(most))
    return list(takewhile(lambda name: f"{name}.bias" in shapes, names))


def _divided(name: str) -> tuple[str, str]:
    """The side of a name, with its dot, and what comes after it."""
    side, dot, rest = name.partition(".")
    return (side + dot, rest) if side in {"user", "item"} else ("", name)
