"""Earlier towers read the features of another night as they read their own."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from m6rec import columns as c
from m6rec.fits.earlier import turn_of_features
from m6rec.kernels.arrays.contexts import NO_CONTEXTS
from m6rec.kernels.arrays.principal_components import Reduction
from m6rec.kernels.arrays.rows import Float32, Float64
from m6rec.kernels.arrays.standardisation import Selection, Standardisation
from m6rec.kernels.neighbours.vectors import VectorSpace, fit_vector_space
from m6rec.stages.features.blocks import TokenBlock, VectorBlock, raw_names
from m6rec.stages.features.inputs import AttributeColumns
from m6rec.stages.features.pipeline import FeaturePipeline
from m6rec.stages.features.vectors import VectorColumn
from m6rec.towers.loop import weights_of
from m6rec.towers.model import TowerModel, TowerShape
from m6rec.towers.sequence_model import SequenceModel, SequenceShape
from m6rec.towers.warm_start import EarlierTowers, FeatureTurn, take_over

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
    turn = turn_of_features(
        pipeline(names_now, spread_now, now), pipeline(names_before, spread_before, before)
    )
    counts = sp.csr_matrix(generator.poisson(0.5, (9, 20)).astype(np.float64))
    directions = before.values(counts) / spread_before[1:4]
    directions_now = now.values(counts[:, ::-1].tocsr())[:, ::-1] / spread_now[1:4]
    np.testing.assert_allclose(directions_now @ turn.plain[1:4, 1:4], directions, atol=1e-5)
    # The share of unknown words is the first feature now, and was the last; no weight was known.
    others = np.zeros((6, 5), np.float32)
    others[0, 4] = others[5, 0] = 1.0
    others[1:4, 1:4] = turn.plain[1:4, 1:4]
    np.testing.assert_array_equal(turn.plain, others)


def test_values_of_events_are_told_apart_whatever_signs_they_have() -> None:
    acts = ("log_count", *(f"mix type of the event={one}" for one in ("cart:add", "cart:drop")))
    names = raw_names((), (), acts)
    assert names == ("log count", *acts[1:])
    block = TokenBlock("plot", "text", (), np.zeros(0, np.float32))
    one = pipeline(names, np.ones(3), block)
    np.testing.assert_array_equal(turn_of_features(one, one).plain, np.eye(3))


def test_of_principal_components_nothing_is_known(generator: np.random.Generator) -> None:
    block = TokenBlock("plot", "text", (), np.zeros(0, np.float32))
    before = pipeline(("year",), np.ones(1), block)
    reduced = replace(
        before, reduction=Reduction(np.ones((1, 1)), Standardisation(np.zeros(1), np.ones(1)))
    )
    for now, other in ((reduced, reduced), (before, reduced), (before, None)):
        assert not turn_of_features(now, other).plain.any()


def test_axes_of_vectors_are_turned_where_the_column_holds_the_same_vectors(
    generator: np.random.Generator,
) -> None:
    vectors = (generator.normal(size=(200, 6)) * [3, 2, 2, 1, 1, 1] + 1).astype(np.float32)
    space = fit_vector_space(vectors, 6, 1)
    later = fit_vector_space(vectors[20:], 6, 1)
    block = TokenBlock("plot", "text", (), np.zeros(0, np.float32))

    def turn_of(now: VectorSpace, name: str = "cover") -> Float32:
        columns = (VectorColumn("cover", 6, 1), VectorColumn(name, 6, 1))
        made = (VectorBlock(columns[0], space), VectorBlock(columns[1], now))
        [turn] = turn_of_features(
            pipeline((), np.ones(0), block, made[1:]), pipeline((), np.ones(0), block, made[:1])
        ).vectors
        return turn

    np.testing.assert_allclose(turn_of(space), np.eye(6), atol=1e-5)
    moved = later.place(vectors) @ turn_of(later) - space.place(vectors)
    by_position = later.place(vectors) - space.place(vectors)
    assert np.square(moved).sum() < 0.02 * np.square(by_position).sum()
    # Fewer axes cannot be all of the earlier ones.
    assert turn_of(fit_vector_space(vectors, 2, 1)).shape == (2, 6)
    assert not turn_of(space, "poster").any()
    assert not turn_of(fit_vector_space(vectors + 5, 6, 1)).any()
    assert not turn_of(fit_vector_space(vectors[:, :5], 5, 1)).any()


def turned_features(generator: np.random.Generator) -> tuple[Tensor, Tensor, FeatureTurn]:
    """Features of two nights, and what turns those of the later into those of the earlier."""
    turns = [rotation(generator, width) for width in (PLAIN, *(w for _, w in MODALITIES))]
    before = generator.normal(size=(N, FEATURES)).astype(np.float32)
    # One row lacks the column of several vectors, and one has fewer of them.
    before[0, -6:] = before[1, -2:] = 0.0
    each = [
        turns[0],
        *(turn for turn, (m, _) in zip(turns[1:], MODALITIES, strict=True) for _ in range(m)),
    ]
    start, now = 0, np.empty_like(before)
    for turn in each:
        stop = start + len(turn)
        now[:, start:stop] = before[:, start:stop] @ turn.T
        start = stop
    found = FeatureTurn(turns[0], tuple(turns[1:]))
    return torch.from_numpy(before), torch.from_numpy(now), found


def with_weights_at_random(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) / 3)
    return model


def test_towers_on_sets_embed_as_before(generator: np.random.Generator) -> None:
    before, now, turn = turned_features(generator)
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
    take_over(model, EarlierTowers(weights_of(earlier), NO_CONTEXTS, 0, 0, turn, turn))
    factors, gates, popularity = torch.randn(N, 5), torch.rand(N), torch.zeros(N)
    with torch.no_grad():
        torch.testing.assert_close(
            model.embed_items(factors, gates, now, None, popularity),
            earlier.embed_items(factors, gates, before, None, popularity),
        )
        torch.testing.assert_close(
            model.embed_users(factors, gates, now), earlier.embed_users(factors, gates, before)
        )


def test_towers_that_know_order_embed_as_before(generator: np.random.Generator) -> None:
    before, now, turn = turned_features(generator)
    shape = SequenceShape(5, FEATURES, N, 8, 1, 2, 4, 4, modalities=MODALITIES)
    start = torch.zeros(8, 5)
    earlier = with_weights_at_random(SequenceModel(shape, start, 0.0))
    model = SequenceModel(shape, start, 0.0)
    nothing = FeatureTurn(np.zeros((0, 0), np.float32))
    take_over(model, EarlierTowers(weights_of(earlier), NO_CONTEXTS, 0, 0, nothing, turn))
    items, factors = torch.arange(N), torch.randn(N, 5)
    with torch.no_grad():
        torch.testing.assert_close(
            model.embed_items(items, factors, now), earlier.embed_items(items, factors, before)
        )


def test_a_column_of_vectors_that_is_not_known_starts_anew(generator: np.random.Generator) -> None:
    _, _, turn = turned_features(generator)
    unknown = replace(turn, vectors=(turn.vectors[0], np.zeros((2, 2), np.float32)))
    shape = TowerShape(5, FEATURES, FEATURES, 8, 4, 0.2, 1.0, item_modalities=MODALITIES)
    earlier, model = with_weights_at_random(TowerModel(shape)), TowerModel(shape)
    start = {name: array.copy() for name, array in weights_of(model).items()}
    take_over(model, EarlierTowers(weights_of(earlier), NO_CONTEXTS, 0, 0, turn, unknown))
    taken = weights_of(model)
    for name in ("layers.1.weight", "queries.1"):
        key = f"item.modalities.{name}"
        np.testing.assert_array_equal(taken[key], start[key])
    stand_in = taken["item.modality_stand_in.weight"]
    assert stand_in[:, :4].all() and not stand_in[:, 4:].any()
    assert (
        taken["item.modalities.layers.0.weight"] != start["item.modalities.layers.0.weight"]
    ).all()
