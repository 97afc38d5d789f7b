"""The owner's tables, and the columns that each must have before any compute."""

from typing import Any

import pytest

from m6rec.config.run import parse_config, sources_of
from m6rec.errors import ConfigError
from m6rec.publication.forgetting import tables_of_users

SOURCE = {"path": "events.csv", "format": "csv"}


def required_columns(**rules: Any) -> dict[str, tuple[str, ...]]:
    data = {"interactions": {"source": SOURCE}, "recommend": {"rules": rules}}
    return {key: columns for key, _, columns in sources_of(parse_config(data, "test"))}


@pytest.mark.parametrize("rule", ["allowed_items", "excluded_items"])
def test_a_table_of_items_must_have_the_column_that_the_rule_names(rule: str) -> None:
    key = f"recommend.rules.{rule}"
    assert required_columns(**{rule: SOURCE})[key] == ("item_id",)
    assert required_columns(**{rule: SOURCE | {"item": "sku"}})[key] == ("sku",)


def test_a_table_of_pairs_must_have_both_columns_that_the_rule_names() -> None:
    key = "recommend.rules.excluded_pairs"
    assert required_columns(excluded_pairs=SOURCE)[key] == ("user_id", "item_id")
    named = SOURCE | {"user": "customer", "item": "sku"}
    assert required_columns(excluded_pairs=named)[key] == ("customer", "sku")


def test_a_table_of_items_has_no_column_of_users() -> None:
    with pytest.raises(ConfigError, match=r"recommend\.rules\.allowed_items\.user: unknown key"):
        required_columns(allowed_items=SOURCE | {"user": "customer"})


def test_the_tables_whose_users_come_back_are_known() -> None:
    named = {key: {"path": f"{key}.csv", "format": "csv"} for key in ("events", "test", "users")}
    data = {
        "interactions": {"source": named["events"], "columns": {"user": "customer"}},
        "split": {"strategy": "provided", "test": named["test"]},
        "features": {"users": {"source": named["users"], "id": "number"}},
        "fold_in": {"source": named["events"]},
    }
    tables = tables_of_users(parse_config(data, "test"))
    assert [(source.name, column) for source, column in tables] == [
        ("events.csv", "customer"),
        ("test.csv", "customer"),
        ("users.csv", "number"),
    ]


@pytest.mark.parametrize("source", [{}, {"path": ""}, {"path": "a.csv", "table": "a"}])
def test_a_source_is_a_path_or_a_table(source: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="source: give either path or table, and not both"):
        parse_config({"interactions": {"source": source}}, "test")
