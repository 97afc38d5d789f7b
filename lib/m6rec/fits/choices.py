"""What a run has chosen on validation, as runs of the following nights keep it."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from m6rec import columns as c
from m6rec.config.reading import keys_of_differences, value_at
from m6rec.config.run import Config
from m6rec.fits.fit import SETTINGS, Fit, model_row
from m6rec.fits.members import read_blends
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import FUSION, HYBRID

CHOICES = "choices"
# What a run chooses depends on these keys.
_RESTS_ON = (
    "interactions",
    "split",
    "settings",
    "factors",
    "neighbours",
    "features",
    "towers",
    "hybrid",
    "seed",
)
_SINGLE_KEYS = ("ratings.enabled", "recommend.rules.mask_seen", "evaluate.candidates")
_TABLES = frozenset({"source", "test", "validation"})
# An owner's table may have another path each day, so its place and format are not compared. All
# else that says how it is read is.
_PLACE = frozenset({"path", "table", "version", "timestamp", "format"})


@dataclass(frozen=True)
class Choices:
    """The choices that a run keeps, besides its rows of table `models`.

    Attributes:
        kept_from: the run that they were read from, which was the published one.
        chosen_by: the run that made them.
        chosen_at: when it began.
        epochs: for how many epochs each model of the towers is trained from its start.
    """

    kept_from: str
    chosen_by: str
    chosen_at: datetime.datetime
    epochs: Mapping[str, int]

    def age(self, now: datetime.datetime) -> datetime.timedelta:
        """How long ago they were made."""
        return now - self.chosen_at


def choices_of(selection: Fit, begun_at: datetime.datetime) -> Choices:
    """The choices that a finished run has made, or has kept itself.

    Args:
        selection: the selection fit of the run.
        begun_at: when the run began.
    """
    run_id, kept = selection.lakehouse.run_id, kept_choices(selection)
    if kept is not None:
        return replace(kept, kept_from=run_id)
    epochs = {
        row["name"]: int(selection.model("towers", row["name"])["best_epoch"])
        for row in selection.models_of("towers")
    }
    return Choices(run_id, run_id, begun_at, epochs)


def kept_choices(selection: Fit) -> Choices | None:
    """The choices that a run keeps from an earlier one; None where it makes its own."""
    if not selection.lakehouse.exists("models") or not selection.models_of(CHOICES):
        return None
    parameters = selection.model(CHOICES, CHOICES)
    return Choices(
        parameters["kept_from"],
        parameters["chosen_by"],
        datetime.datetime.fromisoformat(parameters["chosen_at"]),
        parameters["epochs"],
    )


def write_choices(lakehouse: Lakehouse, published: Fit, choices: Choices) -> None:
    """Copy settings and weights from a selection fit, with the choices beside them."""
    rows = [
        {"kind": kind, **model_row(row["name"], published.model(kind, row["name"]))}
        for kind in (SETTINGS, HYBRID, FUSION)
        for row in published.models_of(kind)
    ]
    parameters = {
        "kept_from": choices.kept_from,
        "chosen_by": choices.chosen_by,
        "chosen_at": choices.chosen_at.isoformat(),
        "epochs": dict(choices.epochs),
    }
    rows.append({"kind": CHOICES, **model_row(CHOICES, parameters)})
    lakehouse.write_rows("models", rows, fit=c.SELECTION)


def members_with_weight(fit: Fit, ranker: str) -> tuple[str, ...]:
    """The members that have a weight in a ranker in any domain, by the choices of the fit's run.

    The common weights count as well, since a domain that the run did not have takes these.
    """
    [common] = read_blends(fit, (ranker,))
    of_domains: Mapping[str, list[float]] = {}
    if ranker == HYBRID:
        # The run may not have prepared its tables, and so not know its domains.
        of_domains = fit.other(c.SELECTION).model(HYBRID, HYBRID).get("domains", {})
    blends = [common, *(replace(common, weights=tuple(one)) for one in of_domains.values())]
    return tuple(dict.fromkeys(name for blend in blends for name in blend.coefficients()))


def keys_that_differ(config: Config, other: Mapping[str, Any]) -> list[str]:
    """The dotted keys that choices rest on and that differ between two configurations.

    Args:
        config: one.
        other: the other as plain data, with all defaults.
    """
    one = config.model_dump(mode="json")
    found = [
        key
        for name in _RESTS_ON
        for key in keys_of_differences(one.get(name), other.get(name), name, _is_of_a_place)
    ]
    return found + [key for key in _SINGLE_KEYS if value_at(one, key) != value_at(other, key)]


def _is_of_a_place(key: str) -> bool:
    *_, section, name = ("", *key.split("."))
    return section in _TABLES and name in _PLACE
