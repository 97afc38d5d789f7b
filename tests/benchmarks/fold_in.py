"""From the commit of events to the lists of their users, and events a second.

The lists are those of ranker `als`, published for all users of the matrix. Events are appended to a
Delta table of their own, 5,000 a commit, of random users and items.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from m6rec import columns as c
from m6rec.config.base import TableSource
from m6rec.config.fold_in import FoldInConfig
from m6rec.config.run import Config
from m6rec.job_records import RECOMMEND, JobRecord
from m6rec.lakehouse import PUBLISHED, Lakehouse
from m6rec.publication.folding import FoldIn
from m6rec.publication.publishing import publish
from m6rec.runs import Job, run_job
from m6rec.startup.jvm import compiler_options
from tests.benchmarks.measure import CannotRunError, Contender, Measure, Workspace
from tests.benchmarks.tables import TOP_N_RANK, job_config, open_tables
from tests.benchmarks.top_n_job import list_items
from tests.local_properties import with_java_options

SECONDS = "fold_in_seconds"
RATE = "fold_in_events_per_second"
EVENTS = 5_000
# Of Oryx 2: oryx.speed.streaming.generation-interval-sec, by default.
ORYX_SECONDS = 10.0
_BATCHES = 20
_WARMING = 3
_BACKLOG = 20
_PATIENCE = 300.0


def contenders() -> list[Contender]:
    """All; that of Oryx is no run, but how often its speed layer looks for events by default."""
    found = []
    # Fresh, since a stream that stays would follow what the next one publishes.
    for case, share in (("p50", 0.5), ("p95", 0.95)):
        ours = partial(prepare_seconds, share=share)
        found.append(Contender(SECONDS, case, "m6rec", ours, fresh=True))
        found.append(Contender(SECONDS, case, "oryx_interval", prepare_interval_of_oryx))
    return [*found, Contender(RATE, "backlog", "m6rec", prepare_rate, fresh=True)]


def prepare_interval_of_oryx(workspace: Workspace) -> Measure:
    """A constant of its documentation."""
    workspace.facts["not_measured"] = "the default interval of Oryx's speed layer"
    return lambda: ORYX_SECONDS


def prepare_seconds(workspace: Workspace, share: float) -> Measure:
    """A quantile of the seconds from an append's commit until the lists are published."""
    lakehouse, config = _published(workspace)
    fold_in = FoldIn(lakehouse, config)
    rng = np.random.default_rng(workspace.seed)
    _append(lakehouse, config, workspace, rng)

    def one(query: StreamingQuery) -> float:
        before = lakehouse.version(PUBLISHED)
        _append(lakehouse, config, workspace, rng)
        begun = time.perf_counter()
        while lakehouse.version(PUBLISHED) == before:
            if query.exception() is not None or time.perf_counter() - begun > _PATIENCE:
                raise CannotRunError(f"the stream has stopped: {query.exception()}")
            time.sleep(0.02)
        return time.perf_counter() - begun

    def sample() -> float:
        seconds = []
        with _streaming(fold_in) as query:
            for _ in range(_WARMING + _BATCHES):
                seconds.append(one(query))
                query.processAllAvailable()
        del seconds[:_WARMING]
        workspace.facts["seconds"] = seconds
        workspace.facts["events_of_a_batch"] = EVENTS
        return float(np.quantile(seconds, share))

    return sample


def prepare_rate(workspace: Workspace) -> Measure:
    """Events a second while a backlog is drained by a query that is up."""
    lakehouse, config = _published(workspace)
    rng = np.random.default_rng(workspace.seed)
    _append(lakehouse, config, workspace, rng)

    def sample() -> float:
        with _streaming(FoldIn(lakehouse, config)) as query:
            begun = time.perf_counter()
            for _ in range(_BACKLOG):
                _append(lakehouse, config, workspace, rng)
            query.processAllAvailable()
            seconds = time.perf_counter() - begun
        batches = lakehouse.read("fold_in_batches").count()
        workspace.facts["batches"] = batches
        return _BACKLOG * EVENTS / seconds

    return sample


@contextmanager
def _streaming(fold_in: FoldIn) -> Iterator[StreamingQuery]:
    """A query that has folded in what was there."""
    with fold_in.session_for_batches():
        query = fold_in.start(once=False)
        try:
            query.processAllAvailable()
            yield query
        finally:
            query.stop()


def _published(workspace: Workspace) -> tuple[Lakehouse, Config]:
    """A published run, and the config that names a table of events of the workspace's own."""
    config = job_config(workspace, TOP_N_RANK)
    source = TableSource(path=str(workspace.scratch / "events"), format="delta")
    config = config.model_copy(update={"fold_in": FoldInConfig(source=source)})
    properties = with_java_options(compiler_options("fold_in", config))
    lakehouse = open_tables(workspace, properties=properties)
    lakehouse.write("interactions", _interactions(lakehouse))
    run_job(lakehouse, config, Job(JobRecord(RECOMMEND.name), list_items))
    publish(lakehouse, config, again=True)
    return lakehouse, config


def _interactions(lakehouse: Lakehouse) -> DataFrame:
    pairs = lakehouse.read("user_item_matrix", fit=c.FINAL).select(
        F.col(c.USER_INDEX).cast("string").alias(c.USER_ID),
        F.explode(c.ITEM_INDICES).alias(c.ITEM_ID),
    )
    others = {
        c.ITEM_ID: F.col(c.ITEM_ID).cast("string"),
        c.EVENT_TIME: F.lit(None).cast("timestamp"),
        c.EVENT_TYPE: F.lit(None).cast("string"),
        c.CONTEXT: F.lit(None).cast("map<string,string>"),
    }
    return pairs.withColumns({c.WEIGHT: F.lit(1.0), **others})


def _append(
    lakehouse: Lakehouse, config: Config, workspace: Workspace, rng: np.random.Generator
) -> None:
    source = config.fold_in.source
    assert source is not None and source.path is not None
    users, items = workspace.dataset.sizes()["users"], workspace.dataset.n_items
    columns = {
        c.USER_ID: rng.integers(0, users, EVENTS).astype(str),
        c.ITEM_ID: rng.integers(0, items, EVENTS).astype(str),
    }
    frame = lakehouse.spark.createDataFrame(pa.table(columns)).coalesce(1)
    frame.write.format("delta").mode("append").save(source.path)
