"""Train the towers that know order: each place of a history predicts the item that comes next.

One causal pass over a history trains all of its prefixes. Histories longer than the towers read are
cut into windows, at other places in each epoch, so that every interaction is a target. Batches hold
windows of about equal length, since padding costs as much as items do.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import embedding

from m6rec.config.towers import ContextConfig, SequenceConfig
from m6rec.files import AnyPlace
from m6rec.kernels.arrays.contexts import NO_CONTEXTS, NOT_KNOWN, ContextVocabulary
from m6rec.kernels.arrays.rows import NO_ITEM, Float32, Int32, Int64, Rows
from m6rec.kernels.arrays.sequences import gap_bins, time_order
from m6rec.towers.batches import RowBatches, TrainingRows
from m6rec.towers.encoder import ItemInputs
from m6rec.towers.loop import (
    ADAM_BETAS,
    TrainingLoop,
    TrainingResult,
    Validate,
    adam_of,
    reduced_precision,
    schedule_of,
    weights_of,
)
from m6rec.towers.losses import sampled_softmax
from m6rec.towers.modalities import Modalities
from m6rec.towers.ranks import ALONE, Rank
from m6rec.towers.sequence_encoder import SequenceEncoder, sequence_factors
from m6rec.towers.sequence_model import SequenceModel, SequenceShape
from m6rec.towers.warm_start import EarlierTowers, take_over

# Batches of windows are cut from so many at once, by length.
_MOST_SORTED_TOGETHER = 40
_LARGEST_GRADIENT = 5.0


@dataclass(frozen=True)
class Windows:
    """Parts of histories, oldest item first, padded on the left: the arrays of one training step.

    Attributes:
        items: int32 [n, l + 1]; NO_ITEM where a window is shorter. The last l are the targets.
        gaps: int8 [n, l + 1]; the bin of the time since the item before.
        contexts: int32 [n, l + 1, keys]; the codes of each interaction's context.
        negatives: int64 [m]; items that every target is ranked against.
    """

    items: Int32
    gaps: npt.NDArray[np.int8]
    contexts: Int32
    negatives: Int64

    @cached_property
    def pairs(self) -> int:
        """How many targets there are."""
        return int(((self.items[:, :-1] >= 0) & (self.items[:, 1:] >= 0)).sum())


def train_sequence_towers(
    batches: RowBatches,
    items: ItemInputs,
    config: SequenceConfig,
    seed: int,
    validate: Validate | None = None,
    log_folder: AnyPlace | None = None,
    checkpoint_folder: AnyPlace | None = None,
    epochs: int | None = None,
    threads: int | None = None,
    contexts: ContextVocabulary = NO_CONTEXTS,
    earlier: EarlierTowers | None = None,
    rank: Rank = ALONE,
) -> TrainingResult:
    """Train the towers that know order; arguments and errors as for `train_towers`.

    `contexts` are what they learn of contexts; the codes of its columns are in the batches.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    schedule = schedule_of(config, epochs, earlier)
    trainee = _SequenceTowers(batches, items, config, seed, contexts, rank.device)
    if earlier is not None:
        take_over(trainee.model, earlier, contexts)
    loop = TrainingLoop(trainee, items, schedule, validate, log_folder, checkpoint_folder, rank)
    return loop.run()


class _SequenceTowers:
    """Towers that know order, while they are trained."""

    clip: float | None = _LARGEST_GRADIENT

    def __init__(
        self,
        batches: RowBatches,
        items: ItemInputs,
        config: SequenceConfig,
        seed: int,
        contexts: ContextVocabulary,
        device: torch.device,
    ) -> None:
        self.batches = batches
        self.items = items
        self.config = config
        self.seed = seed
        self.contexts = contexts
        self.device = device
        self.reduced = reduced_precision(config.precision, device)
        manifest = batches.manifest
        wanted = manifest.steps_per_epoch(config.users_per_batch, config.minimum_steps_per_epoch)
        self.pools, self.sorted_together = pools_of_epoch(wanted, manifest.fewest_rows)
        self.steps = self.pools * self.sorted_together
        factors = sequence_factors(items.factor_model)
        features = items.features
        if features is None:
            features = np.zeros((len(factors), 0), np.float32)
        self.factors = self._tensor(factors)
        self.features = self._tensor(features)
        warm = np.flatnonzero(items.counts > 0)
        self.warm = warm if len(warm) else np.arange(len(factors))
        self.model = _start(
            config, factors, features.shape[1], seed, contexts.size, items.modalities
        ).to(device)
        self.optimizers = _optimizers(self.model, config)

    def examples(self, epoch: int, rank: int) -> Iterator[Windows]:
        """The windows of an epoch, in batches of about equal length."""
        generator = np.random.default_rng([self.seed, epoch, rank, 2])
        # What is dropped follows from the epoch as well, so that a resumed training agrees.
        seed = int(generator.integers(1 << 62))
        torch.manual_seed(seed)
        self.model.random_bytes.seed(seed)
        for pool in self.batches.epoch(epoch, self.pools):
            contexts = self.contexts.codes_of_interactions(pool.times, pool.contexts)
            contexts = drop_contexts(contexts, self.config.context, generator)
            items, gaps, entries, lengths = cut_windows(pool, self.config.length, generator)
            order = np.argsort(lengths, kind="stable")
            for part in generator.permutation(self.sorted_together):
                chosen = np.array_split(order, self.sorted_together)[part]
                width = int(lengths[chosen].max(initial=2))
                yield Windows(
                    items[chosen, -width:],
                    gaps[chosen, -width:],
                    contexts[entries[chosen, -width:]],
                    self._negatives(generator),
                )

    def _negatives(self, generator: np.random.Generator) -> Int64:
        count = min(self.config.negatives, len(self.warm))
        drawn: Int64 = generator.choice(self.warm, count, replace=False, shuffle=False)
        return drawn

    def loss(self, example: Windows) -> Tensor:
        """The sampled softmax of each item of the windows after the item before it."""
        items = self._tensor(example.items.astype(np.int64))
        drawn = self._tensor(example.negatives)
        before, after = items[:, :-1], items[:, 1:]
        real = before >= 0
        distinct, places = torch.unique(
            torch.cat([items.clamp_min(0).reshape(-1), drawn]), return_inverse=True
        )
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.reduced):
            embedded = self.model.embed_items(
                distinct,
                self.factors[distinct],
                self.features[distinct],
                self._kept_modalities(len(distinct)),
            )
            of_windows = places[: items.numel()].view(items.shape)
            gaps = self._tensor(example.gaps[:, :-1].astype(np.int64))
            # The gradients of these lookups are summed in one order. Those of an index in brackets
            # are summed in that of the threads, and two runs of one seed would differ.
            read = self.model.read(embedding(of_windows[:, :-1], embedded), gaps, real)
        predicted = real & (after >= 0)
        codes = self._tensor(example.contexts[:, 1:].astype(np.int64))
        users = self.model.in_context(read[predicted].float(), codes[predicted])
        targets = embedded.index_select(0, of_windows[:, 1:][predicted]).float()
        negatives = embedded.index_select(0, places[items.numel() :]).float()
        own = after[predicted][:, None] == drawn[None]
        correction = torch.full(
            (len(drawn),), math.log(len(self.warm) / len(drawn)), device=self.device
        )
        pairs = torch.arange(len(users), device=self.device)
        return sampled_softmax(
            (users * targets).sum(dim=1), pairs, users @ negatives.T, own, correction
        )

    def _tensor(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _kept_modalities(self, n: int) -> Tensor | None:
        modalities = len(self.items.modalities)
        if not modalities:
            return None
        kept = torch.rand(n, modalities) >= self.config.modality_dropout
        return kept.float().to(self.device)

    def freeze(self) -> SequenceEncoder:
        """The encoder with a copy of the model's weights."""
        shape, factor_model = self.model.shape.to_json(), self.items.factor_model
        return SequenceEncoder(shape, weights_of(self.model), factor_model, self.contexts)

    def fingerprint(self) -> dict[str, Any]:
        """What a checkpoint and the training that resumes from it must have in common."""
        return {
            "config": self.config.model_dump(mode="json"),
            "shape": self.model.shape.to_json(),
            "seed": self.seed,
            "rows": sum(self.batches.manifest.rows),
            "method": self.items.factor_model.method,
            "contexts": self.contexts.to_json(),
        }


def pools_of_epoch(wanted: int, rows: int) -> tuple[int, int]:
    """How many pools an epoch is cut into, and how many batches each pool.

    There are as many batches as are wanted or a few more, unless a batch would be without a row.

    Args:
        wanted: how many batches an epoch should have; at most `rows`, at least 1.
        rows: those of the rank that has the fewest.
    """
    pools = -(-wanted // _MOST_SORTED_TOGETHER)
    return pools, min(-(-wanted // pools), rows // pools)


def drop_contexts(contexts: Int32, config: ContextConfig, generator: np.random.Generator) -> Int32:
    """Leave keys of contexts, and whole contexts, out at random.

    Args:
        contexts: int32 [n, keys]; codes.
        config: has the probabilities.
        generator: is not drawn from where there are no keys.
    """
    if not contexts.shape[1]:
        return contexts
    kept = generator.random(contexts.shape) >= config.dropout
    kept &= generator.random((len(contexts), 1)) >= config.dropout_of_all
    return np.where(kept, contexts, NOT_KNOWN).astype(np.int32)


def cut_windows(
    pool: TrainingRows, length: int, generator: np.random.Generator
) -> tuple[Int32, npt.NDArray[np.int8], Int64, Int64]:
    """Cut histories into windows of at most `length` + 1 items that overlap by one.

    The last window of a history longer than that ends at its last item and has at least half as
    many items; the others follow before it. Histories of one item have no window.

    Returns:
        items int32 [windows, length + 1] and gaps int8 of the same shape, padded on the left; for
        each item its place among the pool's entries, int64 of the same shape, which is any where
        there is no item; and the length of each window, int64 [windows].
    """
    rows, order = pool.rows, time_order(pool.rows, pool.times)
    items = rows.item_indices[order]
    gaps = gap_bins(rows, pool.times[order])
    starts, stops = _window_bounds(rows, length, generator)
    lengths = stops - starts
    columns = np.arange(length + 1) - (length + 1) + lengths[:, None]
    real = columns >= 0
    entries = np.where(real, starts[:, None] + columns, 0)
    return (
        np.where(real, items[entries], NO_ITEM).astype(np.int32),
        np.where(real, gaps[entries], 0).astype(np.int8),
        order[entries],
        lengths,
    )


def _window_bounds(rows: Rows, length: int, generator: np.random.Generator) -> tuple[Int64, Int64]:
    """The first entry of each window and the one after its last: int64 [windows] each."""
    counts = rows.counts
    # How many targets the last window has; the windows before it have `length` each.
    last = np.where(
        counts > length + 1,
        generator.integers(max(length // 2, 1), length + 1, len(counts)),
        counts - 1,
    )
    windows = np.where(counts > 1, 1 + -(-np.maximum(counts - 1 - last, 0) // length), 0)
    row = np.repeat(np.arange(len(counts)), windows)
    number = np.arange(len(row)) - np.repeat(np.cumsum(windows) - windows, windows)
    stops = rows.indptr[row + 1] - np.where(number == 0, 0, last[row] + (number - 1) * length)
    targets = np.where(number == 0, last[row], length)
    starts = np.maximum(stops - targets - 1, rows.indptr[row])
    return starts, stops


def _start(
    config: SequenceConfig,
    factors: Float32,
    item_features: int,
    seed: int,
    contexts: int,
    modalities: Modalities,
) -> SequenceModel:
    shape = SequenceShape(
        rank=factors.shape[1],
        item_features=item_features,
        n_items=len(factors),
        width=config.width,
        blocks=config.blocks,
        heads=config.heads,
        length=config.length,
        feature_hidden=config.feature_hidden,
        contexts=contexts,
        modalities=modalities,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SequenceModel(shape, _leading_directions(factors, config.width), config.dropout)


def _leading_directions(factors: Float32, width: int) -> Tensor:
    """The principal directions of the factors with the largest variance: float32 [width, rank]."""
    gram = factors.T.astype(np.float64) @ factors
    _, vectors = np.linalg.eigh(gram)
    leading = vectors[:, ::-1].T[:width]
    directions = np.zeros((width, factors.shape[1]), np.float32)
    directions[: len(leading)] = leading
    return torch.from_numpy(directions)


def _optimizers(model: SequenceModel, config: SequenceConfig) -> list[torch.optim.Optimizer]:
    """Two optimisers: of single items' parameters, of which a step changes few, and of the rest."""
    own = [model.own.weight]
    dense = [parameter for parameter in model.parameters() if parameter is not own[0]]
    return [
        adam_of(dense, config),
        torch.optim.SparseAdam(own, lr=config.learning_rate, betas=ADAM_BETAS),
    ]
