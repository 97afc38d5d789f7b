"""Choose the hybrid's weights on validation, and measure what each member is worth.

The weights serve the final fit too: nothing is ever chosen on the test fold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.fits.fit import Fit, model_row
from m6rec.fits.members import member_names, weighs_fusion
from m6rec.fits.validation import validation_candidates
from m6rec.job_records import TRAIN_HYBRID
from m6rec.kernels.arrays.rows import Float64
from m6rec.kernels.evaluation.ablation import (
    OTHER_DOMAINS_IN,
    Ablation,
    ablate_members,
    ablation_rows,
    compare_with_whole,
)
from m6rec.kernels.ranking.blending import (
    Candidates,
    ChosenWeights,
    choose_weights,
    ndcg_of_users,
    with_least_weight,
    with_weight_for_new_users,
)
from m6rec.kernels.ranking.domain_weights import (
    DomainWeights,
    Origin,
    choose_in_domain,
    joined,
    users_of_joined,
    weights_in_domain,
)
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import FUSION, HYBRID, POPULARITY, ranker_named
from m6rec.runs import Job

# With fewer held-out items, the share that a member finds has a standard error of 0.1 or more.
_FEW = 25
_ORIGINS: Mapping[Origin, str] = {
    "common": "the weights of all domains",
    "of_domain": "weights of its own",
    "alone": "its own models alone, as others would harm it",
}


def run(lakehouse: Lakehouse, config: Config) -> None:
    """Score a sample of validation users by every member and search the weights on NDCG."""
    fit = Fit(lakehouse, config, c.SELECTION)
    names = member_names(HYBRID, config)
    in_domains, deviations = validation_candidates(fit, names)
    candidates = joined(in_domains)
    found = choose_weights(candidates, config.hybrid.k, config.hybrid.rounds)
    chosen = _with_popularity(found, names)
    of_domains = _choose_in_domains(fit, in_domains, names, chosen)
    weights_of_domains = {
        name: _in_domain(of_domain, chosen, names) for name, of_domain in of_domains.items()
    }
    chosen, weights_of_domains = _with_new_users(
        candidates, chosen, weights_of_domains, names, config
    )
    rests_on = candidates.rests_on()
    parameters = {
        "members": list(names),
        "weights": chosen.weights.tolist(),
        "deviations": [deviations[name] for name in names],
        "item_factors": chosen.item_factors.tolist(),
        "user_factors": chosen.user_factors.tolist(),
        "rests_on": rests_on,
        f"validation_ndcg@{config.hybrid.k}": chosen.ndcg,
        "validation_trials": chosen.trials,
        "users": len(candidates.relevant_counts),
    }
    if weights_of_domains:
        parameters["domains"] = {
            name: weights.tolist() for name, weights in weights_of_domains.items()
        }
    named = ", ".join(f"{n} {w:.2f}" for n, w in zip(names, chosen.weights, strict=True) if w)
    print(f"hybrid: {named}; validation NDCG@{config.hybrid.k} {chosen.ndcg:.4f}", flush=True)
    tell_of_new_items(fit, rests_on["items"][0])
    fit.write_models(HYBRID, [model_row(HYBRID, parameters)])
    if weighs_fusion(config):
        towers = member_names(FUSION, config)
        fit.write_models(FUSION, [_fusion(candidates, names, towers, deviations, config)])
    lines = _ablation(in_domains, names, found, config)
    lines += _without_other_domains(of_domains, config)
    lakehouse.write_rows("ablations", ablation_rows(lines, config.hybrid.k), model=HYBRID)


def tell_of_new_items(fit: Fit, held_out: int) -> None:
    """Say where the catalogue has items without interactions and validation tells little of them.

    Args:
        fit: the selection fit.
        held_out: how many held-out items without interactions the weights rest on.
    """
    if fit.config.features.items is None or held_out >= _FEW:
        return
    new = np.count_nonzero((fit.other(c.FINAL).item_counts == 0) & ~fit.masked_items)
    if new:
        print(
            f"hybrid: {new} items of the catalogue have no interaction, and validation holds"
            f" {held_out} such items; hybrid.catalogue_share and split.validation_strategy say"
            " whether lists offer them (docs/content.md, New items)",
            flush=True,
        )


def _with_new_users(
    candidates: Candidates,
    chosen: ChosenWeights,
    weights_of_domains: dict[str, Float64],
    names: tuple[str, ...],
    config: Config,
) -> tuple[ChosenWeights, dict[str, Float64]]:
    """The weights, and those of each domain, with a member for users without interactions."""
    if config.features.users is None:
        return chosen, weights_of_domains
    place = member_for_new_users(candidates, chosen, weights_of_domains, names, config)
    if place is None:
        return chosen, weights_of_domains
    print(
        f"hybrid: {names[place]} ranks for users without interactions, as it knows their"
        " attributes; validation holds too few of them to choose",
        flush=True,
    )
    chosen = with_weight_for_new_users(chosen, place)
    least = np.zeros(len(names))
    least[place] = chosen.weights[place]
    raised = {name: np.maximum(one, least) for name, one in weights_of_domains.items()}
    return chosen, raised


def member_for_new_users(
    candidates: Candidates,
    chosen: ChosenWeights,
    weights_of_domains: Mapping[str, Float64],
    names: tuple[str, ...],
    config: Config,
) -> int | None:
    """The member that ranks for users of whom attributes alone are known, where no other does.

    Validation that holds few such users gives weights by what others need. Of towers, which learn
    from all attributes, it is the pair that ranks best alone; without towers it is `content`.

    Returns:
        Its place among the names; None where a member with a weight knows attributes already, or
        where validation holds enough such users to tell that none is needed.
    """
    by_attributes = [
        place for place, name in enumerate(names) if "features" in ranker_named(name).user_inputs
    ]
    has_weight = (chosen.weights * chosen.user_factors[:, 0])[by_attributes].any()
    if has_weight or candidates.rests_on()["users"][0] >= _FEW:
        return None
    # The factors by evidence are those of all domains, so a member must have a weight in none.
    free = [
        place
        for place in by_attributes
        if chosen.weights[place] or not any(one[place] for one in weights_of_domains.values())
    ]
    towers = [place for place in free if "towers" in ranker_named(names[place]).groups]

    def ndcg_alone(place: int) -> float:
        of_users = ndcg_of_users(candidates, candidates.scores[place], config.hybrid.k)
        return float(of_users.mean())

    return max(towers or free, key=ndcg_alone, default=None)


def _with_popularity(chosen: ChosenWeights, names: tuple[str, ...]) -> ChosenWeights:
    """The weights of which popularity has some, where it is a member.

    It gives users of whom nothing is known the popular list.
    """
    if POPULARITY not in names:
        return chosen
    return with_least_weight(chosen, names.index(POPULARITY))


def _in_domain(of_domain: DomainWeights, common: ChosenWeights, names: tuple[str, ...]) -> Float64:
    weights = weights_in_domain(of_domain, common)
    return _with_popularity(replace(common, weights=weights), names).weights


def _choose_in_domains(
    fit: Fit, candidates: Sequence[Candidates], names: tuple[str, ...], common: ChosenWeights
) -> dict[str, DomainWeights]:
    """The weights of each domain by its name, where there are domains."""
    hybrid = fit.config.hybrid
    # Rankers that need domains score by what users have in one of them alone.
    own = np.array(["domains" in ranker_named(name).needs for name in names])
    chosen = {}
    for domain, of_domain in zip(fit.domains, candidates, strict=False):
        if len(np.unique(of_domain.measured_owners)) < 2:
            continue
        found = choose_in_domain(of_domain, common, own, hybrid.k, hybrid.rounds)
        chosen[domain.name] = found
        print(
            f"hybrid in {domain.name}: {_ORIGINS[found.origin]};"
            f" validation NDCG@{hybrid.k} {found.together.mean():.4f}",
            flush=True,
        )
    return chosen


def _without_other_domains(
    of_domains: Mapping[str, DomainWeights], config: Config
) -> list[Ablation]:
    """What each domain is worth to itself: its own models alone, against all models."""
    evaluate = config.evaluate
    return [
        compare_with_whole(
            f"{OTHER_DOMAINS_IN}{name}",
            found.alone,
            found.together,
            found.owners,
            evaluate.confidence,
            evaluate.bootstrap_replicates,
            config.seed,
        )
        for name, found in of_domains.items()
        if found.alone is not None
    ]


def _fusion(
    candidates: Candidates,
    names: tuple[str, ...],
    towers: tuple[str, ...],
    deviations: dict[str, float],
    config: Config,
) -> dict[str, Any]:
    """The weights of the towers in `fusion`, chosen as the hybrid's are, but without evidence.

    Factors by evidence would not let a score be one dot product of embeddings.
    """
    places = [names.index(name) for name in towers]
    alone = replace(candidates, scores=candidates.scores[places])
    chosen = choose_weights(alone, config.hybrid.k, config.hybrid.rounds, by_evidence=False)
    parameters = {
        "members": list(towers),
        "weights": chosen.weights.tolist(),
        "deviations": [deviations[name] for name in towers],
        "item_factors": [],
        "user_factors": [],
    }
    named = ", ".join(f"{n} {w:.2f}" for n, w in zip(towers, chosen.weights, strict=True))
    print(f"fusion: {named}; validation NDCG@{config.hybrid.k} {chosen.ndcg:.4f}", flush=True)
    return model_row(FUSION, parameters)


def _ablation(
    in_domains: Sequence[Candidates],
    names: tuple[str, ...],
    chosen: ChosenWeights,
    config: Config,
) -> list[Ablation]:
    evaluate = config.evaluate
    whole, by_part, owners = ablate_members(
        joined(in_domains), names, chosen, config.hybrid.k, config.hybrid.rounds
    )
    return [
        compare_with_whole(
            part,
            without,
            whole,
            users_of_joined(owners, len(in_domains)),
            evaluate.confidence,
            evaluate.bootstrap_replicates,
            config.seed,
        )
        for part, without in by_part.items()
    ]


JOB = Job(TRAIN_HYBRID, run)

if __name__ == "__main__":
    command_line(JOB, __doc__)
