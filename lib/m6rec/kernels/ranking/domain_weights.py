"""Choose the hybrid's weights in each domain, and measure what the other domains do to it.

A domain's blend is one of three. The `common` weights are chosen on the users of all domains. Those
`of_domain` are chosen on its own users and drawn towards the common ones, the more so the fewer
users there are. Those `alone` have the members that know nothing of other domains. A domain takes
other weights than the common ones only where a paired test shows that they rank users better on
whom they were not chosen: each half of the domain's users is ranked by weights that were chosen on
the other half.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.rows import Float32, Float64, Int64, indptr_of
from m6rec.kernels.evaluation.bootstrap import paired_sums, paired_t_test, sums_by_owner
from m6rec.kernels.ranking.blending import (
    LEAST_WEIGHT,
    Candidates,
    ChosenWeights,
    blended_scores,
    choose_weights,
    ndcg_of_users,
)

Origin = Literal["common", "of_domain", "alone"]
# With as many users, a domain's own weights count half, and the common ones half.
USERS_OF_THE_COMMON = 500
# Of the two-sided test, so that gains by chance are taken once in twenty domains.
SIGNIFICANT = 0.1


@dataclass(frozen=True)
class DomainWeights:
    """The weights of a domain, and what was measured to choose them.

    Attributes:
        chosen: the weights and factors.
        origin: where they come from.
        alone, together: float64 [users]; NDCG@k of the domain's users by the best weights of its
            own models alone, and by the best of all models. None where there are no such models.
        owners: int64 [users]; the real user of each, as in `Candidates`.
    """

    chosen: ChosenWeights
    origin: Origin
    alone: Float64 | None
    together: Float64
    owners: Int64


def on_one_scale(
    parts: Sequence[Candidates], deviations: Sequence[Mapping[str, float]]
) -> tuple[tuple[Candidates, ...], dict[str, float]]:
    """The candidates of all domains by the same deviations, which are the mean ones of their users.

    Args:
        parts: the candidates of each domain, divided by that domain's deviations.
        deviations: these, by member.
    """
    if len(parts) == 1:
        return tuple(parts), dict(deviations[0])
    users = np.array([len(part.relevant_counts) for part in parts], np.float64)
    each = np.array([list(one.values()) for one in deviations])
    common = np.sqrt((users / max(users.sum(), 1.0)) @ each**2)
    scaled = tuple(
        replace(part, scores=part.scores * (own / common).astype(np.float32)[:, None])
        for part, own in zip(parts, each, strict=True)
    )
    return scaled, dict(zip(deviations[0], common.tolist(), strict=True))


def joined(parts: Sequence[Candidates]) -> Candidates:
    """The candidates of all domains; a user has a list in each of them."""
    if len(parts) == 1:
        return parts[0]
    return Candidates(
        indptr_of(np.concatenate([np.diff(part.indptr) for part in parts])),
        np.concatenate([part.scores for part in parts], axis=1),
        np.concatenate([part.relevant for part in parts]),
        np.concatenate([part.relevant_counts for part in parts]),
        np.concatenate([part.item_bins for part in parts]),
        np.concatenate([part.user_bins for part in parts]),
        # A user's lists in two domains are of different items.
        np.concatenate([part.owners * len(parts) + number for number, part in enumerate(parts)]),
    )


def weights_in_domain(found: DomainWeights, common: ChosenWeights) -> Float64:
    """The weights of a domain; those that it does without stay too small to change an order.

    Models of a domain alone know nothing of users who were never there, and the others do.
    """
    if found.origin != "alone":
        return found.chosen.weights
    return np.maximum(found.chosen.weights, LEAST_WEIGHT * common.weights)


def users_of_joined(owners: Int64, parts: int) -> Int64:
    """The users of the owners that `joined` has numbered, where so many candidates were joined."""
    return owners // parts


def choose_in_domain(
    candidates: Candidates,
    common: ChosenWeights,
    own: npt.NDArray[np.bool_],
    k: int,
    rounds: int,
) -> DomainWeights:
    """Choose the weights of a domain.

    Args:
        candidates: of the domain.
        common: the weights of all domains.
        own: bool [members]; which members know nothing of other domains.
        k, rounds: of the search.
    """
    search = _DomainSearch(common, own, k, rounds)
    # All copies of a user are in one half.
    _, owners = np.unique(candidates.owners, return_inverse=True)
    halves = [candidates.of_users(np.flatnonzero(owners % 2 == half)) for half in (0, 1)]
    measured_owners = np.concatenate([half.measured_owners for half in halves[::-1]])
    out_of_sample = {
        origin: np.concatenate(
            [
                search.ndcg(measured, search.weights(chosen_on, origin))
                for chosen_on, measured in (halves, halves[::-1])
            ]
        )
        for origin in search.origins
    }
    best: Origin = "common"
    for origin in search.origins[1:]:
        if _is_better(out_of_sample[origin], out_of_sample[best], measured_owners):
            best = origin
    common_ndcg, of_domain_ndcg = out_of_sample["common"], out_of_sample["of_domain"]
    return DomainWeights(
        search.weights(candidates, best),
        best,
        out_of_sample.get("alone"),
        of_domain_ndcg if of_domain_ndcg.mean() > common_ndcg.mean() else common_ndcg,
        measured_owners,
    )


@dataclass(frozen=True)
class _DomainSearch:
    common: ChosenWeights
    own: npt.NDArray[np.bool_]
    k: int
    rounds: int

    @property
    def origins(self) -> tuple[Origin, ...]:
        return ("common", "of_domain", "alone") if self.own.any() else ("common", "of_domain")

    def ndcg(self, candidates: Candidates, chosen: ChosenWeights) -> Float64:
        return ndcg_of_users(candidates, blended_scores(candidates, chosen), self.k)

    def weights(self, candidates: Candidates, origin: Origin) -> ChosenWeights:
        if origin == "common":
            return self.common
        # The factors by evidence stay the common ones, for which there are more users.
        factored = replace(candidates, scores=self._factored(candidates))
        members = np.flatnonzero(self.own) if origin == "alone" else np.arange(len(self.own))
        found = choose_weights(
            replace(factored, scores=factored.scores[members]),
            self.k,
            self.rounds,
            by_evidence=False,
        )
        weights = np.zeros(len(self.own))
        weights[members] = found.weights
        if origin == "of_domain":
            users = len(candidates.relevant_counts)
            share = users / (users + USERS_OF_THE_COMMON)
            weights = share * weights + (1.0 - share) * self.common.weights
        return replace(self.common, weights=weights / weights.max(), ndcg=found.ndcg)

    def _factored(self, candidates: Candidates) -> Float32:
        factors = self.common.item_factors[:, candidates.item_bins]
        factors = factors * self.common.user_factors[:, candidates.bins_of_users]
        scores: Float32 = factors.astype(np.float32) * candidates.scores
        return scores


def _is_better(one: Float64, other: Float64, owners: Int64) -> bool:
    differences = sums_by_owner((one - other)[:, None], owners)
    p_value = float(paired_t_test(paired_sums(differences))[0])
    return bool(differences.mean() > 0.0 and p_value < SIGNIFICANT)
