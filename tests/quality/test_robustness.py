"""Attacks change what they say and no more, and what is lost is told for every ranker."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from jobs.robustness import place_of_variants, warning_of_judgement, write_folder
from m6rec.datasets.attacks import (
    ATTACKS,
    Folder,
    Shilling,
    folder_of,
    pushed_items,
    read_folder,
    with_fake_users,
    with_losses,
    with_random_clicks,
)
from m6rec.errors import TableError
from m6rec.kernels.evaluation.pushed_items import Rise
from m6rec.kernels.evaluation.relative_changes import Change, relative_change
from m6rec.rankers import HYBRID, MLLIB_ALS
from m6rec.report.robustness import UNTOUCHED, Measurement, outcomes_of, robustness_document
from m6rec.stages.evaluation.known_pairs import ndcg_of_each_user, without_known
from m6rec.stages.evaluation.pushed import rise_of_pushed

USERS, ITEMS = 300, 60


@pytest.fixture(scope="module")
def folder() -> Folder:
    rng = np.random.default_rng(7)
    shares = 1.0 / np.arange(1, ITEMS + 1)
    pairs = [
        (user, item)
        for user in range(USERS)
        for item in rng.choice(ITEMS, 15, replace=False, p=shares / shares.sum())
    ]
    frame = pd.DataFrame(pairs, columns=["user_id", "item_id"])
    frame["rating"] = rng.integers(1, 6, len(frame)).astype(np.float64)
    frame["event_time"] = pd.Timestamp("2025-01-01") + pd.to_timedelta(
        rng.integers(0, 10**6, len(frame)), unit="s"
    )
    held = rng.random(len(frame)) < 0.2
    return folder_of(frame[~held].reset_index(drop=True), frame[held].reset_index(drop=True))


def test_pushed_items_are_ten_of_the_less_popular_half(folder: Folder) -> None:
    counts = folder.train["item_id"].value_counts()
    pushed = pushed_items(folder.train, 1)
    assert len(set(pushed)) == 10
    assert counts[pushed].max() <= np.median(counts)
    assert pushed != pushed_items(folder.train, 2)


@pytest.mark.parametrize("attack", ["random", "average", "bandwagon", "copies"])
def test_a_fake_user_for_every_hundred_has_the_pushed_items(
    folder: Folder, attack: Shilling
) -> None:
    pushed = pushed_items(folder.train, 1)
    attacked = with_fake_users(folder, pushed, attack, 1)
    pd.testing.assert_frame_equal(attacked.head(len(folder.train)), folder.train)
    fakes = attacked.iloc[len(folder.train) :]
    assert set(fakes["user_id"]) == {USERS, USERS + 1, USERS + 2}
    for _, rows in fakes.groupby("user_id"):
        assert list(rows["item_id"])[:10] == pushed
        assert (rows["rating"].head(10) == 5.0).all()
        assert rows["item_id"].is_unique
        assert len(rows) == 10 + len(folder.train) // USERS
    assert fakes["event_time"].isin(folder.train["event_time"]).all()
    pd.testing.assert_frame_equal(attacked, with_fake_users(folder, pushed, attack, 1))
    others = with_fake_users(folder, pushed, attack, 2)
    assert list(others["item_id"]) != list(attacked["item_id"])


def test_fillers_are_what_the_attack_says(folder: Folder) -> None:
    pushed = pushed_items(folder.train, 1)
    counts = folder.train["item_id"].value_counts()

    def fillers(attack: Shilling) -> list[list[int]]:
        fakes = with_fake_users(folder, pushed, attack, 3).iloc[len(folder.train) :]
        return [list(rows["item_id"])[10:] for _, rows in fakes.groupby("user_id")]

    popular = set(counts.index[:10])
    assert all(popular <= set(one) for one in fillers("bandwagon"))
    assert len({tuple(one) for one in fillers("copies")}) == 1
    assert len({tuple(one) for one in fillers("random")}) == 3
    even, like_users = (
        np.mean(counts[np.concatenate(fillers(attack))]) for attack in ("random", "average")
    )
    assert like_users > even


def test_random_clicks_are_new_pairs_of_known_users_and_items(folder: Folder) -> None:
    clicked = with_random_clicks(folder, 1)
    added = clicked.iloc[len(folder.train) :]
    assert len(added) == round(0.2 * len(folder.train))
    pairs = Counter(
        zip(
            [*clicked["user_id"], *folder.test["user_id"]],
            [*clicked["item_id"], *folder.test["item_id"]],
            strict=True,
        )
    )
    assert max(pairs.values()) == 1
    assert set(added["item_id"]) <= set(folder.train["item_id"])
    assert set(added["user_id"]) <= set(folder.train["user_id"])


def test_no_random_click_is_a_pair_of_the_validation() -> None:
    users, items = range(4), range(25)
    every = pd.DataFrame([(u, i) for u in users for i in items], columns=["user_id", "item_id"])
    train, test, validation = every[::3], every[1:2], every[4:80]
    clicked = with_random_clicks(folder_of(train, test, validation), 1)
    pairs = pd.concat([clicked, test, validation[~validation.index.isin(train.index)]])
    assert not pairs.duplicated().any()


def test_whole_ratings_are_averaged_to_the_nearest_whole_number() -> None:
    stars = [5, 5, 4] * ITEMS
    items = np.repeat(np.arange(ITEMS), 3)
    train = pd.DataFrame({"user_id": np.arange(3 * ITEMS) % 9, "item_id": items, "rating": stars})
    fakes = with_fake_users(folder_of(train, train), list(range(10)), "average", 1).iloc[
        len(train) :
    ]
    assert (fakes["rating"] == 5).all()


def test_fake_users_have_ids_that_no_table_has(folder: Folder, tmp_path: Path) -> None:
    place = written(folder, tmp_path / "data")
    highest = np.iinfo(np.int32).max
    narrow = folder.train.astype({"user_id": np.int32})
    narrow.to_parquet(place / "train.parquet", index=False)
    pd.DataFrame({"user_id": [highest]}).to_parquet(place / "users.parquet")
    attacked = with_fake_users(read_folder(place), [1], "random", 1)
    fakes = attacked["user_id"].iloc[len(narrow) :]
    assert set(fakes) == {highest + 1, highest + 2, highest + 3}


def test_losses_are_a_fifth_and_every_attack_keeps_the_columns(folder: Folder) -> None:
    left = with_losses(folder.train, 1)
    assert 0.75 < len(left) / len(folder.train) < 0.85
    pushed = pushed_items(folder.train, 1)
    for attack in ATTACKS.values():
        attacked = attack(folder, pushed, 1)
        assert attacked.dtypes.to_dict() == folder.train.dtypes.to_dict()


def test_ids_that_are_text_get_fake_users_of_text(folder: Folder) -> None:
    train = folder.train.assign(user_id="u" + folder.train["user_id"].astype(str))
    fakes = with_fake_users(folder_of(train, folder.test), [1], "random", 1).iloc[len(train) :]
    assert set(fakes["user_id"]).isdisjoint(train["user_id"])


@pytest.mark.parametrize(
    "given",
    [
        {"train": {"user_id": "uint64", "item_id": "uint64"}},
        {"test": {"user_id": "str", "item_id": "str"}},
        {"users": {"user_id": "str"}},
        {"train": {"item_id": "str"}, "test": {"user_id": "float64"}},
    ],
)
def test_ids_of_other_types_are_the_same_ids(
    folder: Folder, tmp_path: Path, given: dict[str, dict[str, str]]
) -> None:
    train, test = (
        frame.astype(given.get(name, {}))
        for name, frame in (("train", folder.train), ("test", folder.test))
    )
    place = written(replace(folder, train=train, test=test), tmp_path / "data")
    pd.DataFrame({"user_id": range(USERS)}).astype(given.get("users", {})).to_parquet(
        place / "users.parquet"
    )
    read = read_folder(place)
    assert read.users.nunique() == USERS
    pushed = pushed_items(read.train, 1)
    for attack in ATTACKS.values():
        attacked = attack(read, pushed, 1)
        attacked.to_parquet(tmp_path / "attacked.parquet")
        added = attacked.iloc[len(read.train) :]
        both = pd.concat([added, folder.test])[["user_id", "item_id"]].astype(str)
        assert not both.duplicated().any()


def written(folder: Folder, place: Path) -> Path:
    place.mkdir()
    folder.train.to_parquet(place / "train.parquet", index=False)
    folder.test.to_parquet(place / "test.parquet", index=False)
    return place


def test_ids_that_were_an_index_of_pandas_are_read(folder: Folder, tmp_path: Path) -> None:
    place = written(folder, tmp_path / "data")
    folder.train.set_index(["user_id", "item_id"]).to_parquet(place / "train.parquet")
    users = pd.DataFrame({"user_id": range(USERS), "age": 30}).set_index("user_id")
    users.to_parquet(place / "users.parquet")
    read = read_folder(place)
    pd.testing.assert_frame_equal(read.train, folder.train)
    assert read.users.nunique() == USERS


def test_rows_without_an_id_are_left_out_and_ratings_read_as_numbers(
    folder: Folder, tmp_path: Path
) -> None:
    ids = folder.train["user_id"].astype(float)
    ids[3] = np.nan
    train = folder.train.assign(user_id=ids, rating=folder.train["rating"].astype(str))
    place = written(replace(folder, train=train), tmp_path / "data")
    read = read_folder(place).train
    expected = folder.train.drop(3).reset_index(drop=True)
    pd.testing.assert_frame_equal(read, expected, check_dtype=False)
    assert read["user_id"].dtype == np.int64
    assert read["rating"].dtype.kind == "f"


def test_a_folder_that_cannot_be_attacked_is_refused(folder: Folder, tmp_path: Path) -> None:
    train = folder.train
    users, items = range(30), range(25)
    dense = pd.DataFrame([(u, i) for u in users for i in items], columns=["user_id", "item_id"])
    wrong = {
        "has 8 items, and the attacks need 20": train[train["item_id"] < 8],
        "has 30 users and 25 items.*30 are in neither.*adds 144": dense[
            (dense["user_id"] + dense["item_id"]) % 25 > 0
        ],
        "has the rating 'good'": train.assign(rating="good"),
        "has a column domain.*a folder for each domain": train.assign(domain="north"),
    }
    for number, (words, rows) in enumerate(wrong.items()):
        place = written(folder_of(rows, rows.head(1)), tmp_path / str(number))
        with pytest.raises(TableError, match=words):
            read_folder(place)


def test_other_tables_or_seeds_are_measured_in_a_folder_of_their_own(
    folder: Folder, tmp_path: Path
) -> None:
    data, output = written(folder, tmp_path / "data"), tmp_path / "data" / "output"
    (data / "items.parquet").mkdir()
    pd.DataFrame({"item_id": [1]}).to_parquet(data / "items.parquet" / "part-0.parquet")
    first = place_of_variants(data, output, 100, 1)
    write_folder(data, first / "untouched" / "data", folder.train)
    assert place_of_variants(data, output, 100, 1) == first
    others = [place_of_variants(data, output, 100, 2), place_of_variants(data, output, 50, 1)]
    pd.DataFrame({"item_id": [2]}).to_parquet(data / "items.parquet" / "part-0.parquet")
    others.append(place_of_variants(data, output, 100, 1))
    assert len({first, *others}) == 4
    copied = pd.read_parquet(first / "untouched" / "data" / "items.parquet")
    assert list(copied["item_id"]) == [1]


def test_pushed_items_are_found_in_the_lists_by_their_ids(spark: SparkSession) -> None:
    lists = spark.createDataFrame(
        [(0, [2, 0]), (1, [1])], "user_index long, item_indices array<int>"
    )
    index = spark.createDataFrame([("a", 0), ("b", 1), ("7", 2)], "item_id string, item_index long")
    had = spark.createDataFrame([(1, 1)], "user_index long, had long")
    without = lists.join(had.limit(0), "user_index", "left")
    assert rise_of_pushed(without, index, [7], 2, 1) == Rise(0.5, (1 + 3) / 2)
    # An item of which the attack has left nothing has the rank after the lists.
    gone = rise_of_pushed(without, index, [7, "gone"], 2, 1)
    assert gone == Rise(0.5, (1 + 3 + 3 + 3) / 4)
    assert rise_of_pushed(lists.join(had, "user_index", "left"), index, [7, "gone"], 2, 1) == Rise(
        0.5, (1 + 3 + 3) / 3
    )


def test_a_pushed_item_that_its_user_has_does_not_count_as_risen(spark: SparkSession) -> None:
    lists = spark.createDataFrame(
        [("als", 0, [7, 1, 2])], "model string, user_index long, item_indices array<int>"
    )
    known = spark.createDataFrame([(0, 7)], "user_index long, item_index long")
    index = spark.createDataFrame([("pushed", 7)], "item_id string, item_index long")
    had = spark.createDataFrame([(0, 1)], "user_index long, had long")
    without = lists.join(had.limit(0), "user_index", "left")
    assert rise_of_pushed(without, index, ["pushed"], 3, 1) == Rise(1.0, 1.0)
    left = without_known(lists, known, known.limit(0)).join(had, "user_index", "left")
    assert rise_of_pushed(left, index, ["pushed"], 3, 1) == Rise(0.0, 0.0)


def test_lists_are_measured_without_what_users_have(spark: SparkSession) -> None:
    pairs = "user_index long, item_index long"
    lists = spark.createDataFrame(
        [("als", 0, [5, 2, 7]), ("als", 1, [3, 4, 6]), ("svd", 0, [2, 5, 7])],
        "model string, user_index long, item_indices array<int>",
    )
    # The last pair is in the test, too.
    known = spark.createDataFrame([(0, 5), (1, 9), (1, 4)], pairs)
    targets = spark.createDataFrame([(0, 2), (0, 7), (1, 4)], pairs)

    rows = ndcg_of_each_user(without_known(lists, known, targets), targets, 2).collect()

    found = {(row["model"], row["user_index"]): row["value"] for row in rows}
    assert found == pytest.approx(
        {("als", 0): 1.0, ("als", 1): 1 / np.log2(3), ("svd", 0): 1.0, ("svd", 1): 0.0}
    )


def measured(variant: str, ranker: str, seed: int, ndcg: float) -> Measurement:
    """Of 400 users who differ by chance, but in the same way on all variants."""
    users = 0.02 * np.random.default_rng(1).standard_normal(400)
    return Measurement(variant, ranker, seed, ndcg + users - users.mean(), 0.25, 10.0 + seed)


def test_the_document_says_what_is_lost_and_where_the_hybrid_loses_less() -> None:
    outcomes = outcomes_of(
        [
            measured(variant, ranker, seed, ndcg + 0.01 * (seed - 2))
            for seed in (1, 2, 3)
            for variant, ranker, ndcg in (
                (UNTOUCHED, HYBRID, 0.4),
                (UNTOUCHED, MLLIB_ALS, 0.2),
                ("random", HYBRID, 0.38),
                ("random", MLLIB_ALS, 0.18),
                ("average", HYBRID, 0.4),
                ("average", MLLIB_ALS, 0.2),
                ("losses", HYBRID, 0.3),
                ("losses", MLLIB_ALS, 0.19),
            )
        ]
    )
    random = outcomes[2]
    assert (random.variant, random.ranker, len(random.of_seeds)) == ("random", HYBRID, 3)
    assert random.change.value == pytest.approx(-0.05)
    assert random.change.low < random.change.value < random.change.high < 0.0
    written = random.to_json()
    assert written["ndcg"] == pytest.approx(0.38) and written["mean_rank"] == 12.0
    assert written["ndcg_of_seeds"] == pytest.approx([0.37, 0.38, 0.39])
    assert "Warning" not in robustness_document(outcomes, "a few rows", 100)
    text = robustness_document(outcomes, "a few rows", 100, "nobody is judged")
    assert "\n\nWarning: nobody is judged.\n\n" in text
    assert "are by 3 seeds" in text
    assert re.search(r"\| Hybrid \| 0.4000 \| -5.0% ± 0.\d% \| \+0.0% ± 0.0% \| -25.0% ± ", text)
    assert "| Hybrid | 25.0% / 12 | 25.0% / 12 | 25.0% / 12 | 25.0% / 12 |" in text
    assert "- random: less than MLlib's ALS (+5.0%, +" in text
    assert "- average: as much as MLlib's ALS (+0.0%, " in text
    assert "- losses: more than MLlib's ALS (-20.0%, -" in text


def test_an_interval_of_a_change_holds_it_as_often_as_it_says() -> None:
    """Of users whose values change by a tenth of themselves, with noise beside it."""
    held = 0
    for number in range(100):
        generator = np.random.default_rng(number)
        before = generator.random(300)
        after = 0.9 * before + 0.3 * generator.standard_normal(300)
        change = relative_change(before, after)
        held += change.low <= -0.1 <= change.high
    assert 88 <= held <= 100


def test_a_ranker_that_reaches_nothing_loses_nothing() -> None:
    nothing = np.zeros(5)
    assert relative_change(nothing, nothing) == Change(0.0, 0.0, 0.0)


def test_where_fake_users_have_too_few_items_to_be_judged_that_is_said(folder: Folder) -> None:
    copies = ATTACKS["copies"](folder, pushed_items(folder.train, 1), 1)
    of_fake_users = copies[~copies["user_id"].isin(folder.users)]
    items = int(of_fake_users["user_id"].value_counts().max())
    assert warning_of_judgement(copies, folder, items) == ""
    assert f"fake users have {items} items" in warning_of_judgement(copies, folder, items + 1)
