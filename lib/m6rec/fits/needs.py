"""What has to be trained for the rankers of a night or of a whole run, and nothing else."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from m6rec.config.run import Config
from m6rec.fits.members import member_names_of, pair_of_towers
from m6rec.job_records import TRAIN_FACTORS, TRAIN_NEIGHBOURS, TRAIN_TOWERS
from m6rec.rankers import Ranker, models_trained_by, ranker_named

_CONTENT_NEIGHBOURS, _RIDGE = "content_neighbours", "ridge"
_KNOWING_ATTRIBUTES = frozenset({"als", "own_als"})


@dataclass(frozen=True)
class Needs:
    """The models that some members rank by.

    Attributes:
        members: their names.
        factors: models of job `train_factors`.
        neighbours: models of job `train_neighbours`.
        towers: models of job `train_towers`.
        features: whether features are looked at.
        carried: models of job `train_neighbours` that are copied from an earlier run. A ranker that
            is a single factor model trains no features, so it takes over the earlier content
            neighbours, which stand in for the cold items that the earlier run knew.
    """

    members: tuple[str, ...]
    factors: tuple[str, ...]
    neighbours: tuple[str, ...]
    towers: tuple[str, ...]
    features: bool
    carried: tuple[str, ...] = ()


def needs_of(members: Iterable[str], config: Config, has_pictures_alone: bool = False) -> Needs:
    """What the members need.

    Args:
        members: their names.
        config: with chosen settings.
        has_pictures_alone: whether there are items of which pictures alone are known, for which
            those stand in that towers place nearest; a single member does without.
    """
    names = tuple(dict.fromkeys(members))
    rankers = [ranker_named(name) for name in names]
    towers = models_trained_by(TRAIN_TOWERS.name, names)
    if has_pictures_alone and len(names) > 1 and not set(towers) & set(config.towers.inputs):
        pair = pair_of_towers(config.towers.inputs[0])
        towers = models_trained_by(TRAIN_TOWERS.name, (*names, pair))
    on_factors = {
        *models_trained_by(TRAIN_FACTORS.name, names),
        *(config.towers.factors_of(model) for model in towers),
    }
    if _is_diverse_by_factors(config):
        on_factors.add("als")
    factors = models_trained_by(TRAIN_FACTORS.name, on_factors)
    neighbours = set(models_trained_by(TRAIN_NEIGHBOURS.name, names))
    if _CONTENT_NEIGHBOURS in names:
        # Histories are expanded by the ridge.
        neighbours.add(_RIDGE)
    features = bool(
        towers
        or (_KNOWING_ATTRIBUTES.intersection(factors) and _als_knows_attributes(config))
        or _CONTENT_NEIGHBOURS in neighbours
        or any("features" in ranker.user_inputs for ranker in rankers)
    )
    carried: tuple[str, ...] = ()
    if any(_has_stand_ins(ranker, config) for ranker in rankers):
        if len(names) == 1 and not features:
            carried = (_CONTENT_NEIGHBOURS,)
        else:
            neighbours.add(_CONTENT_NEIGHBOURS)
            features = True
    trained = models_trained_by(TRAIN_NEIGHBOURS.name, neighbours)
    return Needs(names, factors, trained, towers, features, carried)


def needs_of_run(config: Config) -> Needs:
    """What a run that chooses needs: for all that is measured, the hybrid's members and its lists.

    Args:
        config: with chosen settings.
    """
    named = (*config.hybrid_members, *config.evaluate.rankers, config.recommend.ranker)
    needs = needs_of(member_names_of(config.usable(named), config), config)
    neighbours = models_trained_by(TRAIN_NEIGHBOURS.name, (*needs.neighbours, *needs.carried))
    return replace(needs, neighbours=neighbours, features=True, carried=())


def _has_stand_ins(ranker: Ranker, config: Config) -> bool:
    """Whether content neighbours stand in for items that the ranker's factors do not know."""
    if config.features.items is None or ranker.name == "own_als":
        return False
    if ranker.trained_by == TRAIN_FACTORS.name and ranker.role == "member":
        method = ranker.model
    elif ranker.trained_by == TRAIN_TOWERS.name and ranker.model is not None:
        method = config.towers.factors_of(ranker.model)
    else:
        return False
    return not (method == "als" and _als_knows_attributes(config))


def _als_knows_attributes(config: Config) -> bool:
    return config.features.items is not None and config.factors.als.attribute_weight > 0.0


def _is_diverse_by_factors(config: Config) -> bool:
    """Whether lists are kept diverse by the likeness of ALS's item factors."""
    diversity = config.recommend.diversity
    return diversity.strength > 0.0 and diversity.column is None
