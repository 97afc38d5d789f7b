"""The search for the settings that matter most, on a sample of validation users."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from m6rec import columns as c
from m6rec.config.models import AlsConfig
from m6rec.config.run import Config
from m6rec.fits.fit import item_count, unlisted_items
from m6rec.kernels.factors.projection import FactorModel
from m6rec.kernels.neighbours.content import unit_rows
from m6rec.kernels.ranking.members import (
    DirectionEncoder,
    DotMember,
    FactorEncoder,
    HistoryMember,
    Member,
)
from m6rec.lakehouse import Lakehouse
from m6rec.stages.features.reading import item_terms
from m6rec.stages.pairs.matrix import sample_users, target_rows
from m6rec.stages.ranking.validation import ValidationUsers, collect_validation_users
from m6rec.stages.training.factors import train_als
from m6rec.stages.training.gram import matrix_statistics
from m6rec.stages.training.neighbours import train_ridge

RIDGE = "neighbours.ridge"
RECENCY = "neighbours.recency_scale"
UNOBSERVED = "factors.als.unobserved_total"
ATTRIBUTES = "factors.als.attribute_weight"
RANK = "factors.als.rank"
EXPONENTS = ({"user_exponent": 0.1, "item_exponent": 0.2},)
# Times the config's own value.
PENALTIES = (0.5, 2.0)
UNOBSERVED_TOTALS = (1 / 3, 3.0)
ATTRIBUTE_WEIGHTS = (1.0,)
RECENCIES = (0.5, 2.0, 4.0)
# ALS is tried at a rank and for a number of iterations that tell the weights apart.
TRIED_RANK, TRIED_ITERATIONS = 64, 8
# Of two cores: what a trial takes beside its fixed cost, by item, by interaction, and by row and
# item times the square of the rank.
SECONDS_A_TRIAL = 3.0
RIDGE_SECONDS_AN_ITEM = 2.5e-4
ALS_SECONDS_AN_INTERACTION = 4e-6
ALS_SECONDS_A_PRODUCT = 1e-10
# Relative. The defaults held on several data sets, and smaller gains of a sample do not come back:
# on Gowalla, exponents that gained half a hundredth on validation cost the ridge two on test.
LEAST_GAIN = 1e-2
Values = dict[str, Any]
Measure = Callable[[Values], float]


@dataclass
class Search:
    """Trials so far, what they chose, and the expected seconds that are left."""

    seconds: float
    chosen: Values = field(default_factory=dict)
    trials: list[dict[str, Any]] = field(default_factory=list)

    def try_in_turn(
        self, measure: Measure, alternatives: Iterable[Values], best: float, cost: float
    ) -> float:
        """Measure each alternative, changed from the best so far; return the best NDCG."""
        for values in alternatives:
            if cost > self.seconds:
                break
            self.seconds -= cost
            found = measure({**self.chosen, **values})
            self.trials.append({"values": values, "ndcg": found})
            if found > best * (1.0 + LEAST_GAIN):
                self.chosen |= values
                best = found
        return best


def try_all(lakehouse: Lakehouse, config: Config, users: ValidationUsers, search: Search) -> None:
    matrix = lakehouse.read("user_item_matrix", fit=c.SELECTION).cache()
    n_items = item_count(lakehouse)
    k = config.hybrid.k
    statistics = matrix_statistics(matrix, n_items, config.neighbours.maximum_history)
    terms = None
    if config.features.items is not None:
        terms = item_terms(lakehouse.read("item_features", fit=c.SELECTION), n_items)
    ridges: dict[str, HistoryMember] = {}

    def ridge(values: Values) -> HistoryMember:
        key = json.dumps({name: values[name] for name in values if name.startswith(RIDGE)})
        if key not in ridges:
            settings = config.replaced(values).neighbours
            weights = train_ridge(matrix, n_items, settings, statistics)
            ridges[key] = HistoryMember("ridge", weights, "square_root")
        return ridges[key]

    def factors(settings: AlsConfig) -> FactorModel:
        return train_als(matrix, n_items, settings, config.seed, None, terms)

    def small(values: Values) -> AlsConfig:
        settings = config.replaced(values).factors.als
        update = {"rank": min(TRIED_RANK, settings.rank), "iterations": TRIED_ITERATIONS}
        return settings.model_copy(update=update)

    def als(values: Values) -> Member:
        model = factors(small(values))
        return DotMember("als", FactorEncoder(model), model.scored_factors)

    def als_cosine(values: Values) -> Member:
        return _directions(factors(small(values)))

    def whole_als_cosine(values: Values) -> Member:
        return _directions(factors(config.replaced(values).factors.als))

    def recent(values: Values) -> Member:
        scale = config.replaced(values).neighbours.recency_scale
        return HistoryMember("recent_ridge", ridge(values).weights, "square_root", scale)

    def ndcg(member: Callable[[Values], Member]) -> Measure:
        return lambda values: users.ndcg(member(values), k)

    entries = int(statistics.counts.sum()) + (0 if terms is None else terms.nnz)
    of_als = SECONDS_A_TRIAL + ALS_SECONDS_AN_INTERACTION * entries
    searches = [(als_cosine, _attribute_values(config), of_als), (als, _als_values(config), of_als)]
    # Where only cold items are ranked, the others say nothing of their settings.
    if not config.evaluate.ranks_cold_items:
        of_ridge = SECONDS_A_TRIAL + RIDGE_SECONDS_AN_ITEM * n_items
        searches.insert(0, (ridge, _ridge_values(config), of_ridge))
        searches.append((recent, _recency_values(config), 1.0))
    for member, alternatives, cost in searches:
        if alternatives and 2 * cost <= search.seconds:
            search.seconds -= cost
            search.try_in_turn(ndcg(member), alternatives, ndcg(member)(search.chosen), cost)
    if terms is not None and config.replaced(search.chosen).factors.als.attribute_weight > 0.0:
        rows = int(statistics.users_by_count.sum()) + n_items + terms.shape[1]
        _try_ranks(config, search, ndcg(whole_als_cosine), rows)
    matrix.unpersist()


def _try_ranks(config: Config, search: Search, measure: Measure, rows: int) -> None:
    """Try ALS's ranks as it will be trained, for a shorter training says nothing of a large one.

    Args:
        config: of the run.
        search: so far.
        measure: NDCG with chosen values.
        rows: of users, items and terms together.
    """
    als = config.factors.als

    def cost(rank: int) -> float:
        return SECONDS_A_TRIAL + ALS_SECONDS_A_PRODUCT * als.iterations * rows * rank**2

    affordable = [
        rank
        for rank in config.settings.als_ranks
        if rank != als.rank and cost(als.rank) + cost(rank) <= search.seconds
    ]
    if not affordable:
        return
    search.seconds -= cost(als.rank)
    best = measure(search.chosen)
    for rank in affordable:
        best = search.try_in_turn(measure, [{RANK: rank}], best, cost(rank))


def _directions(model: FactorModel) -> Member:
    return DotMember("als_cosine", DirectionEncoder(model), unit_rows(model.scored_factors))


def _ridge_values(config: Config) -> list[Values]:
    ridge = config.neighbours.ridge
    given = ridge.model_fields_set
    values: list[Values] = []
    if not given & {"user_exponent", "item_exponent"}:
        values += [{f"{RIDGE}.{name}": one[name] for name in one} for one in EXPONENTS]
    if "regularisation" not in given:
        values += [{f"{RIDGE}.regularisation": ridge.regularisation * f} for f in PENALTIES]
    return values


def _attribute_values(config: Config) -> list[Values]:
    als = config.factors.als
    if config.features.items is None or "attribute_weight" in als.model_fields_set:
        return []
    return [{ATTRIBUTES: weight} for weight in ATTRIBUTE_WEIGHTS]


def _als_values(config: Config) -> list[Values]:
    als = config.factors.als
    if als.model_fields_set & {"unobserved_total", "unobserved_weight"}:
        return []
    return [{UNOBSERVED: als.unobserved_total * factor} for factor in UNOBSERVED_TOTALS]


def _recency_values(config: Config) -> list[Values]:
    neighbours = config.neighbours
    has_times = config.interactions.columns.time is not None
    if not has_times or "recency_scale" in neighbours.model_fields_set:
        return []
    return [{RECENCY: neighbours.recency_scale * factor} for factor in RECENCIES]


def _validation_users(lakehouse: Lakehouse, config: Config) -> ValidationUsers | None:
    targets = target_rows(lakehouse.read("splits"), c.VALIDATION)
    return collect_validation_users(
        lakehouse.read("user_item_matrix", fit=c.SELECTION),
        sample_users(targets, config.settings.users, config.seed),
        unlisted_items(lakehouse, config, c.SELECTION),
    )
