"""How names and numbers are written for people."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from m6rec.kernels.evaluation.ablation import OTHER_DOMAINS_IN
from m6rec.kernels.evaluation.tally import domain_segment
from m6rec.rankers import label_of

METRIC_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "ndcg": "NDCG",
        "recall": "Recall",
        "precision": "Precision",
        "f1": "F1",
        "map": "MAP",
        "mrr": "MRR",
        "hit_rate": "Hit rate (accuracy)",
        "coverage": "Coverage",
        "novelty": "Novelty",
        "diversity": "Diversity",
        "intra_list_similarity": "Similarity in lists",
        "calibration": "Calibration (KL)",
    }
)
# Of these, less is better.
BEST_LOW = frozenset({"intra_list_similarity", "calibration"})
# These are errors of predicted ratings, and less is better.
ERROR_NAMES: Mapping[str, str] = MappingProxyType({"rmse": "RMSE", "mae": "MAE"})
# These are no rankers, but members of the rating prediction and parts of the towers.
_OTHER_NAMES = MappingProxyType(
    {"rating_als": "Rating ALS", "mlp": "MLP", "shared": "Shared layer W"}
)

# These stand before the value of a reason. The values of the other kinds speak for themselves.
_REASON_WORDS = MappingProxyType(
    {
        "history": "you had",
        "after": "after",
        "again": "you come back to",
        "attribute": "you like",
    }
)


def model_name(model: str) -> str:
    """The name of a ranker, or of a part of one: `item_neighbours` is Item neighbours."""
    if model.startswith(OTHER_DOMAINS_IN):
        # The rest is the owner's name of a domain.
        return model[0].upper() + model[1:]
    return _OTHER_NAMES.get(model) or label_of(model)


def segment_name(segment: str) -> str:
    """A segment's name: `activity_low` is Activity: low."""
    if segment == "all":
        return "All users"
    if segment.startswith(domain_segment("")):
        return segment[0].upper() + segment[1:]
    kind, _, part = segment.partition("_")
    if not part:
        return kind.capitalize()
    return f"{kind.capitalize()}: {part}" if kind != "cold" else f"Cold {part}"


def number_text(value: float | None, digits: int = 4) -> str:
    """A number with fixed digits; a dash for what is missing or not finite."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.{digits}f}"


def count_text(value: int) -> str:
    """A whole number with a thin space at every thousand."""
    return f"{value:,}".replace(",", "\u202f")


def p_value_text(value: float) -> str:
    """A p-value as tables give it."""
    return "< .001" if value < 0.001 else f"{value:.3f}".lstrip("0")


def duration_text(seconds: float) -> str:
    """Seconds, or minutes and seconds."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def reason_text(reason: Mapping[str, Any]) -> str:
    """A reason of the table `recommendations` (kind, value, share) in words.

    >>> reason_text({"kind": "history", "value": "Fargo", "share": 0.4})
    'you had Fargo (40%)'
    >>> reason_text({"kind": "after", "value": "Fargo", "share": 0.4})
    'after Fargo (40%)'
    >>> reason_text({"kind": "again", "value": "Fargo", "share": 0.4})
    'you come back to Fargo (40%)'
    """
    if reason["kind"] not in _REASON_WORDS:
        return str(reason["value"])
    return f"{_REASON_WORDS[reason['kind']]} {reason['value']} ({float(reason['share']):.0%})"
