"""What rankers lose where interactions are attacked, printed on the terminal and as a document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from m6rec.kernels.arrays.rows import Float64
from m6rec.kernels.evaluation.relative_changes import (
    Change,
    difference_of_changes,
    relative_change,
)
from m6rec.rankers import HYBRID, MLLIB_ALS
from m6rec.report.wording import model_name

UNTOUCHED = "untouched"
_JUDGED = "copies, judged"
_WHAT_ATTACKS_ARE: Mapping[str, str] = {
    "random": "fake users with the pushed items and fillers drawn evenly",
    "average": "fake users with the pushed items and fillers drawn by popularity",
    "bandwagon": "fake users with the pushed items, the most popular items and even fillers",
    "copies": "fake users with the pushed items and the same even fillers",
    "copies, judged": "the same under `interactions.suspicious_users.action: quarantine`",
    "random clicks": "a fifth of events more, of real users with items by chance",
    "losses": "a fifth of events less",
}


@dataclass(frozen=True)
class Measurement:
    """One ranker on one variant of the data, trained and attacked by one seed.

    Attributes:
        variant: the attack, or `untouched`.
        ranker: its name.
        seed: of the attack and of the training.
        ndcg: float64 [users]; NDCG@10 of each user with test items, always in the same order.
        share: the share of the users' first ten items that hold a pushed one.
        mean_rank: of the pushed items.
    """

    variant: str
    ranker: str
    seed: int
    ndcg: Float64
    share: float
    mean_rank: float


@dataclass(frozen=True)
class RankerOutcome:
    """What all seeds have measured of a ranker on a variant.

    Attributes:
        variant, ranker: as in `Measurement`.
        of_seeds: the mean NDCG@10 by each seed.
        ndcg: float64 [users]; the mean over the seeds.
        share, mean_rank: the means over the seeds.
        change: by which share of itself the NDCG is above that on the untouched data.
    """

    variant: str
    ranker: str
    of_seeds: tuple[float, ...]
    ndcg: Float64
    share: float
    mean_rank: float
    change: Change

    def to_json(self) -> dict[str, Any]:
        """The means, those of each seed, and the change with its interval."""
        return {
            "variant": self.variant,
            "ranker": self.ranker,
            "ndcg": float(self.ndcg.mean()),
            "ndcg_of_seeds": list(self.of_seeds),
            "share": self.share,
            "mean_rank": self.mean_rank,
            "change": self.change.value,
            "change_low": self.change.low,
            "change_high": self.change.high,
        }


def outcomes_of(rows: Sequence[Measurement]) -> list[RankerOutcome]:
    """The outcome for each variant and ranker, in the order of the measurements."""
    by_place: dict[tuple[str, str], list[Measurement]] = {}
    for row in rows:
        by_place.setdefault((row.variant, row.ranker), []).append(row)
    ndcg = {place: np.mean([one.ndcg for one in own], axis=0) for place, own in by_place.items()}
    return [
        RankerOutcome(
            variant,
            ranker,
            tuple(float(one.ndcg.mean()) for one in own),
            ndcg[variant, ranker],
            float(np.mean([one.share for one in own])),
            float(np.mean([one.mean_rank for one in own])),
            relative_change(ndcg[UNTOUCHED, ranker], ndcg[variant, ranker]),
        )
        for (variant, ranker), own in by_place.items()
    ]


def print_robustness(console: Console, rows: Sequence[RankerOutcome]) -> None:
    """Print a table for what is lost, and one for how far pushed items rise."""
    for title, header, cells in _tables(rows):
        table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
        for place, name in enumerate(header):
            table.add_column(name, justify="right" if place else "left", no_wrap=True)
        for line in cells:
            table.add_row(*line, style="bold" if line[0] == model_name(HYBRID) else None)
        console.print(table)


def robustness_document(
    rows: Sequence[RankerOutcome], data: str, depth: int, warning: str = ""
) -> str:
    """The tables as Markdown, with what was measured and how, and a warning where there is one."""
    parts = [
        "# Robustness",
        "<!-- Written by: make robustness DATA=DIR -->",
        "What rankers lose where interactions are attacked, measured on a test that is as it was."
        f" The data: {data}. Written by `make robustness DATA=DIR OUTPUT=DIR` with the settings of"
        " `conf/robustness.yaml`: without towers, and with few dimensions. One fake user for every"
        " hundred users, and at least one, pushes ten items of the less popular half; such a user"
        " has as many fillers as a user has items. No list is measured with an item that its user"
        " has in training, also where the attack has taken it out. Trainings and attacks are by"
        f" {_seeds(rows)}. A change is that of the mean over these; after ± stands half of its 95%"
        " interval over users.",
        "\n".join(f"- **{name}**: {words}." for name, words in _WHAT_ATTACKS_ARE.items()),
        *([f"Warning: {warning}."] if warning else []),
        *(f"## {title}\n\n{_markdown(header, cells)}" for title, header, cells in _tables(rows)),
        f"A pushed item that a list of {depth} items does not hold has the rank {depth + 1}, or the"
        " one after the last where the catalogue has fewer items. Users who have an item do not"
        " count in its rank.",
        _verdict(rows),
    ]
    return "\n\n".join(parts) + "\n"


def _seeds(rows: Sequence[RankerOutcome]) -> str:
    count = len(rows[0].of_seeds)
    return f"{count} seeds" if count > 1 else "one seed"


def _verdict(rows: Sequence[RankerOutcome]) -> str:
    """Where the hybrid loses less of its NDCG than MLlib's ALS, by a paired interval over users."""
    found = {(row.variant, row.ranker): row for row in rows}
    lines = []
    # What is judged is a defence against copies, and no attack of its own.
    for name in (one for one in _variants(rows) if one not in {UNTOUCHED, _JUDGED}):
        gap = difference_of_changes(
            found[UNTOUCHED, HYBRID].ndcg,
            found[name, HYBRID].ndcg,
            found[UNTOUCHED, MLLIB_ALS].ndcg,
            found[name, MLLIB_ALS].ndcg,
        )
        if gap.low > 0.0:
            word = "less than"
        elif gap.high < 0.0:
            word = "more than"
        else:
            word = "as much as"
        lines.append(
            f"- {name}: {word} MLlib's ALS ({gap.value:+.1%}, {gap.low:+.1%} to {gap.high:+.1%})"
        )
    return "\n".join(
        [
            "The hybrid loses, where above 0 stands for a smaller loss (95% interval over users):",
            "",
            *lines,
        ]
    )


def _tables(rows: Sequence[RankerOutcome]) -> list[tuple[str, list[str], list[list[str]]]]:
    variants, rankers = _variants(rows), list(dict.fromkeys(row.ranker for row in rows))
    found = {(row.variant, row.ranker): row for row in rows}
    attacks = [name for name in variants if name != UNTOUCHED]
    lost = [
        [
            model_name(ranker),
            f"{found[UNTOUCHED, ranker].ndcg.mean():.4f}",
            *(_as_text(found[name, ranker].change) for name in attacks),
        ]
        for ranker in rankers
    ]
    risen = [
        [
            model_name(ranker),
            *(
                f"{found[name, ranker].share:.1%} / {found[name, ranker].mean_rank:.0f}"
                for name in variants
            ),
        ]
        for ranker in rankers
    ]
    return [
        ("NDCG@10, and its change under each attack", ["Ranker", UNTOUCHED, *attacks], lost),
        (
            "Lists with a pushed item among ten / mean rank of pushed items",
            ["Ranker", *variants],
            risen,
        ),
    ]


def _as_text(change: Change) -> str:
    return f"{change.value:+.1%} ± {change.half_width:.1%}"


def _variants(rows: Sequence[RankerOutcome]) -> list[str]:
    return list(dict.fromkeys(row.variant for row in rows))


def _markdown(header: list[str], cells: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
