"""A folder of data becomes a configuration; a run's lists become files that others can score."""

from pathlib import Path

import pandas as pd
import pytest

from jobs.quality import CONFIG, export_lists
from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.datasets.folder import Protocol, config_of_folder
from m6rec.errors import TableError
from m6rec.fits.fit import Fit
from m6rec.lakehouse import Lakehouse

TOP = 100


def write(folder: Path, name: str, **columns: list[object]) -> None:
    pd.DataFrame(columns).to_parquet(folder / f"{name}.parquet", index=False)


def config_for(folder: Path, top: int = TOP, protocol: Protocol = "all") -> Config:
    return config_of_folder(CONFIG, folder, folder / "lake", top, protocol)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The least that a folder may hold."""
    write(tmp_path, "train", user_id=[1, 2], item_id=[3, 4])
    write(tmp_path, "test", user_id=[1], item_id=[4])
    return tmp_path


def test_ids_alone_are_enough(bare: Path) -> None:
    config = config_for(bare)
    assert config.interactions.columns.time is None
    assert config.interactions.columns.weight is None
    assert config.split.strategy == "provided"
    assert config.features.items is None
    assert config.evaluate.ks == (10, 20, 50, 100)


def test_times_ratings_attributes_and_validation_are_found(bare: Path) -> None:
    times = pd.to_datetime(["2026-01-01", "2026-01-02"])
    write(bare, "train", user_id=[1, 2], item_id=[3, 4], rating=[5.0, 1.0], event_time=list(times))
    write(bare, "validation", user_id=[2], item_id=[3])
    write(bare, "items", item_id=[3, 4], title=["a", "b"])
    config = config_for(bare)
    assert config.interactions.columns.time == "event_time"
    assert config.interactions.columns.weight == "rating"
    assert config.split.validation is not None
    assert config.features.items is not None
    assert config.features.items.title == "title"


def test_ratings_are_predicted_where_every_table_has_them(bare: Path) -> None:
    write(bare, "train", user_id=[1, 2], item_id=[3, 4], rating=[5.0, 1.0])
    assert not config_for(bare).ratings.enabled
    write(bare, "test", user_id=[1], item_id=[4], rating=[3.0])
    assert config_for(bare).ratings.enabled
    write(bare, "validation", user_id=[2], item_id=[3])
    assert not config_for(bare).ratings.enabled


def test_a_domain_of_the_interactions_is_found_and_then_the_test_needs_it_too(bare: Path) -> None:
    assert config_for(bare).interactions.columns.domain is None
    write(bare, "train", user_id=[1, 2], item_id=[3, 3], domain=["books", "films"])
    with pytest.raises(TableError, match=r"test\.parquet has no column \['domain'\]"):
        config_for(bare)
    write(bare, "test", user_id=[1], item_id=[3], domain=["films"])
    assert config_for(bare).interactions.columns.domain == "domain"


def test_weights_for_a_rank_among_drawn_items_are_chosen_deep_down_the_list(bare: Path) -> None:
    usual = config_for(bare).hybrid
    deep = config_for(bare, protocol="sampled").hybrid
    assert deep.candidates_per_member >= deep.k > usual.k


def test_longer_lists_are_measured_to_their_end_and_shorter_ones_no_further(bare: Path) -> None:
    assert config_for(bare, top=300).evaluate.ks == (10, 20, 50, 100, 300)
    assert config_for(bare, top=20).evaluate.ks == (10, 20)


def test_the_cold_item_protocol_holds_out_whole_items_for_validation_too(bare: Path) -> None:
    config = config_for(bare, protocol="cold_items")
    assert config.evaluate.candidates == "cold_items"
    assert config.split.validation_strategy == "cold_items"


def test_the_cold_item_protocol_trains_on_a_validation_that_holds_no_new_items(bare: Path) -> None:
    write(bare, "train", rating=[1.0, 2.0], item_id=[3, 5], user_id=[1, 2])
    # Ids and ratings of other types, a column of another order, and one that is not needed.
    write(
        bare, "validation", rating=[4, 5], note=["a", "b"], item_id=["3", "7"], user_id=["2", "1"]
    )
    config = config_for(bare, protocol="cold_items")
    assert config.split.validation is None
    joined = pd.read_parquet(str(config.interactions.source.path))
    assert joined.to_dict("list") == {
        "user_id": [1, 2, 2, 1],
        "item_id": [3, 5, 3, 7],
        "rating": [1.0, 2.0, 4.0, 5.0],
    }


def test_ids_that_pandas_has_written_as_categories_are_joined_with_plain_ones(bare: Path) -> None:
    frame = pd.DataFrame({"user_id": ["ann", "bob"], "item_id": ["x", "y"]})
    frame.astype("category").to_parquet(bare / "train.parquet")
    write(bare, "validation", user_id=["eve"], item_id=["x"])
    config = config_for(bare, protocol="cold_items")
    joined = pd.read_parquet(str(config.interactions.source.path))
    assert joined["user_id"].tolist() == ["ann", "bob", "eve"]


def test_a_validation_of_new_items_stays_one_under_the_cold_item_protocol(bare: Path) -> None:
    write(bare, "validation", user_id=[2, 1], item_id=[8, 7])
    config = config_for(bare, protocol="cold_items")
    assert config.split.validation is not None
    assert config.interactions.source.path == f"{bare}/train.parquet"


def test_a_validation_that_can_be_neither_ranked_nor_trained_on_is_left_out_and_said(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(bare, "train", user_id=[1, 2], item_id=[3, 4], rating=[5.0, 1.0])
    write(bare, "validation", user_id=[2], item_id=[3])
    config = config_for(bare, protocol="cold_items")
    assert config.split.validation is None
    assert config.interactions.source.path == f"{bare}/train.parquet"
    assert "cannot be trained on without rating" in capsys.readouterr().out
    write(bare, "validation", user_id=["ann"], item_id=[3], rating=[2.0])
    with pytest.raises(TableError, match=r"validation\.parquet has columns that are not of the"):
        config_for(bare, protocol="cold_items")


def test_a_folder_without_a_test_table_is_refused_by_name(bare: Path) -> None:
    (bare / "test.parquet").unlink()
    with pytest.raises(TableError, match=r"test\.parquet does not exist"):
        config_for(bare)


def test_what_is_no_parquet_is_refused_by_name(bare: Path) -> None:
    (bare / "train.parquet").write_text("user_id,item_id\n1,2\n")
    with pytest.raises(TableError, match=r"train\.parquet is neither a file of Parquet nor"):
        config_for(bare)
    (bare / "train.parquet").unlink()
    (bare / "train.parquet").mkdir()
    with pytest.raises(TableError, match=r"train\.parquet is neither a file of Parquet nor"):
        config_for(bare)


def test_a_table_without_its_ids_is_refused_by_name(bare: Path) -> None:
    write(bare, "train", user_id=[1], product=[3])
    with pytest.raises(TableError, match=r"train\.parquet has no column \['item_id'\]"):
        config_for(bare)


def test_cold_item_lists_hold_nothing_that_training_saw(
    lakehouse: Lakehouse, config: Config
) -> None:
    cold = config.evaluate.model_copy(update={"candidates": "cold_items"})
    of_cold = config.model_copy(update={"evaluate": cold})
    learned = {name: Fit(lakehouse, config, name).item_counts > 0 for name in c.FITS}
    listed = Fit(lakehouse, config, c.FINAL).masked_items
    final = Fit(lakehouse, of_cold, c.FINAL)
    assert not listed[learned[c.FINAL]].all()
    assert (final.masked_items == listed | learned[c.FINAL]).all()
    held_out = learned[c.FINAL] & ~learned[c.SELECTION]
    assert (final.other(c.SELECTION).masked_items == listed | ~held_out).all()


def test_exported_lists_are_those_of_the_table(
    lakehouse: Lakehouse, config: Config, tmp_path: Path
) -> None:
    export_lists(lakehouse, config, "hybrid", tmp_path / "hybrid.parquet")
    exported = pd.read_parquet(tmp_path / "hybrid.parquet")
    assert list(exported.columns) == [c.USER_ID, c.ITEM_ID, c.RANK, c.SCORE]
    ids = {row[c.ITEM_INDEX]: row[c.ITEM_ID] for row in lakehouse.read("item_index").collect()}
    users = {row[c.USER_INDEX]: row[c.USER_ID] for row in lakehouse.read("user_index").collect()}
    lists = lakehouse.read("lists", fit=c.FINAL, model="hybrid").collect()
    expected = {
        users[row[c.USER_INDEX]]: [ids[item] for item in row[c.ITEM_INDICES]] for row in lists
    }
    ordered = exported.sort_values([c.USER_ID, c.RANK])
    found = {user: list(part[c.ITEM_ID]) for user, part in ordered.groupby(c.USER_ID)}
    assert {str(user): [str(i) for i in items] for user, items in found.items()} == expected
