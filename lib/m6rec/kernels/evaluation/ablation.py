"""Measure what each part of the hybrid is worth by the NDCG without it, paired over users.

Without a part, the weights are chosen anew by the same search on the same validation users. So the
other parts may make up for it, and a part is worth as much as they cannot make up.
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
    choose_weights,
    ndcg_of_users,
    run_searches,
)
from m6rec.rankers import GROUPS, members_of_group

EVIDENCE = "weights by evidence"
# The name of a domain follows.
OTHER_DOMAINS_IN = "other domains, in "
# The search runs once for each part, so it takes fewer users than the choice of the weights does.
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
    candidates: Candidates, names: tuple[str, ...], k: int, rounds: int
) -> tuple[Float64, dict[str, Float64], Int64]:
    """NDCG@k of the users with all members, and without each part, and whose copies they are.

    The parts are each member that has a weight, each group of members in which one has a weight,
    and the factors by evidence.

    Args:
        candidates: with the scores of the named members; at most `MAXIMUM_USERS` of the users are
            measured.
        names: the members' names.
        k, rounds: of the search for weights.

    Returns:
        float64 [users] of the whole, the same for each part without it, and int64 [users], the
        real user of each.
    """
    sample = every_nth_user(candidates, MAXIMUM_USERS)
    # A search is repeated for each part, so each is run once on all users and not on many samples.
    whole = choose_weights(sample, k, rounds, resamples=1)
    used = {name for name, weight in zip(names, whole.weights, strict=True) if weight > 0.0}
    groups = {part: frozenset(names) & members_of_group(part) for part in GROUPS}
    parts = {name: frozenset({name}) for name in names if name in used}
    parts |= {part: of for part, of in groups.items() if of & used and len(of) > 1}
    some = {part: of for part, of in parts.items() if len(of) < len(names)}
    found = run_searches(
        lambda of: _ndcg_without(sample, names, of, k, rounds),
        list(some.values()),
        sample.scores.nbytes,
    )
    without = dict(zip(some, found, strict=True))
    ones = np.ones_like(whole.item_factors)
    if (whole.item_factors != ones).any() or (whole.user_factors != ones).any():
        plain = ChosenWeights(whole.weights, ones, ones, whole.ndcg, 0)
        without[EVIDENCE] = ndcg_of_users(sample, blended_scores(sample, plain), k)
    of_whole = ndcg_of_users(sample, blended_scores(sample, whole), k)
    return of_whole, without, sample.measured_owners


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


def _ndcg_without(
    candidates: Candidates, names: tuple[str, ...], part: frozenset[str], k: int, rounds: int
) -> Float64:
    kept = [place for place, name in enumerate(names) if name not in part]
    rest = replace(candidates, scores=candidates.scores[kept])
    chosen = choose_weights(rest, k, rounds, resamples=1)
    return ndcg_of_users(rest, blended_scores(rest, chosen), k)
