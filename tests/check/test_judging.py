"""What types of columns can be of a kind that the configuration gives them."""

from typing import get_args

import pytest

from m6rec.check.findings import Place
from m6rec.check.judging import findings_of_inferred_kinds, findings_of_kinds
from m6rec.check.samples import ColumnSample
from m6rec.check.types import COLUMN_TYPES, TypeGroup
from m6rec.config.data import FeatureKind

PLACE = Place("features.items", "items")


def _is_refused(group: TypeGroup, kind: FeatureKind) -> bool:
    columns = {"x": ColumnSample("x", group, group, ("1",))}
    found = findings_of_kinds(columns, {"x": kind}, PLACE)
    return any(f"cannot be {kind}" in finding.words for finding in found)


@pytest.mark.parametrize("kind", get_args(FeatureKind))
def test_every_kind_says_which_types_of_columns_it_takes(kind: FeatureKind) -> None:
    assert not _is_refused("text", kind)


def test_a_column_of_another_type_is_refused() -> None:
    assert {group for group in COLUMN_TYPES if not _is_refused(group, "image")} == {"text", "bytes"}
    assert not any(_is_refused(group, "ignore") for group in COLUMN_TYPES)


def _of_text(*texts: str | None) -> list[str]:
    columns = {"frames": ColumnSample("frames", "string", "text", texts)}
    return [str(finding) for finding in findings_of_inferred_kinds(columns, PLACE)]


def test_several_vectors_as_text_are_said_not_to_be_read() -> None:
    nested = "[[0.1, 0.2], [0.3, 0.4]]"
    cut = "[[0.5, 1], [0.25, "
    for texts in ((nested, None, "[ [1, 2.5]]"), ("[(0.1 0.2) (0.3 0.4)]",), (nested, cut)):
        [line] = _of_text(*texts)
        assert f"holds several vectors a row as text, such as '{texts[0]}'" in line
        assert "from_json(frames, 'array<array<float>>') in SQL, or set" in line
    for other in ("[0.1, 0.2]", "[[1, 2], [3]]", "[['a', 'b']]", "[[]]", '[{"a": 0.1}]'):
        assert not _of_text(other), other
    assert not _of_text(nested, "about a sea")
    assert not _of_text()
