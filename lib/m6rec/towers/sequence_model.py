"""The towers that know order, in torch: a causal transformer over the items of a history.

    v_i = A f_i + r_i + B GELU(C x_i) + D [w_c GELU(B_c p_c)]
    h = the transformer's output at the last item of (v_1 + p_1 + g_1, ..., v_t + p_t + g_t)
    u = h + the sum over the known keys k of the context of (E_k + G_k * h)
    score = u . v_i

f_i: the item's factor, x_i: its side features, r_i: what is learned of the item alone, which starts
at zero, p: positions counted from the end, g: the bin of the time since the item before. A starts
at the leading directions of the factors, so that training starts from what factors know of items,
and an item without history has a place by its features. B_c p_c are the branches of the columns of
vectors among the features (see `towers.modalities`). Blocks are pre-norm (Xiong et al. 2020) and
attend to earlier items only (Kang and McAuley 2018, "Self-attentive sequential recommendation").

E_k and G_k: what is learned of the context's value of key k, which starts at zero as well. Without
a context u is h. The transformer reads no context, so that a user is read once for all of them.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from m6rec.kernels.arrays.contexts import NOT_KNOWN
from m6rec.kernels.arrays.sequences import GAP_BINS
from m6rec.towers.dropout import Dropout, RandomBytes
from m6rec.towers.modalities import Modalities, plain_width
from m6rec.towers.modality_branches import ModalityBranches, modality_weights

_DEVIATION = 0.02


@dataclass(frozen=True)
class SequenceShape:
    """The sizes of the towers that know order.

    Attributes:
        rank: the length of an item's factor.
        item_features: how many side features an item has; 0 for none.
        n_items: M.
        width: coordinates of an embedding.
        blocks, heads: of the transformer.
        length: how many items of a history it reads.
        feature_hidden: units of the layer that reads side features.
        contexts: how many codes of contexts there are; 0 for none.
        modalities: the columns of vectors that the features end with.
    """

    rank: int
    item_features: int
    n_items: int
    width: int
    blocks: int
    heads: int
    length: int
    feature_hidden: int
    contexts: int = 0
    modalities: Modalities = ()

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)


class SequenceModel(nn.Module):
    """Both towers: the items' embeddings, and the transformer that reads a history of them."""

    def __init__(self, shape: SequenceShape, directions: Tensor, dropout: float) -> None:
        """Start the model.

        Args:
            shape: the sizes.
            directions: float32 [width, rank]; what A starts at.
            dropout: of embeddings, attention and hidden units.
        """
        super().__init__()
        self.shape = shape
        self.factor = nn.Linear(shape.rank, shape.width, bias=False)
        with torch.no_grad():
            self.factor.weight.copy_(directions)
        self.own = nn.Embedding(shape.n_items, shape.width, sparse=True)
        nn.init.zeros_(self.own.weight)
        self.feature: nn.Linear | None = None
        self.feature_out: nn.Linear | None = None
        self.plain = plain_width(shape.item_features, shape.modalities)
        if self.plain:
            self.feature = nn.Linear(self.plain, shape.feature_hidden)
            self.feature_out = nn.Linear(shape.feature_hidden, shape.width, bias=False)
            nn.init.zeros_(self.feature_out.weight)
        self.modalities: ModalityBranches | None = None
        self.modality_out: nn.Linear | None = None
        if shape.modalities:
            self.modalities = ModalityBranches(shape.modalities, shape.feature_hidden)
            units = shape.feature_hidden * len(shape.modalities)
            self.modality_out = nn.Linear(units, shape.width, bias=False)
            nn.init.zeros_(self.modality_out.weight)
        self.position = nn.Parameter(torch.randn(shape.length, shape.width) * _DEVIATION)
        self.gap = nn.Parameter(torch.zeros(GAP_BINS, shape.width))
        self.random_bytes = RandomBytes(0)
        self.blocks = nn.ModuleList(
            _Block(shape, Dropout(dropout, self.random_bytes)) for _ in range(shape.blocks)
        )
        self.norm = nn.LayerNorm(shape.width)
        self.dropout = Dropout(dropout, self.random_bytes)
        if shape.contexts:
            self.context_shift = nn.Parameter(torch.zeros(shape.contexts, shape.width))
            self.context_scale = nn.Parameter(torch.zeros(shape.contexts, shape.width))

    def embed_items(
        self, items: Tensor, factors: Tensor, features: Tensor, kept: Tensor | None = None
    ) -> Tensor:
        """Item embeddings v, float32 [n, width].

        Args:
            items: int64 [n].
            factors: float32 [n, rank].
            features: float32 [n, item_features].
            kept: float32 [n, modalities]; 0 where training leaves one out. None keeps all.
        """
        embedded: Tensor = self.factor(factors) + self.own(items)
        if self.feature is not None and self.feature_out is not None:
            hidden = nn.functional.gelu(self.feature(features[:, : self.plain]))
            embedded = embedded + self.feature_out(hidden)
        if self.modalities is not None and self.modality_out is not None:
            pooled, present = self.modalities.pool(features)
            units, _ = self.modalities(pooled, modality_weights(present, kept))
            embedded = embedded + self.modality_out(units)
        return embedded

    def read(self, embedded: Tensor, gaps: Tensor, real: Tensor) -> Tensor:
        """h at each item of some histories, float32 [n, l, width].

        Args:
            embedded: float32 [n, l, width]; v of each item, padded on the left.
            gaps: int64 [n, l]; bins of gaps.
            real: bool [n, l]; where there is an item.
        """
        length = embedded.shape[1]
        scaled = embedded * math.sqrt(self.shape.width)
        # Its gradient is summed in one order, unlike that of `self.gap[gaps]`.
        gap = nn.functional.embedding(gaps, self.gap)
        x = (scaled + gap) * real[..., None] + self.position[-length:]
        read: Tensor = self.norm(self.attend(self.dropout(x), real))
        return read

    def attend(self, x: Tensor, real: Tensor) -> Tensor:
        """What the blocks make of each place, before the last norm: float32 [n, l, width].

        Args:
            x: float32 [n, l, width]; what stands at each place.
            real: bool [n, l]; where there is an item.
        """
        length = x.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        # A padded place attends to itself, since a softmax over nothing is not a number.
        itself = torch.eye(length, dtype=torch.bool, device=x.device)
        mask = ((causal & real[:, None, :]) | itself)[:, None]
        for block in self.blocks:
            x = block(x, mask)
        return x

    def in_context(self, users: Tensor, codes: Tensor) -> Tensor:
        """u of users with h, float32 [n, width].

        Args:
            users: float32 [n, width]; h.
            codes: int64 [n, keys] by `ContextVocabulary`.
        """
        if not self.shape.contexts:
            return users
        # The row of what is not known gets no gradient, so that it stays zero.
        shift, scale = (
            nn.functional.embedding(codes, table, padding_idx=NOT_KNOWN).sum(dim=1)
            for table in (self.context_shift, self.context_scale)
        )
        return users + shift + scale * users


class _Block(nn.Module):
    """One pre-norm block: attention to earlier items, and a layer of hidden units."""

    def __init__(self, shape: SequenceShape, dropout: Dropout) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.attention_norm = nn.LayerNorm(width)
        # A bias of keys would change no attention, and one of queries hardly any.
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width)
        self.hidden_norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, 4 * width)
        self.last = nn.Linear(4 * width, width)
        self.dropout = dropout

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """float32 [n, l, width] to the same shape; `mask` bool [n, 1, l, l] says what sees what."""
        n, length, width = x.shape
        split = self.query_key_value(self.attention_norm(x))
        split = split.view(n, length, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        scores = (query @ key.transpose(-2, -1)).float() / math.sqrt(width // self.heads)
        shares = torch.softmax(scores.masked_fill(~mask, -math.inf), dim=-1).to(value.dtype)
        attended = self.dropout(shares) @ value
        joined = attended.transpose(1, 2).reshape(n, length, width)
        x = x + self.dropout(self.attention_out(joined))
        hidden = self.dropout(nn.functional.gelu(self.first(self.hidden_norm(x))))
        added: Tensor = x + self.dropout(self.last(hidden))
        return added
