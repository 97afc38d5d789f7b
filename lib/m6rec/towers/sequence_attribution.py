"""Divide a score of the towers that know order among the items of the user's history.

The score is u . v, where u is what the transformer says at the last item (see
`towers.sequence_model`). It is followed from a history of which only the places are left to the
user's own: at the point a of this path, from 0 to 1, the transformer reads a x_h in place of x_h,
the embedding of the item h with the gap before it. The integral of the gradient along the path is
the difference of its ends (Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep
networks"), of which h has the part x_h . dscore/dx_h. The deviation by which the last layer norm
divides is held at that of the user's own history. The rest of the score is owed to the number of
items, to the context, and to what the norms add.
"""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import roots_legendre

from m6rec.kernels.arrays.rows import Float32, Float64, Int32, Int64, Rows
from m6rec.kernels.arrays.sequences import last_items
from m6rec.towers.sequence_encoder import SequenceEncoder
from m6rec.towers.sequence_model import SequenceModel, SequenceShape

# The number of points of the quadrature. Attention turns from one item to another within a short
# part of the path, so that fewer points miss parts of the score.
_POINTS_OF_THE_PATH = 256
_READER = ("position", "gap", "blocks.", "norm.")


def history_parts_in_order(
    towers: SequenceEncoder,
    rows: Rows,
    times: Int64,
    items: Float32,
    item: Float32,
    context: Int32 | None = None,
) -> Float64:
    """What each item of one user's history adds to the score of an item: float64 [entries].

    An item that the towers do not read, because it is older than the last ones, adds nothing.

    Args:
        towers: the towers.
        rows: the row of one user.
        times: int64 [entries] in microseconds.
        items: float32 [M, width]; the embeddings that histories are read by.
        item: float32 [width]; the embedding of the item whose score is divided.
        context: int32 [keys]; the codes of the context that the user is in.
    """
    found = np.zeros(rows.entries)
    if not rows.entries:
        return found
    history = last_items(rows, times, int(towers.shape["length"]))
    direction = item.astype(np.float64)
    if context is not None and towers.contexts.values:
        direction = direction * (1.0 + towers.weights["context_scale"][context].sum(axis=0))
    parts = _parts_of_places(towers, items[history.items[0]], history.gaps[0], direction)
    entry_of = {one: entry for entry, one in enumerate(rows.item_indices.tolist())}
    for one, part in zip(history.items[0].tolist(), parts, strict=True):
        found[entry_of[one]] += part
    return found


def _parts_of_places(
    towers: SequenceEncoder, embedded: Float32, gaps: npt.NDArray[np.int8], direction: Float64
) -> Float64:
    """float64 [l]: the part of each item read, of u . direction."""
    model = _reader(towers)
    places, weights = roots_legendre(_POINTS_OF_THE_PATH)
    # The norms within the blocks turn soon after the start, so that a = t^2 is followed by t.
    t = (places + 1) / 2
    steps = torch.from_numpy(weights * t)
    # The last place is the end, for the deviation.
    along = torch.from_numpy(np.append(t * t, 1.0))
    own = torch.from_numpy(embedded.astype(np.float64)) * math.sqrt(towers.width)
    own = own + model.gap[torch.from_numpy(gaps.astype(np.int64))].detach()
    path = (along[:, None, None] * own).requires_grad_()
    real = torch.ones(path.shape[:2], dtype=torch.bool)
    last = model.attend(path + model.position[-len(own) :], real)[:, -1]
    centred = last - last.mean(dim=-1, keepdim=True)
    end = centred[-1].detach()
    scaled = centred / torch.sqrt((end * end).mean() + model.norm.eps)
    scores = (scaled * model.norm.weight + model.norm.bias) @ torch.from_numpy(direction)
    [gradients] = torch.autograd.grad(scores.sum(), path)
    mean = torch.einsum("s,slw->lw", steps, gradients[:-1])
    parts: Float64 = (mean * own).sum(dim=-1).numpy()
    return parts


def _reader(towers: SequenceEncoder) -> SequenceModel:
    """What reads histories, in float64, without the side of the items."""
    shape = SequenceShape(**towers.shape)
    alone = replace(shape, rank=1, item_features=0, n_items=1, contexts=0, modalities=())
    model = SequenceModel(alone, torch.zeros(shape.width, 1), dropout=0.0)
    weights = {
        name: torch.from_numpy(np.array(one))
        for name, one in towers.weights.items()
        if name.startswith(_READER)
    }
    model.load_state_dict(weights, strict=False)
    return model.double().eval()
