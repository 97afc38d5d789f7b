"""Towers that know order: what they learn, and that NumPy and torch agree."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.testing as npt
import pytest
import torch
from pyspark.sql import SparkSession

from m6rec.config.towers import SequenceConfig, TowersConfig
from m6rec.kernels.arrays.contexts import ContextVocabulary
from m6rec.kernels.arrays.rows import UNKNOWN_TIME, Float32, Float64, Int64, Rows
from m6rec.kernels.arrays.sequences import GAP_BINS
from m6rec.kernels.factors.projection import FactorModel, build_factor_model
from m6rec.kernels.ranking.members import UserBlock
from m6rec.kernels.ranking.validation import ValidationUsers
from m6rec.stages.training.tower_ranks import train_on_ranks
from m6rec.towers.artifact import TowerProvenance, load_towers, save_towers
from m6rec.towers.batches import ArrowRowBatches, TrainingRows
from m6rec.towers.encoder import ItemInputs
from m6rec.towers.launch import TrainingTask, train_alone
from m6rec.towers.row_files import Manifest, write_row_file
from m6rec.towers.sequence_attribution import history_parts_in_order
from m6rec.towers.sequence_encoder import SequenceEncoder, sequence_factors
from m6rec.towers.sequence_training import cut_windows, pools_of_epoch, train_sequence_towers
from m6rec.towers.validation import TowerValidation
from m6rec.towers.warm_start import EarlierTowers, FeatureMap

N_USERS, N_ITEMS, LENGTH = 160, 24, 12
CONFIG = SequenceConfig(
    length=8, width=16, feature_hidden=8, epochs=25, negatives=24, users_per_batch=16, dropout=0.1,
    learning_rate=0.01, precision="float32",
)  # fmt: skip
STRIDE = 5
"""Every user goes from item i to item i + STRIDE: a set of items does not tell which is next."""


def circle(n_users: int, seed: int = 1) -> tuple[Rows, Int64, Int64]:
    """Walks around the items, by ascending item; their times, and the item that comes next."""
    generator = np.random.default_rng(seed)
    starts = generator.integers(0, N_ITEMS, n_users)
    lengths = generator.integers(3, LENGTH, n_users)
    items, times = [], []
    for start, length in zip(starts, lengths, strict=True):
        walk = (start + STRIDE * np.arange(length)) % N_ITEMS
        order = np.argsort(walk)
        items.append(walk[order])
        times.append(np.arange(length)[order] * 86_400_000_000)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    flat = np.concatenate(items).astype(np.int32)
    rows = Rows(np.arange(n_users), indptr, flat, np.ones(len(flat), np.float32))
    following = (starts + STRIDE * lengths) % N_ITEMS
    return rows, np.concatenate(times), following


@pytest.fixture(scope="module")
def walks() -> tuple[Rows, Int64, Int64]:
    return circle(N_USERS)


@pytest.fixture(scope="module")
def factors(walks: tuple[Rows, Int64, Int64]) -> FactorModel:
    rows = walks[0]
    generator = np.random.default_rng(3)
    vectors = generator.standard_normal((N_ITEMS, 6)).astype(np.float32)
    counts = np.bincount(rows.item_indices, minlength=N_ITEMS)
    ones = np.ones(N_ITEMS, np.float32)
    return build_factor_model("svd", vectors, vectors, ones, {}, counts)


@pytest.fixture(scope="module")
def features() -> Float32:
    return np.eye(4, dtype=np.float32)[np.arange(N_ITEMS) % 4]


def write_walks(folder: Path, rows: Rows, times: Int64, world_size: int) -> Manifest:
    width, half = 80, len(rows) // 2
    names = ("rows-00000.parquet", "rows-00001.parquet")
    for name, start, stop in zip(names, (0, half), (half, len(rows)), strict=True):
        part = times[rows.indptr[start] : rows.indptr[stop]]
        write_row_file(folder / name, rows.slice(start, stop), None, width, part)
    return Manifest(str(folder), names, (half, len(rows) - half), width, 0, world_size, True)


def pool_of(rows: Rows, times: Int64) -> TrainingRows:
    no_features = np.zeros((len(rows), 0), np.float32)
    return TrainingRows(rows, times, no_features, np.zeros((rows.entries, 0), np.int32))


def validation(rows: Rows, times: Int64, following: Int64, k: int = 1) -> TowerValidation:
    nothing = np.zeros((len(rows), 0), np.float32)
    block = UserBlock(rows, nothing, nothing, {}, np.zeros(rows.entries, np.float32), times)
    indptr = np.arange(len(rows) + 1)
    targets = following.astype(np.int32)
    return TowerValidation(ValidationUsers(block, indptr, targets, np.zeros(N_ITEMS, bool)), k)


@pytest.fixture(scope="module")
def trained(
    walks: tuple[Rows, Int64, Int64],
    factors: FactorModel,
    features: Float32,
    tmp_path_factory: pytest.TempPathFactory,
) -> SequenceEncoder:
    manifest = write_walks(tmp_path_factory.mktemp("walks"), *walks[:2], world_size=1)
    batches = ArrowRowBatches(manifest, 0, 1)
    result = train_sequence_towers(
        batches, ItemInputs(factors, features), CONFIG, seed=1, threads=1
    )
    assert isinstance(result.encoder, SequenceEncoder)
    return result.encoder


def test_the_towers_learn_what_comes_next(trained: SequenceEncoder, features: Float32) -> None:
    rows, times, following = circle(200, seed=9)
    items = ItemInputs(trained.factor_model, features)
    assert validation(rows, times, following)(trained, items) > 0.9


def test_with_another_order_they_rank_otherwise(
    trained: SequenceEncoder, features: Float32
) -> None:
    rows, times, following = circle(200, seed=9)
    items = ItemInputs(trained.factor_model, features)
    shuffled = np.random.default_rng(2).permutation(len(times)) * 86_400_000_000
    assert validation(rows, shuffled, following)(trained, items) < 0.5


def test_what_items_add_to_a_score_adds_up_to_what_the_history_adds(
    trained: SequenceEncoder, features: Float32
) -> None:
    """The rest is the score of as many empty places, under the last norm of the history."""
    rows, times, following = circle(200, seed=9)
    items = trained.encode_items(features)
    users = trained.encode_users(rows, times, items)
    nothing = np.zeros_like(items)
    without_gaps = {**trained.weights, "gap": np.zeros((GAP_BINS, CONFIG.width), np.float32)}
    empty = replace(trained, weights=without_gaps)
    of_the_last = 0
    for user in range(20):
        row, item = rows.slice(user, user + 1), items[following[user]]
        own = times[rows.indptr[user] : rows.indptr[user + 1]]
        parts = history_parts_in_order(trained, row, own, items, item)
        deviation = np.sqrt((before_the_norm(trained, row, own, items) ** 2).mean() + 1e-5)
        places = before_the_norm(empty, row, own, nothing) / deviation
        rest = (places * trained.weights["norm.weight"] + trained.weights["norm.bias"]) @ item
        assert parts.sum() + rest == pytest.approx(users[user] @ item, abs=1e-3)
        assert np.count_nonzero(parts) == min(row.entries, CONFIG.length)
        of_the_last += int(np.argmax(parts) == np.argmax(own))
    # What comes next follows from the last item alone.
    assert of_the_last >= 18


def before_the_norm(towers: SequenceEncoder, row: Rows, times: Int64, items: Float32) -> Float64:
    """What the blocks say of one user, centred: float64 [width]."""
    said: list[Float32] = []

    class Reader(SequenceEncoder):
        def _block(self, *given: Any) -> Float32:
            said.append(super()._block(*given))
            return said[-1]

    Reader(towers.shape, towers.weights, towers.factor_model).encode_users(row, times, items)
    last = said[-1][0, -1].astype(np.float64)
    centred: Float64 = last - last.mean()
    return centred


def test_in_a_context_items_add_as_much_as_it_makes_of_them(
    trained: SequenceEncoder, features: Float32
) -> None:
    rows, times, following = circle(200, seed=9)
    items, row = trained.encode_items(features), rows.slice(0, 1)
    own, item = times[: row.entries], items[following[0]]
    scale = np.random.default_rng(4).normal(size=(4, CONFIG.width)).astype(np.float32)
    weights = {**trained.weights, "context_scale": scale, "context_shift": scale}
    vocabulary = ContextVocabulary(columns={"device": ("phone", "tablet")})
    knowing = replace(trained, weights=weights, contexts=vocabulary)
    codes = vocabulary.codes_of({"device": "tablet"})
    found = history_parts_in_order(knowing, row, own, items, item, codes)
    expected = history_parts_in_order(trained, row, own, items, item * (1 + scale[codes[0]]))
    npt.assert_allclose(found, expected, rtol=1e-5)


def test_nothing_is_owed_to_an_empty_history(trained: SequenceEncoder, features: Float32) -> None:
    items = trained.encode_items(features)
    nobody = Rows(np.arange(1), np.zeros(2, np.int64), np.zeros(0, np.int32), np.zeros(0))
    assert not len(history_parts_in_order(trained, nobody, np.zeros(0), items, items[3]))


def test_numpy_embeds_as_torch_does(trained: SequenceEncoder, features: Float32) -> None:
    from m6rec.towers.sequence_model import SequenceModel, SequenceShape  # noqa: PLC0415

    shape = SequenceShape(**trained.shape)
    model = SequenceModel(shape, torch.zeros(shape.width, shape.rank), 0.5).eval()
    model.load_state_dict({name: torch.tensor(value) for name, value in trained.weights.items()})
    with torch.no_grad():
        items = model.embed_items(
            torch.arange(N_ITEMS),
            torch.from_numpy(sequence_factors(trained.factor_model)),
            torch.from_numpy(features),
        )
        found = trained.encode_items(features)
        npt.assert_allclose(found, items.numpy(), rtol=1e-4, atol=1e-5)
        history = torch.tensor([[3, 8, 13, 18]])
        gaps = torch.tensor([[0, 7, 7, 7]])
        read = model.read(items[history], gaps, torch.ones(1, 4, dtype=torch.bool))[0, -1]
    rows = Rows(
        np.array([0]), np.array([0, 4]), np.array([3, 8, 13, 18], np.int32), np.ones(4, "f4")
    )
    times = np.arange(4) * 86_400_000_000
    npt.assert_allclose(
        trained.encode_users(rows, times, found)[0], read.numpy(), rtol=1e-3, atol=1e-4
    )


def test_a_user_is_embedded_alike_alone_and_among_others(
    trained: SequenceEncoder, features: Float32, walks: tuple[Rows, Int64, Int64]
) -> None:
    rows, times, _ = walks
    items = trained.encode_items(features)
    together = trained.encode_users(rows, times, items)
    for user in range(0, len(rows), 7):
        of_user = slice(rows.indptr[user], rows.indptr[user + 1])
        alone = trained.encode_users(rows.slice(user, user + 1), times[of_user], items)
        npt.assert_array_equal(alone[0], together[user])


def test_only_the_last_items_count_and_a_user_without_any_gets_zeros(
    trained: SequenceEncoder, features: Float32
) -> None:
    items = trained.encode_items(features)
    long = np.arange(12, dtype=np.int32)
    rows = Rows(
        np.arange(3), np.array([0, 12, 20, 20]), np.concatenate([long, long[4:]]), np.ones(20, "f4")
    )
    times = np.concatenate([np.arange(12), np.arange(4, 12)]) * 86_400_000_000
    users = trained.encode_users(rows, times, items)
    # The cut history begins with a gap to an item that the whole one still has.
    npt.assert_allclose(users[0], users[1], atol=0.2)
    assert not users[2].any()


def test_an_item_without_history_has_a_place_by_its_features(
    trained: SequenceEncoder, features: Float32
) -> None:
    assert (
        np.abs(trained.encode_items(features) - trained.encode_items(features[::-1])).max() > 0.01
    )


@pytest.mark.parametrize("minimum", [1, 32, 64, 200])
@pytest.mark.parametrize("users_per_batch", [16, 128])
def test_an_epoch_has_the_steps_that_are_wanted(users_per_batch: int, minimum: int) -> None:
    for rows in range(200, 40_000, 97):
        manifest = Manifest("rows", ("rows-00000.parquet",), (rows,), 80, 0, 1, True)
        wanted = manifest.steps_per_epoch(users_per_batch, minimum)
        pools, sorted_together = pools_of_epoch(wanted, manifest.fewest_rows)
        assert wanted <= pools * sorted_together < wanted + pools
        assert rows / (pools * sorted_together) <= users_per_batch


def test_no_step_of_an_epoch_is_without_a_row() -> None:
    for rows in range(1, 400):
        pools, sorted_together = pools_of_epoch(rows, rows)
        assert rows - pools < pools * sorted_together <= rows


def test_windows_make_every_interaction_but_the_first_a_target() -> None:
    rows, times, _ = circle(50, seed=4)
    items, gaps, entries, lengths = cut_windows(pool_of(rows, times), 4, np.random.default_rng(1))
    assert items.shape == gaps.shape == (len(lengths), 5)
    assert lengths.min() >= 2
    assert (lengths - 1).sum() == rows.entries - 50
    npt.assert_array_equal(rows.item_indices[entries][items >= 0], items[items >= 0])
    followed = items[:, 1:][items[:, :-1] >= 0] - items[:, :-1][items[:, :-1] >= 0]
    assert set(followed % N_ITEMS) == {STRIDE}


def test_a_history_of_one_item_has_no_window() -> None:
    rows = Rows(np.arange(2), np.array([0, 1, 3]), np.array([5, 1, 2], np.int32), np.ones(3, "f4"))
    times = np.array([UNKNOWN_TIME, 1, 2])
    items, _, _, lengths = cut_windows(pool_of(rows, times), 4, np.random.default_rng(1))
    npt.assert_array_equal(items[:, -2:], [[1, 2]])
    npt.assert_array_equal(lengths, [2])


def test_a_killed_training_ends_as_if_it_had_not_been_killed(
    walks: tuple[Rows, Int64, Int64], factors: FactorModel, tmp_path: Path
) -> None:
    manifest = write_walks(tmp_path, *walks[:2], world_size=1)
    config = CONFIG.model_copy(update={"epochs": 4, "dropout": 0.3})

    def train(folder: str, epochs: int) -> SequenceEncoder:
        batches = ArrowRowBatches(manifest, 0, 1)
        items, place = ItemInputs(factors), str(tmp_path / folder)
        result = train_sequence_towers(
            batches, items, config, 1, checkpoint_folder=place, epochs=epochs, threads=1
        )
        assert isinstance(result.encoder, SequenceEncoder)
        return result.encoder

    whole = train("whole", 4)
    train("killed", 2)
    again = train("killed", 4)
    for name, value in whole.weights.items():
        npt.assert_array_equal(again.weights[name], value)


def test_two_trainings_of_one_seed_are_equal_to_the_last_bit(
    walks: tuple[Rows, Int64, Int64], factors: FactorModel, tmp_path: Path
) -> None:
    manifest = write_walks(tmp_path, *walks[:2], world_size=1)
    # A step has more numbers than one thread takes at a time.
    large = {"width": 128, "users_per_batch": N_USERS, "minimum_steps_per_epoch": 1, "epochs": 5}
    config = CONFIG.model_copy(update=large)

    def train() -> SequenceEncoder:
        batches = ArrowRowBatches(manifest, 0, 1)
        encoder = train_sequence_towers(batches, ItemInputs(factors), config, 1, threads=2).encoder
        assert isinstance(encoder, SequenceEncoder)
        return encoder

    first, second = train(), train()
    for name, value in first.weights.items():
        npt.assert_array_equal(second.weights[name], value)


def test_towers_survive_their_artifact(trained: SequenceEncoder, tmp_path: Path) -> None:
    provenance = TowerProvenance("final", "svd", 0, None, {}, {}, 1)
    save_towers(str(tmp_path), trained, provenance)
    loaded = load_towers(str(tmp_path)).encoder(trained.factor_model)
    assert isinstance(loaded, SequenceEncoder)
    for name, value in trained.weights.items():
        npt.assert_array_equal(loaded.weights[name], value)


@pytest.mark.slow
def test_two_ranks_train_what_one_trains(
    spark: SparkSession,
    walks: tuple[Rows, Int64, Int64],
    factors: FactorModel,
    tmp_path: Path,
) -> None:
    rows, times, following = circle(100, seed=5)
    task = TrainingTask(
        manifest=write_walks(tmp_path, *walks[:2], world_size=2),
        items=ItemInputs(factors),
        config=TowersConfig(sequence=CONFIG, reader="arrow"),
        seed=1,
        validate=validation(rows, times, following),
        log_folder=None,
        checkpoint_folder=None,
        epochs=None,
        threads=1,
        in_order=True,
        contexts=ContextVocabulary(clock=True),
    )
    together = train_on_ranks(spark, task)
    (tmp_path / "alone").mkdir()
    manifest = write_walks(tmp_path / "alone", *walks[:2], world_size=1)
    alone = train_alone(TrainingTask(**{**vars(task), "manifest": manifest}))
    best = [max(epoch.validation_ndcg or 0 for epoch in r.history) for r in (together, alone)]
    assert min(best) > 0.85
    assert all(np.abs(r.encoder.weights["context_scale"]).max() > 0 for r in (together, alone))
    assert abs(best[0] - best[1]) < 0.1


def test_a_rank_without_rows_takes_each_step_with_the_others(
    spark: SparkSession,
    walks: tuple[Rows, Int64, Int64],
    factors: FactorModel,
    tmp_path: Path,
) -> None:
    rows = write_walks(tmp_path, *walks[:2], world_size=1)
    task = TrainingTask(
        manifest=replace(rows, files=rows.files[:1], rows=rows.rows[:1]),
        items=ItemInputs(factors),
        config=TowersConfig(sequence=CONFIG, reader="arrow"),
        seed=1,
        validate=None,
        log_folder=None,
        checkpoint_folder=None,
        epochs=2,
        threads=1,
        in_order=True,
    )
    divided = replace(task, manifest=replace(task.manifest, world_size=2))
    together, alone = train_on_ranks(spark, divided), train_alone(task)
    losses = [[record.loss for record in one.history] for one in (together, alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_towers_go_on_with_new_items_and_other_contexts(
    walks: tuple[Rows, Int64, Int64],
    factors: FactorModel,
    features: Float32,
    trained: SequenceEncoder,
    tmp_path: Path,
) -> None:
    """A few of the last epochs of the schedule leave what earlier towers have learned."""
    batches = ArrowRowBatches(write_walks(tmp_path, *walks[:2], world_size=1), 0, 1)
    items, new = ItemInputs(factors, features), 4
    before = dict(trained.weights) | {"own.weight": trained.weights["own.weight"][:-new]}
    known = FeatureMap(np.eye(4, dtype=np.float32))
    earlier = EarlierTowers(before, ContextVocabulary(True), 22, 3, known, known)

    def go_on(epochs: int) -> SequenceEncoder:
        result = train_sequence_towers(
            batches, items, CONFIG, 1, epochs=epochs, threads=1, earlier=earlier
        )
        assert isinstance(result.encoder, SequenceEncoder)
        return result.encoder

    start = go_on(0)
    assert not start.weights["own.weight"][-new:].any()
    npt.assert_array_equal(start.weights["own.weight"][:-new], before["own.weight"])
    npt.assert_array_equal(start.weights["feature.weight"], before["feature.weight"])
    measure = validation(*circle(60, seed=2))
    found, known = measure(go_on(3), items), measure(trained, items)
    assert found > 0.9 * known
