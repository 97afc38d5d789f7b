"""Measure what each part of the hybrid is worth by the NDCG without it, paired over users.

Without a part, a search on the same validation users makes the weights of the others better, from
those of the ranker on. So the other parts may make up for it, and a part is worth as much as they
cannot make up.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from m6rec.kernels.arrays.rows import Float64, Int64
from m6rec.kernels.evaluation.bootstrap import (
    mean_sums,
    paired_sums,
    paired_t_test,
    percentile_interval,
    poisson_weights,
    sums_by_owner,
)
from m6rec.kernels.ranking.blending import (
    Candidates,
    ChosenWeights,
    blended_scores,
    improved,
    ndcg_of_users,
    run_searches,
)
from m6rec.rankers import GROUPS, members_of_group

EVIDENCE = "weights by evidence"
# The name of a domain follows.
OTHER_DOMAINS_IN = "other domains, in "
# There is a search for each part, so it takes fewer users than the choice of the weights does.
MAXIMUM_USERS = 3_000


@dataclass(frozen=True)
class Ablation:
    """How a ranker's mean over users changes when a part is taken out.

    Attributes:
        part: the part that is taken out.
        value: the mean without it.
        difference: that mean less the mean of the whole; negative where the part helps.
        ci_low, ci_high: the interval of the difference, by bootstrap over users.
        p_value: of the paired t-test.
        users: how many users were measured.
    """

    part: str
    value: float
    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    users: int


def ablate_members(
    candidates: Candidates, names: tuple[str, ...], chosen: ChosenWeights, k: int, rounds: int
) -> tuple[Float64, dict[str, Float64], Int64]:
    """NDCG@k of the users with all members, and without each part, and whose copies they are.

    The parts are each member that has a weight, each group of members in which one has a weight,
    and the factors by evidence. The whole is searched in the same way as what is without a part: so
    none of them fits these users better than another only because it was searched on them.

    Args:
        candidates: with the scores of the named members; at most `MAXIMUM_USERS` of the users are
            measured.
        names: the members' names.
        chosen: the weights of the ranker, from which each search begins.
        k, rounds: of the search for weights.

    Returns:
        float64 [users] of the whole, the same for each part without it, and int64 [users], the
        real user of each.
    """
    sample = every_nth_user(candidates, MAXIMUM_USERS)
    used = {name for name, weight in zip(names, chosen.weights, strict=True) if weight > 0.0}
    groups = {part: frozenset(names) & members_of_group(part) for part in GROUPS}
    parts = {name: frozenset({name}) for name in names if name in used}
    parts |= {part: of for part, of in groups.items() if of & used and len(of) > 1}
    some = {part: of for part, of in parts.items() if len(of) < len(names)}
    ones = np.ones_like(chosen.item_factors)
    plain = replace(chosen, item_factors=ones, user_factors=ones)
    searches = [
        (chosen, frozenset[str]()),
        *((chosen, of) for of in some.values()),
        *([(plain, frozenset[str]())] if _has_factors(chosen) else []),
    ]
    found = run_searches(
        lambda search: _ndcg_without(sample, names, *search, k, rounds),
        searches,
        # Without a part they are copied, and a search holds them with their factors besides.
        2 * sample.scores.nbytes,
    )
    without = dict(zip([*some, EVIDENCE], found[1:], strict=False))
    return found[0], without, sample.measured_owners


def compare_with_whole(
    part: str,
    without: Float64,
    whole: Float64,
    owners: Int64,
    confidence: float,
    replicates: int,
    seed: int,
) -> Ablation:
    """Compare the users' metric without a part with that of the whole.

    Args:
        part: the part that was taken out.
        without, whole: float64 [users]; a metric of the same users.
        owners: int64 [users]; the real user of each. Copies of a user are drawn together, and the
            test is over real users.
        confidence, replicates, seed: of the bootstrap.
    """
    differences = (without - whole)[:, None]
    real_users, numbers = np.unique(owners, return_inverse=True)
    of_real_users = sums_by_owner(differences, numbers)
    weights = poisson_weights(seed, numbers, replicates)
    low, high = percentile_interval(mean_sums(differences, weights).replicate_means(), confidence)
    return Ablation(
        part,
        float(without.mean()),
        float(differences.mean()),
        float(low[0]),
        float(high[0]),
        float(paired_t_test(paired_sums(of_real_users))[0]),
        len(real_users),
    )


def ablation_rows(lines: Sequence[Ablation], k: int) -> list[dict[str, Any]]:
    """Rows of table `ablations` of one ranker, measured by NDCG@k on validation."""
    return [{**asdict(line), "k": k} for line in lines]


def every_nth_user(candidates: Candidates, maximum: int) -> Candidates:
    """The candidates of at most `maximum` users, who are spread evenly over all."""
    n_users = len(candidates.relevant_counts)
    if n_users <= maximum:
        return candidates
    chosen: Int64 = np.arange(maximum, dtype=np.int64) * n_users // maximum
    return candidates.of_users(chosen)


def _has_factors(chosen: ChosenWeights) -> bool:
    return bool((chosen.item_factors != 1.0).any() or (chosen.user_factors != 1.0).any())


def _ndcg_without(
    candidates: Candidates,
    names: tuple[str, ...],
    chosen: ChosenWeights,
    part: frozenset[str],
    k: int,
    rounds: int,
) -> Float64:
    kept = [place for place, name in enumerate(names) if name not in part]
    rest = replace(candidates, scores=candidates.scores[kept]) if part else candidates
    start = replace(
        chosen,
        weights=chosen.weights[kept],
        item_factors=chosen.item_factors[kept],
        user_factors=chosen.user_factors[kept],
    )
    return ndcg_of_users(rest, blended_scores(rest, improved(rest, start, k, rounds)), k)
