"""Look at every table of the owner's before any compute, and say all that is wrong at once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pyspark.sql import SparkSession

from m6rec.check.binaries import findings_of_binaries
from m6rec.check.findings import ColumnView, Finding, Place, Severity, TableView, of_severity
from m6rec.check.ids import text_within
from m6rec.check.judging import (
    findings_of_domains,
    findings_of_ids,
    findings_of_inferred_kinds,
    findings_of_kinds,
    findings_of_large_numbers,
    findings_of_repeats,
    view_of_column,
    views_of_events,
)
from m6rec.check.names import find_columns
from m6rec.check.samples import ColumnSample, shown
from m6rec.check.vectors import (
    findings_of_lengths,
    findings_of_vectors,
    has_usable_vector,
    is_cut,
)
from m6rec.check.writing import Writing
from m6rec.config.base import TableSource
from m6rec.config.data import AttributesSource, FeatureKind
from m6rec.config.run import INTERACTIONS_SOURCE, Config, columns_of_lists, sources_of
from m6rec.errors import ArtifactError, TableError
from m6rec.fits.events_inspection import findings_of_events
from m6rec.fits.matching import OpenedTable, findings_between
from m6rec.kernels.text.encoder_files import find_encoder
from m6rec.kernels.text.sentence_encoder import described_encoder
from m6rec.spark.failures import reading_table
from m6rec.spark.messages import say
from m6rec.spark.misreadings import misreadings
from m6rec.spark.readings import (
    columns_in_folders,
    columns_left_out,
    files_left_out,
    files_of_delta,
    malformed_rows,
    readings_of,
    unknown_options,
)
from m6rec.spark.samples import first_rows
from m6rec.spark.sources import (
    has_column,
    inferred_format,
    load_source,
    session_for_sources,
    source_version,
    with_columns,
)
from m6rec.stages.features.inputs import number_column
from m6rec.stages.features.kinds import kinds_of_sample
from m6rec.stages.features.pictures import problem_of_video
from m6rec.stages.features.vectors import measure_vectors

# The kind of each column of attributes, and what becomes of it.
_Kinds = Mapping[str, tuple[FeatureKind, str]]
_EVENT_TABLES = frozenset((INTERACTIONS_SOURCE, "split.test", "split.validation"))


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
    """Look at the schema and the first rows of every table, together with the config.

    Raises:
        ConfigError: sentences of the owner's cannot be read.
    """
    config.recommend.reasons.sentences()
    tables: list[TableView] = []
    opened: dict[str, OpenedTable] = {}
    for key, source, required in sources_of(config):
        place = Place(key, source.name)
        try:
            table = _open(spark, place, source, required, config)
            with reading_table(key, source):
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
    with session_for_sources(spark):
        inspection = inspect_sources(spark, config)
    shown_by_jobs: tuple[Literal["warning", "note"], ...] = ("warning", "note")
    for severity in shown_by_jobs:
        for line in inspection.lines(severity):
            say(severity, line)
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
    spark: SparkSession,
    place: Place,
    source: TableSource,
    required: tuple[str, ...],
    config: Config,
) -> OpenedTable:
    loaded = load_source(spark, source, place.key)
    for domain in config.interactions.columns.parts_of_item_id:
        is_asked = domain in required and place.key != INTERACTIONS_SOURCE
        if is_asked and not has_column(loaded, domain):
            raise TableError(
                f"has no column {domain}, which interactions.columns.domain names; every table"
                " with items needs it: add the domain of each item"
            )
    frame = with_columns(loaded, source, required, place.key)
    renamed = find_columns(loaded.columns, required).renamed
    notes = [
        Finding("note", place.of(asked), f"is the column {there!r} of the table")
        for asked, there in renamed.items()
    ]
    if source.format == "auto" and source.path is not None:
        kind = inferred_format(spark, source)
        if kind != "delta":
            words = f"is read as {kind}, as its files show"
            notes.append(Finding("note", place, words, f"to be sure, set format: {kind}"))
    notes += columns_in_folders(spark, place, source, required)
    notes += columns_left_out(spark, place, source)
    notes += files_left_out(spark, place, source)
    sample = first_rows(frame, place.key, source, needed=required)
    return OpenedTable(place, source, required, frame, sample, tuple(notes))


def _of_lists(opened: dict[str, OpenedTable], config: Config) -> Iterator[Finding]:
    """What is wrong with the columns of the items' attributes by which lists are chosen."""
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
    attributes = _attributes_of(table.place.key, config)
    kinds = {} if attributes is None else kinds_of_sample(table.sample, attributes)
    known = _known_columns(table, kinds, config)
    views = [
        known.get(name) or view_of_column(column, "not used", "is not read")
        for name, column in table.sample.columns.items()
    ]
    findings = [
        *table.notes,
        *unknown_options(spark, table.place, table.source),
        *files_of_delta(spark, table.place, table.source),
        *malformed_rows(spark, table.place, table.source),
        *misreadings(spark, table.place, table.source, table.sample),
        *_of_table(table, version),
        *_of_columns(table, kinds, config),
    ]
    return TableView(
        table.place,
        "view or table" if table.source.table else inferred_format(spark, table.source),
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
        words = "is a view, or not a Delta table: it has no version, and later rows may differ"
        yield Finding("fact", table.place, words)


def _of_columns(table: OpenedTable, kinds: _Kinds, config: Config) -> Iterator[Finding]:
    attributes = _attributes_of(table.place.key, config)
    settings, columns = config.interactions, table.sample.columns
    if table.place.key in _EVENT_TABLES:
        yield from findings_of_events(table, config)
    elif attributes is not None:
        yield from findings_of_ids(columns[attributes.id], table.place, settings)
        domain = settings.columns.domain if attributes is config.features.items else None
        ids = columns[attributes.id]
        if domain is not None:
            yield from findings_of_domains(columns[domain], table.place, settings)
            ids = _within_domains(ids, columns[domain])
        yield from findings_of_repeats(ids, table.place, settings)
        dates = attributes.date_formats
        stated = {name: kind for name, kind in attributes.kinds.items() if name not in dates}
        yield from findings_of_kinds(columns, stated, table.place)
        yield from _of_dates(table, dates)
        given = {attributes.id, attributes.title, *attributes.stated_kinds}
        inferred = {name: column for name, column in columns.items() if name not in given}
        yield from findings_of_inferred_kinds(inferred, table.place)
        for name, (kind, _) in kinds.items():
            if kind == "numeric":
                yield from findings_of_large_numbers(columns[name], table.place)
            if kind in {"image", "video"}:
                stated_kind = attributes.stated_kinds.get(name)
                yield from findings_of_binaries(columns[name], table.place, stated_kind)
        yield from _of_vectors(table, attributes, kinds, config)
        problems = (problem_of_video(name, kind) for name, kind in attributes.kinds.items())
        yield from (Finding("problem", table.place, words) for words in problems if words)
    else:
        for name in table.required:
            judge = findings_of_domains if name == settings.columns.domain else findings_of_ids
            yield from judge(columns[name], table.place, settings)


def _within_domains(ids: ColumnSample, domains: ColumnSample) -> ColumnSample:
    """Ids of items, each of which counts within its domain alone."""
    rows = zip(ids.values, domains.values, strict=True)
    values = (
        None if one is None or domain is None else text_within(str(domain), str(one))
        for one, domain in rows
    )
    return replace(ids, group="text", values=tuple(values))


def _of_dates(table: OpenedTable, formats: Mapping[str, str]) -> Iterator[Finding]:
    """Columns of dates that the formats of the configuration do not read."""
    for name, pattern in formats.items():
        column, place = table.sample.columns[name], table.place.of(name)
        if column.group not in {"text", "whole number", "fraction"}:
            words = (
                f"has type {column.shown_type}, and date_formats is for dates in text or numbers"
            )
            yield Finding("problem", place, words, "leave the column out of date_formats")
            continue
        data_type = table.frame.schema[name].dataType
        seconds = number_column(name, data_type, Writing(date_format=pattern))
        present = table.first_times(name, seconds)
        others = [given for read, given in present if read is None]
        if others:
            none = len(others) == len(present)
            words = f"{len(others)} of {len(present)} dates are not written as {pattern}, such as"
            yield Finding(
                "problem" if none else "warning",
                place,
                f"{words} {shown(others[0])}{'' if none else ', and count as missing'}",
                f"set date_formats: {{{name}: FORMAT}} to how they are written",
            )


def _of_vectors(
    table: OpenedTable, attributes: AttributesSource, kinds: _Kinds, config: Config
) -> Iterator[Finding]:
    """What is wrong with the columns of vectors.

    Raises:
        TableError: no row of the whole table has a usable vector.
    """
    if "text_embedding" in attributes.kinds.values():
        try:
            described_encoder(find_encoder(config.features.text_model or ""))
        except ArtifactError as error:
            yield Finding("problem", table.place, str(error))
    for name, (kind, _) in kinds.items():
        column = table.sample.columns[name]
        if kind != "embedding":
            if name not in attributes.stated_kinds:
                yield from findings_of_lengths(column, table.place, kind)
            continue
        yield from findings_of_vectors(column, table.place, table.sample.whole)
        is_open = not table.sample.whole or is_cut(column)
        if is_open and column.group in {"vector", "text"} and not has_usable_vector(column):
            words = f"{table.place.key}: table {table.source.name}"
            measure_vectors(table.frame, name, config.features.maximum_vectors, words)


def _known_columns(table: OpenedTable, kinds: _Kinds, config: Config) -> dict[str, ColumnView]:
    """How the columns that a run reads are understood."""
    attributes, columns = _attributes_of(table.place.key, config), table.sample.columns
    if table.place.key in _EVENT_TABLES:
        return views_of_events(columns, config)
    if attributes is None:
        return {
            name: view_of_column(columns[name], "id", "compared with ids")
            for name in table.required
        }
    views = {name: view_of_column(columns[name], *kind) for name, kind in kinds.items()}
    views[attributes.id] = view_of_column(columns[attributes.id], "id", "joins the interactions")
    return views


def _attributes_of(key: str, config: Config) -> AttributesSource | None:
    return {"features.users": config.features.users, "features.items": config.features.items}.get(
        key
    )
