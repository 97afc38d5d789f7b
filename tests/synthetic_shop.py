"""A small shop with three tastes, for tests of whole jobs: string ids, times, attributes, text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from m6rec import columns as c
from m6rec.lakehouse import Lakehouse

TASTES = ("drama", "comedy", "horror")
CONTEXTS = {"by phone": {"device": "phone"}, "monday morning": {"hour": 8, "weekday": 1}}
START = pd.Timestamp("2025-01-01", tz="UTC")


@dataclass(frozen=True)
class Shop:
    """Paths of the shop's tables and a small configuration that reads them."""

    interactions: Path
    items: Path
    users: Path
    bad_rows: int

    @property
    def tables(self) -> tuple[Path, Path, Path]:
        """The files."""
        return (self.interactions, self.items, self.users)

    def config(self, lake: Path | str, **sections: Any) -> dict[str, Any]:
        """A configuration with small models; `sections` are put over it."""
        return small_config(self, lake) | sections


def make_shop(folder: Path, n_users: int = 90, n_items: int = 60, seed: int = 1) -> Shop:
    """Write the tables: most events follow the user's taste, a few are noise, some are broken."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    events = [event for user in range(n_users) for event in _history(user, n_items, rng)]
    frame = pd.DataFrame(events, columns=["customer", "product", "stars", "at", "device"])
    broken = pd.DataFrame(
        [
            ("", "item-1", 3.0, START, None),
            (None, "item-1", 3.0, START, None),
            ("user-1", "item-2", float("nan"), START, None),
            ("user-1", "item-2", float("-inf"), START, None),
            ("user-1", "item-3", 2.0, START + pd.Timedelta(days=365_0), None),
        ],
        columns=frame.columns,
    )
    broken = pd.concat([broken, frame.head(1)])
    _write(pd.concat([frame, broken]), folder / "interactions.parquet")
    items = [
        {
            "product": f"item-{item}",
            "name": f"The {TASTES[item % 3]} number {item}",
            "genres": [TASTES[item % 3], "old" if item < n_items // 2 else "new"],
            "price": float(5 + item % 7),
            "story": f"a long {TASTES[item % 3]} story about part {item} of everything there is",
        }
        for item in range(n_items + 2)
    ]
    _write(pd.DataFrame(items), folder / "items.parquet")
    users = [{"customer": f"user-{u}", "age": 20 + u % 50} for u in range(n_users + 1)]
    _write(pd.DataFrame(users), folder / "users.parquet")
    return Shop(
        folder / "interactions.parquet",
        folder / "items.parquet",
        folder / "users.parquet",
        len(broken),
    )


def published_lists(lakehouse: Lakehouse) -> list[tuple[str, str, int, str]]:
    """User, context, rank and item of all recommendations of a run, in order.

    Those for users who are unknown stand under the name of nobody.
    """
    return sorted(
        (row[c.USER_ID] or "nobody", row[c.CONTEXT] or "none", row[c.RANK], row[c.ITEM_ID])
        for row in lakehouse.rows("recommendations")
    )


def small_config(shop: Shop, lake: Path | str) -> dict[str, Any]:
    """Everything on, at sizes that a test can wait for."""
    return {
        "lake": str(lake),
        "interactions": {
            "source": {"path": str(shop.interactions), "format": "parquet"},
            "columns": {
                "user": "customer",
                "item": "product",
                "time": "at",
                "weight": "stars",
                "context": ["device"],
            },
        },
        "split": {"strategy": "last", "test_share": 0.2},
        "factors": {
            "svd": {"rank": 16, "oversampling": 8},
            "als": {"rank": 16, "iterations": 6},
            "mllib_als": {"rank": 8, "iterations": 3},
        },
        "features": {
            "items": {
                "source": {"path": str(shop.items), "format": "parquet"},
                "id": "product",
                "title": "name",
            },
            "users": {
                "source": {"path": str(shop.users), "format": "parquet"},
                "id": "customer",
            },
        },
        "towers": {
            "hidden": 32,
            "feature_hidden": 8,
            "epochs": 2,
            "minimum_steps_per_epoch": 4,
            "negatives": 64,
            "sequence": {
                "width": 16,
                "feature_hidden": 8,
                "epochs": 2,
                "length": 8,
                "minimum_steps_per_epoch": 4,
                "context": {"clock": True},
            },
        },
        "ratings": {"enabled": True, "rank": 4, "choice_rank": 4},
        "settings": {"seconds": 7},
        "ablation": {"tower_parts": ["mlp", "gate"]},
        "evaluate": {"bootstrap_replicates": 100},
        "recommend": {"top_n": 10, "contexts": CONTEXTS},
        "outputs": {"embeddings": True},
    }


def _history(user: int, n_items: int, rng: np.random.Generator) -> list[tuple[Any, ...]]:
    own = [item for item in range(n_items) if item % 3 == user % 3]
    others = [item for item in range(n_items) if item % 3 != user % 3]
    popularity = 1.0 / (1.0 + np.arange(len(own)))
    liked = rng.choice(own, size=9, replace=False, p=popularity / popularity.sum())
    chosen = [*liked, *rng.choice(others, size=2, replace=False)]
    rng.shuffle(chosen)
    times = np.sort(rng.integers(0, 200 * 24 * 3600, size=len(chosen)))
    return [
        (
            f"user-{user}",
            f"item-{item}",
            float(rng.integers(1, 6)),
            START + pd.Timedelta(seconds=int(time)),
            (None, "desk", "phone")[item % 3],
        )
        for item, time in zip(chosen, times, strict=True)
    ]


def _write(frame: pd.DataFrame, path: Path) -> None:
    # Spark reads microseconds; pandas writes nanoseconds unless told.
    frame.to_parquet(path, index=False, coerce_timestamps="us", allow_truncated_timestamps=True)
