"""docs/validation.md, from what the study found, and from conclusions.md, written by hand."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.quality.validation_study.cells import (
    CANDIDATES_PER_MEMBER,
    K_OF_TEST,
    MANY_ITEMS,
    MAXIMUM_USERS,
    RANK_OF_SVD,
)
from tests.quality.validation_study.choices import DEFAULT_RULE, LEAST_GAINS
from tests.quality.validation_study.data import DATA_SETS

DOCUMENT = Path(__file__).parents[3] / "docs" / "validation.md"
CONCLUSIONS = Path(__file__).with_name("conclusions.md")
Found = Mapping[str, Mapping[str, Any]]

INTRODUCTION = f"""\
# Validation

How well what validation prefers does on the test: the study behind the defaults of `split` and of
the hybrid's weights. `make validation-study DATA=DIR` makes its tables again, up to *What
follows*; what stands from there on is written by hand, with tables of earlier states of the code,
whose users, members and searches are not all those of the tables above.

For each data set, members are trained without what a strategy holds out, and weights are chosen on
that. Then the members are trained on all training pairs, blended by these weights, and measured on
the test by NDCG@{K_OF_TEST}. A **regret** is the share of it that is lost against weights that the
same search chooses on the test itself. A strategy reaches 0 only by luck; what counts is which of
them loses least, in the mean and in the worst case. `mixed` and `highest_ids` hold out a fifth of
a user's pairs, the others a tenth.

To be affordable the study does without Spark and without towers, has an SVD of rank {RANK_OF_SVD}
where there are more than {MANY_ITEMS:,} items, looks at no more than {MAXIMUM_USERS:,} users and
{CANDIDATES_PER_MEMBER} candidates of each member, and has one seed.
"""


def write_document(found: Found) -> None:
    """Write docs/validation.md from the results by data set."""
    DOCUMENT.write_text("\n".join(lines_of(found)) + "\n")


def lines_of(found: Found) -> Iterator[str]:
    """The lines of the document."""
    yield INTRODUCTION
    yield "## The data\n"
    yield "| data | what it is | best on test | best single member | the test was looked at |"
    yield "|---|---|---|---|---|"
    for name, one in found.items():
        member = max(one["members"], key=one["members"].get)
        yield (
            f"| {name} | {DATA_SETS[name].__doc__} | {one['best_on_test']:.4f} |"
            f" `{member}` {one['members'][member]:.4f} | {one['looked_at']} times |"
        )
    yield "\n## What is held out\n"
    yield (
        f"Regrets of the weights. The default is *{DEFAULT_RULE}*: it looks at nothing of the test,"
        " only at whether there are times.\n"
    )
    yield from _table(found, lambda one: one["rules"], _regret)
    yield "\n## The hybrid beside its best single member\n"
    yield "How far the hybrid is above the member that is best on the test; below, if negative.\n"
    yield from _table(found, lambda one: one["rules"], _above_best_member, worst=min)
    yield "\n## How weights are chosen\n"
    yield "Regrets under the default; one thing is changed at a time.\n"
    yield from _table(found, lambda one: one["variants"], _regret)
    yield "\n## Settings\n"
    yield (
        "Regrets of the settings that each strategy chooses (the ridge's exponents and penalty, the"
        " weights of ALS, recency), the mean over the members on which they are tried. A value is"
        " taken where it gains more than this share of NDCG on validation.\n"
    )
    for least in LEAST_GAINS:
        yield f"More than {least:.0%}:\n"
        yield from _table(
            found,
            lambda one, least=least: {
                rule: sum(by[str(least)] for by in members.values()) / len(members)
                for rule, members in one["settings"].items()
            },
            lambda one, value: value,
        )
        yield ""
    yield CONCLUSIONS.read_text().strip()


def _regret(one: Mapping[str, Any], value: float) -> float:
    return 1.0 - value / one["best_on_test"]


def _above_best_member(one: Mapping[str, Any], value: float) -> float:
    return value / max(one["members"].values()) - 1.0


def _table(found: Found, rows_of: Any, share_of: Any, worst: Any = max) -> Iterator[str]:
    """A row for each choice, a column for each data set, and the mean and worst of the row."""
    rows = dict.fromkeys(row for one in found.values() for row in rows_of(one))
    yield "| | " + " | ".join(found) + " | mean | worst |"
    yield "|---" * (len(found) + 3) + "|"
    for row in rows:
        shares = [share_of(one, rows_of(one)[row]) for one in found.values() if row in rows_of(one)]
        measured = iter(f"{share:.1%}" for share in shares)
        cells = [next(measured) if row in rows_of(one) else "-" for one in found.values()]
        # Means over other data would not compare.
        whole = len(shares) == len(found)
        cells += (
            [f"{sum(shares) / len(shares):.1%}", f"{worst(shares):.1%}"] if whole else ["-"] * 2
        )
        yield f"| {row} | " + " | ".join(cells) + " |"
