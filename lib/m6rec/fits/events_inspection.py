"""Look at a table of events before any compute: its users, its times, its weights."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from pyspark.sql import functions as F

from m6rec.check.findings import Finding, Place
from m6rec.check.ids import (
    DOMINANT_SHARE,
    dominant_user,
    id_text,
    loses_digits,
)
from m6rec.check.judging import (
    findings_of_contexts,
    findings_of_domains,
    findings_of_event_types,
    findings_of_ids,
    findings_of_missing,
    findings_of_weights,
    first_example,
)
from m6rec.check.samples import ColumnSample, shown
from m6rec.check.times import (
    EARLIEST_EPOCH,
    FARTHEST_ZONE_HOURS,
    SET_SEVERAL_FORMATS,
    SET_TIME_FORMAT,
    read_times,
)
from m6rec.config.data import InteractionsConfig
from m6rec.config.run import INTERACTIONS_SOURCE, Config
from m6rec.fits.matching import OpenedTable
from m6rec.spark.values import id_column, text_column, time_column


def findings_of_events(table: OpenedTable, config: Config) -> Iterator[Finding]:
    """What the first rows of a table of events say of its ids, times, weights and types."""
    names = config.interactions.columns
    held_out = table.place.key != INTERACTIONS_SOURCE
    columns = table.sample.columns
    for name in (names.user, names.item):
        yield from findings_of_ids(columns[name], table.place, config.interactions)
    if names.domain is not None:
        yield from findings_of_domains(columns[names.domain], table.place, config.interactions)
    if not held_out:
        yield from _of_users(table, config)
        if table.sample.whole:
            for name in names.context:
                yield from findings_of_contexts(
                    columns[name], table.place, config.recommend.contexts
                )
    if names.time is not None and names.time in columns:
        yield from _of_times(table, columns[names.time], config)
    if names.weight is not None and names.weight in columns:
        yield from findings_of_weights(columns[names.weight], table.place, config)
    if names.event_type is not None and names.event_type in columns:
        event_type = columns[names.event_type]
        has_listed = partial(_has_listed_type, table, config.interactions)
        yield from findings_of_event_types(event_type, table.place, config.interactions, has_listed)


def _has_listed_type(table: OpenedTable, settings: InteractionsConfig) -> bool:
    """Whether rows after the first ones, which may be sorted by type, have a type with a weight."""
    name = settings.columns.event_type
    if table.sample.whole or name is None:
        return False
    listed = text_column(table.frame, name).isin(*settings.event_weights)
    return not table.frame.where(listed).isEmpty()


def _of_users(table: OpenedTable, config: Config) -> Iterator[Finding]:
    name = config.interactions.columns.user
    settings = config.interactions
    nobody = {id_text(user, settings) for user in settings.not_a_user}
    texts = (id_text(value, settings) for value in table.sample.columns[name].values)
    users = [text for text in texts if text and text not in nobody]
    found = dominant_user(users)
    if found is None:
        return
    user, share, by_name = found
    if not by_name and not table.sample.whole:
        # The first rows may be sorted by user, so that only all rows together can tell.
        ids = id_column(table.frame, name, config.interactions)
        row = table.frame.select(F.avg((ids == user).cast("int")).alias("share")).first()
        share = float(row["share"] or 0.0) if row is not None else 0.0
        if share < DOMINANT_SHARE:
            return
    where = "all rows" if table.sample.whole or not by_name else "the first rows"
    yield Finding(
        "warning",
        table.place.of(name),
        f"user {shown(user)} holds {share:.0%} of {where}, as an id that stands for nobody does",
        f"if it does, set interactions.not_a_user: [{json.dumps(user, ensure_ascii=False)}]",
    )


def _of_times(table: OpenedTable, column: ColumnSample, config: Config) -> Iterator[Finding]:
    place, settings = table.place.of(column.name), config.interactions
    yield from findings_of_missing(column, place)
    if column.values and not column.texts:
        return
    reading = read_times(column, settings)
    if reading.problem:
        yield Finding("problem", place, reading.problem, reading.remedy)
        return
    now = datetime.now(UTC)
    time = time_column(table.frame, _with_time(config, column.name), reading.format)
    present = table.first_times(column.name, F.unix_timestamp(time))
    read = [seconds for seconds, _ in present if seconds is not None]
    if reading.said and read:
        yield Finding("note", place, reading.said, reading.remedy)
    if present and not read:
        yield Finding(
            "problem",
            place,
            f"holds {shown(present[0][1])}, which "
            + (
                f"interactions.time_format {settings.time_format} does not read"
                if settings.time_format
                else "is read as no time after 1900"
            ),
            SET_TIME_FORMAT
            if column.group == "text" and not settings.time_format
            else "correct interactions.time_format or time_unit",
        )
    elif len(read) < len(present):
        other = next(given for seconds, given in present if seconds is None)
        yield Finding(
            "warning",
            place,
            f"{len(present) - len(read)} of {len(present)} times cannot be read, such as"
            f" {shown(other)}, and go to quarantine",
            f"where these are times, {SET_SEVERAL_FORMATS}"
            if column.group == "text" and settings.time_unit == "timestamp"
            else "where these are times, write all in one unit in the source",
        )
    inexact = loses_digits(column.present, column.type) if column.type == "float" else None
    if inexact is not None:
        yield Finding(
            "warning",
            place,
            f"holds {inexact:.0f} as {column.type}, which is exact to minutes at best; times of"
            " different moments become one",
            "write times as double or bigint in the source",
        )
    future = [moment for moment in read if moment > now.timestamp()]
    if future:
        ahead = timedelta(seconds=max(future) - now.timestamp())
        has_no_zone = column.group in {"text", "local timestamp", "date"}
        explained = has_no_zone and ahead <= timedelta(hours=FARTHEST_ZONE_HOURS)
        nearest = timedelta(seconds=min(future) - now.timestamp())
        none_is_left = len(future) == len(present) and nearest > timedelta(
            hours=FARTHEST_ZONE_HOURS
        )
        remedy = "correct interactions.time_format or time_unit" if none_is_left else ""
        yield Finding(
            "problem" if none_is_left else "warning",
            place,
            f"{len(future)} of the first rows lie in the future, up to {_hours(ahead)} ahead, and"
            " go to quarantine",
            "where the times have no zone, set interactions.time_zone to theirs, such as Asia/Tokyo"
            if explained
            else remedy,
        )
    yield from _of_early_times(place, column, present)


def _of_early_times(
    place: Place, column: ColumnSample, times: Sequence[tuple[float | None, str]]
) -> Iterator[Finding]:
    """Times that are older than any shop's: read wrongly, or standing for none."""
    read = sorted(seconds for seconds, _ in times if seconds is not None)
    early = [given for seconds, given in times if seconds is not None and seconds < EARLIEST_EPOCH]
    if not early:
        return
    if len(early) * 2 > len(read):
        year = datetime.fromtimestamp(read[len(read) // 2], UTC).year
        yield Finding(
            "warning",
            place,
            f"is read as times of the year {year}, such as {first_example(column)}",
            "check interactions.time_unit and time_format",
        )
        return
    yield Finding(
        "warning",
        place,
        f"{len(early)} of {len(read)} times are read as before 1980, such as {shown(early[0])};"
        " they may stand for a missing time, or be in another unit than the others",
        f"where they stand for none, set source.missing_values:"
        f" {{{column.name}: [{json.dumps(early[0], ensure_ascii=False)}]}}",
    )


def _hours(ahead: timedelta) -> str:
    hours = ahead.total_seconds() / 3600
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.0f} days"


def _with_time(config: Config, name: str) -> InteractionsConfig:
    columns = config.interactions.columns.model_copy(update={"time": name})
    return config.interactions.model_copy(update={"columns": columns})
