"""The files of a sentence encoder: in a folder, or in an installed package that brings weights."""

import hashlib
import json
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize

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
# The types of numbers in files of weights. BF16 is read as the upper half of a 32-bit float.
_NUMBERS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}
# A file of weights begins with the length of the header, in so many bytes.
_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000


@dataclass(frozen=True)
class EncoderFiles:
    """The files of an encoder.

    Attributes:
        place: a folder, or an archive.
        within: the folder within the archive, with a slash at its end, or nothing.
    """

    place: Path
    within: str = ""

    def read(self, name: str, most: int = -1) -> bytes | None:
        """What a file holds, or as many of its first bytes; None where there is none."""
        if self.place.is_dir():
            path = self.place / name
            if not path.is_file():
                return None
            with path.open("rb") as file:
                return file.read(most)
        with zipfile.ZipFile(self.place) as archive:
            if self.within + name not in archive.namelist():
                return None
            with archive.open(self.within + name) as packed:
                return packed.read(most)

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

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each array of weights, without the weights themselves.

        Raises:
            ArtifactError: the file of weights is damaged.
        """
        length = int.from_bytes(self.read(MODEL_FILE, _LENGTH_BYTES) or b"", "little")
        first = _LENGTH_BYTES + min(length, _LONGEST_HEADER)
        try:
            header = json.loads((self.read(MODEL_FILE, first) or b"")[_LENGTH_BYTES:])
            arrays = {name: one for name, one in header.items() if name != "__metadata__"}
            return {name: tuple(one["shape"]) for name, one in arrays.items()}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise self._damaged(error) from error

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of weights.

        Raises:
            ArtifactError: the file of weights is damaged, or has numbers of a type that is not
                read.
        """
        try:
            arrays = deserialize(self.read(MODEL_FILE) or b"")  # type: ignore[no-untyped-call]
        except SafetensorError as error:
            raise self._damaged(error) from error
        return {name: self._array(name, **given) for name, given in arrays}

    def _array(self, name: str, dtype: str, shape: list[int], data: bytes) -> npt.NDArray[Any]:
        if dtype not in _NUMBERS:
            raise ArtifactError(
                f"{name} in {MODEL_FILE} of {self} has numbers of type {dtype}, expected one of"
                f" {', '.join(_NUMBERS)}; save the encoder's weights as float32"
            )
        numbers = np.frombuffer(data, _NUMBERS[dtype]).reshape(shape)
        if dtype == "BF16":
            numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
        return numbers

    def _damaged(self, error: Exception) -> ArtifactError:
        return ArtifactError(
            f"{MODEL_FILE} in {self} is damaged ({error}); copy the encoder's files anew"
        )

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
