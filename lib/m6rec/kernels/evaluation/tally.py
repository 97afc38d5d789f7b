"""Add up over users the sums from which all metrics, intervals and paired tests follow."""

import io
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from m6rec.errors import DataError
from m6rec.kernels.arrays.categories import ItemCategories
from m6rec.kernels.arrays.likeness import ItemLikeness
from m6rec.kernels.arrays.rows import Float32, Float64, Int32, Int64, Rows
from m6rec.kernels.evaluation import metrics as kernel
from m6rec.kernels.evaluation.bootstrap import (
    MeanSums,
    PairedSums,
    UInt8,
    mean_sums,
    no_means,
    no_pairs,
    paired_sums,
    poisson_weights,
    sums_by_owner,
)
from m6rec.kernels.neighbours.content import unit_rows

ALL = "all"
WARM = "warm"
COLD_USERS = "cold_users"
ACTIVITY_SEGMENTS = ("activity_low", "activity_middle", "activity_high")
COLD_ITEMS = "cold_items"
POPULARITY_SEGMENTS = ("popularity_head", "popularity_torso", "popularity_tail")
USER_SEGMENTS = (ALL, COLD_USERS, *ACTIVITY_SEGMENTS)
# `ItemSide.classes` holds the place of each item's segment in this tuple.
ITEM_SEGMENTS = (COLD_ITEMS, *POPULARITY_SEGMENTS)
SEGMENTS = (*USER_SEGMENTS, WARM, *ITEM_SEGMENTS)
COMPARED_METRICS = ("ndcg", "recall")
Sums = TypeVar("Sums", MeanSums, PairedSums)


@dataclass(frozen=True)
class ItemSide:
    """What every partition needs to know of the items.

    Attributes:
        information: float64 [M]; how surprising each item is, in bits.
        classes: int8 [M]; the place of the item's segment in ITEM_SEGMENTS.
        vectors: float32 [M, d], rows of length 1 or 0; None where there are no vectors.
        likeness: for the similarity within lists; None where it is not measured.
        categories: for calibration; None where it is not measured.
        groups: bool [M] by name; which items belong to further segments of items.
    """

    information: Float64
    classes: npt.NDArray[np.int8]
    vectors: Float32 | None
    likeness: ItemLikeness | None = None
    categories: ItemCategories | None = None
    groups: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)

    def list_metrics(self) -> tuple[str, ...]:
        """The metrics of the items of a list that can be measured."""
        present = {
            kernel.NOVELTY: True,
            kernel.DIVERSITY: self.vectors is not None,
            kernel.INTRA_LIST_SIMILARITY: self.likeness is not None,
            kernel.CALIBRATION: self.categories is not None,
        }
        return tuple(name for name, can_be_measured in present.items() if can_be_measured)


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        models: the names of the rankers, in the order of all arrays; those of another run have a
            prefix.
        ks: the depths of lists that are measured.
        metrics: names of the metrics that have a value for each user.
        segments: names of the segments.
        pairs: which rankers are compared, as places in `models`: (model, other model).
        activity_limits: the highest training counts of the lower and of the middle third of users.
        n_items: M.
        replicates: how many replicates the bootstrap has.
        seed: of the bootstrap.
        domains: the names of the domains, if there are any; each has a segment.
    """

    models: tuple[str, ...]
    ks: tuple[int, ...]
    metrics: tuple[str, ...]
    segments: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    activity_limits: tuple[int, int]
    n_items: int
    replicates: int
    seed: int
    domains: tuple[str, ...] = ()

    @property
    def values_shape(self) -> tuple[int, int, int]:
        """The numbers of models, metrics and depths, which are the axes of a user's values."""
        return len(self.models), len(self.metrics), len(self.ks)

    @property
    def compared_segments(self) -> tuple[str, ...]:
        """The segments in which rankers are compared."""
        return (ALL, *map(domain_segment, self.domains))

    @property
    def covered_segments(self) -> tuple[str, ...]:
        """The segments of users, which alone have a coverage."""
        return tuple(segment for segment in self.segments if segment in USER_SEGMENTS)


@dataclass(frozen=True)
class MeasuredUsers:
    """Users with held-out items and their lists.

    Attributes:
        user_index: int64 [n].
        indptr, indices: int64 [n + 1] and int32; the held-out items of each user.
        training_counts: int64 [n]; interactions of each user in training.
        ranked: int32 [models, n, N]; the lists, padded with -1.
        domains: int32 [n]; the domain of each row's lists as its place in the plan.
        history: the users' own items, for calibration; None where it is not measured.
    """

    user_index: Int64
    indptr: Int64
    indices: Int32
    training_counts: Int64
    ranked: Int32
    domains: Int32
    history: Rows | None = None


@dataclass(frozen=True)
class Tally:
    """Sums over users, which add up over blocks and partitions.

    Attributes:
        means: the sums of each segment, in the order of `Plan.segments`.
        pairs: the sums of differences over the users of each of `Plan.compared_segments`, [pairs x
            compared metrics x ks]. The differences of a user's lists are added up, since the lists
            of one user are no independent observations.
        recommended: uint8 [covered segments, models, ks, M / 8 rounded up]; a bit for each item,
            whether any list holds it, as `np.packbits` packs them.
    """

    means: tuple[MeanSums, ...]
    pairs: tuple[PairedSums, ...]
    recommended: UInt8

    def plus(self, other: "Tally") -> "Tally":
        """The sums over the users of both."""
        return Tally(
            tuple(a.plus(b) for a, b in zip(self.means, other.means, strict=True)),
            tuple(a.plus(b) for a, b in zip(self.pairs, other.pairs, strict=True)),
            self.recommended | other.recommended,
        )


def tally_block(block: MeasuredUsers, items: ItemSide | None, plan: Plan) -> Tally:
    """The sums over one block of users, which has all lists of each.

    `items` may be None where the plan has no list metrics and no segment but `all`.
    """
    relevant = np.diff(block.indptr)
    hits = [kernel.hit_matrix(ranked, block.indptr, block.indices) for ranked in block.ranked]
    values = _relevance_values(hits, relevant, plan)
    listwise = _listwise_values(block, items, plan)
    weights = poisson_weights(plan.seed, block.user_index, plan.replicates)

    of_domains = {domain_segment(name): place for place, name in enumerate(plan.domains)}
    means = []
    for segment in plan.segments:
        if segment in of_domains:
            chosen = np.flatnonzero(block.domains == of_domains[segment])
            segment_values = values[chosen]
        elif segment not in USER_SEGMENTS:
            of_segment = _items_of_segment(segment, _required(items))
            chosen, segment_relevant = _users_with_targets(block, of_segment)
            if segment == WARM:
                chosen = chosen[block.training_counts[chosen] > 0]
            segment_hits = [
                hit[chosen] & of_segment[ranked[chosen]]
                for hit, ranked in zip(hits, block.ranked, strict=True)
            ]
            segment_values = _relevance_values(segment_hits, segment_relevant[chosen], plan)
        else:
            chosen = np.flatnonzero(_in_user_segment(segment, block.training_counts, plan))
            segment_values = values[chosen]
        everything = np.concatenate([segment_values, listwise[chosen]], axis=2)
        width = math.prod(everything.shape[1:])
        means.append(mean_sums(everything.reshape(len(chosen), width), weights[chosen]))
    differences = paired_differences(values, plan)
    # Within a domain, a user has one list of a ranker.
    of_users = sums_by_owner(differences, block.user_index) if plan.domains else differences
    pairs = [of_users, *(differences[block.domains == place] for place in of_domains.values())]
    return Tally(tuple(means), tuple(map(paired_sums, pairs)), _recommended(block, plan))


def domain_segment(domain: str) -> str:
    """The name of the segment of a domain's lists."""
    return f"domain: {domain}"


def item_side(
    counts: npt.NDArray[Any],
    vectors: npt.NDArray[Any] | None,
    likeness: ItemLikeness | None = None,
    categories: ItemCategories | None = None,
    groups: Mapping[str, npt.NDArray[np.bool_]] | None = None,
) -> ItemSide:
    """What partitions need to know of the items; vectors that are all zero count as none.

    Args:
        counts: [M]; training interactions of each item.
        vectors: [M, d] or None.
        likeness, categories: as in `ItemSide`.
        groups: bool [M] by name; further segments of items.
    """
    usable = vectors is not None and vectors.size > 0 and bool(np.any(vectors))
    return ItemSide(
        kernel.information_content(counts),
        item_classes(counts),
        unit_rows(vectors) if usable and vectors is not None else None,
        likeness,
        categories,
        groups or {},
    )


def item_classes(counts: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
    """int8 [M]: the place in ITEM_SEGMENTS of each item's segment, from its training count."""
    order = np.lexsort((np.arange(len(counts)), -counts))
    before = np.concatenate(([0], np.cumsum(counts[order])[:-1])) if len(counts) else counts
    thirds = np.minimum(3 * before // max(int(np.sum(counts)), 1), 2)
    classes = np.zeros(len(counts), dtype=np.int8)
    classes[order] = 1 + thirds
    classes[counts == 0] = ITEM_SEGMENTS.index(COLD_ITEMS)
    return classes


def sum_tallies(tallies: Iterable[Tally], plan: Plan) -> Tally:
    """The sum of all tallies; no tallies give the sums over no user."""
    total = _empty_tally(plan)
    for tally in tallies:
        total = total.plus(tally)
    return total


def _empty_tally(plan: Plan) -> Tally:
    models, metrics, depths = plan.values_shape
    return Tally(
        tuple(no_means(models * metrics * depths, plan.replicates) for _ in plan.segments),
        tuple(
            no_pairs(len(plan.pairs) * len(COMPARED_METRICS) * depths)
            for _ in plan.compared_segments
        ),
        np.zeros((len(plan.covered_segments), models, depths, -(-plan.n_items // 8)), np.uint8),
    )


def pack_tally(tally: Tally) -> bytes:
    """The sums as an npz archive (plain arrays, no pickle), of segments that have users alone."""
    file = io.BytesIO()
    # A partition recommends few of millions of items, so the bits take little room when compressed.
    recommended = zlib.compress(tally.recommended.tobytes(), level=1)
    of_segments: dict[str, MeanSums | PairedSums] = {
        **{f"means{place}_": sums for place, sums in enumerate(tally.means)},
        **{f"pairs{place}_": sums for place, sums in enumerate(tally.pairs)},
    }
    arrays = {
        f"{prefix}{name}": np.asarray(value)
        for prefix, sums in of_segments.items()
        if sums.users
        for name, value in vars(sums).items()
    }
    np.savez(file, recommended=np.frombuffer(recommended, dtype=np.uint8), **arrays)
    return file.getvalue()


def unpack_tally(payload: bytes, plan: Plan) -> Tally:
    """The tally that `pack_tally` has made into bytes."""
    with np.load(io.BytesIO(payload), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    empty = _empty_tally(plan)
    return Tally(
        tuple(_stored(arrays, f"means{place}_", sums) for place, sums in enumerate(empty.means)),
        tuple(_stored(arrays, f"pairs{place}_", sums) for place, sums in enumerate(empty.pairs)),
        _unpack_recommended(arrays["recommended"].tobytes(), plan),
    )


def _stored(arrays: Mapping[str, npt.NDArray[Any]], prefix: str, empty: Sums) -> Sums:
    """The sums of a segment, which are those over no user where they are not stored."""
    found: dict[str, Any] = {
        name.removeprefix(prefix): sums for name, sums in arrays.items() if name.startswith(prefix)
    }
    return replace(empty, **found | {"users": int(found["users"])}) if found else empty


def _unpack_recommended(compressed: bytes, plan: Plan) -> UInt8:
    models, _, depths = plan.values_shape
    packed = np.frombuffer(zlib.decompress(compressed), dtype=np.uint8)
    return packed.reshape(len(plan.covered_segments), models, depths, -(-plan.n_items // 8))


def _relevance_values(
    hits: Sequence[npt.NDArray[np.bool_]], relevant: Int64, plan: Plan
) -> Float64:
    """float64 [n, models, relevance metrics of the plan, ks]."""
    functions = [
        kernel.RELEVANCE_METRICS[name] for name in plan.metrics if name in kernel.RELEVANCE_METRICS
    ]
    values = np.empty((len(relevant), len(plan.models), len(functions), len(plan.ks)))
    for model, hit in enumerate(hits):
        for place, function in enumerate(functions):
            for depth, k in enumerate(plan.ks):
                values[:, model, place, depth] = function(hit, relevant, k)
    return values


def _listwise_values(block: MeasuredUsers, items: ItemSide | None, plan: Plan) -> Float64:
    """float64 [n, models, list metrics of the plan, ks]."""
    names = [name for name in plan.metrics if name not in kernel.RELEVANCE_METRICS]
    values = np.empty((len(block.user_index), len(plan.models), len(names), len(plan.ks)))
    for model, ranked in enumerate(block.ranked):
        for place, name in enumerate(names):
            for depth, k in enumerate(plan.ks):
                values[:, model, place, depth] = _listwise(
                    name, ranked, _required(items), block.history, k
                )
    return values


def _listwise(name: str, ranked: Int32, items: ItemSide, history: Rows | None, k: int) -> Float64:
    match name:
        case kernel.NOVELTY:
            return kernel.novelty(ranked, items.information, k)
        case kernel.DIVERSITY if items.vectors is not None:
            return kernel.diversity(ranked, items.vectors, k)
        case kernel.INTRA_LIST_SIMILARITY if items.likeness is not None:
            return kernel.intra_list_similarity(ranked, items.likeness, k)
        case kernel.CALIBRATION if items.categories is not None and history is not None:
            return kernel.calibration(ranked, history, items.categories, k)
        case _:
            raise DataError(
                f"the plan has the metric {name}, which is neither in RELEVANCE_METRICS nor a"
                " metric of lists whose item vectors, likeness, categories or histories are given;"
                " correct its name, leave it out, or give it a case"
            )


def _required(items: ItemSide | None) -> ItemSide:
    if items is None:
        raise DataError("the plan has list metrics or item segments, which need the item side")
    return items


def _items_of_segment(segment: str, items: ItemSide) -> npt.NDArray[np.bool_]:
    if segment in items.groups:
        return items.groups[segment]
    cold: npt.NDArray[np.bool_] = items.classes == ITEM_SEGMENTS.index(COLD_ITEMS)
    return ~cold if segment == WARM else items.classes == ITEM_SEGMENTS.index(segment)


def _users_with_targets(
    block: MeasuredUsers, of_segment: npt.NDArray[np.bool_]
) -> tuple[Int64, Int64]:
    """Which users hold out items of the segment, and how many of them each user holds out."""
    owners = np.repeat(np.arange(len(block.user_index)), np.diff(block.indptr))
    counts = np.bincount(owners[of_segment[block.indices]], minlength=len(block.user_index))
    return np.flatnonzero(counts), counts


def _in_user_segment(segment: str, counts: Int64, plan: Plan) -> npt.NDArray[np.bool_]:
    low, middle = plan.activity_limits
    bounds = {
        ALL: (0, np.inf),
        COLD_USERS: (0, 0),
        ACTIVITY_SEGMENTS[0]: (1, low),
        ACTIVITY_SEGMENTS[1]: (low + 1, middle),
        ACTIVITY_SEGMENTS[2]: (middle + 1, np.inf),
    }
    lowest, highest = bounds[segment]
    inside: npt.NDArray[np.bool_] = (counts >= lowest) & (counts <= highest)
    return inside


def paired_differences(values: Float64, plan: Plan) -> Float64:
    """float64 [n, pairs x compared metrics x ks]: model minus other model."""
    compared = values[:, :, [plan.metrics.index(name) for name in COMPARED_METRICS], :]
    pairs = np.array(plan.pairs, dtype=np.int64).reshape(-1, 2)
    return (compared[:, pairs[:, 0]] - compared[:, pairs[:, 1]]).reshape(len(values), -1)


def _recommended(block: MeasuredUsers, plan: Plan) -> UInt8:
    models, _, depths = plan.values_shape
    segments = plan.covered_segments
    recommended = np.zeros((len(segments), models, depths, -(-plan.n_items // 8)), np.uint8)
    if plan.n_items == 0:
        return recommended
    for place, segment in enumerate(segments):
        chosen = _in_user_segment(segment, block.training_counts, plan)
        for model, ranked in enumerate(block.ranked):
            for depth, k in enumerate(plan.ks):
                items = kernel.recommended_items(ranked[chosen], k, plan.n_items)
                recommended[place, model, depth] = np.packbits(items)
    return recommended
