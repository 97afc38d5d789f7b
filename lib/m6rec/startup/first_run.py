"""Tables of a hundred rows, on which `spark-submit.sh setup` runs the pipeline once.

    python -m m6rec.startup.first_run FOLDER     writes them, and config.yaml

When that run ends, the JVM writes an archive of its classes, and numba has kept what it compiled. A
job that finds both starts and reads its first tables in half the time, and compiles no kernel.
"""

import json
import sys
from pathlib import Path

_USERS, _ITEMS, _OF_A_USER = 25, 20, 5
_GROUPS = 4


def write_tables(folder: Path) -> None:
    """Write interactions with times, attributes of both sides, and the configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    events = [
        f"u{user},i{(user + step * step) % _ITEMS},2026-01-{1 + step:02} 1{user % _OF_A_USER}:00:00"
        for user in range(_USERS)
        for step in range(_OF_A_USER)
    ]
    items = [f"i{item},{'abcd'[item % _GROUPS]},the {item}th of all" for item in range(_ITEMS)]
    users = [f"u{user},{20 + user}" for user in range(_USERS)]
    for name, lines in {
        "interactions": ["user_id,item_id,time", *events],
        "items": ["item_id,group,words", *items],
        "users": ["user_id,age", *users],
    }.items():
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")

    def source(name: str) -> dict[str, str]:
        return {"path": str(folder / f"{name}.csv"), "format": "csv"}

    config = {
        "interactions": {"source": source("interactions"), "columns": {"time": "time"}},
        "features": {
            "items": {"source": source("items"), "id": "item_id"},
            "users": {"source": source("users"), "id": "user_id"},
        },
    }
    # JSON is YAML, too.
    (folder / "config.yaml").write_text(json.dumps(config))


if __name__ == "__main__":
    write_tables(Path(sys.argv[1]))
