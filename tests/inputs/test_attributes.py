"""Tables of attributes as people have them: the kinds of their columns, and their ids."""

import re
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from m6rec.config.base import TableSource
from m6rec.config.run import parse_config
from m6rec.fits.inspection import Inspection, inspect_sources
from m6rec.spark.sources import read_source
from m6rec.stages.features.inputs import AttributeColumns, number_column, read_attributes
from m6rec.stages.features.kinds import decimal_signs, infer_kinds
from tests.inputs.attributes import KINDS, write_items


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
        "kinds": {"place.city": "categorical"},
    }
    inspection = inspect(spark, tmp_path, "user_id,item_id\nann,i1\n", features={"items": items})
    views = {view.name: view for view in inspection.tables[1].columns if view.name != "sku"}
    assert {name: view.kind for name, view in views.items()} == {
        name: kind for name, (kind, _) in KINDS.items()
    }
    for name, (_, words) in KINDS.items():
        assert re.search(words, views[name].fate), views[name]
    assert inspection.lines("problem") == []
    assert any(
        "1 of the first rows repeat an id, such as 'i1'" in line
        for line in inspection.lines("warning")
    )
    assert any("has 100% of the 1 item ids" in line for line in inspection.lines("fact"))

    source = TableSource(path=str(tmp_path / "items.parquet"))
    frame = read_source(spark, source, ("sku", "place.city"))
    kinds = infer_kinds(frame, "sku", {"place.city": "categorical"})
    assert kinds == {name: kind for name, (kind, _) in KINDS.items()}
    signs = decimal_signs(frame, "sku", kinds)
    assert signs == {"price": ".", "weight": "."}
    row = (
        frame.where("sku = 'i2'")
        .select(
            number_column("price", frame.schema["price"].dataType, "."),
            number_column("weight", frame.schema["weight"].dataType, "."),
            number_column("seen", frame.schema["seen"].dataType),
        )
        .first()
    )
    assert row is not None
    assert tuple(row) == (3000.5, 3.0, 1_704_067_200.0)


def test_columns_of_any_name_are_read(spark: SparkSession) -> None:
    name = "a `b`.c 'd\""
    rows = [(k, "pq"[k % 2], f"{k},5 kg", f"{k} words") for k in range(3)]
    named = spark.createDataFrame(rows, ["k", "x", "y", "z"]).toDF("item_index", name, "x.y", "`z")
    columns = AttributeColumns(
        ("x.y",), ((name, "categorical"), ("`z", "text")), ("", ""), 3, (",",)
    )
    read = read_attributes(named, columns, "item_index")
    assert read is not None
    assert [tuple(row)[2:] for row in read.sort("item_index").collect()] == [
        (0.5, ["p"], ["words"]),
        (1.5, ["q"], ["words"]),
        (2.5, ["p"], ["words"]),
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
