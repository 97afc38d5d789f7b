"""Tables of attributes and rules as people have them, and what is right for each."""

import json
import pickle
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

_N = 25
_GENRES = ("Action, Comedy", "Comedy", "Drama, Action", "Drama")


def write_items(path: Path) -> None:
    """Items with columns of all kinds, of which many need care; ids are i0 to i23."""
    columns = {
        # An id stands twice, with other values.
        "sku": [f"i{k}" for k in range(_N - 1)] + ["i1"],
        # Named as ours are.
        "item_id": [f"x{k % 3}" for k in range(_N)],
        "item_index": [k % 5 for k in range(_N)],
        "kind": ["new" if k % 2 else "old" for k in range(_N)],
        "features": [float(k % 4) for k in range(_N)],
        "a `b`.c 'd\"": ["p" if k % 2 else "q" for k in range(_N)],
        # Numbers as people write them.
        "two": [f"{'$€'[k % 2]}{k}.50" for k in range(_N)],
        "price": [f"${k + 1},000.50" if k % 7 else "\u2014" for k in range(_N)],
        "weight": [f"{k + 1} kg" if k % 5 else "n/a" for k in range(_N)],
        "genre": [_GENRES[k % 4] for k in range(_N)],
        "tags": ["a|b|c" if k % 2 else "b" for k in range(_N)],
        "name": [f"Name{k}" for k in range(_N)],
        "yuan": [f"{k + 1},000.50\u5143" for k in range(_N)],
        "since": [f"2024-03-{k + 1:02d}" for k in range(_N)],
        # As BigQuery and Postgres write timestamps.
        "stamps": [f"2024-03-{k + 1:02d} 12:00:00{(' UTC', '+00')[k % 2]}" for k in range(_N)],
        "german": [f"{k + 1}.12.2024" if k % 9 else "n/a" for k in range(_N)],
        "slashes": [f"{k + 1:02d}/12/2024 10:30" for k in range(_N)],
        "compact": [f"202403{k + 1:02d}" for k in range(_N)],
        "whole": [20240301 + k for k in range(_N)],
        # As pandas has whole numbers where some are missing.
        "real": [20240301.0 + k if k else float("nan") for k in range(_N)],
        "english": [f"{k + 1} Mar 2024" for k in range(_N)],
        "letters": [f"Mon, {k + 1} Mar 2024 10:00:00 +0000" for k in range(_N)],
        "delivery": ["1 day" if k % 3 else f"{k + 2} days" for k in range(_N)],
        "phone": [f"+49 30 {k:06d}" for k in range(_N)],
        "either": [f"{k % 9 + 1}/12/2024" for k in range(_N)],
        "version": [f"1.{k}.2" for k in range(_N)],
        "json": [f'{{"color": "{"red" if k % 2 else "blue"}", "weight": {k}}}' for k in range(_N)],
        "python": [str({"ok": bool(k % 2), "none": None}) for k in range(_N)],
        "cast": [
            json.dumps([{"id": 1, "name": "ann"}, {"name": "bob"}][k % 2 :]) for k in range(_N)
        ],
        "vector": [f"[{k}.5, -1.25, 2e-3]" for k in range(_N)],
        # Longer than what `check` sees of other texts.
        "bare": [" ".join(f"{k}.{n:06}" for n in range(700)) for k in range(_N)],
        "styles": [("['Action', 'Comedy']", '["Drama"]', "['Comedy']")[k % 3] for k in range(_N)],
        "moods": [("\u52a8\u4f5c\u3001\u559c\u5267", "\u559c\u5267")[k % 2] for k in range(_N)],
        "about": [f"\u8fd9\u662f\u4e00\u6b3e\u5f88\u597d\u7684\u5546\u54c1 {k}" for k in range(_N)],
        "_c0": [str(k % 2) for k in range(_N)],
        "_corrupt_record": [None] * (_N - 1) + ["{"],
        "row": list(range(_N)),
        "seen": pd.to_datetime(["2024-01-01"] * _N),
    }
    table = pa.Table.from_pandas(pd.DataFrame(columns), preserve_index=False)
    more = pa.array([[("k", k)] for k in range(_N)], pa.map_(pa.string(), pa.int64()))
    place = pa.array([{"city": "Rome" if k % 2 else "Oslo"} for k in range(_N)])
    pairs = pa.array([[{"a": k}] for k in range(_N)])
    days = pa.array([Decimal(20240301 + k) for k in range(_N)], pa.decimal128(10, 0))
    floats = pa.array([np.full(4, k, np.float32).tobytes() for k in range(_N)])
    pickled = pa.array([pickle.dumps([float(k)] * (k + 1), protocol=5) for k in range(_N)])
    covers = pa.array([b"\x89PNG\r\n\x1a\n" + bytes(k) for k in range(_N)])
    added = {"more": more, "place": place, "pairs": pairs, "days": days}
    # Some rows begin with a frame that is none.
    frames = pa.array([[None, [1.0, 2.0 + k]] for k in range(_N)])
    added |= {"frames": frames, "nests": pa.array([[["a"]]] * _N)}
    added |= {"floats": floats, "pickled": pickled, "covers": covers}
    for name, column in added.items():
        table = table.append_column(name, column)
    pq.write_table(table, path)


# Fields of columns that the config asks for.
GIVEN = {
    "place.city": "categorical",
    "json.color": "categorical",
    "json.weight": "numeric",
    "cast.name": "multi_valued",
    "pairs.a": "multi_valued",
    "more.k": "numeric",
}
# The kind of each column, and what the check says of it.
KINDS = {
    "item_id": ("categorical", "categories"),
    "item_index": ("numeric", "a number"),
    "kind": ("categorical", "categories"),
    "features": ("numeric", "a number"),
    "a `b`.c 'd\"": ("categorical", "categories"),
    "two": ("numeric", r"in \$ and €"),
    "price": ("numeric", r"in \$; '\u2014' missing"),
    "weight": ("numeric", "in kg; 'n/a' missing"),
    "genre": ("multi_valued", "split at ','"),
    "tags": ("multi_valued", r"split at '\|'"),
    "name": ("ignore", "nearly all values differ"),
    "yuan": ("numeric", "in \u5143"),
    "since": ("numeric", "a number of seconds"),
    "stamps": ("numeric", "a number of seconds"),
    "german": ("numeric", r"seconds, by the format d\.M\.yyyy"),
    "slashes": ("numeric", "seconds, by the format d/M/yyyy H:mm"),
    "compact": ("numeric", "seconds, by the format yyyyMMdd"),
    "whole": ("numeric", "seconds, by the format yyyyMMdd"),
    "real": ("numeric", "seconds, by the format yyyyMMdd"),
    "days": ("numeric", "seconds, by the format yyyyMMdd"),
    "english": ("numeric", "seconds, by the format d MMM yyyy"),
    "letters": ("numeric", "by the format EEE, d MMM yyyy H:mm:ss XX"),
    "delivery": ("numeric", "in days"),
    "phone": ("ignore", "nearly all values differ"),
    "frames": ("embedding", "vectors of your own making"),
    "nests": ("ignore", "left out$"),
    "either": ("ignore", "day and month of its dates could be either"),
    "version": ("ignore", "nearly all values differ"),
    "json": ("ignore", r"name json\.color or json\.weight in kinds"),
    "python": ("ignore", r"left out: it holds objects; name python\.none or python\.ok"),
    "cast": ("ignore", r"name cast\.name or cast\.id in kinds"),
    "vector": ("embedding", "written as text"),
    "bare": ("embedding", "written as text"),
    "styles": ("multi_valued", "split at commas within brackets"),
    "moods": ("multi_valued", "split at '\u3001'"),
    "about": ("text", "its words"),
    "_c0": ("ignore", "no name of its own"),
    "_corrupt_record": ("ignore", "no name of its own"),
    "row": ("ignore", "counts the rows"),
    "seen": ("numeric", "seconds"),
    "more": ("ignore", r"left out; name more\.FIELD"),
    "pairs": ("ignore", "left out"),
    "floats": ("image", "left out: no picture begins as these bytes do"),
    "pickled": ("image", "left out: no picture begins as these bytes do"),
    "covers": ("image", "an item's image"),
    "place": ("ignore", r"left out; name place\.FIELD"),
    **{name: (kind, "as the config says") for name, kind in GIVEN.items()},
}
