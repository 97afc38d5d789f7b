"""The study of validation holds out what the product does, and counts regrets right."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from m6rec.stages.pairs.splitting import KEPT_OF_NEW
from tests.benchmarks.generator import Sizes, generate
from tests.quality.validation_study.cells import (
    FINAL,
    load_cell,
    measured_cell,
    save_cell,
    settings_for,
)
from tests.quality.validation_study.choices import RULES, VARIANTS, choices_of
from tests.quality.validation_study.data import Content, Data, Pairs
from tests.quality.validation_study.document import lines_of
from tests.quality.validation_study.holdouts import STRATEGIES, held_out, made_new

SIZES = Sizes(users=60, items=40, interactions=900, tastes=2)


@pytest.fixture(scope="module")
def data() -> Data:
    rows = generate(SIZES, 1)
    users = np.repeat(rows.user_index, rows.counts)
    items = rows.item_indices.astype(np.int64)
    times = np.arange(len(users))[::-1].copy()
    tested = np.random.default_rng(1).random(len(users)) < 0.2
    every = Pairs(users, items, times)
    return Data(
        every.where(~tested), every.where(tested), SIZES.users, SIZES.items, np.arange(SIZES.items)
    )


@pytest.mark.parametrize("strategy", ["random", "mixed", "last", "highest_ids"])
def test_a_share_of_each_user_is_held_out(data: Data, strategy: str) -> None:
    held = held_out(strategy, data, 0.2, 1)
    counts = np.bincount(data.training.users)
    expected = np.where(counts >= 2, np.maximum(1, np.floor(0.2 * counts)), 0)
    assert np.bincount(data.training.users[held], minlength=len(counts)).tolist() == (
        expected.tolist()
    )
    order = {"last": data.training.times, "highest_ids": data.training.items}.get(strategy)
    for user in range(SIZES.users if order is not None else 0):
        own = data.training.users == user
        kept, taken = order[own & ~held], order[own & held]
        assert not len(taken) or kept.max() < taken.min()


def test_items_are_made_new(data: Data) -> None:
    held = made_new(data, 0.5, 1)
    left = np.bincount(data.training.items[~held], minlength=SIZES.items)
    touched = np.unique(data.training.items[held])
    assert 0 < len(touched) < SIZES.items
    assert set(left[touched]) <= set(KEPT_OF_NEW)


def test_regrets_are_measured_and_told(data: Data, tmp_path: Path) -> None:
    settings = settings_for(data)
    for strategy, share in (
        (FINAL, 0.0),
        ("random", 0.1),
        ("random_and_new", 0.1),
        ("last", 0.1),
        ("mixed", 0.2),
    ):
        file = tmp_path / f"{strategy}_{round(100 * share)}"
        cell = measured_cell(data, strategy, share, settings)
        save_cell(cell, file)
        assert load_cell(file).members == cell.members
    found = choices_of(tmp_path, data)
    assert set(found["rules"]) == set(RULES)
    # Without a cell of highest ids, the same cell serves both.
    assert found["rules"]["random"] == found["rules"]["highest ids, else random"]
    assert found["rules"]["last, else random"] == found["variants"]["as it is"]
    # What is chosen on the same cells in the same way is measured once.
    assert found["looked_at"] == 1 + len(found["members"]) + len(RULES) - 3 + len(VARIANTS) - 1
    # Its items have no attributes and its interactions have times.
    assert found["variants"]["the catalogue never counts"] == found["variants"]["as it is"]
    text = "\n".join(lines_of({"generated": found}))
    assert f"{1.0 - found['rules']['random'] / found['best_on_test']:.1%}" in text
    assert set(STRATEGIES) > {"random", "last", "mixed"}


def test_every_member_tells_items_with_attributes_apart(data: Data) -> None:
    terms = np.eye(4, dtype=np.float32)[np.arange(SIZES.items) % 4]
    content = Content(sp.csr_matrix(terms), terms)
    described = replace(data, training=replace(data.training, times=None), content=content)
    cell = measured_cell(described, FINAL, 0.0, settings_for(described))
    assert {"als_cosine", "content", "content_neighbours"} < set(cell.members)
    for name, scores in zip(cell.members, cell.candidates.scores, strict=True):
        assert np.isfinite(scores).all(), name
        assert np.ptp(scores) > 0.0, name
