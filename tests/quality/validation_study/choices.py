"""What validation chooses, and what that is worth on the test: regrets against the best there.

A regret is the share of the test's NDCG@20 that a choice loses against the best choice by the same
search on the test itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from m6rec.kernels.arrays.rows import Int64
from m6rec.kernels.ranking.balancing import balance_by_evidence, catalogue_share_of
from m6rec.kernels.ranking.blending import (
    BINS,
    RESAMPLES,
    Candidates,
    ChosenWeights,
    blended_scores,
    choose_weights,
    ndcg_of_users,
    with_least_weight,
)
from m6rec.rankers import POPULARITY
from tests.quality.validation_study.cells import FINAL, K_OF_TEST, K_OF_VALIDATION, Cell, load_cell
from tests.quality.validation_study.data import Data

ROUNDS = 3
# By the name of a rule, the cells that it takes: of each tuple the first that the data has.
RULES: Mapping[str, Sequence[tuple[str, ...]]] = {
    "random": [("random_10",)],
    "mixed": [("mixed_20",)],
    "highest ids, else random": [("highest_ids_20", "random_10")],
    "last, else random": [("last_10", "random_10")],
    "random and new": [("random_and_new_10",)],
    "last, else random and new": [("last_10", "random_and_new_10")],
    "last, else mixed": [("last_10", "mixed_20")],
    "random and mixed": [("random_10",), ("mixed_20",)],
    "last and random": [("last_10", "random_10"), ("random_10",)],
}
DEFAULT_RULE = "last, else random"


@dataclass(frozen=True)
class Variant:
    """How weights are chosen.

    Attributes:
        k: of the NDCG on validation.
        resamples: so many samples of the users are searched.
        standard_errors: a step must gain more than so many.
        by_evidence: whether weights differ by evidence.
        by_catalogue: whether held-out items count by the catalogue, where many of its items have no
            interactions (`hybrid.catalogue_share: auto`).
    """

    k: int = K_OF_VALIDATION
    resamples: int = RESAMPLES
    standard_errors: float = 0.0
    by_evidence: bool = True
    by_catalogue: bool = True


VARIANTS: Mapping[str, Variant] = {
    "as it is": Variant(),
    "one search": Variant(resamples=1),
    "one search, by one standard error": Variant(resamples=1, standard_errors=1.0),
    "by one standard error": Variant(standard_errors=1.0),
    "one weight for all evidence": Variant(by_evidence=False),
    "by NDCG@20": Variant(k=20),
    "by NDCG@100": Variant(k=100),
    "the catalogue never counts": Variant(by_catalogue=False),
}
LEAST_GAINS = (0.0, 0.01, 0.02)


def choices_of(folder: Path, data: Data) -> dict[str, Any]:
    """The regrets of one data set, whose cells lie in a folder."""
    final = load_cell(folder / f"{FINAL}_0")
    judge = _Judge(final, folder, _counts_of_catalogue(data))
    return {
        "best_on_test": judge.best_on_test(),
        "members": dict(zip(final.members, judge.of_members(), strict=True)),
        "rules": {rule: judge.ndcg(_names(folder, rule), Variant()) for rule in _usable(folder)},
        "variants": {
            name: judge.ndcg(_names(folder, DEFAULT_RULE), variant)
            for name, variant in VARIANTS.items()
        },
        "settings": _settings(final, folder),
        "looked_at": judge.looked_at,
    }


class _Judge:
    """Measures on the test what was chosen on other cells, and counts how often it did."""

    def __init__(self, final: Cell, folder: Path, item_counts: Int64 | None) -> None:
        self._final = final
        self._item_counts = item_counts
        self._folder = folder
        self._found: dict[tuple[tuple[str, ...], Variant], float] = {}
        self.looked_at = 0

    def ndcg(self, cells: tuple[str, ...], variant: Variant) -> float:
        """On the test, by weights that are chosen on these cells together."""
        if (cells, variant) not in self._found:
            candidates, deviations = _together([load_cell(self._folder / cell) for cell in cells])
            if variant.by_catalogue:
                candidates = self._balanced(candidates)
            chosen = _search(candidates, variant)
            self._found[cells, variant] = self._measure(chosen, deviations)
        return self._found[cells, variant]

    def _balanced(self, candidates: Candidates) -> Candidates:
        if self._item_counts is None:
            return candidates
        share = catalogue_share_of(self._item_counts)
        return balance_by_evidence(candidates, self._item_counts, share) if share else candidates

    def best_on_test(self) -> float:
        """By weights that are chosen on the test itself."""
        chosen = _search(self._final.candidates, Variant(k=K_OF_TEST))
        return self._measure(chosen, self._final.deviations)

    def of_members(self) -> Iterator[float]:
        """Of each member alone."""
        members = len(self._final.members)
        factors = np.ones((members, BINS))
        for weights in np.eye(members):
            alone = ChosenWeights(weights, factors, factors, ndcg=0.0, trials=0)
            yield self._measure(alone, self._final.deviations)

    def _measure(self, chosen: ChosenWeights, deviations: np.ndarray) -> float:
        self.looked_at += 1
        candidates = self._final.scaled_by(deviations)
        # As in the product, popularity orders what a ranker knows nothing of.
        ordered = with_least_weight(chosen, self._final.members.index(POPULARITY))
        scores = blended_scores(candidates, ordered)
        return float(ndcg_of_users(candidates, scores, K_OF_TEST).mean())


def _counts_of_catalogue(data: Data) -> Int64 | None:
    """Interactions of each item, or None where the catalogue cannot count (see `fits.members`)."""
    if data.content is None or data.training.times is not None:
        return None
    return np.bincount(data.training.items, minlength=data.n_items)


def _search(candidates: Candidates, variant: Variant) -> ChosenWeights:
    return choose_weights(
        candidates,
        variant.k,
        ROUNDS,
        variant.by_evidence,
        variant.resamples,
        variant.standard_errors,
    )


def _usable(folder: Path) -> list[str]:
    """The rules whose cells have been measured."""

    def is_measured(cell: str) -> bool:
        return (folder / f"{cell}.json").exists()

    return [rule for rule, wanted in RULES.items() if all(any(map(is_measured, w)) for w in wanted)]


def _names(folder: Path, rule: str) -> tuple[str, ...]:
    """The cells that a rule takes; where there are no times, `last and random` is `random`."""
    names = [
        next(name for name in names if (folder / f"{name}.json").exists()) for names in RULES[rule]
    ]
    return tuple(dict.fromkeys(names))


def _together(cells: Sequence[Cell]) -> tuple[Candidates, np.ndarray]:
    """The users of all cells as if of one, by the deviations of the first."""
    deviations = cells[0].deviations
    scaled = [cell.scaled_by(deviations) for cell in cells]
    if len(scaled) == 1:
        return scaled[0], deviations
    starts = np.cumsum([0, *(one.indptr[-1] for one in scaled)])
    joined = Candidates(
        np.concatenate(
            [[0], *(one.indptr[1:] + start for one, start in zip(scaled, starts, strict=False))]
        ),
        np.hstack([one.scores for one in scaled]),
        *(
            np.concatenate([getattr(one, name) for one in scaled])
            for name in ("relevant", "relevant_counts", "item_bins", "user_bins")
        ),
        np.arange(sum(len(one.owners) for one in scaled)),
    )
    return joined, deviations


def _settings(final: Cell, folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """By rule of one cell, member and least gain: the regret of the setting that it chooses."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for rule in _usable(folder):
        if len(RULES[rule]) > 1:
            continue
        (name,) = _names(folder, rule)
        cell = load_cell(folder / name)
        found[rule] = {
            member: {
                str(least): 1.0 - on_test[_chosen(cell.settings[member], least)] / max(on_test)
                for least in LEAST_GAINS
            }
            for member, on_test in final.settings.items()
        }
    return found


def _chosen(ndcg: Sequence[float], least: float) -> int:
    """The best alternative, if it gains more than the least share on the default, the first."""
    best = int(np.argmax(ndcg))
    return best if ndcg[best] > ndcg[0] * (1.0 + least) else 0
