"""Measure a finished run by the guards of the configuration, and keep a bad one unpublished.

Each guard has one value and one limit. `GuardsConfig` says what the values mean; this module
computes them, and says what to look at where a value is beyond its limit.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.errors import GuardError
from m6rec.fits.choices import kept_choices
from m6rec.fits.fit import Fit, fits_of
from m6rec.fits.members import pair_of_towers, read_members
from m6rec.fits.reranking import ListCriteria, read_reranking
from m6rec.fits.rules import excluded_pairs, items_of_rule
from m6rec.fits.sources import read_column_of_items
from m6rec.kernels.arrays.rows import Float32, Float64
from m6rec.kernels.publication.comparison import effective_rank, finite_rows, middle
from m6rec.kernels.ranking.members import DotMember
from m6rec.lakehouse import Lakehouse
from m6rec.publication.publishing import publications
from m6rec.rankers import MLLIB_ALS
from m6rec.runs import while_versions_last, work_of_run
from m6rec.schemas import GUARD_RESULTS_TABLE
from m6rec.spark.arrow_rows import matrix_column
from m6rec.spark.collecting import (
    BYTES_OF_ITEM,
    BYTES_OF_NUMBER,
    collected_batches,
    collected_table,
)
from m6rec.spark.sources import read_source
from m6rec.stages.features.categories import values_of_items
from m6rec.stages.pairs.catalogue import by_domain
from m6rec.stages.publication.lists import (
    ALLOWED,
    HELD_BACK,
    count_beyond_quota,
    count_lists,
    count_lists_outside,
    shared_places,
)
from m6rec.stages.publication.profiles import (
    largest_drift,
    numbers_of,
    numbers_of_attributes,
    profiles_of,
    words_of,
    words_of_vectors,
)
from m6rec.stages.publication.validation import ndcg_by_user, paired_change

OFF, PASSED, WARNED, STOPPED = "off", "passed", "warned", "stopped"
NOT_MEASURED = "not measured"
AT_LEAST, AT_MOST = "at least", "at most"
_SIGNIFICANT = 0.05
_GROUPS_AT_ONCE = 4


@dataclass(frozen=True)
class GuardRecord:
    """A guard: on which side of the limit it passes, and what to look at where it does not."""

    name: str
    bound: str
    look_at: str


GUARDS = (
    GuardRecord(
        "full_lists",
        AT_LEAST,
        "the users without full lists in table recommendations, and the rules of recommend.rules",
    ),
    GuardRecord(
        "unknown_items", AT_MOST, "the items of recommendations that table catalogue does not hold"
    ),
    GuardRecord(
        "forbidden_items",
        AT_MOST,
        "the tables of recommend.rules, and the items that users have in table user_item_matrix",
    ),
    GuardRecord("duplicate_items", AT_MOST, "items of catalogue that stand twice in a user's list"),
    GuardRecord(
        "coverage",
        AT_LEAST,
        "the items of recommendations, and where the hybrid is listed the weights of its members",
    ),
    GuardRecord(
        "top_items", AT_MOST, "the most listed items, and events of bots or campaigns behind them"
    ),
    GuardRecord(
        "overlap",
        AT_LEAST,
        "what changed since the published run: config, code, sources, in table runs",
    ),
    GuardRecord(
        "validation_ndcg",
        AT_LEAST,
        "table metrics of both runs on validation, and what changed in config, code and sources",
    ),
    GuardRecord(
        "finite_embeddings",
        AT_MOST,
        "the vectors with NaN or infinity, and the towers' training loss in the report",
    ),
    GuardRecord(
        "effective_rank",
        AT_LEAST,
        "the vectors that the detail names, the towers' training loss, and towers.learning_rate",
    ),
    GuardRecord(
        "rows_in",
        AT_LEAST,
        "whether the job that fills the table of interactions has finished, and table quarantine",
    ),
    GuardRecord("new_users", AT_MOST, "bots, or ids of users that are written another way"),
    GuardRecord("new_items", AT_MOST, "ids of items that are written another way"),
    GuardRecord(
        "freshness", AT_MOST, "whether the newest events have arrived in the table of interactions"
    ),
    GuardRecord("quarantine", AT_MOST, "the reasons in table quarantine"),
    GuardRecord("drift", AT_MOST, "the column that the guard's detail names, in the sources"),
    GuardRecord(
        "choices_age",
        AT_MOST,
        "when settings and weights were last chosen; run pipeline, or nightly --choose-every",
    ),
)


@dataclass(frozen=True)
class Measured:
    """What has been measured for a guard.

    Attributes:
        value: what the limit is compared with; None where there is nothing to measure or compare.
        measured: the run's own number where `value` compares it with that of other runs.
        reference: the number of the other runs.
        detail: more, for people.
        profile: what a later run compares itself with, as JSON.
    """

    value: float | None = None
    measured: float | None = None
    reference: float | None = None
    detail: str = ""
    profile: str | None = None


@dataclass(frozen=True)
class GuardResult:
    """A guard's outcome: a row of table `guard_results`."""

    record: GuardRecord
    action: str
    limit: float
    outcome: str
    measure: Measured

    def row(self, checked_at: datetime) -> dict[str, Any]:
        """The row, without `run_id`."""
        return {
            "guard": self.record.name,
            "action": self.action,
            "outcome": self.outcome,
            c.VALUE: self.measure.value,
            "bound": self.record.bound,
            "limit": self.limit,
            "measured": self.measure.measured,
            "reference": self.measure.reference,
            "detail": self.measure.detail or None,
            "profile": self.measure.profile,
            "checked_at": checked_at,
        }

    def text(self) -> str:
        """The guard, its value and its limit in words."""
        detail = f" ({self.measure.detail})" if self.measure.detail else ""
        return (
            f"guard {self.record.name}: {self.measure.value:.6g}{detail}, expected"
            f" {self.record.bound} {self.limit:g}; look at {self.record.look_at}"
        )


@dataclass(frozen=True)
class _Subject:
    """The run that is measured, and what it is compared with."""

    lakehouse: Lakehouse
    config: Config
    begun_at: datetime
    selection: Fit
    final: Fit
    published: Lakehouse | None


def measure_guards(lakehouse: Lakehouse, config: Config) -> list[GuardResult]:
    """Measure every guard of a finished run that is not off."""
    subject = _subject(lakehouse, config)
    asked = [
        measure
        for names, measure in _GROUPS.items()
        if any(config.guards.named(name).action != OFF for name in names)
    ]
    # At once, because each of them waits for small tables most of the time.
    with ThreadPoolExecutor(_GROUPS_AT_ONCE) as pool:
        groups = list(pool.map(lambda measure: measure(subject), asked))
    measures = {name: measured for group in groups for name, measured in group.items()}
    return [_judged(record, config, measures.get(record.name, Measured())) for record in GUARDS]


def write_guard_results(lakehouse: Lakehouse, results: Sequence[GuardResult]) -> None:
    """Replace the run's rows of `guard_results`."""
    now = datetime.now(UTC)
    lakehouse.write_rows(GUARD_RESULTS_TABLE.name, [result.row(now) for result in results])


def refuse_stopped(run_id: str, results: Sequence[GuardResult]) -> None:
    """Raise an error unless all guards let the run pass.

    Raises:
        GuardError: a guard stops the run; the message names it, its value, its limit, and what to
            look at.
    """
    stopped = [result for result in results if result.outcome == STOPPED]
    if stopped:
        lines = "\n".join(f"  {result.text()}" for result in stopped)
        off = " ".join(f"--set guards.{result.record.name}=warn" for result in stopped)
        raise GuardError(
            f"run {run_id} is not published, and readers see the lists that they saw before:\n"
            f"{lines}\ndocs/operations.md says what to do; to publish the run all the same, give"
            f" publish --run-id {run_id} {off}"
        )


def _subject(lakehouse: Lakehouse, config: Config) -> _Subject:
    work = work_of_run(lakehouse)
    begun_at = min((row["started_at"] for row in work), default=datetime.now()).astimezone(UTC)
    config = while_versions_last(lakehouse, config, work)
    selection, final = fits_of(lakehouse, config)
    # A run whose own publication was killed is measured as it was before.
    history = publications(lakehouse)
    others = [one for one in history if one.has_ended or one.run_id != lakehouse.run_id]
    published = others[-1].run_id if others else None
    other = None if published in {None, lakehouse.run_id} else lakehouse.for_run(str(published))
    return _Subject(lakehouse, config, begun_at, selection, final, other)


def _judged(record: GuardRecord, config: Config, measure: Measured) -> GuardResult:
    guard = config.guards.named(record.name)
    outcome = PASSED
    if guard.action == OFF:
        outcome, measure = OFF, Measured(profile=measure.profile)
    elif measure.value is None:
        outcome = NOT_MEASURED
    elif not _passes(record, measure.value, guard.limit):
        outcome = STOPPED if guard.action == "stop" else WARNED
    return GuardResult(record, guard.action, guard.limit, outcome, measure)


def _passes(record: GuardRecord, value: float, limit: float) -> bool:
    return value >= limit if record.bound == AT_LEAST else value <= limit


# --- lists ------------------------------------------------------------------------------------


def _of_lists(subject: _Subject) -> dict[str, Measured]:
    lists, items = subject.lakehouse.read("recommendations"), _items(subject)
    top_n, beyond = subject.config.recommend.top_n, 0
    domains = [row[c.DOMAIN] for row in items.select(c.DOMAIN).distinct().collect()]
    values, quota = _values_of_quota(subject), None
    if values is not None:
        beyond = count_beyond_quota(lists, values, subject.config.recommend.rules.at_most.count)
        quota = read_reranking(subject.final, ListCriteria(None, None))
    lengths, contexts = dict.fromkeys(domains, top_n), len(subject.config.recommend.contexts)
    users = _users(subject)
    counts = count_lists(lists, users, items, lengths, quota, contexts)
    gone = _lists_of_domains_gone(subject, users, domains)
    eligible = counts.eligible + sum(gone.values())
    detail = f"{eligible - counts.full} of {eligible} lists are missing or short"
    if gone:
        detail += f"; the catalogue has no item of {', '.join(sorted(gone))} any more"
    return {
        "full_lists": _share(counts.full, eligible, detail),
        "unknown_items": Measured(float(counts.unknown)),
        "forbidden_items": Measured(float(counts.forbidden + beyond)),
        "duplicate_items": Measured(float(counts.duplicate)),
        "coverage": _share(counts.listed_items, counts.allowed_items),
        "top_items": _share(counts.most_listed_places, counts.places),
    }


def _lists_of_domains_gone(
    subject: _Subject, users: DataFrame, domains: Sequence[str | None]
) -> dict[str, int]:
    """How many of the users have published lists in each domain that this run lacks."""
    published = _published_lists(subject)
    if subject.config.interactions.columns.domain is None or published is None:
        return {}
    return count_lists_outside(published, users, [name for name in domains if name is not None])


def _published_lists(subject: _Subject) -> DataFrame | None:
    if subject.published is None or not _wrote(subject.published, "recommendations"):
        return None
    return subject.published.read("recommendations")


def _values_of_quota(subject: _Subject) -> DataFrame | None:
    """item_id, value of the column that has a quota; None where none has."""
    config = subject.config
    column, items = config.recommend.rules.at_most.column, config.features.items
    if column is None or items is None:
        return None
    spark, interactions = subject.lakehouse.spark, config.interactions
    frame = read_column_of_items(spark, items, column, interactions)
    return values_of_items(frame, items, column, interactions)


def _users(subject: _Subject) -> DataFrame:
    """user_id, held_back: the items that each user's lists may not hold."""
    rules, final = subject.config.recommend.rules, subject.final
    seen = F.array().cast("array<int>")
    if rules.mask_seen:
        seen = F.col(c.ITEM_INDICES)
    if rules.masks_disliked:
        seen = F.array_union(c.ITEM_INDICES, c.EXCLUDED_INDICES)
    users = subject.lakehouse.read("user_index").select(c.USER_INDEX, c.USER_ID)
    rows = final.matrix.select(c.USER_INDEX, seen.cast("array<long>").alias(HELD_BACK))
    held_back = rows.join(users, c.USER_INDEX, how="inner").select(c.USER_ID, HELD_BACK)
    pairs = excluded_pairs(final)
    if pairs is None:
        return held_back
    excluded = pairs.groupBy(c.USER_ID).agg(F.collect_set(c.ITEM_INDEX).alias("excluded"))
    nothing = F.array().cast("array<long>")
    together = F.array_union(HELD_BACK, F.coalesce("excluded", nothing))
    joined = held_back.join(excluded, c.USER_ID, how="left")
    return joined.select(c.USER_ID, together.alias(HELD_BACK))


def _items(subject: _Subject) -> DataFrame:
    """item_id, item_index, domain, allowed: the catalogue under the rules."""
    rules = subject.config.recommend.rules
    items = subject.lakehouse.read("catalogue").select(c.ITEM_ID, c.ITEM_INDEX, c.DOMAIN)
    allowed = F.lit(True)
    for name, table, listed in (
        ("is_allowed", rules.allowed_items, True),
        ("is_excluded", rules.excluded_items, False),
    ):
        ids = items_of_rule(subject.final, table)
        if ids is not None:
            items = items.join(ids.distinct().withColumn(name, F.lit(True)), c.ITEM_ID, how="left")
            allowed = allowed & (F.col(name).isNotNull() if listed else F.col(name).isNull())
    return items.select(c.ITEM_ID, c.ITEM_INDEX, c.DOMAIN, allowed.alias(ALLOWED))


def _of_overlap(subject: _Subject) -> dict[str, Measured]:
    published = _published_lists(subject)
    if published is None:
        return {}
    lists, shares = shared_places(subject.lakehouse.read("recommendations"), published)
    if lists == 0:
        return {"overlap": Measured(0.0, detail="no list has a published one")}
    return {"overlap": _share(shares, lists, f"{lists} lists have a published one")}


def _of_validation(subject: _Subject) -> dict[str, Measured]:
    if subject.published is None:
        return {}
    if not _wrote(subject.lakehouse, "lists"):
        return {"validation_ndcg": Measured(detail="a nightly run measures nothing on validation")}
    before = _last_measured(subject.published, subject.config)
    if before is None:
        return {"validation_ndcg": Measured(detail="the run that chose before has been removed")}
    settings = _recorded_config(before)
    had_domains = settings["interactions"]["columns"].get("domain") is not None
    if had_domains != (subject.config.interactions.columns.domain is not None):
        named = "named a" if had_domains else "named no"
        return {
            "validation_ndcg": Measured(
                detail=f"run {before.run_id}, to compare with, {named} column for"
                " interactions.columns.domain, so that its lists are not of the same items"
            )
        }
    k = min(max(subject.config.evaluate.ks), max(settings["evaluate"]["ks"]))
    earlier = _validation(Fit(before, subject.config, c.SELECTION), k)
    now = _validation(subject.selection, k)
    change = paired_change(earlier, now)
    if change.users == 0:
        return {}
    then, after = change.earlier / change.users, change.now / change.users
    certain = change.p_value < _SIGNIFICANT
    detail = f"NDCG@{k} {then:.4f} to {after:.4f}, {change.users} users, p {change.p_value:.3g}"
    value = change.relative if certain else max(change.relative, 0.0)
    return {"validation_ndcg": Measured(value, after, then, detail)}


def _recorded_config(run: Lakehouse) -> dict[str, Any]:
    """The configuration of a run with all defaults, as table `runs` has it."""
    [first, *_] = work_of_run(run)
    recorded: dict[str, Any] = json.loads(first["config"])
    return recorded


def _last_measured(published: Lakehouse, config: Config) -> Lakehouse | None:
    """The published run, or the one whose choices it keeps, if that has lists of validation."""
    kept = kept_choices(Fit(published, config, c.SELECTION))
    measured = published if kept is None else published.for_run(kept.chosen_by)
    return measured if _wrote(measured, "lists") else None


def _validation(fit: Fit, k: int) -> DataFrame:
    """NDCG of each validation user by the ranker that made the run's recommendations."""
    of_users = fit.lakehouse.read("recommendations").where(F.col(c.USER_ID).isNotNull())
    ranker = of_users.select(c.MODEL).limit(1)
    lists = fit.lakehouse.read("lists", fit=c.SELECTION).join(ranker, c.MODEL, how="left_semi")
    targets = fit.targets
    if fit.domains:
        targets = by_domain(targets, fit.lakehouse.read("catalogue"))
    return ndcg_by_user(lists, targets, k)


# --- embeddings -------------------------------------------------------------------------------


def _of_embeddings(subject: _Subject) -> dict[str, Measured]:
    vectors = _item_vectors(subject)
    if not vectors:
        return {}
    finite = {name: finite_rows(one) for name, one in vectors.items()}
    broken = sum(int((~rows).sum()) for rows in finite.values())
    names = ", ".join(name for name, rows in finite.items() if not rows.all())
    return {
        "finite_embeddings": Measured(
            float(broken + _broken_users(subject.lakehouse)), detail=names and f"in {names}"
        ),
        "effective_rank": _least_rank(
            {name: one[finite[name]] for name, one in vectors.items()},
            subject.config.guards.effective_rank.limit,
        ),
    }


def _least_rank(vectors: Mapping[str, Float32], limit: float) -> Measured:
    """The least effective rank of vectors that have more directions than the limit asks for."""
    ranks = {name: effective_rank(one) for name, one in vectors.items() if one.shape[1] > limit}
    if not ranks:
        return Measured(detail=f"no vectors have more than {limit:g} directions")
    least, rank = min(ranks.items(), key=lambda item: item[1])
    return Measured(rank, detail=f"of {vectors[least].shape[1]} directions in {least}")


def _item_vectors(subject: _Subject) -> dict[str, Float32]:
    """By name, the items' factors of each method that the run has trained, and their embeddings.

    If the run has no embeddings (a nightly run trains only the towers that its lists need), the
    item vectors of each pair of towers that it has trained are taken instead.
    """
    lakehouse, fit = subject.lakehouse, subject.final
    found = {}
    for row in fit.models_of("factors"):
        if row["name"] == MLLIB_ALS and subject.config.recommend.ranker != MLLIB_ALS:
            # It is trained to compare with, and no list is published of it.
            continue
        factors = lakehouse.read("item_factors", fit=c.FINAL, method=row["name"])
        found[f"item_factors of {row['name']}"] = _vectors(factors, c.FACTOR)
    embeddings = np.zeros((0, 0), np.float32)
    if lakehouse.exists("item_embeddings"):
        embeddings = _vectors(lakehouse.read("item_embeddings", fit=c.FINAL), c.EMBEDDING)
    if len(embeddings):
        found["item_embeddings"] = embeddings
    else:
        names = [pair_of_towers(row["name"]) for row in fit.models_of("towers")]
        for name, towers in read_members(fit, names).items():
            if isinstance(towers, DotMember):
                found[name] = towers.item_vectors
    return {name: vectors for name, vectors in found.items() if len(vectors)}


def _vectors(frame: DataFrame, column: str) -> Float32:
    """float32 [rows, length]."""
    rows = collected_batches(frame.select(column), frame.count() * BYTES_OF_ITEM)
    found = [matrix_column(batch, column) for batch in rows if batch.num_rows]
    return np.concatenate(found) if found else np.zeros((0, 0), np.float32)


def _broken_users(lakehouse: Lakehouse) -> int:
    if not lakehouse.exists("user_embeddings"):
        return 0
    broken = F.exists(c.EMBEDDING, lambda x: F.isnan(x) | (F.abs(x) == float("inf")))
    return lakehouse.read("user_embeddings").where(broken).count()


# --- what was read ----------------------------------------------------------------------------


def _of_rows(subject: _Subject) -> dict[str, Measured]:
    lakehouse = subject.lakehouse
    read = (
        lakehouse.read("interactions")
        .agg(F.count("*").alias("rows"), F.unix_timestamp(F.max(c.EVENT_TIME)).alias("newest"))
        .collect()[0]
    )
    refused = lakehouse.read("quarantine").count()
    kept = read["rows"]
    rows = kept + refused
    measures = {
        "rows_in": _against_last_runs(subject, "rows_in", float(kept), lambda ours, t: ours / t),
        "quarantine": _share(refused, rows, f"{refused} of {rows} rows"),
    }
    if read["newest"] is not None:
        hours = (subject.begun_at.timestamp() - read["newest"]) / 3600
        measures["freshness"] = _against_last_runs(
            subject, "freshness", hours, lambda ours, theirs: ours - theirs
        )
    return measures


def _of_newcomers(subject: _Subject) -> dict[str, Measured]:
    if subject.published is None:
        return {}
    ours, theirs = subject.lakehouse, subject.published
    return {
        "new_users": _share_of_new(
            ours.read("user_item_matrix", fit=c.FINAL),
            theirs.read("user_item_matrix", fit=c.FINAL),
            c.USER_INDEX,
        ),
        "new_items": _share_of_new(ours.read("catalogue"), theirs.read("catalogue"), c.ITEM_INDEX),
    }


def _share_of_new(ours: DataFrame, theirs: DataFrame, key: str) -> Measured:
    new = ours.join(theirs.select(key), key, how="left_anti").count()
    total = ours.count()
    return _share(new, total, f"{new} of {total}")


def _against_last_runs(
    subject: _Subject, guard: str, measured: float, compare: Callable[[float, float], float]
) -> Measured:
    """Compare a number with the median of the last runs that have been published."""
    reference = middle([float(row["measured"]) for row in _earlier_results(subject, guard)])
    # There is no ratio to a number that is 0.
    if reference is None or reference == 0.0:
        return Measured(None, measured, reference)
    value = compare(measured, reference)
    detail = f"{measured:.6g} here, {reference:.6g} in the last runs"
    return Measured(value, measured, reference, detail)


def _earlier_results(subject: _Subject, guard: str) -> list[Any]:
    """The latest results of a guard in earlier runs that measured it and were published.

    Runs that were not published are left out, so that a bad run is no reference for the next one.
    """
    lakehouse = subject.lakehouse
    if not lakehouse.exists(GUARD_RESULTS_TABLE.name):
        return []
    published = {one.run_id for one in publications(lakehouse)} - {lakehouse.run_id}
    rows = [
        row
        for row in lakehouse.collected(GUARD_RESULTS_TABLE.name, {"guard": (guard,)})
        if row[c.RUN_ID] in published and row["measured"] is not None
    ]
    latest_first = sorted(rows, key=lambda row: row["checked_at"], reverse=True)
    return latest_first[: subject.config.guards.last_runs]


# --- drift ------------------------------------------------------------------------------------


def _of_drift(subject: _Subject) -> dict[str, Measured]:
    numbers, (words, described) = _numbers(subject), _words(subject)
    profile = profiles_of(numbers, words)
    earlier = _published_profile(subject)
    if earlier is None:
        return {"drift": Measured(profile=profile)}
    tables = {"users": subject.config.features.users, "items": subject.config.features.items}
    sides = [side for side, table in tables.items() if table is not None]
    name, value = largest_drift(earlier, numbers, words, sides, described)
    return {"drift": Measured(value, detail=f"of {name}" if value else "", profile=profile)}


def _numbers(subject: _Subject) -> dict[str, Float64]:
    """How active users and items are, what events weigh, and the numbers among attributes."""
    lakehouse, config, final = subject.lakehouse, subject.config, subject.final
    catalogue = lakehouse.read("catalogue").select(c.ITEM_INDEX)
    listed = collected_table(catalogue, final.n_items * BYTES_OF_NUMBER).column(0).to_numpy()
    users_of_items = final.item_counts[listed].astype(np.float64)
    items_of_user = F.size(c.ITEM_INDICES).alias("items of a user")
    users = final.matrix.select(c.USER_INDEX, items_of_user)
    events = lakehouse.read("interactions").withColumnRenamed(c.WEIGHT, "weight of an event")
    event = (c.USER_ID, c.ITEM_ID, c.EVENT_TIME)
    numbers = {
        "users of an item": users_of_items,
        **numbers_of(users, (c.USER_INDEX,), ("items of a user",), config.seed),
        **numbers_of(events, event, ("weight of an event",), config.seed),
    }
    for side, table, id_parts in (
        ("users", config.features.users, ()),
        ("items", config.features.items, config.interactions.columns.parts_of_item_id),
    ):
        if table is not None:
            frame = read_source(lakehouse.spark, table.source, (*table.named_columns, *id_parts))
            found = numbers_of_attributes(frame, table, id_parts, config.seed)
            numbers |= {f"{side}: {name}": values for name, values in found.items()}
    return numbers


def _words(subject: _Subject) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """The counts of attributes in words, and how many rows of features users and items have.

    Of a column of vectors, a row with a usable vector counts as one word. Features have a row for
    each user and item that the lake has ever had; only those of this run count.
    """
    words: dict[str, dict[str, int]] = {}
    described = {}
    lakehouse, seed = subject.lakehouse, subject.config.seed
    for side, table, index, own in (
        ("users", "user_features", c.USER_INDEX, subject.final.matrix),
        ("items", "item_features", c.ITEM_INDEX, lakehouse.read("catalogue")),
    ):
        if not lakehouse.exists(table):
            continue
        features = lakehouse.read(table, fit=c.FINAL)
        found, rows = words_of(features.join(own.select(index), index, "left_semi"), index, seed)
        if rows:
            described[side] = rows
            found |= words_of_vectors(subject.final.model("features", side))
            words |= {f"{side}: {name}": counts for name, counts in found.items()}
    return words, described


def _published_profile(subject: _Subject) -> str | None:
    published = subject.published
    if published is None or not published.exists(GUARD_RESULTS_TABLE.name):
        return None
    drift = {c.RUN_ID: (published.run_id,), "guard": ("drift",)}
    rows = published.collected(GUARD_RESULTS_TABLE.name, drift)
    return rows[0]["profile"] if rows else None


# --- choices ----------------------------------------------------------------------------------


def _of_choices(subject: _Subject) -> dict[str, Measured]:
    choices = kept_choices(subject.selection)
    if choices is None:
        return {"choices_age": Measured(0.0, detail="chosen in this run")}
    days = choices.age(subject.begun_at) / timedelta(days=1)
    return {"choices_age": Measured(days, detail=f"days since run {choices.chosen_by} chose")}


# --- all --------------------------------------------------------------------------------------


def _wrote(lakehouse: Lakehouse, table: str) -> bool:
    return lakehouse.exists(table) and not lakehouse.read(table).isEmpty()


def _share(part: float, whole: float, detail: str = "") -> Measured:
    return Measured(part / whole if whole else None, detail=detail if whole else "")


_GROUPS: Mapping[tuple[str, ...], Callable[[_Subject], dict[str, Measured]]] = {
    (
        "full_lists",
        "unknown_items",
        "forbidden_items",
        "duplicate_items",
        "coverage",
        "top_items",
    ): _of_lists,
    ("overlap",): _of_overlap,
    ("validation_ndcg",): _of_validation,
    ("finite_embeddings", "effective_rank"): _of_embeddings,
    ("rows_in", "quarantine", "freshness"): _of_rows,
    ("new_users", "new_items"): _of_newcomers,
    ("drift",): _of_drift,
    ("choices_age",): _of_choices,
}
