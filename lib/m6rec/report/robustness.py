"""What rankers lose where interactions are attacked, printed on the terminal and as a document."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

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
    """One ranker on one variant of the data.

    Attributes:
        variant: the attack, or `untouched`.
        ranker: its name.
        ndcg: NDCG@10 on the test.
        share: the share of the users' first ten items that hold a pushed one.
        mean_rank: of the pushed items.
    """

    variant: str
    ranker: str
    ndcg: float
    share: float
    mean_rank: float

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def change_of(rows: Sequence[Measurement], variant: str, ranker: str) -> float:
    """By which share of itself the ranker's NDCG changes; negative where it loses."""
    values = {(row.variant, row.ranker): row.ndcg for row in rows}
    before = values[UNTOUCHED, ranker]
    return values[variant, ranker] / before - 1.0 if before else 0.0


def print_robustness(console: Console, rows: Sequence[Measurement]) -> None:
    """Print a table for what is lost, and one for how far pushed items rise."""
    for title, header, cells in _tables(rows):
        table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
        for place, name in enumerate(header):
            table.add_column(name, justify="right" if place else "left", no_wrap=True)
        for line in cells:
            table.add_row(*line, style="bold" if line[0] == model_name(HYBRID) else None)
        console.print(table)


def robustness_document(
    rows: Sequence[Measurement], data: str, depth: int, warning: str = ""
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
        " has in training, also where the attack has taken it out. Users are measured once and by"
        " one seed, so that a percent or two either way is chance.",
        "\n".join(f"- **{name}**: {words}." for name, words in _WHAT_ATTACKS_ARE.items()),
        *([f"Warning: {warning}."] if warning else []),
        *(f"## {title}\n\n{_markdown(header, cells)}" for title, header, cells in _tables(rows)),
        f"A pushed item that a list of {depth} items does not hold has the rank {depth + 1}, or the"
        " one after the last where the catalogue has fewer items. Users who have an item do not"
        " count in its rank.",
        _verdict(rows),
    ]
    return "\n\n".join(parts) + "\n"


def _verdict(rows: Sequence[Measurement]) -> str:
    # What is judged is a defence against copies, and no attack of its own.
    variants = [name for name in _variants(rows) if name not in {UNTOUCHED, _JUDGED}]
    better = [
        name for name in variants if _loss(rows, name, HYBRID) <= _loss(rows, name, MLLIB_ALS)
    ]
    others = [name for name in variants if name not in better]
    words = f"The hybrid loses no more than MLlib's ALS under: {'; '.join(better) or 'none'}."
    return f"{words} It loses more under: {'; '.join(others) or 'none'}."


def _loss(rows: Sequence[Measurement], variant: str, ranker: str) -> float:
    """The share of its NDCG that the ranker loses; 0 where it gains, which is chance."""
    return max(-change_of(rows, variant, ranker), 0.0)


def _tables(rows: Sequence[Measurement]) -> list[tuple[str, list[str], list[list[str]]]]:
    variants, rankers = _variants(rows), list(dict.fromkeys(row.ranker for row in rows))
    found = {(row.variant, row.ranker): row for row in rows}
    attacks = [name for name in variants if name != UNTOUCHED]
    lost = [
        [
            model_name(ranker),
            f"{found[UNTOUCHED, ranker].ndcg:.4f}",
            *(f"{change_of(rows, name, ranker):+.1%}" for name in attacks),
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


def _variants(rows: Sequence[Measurement]) -> list[str]:
    return list(dict.fromkeys(row.variant for row in rows))


def _markdown(header: list[str], cells: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
