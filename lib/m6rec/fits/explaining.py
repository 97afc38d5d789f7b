"""Explain one item for one user, whether or not it is in the user's list."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.check.ids import text_within
from m6rec.errors import DataError
from m6rec.fits.fit import Fit
from m6rec.fits.listing import published_scoring
from m6rec.fits.members import member_inputs, read_blends, read_members
from m6rec.fits.reranking import reranking_of
from m6rec.fits.rules import excluded_pairs, items_of_rule, items_outside_lists
from m6rec.kernels.arrays.contexts import Context
from m6rec.kernels.arrays.domains import Domain
from m6rec.kernels.arrays.rows import NO_ITEM, Float32, Float64, Int32
from m6rec.kernels.ranking.attribution import listed_items
from m6rec.kernels.ranking.members import DotMember, Member, OwnMembers, UserBlock
from m6rec.kernels.ranking.scoring import RepresentedUsers, in_context, part_scores, represent
from m6rec.kernels.ranking.support import PartOfScore, factors_of_parts, parts_of_scores
from m6rec.spark.arrow_rows import list_column
from m6rec.spark.runtimes import arrow_table
from m6rec.stages.ranking.lists import (
    EXCLUDED_BY_RULE,
    Scoring,
    best_lists,
    blocks,
    masked_of_batch,
)
from m6rec.towers.attribution import history_parts
from m6rec.towers.encoder import TowerUserEncoder
from m6rec.towers.sequence_attribution import history_parts_in_order
from m6rec.towers.sequence_encoder import SequenceUserEncoder


@dataclass(frozen=True)
class Contribution:
    """What something adds to a score.

    Attributes:
        name: a member, or the title of a history item.
        value: what it adds; below 0 where it speaks against the item.
        share: of all that speaks for the item; 0 for what speaks against it.
    """

    name: str
    value: float
    share: float


@dataclass(frozen=True)
class ItemExplanation:
    """Where an item stands for a user, and why.

    Attributes:
        user_id, item_id, title: what is explained.
        ranker: whose lists are published.
        context: in which the user is ranked, by its name; None without one.
        score: the item's.
        rank: its place among the items that the user's list may hold, or that it would have there.
        candidates: how many these are.
        place: its place in the list; None where it is not in it.
        top_n: the length of the list.
        masked_by: the rules that keep it out of the list, in words.
        parts: of the members, the largest first.
        history: of the user's items, added up over the members, the largest first.
        undivided: the share of what is not owed to the user's items, such as popularity, what
            features of the user say, and the length of the history.
        was_passed_over: whether it is not in the list though its score would do, since re-ranking
            or a quota chose others.
        lowest: the title of the list's item of the lowest score, where this is higher than that of
            the item.
        behind_in: the members by which that item scores higher than this one, with the difference,
            the largest first.
    """

    user_id: str
    item_id: str
    title: str
    ranker: str
    context: str | None
    score: float
    rank: int
    candidates: int
    place: int | None
    top_n: int
    masked_by: tuple[str, ...]
    parts: tuple[Contribution, ...]
    history: tuple[Contribution, ...]
    undivided: float
    was_passed_over: bool
    lowest: str | None
    behind_in: tuple[Contribution, ...]


def explain_item(
    fit: Fit,
    user_id: str,
    item_id: str,
    domain_name: str | None = None,
    context_name: str | None = None,
) -> ItemExplanation:
    """Explain an item for a user by the ranker whose lists are published.

    Args:
        fit: the final fit of a finished run.
        user_id, item_id: the owner's ids.
        domain_name: of the item, where the run has domains.
        context_name: of the list, among `recommend.contexts`; None is the list without a context.

    Raises:
        DataError: the run has no such user, item, domain or context.
    """
    settings = fit.config.recommend
    context = _context_of(fit, context_name)
    domain = _domain_of(fit, domain_name)
    own_id = item_id if domain is None else text_within(domain.name, item_id)
    user, item = _index_of(fit, "user", user_id), _index_of(fit, "item", own_id, domain)
    [blend] = read_blends(fit, (settings.ranker,), domain)
    names = tuple(blend.coefficients())
    scoring = published_scoring(
        fit, read_members(fit, names), blend, items_outside_lists(fit), reranking_of(fit), domain
    )
    inputs = member_inputs(fit, names, excluded_pairs(fit)).where(F.col(c.USER_INDEX) == user)
    table = arrow_table(inputs)
    if not table.num_rows:
        raise _unknown(fit, "user", user_id)
    [read] = table.combine_chunks().to_batches()
    block, batch = next(blocks(iter([read]), 1))
    scored = _Scored.of(scoring, block, batch, context)
    ranked = int(scoring.among_ranked(np.array([item], np.int32))[0])
    if ranked == NO_ITEM:
        raise _unknown(fit, "item", item_id, domain)
    listed = scoring.among_all(scored.listed).tolist()
    place = listed.index(item) + 1 if item in listed else None
    lowest, lead = scored.lowest_listed(ranked)
    above = scoring.among_all(lowest).tolist() if place is None and lead > 0.0 else []
    masked_by = tuple(_masked_by(fit, batch, item, own_id))
    own = block.rows.item_indices.tolist()
    titles = _titles(fit, [item, *own, *above])
    parts = scored.parts_of(item, ranked)
    speaking = sum(max(float(part.whole[0]), 0.0) for part in parts.values())
    divided = [part.history for part in parts.values() if part.history is not None]
    history = np.sum(divided, axis=0) if divided else np.zeros(block.rows.entries)
    rest = [
        float(part.whole[0]) - (0.0 if part.history is None else float(part.history.sum()))
        for part in parts.values()
    ]
    rank = scored.rank_of(ranked)
    would_do = settings.reranks and (rank <= settings.top_n or lead < 0.0)
    undivided = float(np.maximum(rest, 0.0).sum())
    # Within one member some of the user's items raise its score and others lower it, so that what
    # raises it can add up to more than `speaking`.
    owed = float(np.maximum(history, 0.0).sum()) + undivided
    return ItemExplanation(
        user_id=user_id,
        item_id=item_id,
        title=titles[item],
        ranker=blend.name,
        context=context_name,
        score=float(scored.totals[ranked]),
        rank=rank,
        candidates=int(scored.allowed.sum()),
        place=place,
        top_n=settings.top_n,
        masked_by=masked_by,
        parts=_shares(((name, part.whole[0]) for name, part in parts.items()), speaking),
        history=_shares(zip((titles[one] for one in own), history, strict=True), owed),
        undivided=undivided / owed if owed else 0.0,
        was_passed_over=place is None and would_do and not masked_by,
        lowest=titles[above[0]] if above else None,
        behind_in=_behind_in(scored, ranked, int(lowest[0])) if above else (),
    )


@dataclass(frozen=True)
class _Scored:
    """One user's scores of all items that are ranked, by the numbers that ranking has for them.

    Attributes:
        scoring, block, users: the user.
        context: in which the user is ranked.
        whole: float32 [items] by member.
        totals: float64 [items].
        allowed: bool [items]; what the user's list may hold.
        listed: int32; the list.
    """

    scoring: Scoring
    block: UserBlock
    users: RepresentedUsers
    context: Context | None
    whole: Mapping[str, Float32]
    totals: Float64
    allowed: npt.NDArray[np.bool_]
    listed: Int32

    @staticmethod
    def of(
        scoring: Scoring, block: UserBlock, batch: pa.RecordBatch, context: Context | None
    ) -> "_Scored":
        [prepared] = scoring.blends
        users = represent(scoring.members, block)
        if context is not None:
            users = in_context(scoring.members, users, context)
        masked = masked_of_batch(batch, scoring)
        items = np.arange(len(scoring.masked_items), dtype=np.int32)
        whole = part_scores(prepared, users, np.array([0, len(items)]), items)
        totals = np.sum(list(whole.values()), axis=0, dtype=np.float64)
        allowed = ~scoring.masked_items
        allowed[masked.item_indices] = False
        best, _ = best_lists(scoring, prepared, users, block.rows, masked)
        return _Scored(
            scoring, block, users, context, whole, totals, allowed, best[0][best[0] >= 0]
        )

    def rank_of(self, item: int) -> int:
        """The item's place among those that the list may hold; equal scores go as in lists.

        `kernels/ranking/top_n.py` orders these, and `unscored_items.py` there those of score 0.
        """
        ahead = self.totals > self.totals[item]
        equal = self.totals == self.totals[item]
        if self.totals[item] == 0.0:
            counts = np.maximum(self.scoring.item_evidence, 0)
            ahead |= equal & (counts > counts[item])
            equal &= counts == counts[item]
        ahead[:item] |= equal[:item]
        return 1 + int((ahead & self.allowed).sum())

    def lowest_listed(self, item: int) -> tuple[Int32, float]:
        """The list's item of the lowest score, and how far its score is above that of the item.

        After re-ranking it need not be the last item of the list. Of equal scores it is the last;
        a list without items has none.
        """
        if not len(self.listed):
            return self.listed, 0.0
        backwards = self.listed[::-1]
        lowest = backwards[[np.argmin(self.totals[backwards])]]
        return lowest, float(self.totals[lowest[0]] - self.totals[item])

    def parts_of(self, item: int, ranked: int) -> dict[str, PartOfScore]:
        """What each member adds to the item's score, divided where it can be.

        Args:
            item: the item among all.
            ranked: its number among those that are ranked.
        """
        one = listed_items(self.block.rows, np.array([0, 1]), np.array([item], np.int32))
        parts = {name: scores[[ranked]] for name, scores in self.whole.items()}
        scoring = self.scoring
        blend, members, counts = scoring.blends[0], scoring.whole_members, scoring.whole_evidence
        found = parts_of_scores(blend, members, self.users, self.block, one, counts, parts)
        factors = factors_of_parts(blend, self.users, one, counts)
        for name, part in found.items():
            shares = self._shares_of_towers(members[name], item)
            if shares is not None:
                found[name] = replace(part, history=factors[name][0] * shares)
        return found

    def _shares_of_towers(self, member: Member | OwnMembers, item: int) -> Float64 | None:
        """What each of the user's items adds to the towers' score; None of other members."""
        if not isinstance(member, DotMember):
            return None
        block, encoder, vector = self.block, member.encoder, member.item_vectors[item]
        if isinstance(encoder, TowerUserEncoder):
            return history_parts(encoder.pairs, block.rows, block.features, vector)
        if isinstance(encoder, SequenceUserEncoder):
            towers, codes = encoder.towers, None
            if self.context is not None:
                codes = towers.contexts.codes_of(self.context)
            return history_parts_in_order(
                towers, block.rows, block.times, encoder.items, vector, codes
            )
        return None


def _shares(values: Iterable[tuple[str, Any]], speaking: float) -> tuple[Contribution, ...]:
    """Those of names with their values that are not 0, the largest value first."""
    shares = (
        Contribution(name, float(value), max(float(value), 0.0) / speaking if speaking else 0.0)
        for name, value in values
        if value != 0.0
    )
    return tuple(sorted(shares, key=lambda share: -share.value))


def _behind_in(scored: _Scored, item: int, lowest: int) -> tuple[Contribution, ...]:
    ahead = [(name, float(part[lowest] - part[item])) for name, part in scored.whole.items()]
    behind = [(name, value) for name, value in ahead if value > 0.0]
    return _shares(behind, sum(value for _, value in behind))


def _masked_by(fit: Fit, batch: pa.RecordBatch, item: int, item_id: str) -> Iterator[str]:
    rules = fit.config.recommend.rules
    catalogue = fit.lakehouse.read("catalogue")
    if catalogue.where(F.col(c.ITEM_INDEX) == item).isEmpty():
        yield "the catalogue of the run does not hold it"
    named = F.col(c.ITEM_ID).cast("string") == item_id
    allowed = items_of_rule(fit, rules.allowed_items)
    if allowed is not None and allowed.where(named).isEmpty():
        yield "recommend.rules.allowed_items does not name it"
    excluded = items_of_rule(fit, rules.excluded_items)
    if excluded is not None and not excluded.where(named).isEmpty():
        yield "recommend.rules.excluded_items names it"
    if item in list_column(batch, EXCLUDED_BY_RULE)[1]:
        yield "recommend.rules.excluded_pairs names it for this user"
    if rules.mask_seen and item in list_column(batch, c.ITEM_INDICES)[1]:
        yield "the user has it already (recommend.rules.mask_seen)"
    if rules.masks_disliked and item in list_column(batch, c.EXCLUDED_INDICES)[1]:
        yield "the user has seen it, and it is not learned from (recommend.rules.mask_seen)"


def _domain_of(fit: Fit, name: str | None) -> Domain | None:
    domain = next((one for one in fit.domains if one.name == name), None)
    if domain is None and (fit.domains or name is not None):
        names = ", ".join(one.name for one in fit.domains) or "none"
        found = "has lists in each domain" if name is None else f"has no domain {name!r}"
        raise DataError(
            f"run {fit.lakehouse.run_id} {found}; its domains are: {names}; give --domain one of"
            " them, or leave it out where there are none"
        )
    return domain


def _context_of(fit: Fit, name: str | None) -> Context | None:
    contexts = fit.config.recommend.contexts
    if name is None:
        return None
    if name in contexts:
        return contexts[name]
    raise DataError(
        f"run {fit.lakehouse.run_id} has no lists in a context {name!r}; its recommend.contexts"
        f" are: {', '.join(contexts) or 'none'}; give --context one of them, or leave it out for"
        " the list without a context"
    )


def _index_of(fit: Fit, side: str, outside_id: str, domain: Domain | None = None) -> int:
    rows = fit.lakehouse.read(f"{side}_index").where(F.col(f"{side}_id") == outside_id)
    found = rows.select(f"{side}_index").first()
    if found is None:
        raise _unknown(fit, side, outside_id, domain)
    return int(found[0])


def _unknown(fit: Fit, side: str, outside_id: str, domain: Domain | None = None) -> DataError:
    within = "" if domain is None else f" behind {domain.name}/, without that"
    return DataError(
        f"run {fit.lakehouse.run_id} has no {side} {outside_id!r}; give --{side} an id of the"
        f" column {side}_id of table {side}_index that the run has{within}; of {side}s that came"
        " later, column reasons of the lists of fold_in and score tells"
    )


def _titles(fit: Fit, items: list[int]) -> dict[int, str]:
    """The title of each item, or its id; of an item outside the catalogue only the id is known."""
    catalogue = fit.lakehouse.read("catalogue").select(c.ITEM_INDEX, "title")
    index = fit.lakehouse.read("item_index").where(F.col(c.ITEM_INDEX).isin(items))
    rows = index.join(catalogue, c.ITEM_INDEX, "left").collect()
    return {row[c.ITEM_INDEX]: row["title"] or row[c.ITEM_ID] for row in rows}
