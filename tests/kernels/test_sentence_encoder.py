"""Texts become word pieces as BERT's tokenizer makes them, and vectors as torch's layers do."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from m6rec.errors import ArtifactError
from m6rec.kernels.text.encoder_files import find_encoder
from m6rec.kernels.text.sentence_encoder import described_encoder, load_sentence_encoder
from m6rec.kernels.text.word_pieces import WordPieces

PIECES = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "un",
    "##aff",
    "##able",
    "cafe",
    ",",
    "手",
    "sea",
    "!",
)
VOCABULARY = {piece: number for number, piece in enumerate(PIECES)}
WIDTH, HEADS, INNER = 8, 2, 16


def pieces_of(text: str, longest: int = 20) -> list[str]:
    known = WordPieces(VOCABULARY, unknown=1, first=2, last=3, lowers=True, strips=True)
    return [PIECES[number] for number in known.numbers(text, longest)][1:-1]


def test_words_are_cut_into_the_longest_known_pieces() -> None:
    assert pieces_of("Unaffable, SEA!") == ["un", "##aff", "##able", ",", "sea", "!"]
    assert pieces_of("unknown sea") == ["[UNK]", "sea"]
    assert pieces_of("Café\t手手") == ["cafe", "手", "手"]
    assert pieces_of("sea " * 9, longest=5) == ["sea"] * 3
    assert pieces_of("") == []


def write_tokenizer(folder: Path, kind: str = "WordPiece", **normalizer: bool | None) -> None:
    model = {"type": kind, "vocab": VOCABULARY}
    described = {"model": model, "normalizer": {"lowercase": True, **normalizer}}
    (folder / "tokenizer.json").write_text(json.dumps(described))


def write_modules(folder: Path, *names: str) -> None:
    modules = [{"path": name, "type": f"a.b.{name}"} for name in names]
    (folder / "modules.json").write_text(json.dumps(modules))


def write_config(folder: Path, **settings: Any) -> None:
    config = {"model_type": "bert", "num_attention_heads": HEADS, "num_hidden_layers": 1}
    (folder / "config.json").write_text(json.dumps(config | settings))


def write_pooling(folder: Path, **settings: Any) -> None:
    (folder / "Pooling").mkdir(exist_ok=True)
    (folder / "Pooling" / "config.json").write_text(json.dumps(settings))


@pytest.fixture
def transformer(tmp_path: Path) -> Path:
    """A small encoder of the family of BERT, with weights at random."""
    generator = np.random.default_rng(3)

    def drawn(*shape: int) -> np.ndarray:
        return generator.normal(0.0, 0.4, shape).astype(np.float32)

    weights = {
        "embeddings.word_embeddings.weight": drawn(len(PIECES), WIDTH),
        "embeddings.position_embeddings.weight": drawn(16, WIDTH),
        "embeddings.token_type_embeddings.weight": drawn(2, WIDTH),
    }
    layers = {
        **{f"attention.self.{part}": (WIDTH, WIDTH) for part in ("query", "key", "value")},
        "attention.output.dense": (WIDTH, WIDTH),
        "intermediate.dense": (INNER, WIDTH),
        "output.dense": (WIDTH, INNER),
    }
    for name, shape in layers.items():
        weights[f"encoder.layer.0.{name}.weight"] = drawn(*shape)
        weights[f"encoder.layer.0.{name}.bias"] = drawn(shape[0])
    for name in (
        "embeddings.LayerNorm",
        "encoder.layer.0.attention.output.LayerNorm",
        "encoder.layer.0.output.LayerNorm",
    ):
        weights[f"{name}.weight"], weights[f"{name}.bias"] = 1 + drawn(WIDTH), drawn(WIDTH)
    save_file(weights, tmp_path / "model.safetensors")
    write_config(tmp_path)
    write_modules(tmp_path, "Transformer", "Pooling", "Normalize")
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 12}')
    write_tokenizer(tmp_path)
    return tmp_path


def test_a_text_is_encoded_as_torchs_layers_encode_it(transformer: Path) -> None:
    encoder = load_sentence_encoder(str(transformer))
    w = {name: torch.from_numpy(array) for name, array in encoder.weights.items()}
    layer = torch.nn.TransformerEncoderLayer(
        WIDTH, HEADS, INNER, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True
    ).eval()
    one = "encoder.layer.0"
    attention = [w[f"{one}.attention.self.{part}.weight"] for part in ("query", "key", "value")]
    biases = [w[f"{one}.attention.self.{part}.bias"] for part in ("query", "key", "value")]
    names = {
        "self_attn.out_proj": "attention.output.dense",
        "linear1": "intermediate.dense",
        "linear2": "output.dense",
        "norm1": "attention.output.LayerNorm",
        "norm2": "output.LayerNorm",
    }
    state = {
        f"{ours}.{p}": w[f"{one}.{its}.{p}"]
        for ours, its in names.items()
        for p in ("weight", "bias")
    }
    state |= {"self_attn.in_proj_weight": torch.cat(attention)}
    layer.load_state_dict(state | {"self_attn.in_proj_bias": torch.cat(biases)})
    numbers = encoder.pieces.numbers("unaffable sea", 12)
    x = w["embeddings.word_embeddings.weight"][numbers]
    x = x + w["embeddings.position_embeddings.weight"][: len(numbers)]
    x = x + w["embeddings.token_type_embeddings.weight"][0]
    norm = (w["embeddings.LayerNorm.weight"], w["embeddings.LayerNorm.bias"])
    with torch.no_grad():
        x = layer(torch.nn.functional.layer_norm(x, (WIDTH,), *norm, 1e-12)[None])
        expected = torch.nn.functional.normalize(x.mean(dim=1))[0].numpy()
    # The same text is encoded alike beside a longer one.
    found = encoder.encode(["unaffable sea", "sea sea sea sea sea !", "sea"])
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
    np.testing.assert_allclose(found[2], encoder.encode(["sea"])[0], atol=1e-6)


def test_static_embeddings_are_means_of_pieces(tmp_path: Path) -> None:
    vectors = np.arange(len(PIECES) * 3, dtype=np.float32).reshape(-1, 3)
    save_file({"embeddings": vectors}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"normalize": false}')
    write_tokenizer(tmp_path)
    encoder = load_sentence_encoder(str(tmp_path))
    found = encoder.encode(["sea, nowhere", ""])
    np.testing.assert_allclose(found, [(vectors[10] + vectors[8]) / 2, np.zeros(3)])


def test_an_encoder_is_known_by_its_files(transformer: Path) -> None:
    before = find_encoder(str(transformer)).digest
    assert before == find_encoder(str(transformer)).digest
    (transformer / "sentence_bert_config.json").write_text('{"max_seq_length": 8}')
    assert before != find_encoder(str(transformer)).digest


def test_a_package_may_bring_an_encoder_in_an_archive(
    transformer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "some_encoder"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('is not run')")
    with zipfile.ZipFile(package / "model.zip", "w") as archive:
        for file in transformer.glob("*.*"):
            archive.write(file, f"weights/{file.name}")
    monkeypatch.syspath_prepend(str(package.parent))
    found = load_sentence_encoder("some_encoder").encode(["unaffable sea"])
    np.testing.assert_array_equal(
        found, load_sentence_encoder(str(transformer)).encode(["unaffable sea"])
    )


def test_what_is_no_encoder_is_named(transformer: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="nowhere, which is neither a folder nor an installed"):
        load_sentence_encoder(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match=r"model\.safetensors is missing"):
        load_sentence_encoder(str(tmp_path / "empty"))
    (transformer / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(ArtifactError, match="is of type t5, expected bert"):
        load_sentence_encoder(str(transformer))
    write_tokenizer(transformer, kind="Unigram")
    (transformer / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ArtifactError, match=r"tokenizer in .* is of type Unigram"):
        load_sentence_encoder(str(transformer))
    (transformer / "tokenizer.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json in .* is not JSON"):
        load_sentence_encoder(str(transformer))


def test_a_tokenizer_of_another_encoder_is_refused(tmp_path: Path) -> None:
    vectors = np.ones((len(PIECES) - 1, 3), np.float32)
    save_file({"embeddings": vectors}, tmp_path / "model.safetensors")
    write_tokenizer(tmp_path)
    with pytest.raises(ArtifactError, match="tokenizer of 12 pieces and vectors for 11"):
        load_sentence_encoder(str(tmp_path))
    # Quantised vocabularies have fewer vectors than pieces, and say which is whose.
    mapping = np.zeros(len(PIECES), np.int64)
    save_file({"embeddings": vectors, "mapping": mapping}, tmp_path / "model.safetensors")
    assert load_sentence_encoder(str(tmp_path)).encode(["sea"]).shape == (1, 3)


@pytest.mark.parametrize(
    ("normalizer", "found"),
    [
        ({"lowercase": True, "strip_accents": None}, ["cafe"]),
        ({"lowercase": True, "strip_accents": False}, ["[UNK]"]),
        ({"lowercase": False, "strip_accents": True}, ["cafe"]),
        ({"lowercase": False, "strip_accents": None}, ["[UNK]"]),
    ],
)
def test_accents_are_taken_away_as_the_tokenizer_says(
    tmp_path: Path, normalizer: dict[str, bool | None], found: list[str]
) -> None:
    save_file({"embeddings": np.ones((len(PIECES), 3), np.float32)}, tmp_path / "model.safetensors")
    write_tokenizer(tmp_path, **normalizer)
    pieces = load_sentence_encoder(str(tmp_path)).pieces
    assert [PIECES[number] for number in pieces.numbers("caf\u00e9", 20)] == found


def test_a_list_of_pieces_has_one_in_each_line_whatever_sign_it_is(tmp_path: Path) -> None:
    pieces = ["[PAD]", "[UNK]", "\u2028", "\x85", "sea", "\u624b"]
    save_file({"embeddings": np.ones((len(pieces), 3), np.float32)}, tmp_path / "model.safetensors")
    for end in ("\n", "\r\n"):
        (tmp_path / "vocab.txt").write_bytes("".join(f"{one}{end}" for one in pieces).encode())
        found = load_sentence_encoder(str(tmp_path)).pieces
        assert [pieces[number] for number in found.numbers("sea \u624b", 20)] == ["sea", "\u624b"]


@pytest.mark.parametrize(
    ("settings", "normalizer", "found"),
    [
        ({"word_tokenizer_type": "mecab"}, None, "words cut by mecab"),
        ({"tokenize_chinese_chars": False}, None, "tokenize_chinese_chars false"),
        ({}, {"type": "BertNormalizer", "handle_chinese_chars": False}, "handle_chinese_chars"),
        ({}, {"type": "Lowercase"}, "a normalizer of type Lowercase"),
        (
            {},
            {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "BertNormalizer"}]},
            "a normalizer of type NFC and BertNormalizer",
        ),
    ],
)
def test_a_tokenizer_that_reads_texts_otherwise_is_refused(
    tmp_path: Path, settings: dict[str, Any], normalizer: dict[str, Any] | None, found: str
) -> None:
    save_file({"embeddings": np.ones((len(PIECES), 3), np.float32)}, tmp_path / "model.safetensors")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    described = {"model": {"type": "WordPiece", "vocab": VOCABULARY}, "normalizer": normalizer}
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    with pytest.raises(ArtifactError, match=found):
        load_sentence_encoder(str(tmp_path))


def test_the_normalizer_of_bert_may_stand_in_a_sequence(tmp_path: Path) -> None:
    save_file({"embeddings": np.ones((len(PIECES), 3), np.float32)}, tmp_path / "model.safetensors")
    alone = {"type": "BertNormalizer", "lowercase": False}
    described = {
        "model": {"type": "WordPiece", "vocab": VOCABULARY},
        "normalizer": {"type": "Sequence", "normalizers": [alone]},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    assert not load_sentence_encoder(str(tmp_path)).pieces.lowers


def test_by_the_first_piece_or_by_the_mean_of_all(transformer: Path) -> None:
    mean = load_sentence_encoder(str(transformer)).encode(["sea !"])
    for by_mean in (
        {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True},
        {"pooling_mode": "mean"},
    ):
        write_pooling(transformer, **by_mean)
        np.testing.assert_array_equal(
            load_sentence_encoder(str(transformer)).encode(["sea !"]), mean
        )
    for by_first in (
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
        {"pooling_mode": "cls"},
    ):
        write_pooling(transformer, **by_first)
        assert load_sentence_encoder(str(transformer)).by_first


def test_what_would_be_left_out_of_an_encoder_is_refused(transformer: Path) -> None:
    def refused(words: str) -> None:
        with pytest.raises(ArtifactError, match=words):
            described_encoder(find_encoder(str(transformer)))

    write_modules(transformer, "Transformer", "Pooling", "Dense", "Normalize")
    refused("has a module Dense, expected only Transformer, StaticEmbedding, Pooling, Normalize")
    write_modules(transformer, "Transformer", "Pooling")
    write_pooling(transformer, pooling_mode_lasttoken=True)
    refused("has pooling by lasttoken in Pooling/config.json, expected mean or cls")
    write_pooling(transformer, pooling_mode_cls_token=True, pooling_mode_mean_tokens=True)
    refused("has pooling by cls and mean")
    write_pooling(transformer, pooling_mode_mean_tokens=True)
    write_config(transformer, hidden_act="relu")
    refused("has hidden_act relu in config.json, expected gelu")
    write_config(transformer, position_embedding_type="relative_key")
    refused("has position_embedding_type relative_key")
    (transformer / "config.json").write_text('{"model_type": "bert"}')
    refused("has no num_attention_heads in config.json")
    (transformer / "model.safetensors").write_bytes(b"\xff" * 20)
    refused("model.safetensors in .* is damaged")


def test_weights_of_16_bits_are_read(transformer: Path) -> None:
    whole = load_sentence_encoder(str(transformer)).weights
    file = transformer / "model.safetensors"
    tensors = {name: torch.from_numpy(array) for name, array in whole.items()}
    for kind in (torch.bfloat16, torch.float16):
        save_tensors({name: tensor.to(kind) for name, tensor in tensors.items()}, file)
        for name, array in load_sentence_encoder(str(transformer)).weights.items():
            np.testing.assert_array_equal(array, tensors[name].to(kind).float().numpy())
    save_tensors({name: one.to(torch.float8_e4m3fn) for name, one in tensors.items()}, file)
    with pytest.raises(ArtifactError, match="has numbers of type F8_E4M3, expected one of F64"):
        load_sentence_encoder(str(transformer))
