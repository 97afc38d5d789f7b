"""A folder of data as a configuration: what `make quality` runs with defaults.

The folder holds train.parquet and test.parquet (user_id, item_id, optional rating, event_time and
domain), and optionally validation.parquet, items.parquet and users.parquet.
"""

from pathlib import Path
from typing import Any, Literal, assert_never

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from m6rec import columns as c
from m6rec.config.run import Config, parse_config
from m6rec.errors import TableError

Protocol = Literal["all", "cold_items", "sampled"]

TITLE = "title"
_OF_EVENTS = (c.RATING, c.EVENT_TIME, c.DOMAIN)
# The first 10 of 999 drawn items are about the first 400 of 40,000 items. Weights that were chosen
# by the top 50 put the ridge first, which scores few items: on a validation of phones, HR@10 among
# drawn items was .21 by the top 50 and .26 by the top 400.
DEPTH_OF_SAMPLED = 400


def config_of_folder(base: Path, data: Path, lake: Path, top: int, protocol: Protocol) -> Config:
    """The settings of file `base` with the tables that the folder `data` holds.

    Args:
        base: YAML with all settings that the data does not decide.
        data: the folder.
        lake: where the run's tables go.
        top: length of the longest lists.
        protocol: cold_items ranks only items that training never saw, and validates on such items,
            too; sampled ranks each held-out item among random ones as well.

    Raises:
        TableError: the folder lacks train.parquet or test.parquet, or one lacks its ids.
    """
    settings: dict[str, Any] = yaml.safe_load(base.read_text())
    train = _columns(data / "train.parquet", (c.USER_ID, c.ITEM_ID))
    domain = (c.DOMAIN,) if c.DOMAIN in train else ()
    held_out = [_columns(data / "test.parquet", (c.USER_ID, c.ITEM_ID, *domain))]
    interactions = settings["interactions"]
    if domain:
        interactions["columns"]["domain"] = c.DOMAIN
    interactions["source"] = _source(data / "train.parquet")
    settings["split"]["test"] = _source(data / "test.parquet")
    if c.EVENT_TIME in train:
        interactions["columns"]["time"] = c.EVENT_TIME
    if (data / "validation.parquet").exists():
        settings["split"]["validation"] = _source(data / "validation.parquet")
        held_out.append(_columns(data / "validation.parquet", (c.USER_ID, c.ITEM_ID, *domain)))
    if c.RATING in train:
        interactions["columns"]["weight"] = c.RATING
        if all(c.RATING in names for names in held_out):
            settings.setdefault("ratings", {})["enabled"] = True
    features = settings.setdefault("features", {})
    for side, key in (("users", c.USER_ID), ("items", c.ITEM_ID)):
        file = data / f"{side}.parquet"
        if file.exists():
            names = _columns(file, (key, *domain) if side == "items" else (key,))
            features[side] = {"source": _source(file), "id": key, **features.get(side, {})}
            if TITLE in names:
                features[side].setdefault("title", TITLE)
    evaluate = settings["evaluate"]
    evaluate["ks"] = sorted({k for k in evaluate["ks"] if k <= top} | {top})
    match protocol:
        case "cold_items":
            evaluate["candidates"] = "cold_items"
            joined = lake.parent / "train_and_validation.parquet"
            _hold_out_items_for_validation(settings, data, joined, domain)
        case "all" | "sampled":
            pass
        case _:
            assert_never(protocol)
    if domain or protocol == "sampled":
        hybrid = settings.setdefault("hybrid", {})
        hybrid |= {"k": DEPTH_OF_SAMPLED, "candidates_per_member": DEPTH_OF_SAMPLED}
    settings["lake"] = str(lake)
    return parse_config(settings, str(base))


def _hold_out_items_for_validation(
    settings: dict[str, Any], data: Path, joined: Path, domain: tuple[str, ...]
) -> None:
    """Have validation hold out whole items, unless validation.parquet does.

    Else nothing of it could be ranked, and its pairs are trained on: `joined` is written, which has
    those of train.parquet, too. Where it lacks a column that these have, it is left out.
    """
    settings["split"]["validation_strategy"] = "cold_items"
    if "validation" not in settings["split"] or _holds_new_items(data, domain):
        return
    del settings["split"]["validation"]
    train, validation = (_columns(data / f"{name}.parquet", ()) for name in ("train", "validation"))
    read = [name for name in (c.USER_ID, c.ITEM_ID, *_OF_EVENTS) if name in train]
    lacking = [name for name in read if name not in validation]
    if lacking:
        print(
            f"{data / 'validation.parquet'} is not used: it holds no new items to validate on, and"
            f" cannot be trained on without {', '.join(lacking)}",
            flush=True,
        )
        return
    _write_joined(data, read, joined)
    settings["interactions"]["source"] = _source(joined)


def _write_joined(data: Path, names: list[str], target: Path) -> None:
    """Write the rows of train.parquet and validation.parquet to one file, in the former's types.

    Raises:
        TableError: a column of validation.parquet has values that are not of the type.
    """
    train, validation = (
        pq.read_table(data / f"{name}.parquet", columns=names) for name in ("train", "validation")
    )
    plain = pa.schema([_without_dictionary(field) for field in train.schema])
    try:
        train, alike = train.cast(plain), validation.select(train.column_names).cast(plain)
    except pa.ArrowException as error:
        raise TableError(
            f"{data / 'validation.parquet'} has columns that are not of the types in train.parquet"
            f" ({error}), and with protocol cold_items its pairs are trained on; write both alike"
        ) from error
    joined = pa.concat_tables([train, alike])
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(joined, target, coerce_timestamps="us", allow_truncated_timestamps=True)


def _without_dictionary(field: pa.Field) -> pa.Field:
    """The field with its values themselves, where pandas has written categories."""
    is_coded = pa.types.is_dictionary(field.type)
    return field.with_type(field.type.value_type) if is_coded else field


def _holds_new_items(data: Path, domain: tuple[str, ...]) -> bool:
    """Whether most pairs of validation.parquet are of items without a pair in train.parquet."""
    key = [*domain, c.ITEM_ID]
    # As text, since the two files may have ids of other types.
    as_text = pa.schema([(name, pa.string()) for name in key])
    validation, train = (
        pq.read_table(data / f"{name}.parquet", columns=key).cast(as_text)
        for name in ("validation", "train")
    )
    known = train.group_by(key).aggregate([])
    new = validation.join(known, key, join_type="left anti")
    return bool(2 * new.num_rows > validation.num_rows)


def _source(file: Path) -> dict[str, str]:
    return {"path": str(file), "format": "parquet"}


def _columns(file: Path, required: tuple[str, ...]) -> set[str]:
    """The columns of a Parquet file, or of a folder of them."""
    if not file.exists():
        raise TableError(
            f"{file} does not exist, and the folder of data (DATA) needs train.parquet and"
            " test.parquet with the columns user_id and item_id; write other formats as such, as"
            " python -m tests.quality.convert does with public data"
        )
    part = next(iter(sorted(file.glob("*.parquet"))), file) if file.is_dir() else file
    try:
        names = set(pq.read_schema(part).names)
    except (pa.ArrowException, OSError) as error:
        raise TableError(
            f"{file} is neither a file of Parquet nor a folder of such files; write it again"
        ) from error
    missing = sorted(set(required) - names)
    if missing:
        raise TableError(
            f"{file} has no column {missing}; it has {sorted(names)}; rename its columns"
        )
    return names
