"""docs/configuration.md says of every key what it is, and is what the models say."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Literal

import pytest
from pydantic import Field

from m6rec.config.base import PositiveInt, Section, TableSource
from m6rec.config.run import Config
from tests.docs.configuration_document import CONFIGURATION_DOCUMENT, document, type_in_words


def all_sections(section: type[Section] = Section) -> Iterator[type[Section]]:
    """Every section that the package defines."""
    for one in section.__subclasses__():
        yield one
        yield from all_sections(one)


SECTIONS = sorted({one for one in all_sections() if one.__module__.startswith("m6rec.")}, key=str)
KEYS = [(section, name) for section in SECTIONS for name in section.model_fields]


@cache
def written() -> str:
    return document()


def test_the_document_is_what_the_models_say() -> None:
    assert CONFIGURATION_DOCUMENT.read_text() == written(), (
        "run python -m tests.docs.configuration_document"
    )


@pytest.mark.parametrize(("section", "name"), KEYS, ids=lambda one: getattr(one, "__name__", one))
def test_a_key_has_a_description_in_whole_sentences(section: type[Section], name: str) -> None:
    description = section.model_fields[name].description or ""
    assert description[:1].isupper() or description.startswith("`")
    assert description.endswith(".")
    assert "|" not in description


@pytest.mark.parametrize(("section", "name"), KEYS, ids=lambda one: getattr(one, "__name__", one))
def test_a_key_stands_in_the_document(section: type[Section], name: str) -> None:
    field = section.model_fields[name]
    pattern = rf"^\| `{name}` \| [^|]+ \| [^|]+ \| {re.escape(str(field.description))} \|$"
    assert re.search(pattern, written(), re.MULTILINE)


def test_sections_stand_in_the_order_of_the_config_and_links_have_a_heading() -> None:
    headings = re.findall(r"^#+ (.*)$", written(), re.MULTILINE)
    sections = [name for name in headings if name in Config.model_fields]
    assert sections == [name for name in Config.model_fields if name in sections]
    assert sections[0] == "interactions"
    anchors = {heading.replace(".", "").replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\(#([^)]*)\)", written())) <= anchors


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "whole number"),
        (PositiveInt, "whole number, at least 1"),
        (PositiveInt | None, "whole number, at least 1"),
        (Annotated[float, Field(gt=0.0, lt=1.0)], "number, above 0 and below 1"),
        (Literal["sum", "last"], "one of: `sum`, `last`"),
        (tuple[Literal["svd", "als"], ...], "list of: `svd`, `als`"),
        (tuple[PositiveInt, ...], "list of whole numbers, each at least 1"),
        (dict[str, float], "mapping from text to number"),
        (TableSource | None, "[table](#table)"),
    ],
)
def test_types_are_said_in_words(annotation: object, words: str) -> None:
    assert type_in_words(annotation) == words
