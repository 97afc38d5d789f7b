"""Run the default configuration on a folder of data, and leave what anyone can score.

Reads train.parquet and test.parquet (user_id, item_id, optional rating, event_time and domain)
and, where there are, validation.parquet, items.parquet and users.parquet. Leaves metrics.json,
report.html, steps.json (seconds of each step) and lists/RANKER.parquet (user_id, item_id, rank,
score, and domain where there is one). Where there are domains, or by protocol sampled, it also
ranks each test item among 999 random items that the user does not have, or all where these are
fewer, and leaves their places in sampled.parquet and HR@10 and NDCG@10 by ranker and domain in
sampled.json.
"""

import json
from functools import reduce
from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.pipeline import run_pipeline
from m6rec import columns as c
from m6rec.command_line import RunIdOption, check_run_id, errors_as_messages, new_run_id
from m6rec.config.reading import shipped_file
from m6rec.config.run import Config
from m6rec.datasets.folder import Protocol, config_of_folder
from m6rec.errors import ConfigError
from m6rec.fits.fit import Fit
from m6rec.fits.members import (
    measured_scoring,
    member_inputs,
    member_names_of,
    read_blends,
    read_members,
)
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import FUSION, HYBRID
from m6rec.runs import step_seconds
from m6rec.spark.one_file import write_one_parquet
from m6rec.spark.session import session_of_job
from m6rec.spark.sources import read_source
from m6rec.stages.pairs.catalogue import owners_id
from m6rec.stages.ranking.sampled import DRAWN, PLACE, Draws, rank_among_sampled

CONFIG = shipped_file("quality.yaml")
EXPORTED = (HYBRID, FUSION)


SAMPLED_ITEMS = 999
SAMPLED_DEPTH = 10


def rank_sampled(lakehouse: Lakehouse, config: Config, output: Path) -> None:
    """Rank the test items among random ones, and write and print the results."""
    fit = Fit(lakehouse, config, c.FINAL)
    names = member_names_of(EXPORTED, config)
    members, users = read_members(fit, names), member_inputs(fit, names)
    found = []
    for domain in fit.ranked_domains:
        blends = read_blends(fit, EXPORTED, domain)
        scoring = measured_scoring(fit, members, blends, SAMPLED_DEPTH, domain)
        draws = Draws(SAMPLED_ITEMS, config.seed)
        found.append(rank_among_sampled(users, fit.targets, scoring, draws))
    places = with_owners_ids(lakehouse, config, reduce(DataFrame.unionByName, found))
    by_domain = (F.col(c.MODEL), F.asc_nulls_last(c.DOMAIN))
    file = output / "sampled.parquet"
    columns = (c.MODEL, PLACE, DRAWN, c.DOMAIN, c.USER_ID, c.ITEM_ID)
    write_one_parquet(places.select(*columns).orderBy(*by_domain, c.USER_ID, c.ITEM_ID), file)
    hit = (F.col(PLACE) <= SAMPLED_DEPTH).cast("double")
    means = (
        lakehouse.spark.read.parquet(str(file))
        .groupBy(c.MODEL, c.DOMAIN)
        .agg(
            F.avg(hit).alias(f"hr@{SAMPLED_DEPTH}"),
            F.avg(hit / F.log2(F.col(PLACE) + 1.0)).alias(f"ndcg@{SAMPLED_DEPTH}"),
            F.count(F.lit(1)).alias("test_items"),
            F.min(DRAWN).alias("least_drawn"),
        )
        .orderBy(*by_domain)
        .toPandas()
    )
    print(
        f"each test item among {SAMPLED_ITEMS} random items, or all that its user lacks"
        f" (least_drawn, where fewer):\n{means.round(4)}",
        flush=True,
    )
    means.to_json(output / "sampled.json", orient="records", indent=2)


def with_owners_ids(lakehouse: Lakehouse, config: Config, frame: DataFrame) -> DataFrame:
    """The frame with columns user_id and item_id, of the types that the owner's table has."""
    types = dict(read_source(lakehouse.spark, config.interactions.source, ()).dtypes)
    columns = config.interactions.columns
    users = lakehouse.read("user_index").select(
        c.USER_INDEX, F.col(c.USER_ID).cast(types[columns.user]).alias(c.USER_ID)
    )
    items = lakehouse.read("catalogue").select(
        c.ITEM_INDEX, owners_id().cast(types[columns.item]).alias(c.ITEM_ID)
    )
    return frame.join(F.broadcast(items), c.ITEM_INDEX).join(users, c.USER_INDEX)


def export_lists(lakehouse: Lakehouse, config: Config, ranker: str, file: Path) -> None:
    """Write a ranker's lists of the test fold as one Parquet file, with the owner's ids."""
    lists = lakehouse.read("lists", fit=c.FINAL, model=ranker)
    domain = [] if config.interactions.columns.domain is None else [c.DOMAIN]
    entries = lists.select(
        *domain,
        c.USER_INDEX,
        F.posexplode(F.arrays_zip(c.ITEM_INDICES, c.SCORES)).alias(c.RANK, "entry"),
    )
    indexed = entries.withColumn(c.ITEM_INDEX, F.col(f"entry.{c.ITEM_INDICES}").cast("long"))
    written = with_owners_ids(lakehouse, config, indexed).select(
        c.USER_ID,
        c.ITEM_ID,
        (F.col(c.RANK) + 1).cast("int").alias(c.RANK),
        F.col(f"entry.{c.SCORES}").alias(c.SCORE),
        *domain,
    )
    write_one_parquet(written, file)


def main(
    data: Annotated[Path, typer.Option("--data", help="Folder of the data.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for what the run leaves.")],
    top: Annotated[int, typer.Option("--top", min=1, help="Length of the lists.")] = 100,
    protocol: Annotated[
        Protocol,
        typer.Option(
            "--protocol",
            help="cold_items ranks only items never trained on; sampled also ranks each test item"
            " among 999 random ones, as is done anyway where there are domains.",
        ),
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
        _check_validation(data, validation)
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
            if protocol == "sampled" or config.interactions.columns.domain is not None:
                rank_sampled(lakehouse, config, output)
            seconds = step_seconds(lakehouse)
            (output / "steps.json").write_text(json.dumps(seconds, indent=2) + "\n")


def _check_validation(data: Path, strategy: str | None) -> None:
    given = data / "validation.parquet"
    if strategy is not None and given.exists():
        raise ConfigError(
            f"--validation is {strategy}, and {given} says what validation is; leave --validation"
            " out, or take the file out of the folder"
        )


main.__doc__ = __doc__

if __name__ == "__main__":
    typer.run(main)
