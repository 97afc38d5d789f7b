"""An item is explained for a user, in the list or not, with what masks it and what it lacks."""

import io

import pytest
from PIL import Image
from pyspark.sql import functions as F
from rich.console import Console

from jobs.explain import explain_of_run
from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.errors import DataError
from m6rec.fits.explaining import ItemExplanation, explain_item
from m6rec.fits.fit import Fit
from m6rec.lakehouse import Lakehouse
from m6rec.report.explanation import plot_explanation, print_explanation


def printed(found: ItemExplanation) -> str:
    text = io.StringIO()
    print_explanation(Console(file=text, width=120, color_system=None), found)
    return text.getvalue()


@pytest.fixture(scope="module")
def row(lakehouse: Lakehouse) -> dict[str, object]:
    """The third item of a user's published list."""
    lists = lakehouse.read("recommendations").where(F.col(c.CONTEXT).isNull())
    [found] = lists.where("user_id = 'user-4' and rank = 3").collect()
    return dict(found.asDict(recursive=True))


def test_an_item_of_the_list_stands_at_its_place_with_the_parts_of_its_score(
    lakehouse: Lakehouse, config: Config, row: dict[str, object]
) -> None:
    found = explain_of_run(lakehouse.spark, config, None, "user-4", str(row["item_id"]))
    assert (found.place, found.rank, found.masked_by, found.lowest) == (3, 3, (), None)
    assert found.score == pytest.approx(row["score"], rel=1e-4)
    assert {part.name: part.value for part in found.parts} == pytest.approx(
        {name: value for name, value in dict(row["parts"]).items() if value},  # type: ignore[call-overload]
        rel=1e-3,
        abs=1e-5,
    )
    assert sum(part.share for part in found.parts) == pytest.approx(1.0)
    assert found.history
    text = printed(found)
    assert "in the list at place 3 (rank 3 of" in text
    assert "What the score is made of" in text
    picture = Image.open(io.BytesIO(plot_explanation(found)))
    assert picture.format == "PNG" and picture.width > 800


def test_an_item_beyond_the_list_says_what_it_lacks(
    lakehouse: Lakehouse, config: Config, row: dict[str, object]
) -> None:
    listed = lakehouse.read("recommendations").where("user_id = 'user-4'").select(c.ITEM_ID)
    had = Fit(lakehouse, config, c.FINAL)
    index = lakehouse.read("user_index").where("user_id = 'user-4'").select(c.USER_INDEX)
    own = had.matrix.join(index, c.USER_INDEX).select(F.explode(c.ITEM_INDICES).alias("i"))
    items = lakehouse.read("catalogue")
    others = items.join(listed, c.ITEM_ID, "left_anti").join(own, F.expr("item_index = i"), "anti")
    item_id = others.orderBy(c.ITEM_ID).collect()[0][c.ITEM_ID]
    fit = Fit(lakehouse, config, c.FINAL)
    found = explain_item(fit, "user-4", item_id)
    assert found.place is None
    assert found.rank > config.recommend.top_n
    assert found.lowest is not None
    assert found.behind_in
    assert f"What it lacks to {found.lowest}" in printed(found)
    assert found.masked_by == () and not found.was_passed_over


def test_an_item_is_explained_in_the_list_of_a_context(
    lakehouse: Lakehouse, config: Config
) -> None:
    lists = lakehouse.read("recommendations").where("user_id = 'user-4' and rank = 1")
    rows = lists.where(F.col(c.CONTEXT).isNotNull()).collect()
    assert {row[c.CONTEXT] for row in rows} == set(config.recommend.contexts)
    spark = lakehouse.spark
    for row in rows:
        item, name = str(row[c.ITEM_ID]), str(row[c.CONTEXT])
        found = explain_of_run(spark, config, None, "user-4", item, context=name)
        assert (found.place, found.context) == (1, name)
        assert found.score == pytest.approx(row["score"], rel=1e-4)
        assert f"for user user-4 by Hybrid, {name}" in printed(found)
    with pytest.raises(DataError, match=r"in a context 'dusk'; .* are: by phone, monday morning;"):
        explain_of_run(spark, config, None, "user-4", item, context="dusk")
    # Towers have hardly a weight in the hybrid of so few rows.
    fit = Fit(lakehouse, config.replaced({"recommend.ranker": "fusion"}), c.FINAL)
    scores = [explain_item(fit, "user-4", item, None, one).score for one in (None, name)]
    assert scores[0] != pytest.approx(scores[1], abs=1e-6)


def test_what_hides_an_item_is_named(lakehouse: Lakehouse, config: Config) -> None:
    fit = Fit(lakehouse, config, c.FINAL)
    index = lakehouse.read("user_index").where("user_id = 'user-4'").select(c.USER_INDEX)
    own = fit.matrix.join(index, c.USER_INDEX).select(F.explode(c.ITEM_INDICES).alias(c.ITEM_INDEX))
    item_id = own.join(lakehouse.read("item_index"), c.ITEM_INDEX).collect()[0][c.ITEM_ID]
    found = explain_item(fit, "user-4", item_id)
    assert found.masked_by == ("the user has it already (recommend.rules.mask_seen)",)
    assert found.place is None
    assert "masked: the user has it already" in printed(found)


def test_who_is_unknown_and_which_run_is_not_there_are_said(
    lakehouse: Lakehouse, config: Config
) -> None:
    fit = Fit(lakehouse, config, c.FINAL)
    with pytest.raises(DataError, match="has no user 'nobody'; give --user"):
        explain_item(fit, "nobody", "item-1")
    with pytest.raises(DataError, match="has no item 'nothing'; give --item"):
        explain_item(fit, "user-4", "nothing")
    with pytest.raises(DataError, match="there is no such run; give --run-id"):
        explain_of_run(lakehouse.spark, config, "nothing", "user-4", "item-1")


def test_a_run_is_explained_by_its_own_configuration(lakehouse: Lakehouse, config: Config) -> None:
    now = config.replaced({"recommend.top_n": 1, "seed": 7})
    spark, run_id = lakehouse.spark, lakehouse.run_id
    found = explain_of_run(spark, now, run_id, "user-4", "item-1")
    assert found == explain_of_run(spark, config, run_id, "user-4", "item-1")
    assert found.top_n == config.recommend.top_n
