"""Encode texts by a sentence encoder of a local folder or a package, in NumPy.

Two kinds are read: transformers of the family of BERT in the format of sentence-transformers
(Reimers and Gurevych 2019, "Sentence-BERT"), and static embeddings in that of model2vec, which are
means of vectors of word pieces.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from m6rec.errors import ArtifactError
from m6rec.kernels.arrays.layers import gelu, layer_norm, linear
from m6rec.kernels.arrays.rows import Float32, Int64
from m6rec.kernels.neighbours.content import unit_rows
from m6rec.kernels.text.encoder_files import EncoderFiles, find_encoder
from m6rec.kernels.text.word_pieces import WordPieces

_STATIC = "embeddings"
_MAPPING = "mapping"
_PREFIX = "bert."
_WORDS = "embeddings.word_embeddings.weight"
_MODULES = ("Transformer", "StaticEmbedding", "Pooling", "Normalize")
_MODE = "pooling_mode_"
_HEADS, _LAYERS = "num_attention_heads", "num_hidden_layers"
# Of a transformer: the only value of each setting by which its layers are computed.
_SETTINGS = {"hidden_act": "gelu", "position_embedding_type": "absolute"}
# Texts of about equal length that go through the layers at once.
_TEXTS_AT_ONCE = 32
_LONGEST = 512


@dataclass(frozen=True)
class SentenceEncoder:
    """A frozen encoder of texts.

    Attributes:
        pieces: the word pieces.
        weights: float32 arrays by the names of the folder's file.
        heads: attention heads of a layer; 0 for static embeddings.
        layers: how many layers there are.
        floor: what is added to variances.
        longest: the most pieces of a text that are read.
        by_first: whether the first piece stands for the text, and not the mean of all.
        normalises: whether vectors get length 1.
    """

    pieces: WordPieces
    weights: dict[str, Float32]
    heads: int
    layers: int
    floor: float
    longest: int
    by_first: bool
    normalises: bool

    @property
    def width(self) -> int:
        """How many numbers a vector has."""
        return int(self.weights[_WORDS if self.heads else _STATIC].shape[1])

    def encode(self, texts: Sequence[str]) -> Float32:
        """The vectors of texts: float32 [n, width]."""
        numbers = [self._numbers(text) for text in texts]
        order = sorted(range(len(texts)), key=lambda place: len(numbers[place]))
        vectors: Float32 = np.zeros((len(texts), self.width), np.float32)
        for start in range(0, len(order), _TEXTS_AT_ONCE):
            chosen = order[start : start + _TEXTS_AT_ONCE]
            longest = max(1, *(len(numbers[place]) for place in chosen))
            padded = np.zeros((len(chosen), longest), np.int64)
            real = np.zeros((len(chosen), longest), np.float32)
            for row, place in enumerate(chosen):
                padded[row, : len(numbers[place])] = numbers[place]
                real[row, : len(numbers[place])] = 1.0
            vectors[chosen] = self._pooled(padded, real)
        return unit_rows(vectors) if self.normalises else vectors

    def _numbers(self, text: str) -> list[int]:
        numbers = self.pieces.numbers(text, self.longest)
        if self.heads:
            return numbers
        # In a mean, a piece that stands for anything unknown would only be noise.
        return [number for number in numbers if number != self.pieces.unknown]

    def _pooled(self, pieces: Int64, real: Float32) -> Float32:
        read = self._transformed(pieces, real) if self.heads else self._static(pieces)
        if self.by_first:
            return read[:, 0]
        sums = np.einsum("nl,nlw->nw", real, read)
        pooled: Float32 = sums / np.maximum(real.sum(axis=1, keepdims=True), 1)
        return pooled

    def _static(self, pieces: Int64) -> Float32:
        places = self.weights[_MAPPING][pieces] if _MAPPING in self.weights else pieces
        read = self.weights[_STATIC][places.astype(np.int64)]
        if "weights" in self.weights:
            read = read * self.weights["weights"][pieces][..., None]
        result: Float32 = read.astype(np.float32)
        return result

    def _transformed(self, pieces: Int64, real: Float32) -> Float32:
        w = self.weights
        x = w[_WORDS][pieces] + w["embeddings.token_type_embeddings.weight"][0]
        x = x + w["embeddings.position_embeddings.weight"][: pieces.shape[1]]
        x = layer_norm(w, "embeddings.LayerNorm", x, self.floor)
        hidden = np.where(real > 0, np.float32(0), np.float32(-1e9))[:, None, None]
        for layer in range(self.layers):
            name = f"encoder.layer.{layer}"
            attended = self._attended(f"{name}.attention.self", x, hidden)
            attended = linear(w, f"{name}.attention.output.dense", attended)
            x = layer_norm(w, f"{name}.attention.output.LayerNorm", x + attended, self.floor)
            inner = linear(w, f"{name}.intermediate.dense", x)
            inner = linear(w, f"{name}.output.dense", gelu(inner))
            x = layer_norm(w, f"{name}.output.LayerNorm", x + inner, self.floor)
        return x

    def _attended(self, name: str, x: Float32, hidden: Float32) -> Float32:
        n, length, width = x.shape
        query, key, value = (
            linear(self.weights, f"{name}.{part}", x)
            .reshape(n, length, self.heads, width // self.heads)
            .transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(np.sqrt(width // self.heads))
        scores = scores + hidden
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares = scores / scores.sum(axis=-1, keepdims=True)
        joined: Float32 = (shares @ value).transpose(0, 2, 1, 3).reshape(n, length, width)
        return joined


def load_sentence_encoder(named: str) -> SentenceEncoder:
    """Read the encoder of a folder or an installed package.

    Raises:
        ArtifactError: a file is missing or damaged, or the encoder is of a kind that is not read.
    """
    files = find_encoder(named)
    described = described_encoder(files)
    weights = {
        name.removeprefix(_PREFIX): array if name == _MAPPING else array.astype(np.float32)
        for name, array in files.weights().items()
        if not described.heads or np.issubdtype(array.dtype, np.floating)
    }
    return replace(described, weights=weights)


def described_encoder(files: EncoderFiles) -> SentenceEncoder:
    """The encoder without its weights, as its files describe it.

    Raises:
        ArtifactError: a file is missing or damaged, or the encoder is of a kind that is not read.
    """
    shapes = {name.removeprefix(_PREFIX): shape for name, shape in files.shapes().items()}
    config = files.read_json("config.json") or {}
    listed: list[dict[str, Any]] = files.read_json("modules.json") or []
    modules = {str(one["type"]).rpartition(".")[2]: one for one in listed}
    for name in modules:
        _expect(files, f"a module {name}", name in _MODULES, f"only {', '.join(_MODULES)}")
    if _STATIC in shapes:
        normalises = bool(config.get("normalize", True))
        rows = shapes.get(_MAPPING, shapes[_STATIC])[0]
        pieces = _word_pieces(files, rows, around=False)
        return SentenceEncoder(pieces, {}, 0, 0, 0.0, _LONGEST, False, normalises)
    if config.get("model_type") != "bert" or _WORDS not in shapes:
        raise ArtifactError(
            f"the encoder in {files} is of type {config.get('model_type')}, expected bert, such as"
            " all-MiniLM-L6-v2, or static embeddings of model2vec; or encode the texts yourself and"
            " give the column the kind embedding"
        )
    pieces = _word_pieces(files, shapes[_WORDS][0], around=True)
    for key, expected in _SETTINGS.items():
        found = config.get(key, expected)
        _expect(files, f"{key} {found} in config.json", found == expected, expected)
    for key in (_HEADS, _LAYERS):
        _expect(files, f"no {key} in config.json", key in config, "a whole number")
    limits = files.read_json("sentence_bert_config.json") or {}
    positions = shapes["embeddings.position_embeddings.weight"][0]
    return SentenceEncoder(
        pieces,
        {},
        int(config[_HEADS]),
        int(config[_LAYERS]),
        float(config.get("layer_norm_eps", 1e-12)),
        min(int(limits.get("max_seq_length") or positions), positions),
        _pools_by_first(files, modules.get("Pooling", {}).get("path", "1_Pooling")),
        "Normalize" in modules,
    )


def _expect(files: EncoderFiles, found: str, is_read: bool, expected: str) -> None:
    if not is_read:
        raise ArtifactError(
            f"the encoder in {files} has {found}, expected {expected}; take another encoder, or"
            " encode the texts yourself and give the column the kind embedding"
        )


def _pools_by_first(files: EncoderFiles, folder: str) -> bool:
    """Whether the first piece stands for a text, and not the mean of all."""
    settings = files.read_json(f"{folder}/config.json") or {}
    named = settings.get("pooling_mode", [])
    modes = {named} if isinstance(named, str) else set(named)
    modes |= {
        key.removeprefix(_MODE).removesuffix("s").removesuffix("_token")
        for key, is_set in settings.items()
        if key.startswith(_MODE) and is_set
    }
    found = f"pooling by {' and '.join(sorted(modes))} in {folder}/config.json"
    _expect(files, found, modes in (set(), {"mean"}, {"cls"}), "mean or cls")
    return modes == {"cls"}


def _expect_signs_apart(files: EncoderFiles, settings: dict[str, Any], key: str) -> None:
    """Chinese signs are pieces each."""
    _expect(files, f"{key} false", settings.get(key, True) is not False, "true")


def _normalizer(files: EncoderFiles, described: dict[str, Any] | None) -> dict[str, Any]:
    """The settings of BERT's normalizer in tokenizer.json, which may stand in a sequence alone."""
    if described is None:
        return {}
    parts = described.get("normalizers", []) if described.get("type") == "Sequence" else [described]
    types = " and ".join(str(part.get("type", "BertNormalizer")) for part in parts)
    _expect(files, f"a normalizer of type {types}", types == "BertNormalizer", "BertNormalizer")
    _expect_signs_apart(files, parts[0], "handle_chinese_chars")
    return dict(parts[0])


def _word_pieces(files: EncoderFiles, rows: int, around: bool) -> WordPieces:
    """The pieces of the encoder, whose weights have so many rows of vectors."""
    settings = files.read_json("tokenizer_config.json") or {}
    described, lines = files.read_json("tokenizer.json"), files.read("vocab.txt")
    cut_by = settings.get("word_tokenizer_type", "basic")
    found = f"words cut by {cut_by} in tokenizer_config.json"
    _expect(files, found, cut_by == "basic", "basic")
    _expect_signs_apart(files, settings, "tokenize_chinese_chars")
    lowers, strips = bool(settings.get("do_lower_case", True)), settings.get("strip_accents")
    if described is not None:
        model = described["model"]
        if model.get("type", "WordPiece") != "WordPiece" or not isinstance(model["vocab"], dict):
            raise ArtifactError(
                f"the tokenizer in {files} is of type {model.get('type')}, expected WordPiece;"
                " take an encoder with one, or encode the texts yourself and give the column the"
                " kind embedding"
            )
        vocabulary = {str(piece): int(number) for piece, number in model["vocab"].items()}
        normalizer = _normalizer(files, described.get("normalizer"))
        lowers = bool(normalizer.get("lowercase", lowers))
        strips = normalizer.get("strip_accents", strips)
    elif lines is not None:
        # A piece may be a sign at which Python ends lines as well, such as U+2028.
        pieces = re.split(r"\r\n|\r|\n", lines.decode())
        vocabulary = {piece: number for number, piece in enumerate(pieces) if piece}
    else:
        raise ArtifactError(f"{files} has neither tokenizer.json nor vocab.txt")
    largest = max(vocabulary.values(), default=0)
    if largest >= rows:
        raise ArtifactError(
            f"{files} has a tokenizer of {largest + 1} pieces and vectors for {rows}: they are of"
            " two encoders; copy all files of one"
        )
    return WordPieces(
        vocabulary,
        vocabulary.get("[UNK]", 0),
        vocabulary.get("[CLS]") if around else None,
        vocabulary.get("[SEP]") if around else None,
        lowers,
        lowers if strips is None else bool(strips),
    )
