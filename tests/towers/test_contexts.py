"""Contexts: towers learn who takes what when, and without a context rank as if there were none."""

from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest
import torch

from m6rec.config.towers import ContextConfig
from m6rec.kernels.arrays.contexts import NOT_KNOWN, ContextVocabulary
from m6rec.kernels.arrays.rows import Float64, Int32, Int64, Rows
from m6rec.kernels.factors.projection import FactorModel, build_factor_model
from m6rec.towers.artifact import TowerProvenance, load_towers, save_towers
from m6rec.towers.batches import ArrowRowBatches
from m6rec.towers.encoder import ItemInputs
from m6rec.towers.row_files import Manifest, write_row_file
from m6rec.towers.sequence_encoder import SequenceEncoder, SequenceUserEncoder
from m6rec.towers.sequence_training import drop_contexts, train_sequence_towers
from tests.towers.test_sequence import CONFIG, validation

N_USERS, N_ITEMS, LENGTH = 160, 24, 10
HOUR = 3_600_000_000
VOCABULARY = ContextVocabulary(clock=True, columns={"device": ("phone", "desk")})
PHONE, DESK = VOCABULARY.codes["device"].of_values.values()
# Items 0 to 11 are of one taste, the others of the other; even ones are taken in the morning.
MORNING = np.arange(N_ITEMS) % 2 == 0
CONTEXT_CONFIG = CONFIG.model_copy(
    update={
        "context": ContextConfig(dropout=0.1, dropout_of_all=0.3),
        "minimum_steps_per_epoch": 16,
    }
)


def days(n_users: int = N_USERS, seed: int = 1) -> tuple[Rows, Int64, Int32]:
    """Users take items of their taste, the even ones at 8, by phone, and the odd ones at 20."""
    generator = np.random.default_rng(seed)
    items, times, devices = [], [], []
    for user in range(n_users):
        own = np.arange(12) + 12 * (user % 2)
        taken = generator.permutation(own)[:LENGTH]
        when = 24 * np.arange(LENGTH) + np.where(MORNING[taken], 8, 20)
        order = np.argsort(taken)
        items.append(taken[order])
        times.append(when[order] * HOUR)
        devices.append(np.where(MORNING[taken], PHONE, DESK)[order])
    indptr = np.arange(n_users + 1) * LENGTH
    flat = np.concatenate(items).astype(np.int32)
    rows = Rows(np.arange(n_users), indptr, flat, np.ones(len(flat), np.float32))
    return rows, np.concatenate(times), np.concatenate(devices)[:, None].astype(np.int32)


def write_days(folder: Path) -> Manifest:
    rows, times, devices = days()
    write_row_file(folder / "rows.parquet", rows, None, N_USERS * LENGTH, times, devices)
    return Manifest(
        str(folder), ("rows.parquet",), (N_USERS,), N_USERS * LENGTH, 0, 1, True, contexts=1
    )


@pytest.fixture(scope="module")
def factors() -> FactorModel:
    vectors = np.random.default_rng(3).standard_normal((N_ITEMS, 6)).astype(np.float32)
    counts = np.bincount(days()[0].item_indices, minlength=N_ITEMS)
    return build_factor_model("svd", vectors, vectors, np.ones(N_ITEMS, np.float32), {}, counts)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return write_days(tmp_path_factory.mktemp("days"))


def train(
    manifest: Manifest,
    factors: FactorModel,
    checkpoint: str | None = None,
    epochs: int = 25,
    contexts: ContextVocabulary = VOCABULARY,
) -> SequenceEncoder:
    encoder = train_sequence_towers(
        ArrowRowBatches(manifest, 0, 1),
        ItemInputs(factors),
        CONTEXT_CONFIG,
        seed=1,
        checkpoint_folder=checkpoint,
        epochs=epochs,
        threads=1,
        contexts=contexts,
    ).encoder
    assert isinstance(encoder, SequenceEncoder)
    return encoder


@pytest.fixture(scope="module")
def trained(manifest: Manifest, factors: FactorModel) -> SequenceEncoder:
    return train(manifest, factors)


def morning_share(towers: SequenceEncoder, context: dict[str, str]) -> Float64:
    """Of each user's 6 best items, the share of those that are taken in the morning."""
    rows, times, _ = days(40, seed=9)
    items = towers.encode_items(None)
    users = towers.encode_users(rows, times, items)
    placed = SequenceUserEncoder(towers, items).in_context(users, context)
    scores = placed @ items.T
    of_taste = np.arange(N_ITEMS) // 12 == (np.arange(40) % 2)[:, None]
    best = np.argsort(-np.where(of_taste, scores, -np.inf), axis=1)[:, :6]
    return MORNING[best].mean(axis=1)


def test_in_the_morning_users_get_what_is_taken_in_the_morning(trained: SequenceEncoder) -> None:
    for morning, evening in (
        (("hour", "8"), ("hour", "20")),
        (("device", "phone"), ("device", "desk")),
    ):
        assert (morning_share(trained, dict([morning])) == 1.0).all()
        assert (morning_share(trained, dict([evening])) == 0.0).all()


def test_without_a_context_neither_is_favoured(trained: SequenceEncoder) -> None:
    for context in ({}, {"hour": "3"}, {"device": "tablet"}):
        assert 0.3 < morning_share(trained, context).mean() < 0.7


def test_what_context_is_worth_is_measured_on_one_item_of_each_user(
    trained: SequenceEncoder,
) -> None:
    rows, times, _ = days(40, seed=9)
    # Each user goes on with the first item of his taste that he did not have.
    had = np.zeros((40, N_ITEMS), np.bool_)
    had[np.repeat(np.arange(40), LENGTH), rows.item_indices] = True
    had[np.arange(N_ITEMS) // 12 != (np.arange(40) % 2)[:, None]] = True
    first = np.argmin(had, axis=1)
    hours = np.where(MORNING[first], "8", "20")
    codes = np.stack([VOCABULARY.codes_of({"hour": hour}) for hour in hours])
    validate = validation(rows, times, np.zeros(40), k=6).of_items(first.astype(np.int32))
    without, whole = validate.ndcg_in_contexts(trained, ItemInputs(trained.factor_model), codes)
    assert whole.mean() > without.mean() + 0.1


def test_numpy_places_users_in_a_context_as_torch_does(trained: SequenceEncoder) -> None:
    from m6rec.towers.sequence_model import SequenceModel, SequenceShape  # noqa: PLC0415

    shape = SequenceShape(**trained.shape)
    model = SequenceModel(shape, torch.zeros(shape.width, shape.rank), 0.5).eval()
    model.load_state_dict({name: torch.tensor(value) for name, value in trained.weights.items()})
    users = np.random.default_rng(4).standard_normal((3, shape.width)).astype(np.float32)
    contexts = ({"hour": "8", "device": "phone"}, {"weekday": "7"}, {"device": "tablet"})
    codes = np.stack([VOCABULARY.codes_of(context) for context in contexts])
    with torch.no_grad():
        expected = model.in_context(torch.from_numpy(users), torch.from_numpy(codes).long())
    npt.assert_allclose(trained.in_context(users, codes), expected.numpy(), rtol=1e-5, atol=1e-6)
    npt.assert_allclose(trained.in_context(users, codes[0])[:1], expected[:1], rtol=1e-5, atol=1e-6)
    npt.assert_array_equal(trained.in_context(users, VOCABULARY.codes_of({})), users)


def test_the_towers_keep_their_contexts_in_their_artifact(
    trained: SequenceEncoder, tmp_path: Path
) -> None:
    save_towers(str(tmp_path), trained, TowerProvenance("final", "svd", 0, None, {}, {}, 1))
    loaded = load_towers(str(tmp_path)).encoder(trained.factor_model)
    assert isinstance(loaded, SequenceEncoder)
    assert loaded.contexts == VOCABULARY


def test_a_killed_training_goes_on_with_the_same_contexts_alone(
    manifest: Manifest, factors: FactorModel, tmp_path: Path
) -> None:
    whole = train(manifest, factors, str(tmp_path / "whole"), epochs=3)
    train(manifest, factors, str(tmp_path / "killed"), epochs=2)
    again = train(manifest, factors, str(tmp_path / "killed"), epochs=3)
    assert np.abs(whole.weights["context_shift"]).max() > 0.0
    for name, value in whole.weights.items():
        npt.assert_allclose(again.weights[name], value, rtol=1e-5, atol=1e-6)
    others = ContextVocabulary(clock=True, columns={"device": ("desk", "phone")})
    anew = train(manifest, factors, str(tmp_path / "killed"), epochs=3, contexts=others)
    alone = train(manifest, factors, str(tmp_path / "alone"), epochs=3, contexts=others)
    for name, value in alone.weights.items():
        npt.assert_array_equal(anew.weights[name], value)


def test_contexts_are_left_out_at_random_by_key_and_as_a_whole() -> None:
    codes = np.ones((20_000, 3), np.int32)
    config = ContextConfig(dropout=0.2, dropout_of_all=0.5)
    kept = drop_contexts(codes, config, np.random.default_rng(1)) != NOT_KNOWN
    assert kept.any(axis=1).mean() == pytest.approx(0.5 * (1 - 0.2**3), abs=0.02)
    assert kept[kept.any(axis=1)].mean() == pytest.approx(0.8 / (1 - 0.2**3), abs=0.02)
