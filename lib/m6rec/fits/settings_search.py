"""The search for the settings that matter most, on a sample of validation users."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame

from m6rec.config.models import AlsConfig
from m6rec.config.run import Config
from m6rec.fits.fit import Fit
from m6rec.fits.validation import validation_users
from m6rec.kernels.arrays.rows import Float64
from m6rec.kernels.factors.projection import FactorModel
from m6rec.kernels.neighbours.content import unit_rows
from m6rec.kernels.ranking.blending import is_above_noise
from m6rec.kernels.ranking.members import (
    DirectionEncoder,
    DotMember,
    FactorEncoder,
    HistoryMember,
    Member,
)
from m6rec.kernels.ranking.validation import ValidationUsers
from m6rec.stages.training.factors import train_als
from m6rec.stages.training.gram import matrix_statistics
from m6rec.stages.training.neighbours import train_ridge

RIDGE = "neighbours.ridge"
RECENCY = "neighbours.recency_scale"
UNOBSERVED = "factors.als.unobserved_total"
ALS_ATTRIBUTE_WEIGHT = "factors.als.attribute_weight"
ALS_RANK = "factors.als.rank"
EXPONENTS = ({"user_exponent": 0.1, "item_exponent": 0.2},)
# The values that are tried, as multiples of the config's own.
PENALTIES = (0.5, 2.0)
UNOBSERVED_TOTALS = (1 / 3, 3.0)
ATTRIBUTE_WEIGHTS = (1.0,)
# The owner's vectors may tell much or little of items; how much words tell differs less.
ATTRIBUTE_WEIGHTS_OF_VECTORS = (1.0, 0.3)
RECENCIES = (0.5, 2.0, 4.0)
# ALS is tried at a rank and for a number of iterations that suffice to tell its weights apart.
TRIED_RANK, TRIED_ITERATIONS = 64, 8
# What a trial takes on two cores: a fixed cost and, by its kind, a cost for each item, for each
# interaction, or for each row of either side times the square of the rank.
SECONDS_A_TRIAL = 3.0
RIDGE_SECONDS_AN_ITEM = 2.5e-4
ALS_SECONDS_AN_INTERACTION = 4e-6
ALS_SECONDS_A_PRODUCT = 1e-10
# A value is taken only if it raises NDCG by this share, and by more than its noise. The defaults
# are good on several data sets, and docs/validation.md has what other shares would lose.
LEAST_GAIN = 1e-2
Values = dict[str, Any]
# The NDCG of each user with chosen values, float64 [users].
Measure = Callable[[Values], Float64]


@dataclass
class Search:
    """A search within a number of seconds.

    Attributes:
        seconds: the seconds that are left, as far as they can be foreseen.
        chosen: the values that the trials so far have chosen.
        trials: the values and the NDCG of each trial so far.
        left_out: the values that were not tried, because the seconds did not suffice.
        skipped_without_attributes: those that were not, because ALS gives the items' attributes no
            weight.
    """

    seconds: float
    chosen: Values = field(default_factory=dict)
    trials: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[Values] = field(default_factory=list)
    skipped_without_attributes: list[Values] = field(default_factory=list)

    def try_in_turn(
        self, measure: Measure, alternatives: Iterable[Values], best: Float64, cost: float
    ) -> Float64:
        """Measure each alternative, changed from the best so far; return the best users' NDCG."""
        for values in alternatives:
            if cost > self.seconds:
                self.left_out.append(values)
                continue
            self.seconds -= cost
            found = measure({**self.chosen, **values})
            self.trials.append({"values": values, "ndcg": float(found.mean())})
            if found.mean() > best.mean() * (1.0 + LEAST_GAIN) and is_above_noise(found - best):
                self.chosen |= values
                best = found
        return best


def search_settings(fit: Fit, search: Search) -> None:
    """Try the values of each setting in turn, as far as the search's seconds suffice."""
    users = validation_users(fit, ("ridge",), fit.config.settings.users)
    if users is None:
        return
    matrix = fit.matrix.cache()
    _try_all(_Trials(fit, matrix, users), search)
    matrix.unpersist()


class _Trials:
    """Members trained with values that are tried, and their NDCG on validation."""

    def __init__(self, fit: Fit, matrix: DataFrame, users: ValidationUsers) -> None:
        self.config = fit.config
        self.n_items = fit.n_items
        self._matrix = matrix
        self._ranks = fit.ranks
        self._users = users
        self.statistics = matrix_statistics(
            matrix, self.n_items, self.config.neighbours.maximum_history
        )
        self.terms = None
        self.of_vectors = False
        if self.config.features.items is not None:
            self.terms = fit.item_terms()
            self.of_vectors = bool(fit.modalities("items"))
        self._ridges: dict[str, HistoryMember] = {}

    def measure(self, member: Callable[[Values], Member]) -> Measure:
        """The users' NDCG of what `member` trains with chosen values."""

        def ndcg_of_users(values: Values) -> Float64:
            trained = member(values)
            return self._users.ndcg_of_users({trained.name: trained}, self.config.hybrid.k)

        return ndcg_of_users

    def ridge(self, values: Values) -> HistoryMember:
        key = json.dumps({name: values[name] for name in values if name.startswith(RIDGE)})
        if key not in self._ridges:
            settings = self.config.replaced(values).neighbours
            weights = train_ridge(self._matrix, self.n_items, settings, self.statistics)
            self._ridges[key] = HistoryMember("ridge", weights, "square_root")
        return self._ridges[key]

    def recent_ridge(self, values: Values) -> Member:
        scale = self.config.replaced(values).neighbours.recency_scale
        return HistoryMember("recent_ridge", self.ridge(values).weights, "square_root", scale)

    def als(self, values: Values) -> Member:
        model = self._factors(self._small(values))
        return DotMember("als", FactorEncoder(model), model.scored_factors)

    def als_cosine(self, values: Values) -> Member:
        return _directions(self._factors(self._small(values)))

    def whole_als_cosine(self, values: Values) -> Member:
        return _directions(self._factors(self.config.replaced(values).factors.als))

    def _small(self, values: Values) -> AlsConfig:
        settings = self.config.replaced(values).factors.als
        update = {"rank": min(TRIED_RANK, settings.rank), "iterations": TRIED_ITERATIONS}
        return settings.model_copy(update=update)

    def _factors(self, settings: AlsConfig) -> FactorModel:
        return train_als(
            self._matrix,
            self.n_items,
            settings,
            self.config.seed,
            None,
            self.terms,
            ranks=self._ranks,
        )


def _try_all(trials: _Trials, search: Search) -> None:
    config, terms, statistics = trials.config, trials.terms, trials.statistics
    entries = int(statistics.counts.sum()) + (0 if terms is None else terms.nnz)
    of_als = SECONDS_A_TRIAL + ALS_SECONDS_AN_INTERACTION * entries
    searches = [
        (trials.als_cosine, _attribute_values(config, trials.of_vectors), of_als),
        (trials.als, _als_values(config), of_als),
    ]
    # Where only cold items are ranked, the ridge and recency have no say: they know no such items.
    if not config.evaluate.ranks_cold_items:
        of_ridge = SECONDS_A_TRIAL + RIDGE_SECONDS_AN_ITEM * trials.n_items
        searches.insert(0, (trials.ridge, _ridge_values(config), of_ridge))
        searches.append((trials.recent_ridge, _recency_values(config), 1.0))
    for member, alternatives, cost in searches:
        if 2 * cost > search.seconds:
            search.left_out += alternatives
        elif alternatives:
            search.seconds -= cost
            measure = trials.measure(member)
            search.try_in_turn(measure, alternatives, measure(search.chosen), cost)
    if terms is None:
        return
    if config.replaced(search.chosen).factors.als.attribute_weight == 0.0:
        search.skipped_without_attributes += _ranks(config)
    else:
        rows = int(statistics.users_by_count.sum()) + trials.n_items + terms.shape[1]
        _try_ranks(config, search, trials.measure(trials.whole_als_cosine), rows)


def _try_ranks(config: Config, search: Search, measure: Measure, rows: int) -> None:
    """Try ranks of ALS with the full number of iterations: fewer would not tell large ranks apart.

    Args:
        config: of the run.
        search: so far.
        measure: the users' NDCG with chosen values.
        rows: of users, items and terms together.
    """
    als = config.factors.als

    def cost(rank: int) -> float:
        return SECONDS_A_TRIAL + ALS_SECONDS_A_PRODUCT * als.iterations * rows * rank**2

    affordable = [
        one for one in _ranks(config) if cost(als.rank) + cost(one[ALS_RANK]) <= search.seconds
    ]
    search.left_out += [one for one in _ranks(config) if one not in affordable]
    if not affordable:
        return
    search.seconds -= cost(als.rank)
    best = measure(search.chosen)
    for one in affordable:
        best = search.try_in_turn(measure, [one], best, cost(one[ALS_RANK]))


def _ranks(config: Config) -> list[Values]:
    ranks = config.settings.als_ranks
    return [{ALS_RANK: rank} for rank in ranks if rank != config.factors.als.rank]


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


def _attribute_values(config: Config, of_vectors: bool) -> list[Values]:
    als = config.factors.als
    if config.features.items is None or "attribute_weight" in als.model_fields_set:
        return []
    if als.feedback == "explicit":
        return []
    weights = ATTRIBUTE_WEIGHTS_OF_VECTORS if of_vectors else ATTRIBUTE_WEIGHTS
    return [{ALS_ATTRIBUTE_WEIGHT: weight} for weight in weights]


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
