"""The trades of the examples, and their tables as files."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pandas as pd

from m6rec.datasets.trades.finance import finance_tables
from m6rec.datasets.trades.music import music_tables
from m6rec.datasets.trades.news import news_tables
from m6rec.datasets.trades.shop import shop_tables
from m6rec.datasets.trades.social import social_tables
from m6rec.datasets.trades.video import video_tables
from m6rec.errors import DataError

TRADES: Mapping[str, Callable[[], dict[str, pd.DataFrame]]] = {
    "shop": shop_tables,
    "video": video_tables,
    "music": music_tables,
    "news": news_tables,
    "social": social_tables,
    "finance": finance_tables,
}


def write_trades(folder: Path, names: Iterable[str] = TRADES) -> list[Path]:
    """Write the tables of trades as `folder`/TRADE/TABLE.parquet; return the files.

    Raises:
        DataError: there is no such trade.
    """
    files = []
    for name in names:
        if name not in TRADES:
            raise DataError(f"there is no trade {name}; the examples are {', '.join(TRADES)}")
        (folder / name).mkdir(parents=True, exist_ok=True)
        for table, frame in TRADES[name]().items():
            file = folder / name / f"{table}.parquet"
            # Spark reads microseconds; pandas writes nanoseconds unless told.
            frame.to_parquet(
                file, index=False, coerce_timestamps="us", allow_truncated_timestamps=True
            )
            files.append(file)
    return files
