"""What members are measured on to choose settings, epochs and weights: users of the selection fit.

Each choice sees held-out items of the same evidence in the same proportions: as validation holds
them, or nearer to the catalogue's (see `hybrid.catalogue_share`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.errors import DataError
from m6rec.fits.fit import Fit
from m6rec.fits.members import equal_weights, measured_scoring, member_inputs, read_members
from m6rec.kernels.arrays.domains import Domain
from m6rec.kernels.arrays.rows import Int64
from m6rec.kernels.ranking.balancing import (
    balance_by_evidence,
    catalogue_share_of,
    shares_of_bins,
)
from m6rec.kernels.ranking.blending import BINS, Candidates, evidence_bins
from m6rec.kernels.ranking.domain_weights import on_one_scale
from m6rec.kernels.ranking.validation import Balance, ValidationUsers
from m6rec.stages.ranking.candidates import collect_candidates
from m6rec.stages.ranking.validation import collect_validation_users


def validation_users(fit: Fit, names: Iterable[str], maximum_users: int) -> ValidationUsers | None:
    """A sample of the fit's measured users with what the named members know of them.

    The result is None where no user has a held-out item.
    """
    users = collect_validation_users(
        member_inputs(fit, names),
        fit.sample_targets(maximum_users),
        fit.masked_items,
        mask_seen=not fit.config.ranks_repeats,
        domains=fit.domains,
        mask_disliked=fit.config.recommend.rules.masks_disliked,
    )
    if users is None or not _may_balance(fit.config):
        return users
    counts = _counts_of_catalogue(fit, None)
    share = _catalogue_share(fit.config, counts)
    if not share:
        return users
    bins = evidence_bins(fit.item_evidence)
    held_out = np.bincount(bins[users.targets], minlength=BINS)
    return replace(users, balance=Balance(bins, shares_of_bins(held_out, counts, share)))


def nothing_held_out(choice: str) -> DataError:
    """The error that there is nothing to measure a choice on, such as that of weights."""
    return DataError(
        f"no user has a held-out item in fold validation, so no {choice} can be chosen; give a"
        " larger split.validation_share"
    )


def validation_candidates(
    fit: Fit, names: Sequence[str]
) -> tuple[tuple[Candidates, ...], dict[str, float]]:
    """What the named members offer a sample of the fit's measured users.

    Returns:
        The candidates in each domain, or once where there are none, members in the order of the
        names, and the deviation of each member.

    Raises:
        DataError: no user has a held-out item.
    """
    hybrid = fit.config.hybrid
    sample = fit.sample_targets(hybrid.maximum_users)
    members, users = read_members(fit, names), member_inputs(fit, names)
    alone = tuple(equal_weights(name, (name,)) for name in names)
    found = []
    for domain in fit.ranked_domains:
        scoring = measured_scoring(fit, members, alone, hybrid.candidates_per_member, domain)
        candidates, deviations = collect_candidates(users, sample, scoring)
        if _may_balance(fit.config):
            counts = _counts_of_catalogue(fit, domain)
            if share := _catalogue_share(fit.config, counts):
                candidates = balance_by_evidence(candidates, counts, share)
        found.append((candidates, deviations))
    of_domains, scales = zip(*found, strict=True)
    if not any(candidates.relevant_counts.any() for candidates in of_domains):
        raise nothing_held_out("weights")
    return on_one_scale(of_domains, scales)


def _may_balance(config: Config) -> bool:
    """Whether the catalogue can count in validation: if not, nothing has to be read for it."""
    share = config.hybrid.catalogue_share
    if share != "auto":
        return share > 0.0
    shows_new_items = config.interactions.columns.time is not None or config.split.validation
    return not shows_new_items and config.features.items is not None


def _catalogue_share(config: Config, item_counts: Int64) -> float:
    """How far the catalogue counts in validation, in addition to what validation holds."""
    share = config.hybrid.catalogue_share
    return catalogue_share_of(item_counts) if share == "auto" else share


def _counts_of_catalogue(fit: Fit, domain: Domain | None) -> Int64:
    """How many interactions each item of the catalogue has, of a domain if one is given."""
    counts = fit.other(c.FINAL).item_evidence
    counts = counts[~fit.outside_catalogue] if domain is None else counts[domain.items]
    # Nothing can be said of items that have neither interactions nor attributes.
    return counts if fit.config.features.items is not None else counts[counts > 0]
