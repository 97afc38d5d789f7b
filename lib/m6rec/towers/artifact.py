"""Save and load towers: weights as safetensors, everything else as JSON, never as pickle.

An artifact holds the towers and names what they were trained on: the factors, the feature pipeline
and the indices. The factors are named by their table's version and a digest, so that the towers are
never used with other factors.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from m6rec.errors import ArtifactError
from m6rec.files import AnyPlace, as_place, files_at_hand, written_whole
from m6rec.kernels.arrays.contexts import NO_CONTEXTS, ContextVocabulary, vocabulary_from_json
from m6rec.kernels.arrays.rows import Float32
from m6rec.kernels.factors.projection import FactorModel
from m6rec.towers.bagging import BaggedTowers
from m6rec.towers.encoder import PICTURE_UNITS, TowerEncoder, Towers
from m6rec.towers.sequence_encoder import OWN_VECTORS, SequenceEncoder

WEIGHTS_FILE = "towers.safetensors"
DESCRIPTION_FILE = "towers.json"
FORMAT = 4
ENCODERS: Mapping[str, type[TowerEncoder] | type[SequenceEncoder] | type[BaggedTowers]] = {
    "set": TowerEncoder,
    "sequence": SequenceEncoder,
    "bag": BaggedTowers,
}


@dataclass(frozen=True)
class TowerProvenance:
    """What a pair of towers was trained on.

    Attributes:
        fit: selection or final.
        method: the kind of the factors.
        item_factors_version: the Delta version of table item_factors.
        feature_pipeline: the folder of the fitted feature pipeline, or None where there are no
            features.
        index_versions: the Delta versions of user_index and item_index.
        config: the towers' section of the configuration.
        seed: of the training.
    """

    fit: str
    method: str
    item_factors_version: int
    feature_pipeline: str | None
    index_versions: dict[str, int]
    config: dict[str, Any]
    seed: int


@dataclass(frozen=True)
class TowerArtifact:
    """Towers as they were saved, without the factors that they need.

    Attributes:
        kind: a name of ENCODERS.
        provenance: what they were trained on.
        shape: the fields of their TowerShape or SequenceShape.
        weights: float32 arrays by the names of the model's parameters.
        factors_digest: SHA-256 of the item factors.
        contexts: the contexts that they know.
    """

    kind: str
    provenance: TowerProvenance
    shape: dict[str, Any]
    weights: dict[str, Float32]
    factors_digest: str
    contexts: ContextVocabulary

    @property
    def reads_pictures(self) -> bool:
        """Whether the towers have networks for pictures."""
        return bool(self.shape.get("picture_frames"))

    def encoder(self, factor_model: FactorModel) -> Towers:
        """Join the towers with their factors.

        Of items that came after the training the towers know their features, and their pictures
        where these have been read (`towers.later_pictures`).

        Raises:
            ArtifactError: these are not the factors that the towers were trained on.
        """
        found = factors_digest(factor_model)
        if (found, factor_model.method) != (self.factors_digest, self.provenance.method):
            raise ArtifactError(
                f"the towers were trained on {self.provenance.method} factors of table version"
                f" {self.provenance.item_factors_version} (digest {self.factors_digest[:12]}),"
                f" found {factor_model.method} factors with digest {found[:12]}; read item_factors"
                " at that version or run train_towers again"
            )
        weights = _of_all_items(self.weights, factor_model.n_items)
        towers = ENCODERS[self.kind](self.shape, weights, factor_model)
        if isinstance(towers, SequenceEncoder):
            return replace(towers, contexts=self.contexts)
        return towers


def save_towers(folder: AnyPlace, encoder: Towers, provenance: TowerProvenance) -> None:
    """Write the towers to `folder`, and replace what was there.

    The description is written last. It has the digest of the weights, so that a description of
    other weights is never taken for theirs.
    """
    place = as_place(folder)
    weights = {name: np.asarray(array, order="C") for name, array in encoder.weights.items()}
    with written_whole(place / WEIGHTS_FILE) as unfinished:
        save_file(weights, unfinished)
        weights_digest = _file_digest(unfinished)
    contexts = encoder.contexts if isinstance(encoder, SequenceEncoder) else NO_CONTEXTS
    description = {
        "format": FORMAT,
        "kind": next(kind for kind, known in ENCODERS.items() if isinstance(encoder, known)),
        "provenance": asdict(provenance),
        "shape": dict(encoder.shape),
        "factors_digest": factors_digest(encoder.factor_model),
        "weights_digest": weights_digest,
        "contexts": contexts.to_json(),
    }
    (place / DESCRIPTION_FILE).write_text(json.dumps(description, indent=1, sort_keys=True))


def load_towers(folder: AnyPlace) -> TowerArtifact:
    """Read towers that `save_towers` wrote.

    Raises:
        ArtifactError: a file is missing, damaged, or of another format.
    """
    place = as_place(folder)
    for name in (DESCRIPTION_FILE, WEIGHTS_FILE):
        if not (place / name).is_file():
            raise ArtifactError(f"{place / name} does not exist; run train_towers again")
    try:
        with files_at_hand(place, (DESCRIPTION_FILE, WEIGHTS_FILE)) as here:
            description = json.loads((here / DESCRIPTION_FILE).read_text())
            weights = load_file(here / WEIGHTS_FILE)
            weights_digest = _file_digest(here / WEIGHTS_FILE)
    except (json.JSONDecodeError, SafetensorError) as error:
        raise ArtifactError(
            f"the towers in {folder} are damaged ({error}); run train_towers again"
        ) from error
    if description.get("format") != FORMAT:
        raise ArtifactError(
            f"the towers in {folder} have format {description.get('format')}, expected {FORMAT};"
            " load them with the version of M6-Rec that wrote them or train again"
        )
    if description["weights_digest"] != weights_digest:
        raise ArtifactError(
            f"{place / WEIGHTS_FILE} is not the file that {DESCRIPTION_FILE} describes;"
            " run train_towers again"
        )
    return TowerArtifact(
        description["kind"],
        TowerProvenance(**description["provenance"]),
        description["shape"],
        weights,
        description["factors_digest"],
        vocabulary_from_json(description["contexts"]),
    )


def factors_digest(factor_model: FactorModel) -> str:
    """SHA-256 of the item factors of the training as float32."""
    trained = factor_model.factors[: factor_model.trained_items]
    values = np.ascontiguousarray(trained, dtype=np.float32)
    return hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()


def _of_all_items(weights: Mapping[str, Float32], n_items: int) -> dict[str, Float32]:
    """The weights; those that have a row for each item have zeros for items without one."""
    return {
        name: np.pad(array, ((0, n_items - len(array)), *((0, 0),) * (array.ndim - 1)))
        if f".{name}".endswith((f".{PICTURE_UNITS}", f".{OWN_VECTORS}"))
        else array
        for name, array in weights.items()
    }


def _file_digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
