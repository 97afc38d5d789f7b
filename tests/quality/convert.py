"""Make folders for `make quality` out of public research data.

    python -m tests.quality.convert gowalla      SOURCE TARGET
    python -m tests.quality.convert citeulike    SOURCE TARGET              (P = 10; --text-ids)
    python -m tests.quality.convert cold-items   SOURCE TARGET --seed 1     (CiteULike-a)
    python -m tests.quality.convert movielens    SOURCE TARGET --fold 1     (0: the latest item)
    python -m tests.quality.convert sequences    SOURCE/sports.txt TARGET   (the latest item)
    python -m tests.quality.convert domains      SOURCE TARGET --domain phone_electronic ...
    python -m tests.quality.convert reviews      SOURCE/FILE.json.gz TARGET --seed 1   (cold items)

A folder holds train.parquet and test.parquet (user_id, item_id, and rating and event_time where
the source has them) and, where there are attributes, items.parquet and users.parquet.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

COLD_SHARE = 0.1
FOLDS = 5
FIRST_DAY = pd.Timestamp("2020-01-01")

application = typer.Typer(add_completion=False, help=__doc__)
SeedOption = Annotated[int, typer.Option("--seed", help="Chooses what is held out.")]


@application.command()
def gowalla(source: Path, target: Path) -> None:
    """The split that LightGCN and its successors report on."""
    _write(target, _lines_of_users(source / "train.txt"), _lines_of_users(source / "test.txt"))


@application.command()
def citeulike(
    source: Path,
    target: Path,
    text_ids: Annotated[bool, typer.Option("--text-ids", help="Ids like item-17.")] = False,
) -> None:
    """CiteULike-a with ten training items a user and tags as the items' attribute."""
    every = _counted_lines(source / "users.dat")
    train = _counted_lines(source / "cvae-cf-train-10-users.dat")
    both = every.merge(train, how="left", indicator=True)
    test = both[both["_merge"] == "left_only"].drop(columns="_merge")
    frames = [train, test, _tags(source)]
    if text_ids:
        frames = [frame.assign(item_id="item-" + frame["item_id"].astype(str)) for frame in frames]
    _write(target, frames[0], frames[1], items=frames[2])


@application.command(name="cold-items")
def cold_items(source: Path, target: Path, seed: SeedOption = 1) -> None:
    """CiteULike-a with all interactions of a tenth of the items held out."""
    every = _counted_lines(source / "users.dat")
    items = np.unique(every["item_id"])
    drawn = np.random.default_rng(seed).choice(items, int(COLD_SHARE * len(items)), replace=False)
    cold = every["item_id"].isin(drawn)
    _write(target, every[~cold], every[cold], items=_tags(source))


@application.command()
def movielens(
    source: Path,
    target: Path,
    fold: Annotated[int, typer.Option("--fold", help="1 to 5; 0 holds out the latest item.")] = 1,
    seed: SeedOption = 1,
) -> None:
    """MovieLens-100K: one of five random folds of the ratings, or each user's latest one."""
    ratings = _recbole(source / "ml-100k.inter").rename(columns={"timestamp": "event_time"})
    if fold == 0:
        order = ratings.sort_values(["user_id", "event_time", "item_id"], ascending=False)
        held = ratings.index.isin(order.groupby("user_id").head(1).index)
    else:
        held = np.random.default_rng(seed).permutation(len(ratings)) % FOLDS == fold - 1
    ratings["event_time"] = pd.to_datetime(ratings["event_time"], unit="s").astype("datetime64[us]")
    _write(
        target,
        ratings[~held],
        ratings[held],
        items=_recbole(source / "ml-100k.item"),
        users=_recbole(source / "ml-100k.user"),
    )


@application.command()
def sequences(source: Path, target: Path) -> None:
    """A file of lines `user item item ...`, oldest first; each user's last item is the test.

    The file holds an order and no times, so an item's position stands for its day.
    """
    rows = _lines_of_users(source)
    position = rows.groupby("user_id").cumcount()
    rows["event_time"] = FIRST_DAY + pd.to_timedelta(position, unit="D")
    rows["event_time"] = rows["event_time"].astype("datetime64[us]")
    last = ~rows.duplicated("user_id", keep="last")
    _write(target, rows[~last], rows[last])


@application.command()
def domains(
    source: Path,
    target: Path,
    domain: Annotated[
        list[str], typer.Option("--domain", help="A folder of the source; several times.")
    ],
) -> None:
    """Shops with the same users: folders with train.txt.gz and test.txt.gz, `user item 1` a line.

    Several shops become one folder whose interactions have a domain, and one shop becomes a folder
    of a single domain, to compare with.
    """
    folds = [
        pd.concat([_pairs_of_domain(source / name / f"{fold}.txt.gz", name) for name in domain])
        for fold in ("train", "test")
    ]
    _write(target, *folds)


@application.command()
def reviews(source: Path, target: Path, seed: SeedOption = 1) -> None:
    """Reviews (gzip, a JSON object a line) with all interactions of a tenth of the items held out.

    The text of an item is that of its reviews. Of a held-out item the earlier half of the reviews
    gives the text and the later half is the test, so that no text is by whom it is ranked for.
    """
    read = pd.read_json(source, lines=True, compression="gzip")
    read = read.sort_values(["asin", "unixReviewTime", "reviewerID"], ignore_index=True)
    rows = pd.DataFrame(
        {
            "user_id": read["reviewerID"],
            "item_id": read["asin"],
            "event_time": pd.to_datetime(read["unixReviewTime"], unit="s").astype("datetime64[us]"),
            "text": read["summary"].fillna("") + ". " + read["reviewText"].fillna(""),
        }
    )
    items = rows["item_id"].unique()
    drawn = np.random.default_rng(seed).choice(items, int(COLD_SHARE * len(items)), replace=False)
    cold = rows["item_id"].isin(drawn)
    of_items = rows.groupby("item_id")["item_id"]
    place, count = of_items.cumcount(), of_items.transform("count")
    later = cold & (2 * place >= count)
    texts = rows[~later].groupby("item_id")["text"].agg("\n".join).reset_index()
    pairs = rows.drop(columns="text")
    _write(target, pairs[~cold], pairs[later], items=texts)


def _pairs_of_domain(file: Path, domain: str) -> pd.DataFrame:
    pairs = pd.read_csv(file, sep=r"\s+", header=None, names=["user_id", "item_id", "one"])
    return pairs.drop(columns="one").assign(domain=domain)


def _lines_of_users(file: Path) -> pd.DataFrame:
    """`user item item ...` a line."""
    rows = [np.array(line.split(), dtype=np.int64) for line in file.read_text().splitlines()]
    return pd.DataFrame(
        {
            "user_id": np.concatenate([np.full(len(row) - 1, row[0]) for row in rows if len(row)]),
            "item_id": np.concatenate([row[1:] for row in rows]),
        }
    )


def _counted_lines(file: Path) -> pd.DataFrame:
    """Line n is user n: how many items follow, and the items."""
    rows = [np.array(line.split(), dtype=np.int64)[1:] for line in file.read_text().splitlines()]
    users = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    return pd.DataFrame({"user_id": users, "item_id": np.concatenate(rows)}).drop_duplicates()


def _tags(source: Path) -> pd.DataFrame:
    words = (source / "tags.dat").read_text().splitlines()
    lines = (source / "item-tag.dat").read_text().splitlines()
    lists = [[words[int(tag)] for tag in line.split()[1:]] for line in lines]
    return pd.DataFrame({"item_id": np.arange(len(lists)), "tags": lists})


def _recbole(file: Path) -> pd.DataFrame:
    """Tab-separated with a header of name:type; lists of tokens are separated by spaces."""
    frame = pd.read_csv(file, sep="\t", dtype=str)
    kinds = dict(name.split(":") for name in frame.columns)
    frame.columns = pd.Index(kinds)
    for name, kind in kinds.items():
        if kind == "float":
            frame[name] = frame[name].astype(float)
        elif kind == "token_seq" and not name.endswith("title"):
            frame[name] = frame[name].fillna("").str.split()
    return frame


def _write(
    target: Path,
    train: pd.DataFrame,
    test: pd.DataFrame,
    items: pd.DataFrame | None = None,
    users: pd.DataFrame | None = None,
) -> None:
    target.mkdir(parents=True, exist_ok=True)
    frames = {"train": train, "test": test, "items": items, "users": users}
    for name, frame in frames.items():
        if frame is not None:
            frame.to_parquet(target / f"{name}.parquet", index=False)
            print(f"{target / name}.parquet: {len(frame)} rows")


if __name__ == "__main__":
    application()
