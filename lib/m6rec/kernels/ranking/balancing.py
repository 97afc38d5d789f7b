"""Balance validation by the items' evidence, between what users took and what the catalogue holds.

Validation is a sample of what users took, so it is full of items that many have, and says little of
items that few have, however many of these the catalogue holds. Where new items matter, held-out
items of a bin of evidence can count by how much of the catalogue is in that bin, too.
"""

from dataclasses import replace

import numpy as np

from m6rec.kernels.arrays.rows import Float64, Int64, entries_of_rows
from m6rec.kernels.ranking.blending import BINS, Candidates, evidence_bins

# What was lost on two splits of CiteULike-a, whose tests are of new items and random: without any
# share of the catalogue 45% and 0%, with these 15% and less than 1%.
_SHARE_PER_NEW, _GREATEST_SHARE = 3.0, 0.9


def catalogue_share_of(item_evidence: Int64) -> float:
    """How far the catalogue is to count where nothing tells whether its new items will be taken.

    An item without interactions may have just come, or nobody may want it. Interactions cannot tell
    which, so this weighs what is lost by either mistake, which grows with the share of such items.

    Args:
        item_evidence: int64 [items]; as in `prepare_blend`, of the items of the catalogue.
    """
    without = np.count_nonzero(item_evidence <= 0) / max(len(item_evidence), 1)
    return min(_SHARE_PER_NEW * without, _GREATEST_SHARE)


def balance_by_evidence(
    candidates: Candidates, item_evidence: Int64, catalogue_share: float
) -> Candidates:
    """As many users as before, each with held-out items of one bin of evidence alone.

    A user with held-out items of several bins stands for several users. Of each bin as many are
    taken as its share says, evenly spread, and where there are too few each of them several times.

    Args:
        candidates: of validation users.
        item_evidence: int64 [items]; as in `prepare_blend`, of the items of the catalogue.
        catalogue_share: from 0, where held-out items count by how often validation holds them, to
            1, where they count by the catalogue.
    """
    users = np.repeat(np.arange(len(candidates.user_bins)), np.diff(candidates.indptr))
    hits = np.zeros((BINS, len(candidates.user_bins)), np.int64)
    np.add.at(hits, (candidates.item_bins, users), candidates.relevant)
    shares = shares_of_bins(hits.sum(axis=1), item_evidence, catalogue_share)
    wanted = np.round(shares * len(hits[0])).astype(np.int64)
    chosen, bins = [], []
    for one, number in enumerate(wanted):
        of_bin = np.flatnonzero(hits[one])
        if len(of_bin):
            places = np.arange(number)
            fewer = places * len(of_bin) // max(number, 1)
            chosen.append(of_bin[fewer if number <= len(of_bin) else places % len(of_bin)])
            bins.append(np.full(number, one))
    if not chosen:
        return candidates
    user, of_bin = np.concatenate(chosen), np.concatenate(bins)
    indptr, entries = entries_of_rows(candidates.indptr, user)
    in_bin = candidates.item_bins[entries] == np.repeat(of_bin, np.diff(indptr))
    return replace(
        candidates,
        indptr=indptr,
        scores=np.take(candidates.scores, entries, axis=1),
        relevant=candidates.relevant[entries] & in_bin,
        relevant_counts=hits[of_bin, user],
        item_bins=candidates.item_bins[entries],
        user_bins=candidates.user_bins[user],
        owners=candidates.owners[user],
    )


def shares_of_bins(hits: Int64, item_evidence: Int64, catalogue_share: float) -> Float64:
    """float64 [bins]: between the bins' shares of hits and of the catalogue's items.

    A bin that validation has no hit of has the share 0.
    """
    items = np.bincount(evidence_bins(item_evidence), minlength=BINS)
    by_hits, by_items = hits / max(hits.sum(), 1), items / max(items.sum(), 1)
    shares: Float64 = (1.0 - catalogue_share) * by_hits + catalogue_share * by_items
    shares[hits == 0] = 0.0
    shares /= max(shares.sum(), np.finfo(np.float64).tiny)
    return shares
