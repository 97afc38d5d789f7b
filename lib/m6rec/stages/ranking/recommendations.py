"""Make the published lists: the best items of every user with titles, parts and reasons."""

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.kernels.arrays.contexts import Context
from m6rec.kernels.arrays.rows import Float32, Int32, Int64, indptr_of, slices_of_rows
from m6rec.kernels.arrays.strings import Strings
from m6rec.kernels.ranking.attribution import Listed, cells_at_once, listed_items
from m6rec.kernels.ranking.explanation import (
    AFTER_REASON,
    AGAIN_REASON,
    ATTRIBUTE_REASON,
    HISTORY_REASON,
    KINDS,
    MIX_OF_LIST,
    MIX_REASON,
    MODEL_REASON,
    POPULAR_IN_SEGMENT,
    POPULAR_REASON,
    POPULAR_WITH_ALL,
    TASTE_OF_ALL,
    TASTE_OF_OTHERS,
    ItemAttributes,
    Reasons,
    attributes_by_content,
    explain,
    join_reasons,
    no_reasons,
)
from m6rec.kernels.ranking.members import DotMember, UserBlock
from m6rec.kernels.ranking.scoring import (
    PreparedBlend,
    RepresentedUsers,
    in_context,
    part_scores,
    represent,
)
from m6rec.kernels.ranking.support import CONTENT_MEMBER, parts_of_scores, support_of
from m6rec.schemas import RECOMMENDATIONS_TABLE
from m6rec.spark.shipping import Shipped, ship
from m6rec.spark.worker_rows import WorkerRows
from m6rec.stages.ranking.lists import (
    USERS_PER_BLOCK,
    Scoring,
    best_lists,
    blocks,
    listed_entries,
    masked_of_batch,
    spread,
)

_PHRASES = (POPULAR_WITH_ALL, MIX_OF_LIST, TASTE_OF_ALL, TASTE_OF_OTHERS)
# Bounds what is held at once of what each history item adds to each item.
_MOST_CELLS = 1_000_000


@dataclass(frozen=True)
class Explaining:
    """What published lists show beside their scores.

    Attributes:
        attributes: the items' attributes.
        attribute_names, item_ids, titles: the words for attribute and item indices.
        whole_ids: the ids with their domains before them, where there are domains.
        reasons: how many reasons an item gets at most.
        generated_at: the time of the run.
        sentences: the template of each kind of reason, with `taste` and `others` in place of kind
            `model`; None writes no sentences.
        content_places: int32 [attributes]; the place in the items' content of each attribute, -1
            where it has none of its own; None where there is no content.
    """

    attributes: ItemAttributes
    attribute_names: Strings
    item_ids: Strings
    whole_ids: Strings
    titles: Strings
    reasons: int
    generated_at: datetime.datetime
    sentences: Mapping[str, str] | None = None
    content_places: Int32 | None = None


def recommend(
    users: DataFrame,
    user_ids: DataFrame,
    scoring: Scoring,
    explaining: Explaining,
    contexts: Mapping[str, Context],
) -> WorkerRows:
    """Explained lists of the first blend: columns of table `recommendations` without run_id.

    Each user gets a list without a context and one in each of `contexts`, and is encoded once for
    all of them.

    Args:
        users: as `user_inputs` gives them.
        user_ids: columns user_index, user_id.
        scoring: its first blend is published.
        explaining: words and attributes for the reasons.
        contexts: by name.
    """
    ranking = ship_ranking(users.sparkSession, scoring, explaining, contexts)
    named = users.join(user_ids, c.USER_INDEX, how="inner")
    return explained_lists(named, ranking, explaining.generated_at)


@dataclass(frozen=True)
class ShippedRanking:
    """What ranking and explaining need of the items, sent to where tasks will run.

    Attributes:
        model: the name of the published ranker.
        domain: the name of the domain that lists are made within, if any.
        has_sentences: whether reasons are said in sentences, too.
        shipped: scoring, explaining and contexts.
    """

    model: str
    domain: str | None
    has_sentences: bool
    shipped: Shipped


def ship_ranking(
    spark: SparkSession,
    scoring: Scoring,
    explaining: Explaining,
    contexts: Mapping[str, Context],
) -> ShippedRanking:
    """Send the item side; it serves any number of calls of `explained_lists`."""
    model = scoring.blends[0].blend.name
    return ShippedRanking(
        model,
        scoring.domain_name,
        explaining.sentences is not None,
        ship(spark, (scoring, explaining, contexts)),
    )


def explained_lists(
    users: DataFrame, ranking: ShippedRanking, generated_at: datetime.datetime
) -> WorkerRows:
    """Explained lists: columns of table `recommendations` without run_id.

    Args:
        users: as `user_inputs` gives them, with user_id.
        ranking: the item side.
        generated_at: the time of the lists.
    """
    constants: dict[str, object] = {
        c.DOMAIN: ranking.domain,
        c.MODEL: ranking.model,
        c.GENERATED_AT: generated_at,
        c.SEGMENT: None,
    }
    if not ranking.has_sentences:
        constants[c.SENTENCES] = None
    fields = [one for one in RECOMMENDATIONS_TABLE.schema if one.name != c.RUN_ID]
    make = partial(_recommend_partition, shipped=ranking.shipped)
    return WorkerRows(spread(users), make, T.StructType(fields), constants)


def _recommend_partition(
    batches: Iterator[pa.RecordBatch], shipped: Shipped
) -> Iterator[pa.RecordBatch]:
    scoring, explaining, contexts = shipped.load()
    prepared = scoring.blends[0]
    words = _Words.of(explaining)
    for block, batch in blocks(batches, USERS_PER_BLOCK):
        masked = masked_of_batch(batch, scoring)
        for context, users in _in_each_context(scoring, block, contexts):
            found = best_lists(scoring, prepared, users, block.rows, masked)
            indptr, items, values = listed_entries(*found)
            parts = part_scores(prepared, users, indptr, items)
            items = scoring.among_all(items)
            reasons = _reasons(scoring, prepared, explaining, users, block, indptr, items, parts)
            lengths = np.diff(indptr)
            listed_users = np.repeat(np.arange(len(lengths)), lengths)
            ranks = np.arange(len(items)) - np.repeat(indptr[:-1], lengths) + 1
            named = _reasons_column(reasons, words, block.rows.counts[listed_users] > 0)
            said = {}
            if explaining.sentences is not None:
                said[c.SENTENCES] = _sentences_column(named, explaining.sentences)
            yield pa.RecordBatch.from_arrays(
                [
                    batch.column(c.USER_ID).take(pa.array(listed_users)),
                    pa.repeat(pa.scalar(context, pa.string()), len(items)),
                    pa.array(ranks.astype(np.int32)),
                    words.item_ids.take(pa.array(items)),
                    words.titles.take(pa.array(items)),
                    pa.array(values.astype(np.float64)),
                    _parts_column(parts, len(items)),
                    named,
                    *said.values(),
                ],
                names=[
                    c.USER_ID,
                    c.CONTEXT,
                    c.RANK,
                    c.ITEM_ID,
                    "title",
                    c.SCORE,
                    c.PARTS,
                    c.REASONS,
                    *said,
                ],
            )


def _in_each_context(
    scoring: Scoring, block: UserBlock, contexts: Mapping[str, Context]
) -> Iterator[tuple[str | None, RepresentedUsers]]:
    """A block of users without a context, and then in each, by its name."""
    users = represent(scoring.members, block)
    yield None, users
    for name, context in contexts.items():
        yield name, in_context(scoring.members, users, context)


def _reasons(
    scoring: Scoring,
    prepared: PreparedBlend,
    explaining: Explaining,
    users: RepresentedUsers,
    block: UserBlock,
    indptr: Int64,
    items: Int32,
    parts: Mapping[str, Float32],
) -> Reasons:
    """The reasons of all listed items, found for a few users at once, since cells are many."""
    limit = explaining.reasons
    if limit == 0:
        return no_reasons(len(items))
    are_mixed = scoring.reranking is not None and scoring.reranking.mixes
    members = [scoring.whole_members[name] for name in parts]
    cells = cells_at_once(members, users.terms, block.rows, np.diff(indptr))
    found = []
    for start, stop in slices_of_rows(indptr_of(cells), _MOST_CELLS):
        of_users = np.arange(start, stop)
        entries = slice(indptr[start], indptr[stop])
        own = block.slice(start, stop)
        listed = listed_items(own.rows, indptr[start : stop + 1] - indptr[start], items[entries])
        of_part = users.take(of_users)
        shares = parts_of_scores(
            prepared,
            scoring.whole_members,
            of_part,
            own,
            listed,
            scoring.whole_evidence,
            {name: part[entries] for name, part in parts.items()},
        )
        support = support_of(shares, listed, own, scoring.whole_evidence, are_mixed)
        named = _named_to_newcomers(scoring, explaining, of_part, listed)
        found.append(explain(explaining.attributes, listed, support, limit, are_mixed, named))
    return join_reasons(found)


def _named_to_newcomers(
    scoring: Scoring, explaining: Explaining, users: RepresentedUsers, listed: Listed
) -> Int32 | None:
    """The attribute of each listed item that content names to a user without items."""
    member = scoring.whole_members.get(CONTENT_MEMBER)
    if explaining.content_places is None or not isinstance(member, DotMember):
        return None
    return attributes_by_content(
        explaining.attributes,
        explaining.content_places,
        listed,
        users.vectors[CONTENT_MEMBER],
        member.item_vectors,
    )


@dataclass(frozen=True)
class _Words:
    """The words of published lists as Arrow columns.

    Attributes:
        item_ids, titles: by item index; the title is null where an item has none.
        values: what a reason may name: first each item's title or id, then the attributes, then
            the phrases for reasons that name nothing.
        attributes_from: the place in `values` of the first attribute.
    """

    item_ids: pa.Array
    titles: pa.Array
    values: pa.Array
    attributes_from: int

    @staticmethod
    def of(explaining: Explaining) -> "_Words":
        item_ids, titles = _string_array(explaining.item_ids), _string_array(explaining.titles)
        # Items of two domains may have one id.
        whole_ids = _string_array(explaining.whole_ids)
        titles = pc.if_else(pc.equal(titles, ""), pa.scalar(None, pa.string()), titles)
        attributes = _string_array(explaining.attribute_names)
        phrases = pa.array(_PHRASES, pa.string())
        values = pa.concat_arrays([pc.coalesce(titles, whole_ids), attributes, phrases])
        return _Words(item_ids, titles, values, len(item_ids))


def _string_array(strings: Strings) -> pa.Array:
    array = pa.LargeStringArray.from_buffers(
        len(strings), pa.py_buffer(strings.offsets), pa.py_buffer(strings.characters)
    )
    return array.cast(pa.string())


def _parts_column(parts: dict[str, Float32], entries: int) -> pa.Array:
    names = pa.array(list(parts)).take(pa.array(np.tile(np.arange(len(parts)), entries)))
    values = np.stack(list(parts.values()), axis=1).astype(np.float64).ravel()
    offsets = np.arange(entries + 1, dtype=np.int32) * len(parts)
    return pa.MapArray.from_arrays(pa.array(offsets), names, pa.array(values))


def _reasons_column(
    reasons: Reasons, words: _Words, has_history: npt.NDArray[np.bool_]
) -> pa.Array:
    kinds = np.array(KINDS)[reasons.kinds]
    of_history = np.repeat(has_history, np.diff(reasons.indptr))
    phrases_from = len(words.values) - len(_PHRASES)
    places: npt.NDArray[Any] = np.select(
        [
            np.isin(kinds, (HISTORY_REASON, AFTER_REASON, AGAIN_REASON)),
            kinds == ATTRIBUTE_REASON,
            kinds == POPULAR_REASON,
            kinds == MIX_REASON,
            of_history,
        ],
        [
            reasons.indices,
            words.attributes_from + reasons.indices,
            phrases_from + _PHRASES.index(POPULAR_WITH_ALL),
            phrases_from + _PHRASES.index(MIX_OF_LIST),
            phrases_from + _PHRASES.index(TASTE_OF_ALL),
        ],
        phrases_from + _PHRASES.index(TASTE_OF_OTHERS),
    )
    struct = pa.StructArray.from_arrays(
        [
            pa.array(KINDS, pa.string()).take(pa.array(reasons.kinds)),
            words.values.take(pa.array(places)),
            pa.array(reasons.shares),
        ],
        names=["kind", "value", "share"],
    )
    return pa.ListArray.from_arrays(pa.array(reasons.indptr.astype(np.int32)), struct)


def sentence_of(reason: Mapping[str, Any], sentences: Mapping[str, str]) -> str:
    """A reason (kind, value, share) in words, by the template of its kind."""
    kind = reason["kind"]
    if kind == MODEL_REASON:
        kind = "taste" if reason["value"] == TASTE_OF_ALL else "others"
    elif kind == POPULAR_REASON and reason["value"] == POPULAR_IN_SEGMENT:
        kind = "segment"
    return sentences[kind].format(value=reason["value"], share=f"{reason['share']:.0%}")


def _sentences_column(reasons: pa.ListArray, sentences: Mapping[str, str]) -> pa.Array:
    texts = [sentence_of(reason, sentences) for reason in reasons.values.to_pylist()]
    return pa.ListArray.from_arrays(reasons.offsets, pa.array(texts, pa.string()))
