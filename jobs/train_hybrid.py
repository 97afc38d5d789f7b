"""Choose the hybrid's weights on validation, and measure what each member is worth.

The weights serve the final fit too: nothing is ever chosen on the test fold.
"""

from dataclasses import replace
from typing import Any

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.fits.fit import Fit, model_row
from m6rec.fits.members import member_names, validation_candidates, weighs_fusion
from m6rec.job_records import TRAIN_HYBRID
from m6rec.kernels.evaluation.ablation import (
    Ablation,
    ablate_members,
    ablation_rows,
    compare_with_whole,
)
from m6rec.kernels.ranking.blending import Candidates, choose_weights
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import FUSION, HYBRID, POPULARITY
from m6rec.runs import Job

# The least weight of popularity. It is too small to change an order that another member makes, and
# it gives users of whom nothing is known the popular list.
LEAST_POPULARITY = 1e-3


def run(lakehouse: Lakehouse, config: Config) -> None:
    """Score a sample of validation users by every member and search the weights on NDCG."""
    fit = Fit(lakehouse, config, c.SELECTION)
    names = member_names(HYBRID, config)
    candidates, deviations = validation_candidates(fit, names)
    chosen = choose_weights(candidates, config.hybrid.k, config.hybrid.rounds)
    weights = chosen.weights
    if POPULARITY in names and not weights[names.index(POPULARITY)]:
        weights[names.index(POPULARITY)] = LEAST_POPULARITY
    parameters = {
        "members": list(names),
        "weights": weights.tolist(),
        "deviations": [deviations[name] for name in names],
        "item_factors": chosen.item_factors.tolist(),
        "user_factors": chosen.user_factors.tolist(),
        "rests_on": candidates.rests_on(),
        f"validation_ndcg@{config.hybrid.k}": chosen.ndcg,
        "validation_trials": chosen.trials,
        "users": len(candidates.relevant_counts),
    }
    named = ", ".join(f"{n} {w:.2f}" for n, w in zip(names, weights, strict=True) if w)
    print(f"hybrid: {named}; validation NDCG@{config.hybrid.k} {chosen.ndcg:.4f}", flush=True)
    fit.write_models(HYBRID, [model_row(HYBRID, parameters)])
    if weighs_fusion(config):
        towers = member_names(FUSION, config)
        fit.write_models(FUSION, [_fusion(candidates, names, towers, deviations, config)])
    lines = _ablation(candidates, names, config)
    lakehouse.write_rows("ablations", ablation_rows(lines, config.hybrid.k), model=HYBRID)


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


def _ablation(candidates: Candidates, names: tuple[str, ...], config: Config) -> list[Ablation]:
    evaluate = config.evaluate
    whole, by_part = ablate_members(candidates, names, config.hybrid.k, config.hybrid.rounds)
    return [
        compare_with_whole(
            part, without, whole, evaluate.confidence, evaluate.bootstrap_replicates, config.seed
        )
        for part, without in by_part.items()
    ]


JOB = Job(TRAIN_HYBRID, run)

if __name__ == "__main__":
    command_line(JOB, __doc__)
