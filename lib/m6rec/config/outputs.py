"""What is published and what is measured: lists, rules, evaluation, ablation."""

from typing import Annotated, Literal

from pydantic import Field

from m6rec.config.base import NonNegativeFloat, PositiveInt, RankerName, Section, TableSource
from m6rec.config.models import TOWER_PARTS, TowerPart
from m6rec.rankers import HYBRID, RANKER_NAMES


class AblationConfig(Section):
    """What each part is worth, measured on validation by taking it out.

    Parts of the towers need a training each: those that `seconds` do not suffice for are left out.
    """

    tower_parts: tuple[TowerPart, ...] = TOWER_PARTS
    seconds: NonNegativeFloat = 60.0


class RulesConfig(Section):
    """Business rules, applied inside the ranking kernel."""

    allowed_items: TableSource | None = None
    excluded_items: TableSource | None = None
    excluded_pairs: TableSource | None = None
    mask_seen: bool = True


class RecommendConfig(Section):
    """The published lists."""

    ranker: RankerName = HYBRID
    top_n: PositiveInt = 20
    reasons: Annotated[int, Field(ge=0)] = 3
    rules: RulesConfig = RulesConfig()


class EvaluateConfig(Section):
    """Which rankers are measured, at which depths.

    `candidates` is what lists are made of: all items of the catalogue that the user has not seen,
    or only items that training never saw. On test all users are measured, on validation a sample.
    """

    candidates: Literal["all", "cold_items"] = "all"
    rankers: tuple[RankerName, ...] = RANKER_NAMES
    ks: tuple[PositiveInt, ...] = (10, 20)
    maximum_validation_users: PositiveInt = 10_000
    bootstrap_replicates: PositiveInt = 1_000
    confidence: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.95
    compare_with_run: str | None = None
