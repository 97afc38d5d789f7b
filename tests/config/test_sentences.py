"""Sentences of the package are complete, and those of the owner are checked before any compute."""

from pathlib import Path
from typing import get_args

import pytest

from m6rec.config.outputs import ReasonsConfig
from m6rec.config.run import parse_config
from m6rec.config.sentences import Language, read_sentences
from m6rec.errors import ConfigError
from m6rec.kernels.ranking.explanation import (
    KINDS,
    MODEL_REASON,
    POPULAR_IN_SEGMENT,
    POPULAR_REASON,
    POPULAR_WITH_ALL,
    TASTE_OF_ALL,
    TASTE_OF_OTHERS,
)
from m6rec.stages.ranking.recommendations import sentence_of

VALUES = {
    MODEL_REASON: (TASTE_OF_ALL, TASTE_OF_OTHERS),
    POPULAR_REASON: (POPULAR_WITH_ALL, POPULAR_IN_SEGMENT),
}


@pytest.mark.parametrize("language", get_args(Language))
def test_every_language_has_a_sentence_for_every_kind_of_reason(language: Language) -> None:
    sentences = read_sentences(language, None)
    said = [
        sentence_of({"kind": kind, "value": value, "share": 0.5}, sentences)
        for kind in KINDS
        for value in VALUES.get(kind, ("Fargo",))
    ]
    assert len(set(said)) == len(sentences) == len(KINDS) + 2
    assert sum("Fargo" in sentence for sentence in said) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hisotry: x", "unknown key hisotry; give history, after"),
        ("history: [1]", r"history is \[1\], expected text"),
        ("history: 'You had {title}'", r"history has the field 'title'; give \{value\}"),
        ("history: 'You had {'", r"history: .*; write a brace"),
        (
            "history: 'You had {value} ({share:.0f}%)'",
            "history: Unknown format code .*; both fields",
        ),
        ("history: '{value:{width}}'", "history: 'width'; both .* hold no field"),
        ("history: '{value:{}}'", "history: .* both .* hold no field"),
        ("- a", "file of sentences .* holds a list, expected sections"),
    ],
)
def test_a_file_with_other_keys_or_fields_is_refused(
    content: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        reasons({"language": "en", "file": str(file)}).sentences()


def test_a_missing_file_is_named_with_its_key(tmp_path: Path) -> None:
    file = tmp_path / "none.yaml"
    message = "file of sentences .* does not exist; give an existing file to recommend.reasons.file"
    with pytest.raises(ConfigError, match=message):
        reasons({"language": "en", "file": str(file)}).sentences()


def test_a_finished_run_is_read_without_its_file_and_lists_need_it(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("history: 'As you had {value}'")
    of_run = config({"language": "en", "file": str(file)})
    found = parse_config(of_run, "of run a").recommend.reasons.sentences()
    assert found is not None and found["history"] == "As you had {value}"
    file.unlink()
    gone = parse_config(of_run, "of run a")
    assert gone.recommend.reasons.file == str(file)
    with pytest.raises(ConfigError, match=r"file of sentences .* does not exist"):
        gone.recommend.reasons.sentences()


def test_without_a_language_there_are_no_sentences() -> None:
    assert reasons({}).sentences() is None


def reasons(given: object) -> ReasonsConfig:
    return parse_config(config(given), "test").recommend.reasons


def config(reasons: object) -> dict[str, object]:
    return {"interactions": {"source": {"path": "x.csv"}}, "recommend": {"reasons": reasons}}


def test_a_file_needs_the_language_that_it_changes() -> None:
    with pytest.raises(ConfigError, match=r"recommend\.reasons: file needs language"):
        parse_config(config({"file": "own.yaml"}), "test")


def test_one_number_is_the_count_of_reasons() -> None:
    assert parse_config(config(5), "test").recommend.reasons.count == 5
    with pytest.raises(ConfigError, match="greater than or equal to 0"):
        parse_config(config(-1), "test")
