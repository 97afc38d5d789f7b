"""Choose the hybrid's weights on validation.

Reads what the selection fit has learned and the validation fold; writes models. The weights serve
the final fit too: nothing is ever chosen on test.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config import Config
from m6rec.fits import (
    HYBRID,
    given_vectors,
    member_names,
    model_row,
    read_members,
    unlisted_items,
)
from m6rec.kernels.blending import Candidates, choose_weights
from m6rec.lakehouse import Lakehouse
from m6rec.stages.matrix import target_rows
from m6rec.stages.ranking import Scoring, collect_candidates, user_inputs


def run(lakehouse: Lakehouse, config: Config) -> None:
    """Score a sample of validation users by every member and search the weights on NDCG."""
    names = member_names(HYBRID, config)
    candidates, deviations = validation_candidates(lakehouse, config, names)
    weights, ndcg = choose_weights(candidates, config.hybrid.k, config.hybrid.rounds)
    parameters = {
        "members": list(names),
        "weights": weights.tolist(),
        "deviations": [deviations[name] for name in names],
        f"validation_ndcg@{config.hybrid.k}": ndcg,
        "users": len(candidates.relevant_counts),
    }
    chosen = ", ".join(f"{n} {w:.2f}" for n, w in zip(names, weights, strict=True) if w)
    print(f"hybrid: {chosen}; validation NDCG@{config.hybrid.k} {ndcg:.4f}", flush=True)
    row = model_row(lakehouse, HYBRID, parameters).drop("name")
    lakehouse.write("models", row, fit=c.SELECTION, kind=HYBRID, name=HYBRID)


def validation_candidates(
    lakehouse: Lakehouse, config: Config, names: tuple[str, ...]
) -> tuple[Candidates, dict[str, float]]:
    """What the named members of the selection fit offer a sample of validation users.

    Returns:
        The candidates, members in the order of the names, and the deviation of each member.
    """
    scoring = Scoring(
        members=read_members(lakehouse, config, c.SELECTION, names),
        blends=(),
        forbidden=unlisted_items(lakehouse, config, c.SELECTION),
        mask_seen=True,
        n=config.hybrid.candidates_per_member,
    )
    targets = target_rows(lakehouse.read("splits"), c.VALIDATION)
    sample = sample_users(targets, config.hybrid.maximum_users, config.seed)
    users = user_inputs(
        lakehouse.read("user_item_matrix", fit=c.SELECTION),
        lakehouse.read("user_features", fit=c.SELECTION),
        given_vectors(lakehouse, c.SELECTION, names),
        None,
    )
    return collect_candidates(users, sample, scoring, config.hybrid.candidates_per_member)


def sample_users(targets: DataFrame, maximum: int, seed: int) -> DataFrame:
    """At most `maximum` users, the same ones whatever the partitioning."""
    return targets.orderBy(F.xxhash64(F.lit(seed), c.USER_INDEX), c.USER_INDEX).limit(maximum)


if __name__ == "__main__":
    command_line("train_hybrid", run, __doc__)
