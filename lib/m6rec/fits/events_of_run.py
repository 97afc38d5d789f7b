"""How a run has read its events, kept for later events that are to be read alike."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.check.events import EventReading
from m6rec.fits.fit import Fit, model_row

_KIND = "events"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class EventsOfRun:
    """How a run has read its events.

    Attributes:
        reading: how their times and weights are written.
        latest: the time up to which their weights have decayed; None where weights do not.
    """

    reading: EventReading
    latest: datetime | None


def write_events_of_run(fit: Fit, reading: EventReading) -> None:
    """Keep how the events of table `interactions`, which has been written, were read."""
    parameters = {
        "time_format": reading.time_format,
        "decimal_sign": reading.decimal_sign,
        "only_unit": reading.only_unit,
        "latest": _latest(fit),
    }
    fit.write_models(_KIND, [model_row(_KIND, parameters)])


def read_events_of_run(fit: Fit) -> EventsOfRun:
    """What `write_events_of_run` has kept.

    For a run that has kept nothing, how its events are written is not known, and `latest` is
    computed from them.
    """
    if not fit.models_of(_KIND):
        return EventsOfRun(EventReading(), _as_time(_latest(fit)))
    kept = fit.model(_KIND, _KIND)
    return EventsOfRun(
        EventReading(kept["time_format"], kept["decimal_sign"], kept.get("only_unit", "")),
        _as_time(kept["latest"]),
    )


def _as_time(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else _EPOCH + timedelta(microseconds=microseconds)


def _latest(fit: Fit) -> int | None:
    """The latest time in microseconds, where weights decay."""
    if fit.config.interactions.half_life_days is None:
        return None
    latest = F.max(F.unix_micros(c.EVENT_TIME)).alias("latest")
    found: int | None = fit.lakehouse.read("interactions").agg(latest).collect()[0]["latest"]
    return found
