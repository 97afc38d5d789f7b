"""Attributes of which a part would be ignored are refused."""

from typing import Any

import pytest

from m6rec.config.run import Config, parse_config
from m6rec.errors import ConfigError

TABLE = {"path": "table.csv", "format": "csv"}


def config(side: str, kinds: dict[str, str]) -> Config:
    attributes: dict[str, Any] = {"source": TABLE, "id": "id", "kinds": kinds}
    return parse_config({"interactions": {"source": TABLE}, "features": {side: attributes}}, "test")


def test_items_have_as_many_columns_of_pictures_as_they_like() -> None:
    kinds = {"cover": "image", "back": "image", "trailer": "video"}
    assert config("items", kinds).features.items is not None


@pytest.mark.parametrize("kind", ["image", "video"])
def test_users_have_no_pictures(kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"users\.kinds: column photo is of kind {kind}"):
        config("users", {"photo": kind})


def test_a_text_that_is_to_be_encoded_needs_an_encoder() -> None:
    with pytest.raises(ConfigError, match=r"items\.kinds: column plot .* features\.text_model"):
        config("items", {"plot": "text_embedding"})
