"""Run the default configuration on a folder of data, and leave what anyone can score.

Reads train.parquet and test.parquet (user_id, item_id, optional rating and event_time) and, where
there are, validation.parquet, items.parquet and users.parquet. Leaves metrics.json, report.html,
steps.json (seconds of each step) and lists/RANKER.parquet (user_id, item_id, rank, score).
"""

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import functions as F

from jobs.pipeline import run_pipeline
from m6rec import columns as c
from m6rec.command_line import RunIdOption, check_run_id, errors_as_messages, new_run_id
from m6rec.config.run import Config
from m6rec.datasets.folder import Protocol, config_of_folder
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import FUSION, HYBRID
from m6rec.runs import step_seconds
from m6rec.spark.session import session_of_job
from m6rec.spark.sources import read_source

CONFIG = Path(__file__).parent.parent / "conf" / "quality.yaml"
EXPORTED = (HYBRID, FUSION)


def export_lists(lakehouse: Lakehouse, config: Config, ranker: str, file: Path) -> None:
    """Write a ranker's lists of the test fold as one Parquet file, with the owner's ids."""
    source = read_source(lakehouse.spark, config.interactions.source, ())
    users = lakehouse.read("user_index").select(c.USER_INDEX, c.USER_ID)
    items = lakehouse.read("item_index").select(c.ITEM_INDEX, c.ITEM_ID)
    lists = lakehouse.read("lists", fit=c.FINAL, model=ranker)
    entries = lists.select(
        c.USER_INDEX, F.posexplode(F.arrays_zip(c.ITEM_INDICES, c.SCORES)).alias(c.RANK, "entry")
    )
    named = (
        entries.withColumn(c.ITEM_INDEX, F.col(f"entry.{c.ITEM_INDICES}").cast("long"))
        .join(F.broadcast(items), c.ITEM_INDEX)
        .join(users, c.USER_INDEX)
    )
    types = dict(source.dtypes)
    columns = config.interactions.columns
    written = named.select(
        F.col(c.USER_ID).cast(types[columns.user]),
        F.col(c.ITEM_ID).cast(types[columns.item]),
        (F.col(c.RANK) + 1).cast("int").alias(c.RANK),
        F.col(f"entry.{c.SCORES}").alias(c.SCORE),
    )
    folder = file.with_suffix(".parts")
    written.coalesce(1).write.mode("overwrite").parquet(str(folder))
    next(folder.glob("*.parquet")).replace(file)
    shutil.rmtree(folder)


def main(
    data: Annotated[Path, typer.Option("--data", help="Folder of the data.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for what the run leaves.")],
    top: Annotated[int, typer.Option("--top", min=1, help="Length of the lists.")] = 100,
    protocol: Annotated[
        Protocol, typer.Option("--protocol", help="cold_items ranks only items never trained on.")
    ] = "all",
    seed: Annotated[int | None, typer.Option("--seed", help="Other than the config's.")] = None,
    validation: Annotated[
        str | None, typer.Option("--validation", help="A value of split.validation_strategy.")
    ] = None,
    run_id: RunIdOption = None,
) -> None:
    """Run."""
    with errors_as_messages():
        chosen = check_run_id(run_id or new_run_id())
        lake = output.resolve() / "lake"
        config = config_of_folder(CONFIG, data.resolve(), lake, top, protocol)
        stated = {"seed": seed, "split.validation_strategy": validation}
        config = config.replaced({key: one for key, one in stated.items() if one is not None})
        print(f"run id {chosen}", flush=True)
        with session_of_job("m6rec quality") as spark:
            lakehouse = run_pipeline(spark, config, chosen, output)
            (output / "lists").mkdir(exist_ok=True)
            for ranker in EXPORTED:
                export_lists(lakehouse, config, ranker, output / "lists" / f"{ranker}.parquet")
            seconds = step_seconds(lakehouse)
            (output / "steps.json").write_text(json.dumps(seconds, indent=2) + "\n")


main.__doc__ = __doc__

if __name__ == "__main__":
    typer.run(main)
