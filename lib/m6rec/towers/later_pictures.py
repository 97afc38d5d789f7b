"""Let trained networks read the pictures of items that came after the training."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from m6rec.config.towers import ImagesConfig
from m6rec.kernels.arrays.rows import Float32
from m6rec.towers.artifact import TowerArtifact
from m6rec.towers.encoder import PICTURE_UNITS
from m6rec.towers.picture_branches import PictureBranch
from m6rec.towers.picture_training import PictureReader
from m6rec.towers.pictures import Pictures

_BRANCHES = "item.pictures."


def with_later_pictures(artifact: TowerArtifact, pictures: tuple[Pictures, ...]) -> TowerArtifact:
    """The towers, followed by what their networks make of the pictures of later items.

    Args:
        artifact: the towers, or several pairs of them.
        pictures: a column for each of their networks, in order, of the later items alone.
    """
    read = {
        name: np.concatenate([units, _units(artifact, name.removesuffix(PICTURE_UNITS), pictures)])
        for name, units in artifact.weights.items()
        if f".{name}".endswith(f".{PICTURE_UNITS}")
    }
    return replace(artifact, weights={**artifact.weights, **read})


def _units(artifact: TowerArtifact, pair: str, pictures: tuple[Pictures, ...]) -> Float32:
    """float32 [m, columns, units] by the networks of the pair whose weights have this prefix."""
    branches = _networks(artifact.shape, artifact.weights, f"{pair}{_BRANCHES}")
    units: Float32 = PictureReader(pictures, branches, ImagesConfig()).units().numpy()
    return units


def _networks(
    shape: Mapping[str, Any], weights: Mapping[str, Float32], prefix: str
) -> nn.ModuleList:
    networks = nn.ModuleList(
        PictureBranch(
            frames, shape["picture_channels"], shape["picture_blocks"], shape["feature_hidden"]
        )
        for frames in shape["picture_frames"]
    )
    own = {
        name.removeprefix(prefix): torch.from_numpy(array)
        for name, array in weights.items()
        if name.startswith(prefix)
    }
    networks.load_state_dict(own)
    return networks
