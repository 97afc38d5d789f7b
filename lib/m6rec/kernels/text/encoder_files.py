"""The files of a sentence encoder: in a folder, or in an installed package that brings weights."""

import hashlib
import json
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from m6rec.errors import ArtifactError

MODEL_FILE = "model.safetensors"
_DESCRIPTIONS = (
    "config.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)


@dataclass(frozen=True)
class EncoderFiles:
    """The files of an encoder.

    Attributes:
        place: a folder, or an archive.
        within: the folder within the archive, with a slash at its end, or nothing.
    """

    place: Path
    within: str = ""

    def read(self, name: str) -> bytes | None:
        """What a file holds; None where there is none."""
        if self.place.is_dir():
            file = self.place / name
            return file.read_bytes() if file.is_file() else None
        with zipfile.ZipFile(self.place) as archive:
            known = self.within + name in archive.namelist()
            return archive.read(self.within + name) if known else None

    def read_json(self, name: str) -> Any:
        """What a file of JSON says; None where there is none.

        Raises:
            ArtifactError: it is not JSON.
        """
        content = self.read(name)
        try:
            return None if content is None else json.loads(content)
        except ValueError as error:
            raise ArtifactError(
                f"{name} in {self} is not JSON ({error}); copy the encoder's files anew"
            ) from error

    @property
    def digest(self) -> str:
        """A hash of the files, by which the encoder is told from others."""
        digest = hashlib.sha256()
        for name in (*_DESCRIPTIONS, MODEL_FILE):
            digest.update(self.read(name) or b"")
        return digest.hexdigest()[:32]

    def __str__(self) -> str:
        return str(self.place)


def find_encoder(named: str) -> EncoderFiles:
    """The encoder in a folder or in an installed package of that name.

    Raises:
        ArtifactError: there is no such folder or package, or no weights are in it.
    """
    folder = Path(named)
    if not folder.is_dir():
        spec = find_spec(named) if named.isidentifier() else None
        places = [] if spec is None else list(spec.submodule_search_locations or ())
        if not places:
            raise ArtifactError(
                f"features.text_model names {named}, which is neither a folder nor an installed"
                " package; give the folder of a sentence encoder in the format of"
                " sentence-transformers or model2vec"
            )
        folder = Path(places[0])
    for file in sorted(folder.rglob(MODEL_FILE), key=lambda file: len(file.parts)):
        return EncoderFiles(file.parent)
    for file in sorted(folder.rglob("*.zip")):
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name == MODEL_FILE or name.endswith(f"/{MODEL_FILE}"):
                    return EncoderFiles(file, name.removesuffix(MODEL_FILE))
    raise ArtifactError(
        f"{folder} holds no sentence encoder ({MODEL_FILE} is missing); name in"
        " features.text_model a folder in the format of sentence-transformers or model2vec"
    )
