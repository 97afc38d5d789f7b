"""How events that come after training are folded into the published lists."""

from pydantic import Field

from m6rec.config.base import NonNegativeFloat, PositiveFloat, PositiveInt, Section, TableSource


class FoldInConfig(Section):
    """What job `fold_in` does with events that come after training.

    It has no part in what a run computes.
    """

    source: TableSource | None = Field(
        default=None,
        description="The Delta table to which events are appended, with the columns of"
        " `interactions.columns`; without it, `interactions.source`, which then must be one.",
    )
    change_feed: bool = Field(
        default=False,
        description="Whether the table's change data feed is followed, so that events that came"
        " after the run count as they are updated or deleted; without it, commits that change or"
        " delete rows are passed over. What the run has read stays until the next run. The table"
        " needs the property `delta.enableChangeDataFeed` before the commits that are followed.",
    )
    watermark_hours: NonNegativeFloat = Field(
        default=0.0,
        description="The hours after an event has arrived in which a further event that is equal in"
        " all columns is dropped before its user is listed anew; 0 drops none. Lists are the same"
        " either way, since histories are cleaned: dropping saves work where events are delivered"
        " repeatedly, and keeps a state of 16 bytes and more for each event of these hours. With"
        " `change_feed`, only what is twice in one commit is dropped.",
    )
    deletion_vectors: bool = Field(
        default=True,
        description="Whether a batch marks the rows of its users' old lists in"
        " `published/recommendations`, instead of writing their files anew. Readers of that table"
        " then need Delta 2.3 or another reader of deletion vectors; with `false`, a table whose"
        " rows were never marked stays readable by all.",
    )
    seconds: PositiveFloat = Field(
        default=0.2,
        description="How often the table is looked at for new events, in seconds. Lists wait for"
        " half of it on average; on an object store each look is a request.",
    )
    files_per_batch: PositiveInt = Field(
        default=100,
        description="The most files of the table that a batch reads.",
    )
