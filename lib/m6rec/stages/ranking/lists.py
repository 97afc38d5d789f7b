"""Make top-N lists: item-side arrays are shipped to the executors, user rows stay in place.

Every member represents each batch of users once. A ranker is a blend, a weighted sum of members.
Its scores are computed block by block where the best N are selected; seen items and what rules
exclude are masked.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.errors import DataError
from m6rec.kernels.arrays.domains import Domain
from m6rec.kernels.arrays.recency import recency_ranks
from m6rec.kernels.arrays.rows import NO_ITEM, Float32, Int32, Int64, Rows, indptr_of
from m6rec.kernels.ranking.blending import Blend
from m6rec.kernels.ranking.members import Member, OwnMembers, UserBlock, within
from m6rec.kernels.ranking.reranking import Reranking, can_grow, rerank
from m6rec.kernels.ranking.scoring import (
    Masked,
    PreparedBlend,
    RepresentedUsers,
    blend_top_n,
    masked_for_users,
    prepare_blend,
    represent,
)
from m6rec.kernels.ranking.unscored_items import by_popularity, fill_unscored_by_popularity
from m6rec.schemas import LISTS_TABLE
from m6rec.spark.arrow_rows import (
    batches_of,
    list_array,
    list_column,
    matrix_column,
    rows_from_batch,
    times_column,
)
from m6rec.spark.shipping import Shipped, ship
from m6rec.spark.worker_rows import WorkerRows

# Bounds the vectors, terms and lists of users that a worker holds at once.
USERS_PER_BLOCK = 4096
EXCLUDED_BY_RULE = "excluded_by_rule"
# The factor by which the candidates of a list grow if a quota has left the list short.
_MORE_CANDIDATES = 4
# For all users of a block together, so that memory stays the same however many candidates a list
# is chosen from.
_CANDIDATES_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Scoring:
    """What every partition needs to score its users; make it by `make_scoring`.

    Attributes:
        members: the members, by name.
        blends: the rankers, prepared.
        item_evidence: int64 [items]: how many users have each item in the fit, or
            `PICTURES_ALONE`.
        masked_items: bool [items]: items that no list may hold.
        mask_seen: whether the user's own items are masked as well.
        n: length of the lists.
        mask_disliked: whether items that the user has seen without liking are masked as well.
        reranking: how lists are chosen from each user's best items; None lists the best.
        domain: the domain that lists are made within, to whose items all arrays but those of
            `reranking`, `whole_members` and `whole_evidence` are cut; None where there are no
            domains.
        whole_members, whole_evidence: members and item_evidence of all items, which tell reasons.
    """

    members: dict[str, Member]
    blends: tuple[PreparedBlend, ...]
    item_evidence: Int64
    masked_items: npt.NDArray[np.bool_]
    mask_seen: bool
    n: int
    mask_disliked: bool
    reranking: Reranking | None
    domain: Domain | None
    whole_members: Mapping[str, Member | OwnMembers]
    whole_evidence: Int64

    @property
    def domain_name(self) -> str | None:
        """The name of the domain, if any."""
        return None if self.domain is None else self.domain.name

    @cached_property
    def popular(self) -> Int32:
        """int32: the items that lists may hold, the most popular first."""
        order = by_popularity(self.item_evidence)
        return order[~self.masked_items[order]]

    def own(self, indptr: Int64, items: Int32) -> tuple[Int64, Int32]:
        """Lists of items cut to those that are ranked, by the numbers that ranking has for them."""
        return (indptr, items) if self.domain is None else self.domain.own(indptr, items)

    def among_all(self, items: Int32) -> Int32:
        """int32: the numbers among all items of ranked ones; NO_ITEM stays."""
        if self.domain is None:
            return items
        return np.where(items == NO_ITEM, NO_ITEM, self.domain.items[items])

    def among_ranked(self, items: Int32) -> Int32:
        """int32: the numbers that ranking has for items that it ranks; NO_ITEM stays."""
        if self.domain is None:
            return items
        return np.where(items == NO_ITEM, NO_ITEM, self.domain.places[items])


def make_scoring(
    members: Mapping[str, Member | OwnMembers],
    blends: tuple[Blend, ...],
    item_evidence: Int64,
    masked_items: npt.NDArray[np.bool_],
    mask_seen: bool,
    n: int,
    mask_disliked: bool | None = None,
    reranking: Reranking | None = None,
    domain: Domain | None = None,
) -> Scoring:
    """Prepare the blends, and keep only the members that they need. Arguments as in `Scoring`.

    Without `mask_disliked`, seen items are treated alike. All arrays are given of all items.
    """
    disliked = mask_seen if mask_disliked is None else mask_disliked
    needed = sorted({name for blend in blends for name in blend.coefficients()})
    whole = {name: members[name] for name in needed}
    kept = {name: _member(member, domain) for name, member in whole.items()}
    whole_evidence = item_evidence
    if domain is not None:
        item_evidence, masked_items = item_evidence[domain.items], masked_items[domain.items]
    prepared = tuple(prepare_blend(blend, kept, item_evidence) for blend in blends)
    return Scoring(
        kept,
        prepared,
        item_evidence,
        masked_items,
        mask_seen,
        n,
        disliked,
        reranking,
        domain,
        whole,
        whole_evidence,
    )


def _member(member: Member | OwnMembers, domain: Domain | None) -> Member:
    if domain is not None:
        return within(member, domain)
    if isinstance(member, OwnMembers):
        raise DataError(
            f"{member.name} ranks within a domain alone, and none is given; name"
            " interactions.columns.domain, or leave this ranker out"
        )
    return member


def user_inputs(
    matrix: DataFrame,
    user_features: DataFrame | None,
    given: dict[str, DataFrame],
    excluded_pairs: DataFrame | None,
) -> DataFrame:
    """Join what ranking reads of each user: row, features, given vectors and excluded items.

    Args:
        matrix: columns of `user_item_matrix` for one fit, with features and content or without.
        user_features: columns user_index, features, content; None gives those of the matrix, and
            empty ones where it has none.
        given: columns user_index, factor by member name.
        excluded_pairs: columns user_index, item_index; None excludes none.
    """
    known = [name for name in (c.FEATURES, c.CONTENT) if name in matrix.columns]
    rows = matrix.select(
        c.USER_INDEX, c.ITEM_INDICES, c.WEIGHTS, c.TIMES, c.EXCLUDED_INDICES, *known
    )
    if user_features is not None:
        features = user_features.select(c.USER_INDEX, c.FEATURES, c.CONTENT)
        rows = rows.join(features, c.USER_INDEX, how="left")
    elif not known:
        nothing = F.array().cast("array<float>")
        rows = rows.withColumns({c.FEATURES: nothing, c.CONTENT: nothing})
    for name, vectors in given.items():
        renamed = vectors.select(c.USER_INDEX, F.col(c.FACTOR).alias(_given_column(name)))
        rows = rows.join(renamed, c.USER_INDEX, how="left")
    if excluded_pairs is None:
        return rows.withColumn(EXCLUDED_BY_RULE, F.array().cast("array<int>"))
    rules = excluded_pairs.groupBy(c.USER_INDEX).agg(
        F.collect_set(F.col(c.ITEM_INDEX).cast("int")).alias(EXCLUDED_BY_RULE)
    )
    return rows.join(rules, c.USER_INDEX, how="left").withColumn(
        EXCLUDED_BY_RULE, F.coalesce(EXCLUDED_BY_RULE, F.array().cast("array<int>"))
    )


def rank(users: DataFrame, scoring: Scoring) -> WorkerRows:
    """The lists of every blend for every user: columns of table `lists` without run_id and fit."""
    fields = [one for one in LISTS_TABLE.schema if one.name not in {c.RUN_ID, c.FIT}]
    make = partial(_rank_partition, shipped=ship(users.sparkSession, scoring))
    constants = {c.DOMAIN: scoring.domain_name}
    return WorkerRows(spread(users), make, T.StructType(fields), constants)


def spread(users: DataFrame) -> DataFrame:
    """Spread the users evenly over tasks, because scoring costs the same for each of them."""
    tasks = 2 * users.sparkSession.sparkContext.defaultParallelism
    return users.repartition(tasks, c.USER_INDEX)


def _given_column(name: str) -> str:
    return f"given_{name}"


def blocks(
    batches: Iterator[pa.RecordBatch], size: int
) -> Iterator[tuple[UserBlock, pa.RecordBatch]]:
    """Blocks of at most `size` users of `user_inputs`, each with its part of the batch."""
    for batch in batches:
        for start, stop in batches_of(batch.num_rows, size):
            part = batch.slice(start, stop - start)
            given = {
                name.removeprefix("given_"): _vectors(part, name)
                for name in part.schema.names
                if name.startswith("given_")
            }
            rows, times = rows_from_batch(part), times_column(part)
            recency = recency_ranks(rows.indptr, times)
            features, content = _vectors(part, c.FEATURES), _vectors(part, c.CONTENT)
            yield UserBlock(rows, features, content, given, recency, times), part


def _vectors(batch: pa.RecordBatch, name: str) -> Float32:
    """A vector column as float32 [n, k]; a user without a vector gets zeros."""
    column = batch.column(name)
    if column.null_count == 0:
        return matrix_column(batch, name)
    known = column.drop_null()
    width = len(known[0]) if len(known) else 0
    vectors = np.zeros((batch.num_rows, width), dtype=np.float32)
    present = column.is_valid().to_numpy(zero_copy_only=False)
    vectors[present] = known.flatten().to_numpy().reshape(len(known), width)
    return vectors


def masked_of_batch(batch: pa.RecordBatch, scoring: Scoring) -> Masked:
    """What is masked for each user of a batch of `user_inputs`."""
    names = [EXCLUDED_BY_RULE]
    if scoring.mask_seen:
        names.append(c.ITEM_INDICES)
    if scoring.mask_disliked:
        names.append(c.EXCLUDED_INDICES)
    lists = [scoring.own(*list_column(batch, name)) for name in names]
    return masked_for_users(lists, batch.num_rows, scoring.masked_items)


def _rank_partition(
    batches: Iterator[pa.RecordBatch], shipped: Shipped
) -> Iterator[pa.RecordBatch]:
    scoring: Scoring = shipped.load()
    for block, batch in blocks(batches, USERS_PER_BLOCK):
        users = represent(scoring.members, block)
        masked = masked_of_batch(batch, scoring)
        for prepared in scoring.blends:
            found = best_lists(scoring, prepared, users, block.rows, masked)
            indptr, items, values = listed_entries(*found)
            yield pa.RecordBatch.from_arrays(
                [
                    pa.repeat(prepared.blend.name, len(block.rows)),
                    pa.array(block.rows.user_index),
                    list_array(indptr, scoring.among_all(items)),
                    list_array(indptr, values),
                ],
                names=[c.MODEL, c.USER_INDEX, c.ITEM_INDICES, c.SCORES],
            )


def best_lists(
    scoring: Scoring, prepared: PreparedBlend, users: RepresentedUsers, rows: Rows, masked: Masked
) -> tuple[Int32, Float32]:
    """The lists of a block of users and their scores, as `blend_top_n` returns them.

    Where a quota leaves a list short, it is chosen from ever more candidates, as long as the quota
    lets any item pass that is not masked for the user.
    """
    reranking, n = scoring.reranking, scoring.n
    if reranking is None:
        return _best(scoring, prepared, users, masked, n)
    listed = np.full((len(rows), n), NO_ITEM, np.int32)
    values = np.full((len(rows), n), -np.inf, np.float32)
    short = np.arange(len(rows), dtype=np.int64)
    allowed = scoring.among_all(np.flatnonzero(~scoring.masked_items).astype(np.int32))
    candidates = max(reranking.candidates, n)
    while len(short):
        candidates = min(candidates, max(len(allowed), 1))
        still_short = []
        for part in np.array_split(short, -(-len(short) * candidates // _CANDIDATES_AT_ONCE)):
            own = masked.take(part)
            found = _best(scoring, prepared, users.take(part), own, candidates)
            chosen, values[part] = rerank(
                reranking, rows.take(part), scoring.among_all(found[0]), found[1], n
            )
            listed[part] = scoring.among_ranked(chosen)
            more = (found[0][:, -1] != NO_ITEM) & (chosen[:, -1] == NO_ITEM)
            of_more = own.take(np.flatnonzero(more))
            masked_items = scoring.among_all(of_more.item_indices)
            grows = can_grow(reranking, chosen[more], allowed, of_more.indptr, masked_items)
            still_short.append(part[more][grows])
        if candidates == len(allowed):
            break
        short = np.concatenate(still_short)
        candidates *= _MORE_CANDIDATES
    return listed, values


def _best(
    scoring: Scoring, prepared: PreparedBlend, users: RepresentedUsers, masked: Masked, n: int
) -> tuple[Int32, Float32]:
    """The best n items of each user; of those that nothing speaks for, the most popular."""
    listed, values = blend_top_n(prepared, users, masked, n)
    filled = fill_unscored_by_popularity(prepared, users, masked, scoring.popular, listed, values)
    return filled, values


def listed_entries(items: Int32, values: Float32) -> tuple[Int64, Int32, Float32]:
    """The lists without padding: indptr int64 [n + 1], items int32 and scores float32."""
    listed = items >= 0
    indptr = indptr_of(listed.sum(axis=1))
    return indptr, items[listed], values[listed]
