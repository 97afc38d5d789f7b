"""Look at every table of the owner's before any compute, and say all that is wrong at once."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from m6rec.check.findings import ColumnView, Finding, Place, Severity, TableView, of_severity
from m6rec.check.ids import (
    DOMINANT_SHARE,
    dominant_user,
    id_text,
)
from m6rec.check.judging import (
    findings_of_event_types,
    findings_of_ids,
    findings_of_kinds,
    findings_of_repeats,
    findings_of_told_kinds,
    findings_of_weights,
    first_example,
    view_of_column,
    views_of_events,
)
from m6rec.check.names import find_columns
from m6rec.check.samples import ColumnSample, shown
from m6rec.check.times import EARLIEST_EPOCH, FARTHEST_ZONE_HOURS, read_times
from m6rec.check.vectors import findings_of_vectors, has_usable_vector
from m6rec.config.base import TableSource
from m6rec.config.data import AttributesSource, InteractionsConfig
from m6rec.config.run import Config, columns_of_lists, sources_of
from m6rec.errors import ArtifactError, TableError
from m6rec.fits.matching import OpenedTable, findings_between
from m6rec.kernels.text.encoder_files import find_encoder
from m6rec.spark.failures import reading
from m6rec.spark.misreadings import misreadings
from m6rec.spark.readings import (
    columns_in_folders,
    columns_left_out,
    files_left_out,
    malformed_rows,
    readings_of,
)
from m6rec.spark.samples import first_rows
from m6rec.spark.sources import load_source, source_version, told_format, with_columns
from m6rec.spark.values import id_column, owner_column, time_column
from m6rec.stages.features.kinds import kinds_of_sample
from m6rec.stages.features.pictures import problem_of_video
from m6rec.stages.features.vectors import measure_vectors

_EVENT_TABLES = frozenset(("interactions.source", "split.test", "split.validation"))


@dataclass(frozen=True)
class Inspection:
    """What was seen of all tables."""

    tables: tuple[TableView, ...]
    between: tuple[Finding, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All that was found."""
        return (*(one for table in self.tables for one in table.findings), *self.between)

    def lines(self, severity: Severity) -> list[str]:
        """The findings of one severity, a line each."""
        return of_severity(self.findings, severity)


def inspect_sources(spark: SparkSession, config: Config) -> Inspection:
    """Look at the schema and the first rows of every table, and at the config beside them."""
    tables: list[TableView] = []
    opened: dict[str, OpenedTable] = {}
    for key, source, required in sources_of(config):
        place = Place(key, source.name)
        try:
            table = _open(spark, place, source, required)
            with reading(key, source):
                tables.append(_view(spark, table, config))
            opened[key] = table
        except TableError as error:
            words = str(error).removeprefix(f"{key}: ")
            while words.startswith(f"table {source.name}"):
                words = words.removeprefix(f"table {source.name}").lstrip(": ")
            broken = Finding("problem", place, words)
            others = readings_of(spark, place, source, required)
            tables.append(TableView(place, findings=(broken, *others)))
    between = (*findings_between(opened, config), *_of_lists(opened, config))
    return Inspection(tuple(tables), between)


def check_tables(spark: SparkSession, config: Config) -> Inspection:
    """Inspect all tables, say warnings and notes on stderr, and stop where there is a problem.

    Raises:
        TableError: all problems, a line each.
    """
    inspection = inspect_sources(spark, config)
    shown_by_jobs: tuple[Severity, ...] = ("warning", "note")
    for severity in shown_by_jobs:
        for line in inspection.lines(severity):
            print(f"{severity}: {line}", file=sys.stderr, flush=True)
    stop_at_problems(inspection)
    return inspection


def stop_at_problems(inspection: Inspection) -> None:
    """Raise what stops a run.

    Raises:
        TableError: all problems, a line each.
    """
    problems = inspection.lines("problem")
    if len(problems) > 1:
        problems = [f"{len(problems)} problems:", *(f"  {line}" for line in problems)]
    if problems:
        raise TableError("\n".join(problems))


def _open(
    spark: SparkSession, place: Place, source: TableSource, required: tuple[str, ...]
) -> OpenedTable:
    loaded = load_source(spark, source, place.key)
    frame = with_columns(loaded, source, required, place.key)
    renamed = find_columns(loaded.columns, required).renamed
    notes = [
        Finding("note", place.of(asked), f"is the column {there!r} of the table")
        for asked, there in renamed.items()
    ]
    if source.format == "auto" and source.path is not None:
        kind = told_format(spark, source)
        if kind != "delta":
            words = f"is read as {kind}, as its files show"
            notes.append(Finding("note", place, words, f"to be sure, set format: {kind}"))
    notes += columns_in_folders(spark, place, source, required)
    notes += columns_left_out(spark, place, source)
    notes += files_left_out(spark, place, source)
    return OpenedTable(
        place, source, required, frame, first_rows(frame, place.key, source), tuple(notes)
    )


def _of_lists(opened: dict[str, OpenedTable], config: Config) -> Iterator[Finding]:
    """What stands against choosing lists by columns of the items' attributes."""
    items = opened.get("features.items")
    if items is not None:
        for key, source, required in columns_of_lists(config):
            try:
                with_columns(items.frame, source, required)
            except TableError as error:
                words = str(error).removeprefix(f"table {source.name} ")
                yield Finding("problem", Place(key, source.name), words)


def _view(spark: SparkSession, table: OpenedTable, config: Config) -> TableView:
    version = source_version(spark, table.source)
    known = _known_columns(table, config)
    views = [
        known.get(name) or view_of_column(column, "not used", "is not read")
        for name, column in table.sample.columns.items()
    ]
    findings = [
        *table.notes,
        *malformed_rows(spark, table.place, table.source),
        *misreadings(spark, table.place, table.source, table.sample),
        *_of_table(table, version),
        *_of_columns(table, config),
    ]
    return TableView(
        table.place,
        "view or table" if table.source.table else told_format(spark, table.source),
        version,
        table.sample.rows,
        table.sample.whole,
        tuple(views),
        tuple(findings),
    )


def _of_table(table: OpenedTable, version: int | None) -> Iterator[Finding]:
    key = table.place.key
    if table.sample.rows == 0 and key.endswith("allowed_items"):
        yield Finding("warning", table.place, "allows no item: all lists are empty")
    elif table.sample.rows == 0 and not key.startswith("recommend."):
        yield Finding("problem", table.place, "has no row", "give a table with rows")
    if table.source.table is not None and version is None:
        words = "is a view or no Delta table: it has no version, and later rows may differ"
        yield Finding("fact", table.place, words)


def _of_columns(table: OpenedTable, config: Config) -> Iterator[Finding]:
    attributes = _attributes_of(table.place.key, config)
    settings, columns = config.interactions, table.sample.columns
    if table.place.key in _EVENT_TABLES:
        yield from _of_events(table, config)
    elif attributes is not None:
        yield from findings_of_ids(columns[attributes.id], table.place, settings)
        yield from findings_of_repeats(columns[attributes.id], table.place, settings)
        yield from findings_of_kinds(columns, attributes.kinds, table.place)
        given = {attributes.id, attributes.title, *attributes.kinds}
        told = {name: column for name, column in columns.items() if name not in given}
        yield from findings_of_told_kinds(told, table.place)
        yield from _of_vectors(table, attributes, config)
        problems = (problem_of_video(name, kind) for name, kind in attributes.kinds.items())
        yield from (Finding("problem", table.place, words) for words in problems if words)
    else:
        for name in table.required:
            yield from findings_of_ids(columns[name], table.place, settings)


def _of_vectors(
    table: OpenedTable, attributes: AttributesSource, config: Config
) -> Iterator[Finding]:
    """What is wrong with the columns of vectors.

    Raises:
        TableError: no row has a usable vector, which all rows have to say.
    """
    if "text_embedding" in attributes.kinds.values():
        try:
            find_encoder(config.features.text_model or "")
        except ArtifactError as error:
            yield Finding("problem", table.place, str(error))
    for name, (kind, _) in kinds_of_sample(table.sample, attributes).items():
        if kind != "embedding":
            continue
        column = table.sample.columns[name]
        yield from findings_of_vectors(column, table.place, table.sample.whole)
        is_open = column.group in {"vector", "text"} and not table.sample.whole
        if is_open and not has_usable_vector(column):
            words = f"{table.place.key}: table {table.source.name}"
            measure_vectors(table.frame, name, config.features.maximum_vectors, words)


def _known_columns(table: OpenedTable, config: Config) -> dict[str, ColumnView]:
    """How the columns are understood that a run reads."""
    attributes, columns = _attributes_of(table.place.key, config), table.sample.columns
    if table.place.key in _EVENT_TABLES:
        return views_of_events(columns, config)
    if attributes is None:
        return {
            name: view_of_column(columns[name], "id", "compared with ids")
            for name in table.required
        }
    kinds = kinds_of_sample(table.sample, attributes)
    views = {name: view_of_column(columns[name], *kind) for name, kind in kinds.items()}
    views[attributes.id] = view_of_column(columns[attributes.id], "id", "joins the interactions")
    return views


def _attributes_of(key: str, config: Config) -> AttributesSource | None:
    return {"features.users": config.features.users, "features.items": config.features.items}.get(
        key
    )


# --- events -----------------------------------------------------------------------------------


def _of_events(table: OpenedTable, config: Config) -> Iterator[Finding]:
    names = config.interactions.columns
    held_out = table.place.key != "interactions.source"
    columns = table.sample.columns
    for name in (names.user, names.item):
        yield from findings_of_ids(columns[name], table.place, config.interactions)
    if not held_out:
        yield from _of_users(table, config)
    if names.time is not None and names.time in columns:
        yield from _of_times(table, columns[names.time], config)
    if names.weight is not None and names.weight in columns:
        yield from findings_of_weights(columns[names.weight], table.place, config)
    if names.event_type is not None and names.event_type in columns:
        event_type = columns[names.event_type]
        yield from findings_of_event_types(event_type, table.place, config.interactions)


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
        # The first rows may be sorted by user, so that all rows have to say it.
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
    if column.values and not column.texts:
        yield Finding("problem", place, "is empty in all of the first rows", "name another column")
        return
    told = read_times(column, settings)
    if told.problem:
        yield Finding("problem", place, told.problem, told.mend)
        return
    if told.said:
        yield Finding("note", place, told.said, told.mend)
    now = datetime.now(UTC)
    time = time_column(table.frame, _with_time(config, column.name), told.format)
    seconds = F.unix_timestamp(time).alias("t")
    given = owner_column(column.name).cast("string").alias("g")
    rows = table.frame.select(seconds, given).limit(table.sample.rows).collect()
    present = [row for row in rows if row["g"] is not None and row["g"].strip()]
    read = [row["t"] for row in present if row["t"] is not None]
    if present and not read:
        yield Finding(
            "problem",
            place,
            f"holds {shown(present[0]['g'])}, which "
            + (
                f"interactions.time_format {settings.time_format} does not read"
                if settings.time_format
                else "is no time after 1900"
            ),
            "correct interactions.time_format or time_unit",
        )
    elif len(read) < len(present):
        other = next(row["g"] for row in present if row["t"] is None)
        yield Finding(
            "warning",
            place,
            f"{len(present) - len(read)} of {len(present)} times cannot be read, such as"
            f" {shown(other)}, and go to quarantine",
        )
    future = [moment for moment in read if moment > now.timestamp()]
    if future:
        ahead = timedelta(seconds=max(future) - now.timestamp())
        has_no_zone = column.group in {"text", "local timestamp", "date"}
        explained = has_no_zone and ahead <= timedelta(hours=FARTHEST_ZONE_HOURS)
        yield Finding(
            "warning",
            place,
            f"{len(future)} of the first rows lie in the future, up to {_hours(ahead)} ahead, and"
            " go to quarantine",
            "where the times have no zone, set interactions.time_zone to theirs, such as Asia/Tokyo"
            if explained
            else "",
        )
    yield from _of_early_times(place, column, [(row["t"], row["g"]) for row in present])


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
        f"{len(early)} of {len(read)} times are read as before 1980, such as {shown(early[0])}, as"
        " times are that stand for none, or are in another unit than the others",
        f"where they stand for none, set source.missing_values:"
        f" {{{column.name}: [{json.dumps(early[0], ensure_ascii=False)}]}}",
    )


def _hours(ahead: timedelta) -> str:
    hours = ahead.total_seconds() / 3600
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.0f} days"


def _with_time(config: Config, name: str) -> InteractionsConfig:
    columns = config.interactions.columns.model_copy(update={"time": name})
    return config.interactions.model_copy(update={"columns": columns})
