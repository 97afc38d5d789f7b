"""Measure how well members rank for a sample of validation users, who are held in memory.

Settings, the epochs of towers and ablations are all measured here, by the same NDCG of the same
kind of lists.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.domains import Domain
from m6rec.kernels.arrays.rows import Float64, Int32, Int64, indptr_of
from m6rec.kernels.evaluation.metrics import hit_matrix, ndcg
from m6rec.kernels.ranking.blending import Blend
from m6rec.kernels.ranking.members import Member, UserBlock, within
from m6rec.kernels.ranking.scoring import blend_top_n, masked_for_users, prepare_blend, represent


@dataclass(frozen=True)
class Balance:
    """How far held-out items count by their evidence.

    Attributes:
        item_bins: int64 [items]; the bin of evidence of each item.
        shares: float64 [bins]; of all that is measured, with the sum 1. A bin of which nothing is
            held out has the share 0.
    """

    item_bins: Int64
    shares: Float64


@dataclass(frozen=True)
class ValidationUsers:
    """Users with held-out items, on whom members are measured.

    Attributes:
        users: all that members may know of them.
        target_indptr: int64 [n + 1] into targets.
        targets: int32; the held-out items of each user.
        masked_items: bool [items]; items that no list may hold.
        mask_seen: whether the users' own items are masked as well.
        domains: the domains of the items. Where there are any, lists are made within each, and a
            user counts once for each in which the user holds items out.
        balance: how much held-out items of each bin of evidence count. Where there is one, a user
            counts once for each bin that the user's held-out items are in, each time with the items
            of this bin alone.
        disliked: int64 [n + 1] and int32; items of each user that are masked without being the
            user's own, if any are.
    """

    users: UserBlock
    target_indptr: Int64
    targets: Int32
    masked_items: npt.NDArray[np.bool_]
    mask_seen: bool = True
    domains: tuple[Domain, ...] = ()
    balance: Balance | None = None
    disliked: tuple[Int64, Int32] | None = None

    def __len__(self) -> int:
        return len(self.users.rows)

    def ndcg(self, member: Member, k: int) -> float:
        """The mean NDCG@k of the member's lists."""
        return float(self.ndcg_of_users({member.name: member}, k).mean())

    def ndcg_of_users(self, members: Mapping[str, Member], k: int) -> Float64:
        """float64 [n]: NDCG@k of the lists that rank by the sum of the members' scores."""
        masked = self._masked_lists()
        targets = self.target_indptr, self.targets
        bins = None if self.balance is None else self.balance.item_bins
        if not self.domains:
            return self._ndcg(members, k, masked, targets, self.masked_items, bins)
        of_domains = [
            self._ndcg(
                {name: within(member, domain) for name, member in members.items()},
                k,
                [domain.own(*one) for one in masked],
                domain.own(*targets),
                self.masked_items[domain.items],
                None if bins is None else bins[domain.items],
            )
            for domain in self.domains
        ]
        return np.concatenate(of_domains)

    def owners(self) -> Int64:
        """int64 [n]: the user of each value of `ndcg_of_users`, where a user may have several."""
        targets = self.target_indptr, self.targets
        bins = None if self.balance is None else self.balance.item_bins
        if not self.domains:
            return self._holders(targets, bins)
        of_domains = [
            self._holders(domain.own(*targets), None if bins is None else bins[domain.items])
            for domain in self.domains
        ]
        return np.concatenate(of_domains)

    def _masked_lists(self) -> list[tuple[Int64, Int32]]:
        """What is masked for each user besides the items that are masked for all."""
        rows = self.users.rows
        own = [(rows.indptr, rows.item_indices)] if self.mask_seen else []
        return own if self.disliked is None else [*own, self.disliked]

    def _holders(self, targets: tuple[Int64, Int32], item_bins: Int64 | None) -> Int64:
        parts = [np.diff(one[0]) > 0 for one in self._of_bins(targets, item_bins)]
        return np.concatenate([self.users.rows.user_index[holds] for holds in parts])

    def _of_bins(
        self, targets: tuple[Int64, Int32], item_bins: Int64 | None
    ) -> list[tuple[Int64, Int32]]:
        """The held-out items of each bin of evidence, where these are measured one by one."""
        if self.balance is None or item_bins is None:
            return [targets]
        bins = item_bins[targets[1]]
        return [_where(targets, bins == one) for one in range(len(self.balance.shares))]

    def _ndcg(
        self,
        members: Mapping[str, Member],
        k: int,
        masked_lists: list[tuple[Int64, Int32]],
        targets: tuple[Int64, Int32],
        masked_items: npt.NDArray[np.bool_],
        item_bins: Int64 | None,
    ) -> Float64:
        names, ones = tuple(members), (1.0,) * len(members)
        blend = Blend(" + ".join(names), names, ones, ones)
        prepared = prepare_blend(blend, members, np.zeros(len(masked_items), np.int64))
        masked = masked_for_users(masked_lists, len(self), masked_items)
        ranked, _ = blend_top_n(prepared, represent(members, self.users), masked, k)
        parts = [_of_holders(ranked, one, k) for one in self._of_bins(targets, item_bins)]
        if self.balance is None:
            return parts[0]
        weighted = [
            values * (share / max(len(values), 1))
            for values, share in zip(parts, self.balance.shares, strict=True)
        ]
        # So that their mean is the sum over bins of share times mean.
        together: Float64 = np.concatenate(weighted) * sum(map(len, weighted))
        return together


def _of_holders(ranked: Int32, targets: tuple[Int64, Int32], k: int) -> Float64:
    """NDCG@k of the users who hold any target."""
    counts = np.diff(targets[0])
    of_all: Float64 = ndcg(hit_matrix(ranked, *targets), counts, k)
    return of_all[counts > 0]


def _where(targets: tuple[Int64, Int32], chosen: npt.NDArray[np.bool_]) -> tuple[Int64, Int32]:
    indptr, items = targets
    return indptr_of(chosen)[indptr], items[chosen]
