"""Tables of attributes as people have them: the kinds of their columns, and their ids."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import Column, DataFrame, SparkSession
from safetensors.numpy import save_file

from m6rec.check.findings import Severity
from m6rec.check.samples import SAMPLED_ROWS
from m6rec.check.writing import AS_IS, Writing
from m6rec.config.base import TableSource
from m6rec.config.run import parse_config
from m6rec.errors import ConfigError
from m6rec.fits import matching
from m6rec.fits.inspection import Inspection, inspect_sources
from m6rec.spark.sources import read_source
from m6rec.stages.features.attributes import attributes_by_index
from m6rec.stages.features.inputs import AttributeColumns, number_column, read_attributes
from m6rec.stages.features.kinds import infer_columns
from m6rec.stages.features.vectors import measure_vectors, with_vectors
from m6rec.stages.features.vocabularies import token_column
from m6rec.stages.pairs.cleaning import clean_interactions
from tests.inputs.attributes import GIVEN, KINDS, write_items
from tests.inputs.events import NOW
from tests.lanes import needs_spatial_types

WRITINGS = {
    "two": Writing("."),
    "price": Writing("."),
    "weight": Writing("."),
    "yuan": Writing("."),
    "german": Writing(date_format="d.M.yyyy"),
    "slashes": Writing(date_format="d/M/yyyy H:mm"),
    "compact": Writing(date_format="yyyyMMdd"),
    "whole": Writing(date_format="yyyyMMdd"),
    "real": Writing(date_format="yyyyMMdd"),
    "days": Writing(date_format="yyyyMMdd"),
    "english": Writing(date_format="d MMM yyyy"),
    "letters": Writing(date_format="EEE, d MMM yyyy H:mm:ss XX"),
    "delivery": Writing("."),
    "genre": Writing(separator=","),
    "tags": Writing(separator="|"),
    **dict.fromkeys(("styles", "cast.name"), Writing(separator="[]")),
    "moods": Writing(separator="\u3001"),
}
# Of the third item.
NUMBERS = {
    "price": 3000.5,
    "weight": 3.0,
    "delivery": 1.0,
    "letters": 1_709_460_000.0,
    "seen": 1_704_067_200.0,
    "yuan": 3000.5,
    "json.weight": 2.0,
    "german": 1_733_184_000.0,
    "slashes": 1_733_221_800.0,
    "stamps": 1_709_467_200.0,
    "more.k": 2.0,
    **dict.fromkeys(("since", "compact", "whole", "real", "days", "english"), 1_709_424_000.0),
}


def inspect(spark: SparkSession, folder: Path, events: str, **sections: Any) -> Inspection:
    (folder / "events.csv").write_text(events)
    interactions = {"source": {"path": str(folder / "events.csv")}}
    return inspect_sources(spark, parse_config({"interactions": interactions, **sections}, "test"))


def table(path: Path, content: str) -> dict[str, Any]:
    path.write_text(content)
    return {"path": str(path), "format": "csv"}


def test_every_column_is_understood_as_the_pipeline_reads_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    write_items(tmp_path / "items.parquet")
    items = {
        "source": {"path": str(tmp_path / "items.parquet")},
        "id": "sku",
        "kinds": GIVEN,
    }
    inspection = inspect(spark, tmp_path, "user_id,item_id\nann,i1\n", features={"items": items})
    views = {view.name: view for view in inspection.tables[1].columns if view.name != "sku"}
    assert {name: view.kind for name, view in views.items()} == {
        name: kind for name, (kind, _) in KINDS.items()
    }
    for name, (_, words) in KINDS.items():
        assert re.search(words, views[name].treatment), views[name]
    assert inspection.lines("problem") == []
    assert any(
        "1 of the first rows repeat an id, such as 'i1'" in line
        for line in inspection.lines("warning")
    )
    [floats] = [line for line in inspection.lines("warning") if "column floats" in line]
    assert re.search(
        "as image, because its type is binary, and none of 25 .* 16 bytes that begin with 0x0000.*"
        r"as 4 numbers of 4 bytes, or 2 of 8 have\); set .*kinds: \{floats: ignore\}",
        floats,
    )
    [pickled] = [line for line in inspection.lines("warning") if "column pickled" in line]
    assert "an object that Python has pickled" in pickled
    assert not any("column covers" in line for line in inspection.lines("warning"))
    assert any("has 100% of the 1 item ids" in line for line in inspection.lines("fact"))

    source = TableSource(path=str(tmp_path / "items.parquet"))
    frame = read_source(spark, source, ("sku", *GIVEN))
    columns = infer_columns(frame, "sku", GIVEN)
    assert columns.kinds == {name: kind for name, (kind, _) in KINDS.items()}
    assert columns.writings == WRITINGS
    given = infer_columns(frame, "sku", {"price": "numeric", "weight": "text"})
    assert set(WRITINGS) - set(given.writings) == {"weight"}
    row = (
        frame.where("sku = 'i2'")
        .select(
            *(
                number_column(name, frame.schema[name].dataType, columns.writings.get(name, AS_IS))
                for name in NUMBERS
            ),
            *(
                _values(frame, name, columns.writings)
                for name in ("styles", "moods", "cast.name", "pairs.a")
            ),
        )
        .first()
    )
    assert row is not None
    lists = (["Comedy"], ["\u52a8\u4f5c", "\u559c\u5267"], ["ann", "bob"], ["2"])
    assert tuple(row) == (*NUMBERS.values(), *lists)
    names = _values(frame, "cast.name", columns.writings)
    assert [row[0] for row in frame.where("sku = 'i3'").select(names).collect()] == [["bob"]]
    either = [
        line for line in inspection.lines("warning") if "column either: day and month" in line
    ]
    assert len(either) == 1
    facts = measure_vectors(frame, "vector", 1, "items")
    assert (facts.column.length, facts.usable) == (3, facts.rows)
    [vector] = with_vectors(frame.where("sku = 'i2'"), "sku", [facts.column]).collect()
    assert vector["vectors_0"] == pytest.approx([2.5, -1.25, 0.002])


@needs_spatial_types
def test_columns_of_places_and_shapes_are_left_out_and_harm_nothing(
    spark: SparkSession, tmp_path: Path
) -> None:
    file = str(tmp_path / "rows.parquet")
    spot, shape = (
        f"ST_{name}FromWKB(X'0101000000000000000000F03F0000000000000040')"
        for name in ("Geog", "Geom")
    )
    spark.sql(
        f"SELECT id AS user_id, concat('i', id % 5) AS item_id, if(id > 1, {spot}, null) AS spot,"
        f" {shape} AS shape, array({spot}) AS spots, map('a', {shape}) AS named,"
        f" named_struct('city', concat('city', id % 2), 'spot', {spot}) AS place FROM range(6)"
    ).write.parquet(file)
    items = {
        "source": {"path": file},
        "id": "item_id",
        "kinds": {"place.city": "categorical", "shape": "ignore"},
    }
    events = {"source": {"path": file}, "not_a_user": ["5"]}
    config = parse_config({"interactions": events, "features": {"items": items}}, "test")
    inspection = inspect_sources(spark, config)
    assert inspection.lines("problem") == []
    views = {view.name: view for view in inspection.tables[1].columns}
    assert {views[name].kind for name in ("spot", "shape", "spots", "named", "place")} == {"ignore"}
    assert views["place.city"].kind == "categorical"

    cleaned = clean_interactions(
        read_source(spark, config.interactions.source, ()), config.interactions, NOW, None
    )
    assert cleaned.interactions.count() == 5
    [refused] = cleaned.quarantine.collect()
    assert json.loads(refused["raw"]) == {"user_id": 5, "item_id": "i0"}

    assert config.features.items is not None
    frame = read_source(spark, config.features.items.source, ("place.city",))
    indices = spark.createDataFrame([("i0", 0), ("i1", 1)], "item_id string, item_index long")
    found = attributes_by_index(frame, config.features.items, config.interactions, indices)
    assert {row["place.city"] for row in found.collect()} <= {"city0", "city1"}
    assert found.count() == 2


@needs_spatial_types
def test_an_id_that_is_a_place_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    file = str(tmp_path / "rows.parquet")
    spark.sql(
        f"SELECT ST_GeogFromWKB(null) AS user_id, 'a' AS item_id FROM range({SAMPLED_ROWS + 1})"
    ).write.parquet(file)
    config = parse_config({"interactions": {"source": {"path": file}}}, "test")
    assert any(
        "user_id: has type geography(4326)" in line
        for line in inspect_sources(spark, config).lines("problem")
    )


def _values(frame: DataFrame, name: str, writings: dict[str, Writing]) -> Column:
    """The values of a column of several, as the pipeline splits them."""
    kind = frame.schema[name].dataType
    return token_column(name, "multi_valued", kind, writings.get(name, AS_IS).separator)


def test_a_kind_that_a_column_cannot_be_is_said(spark: SparkSession, tmp_path: Path) -> None:
    write_items(tmp_path / "items.parquet")
    kinds = {
        "more": "categorical",
        "pairs": "text",
        "seen": "image",
        "kind": "numeric",
        "name": "embedding",
        "since": "numeric",
        "german": "numeric",
        "either": "numeric",
        "price": "text",
        "json.colour": "categorical",
    }
    source = {"path": str(tmp_path / "items.parquet")}
    items = {"source": source, "id": "sku", "kinds": kinds}
    found = inspect(spark, tmp_path, "user_id,item_id\nann,i1\n", features={"items": items})
    words = {
        "more": "has type map<string,bigint>, such as .*, and cannot be categorical",
        "pairs": "has type array<struct.*cannot be text",
        "seen": "has type timestamp_ntz, .* and cannot be image",
        "kind": "25 of 25 values are not numbers, such as 'old', and kinds says numeric",
        "name": "has no usable vector in its 25 rows",
        "either": r"day and month of .1/12/2024. could be either.*date_formats: .either: dd/MM",
    }
    problems = found.lines("problem")
    assert len(problems) == len(words), problems
    for name, said in words.items():
        assert any(re.search(f"column {name}: {said}", line) for line in problems), name
    assert any("column json.colour: is empty" in line for line in found.lines("warning"))


def test_an_encoder_that_cannot_be_read_is_said(spark: SparkSession, tmp_path: Path) -> None:
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    save_file({"embeddings": np.ones((1, 3), np.float32)}, encoder / "model.safetensors")
    modules = [{"type": "sentence_transformers.models.Dense", "path": "1_Dense"}]
    (encoder / "modules.json").write_text(json.dumps(modules))
    items = {
        "source": table(tmp_path / "items.csv", "sku,plot\ni1,sea\n"),
        "id": "sku",
        "kinds": {"plot": "text_embedding"},
    }
    features = {"items": items, "text_model": str(encoder)}
    found = inspect(spark, tmp_path, "user_id,item_id\nann,i1\n", features=features)
    [problem] = found.lines("problem")
    assert f"the encoder in {encoder} has a module Dense, expected only" in problem


def test_dates_are_read_as_the_config_says(spark: SparkSession, tmp_path: Path) -> None:
    rows = ["i1,1/12/2024,1.12.2024,2024-03-01", "i2,2/11/2024,2024-11-02,2024-03-02"]
    source = table(tmp_path / "items.csv", "\n".join(["sku,either,mixed,wrong", *rows, ""]))
    formats = {"either": "d/M/yyyy", "mixed": "[d.M.yyyy][yyyy-MM-dd]", "wrong": "yyyy/MM/dd"}
    items = {"source": source, "id": "sku", "date_formats": formats}
    found = inspect(spark, tmp_path, "user_id,item_id\nann,i1\n", features={"items": items})
    [problem] = found.lines("problem")
    assert (
        "column wrong: 2 of 2 dates are not written as yyyy/MM/dd, such as '2024-03-01'" in problem
    )
    views = {view.name: view for view in found.tables[1].columns}
    assert views["either"].kind == "numeric"
    assert views["either"].treatment.endswith("by the format d/M/yyyy")

    config = parse_config(
        {"features": {"items": items}, "interactions": {"source": source}}, "test"
    )
    attributes = config.features.items
    assert attributes is not None
    frame = read_source(spark, attributes.source, ("sku",))
    columns = infer_columns(frame, "sku", attributes.stated_kinds, attributes.date_formats)
    dates = [
        number_column(name, frame.schema[name].dataType, columns.writings[name])
        for name in ("either", "mixed")
    ]
    first, second = frame.sort("sku").select(*dates).collect()
    assert tuple(first) == (1_733_011_200.0, 1_733_011_200.0)
    assert tuple(second) == (1_730_505_600.0, 1_730_505_600.0)


def test_a_column_is_a_date_or_of_another_kind() -> None:
    items = {"source": {"path": "x"}, "id": "sku", "kinds": {"day": "categorical"}}
    items["date_formats"] = {"day": "d/M/yyyy"}
    with pytest.raises(ConfigError, match=r"day stands in date_formats.*kinds says categorical"):
        parse_config({"features": {"items": items}, "interactions": {"source": "y"}}, "test")


def test_numbers_that_are_too_large_or_in_doubt_are_said(
    spark: SparkSession, tmp_path: Path
) -> None:
    prices, sizes = ["1", "-1e308", "2", "3"], ["400", "1.200", "1.600", "800"]
    lines = [f"i{k},{prices[k % 4]},{sizes[k % 4]},{sizes[k % 4]}" for k in range(20)]
    source = table(tmp_path / "items.csv", "\n".join(["sku,price,size,given", *lines, ""]))
    items = {"source": source, "id": "sku", "kinds": {"given": "numeric"}}
    found = inspect(spark, tmp_path, "user_id,item_id\nann,i1\n", features={"items": items})
    words = [line.partition("column ")[2] for line in found.lines("warning")]
    in_doubt = (
        "holds '1.200', which may be 1200 and is read as 1.2; where it is 1200, write all without"
        " signs between thousands in the source"
    )
    assert sorted(words) == [
        f"given: {in_doubt}",
        "price: 5 of 20 values are too large to compute with, such as -1e+308 (1e+30 at most), and"
        " count as missing",
        f"size: {in_doubt}",
    ]


def test_numbers_that_are_too_large_are_missing(spark: SparkSession) -> None:
    rows = [(0, 1.0, "1"), (1, 1e31, "-1e31"), (2, float("nan"), "inf")]
    frame = spark.createDataFrame(rows, "item_index int, plain double, written string")
    columns = AttributeColumns(("plain", "written"), writings=(AS_IS, Writing(".")))
    read = read_attributes(frame, columns, "item_index")
    assert read is not None
    numbers = [row["numeric"] for row in read.sort("item_index").collect()]
    assert numbers == [[1.0, 1.0], [None, None], [None, None]]


def test_columns_of_any_name_are_read(spark: SparkSession) -> None:
    name = "a `b`.c 'd\""
    rows = [(k, "pq"[k % 2], f"{k},5 kg", f"{k} words") for k in range(3)]
    named = spark.createDataFrame(rows, ["k", "x", "y", "z"]).toDF("item_index", name, "x.y", "`z")
    columns = AttributeColumns(
        ("x.y",), ((name, "categorical"), ("`z", "text")), ("", ""), 3, (Writing(","),)
    )
    read = read_attributes(named, columns, "item_index")
    assert read is not None
    assert [tuple(row)[2:] for row in read.sort("item_index").collect()] == [
        ([0.5], ["p"], ["words"]),
        ([1.5], ["q"], ["words"]),
        ([2.5], ["p"], ["words"]),
    ]


def test_a_column_that_lists_are_chosen_by_must_be_there(
    spark: SparkSession, tmp_path: Path
) -> None:
    items = {"source": table(tmp_path / "items.csv", "sku,brand\ni1,x\n"), "id": "sku"}
    chosen = {"diversity": {"column": "genre"}, "rules": {"at_most": {"column": "brand"}}}
    events = "user_id,item_id\nann,i1\n"
    found = inspect(spark, tmp_path, events, features={"items": items}, recommend=chosen)
    [problem] = found.lines("problem")
    assert "recommend.diversity.column" in problem
    assert "has no column ['genre']; it has ['sku', 'brand']" in problem


def test_a_table_that_lacks_one_of_many_ids_does_not_have_all(
    spark: SparkSession, tmp_path: Path
) -> None:
    lines = [f"u{k},i{k}\n" for k in range(250)]
    rows = "".join(f"i{k},{k % 3}\n" for k in range(249))
    items = {"source": table(tmp_path / "items.csv", f"sku,year\n{rows}"), "id": "sku"}
    events = "user_id,item_id\n" + "".join(lines)
    found = inspect(spark, tmp_path, events, features={"items": items}).lines("fact")
    assert any(
        "has 99% of the 250 item ids" in line and "100% of its ids" in line for line in found
    )


def test_ids_are_compared_between_tables(spark: SparkSession, tmp_path: Path) -> None:
    events = "user_id,item_id\n1,i1\n2,i2\n3,i3\n"
    users = {"source": table(tmp_path / "users.csv", "id,age\n1.0,3\n2.0,4\n"), "id": "id"}
    items = {"source": table(tmp_path / "items.csv", "sku,colour\nx1,red\nx2,red\n"), "id": "sku"}
    rules = {"allowed_items": table(tmp_path / "stock.csv", "item_id\n")}
    found = inspect(
        spark,
        tmp_path,
        events,
        features={"users": users, "items": items},
        recommend={"rules": rules},
    )
    problems = "\n".join(found.lines("problem"))
    assert (
        "'1.0', which is the same number as '1', of column user_id of the interactions" in problems
    )
    assert "has 0% of the 3 item ids of the interactions' first rows" in problems
    assert "'x1' here, 'i1' there; name in features.items.id" in problems
    assert any("allows no item: all lists are empty" in line for line in found.lines("warning"))

    for left_out, is_said in (("i1\ni2\ni3\n", True), ("i1\ni2\n", False)):
        rules = {"excluded_items": table(tmp_path / "out.csv", f"item_id\n{left_out}")}
        found = inspect(spark, tmp_path, events, recommend={"rules": rules})
        said = any(
            "out.csv, column item_id: has all 3 items" in line for line in found.lines("warning")
        )
        assert said == is_said


# More rows than are looked at, so that the first ones of one table need not be those of another.
_ROWS = 21_000


def ids_as_parquet(path: Path, **columns: list[str]) -> dict[str, Any]:
    pd.DataFrame(columns).to_parquet(path)
    return {"path": str(path), "format": "parquet"}


@pytest.fixture(autouse=True)
def on_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are compared to the end, however busy other tests keep the machine."""
    monkeypatch.setattr(matching, "_SECONDS", 60.0)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Interactions of users u0, u1 and so on with as many items."""
    users, items = ([f"{sign}{k}" for k in range(_ROWS)] for sign in "ui")
    path = tmp_path_factory.mktemp("large") / "events.parquet"
    return {"source": ids_as_parquet(path, user_id=users, item_id=items)}


def inspect_beside(spark: SparkSession, large: dict[str, Any], **sections: Any) -> Inspection:
    return inspect_sources(spark, parse_config({"interactions": large, **sections}, "test"))


def test_all_ids_of_large_tables_are_compared(
    spark: SparkSession, tmp_path: Path, large: dict[str, Any]
) -> None:
    same = [f"u{k}" for k in reversed(range(_ROWS))]
    others = [f"sku-{k}" for k in range(_ROWS)]
    users = {"source": ids_as_parquet(tmp_path / "users.parquet", id=same), "id": "id"}
    items = {"source": ids_as_parquet(tmp_path / "items.parquet", id=others), "id": "id"}
    found = inspect_beside(spark, large, features={"users": users, "items": items})
    [problem] = found.lines("problem")
    assert "has 0% of 500 item ids of the interactions' first rows: 'sku-0' here" in problem
    assert any("has 100% of 500 user ids" in line for line in found.lines("fact"))


@pytest.mark.parametrize(
    ("users", "items", "severity", "words"),
    [
        ("u", "i", "fact", "the interactions have 100% of 3 of its ids"),
        ("x", "i", "warning", r"none of its users is in the interactions \(user 'x20000'.*are new"),
        ("x", "y", "problem", r"none of its users and none of its items .*'x20000'.*'y20000'"),
        ("U", "I", "problem", r"none of its users .*set interactions.unify_ids: \[case\]"),
    ],
)
def test_a_test_of_strangers_is_told(
    spark: SparkSession,
    tmp_path: Path,
    large: dict[str, Any],
    users: str,
    items: str,
    severity: Severity,
    words: str,
) -> None:
    numbers = range(20_000, 20_003) if users in {"u", "x"} else range(3)
    test = ids_as_parquet(
        tmp_path / "test.parquet",
        user_id=[f"{users}{k}" for k in numbers],
        item_id=[f"{items}{k}" for k in numbers],
    )
    rules = {"excluded_items": test, "allowed_items": test}
    split = {"strategy": "provided", "test": test}
    found = inspect_beside(spark, large, split=split, recommend={"rules": rules})
    lines = [line for line in found.lines(severity) if line.startswith("split.test")]
    assert any(re.search(words, line) for line in lines), lines
    idle = [line for line in found.lines("warning") if "none of its items" in line]
    follows = ("nothing is left out by them", "lists hold at most new items")
    assert [any(words in line for line in idle) for words in follows] == [items != "i"] * 2


def test_a_test_with_ids_of_the_first_rows_needs_no_search(
    spark: SparkSession, tmp_path: Path, large: dict[str, Any]
) -> None:
    test = ids_as_parquet(tmp_path / "test.parquet", user_id=["u1", "u2"], item_id=["i1", "new"])
    found = inspect_beside(spark, large, split={"strategy": "provided", "test": test})
    facts = [line.rpartition(": ")[2] for line in found.lines("fact")]
    words = "of its ids are among the first rows of the interactions"
    assert facts == [f"2 {words}", f"1 {words}"]


@pytest.mark.parametrize(
    ("name", "kind"), [("sku", "has no column"), ("place", "has type struct.*expected text")]
)
def test_an_id_that_cannot_be_one_is_named(
    spark: SparkSession, tmp_path: Path, name: str, kind: str
) -> None:
    (tmp_path / "items.json").write_text('{"id": "i1", "place": {"city": "Rome"}}\n')
    items = {"source": {"path": str(tmp_path / "items.json")}, "id": name}
    found = inspect(spark, tmp_path, "user_id,item_id\nann,i1\n", features={"items": items})
    assert any(re.search(kind, line) for line in found.lines("problem")), found.lines("problem")


def test_domains_are_compared_and_contexts_looked_for(spark: SparkSession, tmp_path: Path) -> None:
    rows = ["ann,tea,a,web", "bob,tea,A,app", "cyd,tea,,web", "dee,tea,b/c,web"]
    (tmp_path / "events.csv").write_text("\n".join(["user_id,item_id,shop,device", *rows, ""]))
    items = {"source": table(tmp_path / "items.csv", "id,shop\ntea,x\ntea,y\n"), "id": "id"}
    rules = {"excluded_items": table(tmp_path / "out.csv", "item_id,shop\ntea,x\n")}
    columns = {"domain": "shop", "context": ["device"], "time": "user_id"}
    sections: dict[str, Any] = {
        "interactions": {"source": {"path": str(tmp_path / "events.csv")}, "columns": columns},
        "features": {"items": items},
        "recommend": {"rules": rules, "contexts": {"at home": {"device": "Web"}}},
    }
    found = inspect_sources(spark, parse_config(sections, "test"))
    said = {severity: "\n".join(found.lines(severity)) for severity in ("problem", "warning")}
    for severity, words in (
        ("problem", "items.csv, column shop: none of its domains is in the interactions: 'x' here"),
        ("problem", "device: has no 'Web', which recommend.contexts asks for in 'at home', which"),
        ("warning", "column shop: is empty in 1 of the first 4 rows, which are not used"),
        ("warning", "column shop: 1 of 3 domains hold '/', such as 'b/c'"),
        ("warning", r"differ only in .* 'A' and 'a'; set interactions.unify_ids: \[case\]"),
        ("warning", "out.csv, column shop: none of its domains is in the interactions: 'x' here"),
    ):
        assert re.search(words, said[severity]), (words, said[severity])
    # An id counts within its domain alone.
    assert "repeat an id" not in said["warning"]

    emptied = "\n".join(
        ["user_id,item_id,shop,device", *(row.rpartition(",")[0] + "," for row in rows)]
    )
    (tmp_path / "events.csv").write_text(f"{emptied}\n")
    found = inspect_sources(spark, parse_config(sections, "test"))
    gone = "'at home'; it has no value at all; see what has emptied the column"
    assert gone in "\n".join(found.lines("problem"))

    (tmp_path / "items.csv").write_text("id,price\ntea,1\n")
    found = inspect_sources(spark, parse_config(sections, "test"))
    needed = r"items.csv: has no column shop, which interactions.columns.domain names; every table"
    assert re.search(needed, "\n".join(found.lines("problem")))

    (tmp_path / "events.json").write_text('{"user_id": "a", "item_id": "b", "flag": true}\n')
    interactions = {
        "source": {"path": str(tmp_path / "events.json")},
        "columns": {"domain": "flag"},
    }
    found = inspect_sources(spark, parse_config({"interactions": interactions}, "test"))
    assert "column flag: has type boolean" in "\n".join(found.lines("problem"))
