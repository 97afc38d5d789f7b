"""docs/versions.md says which tests a lane leaves out."""

from pathlib import Path

import pytest

from tests.lanes import LEFT_OUT

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "versions.md"


@pytest.mark.parametrize("mark", LEFT_OUT)
def test_what_a_lane_leaves_out_stands_there_with_its_reason(mark: pytest.MarkDecorator) -> None:
    text = " ".join(DOCUMENT.read_text().split())
    assert f"| {mark.kwargs['reason']} |" in text
