"""A checkerboard: users of one colour have the items of their colour, so that answers are known."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from jobs import choose_settings, train_hybrid
from jobs.pipeline import JOBS_IN_ORDER, for_its_size
from m6rec import columns as c
from m6rec.config.run import Config, parse_config
from m6rec.fits.fit import Fit
from m6rec.lakehouse import Lakehouse

COLOURS = ("black", "white")
ITEMS_OF_COLOUR = 8
# More users are black, so that popularity, too, puts black items first.
USERS_OF_COLOUR = {"black": 24, "white": 10}
# They have all black items but one.
MEASURED = 6
STRANGER = "stranger"
NEW_ITEM = "grey-new"
START = pd.Timestamp("2025-01-01", tz="UTC")


@dataclass(frozen=True)
class Checkerboard:
    """The trained lake.

    Attributes:
        fit: the final fit.
        withheld: the dense index of each measured user's missing item, by user_index.
        stranger: the user_index of a user without interactions.
    """

    fit: Fit
    withheld: dict[int, int]
    stranger: int


@pytest.fixture(scope="session")
def checkerboard(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Checkerboard:
    folder = tmp_path_factory.mktemp("checkerboard")
    withheld = _write_tables(folder)
    config = _config(folder)
    with for_its_size(Lakehouse(spark, config.lake, "checkerboard"), config) as lakehouse:
        for job in JOBS_IN_ORDER[: JOBS_IN_ORDER.index(train_hybrid.JOB) + 1]:
            # The answers are known for the settings of the config, so none are searched.
            if job is not choose_settings.JOB:
                job.run(lakehouse.for_one_job(), config)
    fit = Fit(lakehouse, config, c.FINAL)
    users = _numbers(lakehouse, "user_index", c.USER_ID, c.USER_INDEX)
    items = _numbers(lakehouse, "item_index", c.ITEM_ID, c.ITEM_INDEX)
    known = {users[user]: items[item] for user, item in withheld.items()}
    return Checkerboard(fit, known, users[STRANGER])


def _numbers(lakehouse: Lakehouse, table: str, name: str, index: str) -> dict[str, int]:
    return {row[name]: row[index] for row in lakehouse.read(table).collect()}


def _write_tables(folder: Path) -> dict[str, str]:
    """Write the owner's tables; return the withheld item of each measured user."""
    events, test, withheld = [], [], {}
    for colour in COLOURS:
        for user in range(USERS_OF_COLOUR[colour]):
            missing = user if colour == "black" and user < MEASURED else None
            for place in range(ITEMS_OF_COLOUR):
                # Each user begins with another item, so that no item is everybody's latest.
                item = (user + place) % ITEMS_OF_COLOUR
                if item != missing:
                    at = START + pd.Timedelta(days=place)
                    events.append((f"{colour}-{user}", f"{colour}-{item}", at))
            if missing is not None:
                at = START + pd.Timedelta(days=ITEMS_OF_COLOUR)
                test.append((f"{colour}-{user}", f"{colour}-{missing}", at))
                withheld[f"{colour}-{user}"] = f"{colour}-{missing}"
    columns = [c.USER_ID, c.ITEM_ID, c.EVENT_TIME]
    _write(pd.DataFrame(events, columns=columns), folder / "train.parquet")
    _write(pd.DataFrame(test, columns=columns), folder / "test.parquet")
    names = [f"{colour}-{item}" for colour in COLOURS for item in range(ITEMS_OF_COLOUR)]
    items = [(name, name.partition("-")[0]) for name in (*names, NEW_ITEM)]
    _write(pd.DataFrame(items, columns=[c.ITEM_ID, "colour"]), folder / "items.parquet")
    users = [f"{colour}-{user}" for colour in COLOURS for user in range(USERS_OF_COLOUR[colour])]
    ages = [20 + number % 7 for number in range(len(users) + 1)]
    frame = pd.DataFrame({c.USER_ID: [*users, STRANGER], "age": ages})
    _write(frame, folder / "users.parquet")
    return withheld


def _write(frame: pd.DataFrame, file: Path) -> None:
    frame.to_parquet(file, index=False, coerce_timestamps="us", allow_truncated_timestamps=True)


def _config(folder: Path) -> Config:
    def source(name: str) -> dict[str, str]:
        return {"path": str(folder / f"{name}.parquet"), "format": "parquet"}

    data: dict[str, Any] = {
        "lake": str(folder / "lake"),
        "interactions": {"source": source("train"), "columns": {"time": c.EVENT_TIME}},
        "split": {"strategy": "provided", "test": source("test")},
        "features": {
            "items": {
                "source": source("items"),
                "id": c.ITEM_ID,
                "kinds": {"colour": "categorical"},
            },
            "users": {"source": source("users"), "id": c.USER_ID},
        },
        "factors": {
            "svd": {"rank": 4, "oversampling": 4},
            "als": {"rank": 4, "iterations": 8, "attribute_weight": 1.0},
            "mllib_als": {"rank": 4, "iterations": 4},
        },
        "neighbours": {"ridge": {"regularisation": 1.0}},
        "towers": {
            "hidden": 8,
            "feature_hidden": 4,
            "epochs": 2,
            "negatives": 16,
            "bagging": 1,
            "boosting": True,
            "sequence": {"width": 8, "feature_hidden": 4, "epochs": 20, "dropout": 0.0},
        },
    }
    return parse_config(data, "checkerboard")
