"""Saved towers come back as they were, and never on other inputs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from m6rec.errors import ArtifactError
from m6rec.kernels.arrays.rows import Rows
from m6rec.kernels.factors.projection import FactorModel
from m6rec.towers.artifact import TowerProvenance, load_towers, save_towers
from m6rec.towers.encoder import TowerEncoder
from m6rec.towers.model import TowerModel, TowerShape
from m6rec.towers.training import freeze

PROVENANCE = TowerProvenance(
    fit="final",
    method="svd",
    item_factors_version=3,
    feature_pipeline="lake/_artifacts/run/features/final",
    index_versions={"user_index": 1, "item_index": 2},
    config={"hidden": 16},
    seed=4,
)


@pytest.fixture
def encoder(factor_model: FactorModel) -> TowerEncoder:
    shape = TowerShape(factor_model.rank, 0, 0, 16, 6, temperature=0.1, gate_half_count=2.0)
    return freeze(TowerModel(shape), factor_model)


@pytest.fixture
def folder(encoder: TowerEncoder, tmp_path: Path) -> Path:
    save_towers(str(tmp_path / "towers"), encoder, PROVENANCE)
    return tmp_path / "towers"


def test_saved_towers_encode_as_before(
    folder: Path, encoder: TowerEncoder, factor_model: FactorModel, rows: Rows
) -> None:
    artifact = load_towers(str(folder))
    assert artifact.provenance == PROVENANCE
    loaded = artifact.encoder(factor_model)
    np.testing.assert_array_equal(loaded.encode_users(rows, None), encoder.encode_users(rows, None))
    np.testing.assert_array_equal(loaded.encode_items(None), encoder.encode_items(None))


def test_saved_weights_keep_their_shapes(folder: Path, encoder: TowerEncoder) -> None:
    loaded = load_towers(str(folder)).weights
    assert loaded.keys() == encoder.weights.keys()
    for name, weight in encoder.weights.items():
        assert loaded[name].shape == weight.shape


def test_an_artifact_is_safetensors_and_json_alone(folder: Path) -> None:
    assert sorted(file.name for file in folder.iterdir()) == ["towers.json", "towers.safetensors"]


def test_towers_are_refused_other_factors_of_the_same_shape(
    folder: Path, factor_model: FactorModel
) -> None:
    turned = replace(factor_model, factors=-factor_model.factors)
    with pytest.raises(ArtifactError, match="table version 3"):
        load_towers(str(folder)).encoder(turned)


@pytest.mark.parametrize("name", ["towers.json", "towers.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name} does not exist"):
        load_towers(str(folder))


def test_a_truncated_file_is_damage(folder: Path) -> None:
    file = folder / "towers.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match="damaged"):
        load_towers(str(folder))


def test_weights_of_other_towers_under_this_description_are_refused(
    folder: Path, encoder: TowerEncoder, tmp_path: Path
) -> None:
    other = replace(encoder, weights={n: w + 1 for n, w in encoder.weights.items()})
    save_towers(str(tmp_path / "other"), other, PROVENANCE)
    (tmp_path / "other" / "towers.safetensors").rename(folder / "towers.safetensors")
    with pytest.raises(ArtifactError, match="is not the file"):
        load_towers(str(folder))


def test_another_format_is_named(folder: Path) -> None:
    file = folder / "towers.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99}))
    with pytest.raises(ArtifactError, match="format 99, expected 4"):
        load_towers(str(folder))
