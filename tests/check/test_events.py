"""How times and weights are written, where the first rows do not show it by themselves."""

from m6rec.check.events import EventReading, read_events
from m6rec.check.samples import ColumnSample
from m6rec.config.base import TableSource
from m6rec.config.data import InteractionColumns, InteractionsConfig

CONFIG = InteractionsConfig(
    source=TableSource(path="events.csv"), columns=InteractionColumns(time="at", weight="paid")
)
OF_RUN = EventReading("d/M/yyyy", ",")


def reading(time: str, weight: str, known: EventReading | None) -> EventReading:
    columns = {
        "at": ColumnSample("at", "string", "text", (time,)),
        "paid": ColumnSample("paid", "string", "text", (weight,)),
    }
    return read_events(columns, CONFIG, known)


def test_what_rows_leave_open_is_as_in_the_run() -> None:
    assert reading("03/04/2025", "5", OF_RUN) == OF_RUN
    assert reading("03/04/2025", "5", None) == EventReading(None, "")


def test_what_rows_show_counts_though_the_run_has_read_otherwise() -> None:
    assert reading("2025-04-03 10:00:00", "4.5", OF_RUN) == EventReading(None, "")
    assert reading("12/25/2025", "4,5", None) == EventReading("M/d/yyyy", ",")


def test_the_unit_of_most_weights_is_theirs_alone() -> None:
    weights = ColumnSample("paid", "string", "text", (*["4,5 kg"] * 18, "5 g"))
    assert read_events({"paid": weights}, CONFIG) == EventReading(None, ",", "kg")
