"""Attack a folder of data in several ways, and measure what each ranker loses on its test.

Reads what `quality` reads; every row is an interaction, whatever its rating. Attacks and trainings
are repeated by some seeds. Leaves robustness.json and robustness.md, and for the tables as they are
and each seed a folder that holds one for each attack, with its data and its lake, from which a run
that was stopped goes on.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rich.console import Console

import m6rec
from jobs import (
    build_features,
    evaluate,
    prepare_interactions,
    recommend,
    train_factors,
    train_hybrid,
    train_neighbours,
)
from m6rec import columns as c
from m6rec.command_line import errors_as_messages, open_lakehouse
from m6rec.config.reading import shipped_file
from m6rec.config.run import Config
from m6rec.datasets.attacks import ATTACKS, IDS, Folder, pushed_items, read_folder
from m6rec.datasets.folder import config_of_folder
from m6rec.fits.inspection import check_tables
from m6rec.kernels.arrays.rows import Float64
from m6rec.lakehouse import Lakehouse
from m6rec.report.robustness import (
    UNTOUCHED,
    Measurement,
    outcomes_of,
    print_robustness,
    robustness_document,
)
from m6rec.runs import run_jobs
from m6rec.spark.messages import say
from m6rec.spark.session import session_of_job, starting_workers
from m6rec.stages.evaluation.known_pairs import ndcg_of_each_user, without_known
from m6rec.stages.evaluation.pushed import HAD, rise_of_pushed

CONFIG = shipped_file("robustness.yaml")
MEASURED_JOBS = (
    prepare_interactions,
    build_features,
    train_factors,
    train_neighbours,
    train_hybrid,
    recommend,
    evaluate,
)
ATTACKED_RUN = "robustness"
FIRST_ITEMS = 10
# Items that a user had before the attack, and no longer has, come first in the lists. When these
# are taken out, ten items must remain.
SHORTEST_LISTS = 100
WIDTH = 160


def variants(folder: Folder, pushed: list[object], seed: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each variant's name and training."""
    yield UNTOUCHED, folder.train
    for name, attack in ATTACKS.items():
        yield name, attack(folder, pushed, seed)


def place_of_variants(data: Path, output: Path, top: int, seed: int) -> Path:
    """A folder within the output for what follows from these tables, lists so long and this seed.

    A call with others, with other settings or by other code measures anew, and takes no job of an
    earlier one as done.
    """
    digest = hashlib.sha256(f"{top} {seed}".encode() + CONFIG.read_bytes())
    for folder in (Path(m6rec.__file__).parent, Path(__file__).parent):
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.read_bytes())
    for file in sorted((*data.glob("*.parquet"), *data.glob("*.parquet/**/*.parquet"))):
        if file.is_file():
            digest.update(f"{file.relative_to(data)}".encode() + file.read_bytes())
    return output / digest.hexdigest()[:12]


def write_folder(data: Path, target: Path, train: pd.DataFrame) -> None:
    """Write the folder's tables, each a file or a folder of files, with other training."""
    target.mkdir(parents=True, exist_ok=True)
    for table in data.glob("*.parquet"):
        if table.stem == "train":
            continue
        if table.is_dir():
            shutil.copytree(table, target / table.name, dirs_exist_ok=True)
        else:
            shutil.copy(table, target / table.name)
    train.to_parquet(target / "train.parquet", index=False)


def measure(
    spark: SparkSession,
    config: Config,
    variant: str,
    folder: Folder,
    train: pd.DataFrame,
    pushed: list[object],
    seed: int,
) -> list[Measurement]:
    """Run the jobs of a variant that have not finished, and measure its rankers.

    No list is measured with an item that the user has in the folder's training, attacked or not,
    unless it is in the test, which the split takes out of training.

    Args:
        spark: the session.
        config: of the variant.
        variant: its name.
        folder: the data before the attack.
        train: training after it.
        pushed: the owner's ids of the items that the attack pushes.
        seed: of the attack.
    """
    print(f"--- {variant}, seed {seed}", flush=True)
    lakehouse = open_lakehouse(spark, config, ATTACKED_RUN)
    with starting_workers(lakehouse.spark):
        run_jobs(lakehouse, config, [("", module.JOB) for module in MEASURED_JOBS])
    index = lakehouse.read("item_index")
    known, targets = (_indexed(lakehouse, pairs) for pairs in (folder.train, folder.test))
    had = _had_of_pushed(lakehouse, (folder.train, train), folder.test, pushed)
    lists = without_known(lakehouse.read("lists", fit=c.FINAL), known, targets)
    lists = lists.join(had, c.USER_INDEX, how="left").cache()
    ndcg = _by_ranker(lakehouse, ndcg_of_each_user(lists, targets, FIRST_ITEMS), folder.test)
    depth = min(max(config.evaluate.ks), index.count())
    measured = []
    for ranker in (name for name in config.evaluate.rankers if name in ndcg):
        rise = rise_of_pushed(
            lists.where(F.col(c.MODEL) == ranker), index, pushed, depth, FIRST_ITEMS
        )
        measured.append(
            Measurement(variant, ranker, seed, ndcg[ranker], rise.share, rise.mean_rank)
        )
    lists.unpersist()
    return measured


def _by_ranker(lakehouse: Lakehouse, ndcg: DataFrame, test: pd.DataFrame) -> dict[str, Float64]:
    """NDCG of each user of the test by ranker, in the order of the ids; 0 where there is none."""
    ids = lakehouse.read("user_index").select(c.USER_ID, c.USER_INDEX)
    found = ndcg.join(ids, c.USER_INDEX).select(c.MODEL, c.USER_ID, c.VALUE).toPandas()
    users = sorted(test[c.USER_ID].astype(str).unique())
    return {
        str(model): own.set_index(c.USER_ID)[c.VALUE].reindex(users, fill_value=0.0).to_numpy()
        for model, own in found.groupby(c.MODEL)
    }


def _had_of_pushed(
    lakehouse: Lakehouse,
    trainings: Sequence[pd.DataFrame],
    test: pd.DataFrame,
    pushed: list[object],
) -> DataFrame:
    """Columns user_index, had: how many pushed items users have in a training, not in the test."""
    both = pd.concat([pairs[IDS] for pairs in trainings], ignore_index=True).drop_duplicates()
    own = both[both[c.ITEM_ID].isin(pushed)]
    in_test = pd.MultiIndex.from_frame(own).isin(pd.MultiIndex.from_frame(test[IDS]))
    counts = own[~in_test][c.USER_ID].astype(str).value_counts()
    rows = [(user, int(count)) for user, count in counts.items()]
    frame = lakehouse.spark.createDataFrame(rows, f"{c.USER_ID} string, {HAD} long")
    return frame.join(lakehouse.read("user_index"), c.USER_ID).select(c.USER_INDEX, HAD)


def _indexed(lakehouse: Lakehouse, pairs: pd.DataFrame) -> DataFrame:
    """Columns user_index, item_index of the pairs whose user and item the run knows."""
    ids = pairs[IDS].astype(str)
    users, items = (lakehouse.read(name) for name in ("user_index", "item_index"))
    found = lakehouse.spark.createDataFrame(ids).join(users, c.USER_ID).join(items, c.ITEM_ID)
    return found.select(c.USER_INDEX, c.ITEM_INDEX)


def warning_of_judgement(copies: pd.DataFrame, folder: Folder, least: int) -> str:
    """Why no fake user is judged where these have fewer items than a user who is judged, or "".

    Args:
        copies: training after the attack by copies.
        folder: the data before it.
        least: `interactions.suspicious_users.minimum_items`.
    """
    of_fake_users = copies[~copies[c.USER_ID].isin(folder.users)]
    items = int(of_fake_users.groupby(c.USER_ID)[c.ITEM_ID].nunique().max())
    if items >= least:
        return ""
    return (
        f"fake users have {items} items, and users with fewer than"
        f" interactions.suspicious_users.minimum_items: {least} are not judged, so that"
        " 'copies, judged' shows what copies do unjudged"
    )


def _config_of(data: Path, lake: Path, top: int, seed: int) -> Config:
    config = config_of_folder(CONFIG, data, lake, top, "all")
    # A rating that says nothing for the item is in the test all the same, as any other row.
    return config.replaced(
        {"seed": seed, "ratings.enabled": False, "interactions.columns.weight": None}
    )


def main(
    data: Annotated[Path, typer.Option("--data", help="Folder of the data.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for what the runs leave.")],
    name: Annotated[str, typer.Option("--name", help="What the document calls the data.")] = "",
    top: Annotated[
        int, typer.Option("--top", min=SHORTEST_LISTS, help="Length of the lists.")
    ] = 500,
    seed: Annotated[int, typer.Option("--seed", help="The first seed.")] = 1,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds.")] = 3,
) -> None:
    """Run."""
    with errors_as_messages():
        source, place = data.resolve(), output.resolve()
        given = _config_of(source, place / "lake", top, seed)
        folder = read_folder(source)
        rows: list[Measurement] = []
        with session_of_job("m6rec robustness") as spark:
            check_tables(spark, given)
            for one in range(seed, seed + seeds):
                own = place_of_variants(source, place, top, one)
                rows += _measure_all(spark, folder, _Attacked(source, own, top, one))
        outcomes = outcomes_of(rows)
        print_robustness(Console(width=WIDTH, emoji=False), outcomes)
        warning = _warning_of(folder, given, seed)
        document = robustness_document(outcomes, name or source.name, top, warning)
        (output / "robustness.md").write_text(document)
        (output / "robustness.json").write_text(
            json.dumps([row.to_json() for row in outcomes], indent=2) + "\n"
        )


@dataclass(frozen=True)
class _Attacked:
    """Where the variants of a seed are measured.

    Attributes:
        source: the folder of data.
        place: that of its variants.
        top: length of the lists.
        seed: of attacks and trainings.
    """

    source: Path
    place: Path
    top: int
    seed: int


def _measure_all(spark: SparkSession, folder: Folder, attacked: _Attacked) -> list[Measurement]:
    """Measure all variants of one seed."""
    rows: list[Measurement] = []
    seed = attacked.seed
    pushed = pushed_items(folder.train, seed)
    for variant, train in variants(folder, pushed, seed):
        own = attacked.place / variant.replace(" ", "-")
        write_folder(attacked.source, own / "data", train)
        config = _config_of(own / "data", own / "lake", attacked.top, seed)
        rows += measure(spark, config, variant, folder, train, pushed, seed)
        if variant == "copies":
            judged = {
                "lake": str(attacked.place / "copies-judged" / "lake"),
                "interactions.suspicious_users.action": "quarantine",
            }
            config = config.replaced(judged)
            rows += measure(spark, config, "copies, judged", folder, train, pushed, seed)
    return rows


def _warning_of(folder: Folder, config: Config, seed: int) -> str:
    copies = ATTACKS["copies"](folder, pushed_items(folder.train, seed), seed)
    warning = warning_of_judgement(
        copies, folder, config.interactions.suspicious_users.minimum_items
    )
    if warning:
        say("warning", warning)
    return warning


main.__doc__ = __doc__

if __name__ == "__main__":
    typer.run(main)
