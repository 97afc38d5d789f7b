import datetime
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from m6rec.config.sentences import read_sentences
from m6rec.errors import DataError
from m6rec.kernels.arrays.categories import item_categories, no_categories
from m6rec.kernels.arrays.contexts import ContextVocabulary
from m6rec.kernels.arrays.likeness import ItemLikeness
from m6rec.kernels.arrays.rows import Float32, Int32, Rows
from m6rec.kernels.arrays.sequences import GAP_BINS
from m6rec.kernels.arrays.strings import pack_strings
from m6rec.kernels.factors.projection import build_factor_model
from m6rec.kernels.neighbours.content import ContentEncoder
from m6rec.kernels.neighbours.item_neighbours import ItemWeights
from m6rec.kernels.ranking.blending import Blend
from m6rec.kernels.ranking.explanation import item_attributes
from m6rec.kernels.ranking.members import (
    ContentUserEncoder,
    DotMember,
    HistoryMember,
    SameForAll,
    UserBlock,
    popularity_member,
    repeats_member,
)
from m6rec.kernels.ranking.reranking import Reranking
from m6rec.kernels.ranking.scoring import (
    Masked,
    PreparedBlend,
    RepresentedUsers,
    blend_top_n,
    masked_for_users,
    represent,
)
from m6rec.stages.ranking.candidates import collect_candidates
from m6rec.stages.ranking.lists import Scoring, best_lists, make_scoring, rank, user_inputs
from m6rec.stages.ranking.popular import popular_lists
from m6rec.stages.ranking.recommendations import Explaining, recommend
from m6rec.towers.sequence_encoder import SequenceEncoder

# Item 0 speaks for item 3, item 1 for item 2.
WEIGHTS = ItemWeights(
    indptr=np.array([0, 1, 2, 2, 2]),
    neighbour_indices=np.array([3, 2], dtype=np.int32),
    weights=np.array([1.0, 1.0], dtype=np.float32),
)
COUNTS = np.array([4, 3, 2, 1])
MEMBERS = {
    "ridge": HistoryMember("ridge", WEIGHTS),
    "popularity": popularity_member(COUNTS),
}
BOTH = Blend("hybrid", ("ridge", "popularity"), (1.0, 1.0), (1.0, 1.0))
RIDGE = Blend("ridge", ("ridge",), (1.0,), (1.0,))
POPULAR = Blend("popularity", ("popularity",), (1.0,), (1.0,))


def scoring(
    masked_items: tuple[int, ...] = (),
    mask_seen: bool = True,
    n: int = 3,
    blends: tuple[Blend, ...] = (BOTH, POPULAR),
) -> Scoring:
    mask = np.zeros(4, dtype=np.bool_)
    mask[list(masked_items)] = True
    return make_scoring(MEMBERS, blends, COUNTS, mask, mask_seen, n)


@pytest.fixture(scope="module")
def users(spark: SparkSession) -> DataFrame:
    return inputs(spark, None)


def inputs(spark: SparkSession, excluded_pairs: DataFrame | None) -> DataFrame:
    matrix = spark.createDataFrame(
        [(0, [0], [1.0], [None], []), (1, [1], [1.0], [None], [0]), (2, [], [], [], [])],
        "user_index long, item_indices array<int>, weights array<float>,"
        " times array<timestamp>, excluded_indices array<int>",
    )
    features = spark.createDataFrame(
        [(0, [], []), (1, [], [])],
        "user_index long, features array<float>, content array<float>",
    )
    return user_inputs(matrix, features, {}, excluded_pairs)


def lists(frame: DataFrame) -> dict[tuple[str, int], list[int]]:
    return {(row["model"], row["user_index"]): row["item_indices"] for row in frame.collect()}


def test_every_ranker_lists_for_every_user_without_seen_items(users: DataFrame) -> None:
    found = lists(rank(users, scoring()).frame())
    assert found == {
        ("hybrid", 0): [3, 1, 2],
        ("popularity", 0): [1, 2, 3],
        ("hybrid", 1): [2, 3],
        ("popularity", 1): [2, 3],
        ("hybrid", 2): [0, 1, 2],
        ("popularity", 2): [0, 1, 2],
    }


def test_masked_items_are_in_no_list_and_seen_ones_only_where_asked(users: DataFrame) -> None:
    found = lists(rank(users, scoring(masked_items=(3,), mask_seen=False)).frame())
    assert found["hybrid", 0] == [0, 1, 2]
    assert found["hybrid", 1] == [2, 0, 1]


def test_disliked_items_are_masked_with_the_seen_ones_unless_asked(users: DataFrame) -> None:
    every = np.zeros(4, dtype=np.bool_)
    liked_alone = make_scoring(MEMBERS, (BOTH,), COUNTS, every, True, 3, mask_disliked=False)
    assert set(lists(rank(users, liked_alone).frame())["hybrid", 1]) == {0, 2, 3}


def test_a_pair_that_the_rules_exclude_is_left_out_for_that_user_alone(spark: SparkSession) -> None:
    pairs = spark.createDataFrame([(0, 3)], "user_index long, item_index long")
    found = lists(rank(inputs(spark, pairs), scoring()).frame())
    assert found["hybrid", 0] == [1, 2]
    assert found["hybrid", 1] == [2, 3]


def test_candidates_hold_each_members_standardised_scores(
    spark: SparkSession, users: DataFrame
) -> None:
    targets = spark.createDataFrame(
        [(0, [3]), (1, [2, 3])], "user_index long, item_indices array<int>"
    )
    candidates, deviations = collect_candidates(
        users, targets, scoring(n=2, blends=(RIDGE, POPULAR))
    )
    assert candidates.relevant_counts.tolist() == [1, 2]
    assert candidates.indptr.tolist() == [0, 3, 5]
    assert candidates.relevant.tolist() == [False, False, True, True, True]
    assert deviations["popularity"] == pytest.approx(np.std(np.log1p(COUNTS)), rel=1e-5)
    assert deviations["ridge"] == pytest.approx(np.std([0, 0, 0, 1.0]), rel=1e-5)
    expected = [1.0 / deviations["ridge"], np.log1p(1) / deviations["popularity"]]
    assert candidates.item_bins[:3].tolist() == [2, 1, 1]
    assert candidates.user_bins.tolist() == [1, 1]
    assert candidates.scores[:, 2].tolist() == pytest.approx(expected, rel=1e-5)


def test_a_member_whose_scores_are_not_finite_is_named(
    spark: SparkSession, users: DataFrame
) -> None:
    vectors = np.array([[np.nan], [1], [2], [3]], np.float32)
    members = {"als": DotMember("als", SameForAll(), vectors)}
    broken = Blend("als", ("als",), (1.0,), (1.0,))
    masked = np.zeros(4, np.bool_)
    how = make_scoring(members | MEMBERS, (broken, POPULAR), COUNTS, masked, False, 4)
    targets = spark.createDataFrame([(1, [3])], "user_index long, item_indices array<int>")
    with pytest.raises(DataError, match="scores of als for validation users are not finite"):
        collect_candidates(users, targets, how)


def test_a_quota_fills_lists_from_ever_more_candidates(
    spark: SparkSession, users: DataFrame
) -> None:
    # Of the best items 0, 1 and 2 a list may hold one; item 3 is of another brand.
    brands = item_categories(np.arange(4), np.array([0, 0, 0, 1], np.int32), 4, 2)
    alike = ItemLikeness(np.zeros((4, 0), np.float32), brands)
    one_of_each = Reranking(2, 0.0, alike, 0.0, brands, 1, brands)
    every = np.zeros(4, dtype=np.bool_)
    how = make_scoring(MEMBERS, (POPULAR,), COUNTS, every, True, 2, reranking=one_of_each)
    assert lists(rank(users, how).frame()) == {
        ("popularity", 0): [1, 3],
        ("popularity", 1): [2, 3],
        ("popularity", 2): [0, 3],
    }
    user_ids = spark.createDataFrame([(2, "new")], "user_index long, user_id string")
    rows = recommend(users, user_ids, how, explaining(), {}).frame().orderBy("rank").collect()
    assert [(row["rank"], row["item_id"]) for row in rows] == [(1, "i0"), (2, "i3")]
    assert [row["score"] for row in rows] == pytest.approx(np.log1p(COUNTS[[0, 3]]))


def test_who_has_what_the_quota_would_let_pass_is_not_searched_for_in_the_whole_catalogue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Both users have one item; of the second brand there is item 0 alone, which the first has.
    rows = Rows(np.arange(2), np.arange(3), np.array([0, 1], np.int32), np.ones(2, np.float32))
    counts = np.arange(100, 0, -1)
    brands = item_categories(np.arange(100), np.array([1, *[0] * 99], np.int32), 100, 2)
    alike = ItemLikeness(np.zeros((100, 0), np.float32), brands)
    one_of_each = Reranking(2, 0.0, alike, 0.0, brands, 1, brands)
    members = {"popularity": popularity_member(counts)}
    nothing = np.zeros(100, np.bool_)
    how = make_scoring(members, (POPULAR,), counts, nothing, True, 2, reranking=one_of_each)
    none = np.zeros((2, 0), np.float32)
    block = UserBlock(rows, none, none, {}, np.zeros(2, np.float32), np.zeros(2, np.int64))
    masked = masked_for_users([(rows.indptr, rows.item_indices)], 2, nothing)
    asked = list[tuple[int, int]]()

    def counting(
        prepared: PreparedBlend, users: RepresentedUsers, masked: Masked, n_best: int
    ) -> tuple[Int32, Float32]:
        asked.append((len(users.counts), n_best))
        return blend_top_n(prepared, users, masked, n_best)

    monkeypatch.setattr("m6rec.stages.ranking.lists.blend_top_n", counting)
    found, _ = best_lists(how, how.blends[0], represent(members, block), rows, masked)
    assert found.tolist() == [[1, -1], [0, 2]]
    assert asked == [(2, 2)]


def explaining(reasons: int = 2) -> Explaining:
    return Explaining(
        attributes=item_attributes([[0], [], [], [0]], 1, 4),
        attribute_names=pack_strings(["genre: Drama"]),
        item_ids=pack_strings(["i0", "i1", "i2", "i3"]),
        whole_ids=pack_strings(["i0", "i1", "i2", "i3"]),
        titles=pack_strings(["Zero", "", "Two", "Three"]),
        reasons=reasons,
        generated_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    )


def test_published_lists_tell_parts_and_reasons(spark: SparkSession, users: DataFrame) -> None:
    user_ids = spark.createDataFrame([(0, "anna"), (2, "new")], "user_index long, user_id string")
    rows = (
        recommend(users, user_ids, scoring(), explaining(), {})
        .frame()
        .orderBy("user_id", "rank")
        .collect()
    )
    first = rows[0]
    assert (first["user_id"], first["rank"], first["item_id"]) == ("anna", 1, "i3")
    assert first["title"] == "Three"
    assert sum(first["parts"].values()) == pytest.approx(first["score"], rel=1e-6)
    assert [(reason["kind"], reason["value"]) for reason in first["reasons"]] == [
        ("history", "Zero"),
        ("popular", "popular with all users"),
    ]
    assert [reason["share"] for reason in first["reasons"]] == pytest.approx(
        [first["parts"][part] / first["score"] for part in ("ridge", "popularity")]
    )
    newcomer = rows[3]
    assert (newcomer["user_id"], newcomer["item_id"]) == ("new", "i0")
    assert [reason["kind"] for reason in newcomer["reasons"]] == ["popular"]
    assert rows[1]["title"] is None


def test_whom_a_ranker_knows_nothing_of_has_the_list_of_the_rows_without_a_user(
    spark: SparkSession, users: DataFrame
) -> None:
    # The items with the first numbers are the rarest, as in a later run of a lake.
    counts, nothing = COUNTS[::-1].copy(), np.zeros(4, np.bool_)
    how = make_scoring(MEMBERS, (RIDGE,), counts, nothing, True, 3)
    user_ids = spark.createDataFrame([(2, "new")], "user_index long, user_id string")
    rows = recommend(users, user_ids, how, explaining(), {}).frame().orderBy("rank").collect()
    unknown = popular_lists(spark, counts, nothing, 3, explaining()).orderBy("rank").collect()
    assert [row["item_id"] for row in rows] == [row["item_id"] for row in unknown]
    assert [row["item_id"] for row in rows] == ["i3", "i2", "i1"]
    assert [row["reasons"] for row in rows] == [row["reasons"] for row in unknown]


def test_sentences_are_those_of_the_language_and_the_owners_file(
    spark: SparkSession, users: DataFrame, tmp_path: Path
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("popular: 'Everybody wants it ({share})'\n")
    user_ids = spark.createDataFrame([(0, "anna"), (2, "new")], "user_index long, user_id string")
    said = replace(explaining(), sentences=read_sentences("de", str(own)))
    rows = (
        recommend(users, user_ids, scoring(), said, {}).frame().orderBy("user_id", "rank").collect()
    )
    assert rows[0]["sentences"] == ["Weil Sie Zero hatten", "Everybody wants it (41%)"]
    assert rows[3]["sentences"] == ["Everybody wants it (100%)"]
    without = recommend(users, user_ids, scoring(), explaining(), {}).frame()
    assert {row["sentences"] for row in without.collect()} == {None}


def test_a_newcomer_is_told_the_attribute_that_content_chose_by(spark: SparkSession) -> None:
    matrix = spark.createDataFrame(
        [(0, [], [], [], [])],
        "user_index long, item_indices array<int>, weights array<float>,"
        " times array<timestamp>, excluded_indices array<int>",
    )
    schema = "user_index long, features array<float>, content array<float>"
    users = user_inputs(matrix, spark.createDataFrame([(0, [], [1.0])], schema), {}, None)
    items = np.array([[0, 0, 1], [0, 0, 0], [0, 1, 0], [0.6, 0.8, 0]], np.float32)
    encoder = ContentEncoder(items, np.array([[0.8, 0.1, 0.5]], np.float32))
    content = DotMember("content", ContentUserEncoder(encoder), items)
    blend, nothing = Blend("content", ("content",), (1.0,), (1.0,)), np.zeros(4, np.bool_)
    how = make_scoring({"content": content}, (blend,), COUNTS, nothing, True, 2)
    words = replace(
        explaining(),
        # The rarest attribute of an item stands first.
        attributes=item_attributes([[0], [], [1], [1, 0]], 2, 4),
        attribute_names=pack_strings(["genre: Drama", "mood: Dark"]),
        content_places=np.array([0, 1], np.int32),
    )
    user_ids = spark.createDataFrame([(0, "new")], "user_index long, user_id string")
    rows = recommend(users, user_ids, how, words, {}).frame().orderBy("rank").collect()
    reasons = [(row["item_id"], row["reasons"][0]["value"]) for row in rows]
    assert reasons == [("i3", "genre: Drama"), ("i0", "the taste of users like you")]


def test_what_diversity_chose_and_nothing_speaks_for_is_said_to_round_off_the_list(
    spark: SparkSession, users: DataFrame
) -> None:
    alike = ItemLikeness(np.ones((4, 1), np.float32), no_categories(4))
    diverse = Reranking(4, 0.5, alike, 0.0, no_categories(4), 0, no_categories(4))
    nothing = np.zeros(4, np.bool_)
    how = make_scoring(MEMBERS, (RIDGE,), COUNTS, nothing, True, 3, reranking=diverse)
    user_ids = spark.createDataFrame([(0, "anna")], "user_index long, user_id string")
    said = replace(explaining(), sentences=read_sentences("en", None))
    rows = recommend(users, user_ids, how, said, {}).frame().orderBy("rank").collect()
    assert [row["sentences"] for row in rows] == [
        ["Because you had Zero"],
        ["Rounds off the mix of your list"],
        ["Rounds off the mix of your list"],
    ]
    assert rows[1]["reasons"][0].asDict() == {
        "kind": "mix",
        "value": "the mix of your list",
        "share": 1.0,
    }


def test_where_order_has_the_larger_part_the_reason_says_after(spark: SparkSession) -> None:
    # The user had item 0, then item 1, which items 3 and 2 follow; the ridge says 0 for 3, 1 for 2.
    first, second = (datetime.datetime(2026, 1, day, tzinfo=datetime.UTC) for day in (1, 2))
    matrix = spark.createDataFrame(
        [(0, [0, 1], [1.0, 1.0], [first, second], [])],
        "user_index long, item_indices array<int>, weights array<float>,"
        " times array<timestamp>, excluded_indices array<int>",
    )
    after = ItemWeights(
        np.array([0, 0, 2, 2, 2]), np.array([2, 3], np.int32), np.array([0.5, 4.0], np.float32)
    )
    order = HistoryMember("transitions", after, recency_scale=1.44)
    blend = Blend("hybrid", ("ridge", "transitions"), (1.0, 1.0), (1.0, 1.0))
    both = make_scoring(
        MEMBERS | {"transitions": order}, (blend,), COUNTS, np.zeros(4, np.bool_), True, 2
    )
    user_ids = spark.createDataFrame([(0, "anna")], "user_index long, user_id string")
    users = user_inputs(matrix, None, {}, None)
    rows = recommend(users, user_ids, both, explaining(3), {}).frame().orderBy("rank").collect()
    # Item 3 has 1 by the ridge and 4 by order, item 2 has 1 and .5.
    found = [
        [(reason["kind"], reason["value"], reason["share"]) for reason in row["reasons"]]
        for row in rows
    ]
    assert found[0][:2] == [
        ("after", "i1", pytest.approx(0.8)),
        ("history", "Zero", pytest.approx(0.2)),
    ]
    assert found[1] == [("history", "i1", pytest.approx(1.0))]


def test_where_repeats_have_a_part_the_reason_names_the_item_itself(
    spark: SparkSession, users: DataFrame
) -> None:
    blend = Blend("hybrid", ("repeats", "popularity"), (1.0, 1.0), (1.0, 1.0))
    members = MEMBERS | {"repeats": repeats_member(4, None)}
    unmasked = make_scoring(members, (blend,), COUNTS, np.zeros(4, np.bool_), False, 4)
    user_ids = spark.createDataFrame([(0, "anna")], "user_index long, user_id string")
    rows = recommend(users, user_ids, unmasked, explaining(), {}).frame().collect()
    named = {row["item_id"]: {one["kind"]: one for one in row["reasons"]} for row in rows}
    parts = next(row["parts"] for row in rows if row["item_id"] == "i0")
    share = parts["repeats"] / (parts["repeats"] + parts["popularity"])
    assert tuple(named["i0"]["again"]) == ("again", "Zero", pytest.approx(share))
    assert "again" not in {**named["i2"], **named["i3"]}


def towers_that_turn_at_night() -> DotMember:
    """Whoever has a history scores items by their number, and at 3 by its negative."""
    vocabulary = ContextVocabulary(clock=True)

    def zeros(rows: int) -> Float32:
        return np.zeros((rows, 1), np.float32)

    weights = {
        "gap": zeros(GAP_BINS),
        "position": zeros(4),
        "norm.weight": np.zeros(1, np.float32),
        "norm.bias": np.ones(1, np.float32),
        "context_shift": zeros(vocabulary.size),
        "context_scale": zeros(vocabulary.size),
    }
    weights["context_scale"][vocabulary.codes_of({"hour": "3"})[0]] = -2.0
    vectors = np.arange(4, dtype=np.float32)[:, None]
    factors = build_factor_model("svd", vectors, vectors, np.ones(4, np.float32), {}, COUNTS)
    shape = {"width": 1, "blocks": 0, "length": 4}
    towers = SequenceEncoder(shape, weights, factors, vocabulary)
    return DotMember("towers_sequence", towers.user_encoder(vectors), vectors)


def test_each_context_has_lists_of_its_own_beside_those_without_one(
    spark: SparkSession, users: DataFrame
) -> None:
    blend = Blend("fusion", ("towers_sequence",), (1.0,), (1.0,))
    members = {"towers_sequence": towers_that_turn_at_night()}
    by_order = make_scoring(members, (blend,), COUNTS, np.zeros(4, np.bool_), True, 3)
    user_ids = spark.createDataFrame([(0, "anna"), (2, "new")], "user_index long, user_id string")
    contexts = {"night": {"hour": "3"}, "noon": {"hour": "12", "weekday": "7"}}
    rows = (
        recommend(users, user_ids, by_order, explaining(), contexts)
        .frame()
        .orderBy("rank")
        .collect()
    )
    found: dict[tuple[str, str | None], list[str]] = {}
    for row in rows:
        found.setdefault((row["user_id"], row["context"]), []).append(row["item_id"])
        assert sum(row["parts"].values()) == pytest.approx(row["score"])
    assert found == {
        ("anna", None): ["i3", "i2", "i1"],
        ("anna", "night"): ["i1", "i2", "i3"],
        ("anna", "noon"): ["i3", "i2", "i1"],
        **{("new", context): ["i0", "i1", "i2"] for context in (None, "night", "noon")},
    }
