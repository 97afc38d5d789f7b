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


def test_a_word_for_a_guard_changes_its_action_alone(tmp_path: Path) -> None:
    guards = "guards: {rows_in: {limit: 0.5}, overlap: stop, drift: {action: stop, limit: 2}}"
    words = ("rows_in=warn", "overlap=warn", "drift=off", "coverage=off")
    config = load(tmp_path, EVENTS + guards, *(f"guards.{word}" for word in words))
    found = [config.guards.named(word.partition("=")[0]) for word in words]
    assert [(one.action, one.limit) for one in found] == [
        ("warn", 0.5), ("warn", 0.1), ("off", 2.0), ("off", 0.01),
    ]  # fmt: skip
    replaced = load(tmp_path, EVENTS + guards, "guards.drift={limit: 3}").guards.drift
    assert (replaced.action, replaced.limit) == ("warn", 3.0)


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


@pytest.mark.parametrize(
    "text", ["007", "010", "1_000", "12:30", "0x1F", "0b1", "+49", "-0", "0", "7", "-7", "19990101"]
)
def test_what_stands_for_an_id_is_read_as_it_is_written(tmp_path: Path, text: str) -> None:
    for config in (
        load(tmp_path, f"interactions: {{source: {{path: e.csv}}, not_a_user: [{text}]}}\n"),
        load(tmp_path, EVENTS, f"interactions.not_a_user=[{text}]"),
    ):
        assert config.interactions.not_a_user == (text,)


@pytest.mark.parametrize(
    ("text", "number"), [("32", 32), ("010", 10), ("1_000", 1000), ("+5", 5), ("1e-3", 0.001)]
)
def test_a_number_may_be_written_in_several_ways(tmp_path: Path, text: str, number: float) -> None:
    key = "seed" if isinstance(number, int) else "hybrid.catalogue_share"
    config = load(tmp_path, EVENTS, f"{key}={text}")
    assert config.value(key) == number


@pytest.mark.parametrize(
    "override",
    [
        "factors.als.rank=yes",
        "towers.bagging=true",
        "towers.ranks=on",
        "hybrid.catalogue_share=false",
        "evaluate.ks=[true]",
        "interactions.suspicious_users.copy_likeness=true",
    ],
)
def test_a_truth_value_is_no_number(tmp_path: Path, override: str) -> None:
    key, _, _ = override.partition("=")
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, EVENTS, override)
    lines = str(refused.value).splitlines()[1:]
    assert any(
        line.startswith((f"  {key}: found the truth value", f"  {key}.0: found the truth value"))
        and line.endswith("expected a number; give the number")
        for line in lines
    ), lines
    # Where a word may stand in place of the number, it is named as well.
    assert all(line.startswith((f"  {key}: ", f"  {key}.0: ")) for line in lines), lines
