"""The examples by trade can start, and the lists of each keep what the trade is particular about.

The models are left out but for the two that need no training: what the rules of a trade let into a
list does not depend on the ranker. Whole pipelines of all six take a quarter of an hour.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from typer.testing import CliRunner

from jobs import examples, prepare_interactions, recommend
from jobs.pipeline import for_its_size
from m6rec import columns as c
from m6rec.config.effects import warnings_of
from m6rec.config.run import Config, load_config
from m6rec.datasets.trades.news import LIFE_HOURS
from m6rec.datasets.trades.tables import TRADES, write_trades
from m6rec.errors import DataError
from m6rec.fits.inspection import inspect_sources
from m6rec.fits.needs import needs_of
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import POPULARITY, REPEATS

REPOSITORY = Path(__file__).parent.parent.parent
CONF = REPOSITORY / "conf" / "examples"
PAGES = REPOSITORY / "docs" / "examples"


@dataclass(frozen=True)
class Lists:
    """The tables of a trade and the lists that were made of them: (user, item) best first."""

    tables: dict[str, pd.DataFrame]
    listed: list[tuple[str, str]]
    lakehouse: Lakehouse

    @property
    def by_user(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for user, item in self.listed:
            found.setdefault(user, []).append(item)
        return found

    def pairs(self, table: str, user: str, item: str) -> set[tuple[str, str]]:
        rows = self.tables[table]
        return set(zip(rows[user], rows[item], strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    result = CliRunner().invoke(_command(), ["--output", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


def _command() -> Any:
    import typer  # noqa: PLC0415

    command = typer.Typer()
    command.command()(examples.main)
    return command


def config_of(trade: str, folder: Path) -> Config:
    """The example as it is, with the tables of the test."""
    lake = f"lake={folder / trade / 'lake'}"
    return load_config(folder / trade / "config.yaml", (lake,))


def lists_of(trade: str, spark: SparkSession, folder: Path, ranker: str = POPULARITY) -> Lists:
    """The example's lists of a ranker without training, made with all that is known."""
    given = config_of(trade, folder)
    config = given.replaced(
        {
            "recommend.ranker": ranker,
            "recommend.contexts": {},
            "hybrid.members": [ranker],
            "evaluate.rankers": [ranker],
            # What a test holds out may be listed, since it is not known.
            "split.strategy": "none",
        }
    )
    lakehouse = Lakehouse(spark, config.lake, trade)
    with for_its_size(lakehouse, config) as tables:
        prepare_interactions.JOB.run(tables.for_one_job(), config)
        recommend.run_final(tables.for_one_job(), config, needs_of((ranker,), config))
    rows = lakehouse.read("recommendations").where(F.col(c.USER_ID).isNotNull())
    ordered = rows.orderBy(c.USER_ID, c.RANK).select(c.USER_ID, c.ITEM_ID).collect()
    tables = {file.stem: pd.read_parquet(file) for file in (folder / trade).glob("*.parquet")}
    return Lists(tables, [(row[0], row[1]) for row in ordered], lakehouse)


def test_every_trade_has_a_configuration_and_a_page() -> None:
    assert {file.stem for file in CONF.glob("*.yaml")} == set(TRADES)
    assert {file.stem for file in PAGES.glob("*.md")} == set(TRADES)
    with pytest.raises(DataError, match="no trade bank; the examples are shop"):
        write_trades(REPOSITORY / "output", ["bank"])


@pytest.mark.parametrize("trade", TRADES)
def test_a_run_of_the_example_can_start(trade: str, spark: SparkSession, folder: Path) -> None:
    config = config_of(trade, folder)
    assert warnings_of(config) == []
    inspection = inspect_sources(spark, config)
    assert inspection.lines("problem") == []
    assert inspection.lines("warning") == []


def test_a_shop_lists_nothing_sold_out_and_two_of_a_brand(
    spark: SparkSession, folder: Path
) -> None:
    lists = lists_of("shop", spark, folder)
    sold_out = set(lists.tables["sold_out"]["sku"])
    assert lists.listed and not sold_out & {item for _, item in lists.listed}
    brand = dict(
        zip(lists.tables["products"]["sku"], lists.tables["products"]["brand"], strict=True)
    )
    for items in lists.by_user.values():
        assert max(Counter(brand[item] for item in items).values()) <= 2
    # Each country has a list for those who are unknown, within the quota, too.
    rows = lists.lakehouse.read("recommendations").where(F.col(c.USER_ID).isNull()).collect()
    of_segments = Counter((row[c.SEGMENT], brand[row[c.ITEM_ID]]) for row in rows)
    assert {segment for segment, _ in of_segments} == {None, "at", "ch", "de"}
    assert max(of_segments.values()) <= 2


def test_a_video_that_was_skipped_is_seen_but_not_liked(spark: SparkSession, folder: Path) -> None:
    config = config_of("video", folder)
    lakehouse = Lakehouse(spark, config.lake, "video")
    with for_its_size(lakehouse, config) as tables:
        prepare_interactions.JOB.run(tables.for_one_job(), config)
    views = pd.read_parquet(folder / "video" / "views.parquet")
    watched = views.groupby(["viewer", "clip"])["watched_share"].max()
    splits = lakehouse.read("splits")
    assert splits.where("positive").count() == (watched >= 0.5).sum()
    assert splits.count() == len(watched)


def test_music_is_listed_again(spark: SparkSession, folder: Path) -> None:
    lists = lists_of("music", spark, folder, REPEATS)
    played = lists.pairs("plays", "listener", "track")
    artist = dict(
        zip(lists.tables["tracks"]["track"], lists.tables["tracks"]["artist"], strict=True)
    )
    for listener, tracks in lists.by_user.items():
        assert all((listener, track) in played for track in tracks[:5])
        assert max(Counter(artist[track] for track in tracks).values()) <= 3


def test_news_lists_no_dead_article(spark: SparkSession, folder: Path) -> None:
    lists = lists_of("news", spark, folder)
    articles = lists.tables["articles"].set_index("article")["published_at"]
    now = lists.tables["reads"]["read_at"].max()
    ages = now - articles.loc[[item for _, item in lists.listed]]
    assert len(ages) and ages.max() <= pd.Timedelta(hours=LIFE_HOURS + 1)


def test_nobody_is_offered_himself_or_whom_he_blocks_or_follows(
    spark: SparkSession, folder: Path
) -> None:
    lists = lists_of("social", spark, folder)
    assert lists.listed
    assert not [pair for pair in lists.listed if pair[0] == pair[1]]
    assert not set(lists.listed) & lists.pairs("never", "member", "other")
    assert not set(lists.listed) & lists.pairs("follows", "follower", "followed")


def test_a_client_is_offered_approved_funds_of_the_own_risk_class_or_below(
    spark: SparkSession, folder: Path
) -> None:
    lists = lists_of("finance", spark, folder)
    of_client = lists.tables["clients"].set_index("client")["risk_class"]
    of_fund = lists.tables["funds"].set_index("fund")["risk_class"]
    approved = set(lists.tables["approved"]["fund"])
    assert lists.listed
    for client, fund in lists.listed:
        assert of_fund[fund] <= of_client[client] and fund in approved
