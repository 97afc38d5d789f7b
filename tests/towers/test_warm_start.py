"""Earlier towers read the features of another night as they read their own."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from pyspark.sql import SparkSession
from torch import Tensor, nn

from m6rec import columns as c
from m6rec.fits.earlier import (
    EarlierRun,
    features_of_both,
    map_of_features,
    without_other_vectors,
)
from m6rec.kernels.arrays.contexts import NO_CONTEXTS, ContextVocabulary
from m6rec.kernels.arrays.principal_components import Reduction
from m6rec.kernels.arrays.rows import Float32, Float64
from m6rec.kernels.arrays.standardisation import Selection, Standardisation
from m6rec.kernels.factors.projection import build_factor_model
from m6rec.kernels.neighbours.vectors import VectorSpace, fit_vector_space
from m6rec.stages.features.blocks import TokenBlock, VectorBlock, raw_names
from m6rec.stages.features.inputs import AttributeColumns
from m6rec.stages.features.pipeline import FeaturePipeline
from m6rec.stages.features.vectors import VectorColumn
from m6rec.towers.artifact import DESCRIPTION_FILE, TowerProvenance, save_towers
from m6rec.towers.loop import weights_of
from m6rec.towers.model import TowerModel, TowerShape
from m6rec.towers.sequence_model import SequenceModel, SequenceShape
from m6rec.towers.training import freeze
from m6rec.towers.warm_start import EarlierTowers, FeatureMap, VectorMap, take_over

N, PLAIN = 7, 3
# A column of one vector a row and one of several.
MODALITIES = ((1, 4), (3, 2))
FEATURES = PLAIN + sum(vectors * width for vectors, width in MODALITIES)


@pytest.fixture
def generator() -> np.random.Generator:
    torch.manual_seed(8)
    return np.random.default_rng(8)


def rotation(generator: np.random.Generator, width: int) -> Float32:
    rotated, _ = np.linalg.qr(generator.normal(size=(width, width)))
    return rotated.astype(np.float32)


def pipeline(
    names: tuple[str, ...],
    deviations: Float64,
    block: TokenBlock,
    vectors: tuple[VectorBlock, ...] = (),
) -> FeaturePipeline:
    scale = Standardisation(np.zeros(len(names)), deviations)
    return FeaturePipeline(
        c.ITEM_INDEX,
        AttributeColumns(),
        (),
        (block,),
        vectors,
        selection=Selection(np.arange(len(names)), scale, len(names), 99.0),
        names=names,
    )


def test_directions_of_text_are_turned_and_other_features_matched_by_name(
    generator: np.random.Generator,
) -> None:
    words = tuple(f"word {k}" for k in range(20))
    weights = generator.uniform(1, 2, 20).astype(np.float32)
    projection = np.linalg.qr(generator.normal(size=(20, 3)))[0].astype(np.float32)
    before = TokenBlock("plot", "text", words, weights, projection)
    # The words come in another order, and the directions are others of the same plane.
    turned = projection[::-1] @ rotation(generator, 3)
    now = TokenBlock("plot", "text", words[::-1], weights[::-1], turned)
    names_before = ("year", *before.feature_names)
    names_now = (*now.feature_names[::-1], "weight", "year")
    spread_before, spread_now = generator.uniform(0.5, 2, 5), generator.uniform(0.5, 2, 6)
    found = map_of_features(
        pipeline(names_now, spread_now, now), pipeline(names_before, spread_before, before)
    )
    counts = sp.csr_matrix(generator.poisson(0.5, (9, 20)).astype(np.float64))
    directions = before.values(counts) / spread_before[1:4]
    directions_now = now.values(counts[:, ::-1].tocsr())[:, ::-1] / spread_now[1:4]
    np.testing.assert_allclose(directions_now @ found.plain[1:4, 1:4], directions, atol=1e-5)
    # The share of unknown words is the first feature now, and was the last; no weight was known.
    others = np.zeros((6, 5), np.float32)
    others[0, 4] = others[5, 0] = 1.0
    others[1:4, 1:4] = found.plain[1:4, 1:4]
    np.testing.assert_array_equal(found.plain, others)


def test_values_of_events_are_told_apart_whatever_signs_they_have() -> None:
    acts = ("log_count", *(f"mix type of the event={one}" for one in ("cart:add", "cart:drop")))
    names = raw_names((), (), acts)
    assert names == ("log count", *acts[1:])
    block = TokenBlock("plot", "text", (), np.zeros(0, np.float32))
    one = pipeline(names, np.ones(3), block)
    np.testing.assert_array_equal(map_of_features(one, one).plain, np.eye(3))


def test_columns_of_one_readable_name_are_told_apart_by_their_order() -> None:
    block = TokenBlock("plot", "text", (), np.zeros(0, np.float32))
    before = pipeline(("home town", "home town", "year"), np.ones(3), block)
    now = pipeline(("year", "home town", "home town", "home town"), np.ones(4), block)
    expected = np.zeros((4, 3), np.float32)
    expected[0, 2] = expected[1, 0] = expected[2, 1] = 1.0
    np.testing.assert_array_equal(map_of_features(now, before).plain, expected)


def test_of_principal_components_nothing_is_known(generator: np.random.Generator) -> None:
    block = TokenBlock("plot", "text", (), np.zeros(0, np.float32))
    before = pipeline(("year",), np.ones(1), block)
    reduced = replace(
        before, reduction=Reduction(np.ones((1, 1)), Standardisation(np.zeros(1), np.ones(1)))
    )
    for now, other in ((reduced, reduced), (before, reduced), (before, None)):
        assert not map_of_features(now, other).plain.any()


def test_axes_of_vectors_are_turned_where_the_column_holds_the_same_vectors(
    generator: np.random.Generator,
) -> None:
    vectors = (generator.normal(size=(200, 6)) * [3, 2, 2, 1, 1, 1] + 1).astype(np.float32)
    space = fit_vector_space(vectors, 6, 1)
    later = fit_vector_space(vectors[20:], 6, 1)
    block = TokenBlock("plot", "text", (), np.zeros(0, np.float32))

    def map_of(now: VectorSpace, name: str = "cover") -> VectorMap | None:
        before = [VectorBlock(VectorColumn(one, 6, 1), space) for one in ("back", "cover")]
        made = VectorBlock(VectorColumn(name, 6, 1), now)
        [found] = map_of_features(
            pipeline((), np.ones(0), block, (made,)),
            pipeline((), np.ones(0), block, tuple(before)),
        ).vectors
        return found

    same, turned = map_of(space), map_of(later)
    assert same is not None and turned is not None
    # Columns are matched by name.
    assert same.place == turned.place == 1
    np.testing.assert_allclose(same.matrix, np.eye(6), atol=1e-5)
    moved = later.place(vectors) @ turned.matrix - space.place(vectors)
    by_position = later.place(vectors) - space.place(vectors)
    assert np.square(moved).sum() < 0.02 * np.square(by_position).sum()
    # Fewer axes cannot be all of the earlier ones.
    fewer = map_of(fit_vector_space(vectors, 2, 1))
    assert fewer is not None and fewer.matrix.shape == (2, 6)
    assert map_of(space, "poster") is None
    assert map_of(fit_vector_space(vectors + 5, 6, 1)) is None
    assert map_of(fit_vector_space(vectors[:, :5], 5, 1)) is None


@pytest.mark.parametrize("change", ["none", "refitted", "rotated", "negated", "permuted"])
def test_a_column_of_another_encoder_is_one_that_the_towers_do_not_know(
    generator: np.random.Generator, change: str
) -> None:
    vectors = (generator.normal(size=(300, 12)) * np.linspace(3, 1, 12)).astype(np.float32)
    encoders = {
        "rotated": vectors @ rotation(generator, 12),
        "negated": -vectors,
        "permuted": vectors[:, ::-1],
    }
    now = np.ascontiguousarray(encoders.get(change, vectors))
    spaces = [fit_vector_space(vectors, 12, 1), fit_vector_space(now[20:], 12, 1)]
    block = TokenBlock("plot", "text", (), np.zeros(0, np.float32))
    column = VectorColumn("cover", 12, 1)
    before, after = (
        pipeline((), np.ones(0), block, (VectorBlock(column, space),)) for space in spaces
    )
    found = map_of_features(after, before)
    # By the mean and the length of the vectors alone, all of them are the same column.
    assert found.vectors[0] is not None
    placed = spaces[0].place(vectors), spaces[1].place(now)
    # Another feature stands before those of vectors, and some rows have none.
    rows_before, rows = (np.hstack([np.ones((300, 1), np.float32), one]) for one in placed)
    rows[:150, 1:] = 0.0
    left = without_other_vectors(found, after.modalities, before.modalities, rows, rows_before)
    assert (left.vectors[0] is not None) == (change not in encoders)


def test_features_of_two_nights_are_compared_by_the_same_items(spark: SparkSession) -> None:
    def night(features: dict[int, list[float]]) -> Any:
        frame = spark.createDataFrame(
            list(features.items()), "item_index long, features array<float>"
        )
        lakehouse = SimpleNamespace(
            read=lambda table, fit: frame if table == "item_features" else fit
        )
        return SimpleNamespace(lakehouse=lakehouse, name=c.FINAL)

    now, before = features_of_both(
        night({1: [1.0], 2: [2.0], 9_999: [3.0]}),
        night({2: [4.0, 5.0], 9_999: [6.0, 7.0]}),
        "items",
    )
    np.testing.assert_array_equal(now, [[2.0]])
    np.testing.assert_array_equal(before, [[4.0, 5.0]])
    nothing, _ = features_of_both(night({1: [1.0]}), night({2: [1.0]}), "items")
    assert not len(nothing)


def turned_features(generator: np.random.Generator) -> tuple[Tensor, Tensor, FeatureMap]:
    """Features of two nights, and what turns those of the later into those of the earlier."""
    rotations = [rotation(generator, width) for width in (PLAIN, *(w for _, w in MODALITIES))]
    before = generator.normal(size=(N, FEATURES)).astype(np.float32)
    # One row lacks the column of several vectors, and one has fewer of them.
    before[0, -6:] = before[1, -2:] = 0.0
    each = [
        rotations[0],
        *(
            matrix
            for matrix, (m, _) in zip(rotations[1:], MODALITIES, strict=True)
            for _ in range(m)
        ),
    ]
    start, now = 0, np.empty_like(before)
    for matrix in each:
        stop = start + len(matrix)
        now[:, start:stop] = before[:, start:stop] @ matrix.T
        start = stop
    vectors = tuple(VectorMap(place, matrix) for place, matrix in enumerate(rotations[1:]))
    found = FeatureMap(rotations[0], vectors)
    return torch.from_numpy(before), torch.from_numpy(now), found


def with_weights_at_random(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) / 3)
    return model


def assert_embed_alike(model: TowerModel, now: Tensor, earlier: TowerModel, before: Tensor) -> None:
    """Users and items are embedded as they were, whose features are others now."""
    factors, gates, popularity = torch.randn(N, 5), torch.rand(N), torch.zeros(N)
    with torch.no_grad():
        torch.testing.assert_close(
            model.embed_items(factors, gates, now, None, popularity),
            earlier.embed_items(factors, gates, before, None, popularity),
        )
        torch.testing.assert_close(
            model.embed_users(factors, gates, now), earlier.embed_users(factors, gates, before)
        )


def test_towers_on_sets_embed_as_before(generator: np.random.Generator) -> None:
    before, now, mapped = turned_features(generator)
    shape = TowerShape(
        5,
        FEATURES,
        FEATURES,
        8,
        4,
        0.2,
        1.0,
        user_modalities=MODALITIES,
        item_modalities=MODALITIES,
    )
    earlier, model = with_weights_at_random(TowerModel(shape)), TowerModel(shape)
    take_over(model, EarlierTowers(weights_of(earlier), NO_CONTEXTS, 0, 0, mapped, mapped))
    assert_embed_alike(model, now, earlier, before)


def test_towers_that_know_order_embed_as_before(generator: np.random.Generator) -> None:
    before, now, mapped = turned_features(generator)
    shape = SequenceShape(5, FEATURES, N, 8, 1, 2, 4, 4, modalities=MODALITIES)
    start = torch.zeros(8, 5)
    earlier = with_weights_at_random(SequenceModel(shape, start, 0.0))
    model = SequenceModel(shape, start, 0.0)
    nothing = FeatureMap(np.zeros((0, 0), np.float32))
    take_over(model, EarlierTowers(weights_of(earlier), NO_CONTEXTS, 0, 0, nothing, mapped))
    items, factors = torch.arange(N), torch.randn(N, 5)
    with torch.no_grad():
        torch.testing.assert_close(
            model.embed_items(items, factors, now), earlier.embed_items(items, factors, before)
        )


def test_a_column_of_vectors_that_is_not_known_starts_anew(generator: np.random.Generator) -> None:
    _, _, mapped = turned_features(generator)
    unknown = replace(mapped, vectors=(mapped.vectors[0], None))
    shape = TowerShape(5, FEATURES, FEATURES, 8, 4, 0.2, 1.0, item_modalities=MODALITIES)
    earlier, model = with_weights_at_random(TowerModel(shape)), TowerModel(shape)
    start = {name: array.copy() for name, array in weights_of(model).items()}
    take_over(model, EarlierTowers(weights_of(earlier), NO_CONTEXTS, 0, 0, mapped, unknown))
    taken = weights_of(model)
    for name in ("layers.1.weight", "layers.1.bias", "queries.1"):
        key = f"item.modalities.{name}"
        np.testing.assert_array_equal(taken[key], start[key])
    stand_in = taken["item.modality_stand_in.weight"]
    assert stand_in[:, :4].all() and not stand_in[:, 4:].any()
    assert (
        taken["item.modalities.layers.0.weight"] != start["item.modalities.layers.0.weight"]
    ).all()
    # What the hidden layer reads are the factor and four units each of plain features and columns.
    first = taken["item.first.weight"]
    np.testing.assert_array_equal(first[:, :-4], weights_of(earlier)["item.first.weight"][:, :-4])
    assert not first[:, -4:].any()


# The columns of a night, by their places among the columns of the night before.
@pytest.mark.parametrize("places", [(0, 1, None), (None, 0, 1), (1, None, 0), (1, 0)])
def test_towers_embed_as_before_where_columns_of_vectors_come_or_move(
    generator: np.random.Generator, places: tuple[int | None, ...]
) -> None:
    plain = torch.randn(N, PLAIN)
    columns = [torch.randn(N, vectors * width) for vectors, width in MODALITIES]
    new = torch.randn(N, 3)
    before = torch.cat([plain, *columns], dim=1)
    now = torch.cat([plain, *(new if k is None else columns[k] for k in places)], dim=1)
    modalities = tuple((1, 3) if k is None else MODALITIES[k] for k in places)
    matrices = [np.eye(width, dtype=np.float32) for _, width in MODALITIES]
    vectors = tuple(None if k is None else VectorMap(k, matrices[k]) for k in places)
    mapped = FeatureMap(np.eye(PLAIN, dtype=np.float32), vectors)
    sets = [
        TowerShape(
            5, one.shape[1], one.shape[1], 8, 4, 0.2, 1.0, user_modalities=of, item_modalities=of
        )
        for one, of in ((before, MODALITIES), (now, modalities))
    ]
    earlier, model = with_weights_at_random(TowerModel(sets[0])), TowerModel(sets[1])
    take_over(model, EarlierTowers(weights_of(earlier), NO_CONTEXTS, 0, 0, mapped, mapped))
    assert_embed_alike(model, now, earlier, before)
    factors = torch.randn(N, 5)
    in_order = [
        SequenceModel(
            SequenceShape(5, one.shape[1], N, 8, 1, 2, 4, 4, modalities=of), torch.zeros(8, 5), 0.0
        )
        for one, of in ((before, MODALITIES), (now, modalities))
    ]
    known = EarlierTowers(
        weights_of(with_weights_at_random(in_order[0])), NO_CONTEXTS, 0, 0, mapped, mapped
    )
    take_over(in_order[1], known)
    with torch.no_grad():
        torch.testing.assert_close(
            in_order[1].embed_items(torch.arange(N), factors, now),
            in_order[0].embed_items(torch.arange(N), factors, before),
        )


def test_towers_embed_as_before_where_factors_have_more_dimensions(
    generator: np.random.Generator,
) -> None:
    nothing = FeatureMap(np.zeros((0, 0), np.float32))
    known = FeatureMap(np.eye(PLAIN, dtype=np.float32))
    features, factors, gates = torch.randn(N, PLAIN), torch.randn(N, 5), torch.rand(N)
    popularity, nowhere = torch.zeros(N), torch.zeros(N, 2)
    shapes = [TowerShape(rank, PLAIN, PLAIN, 8, 4, 0.2, 1.0) for rank in (5, 7)]
    earlier, model = with_weights_at_random(TowerModel(shapes[0])), TowerModel(shapes[1])
    take_over(model, EarlierTowers(weights_of(earlier), NO_CONTEXTS, 0, 0, known, known))
    more = torch.cat([factors, nowhere], dim=1)
    with torch.no_grad():
        found = model.embed_items(more, gates, features, None, popularity)
        expected = earlier.embed_items(factors, gates, features, None, popularity)
        torch.testing.assert_close(found[:, [0, 1, 2, 3, 4, -1]], expected)
        found = model.embed_users(more, gates, features)
        torch.testing.assert_close(
            found[:, [0, 1, 2, 3, 4, -1]], earlier.embed_users(factors, gates, features)
        )
    # A dimension that they do not know speaks for itself alone.
    assert not model.item.first.weight[:, 5:7].any()
    in_order = [
        SequenceModel(SequenceShape(rank, 0, N, 8, 1, 2, 4, 4), torch.ones(8, rank), 0.0)
        for rank in (5, 7)
    ]
    weights = weights_of(with_weights_at_random(in_order[0]))
    take_over(in_order[1], EarlierTowers(weights, NO_CONTEXTS, 0, 0, nothing, nothing))
    items, none = torch.arange(N), torch.zeros(N, 0)
    with torch.no_grad():
        torch.testing.assert_close(
            in_order[1].embed_items(items, torch.cat([factors, torch.randn(N, 2)], dim=1), none),
            in_order[0].embed_items(items, factors, none),
        )


def test_the_units_of_features_that_are_not_known_are_not_read(
    generator: np.random.Generator,
) -> None:
    shape = TowerShape(5, 0, PLAIN, 8, 4, 0.2, 1.0)
    earlier, model = with_weights_at_random(TowerModel(shape)), TowerModel(shape)
    nothing = FeatureMap(np.zeros((PLAIN, 0), np.float32))
    take_over(model, EarlierTowers(weights_of(earlier), NO_CONTEXTS, 0, 0, nothing, nothing))
    assert model.item.first.weight[:, :5].all() and not model.item.first.weight[:, 5:].any()


def test_values_of_contexts_keep_what_was_learned_of_them() -> None:
    before = ContextVocabulary(True, {"country": ("DE", "FR", "US"), "shop": ("web",)})
    now = ContextVocabulary(True, {"device": ("phone",), "country": ("FR", "AT", "DE")})
    nothing = FeatureMap(np.zeros((0, 0), np.float32))

    def model(contexts: ContextVocabulary) -> SequenceModel:
        shape = SequenceShape(5, 0, N, 8, 1, 2, 4, 4, contexts=contexts.size)
        return SequenceModel(shape, torch.zeros(8, 5), 0.0)

    weights = weights_of(with_weights_at_random(model(before)))
    taken = model(now)
    take_over(taken, EarlierTowers(weights, before, 0, 0, nothing, nothing), now)

    def row(contexts: ContextVocabulary, **context: str) -> int:
        return int(contexts.codes_of(context).max())

    contexts = [{"hour": "7"}, {"weekday": "2"}, {"country": "FR"}, {"country": "DE"}]
    for name in ("context_shift", "context_scale"):
        found = weights_of(taken)[name]
        for one in (*contexts, {"country": "another"}):
            np.testing.assert_array_equal(found[row(now, **one)], weights[name][row(before, **one)])
        assert not found[[0, row(now, country="AT"), row(now, device="phone")]].any()


def test_a_scalar_of_an_artifact_is_taken_over() -> None:
    shape, nothing = TowerShape(5, 0, 0, 8, 4, 0.2, 1.0), FeatureMap(np.zeros((0, 0), np.float32))
    model = TowerModel(shape)
    weights = {"popularity_weight": np.array([0.25], np.float32)}
    take_over(model, EarlierTowers(weights, NO_CONTEXTS, 0, 0, nothing, nothing))
    assert model.popularity_weight.item() == 0.25


def test_towers_that_another_release_has_written_are_trained_from_their_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape, ones = TowerShape(5, 0, 0, 8, 4, 0.2, 1.0), np.ones((N, 5), np.float32)
    factors = build_factor_model("svd", ones, ones, ones[:, 0], {}, np.ones(N, np.int64))
    provenance = TowerProvenance("final", "svd", 0, None, {}, {}, 1)
    save_towers(tmp_path, freeze(TowerModel(shape), factors), provenance)
    file = tmp_path / DESCRIPTION_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 1}))
    fit: Any = SimpleNamespace(
        models_of=lambda _: [{"name": "svd"}], saved_artifact=lambda *_: tmp_path
    )
    assert EarlierRun(fit, 4, 0.25).towers(fit, "svd", epochs=8) is None
    assert "towers on svd are trained from their start: " in capsys.readouterr().err
