"""A config file or a `--set` that cannot be read is said in words, and never by a traceback."""

from pathlib import Path

import pytest

from m6rec.config.run import Config, load_config
from m6rec.errors import ConfigError

EVENTS = "interactions: {source: {path: events.csv, format: csv}}\n"


def load(folder: Path, text: str, *overrides: str) -> Config:
    file = folder / "config.yaml"
    file.write_text(text)
    return load_config(file, overrides)


@pytest.mark.parametrize("value", ["[", "{a", "'", "2026-13-45", "!!bool maybe", "{a: 1, a: 2}"])
def test_a_value_that_is_not_yaml_is_refused_with_its_set(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, EVENTS, f"seed={value}")
    message = str(refused.value)
    assert f"--set {f'seed={value}'!r}: the value is not valid YAML" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("override", [".=3", "=3", "factors.=3", ".seed=3", "factors..rank=3"])
def test_a_set_without_a_key_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError, match="names no key before or after a dot"):
        load(tmp_path, EVENTS, override)


def test_a_file_that_is_not_utf_8_is_refused_with_the_place(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(b"lake: \xe9t\xe9\n")
    with pytest.raises(ConfigError, match=r"not text in UTF-8: found byte 0xe9 at position 6"):
        load_config(file)


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder; give a file"):
        load_config(tmp_path)
    with pytest.raises(ConfigError, match="does not exist; give an existing file"):
        load_config(tmp_path / "none.yaml")


def test_a_file_that_may_not_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(ConfigError, match=r"cannot be read \(Permission denied\)"):
        load_config(tmp_path / "config.yaml")


def test_a_key_that_stands_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)key seed stands twice; remove one.*line 3"):
        load(tmp_path, f"seed: 1\n{EVENTS}seed: 2\n")


def test_a_section_that_another_merges_may_have_the_same_keys(tmp_path: Path) -> None:
    text = f"{EVENTS}factors:\n  svd: &svd {{rank: 8}}\nratings: {{<<: *svd, rank: 9}}\n"
    config = load(tmp_path, text)
    assert (config.factors.svd.rank, config.ratings.rank) == (8, 9)
