"""Published lists from Delta tables to a Delta table, ours and MLlib's."""

from concurrent.futures import ThreadPoolExecutor

from pyspark.ml.recommendation import ALSModel
from pyspark.sql import Window
from pyspark.sql import functions as F

from jobs.recommend import read_explaining, write_recommendations
from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.fits.fit import Fit
from m6rec.fits.members import read_blends, read_members
from m6rec.lakehouse import Lakehouse
from tests.benchmarks.als_objective import long_ratings
from tests.benchmarks.measure import Measure, Workspace, time_of
from tests.benchmarks.spark import STOCK
from tests.benchmarks.tables import (
    LISTED,
    TOP_N_RANK,
    job_config,
    open_tables,
    prepare_job,
    tables_folder,
    write_delta,
)


def prepare_top_n_of_m6rec(workspace: Workspace, reasons: int | None = None) -> Measure:
    """The published lists of ranker `als`, with the default number of reasons unless given."""
    changed = {} if reasons is None else {"recommend.reasons": reasons}

    def job(lakehouse: Lakehouse, given: Config) -> None:
        # The run's own configuration must stay as it was.
        list_items(lakehouse, given.replaced(changed))

    return prepare_job(workspace, job_config(workspace, TOP_N_RANK), "recommend", job)


def prepare_top_n_of_mllib(workspace: Workspace) -> Measure:
    """`recommendForAllUsers`, an anti-join of seen items, the first 20 of what is left.

    Asked for as many items as are listed and a user has on average, it fills most users' lists.
    """
    lakehouse = open_tables(workspace, properties=STOCK)
    rows = workspace.dataset.rows()
    asked = min(LISTED + -(-rows.entries // len(rows)), workspace.dataset.n_items)

    def job() -> None:
        model = ALSModel.load(str(tables_folder(workspace.dataset) / "mllib_als"))
        seen = long_ratings(lakehouse.read("user_item_matrix", fit=c.FINAL))
        lists = model.recommendForAllUsers(asked)
        pairs = lists.select("user", F.inline("recommendations"))
        unseen = pairs.join(seen.select("user", "item"), ["user", "item"], how="left_anti")
        best = Window.partitionBy("user").orderBy(F.desc("rating"), "item")
        ranked = unseen.withColumn(c.RANK, F.row_number().over(best))
        write_delta(ranked.where(F.col(c.RANK) <= LISTED), workspace, "recommendations")

    def sample() -> float:
        seconds = time_of(job)
        written = lakehouse.spark.read.format("delta").load(
            str(workspace.scratch / "recommendations")
        )
        workspace.facts["items_asked_for"] = asked
        workspace.facts["listed_items_a_user"] = written.count() / len(rows)
        return seconds

    return sample


def list_items(lakehouse: Lakehouse, config: Config) -> None:
    """The part of job `recommend` that makes the published lists."""
    fit = Fit(lakehouse, config, c.FINAL)
    with ThreadPoolExecutor(1) as background:
        explaining = background.submit(read_explaining, fit)
        blends = read_blends(fit, (config.recommend.ranker,))
        names = tuple(dict.fromkeys(name for blend in blends for name in blend.members))
        write_recommendations(fit, read_members(fit, names), explaining.result())
