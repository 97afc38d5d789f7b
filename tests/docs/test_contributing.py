"""The recipes of CONTRIBUTING.md are short, and the files and names in them are there."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent.parent
CONTRIBUTING = REPOSITORY / "CONTRIBUTING.md"
MOST_LINES_OF_A_RECIPE = 8


def recipes() -> dict[str, str]:
    """The recipes of CONTRIBUTING.md by their headings."""
    text = CONTRIBUTING.read_text().partition("## Recipes")[2].partition("\nBy contributing")[0]
    parts = re.split(r"^### (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_there_is_a_recipe_for_every_common_change() -> None:
    of_models = ("ranker", "metric", "loss", "split strategy", "feature")
    of_lists = ("reason", "language", "rule")
    words = (*of_models, "check", *of_lists, "job", "table", "guard", "format")
    found = list(recipes())
    assert len(found) == len(words)
    assert all(word in heading for word, heading in zip(words, found, strict=True))


@pytest.mark.parametrize("heading", recipes())
def test_a_recipe_is_short_and_names_files_that_are_there(heading: str) -> None:
    recipe = recipes()[heading]
    assert len(recipe.strip().splitlines()) <= MOST_LINES_OF_A_RECIPE
    files = re.findall(r"`((?:lib|jobs|tests)/[^`]*)`", recipe)
    assert files
    assert [name for name in files if not (REPOSITORY / name).exists()] == []


@pytest.mark.parametrize("heading", recipes())
def test_what_a_recipe_names_in_a_file_stands_in_it(heading: str) -> None:
    """Names in capitals and private ones stand in a file, or a folder, that their step names."""
    for step in re.split(r"^\d\. ", recipes()[heading], flags=re.MULTILINE)[1:]:
        places = [REPOSITORY / one for one in re.findall(r"`((?:lib|jobs|tests)/[^`]*)`", step)]
        files = [file for one in places for file in ([one] if one.is_file() else one.rglob("*.py"))]
        text = "\n".join(file.read_text() for file in files)
        names = re.findall(r"`(_?[A-Z][A-Za-z_]+|_[a-z_]+)`", step.partition(".\n")[0])
        assert [name for name in names if name not in text] == []
