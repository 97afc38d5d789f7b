"""Decide whether a night keeps what the published run has chosen, or chooses anew."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pyspark.sql import Row

from m6rec import columns as c
from m6rec.config.reading import some_of
from m6rec.config.run import Config
from m6rec.errors import ConfigError, DataError
from m6rec.fits.choices import choices_of, kept_choices, keys_that_differ
from m6rec.fits.fit import Fit
from m6rec.job_records import KEEP_CHOICES
from m6rec.lakehouse import Lakehouse
from m6rec.publication.publishing import published_run
from m6rec.runs import GONE, start_of_work, work_of_run, work_so_far

_UNITS = {"d": "days", "h": "hours", "m": "minutes"}
# Nightly runs that are scheduled for the same hour start some minutes apart, and the age of choices
# counts from when the tables of the run that made them had been checked. So choices are due up to
# this much early.
_TOLERANCE = timedelta(hours=1)


@dataclass(frozen=True)
class Night:
    """What a night does.

    Attributes:
        kept_from: the run whose choices are kept; None where choices are made anew.
        reason: why choices are made anew.
    """

    kept_from: str | None
    reason: str = ""


def duration(text: str) -> timedelta:
    """A time such as `7d`, `12h` or `30m`.

    Raises:
        ConfigError: it is written another way.
    """
    found = re.fullmatch(r"(\d+)([dhm])", text.strip())
    if found is None:
        raise ConfigError(
            f"--choose-every is {text!r}, expected a whole number of days, hours or minutes, such"
            " as 7d, 12h or 30m"
        )
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def warning_of_test(config: Config) -> str | None:
    """The warning that lists are made without the items of a test; None where there is no test.

    Otherwise users are offered their own held-out items again or, if lists may repeat items, are
    ranked as if they had never taken them.
    """
    strategy = config.split.strategy
    if strategy in {"none", "provided"}:
        return None
    offered = "" if config.recommend.rules.mask_seen is False else ", and lists may offer these"
    return (
        f"split.strategy: {strategy} holds out a test, without whose interactions lists are made"
        f"{offered}; for lists that are shown to people, set split.strategy: none"
    )


def night_of(
    lakehouse: Lakehouse, config: Config, now: datetime, choose_every: timedelta | None
) -> Night:
    """What a run that is resumed decided when it first started; for a new run, what is due now.

    Args:
        lakehouse: the tables of the run.
        config: its configuration.
        now: the time up to which choices have an age.
        choose_every: the age from which choices are made anew, less an hour at most, so that it
            may be a whole number of days; None leaves it to the guards.
    """
    begun = {row["job"] for row in work_so_far(lakehouse)}
    if KEEP_CHOICES.name in begun:
        kept = kept_choices(Fit(lakehouse, config, c.SELECTION))
        return Night(published_run(lakehouse) if kept is None else kept.kept_from)
    if begun:
        return Night(None, "this run began to choose")
    published = published_run(lakehouse)
    if published is None:
        return Night(None, "no run has been published yet")
    reason = _why_not_kept(lakehouse.for_run(published), config, now, choose_every)
    return Night(None, reason) if reason else Night(published)


def begun_at(lakehouse: Lakehouse) -> datetime:
    """When a run began whose tables are still there.

    Raises:
        DataError: there is no such run, or it has been removed.
    """
    work = work_of_run(lakehouse)
    why = _why_gone(work)
    if why:
        raise DataError(
            f"what run {lakehouse.run_id} chose cannot be kept: {why}; run pipeline, which"
            " chooses anew (retention in the config says which runs are kept)"
        )
    return start_of_work(work)


def check_repeatable(kept_from: Lakehouse, run_id: str) -> None:
    """Refuse to make a night again when the run is gone from which it started.

    Args:
        kept_from: the tables of the run whose choices the night kept.
        run_id: the night.

    Raises:
        DataError: that run has been removed.
    """
    why = _why_gone(work_of_run(kept_from))
    if why:
        raise DataError(
            f"run {run_id} cannot be made again any more: it kept what run {kept_from.run_id}"
            f" chose, and {why}; give --run-id of another run (retention in the config says which"
            " runs are kept)"
        )


def _why_gone(work: Sequence[Row]) -> str:
    """Why a run with these rows of `runs` has no tables; empty where it has."""
    if not work:
        return "there is no such run"
    return "clean has removed it" if _is_removed(work) else ""


def _is_removed(work: Sequence[Row]) -> bool:
    return any(row["status"] in GONE for row in work)


def _why_not_kept(
    published: Lakehouse, config: Config, now: datetime, choose_every: timedelta | None
) -> str:
    """Why the choices of the published run are not kept; empty where they are."""
    work = work_of_run(published)
    if not work or _is_removed(work):
        return f"the published run {published.run_id} has been removed"
    differing = keys_that_differ(config, json.loads(work[0]["config"]))
    if differing:
        named = some_of(differing)
        return f"the published run {published.run_id} chose with another configuration: {named}"
    choices = choices_of(Fit(published, config, c.SELECTION), start_of_work(work))
    age = choices.age(now)
    if choose_every is not None and is_due(age, choose_every):
        return f"run {choices.chosen_by} chose {_text(age)} ago, about --choose-every or more"
    guard = config.guards.choices_age
    if guard.action != "off" and age > timedelta(days=guard.limit):
        return f"run {choices.chosen_by} chose {_text(age)} ago, beyond guard choices_age"
    return ""


def is_due(age: timedelta, choose_every: timedelta) -> bool:
    """Whether choices of this age are made anew, up to an hour early (a 24th of short times)."""
    return age >= choose_every - min(_TOLERANCE, choose_every / 24)


def _text(age: timedelta) -> str:
    days = age / timedelta(days=1)
    return f"{days:.1f} days" if days >= 1 else f"{age / timedelta(hours=1):.1f} hours"
