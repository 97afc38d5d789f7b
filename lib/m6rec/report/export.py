"""`metrics.json`: the metrics of a run for other programs."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from m6rec import columns as c
from m6rec.files import AnyPlace, as_place

_KEYS = (c.RUN_ID, c.MODEL, c.FOLD, c.SEGMENT, c.METRIC, c.K)
_NUMBERS = (c.VALUE, c.CI_LOW, c.CI_HIGH)


def metrics_json(rows: Iterable[Mapping[str, Any]], path: AnyPlace) -> None:
    """Write rows of the table `metrics` (with `run_id`) as a JSON list, sorted by their key.

    Numbers that are not finite become null. The folder of `path` is made where it is missing.
    """
    ordered = sorted((_plain(row) for row in rows), key=lambda row: [row[key] for key in _KEYS])
    lines = ",\n".join(json.dumps(row, allow_nan=False, ensure_ascii=False) for row in ordered)
    as_place(path).write_text(f"[\n{lines}\n]\n" if ordered else "[]\n")


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{key: row[key] for key in _KEYS[:-1]},
        c.K: int(row[c.K]),
        **{key: _finite(row[key]) for key in _NUMBERS},
        c.USERS: int(row[c.USERS]),
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
