"""Columns of images and videos go through the jobs: decoded once, and read by the towers."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from jobs import (
    build_features,
    prepare_interactions,
    train_factors,
    train_neighbours,
    train_towers,
)
from jobs.pipeline import for_its_size
from m6rec import columns as c
from m6rec.config.run import parse_config
from m6rec.fits.fit import Fit
from m6rec.fits.later_items import with_later_items
from m6rec.fits.members import read_members
from m6rec.kernels.ranking.blending import PICTURES_ALONE
from m6rec.kernels.ranking.members import DotMember, OwnMembers
from m6rec.lakehouse import Lakehouse
from m6rec.towers.artifact import load_towers
from m6rec.towers.encoder import PICTURE_UNITS
from tests.synthetic_shop import TASTES, Shop
from tests.towers.moving import moving_square

COLOURS = {"drama": "red", "comedy": "lime", "horror": "blue"}


def cover(taste: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (12, 12), COLOURS[taste]).save(file, "PNG")
    return file.getvalue()


def test_images_and_videos_of_items_are_decoded_and_read_by_the_towers(
    spark: SparkSession, shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "film.mp4").write_bytes(moving_square(4))
    items = pd.read_parquet(shop.items)[["product", "name"]]
    items["cover"] = [cover(TASTES[item % 3]) for item in range(len(items))]
    items.loc[3, "cover"] = b"broken"
    # Of an item that nobody has, the cover alone is known.
    items.loc[60, "name"] = None
    items["trailer"] = [
        str(tmp_path / "film.mp4") if item % 2 else None for item in range(len(items))
    ]
    items.to_parquet(tmp_path / "items.parquet", index=False)
    given = shop.config(tmp_path / "lake")
    given["features"] = {
        "items": {
            "source": {"path": str(tmp_path / "items.parquet"), "format": "parquet"},
            "id": "product",
            "kinds": {"name": "text", "trailer": "video"},
        },
        "behaviour": False,
        "image_size": 8,
        "video_frames": 2,
    }
    given["towers"] = given["towers"] | {
        "inputs": ["svd"],
        "images": {"channels": [4, 8], "per_step": 16},
        "sequence": {"enabled": False},
    }
    given["recommend"] = {}
    config = parse_config(given, "test")
    lakehouse = Lakehouse(spark, config.lake, "pictures")
    with for_its_size(lakehouse, config) as tables:
        prepare_interactions.JOB.run(tables.for_one_job(), config)
        build_features.run(tables.for_one_job(), config, (c.SELECTION,))
        said = capsys.readouterr().out
        assert "column cover: images in 61 of 62 rows; 1 could not be decoded" in said
        assert "column trailer: videos in 31 of 62 rows" in said
        train_factors.run(tables.for_one_job(), config, (c.SELECTION,), ("svd",))
        content = ("content_neighbours",)
        train_neighbours.run(tables.for_one_job(), config, (c.SELECTION,), content)
        train_towers.run(tables.for_one_job(), config, (c.SELECTION,))
    fit = Fit(lakehouse.for_one_job(), config, c.SELECTION)
    pictures = fit.item_pictures
    assert [(one.name, one.frames) for one in pictures] == [("cover", 1), ("trailer", 2)]
    for one in pictures:
        np.testing.assert_array_equal(one.present, fit.items_with_pictures[one.name])
    towers = load_towers(fit.model("towers", "svd")["artifact"]).encoder(fit.factor_model("svd"))
    units = towers.weights[PICTURE_UNITS]
    assert units.shape == (fit.n_items, 2, config.towers.feature_hidden)
    np.testing.assert_array_equal(units[:, 0].any(axis=1), pictures[0].present)
    member = read_members(fit, ("towers_svd",))["towers_svd"]
    assert isinstance(member, DotMember) and np.isfinite(member.item_vectors).all()
    # New items stand between their neighbours by content and what the towers see.
    own = towers.encode_items(fit.item_matrix(c.FEATURES))
    moved = (member.item_vectors != own).any(axis=1)
    assert moved.any() and not moved[fit.item_counts > 0].any()
    index = {row[c.ITEM_ID]: row[c.ITEM_INDEX] for row in lakehouse.read("item_index").collect()}
    assert_known_by_pictures(fit, index["item-60"], own)
    cold = next(item for item in np.flatnonzero(moved) if pictures[1].present[item])
    vectors = vectors_of_later_items(fit, items, int(cold), tmp_path / "later.parquet")
    np.testing.assert_allclose(vectors["copy"], member.item_vectors[cold], atol=1e-5)
    assert not np.allclose(vectors["unseen"], member.item_vectors[cold], atol=1e-3)


def vectors_of_later_items(
    fit: Fit, items: pd.DataFrame, original: int, place: Path
) -> dict[str, npt.NDArray[np.float32]]:
    """The towers' vectors of a copy of an item that came after, and of one without its pictures."""
    ids = {row[c.ITEM_INDEX]: row[c.ITEM_ID] for row in fit.lakehouse.read("item_index").collect()}
    copy = items[items["product"] == ids[original]].assign(product="copy")
    unseen = copy.assign(product="unseen", cover=None, trailer=None)
    pd.concat([items, copy, unseen]).to_parquet(place, index=False)
    changed = fit.config.replaced({"features.items.source.path": str(place)})
    before = Fit(fit.lakehouse, changed, fit.name)
    after = with_later_items(before, before)
    member = read_members(after, ("towers_svd",))["towers_svd"]
    assert after.later is not None and isinstance(member, DotMember)
    return dict(zip(after.later.item_ids, member.item_vectors[fit.n_items :], strict=True))


def assert_known_by_pictures(fit: Fit, item: int, own: npt.NDArray[np.float32]) -> None:
    """All members but the towers know the item by those that the towers place nearest to it."""
    assert np.flatnonzero(fit.item_evidence == PICTURES_ALONE).tolist() == [item]
    members = read_members(fit, ("towers_svd", "svd", "content", "content_neighbours"))
    for name in ("svd", "content"):
        member = members[name]
        assert isinstance(member, DotMember) and member.item_vectors[item].any()
    towers, neighbours = members["towers_svd"], members["content_neighbours"]
    assert isinstance(towers, DotMember) and not isinstance(neighbours, DotMember | OwnMembers)
    np.testing.assert_array_equal(towers.item_vectors[item], own[item])
    assert item in neighbours.rows.item_indices
