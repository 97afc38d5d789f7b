"""The item tower learns from pictures and videos what decides who likes an item."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from PIL import Image, ImageDraw

from m6rec.config.towers import ImagesConfig, TowerPart, TowersConfig
from m6rec.kernels.arrays.rows import Rows
from m6rec.kernels.factors.projection import FactorModel, build_factor_model
from m6rec.stages.features.videos import decode_video
from m6rec.towers.artifact import TowerProvenance, load_towers, save_towers
from m6rec.towers.batches import ArrowRowBatches
from m6rec.towers.encoder import (
    ItemInputs,
    TowerEncoder,
    item_factor_inputs,
    item_gates,
    popularity_inputs,
)
from m6rec.towers.model import TowerModel, TowerShape
from m6rec.towers.picture_branches import PictureBranch
from m6rec.towers.picture_training import PictureReader, augmented, choose_fresh
from m6rec.towers.pictures import NO_FRAME, Pictures
from m6rec.towers.training import freeze, train_towers
from tests.matrix_rows import rows_from_scipy
from tests.towers.coloured import write_files
from tests.towers.moving import encoded

SIZE = 24
COLOURS = ("red", "lime", "blue", "yellow")
SHAPES = ("disc", "beam", "post")
KINDS = len(COLOURS) * len(SHAPES)
WARM, COLD, USERS, RANK = 240, 240, 300, 16
LISTED = 10
CHANCE = LISTED / COLD
SMALL = ImagesConfig(channels=(8, 16, 32), per_step=160)


def draw(kind: int, x: float, y: float) -> Image.Image:
    """A shape in a colour at a place, on a background of noise."""
    colour, shape = COLOURS[kind % len(COLOURS)], SHAPES[kind // len(COLOURS)]
    noise = np.random.default_rng(int(1000 * x + y)).integers(0, 90, (SIZE, SIZE, 3))
    image = Image.fromarray(noise.astype(np.uint8))
    across, up = {"disc": (0.25, 0.25), "beam": (0.4, 0.1), "post": (0.1, 0.4)}[shape]
    box = (x - across * SIZE, y - up * SIZE, x + across * SIZE, y + up * SIZE)
    pen = ImageDraw.Draw(image)
    if shape == "disc":
        pen.ellipse(box, fill=colour)
    else:
        pen.rectangle(box, fill=colour)
    return image


def places(generator: np.random.Generator) -> tuple[float, float]:
    x, y = generator.uniform(SIZE * 0.3, SIZE * 0.7, 2)
    return float(x), float(y)


def video(kind: int, generator: np.random.Generator, frames: int = 6) -> bytes:
    """The shape on its way from one place to another."""
    start, end = places(generator), places(generator)
    ways = [
        [a + share * (b - a) for a, b in zip(start, end, strict=True)]
        for share in np.linspace(0, 1, frames)
    ]
    return encoded((draw(kind, x, y) for x, y in ways), SIZE)


def by_colour(images: list[Image.Image]) -> np.ndarray:
    """uint8 [p, 3, size, size]."""
    return np.stack([np.asarray(image.convert("RGB")).transpose(2, 0, 1) for image in images])


def still_pictures() -> Pictures:
    generator = np.random.default_rng(2)
    images = [draw(item % KINDS, *places(generator)) for item in range(WARM + COLD)]
    return Pictures("cover", by_colour(images), np.arange(WARM + COLD)[:, None])


def moving_pictures() -> Pictures:
    generator = np.random.default_rng(3)
    images, frame_places = [], np.full((WARM + COLD, 2), NO_FRAME, np.int64)
    for item in range(WARM + COLD):
        frames = decode_video(video(item % KINDS, generator), 2)
        frame_places[item] = len(images) + np.arange(2)
        images += frames
    return Pictures("trailer", by_colour(images), frame_places)


@pytest.fixture(scope="module")
def liked() -> Rows:
    """Users of whom each has items of one kind, colour and shape, among those that are not new."""
    generator = np.random.default_rng(4)
    of_kind = np.arange(WARM) % KINDS == (np.arange(USERS) % KINDS)[:, None]
    matrix = np.zeros((USERS, WARM + COLD), np.float32)
    matrix[:, :WARM] = generator.random((USERS, WARM)) < np.where(of_kind, 0.5, 0.005)
    return rows_from_scipy(sp.csr_matrix(matrix))


@pytest.fixture(scope="module")
def factors(liked: Rows) -> FactorModel:
    """A truncated SVD, in which new items are zero."""
    matrix = liked.to_scipy(WARM + COLD).toarray()
    _, _, v = np.linalg.svd(matrix, full_matrices=False)
    item_factors = np.ascontiguousarray(v[:RANK].T, dtype=np.float32)
    counts = (matrix > 0).sum(axis=0).astype(np.int64)
    scales = np.ones(len(item_factors), np.float32)
    return build_factor_model("svd", item_factors, item_factors, scales, {}, counts)


def recall_of_new_items(
    liked: Rows, factors: FactorModel, pictures: tuple[Pictures, ...], folder: Path
) -> float:
    """Recall@10 of three new items of each user's kind among all new items."""
    manifest = write_files(folder, liked, None, files=1, world_size=1)
    config = TowersConfig(
        hidden=32,
        feature_hidden=32,
        epochs=12,
        negatives=WARM,
        users_per_batch=32,
        images=SMALL,
        precision="float32",
    )
    items = ItemInputs(factors, pictures=pictures)
    towers = train_towers(
        ArrowRowBatches(manifest, seed=1), items, config, seed=1, threads=1
    ).encoder
    scores = towers.encode_users(liked, None) @ towers.encode_items(None)[WARM:].T
    # Items that are alike to the towers are in an order by chance, not in that of their kinds: in
    # numbers of eight bytes, as those of four would round most of it away.
    scores = scores + 1e-6 * np.random.default_rng(5).random(scores.shape)
    kinds = np.arange(WARM, WARM + COLD) % KINDS
    recalls = []
    for user, row in enumerate(scores):
        relevant = np.flatnonzero(kinds == user % KINDS)[:3]
        recalls.append(np.isin(relevant, np.argsort(-row)[:LISTED]).mean())
    return float(np.mean(recalls))


@pytest.mark.slow
@pytest.mark.parametrize("column", [still_pictures, moving_pictures])
def test_new_items_are_ranked_by_what_they_look_like(
    liked: Rows, factors: FactorModel, tmp_path: Path, column: Callable[[], Pictures]
) -> None:
    assert recall_of_new_items(liked, factors, (column(),), tmp_path) > 5 * CHANCE


def test_without_pictures_new_items_are_ranked_by_chance(
    liked: Rows, factors: FactorModel, tmp_path: Path
) -> None:
    assert recall_of_new_items(liked, factors, (), tmp_path) < 2 * CHANCE


@pytest.fixture
def few(factors: FactorModel) -> tuple[Pictures, ...]:
    """Two columns; of six items the first has both, the second a film of one frame, the third one
    of two frames, the fourth nothing."""
    generator = np.random.default_rng(6)
    pixels = generator.integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)
    cover = np.full((6, 1), NO_FRAME, np.int64)
    film = np.full((6, 2), NO_FRAME, np.int64)
    cover[0], film[0], film[1, 0], film[2] = 4, (0, 1), 2, (2, 3)
    return Pictures("cover", pixels, cover), Pictures("film", pixels, film)


def model_of(pictures: tuple[Pictures, ...], rank: int, features: int = 0) -> TowerModel:
    """A model whose every weight is away from its start, as after training."""
    frames = tuple(one.frames for one in pictures)
    modalities = ((1, features),) if features else ()
    shape = TowerShape(rank, 0, features, 16, 6, 0.1, 2.0, (), modalities, frames, (4, 8), 1)
    model = TowerModel(shape)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def six_items() -> FactorModel:
    factors = np.random.default_rng(8).standard_normal((6, 4)).astype(np.float32)
    counts = np.array([3, 0, 0, 5, 1, 0])
    return build_factor_model("svd", factors, factors, np.ones(6, np.float32), {}, counts)


@pytest.mark.parametrize("width", [0, 3])
def test_the_towers_embed_in_training_as_when_they_are_frozen(
    few: tuple[Pictures, ...], width: int
) -> None:
    """With a column of vectors beside the pictures, and without."""
    factor_model = six_items()
    model = model_of(few, factor_model.rank, width)
    features = np.random.default_rng(1).standard_normal((6, width)).astype(np.float32)
    features[0] = 0
    assert model.item.pictures is not None
    reader = PictureReader(few, model.item.pictures, SMALL)
    with torch.no_grad():
        in_training = model.embed_items(
            torch.from_numpy(item_factor_inputs(factor_model)),
            torch.from_numpy(item_gates(factor_model, 2.0)),
            torch.from_numpy(features),
            reader.units(),
            torch.from_numpy(popularity_inputs(factor_model.interaction_counts)),
        )
    frozen = freeze(model, factor_model, reader.units())
    given = features if width else None
    np.testing.assert_allclose(frozen.encode_items(given), in_training.numpy(), atol=2e-5)


@pytest.mark.parametrize("without", [(), ("features",), ("gate",)])
def test_trained_towers_are_saved_with_what_they_make_of_pictures(
    factor_model: FactorModel, rows: Rows, tmp_path: Path, without: tuple[TowerPart, ...]
) -> None:
    """In reduced precision, as on processors that multiply it, and whatever part is taken out."""
    generator = np.random.default_rng(9)
    pixels = generator.integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)
    seen = np.full((factor_model.n_items, 1), NO_FRAME, np.int64)
    seen[:40, 0] = np.arange(40)
    items = ItemInputs(factor_model, pictures=(Pictures("cover", pixels, seen),))
    manifest = write_files(tmp_path, rows, None, files=1, world_size=1)
    config = TowersConfig(
        hidden=8,
        feature_hidden=4,
        epochs=2,
        negatives=30,
        users_per_batch=32,
        minimum_steps_per_epoch=2,
        images=ImagesConfig(channels=(4, 8), per_step=16),
        precision="bfloat16",
        without=without,
    )
    first, second = (
        train_towers(ArrowRowBatches(manifest, seed=5), items, config, 5, threads=1).encoder
        for _ in range(2)
    )
    assert isinstance(first, TowerEncoder)
    embedded = first.encode_items(None)
    assert np.isfinite(embedded).all()
    np.testing.assert_array_equal(second.encode_items(None), embedded)
    provenance = TowerProvenance("final", factor_model.method, 1, None, {}, {}, 5)
    save_towers(str(tmp_path / "towers"), first, provenance)
    again = load_towers(str(tmp_path / "towers")).encoder(factor_model)
    np.testing.assert_array_equal(again.encode_items(None), embedded)
    known = first.seen_items
    assert known is not None
    assert known.tolist() == [item < 40 and "features" not in without for item in range(60)]


def test_a_column_that_training_leaves_out_is_one_that_is_missing(
    few: tuple[Pictures, ...],
) -> None:
    model = model_of(few, 4)
    assert model.item.pictures is not None
    reader = PictureReader(few, model.item.pictures, SMALL)
    units = reader.units()
    assert units.shape == (6, 2, 6)
    assert not units[1, 0].any() and units[1, 1].any() and not units[3:].any()
    without = units.clone()
    without[:, 0] = 0
    factors, gates, popularity = torch.randn(6, 4), torch.rand(6), torch.zeros(6)
    features = torch.zeros(6, 0)
    kept = torch.tensor([[0.0, 1.0]]).expand(6, 2)
    with torch.no_grad():
        left_out = model.embed_items(factors, gates, features, units, popularity, kept)
        missing = model.embed_items(factors, gates, features, without, popularity)
        whole = model.embed_items(factors, gates, features, units, popularity)
    torch.testing.assert_close(left_out, missing)
    assert not torch.allclose(whole[0], missing[0])
    # Neither of them had a cover.
    torch.testing.assert_close(whole[1:], missing[1:])


def test_a_step_reads_some_pictures_with_a_gradient_and_takes_the_others_as_they_were(
    few: tuple[Pictures, ...],
) -> None:
    model = model_of(few, 4)
    assert model.item.pictures is not None
    plain = ImagesConfig(channels=(4, 8), augmentation=False)
    reader = PictureReader(few, model.item.pictures, plain)
    before = reader.units()
    items = np.array([2, 0, 3])
    taken = reader.units_in_step(items, np.array([1]), seed=1)
    torch.testing.assert_close(taken.detach(), before[items])
    taken[[0, 2]].sum().backward(retain_graph=True)
    changed = [one.grad for one in model.item.pictures.parameters() if one.grad is not None]
    assert not any(gradient.any() for gradient in changed)
    taken[1].sum().backward()
    assert all(parameter.grad is not None for parameter in model.item.pictures.parameters())
    with torch.no_grad():
        for parameter in model.item.pictures.parameters():
            parameter.mul_(1.5)
    assert not torch.allclose(reader.units(), before)


def test_a_step_reads_no_more_frames_than_it_may(few: tuple[Pictures, ...]) -> None:
    items = np.array([5, 3, 2, 1, 0])
    generator = np.random.default_rng(1)
    frames = {2: 2, 3: 1, 4: 3}
    for per_step in (1, 3, 100):
        for _ in range(10):
            fresh = choose_fresh(few, items, per_step, generator).tolist()
            assert fresh == sorted(set(fresh)) and set(fresh) <= set(frames)
            assert len(fresh) == 1 or sum(frames[place] for place in fresh) <= per_step
    assert choose_fresh(few, items, 100, generator).tolist() == [2, 3, 4]
    assert choose_fresh(few, np.array([3, 5]), 100, generator).tolist() == []


def test_augmentation_mirrors_shifts_and_lights_but_keeps_what_is_to_be_seen() -> None:
    picture = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    picture[:, 0, 4:8, 4:8] = 100
    many = augmented(picture.expand(200, -1, -1, -1), torch.Generator().manual_seed(1))
    seen = many[:, 0] > 0
    assert not many[:, 1:].any()
    assert (seen.sum(dim=(1, 2)) == 16).all()
    values = many[:, 0].amax(dim=(1, 2))
    assert values.min() >= 80 and values.max() <= 120 and values.std() > 5
    left = seen.any(dim=1).int().argmax(dim=1)
    assert set(left.tolist()) == {2, 3, 4, 5, 6, 7, 8, 9, 10}
    again = augmented(picture.expand(200, -1, -1, -1), torch.Generator().manual_seed(1))
    torch.testing.assert_close(many, again)


def test_the_default_network_has_some_300_000_weights() -> None:
    branch = PictureBranch(1, ImagesConfig().channels, ImagesConfig().blocks, 128)
    assert 280_000 < sum(parameter.numel() for parameter in branch.parameters()) < 340_000
