"""Vectors in a folder of data, told by their type, and texts that a sentence encoder reads."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from safetensors.numpy import save_file

from jobs import build_features, prepare_interactions
from jobs.pipeline import for_its_size
from jobs.quality import CONFIG
from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.datasets.folder import config_of_folder
from m6rec.errors import TableError
from m6rec.fits.fit import fits_of
from m6rec.lakehouse import Lakehouse

WORDS = ("sea", "ship", "desert", "camel")
N_ITEMS, N_USERS = 12, 30


def write_folder(folder: Path, missing: int = 2) -> None:
    generator = np.random.default_rng(1)
    pairs = [(u, i) for u in range(N_USERS) for i in range(N_ITEMS) if (u + i) % 2 and i != u % 12]
    table = pd.DataFrame(pairs, columns=["user_id", "item_id"])
    held_out = table.index % 5 == 0
    table[~held_out].to_parquet(folder / "train.parquet", index=False)
    table[held_out].to_parquet(folder / "test.parquet", index=False)
    pictures = [list(generator.normal(5, 1, 6).astype(np.float32)) for _ in range(N_ITEMS)]
    items = pd.DataFrame(
        {
            "item_id": range(N_ITEMS),
            "picture": [None] * missing + pictures[missing:],
            "frames": [[list(generator.normal(0, 1, 3)) for _ in range(2)] for _ in range(N_ITEMS)],
            "words": [f"{WORDS[i % 4]} {WORDS[(i + i // 4) % 4]}" for i in range(N_ITEMS)],
        }
    )
    items.to_parquet(folder / "items.parquet", index=False)
    tastes = [list(generator.normal(0, 1, 4)) for _ in range(N_USERS)]
    users = pd.DataFrame({"user_id": range(N_USERS), "taste": tastes})
    users.to_parquet(folder / "users.parquet", index=False)


def write_encoder(folder: Path) -> None:
    folder.mkdir()
    pieces = {piece: number for number, piece in enumerate(("[PAD]", "[UNK]", *WORDS))}
    vectors = np.random.default_rng(2).normal(size=(len(pieces), 5)).astype(np.float32)
    save_file({"embeddings": vectors}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"normalize": true}')
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": pieces}}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors")
    write_folder(folder)
    write_encoder(folder / "encoder")
    return folder


@pytest.fixture(scope="module")
def told(folder: Path) -> Config:
    return config_of_folder(CONFIG, folder, folder / "lake", 10, "all")


@pytest.fixture(scope="module")
def prepared(spark: SparkSession, told: Config) -> Iterator[Lakehouse]:
    """A run that has its interactions and no features yet."""
    with for_its_size(Lakehouse(spark, told.lake, "run"), told) as lakehouse:
        prepare_interactions.run(lakehouse, told)
        yield lakehouse


@contextmanager
def changed_items(folder: Path, change: Callable[[pd.DataFrame], None]) -> Iterator[None]:
    """The table of items is another one for as long as a test needs."""
    file = folder / "items.parquet"
    before = pd.read_parquet(file)
    changed = before.copy()
    change(changed)
    changed.to_parquet(file, index=False)
    try:
        yield
    finally:
        before.to_parquet(file, index=False)


def test_vectors_are_told_by_type_and_texts_are_encoded_once(
    prepared: Lakehouse, told: Config, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = told.replaced(
        {
            "features.text_model": str(folder / "encoder"),
            "features.items.kinds": {"words": "text_embedding"},
        }
    )
    build_features.run(prepared, config)
    said = capsys.readouterr().out
    assert "column picture: vectors of 6 numbers in 10 of 12 rows; 2 without any" in said
    assert "column frames: up to 8 vectors of 3 numbers in 12 of 12 rows" in said
    texts = prepared.read("text_vectors").count()
    assert f"{texts} of {texts} texts are new and encoded" in said
    _, final = fits_of(prepared, config)
    assert final.modalities("items") == ((1, 6), (8, 3), (1, 4))
    assert final.modalities("users") == ((1, 4),)
    row = final.item_features.where(f"{c.ITEM_INDEX} = 0").first()
    assert row is not None and len(row[c.CONTENT]) == 6 + 3 + 4

    def one_more(items: pd.DataFrame) -> None:
        items.loc[0, "words"] = "camel desert ship sea"

    with changed_items(folder, one_more):
        build_features.run(prepared, config, (c.FINAL,))
    assert "1 of" in capsys.readouterr().out
    assert prepared.read("text_vectors").count() == texts + 1


def test_a_column_without_a_usable_vector_stops_the_job(
    prepared: Lakehouse, told: Config, folder: Path
) -> None:
    def without_numbers(items: pd.DataFrame) -> None:
        items["picture"] = [[float("nan"), 1.0]] * N_ITEMS

    with (
        changed_items(folder, without_numbers),
        pytest.raises(TableError, match="column picture: none of 12 rows has a usable vector"),
    ):
        build_features.run(prepared, told)
