"""YAML of a config file or of `--set`, read as plain data; what cannot be read is said in words."""

import atexit
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from m6rec.errors import ConfigError

_INT = "tag:yaml.org,2002:int"
_KEYS_NAMED = 3


class _Loader(yaml.SafeLoader):
    """YAML without Python's own types, and without a key that stands twice in one section.

    Whole numbers are plain decimals alone. PyYAML would read the id 010 as 8, by base 8, and the
    time 12:30 as 750, by base 60; here they are text, as 1_000 is.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value} stands twice; remove one", key.start_mark
                    )
                seen.add(key.value)
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _INT]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_INT, re.compile(r"^(?:0|-?[1-9][0-9]*)$"), list("-0123456789"))


def data_of_file(file: Path, what: str = "config file", option: str = "--config") -> dict[str, Any]:
    """The sections of a YAML file.

    Args:
        file: the file.
        what: how messages call it.
        option: what names it.

    Raises:
        ConfigError: the file is missing, cannot be read, or is not YAML with sections.
    """
    try:
        data = _parsed(file.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise ConfigError(
            f"{what} {file} does not exist; give an existing file to {option}"
        ) from None
    except IsADirectoryError:
        raise ConfigError(f"{what} {file} is a folder; give a file to {option}") from None
    except OSError as error:
        raise ConfigError(
            f"{what} {file} cannot be read ({error.strerror}); correct its path or its permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{what} {file} is not text in UTF-8: found byte 0x{error.object[error.start]:02x}"
            f" at position {error.start}; save it in UTF-8"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{what} {file} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{what} {file} holds a {type(data).__name__}, expected sections")
    return data


def shipped_file(name: str) -> Path:
    """A file of conf/, which a wheel, and a cluster's zip, have within the package of the jobs.

    What lies in a zip is copied to where other programs can read it, until the process ends.
    """
    jobs = resources.files("jobs")
    packed = jobs / "conf" / name
    if not packed.is_file():
        return Path(str(jobs)).parent / "conf" / name
    kept = ExitStack()
    atexit.register(kept.close)
    return kept.enter_context(resources.as_file(packed))


def apply_override(data: dict[str, Any], override: str) -> None:
    """Put the value of `section.key=value` into plain data; a word for a guard is its action alone.

    Raises:
        ConfigError: it is not of this form, or the value is not YAML.
    """
    key, separator, text = override.partition("=")
    if not separator:
        raise ConfigError(f"--set {override!r} is not of the form section.key=value")
    if not all(key.split(".")):
        raise ConfigError(
            f"--set {override!r} names no key before or after a dot; expected section.key=value"
        )
    try:
        value = _parsed(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"--set {override!r}: the value is not valid YAML ({reason}); correct it, or quote it"
            f" where it is text: {key}='\"...\"'"
        ) from error
    put(data, f"{key}.action" if _is_of_a_guard_with_keys(data, key, value) else key, value)


def _is_of_a_guard_with_keys(data: Mapping[str, Any], key: str, value: Any) -> bool:
    """Whether a word is for a guard of which more is given, which stays as it is."""
    section, _, name = key.partition(".")
    guards = data.get(section) if section == "guards" else None
    given = guards.get(name) if isinstance(guards, dict) else None
    return isinstance(given, dict) and not isinstance(value, dict)


def value_at(data: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key of plain data; None where it is not there.

    Data of an earlier release may lack a key.
    """
    section, _, rest = key.partition(".")
    found = data.get(section, {} if rest else None)
    return value_at(found, rest) if rest else found


def keys_of_differences(
    one: Any, other: Any, key: str, may_differ: Callable[[str], bool]
) -> list[str]:
    """The dotted keys at and below `key` whose values differ in plain data, if they may not.

    Args:
        one, other: the values at the key.
        key: where they stand.
        may_differ: whether a dotted key, with all below it, does not count.
    """
    if one == other or may_differ(key):
        return []
    if not isinstance(one, dict) or not isinstance(other, dict):
        return [key]
    return [
        found
        for name in sorted(one.keys() | other.keys())
        for found in keys_of_differences(
            one.get(name), other.get(name), f"{key}.{name}", may_differ
        )
    ]


def some_of(keys: Sequence[str]) -> str:
    """The first keys in words, and how many more there are."""
    more = len(keys) - _KEYS_NAMED
    return ", ".join(keys[:_KEYS_NAMED]) + (f" and {more} more" if more > 0 else "")


def put(data: dict[str, Any], key: str, value: Any) -> None:
    """Set the value at a dotted key of plain data."""
    *sections, last = key.split(".")
    target = data
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise ConfigError(f"{key}: {section} is a value, not a section")
    target[last] = value


def _parsed(text: str) -> Any:
    try:
        # The loader is a SafeLoader.
        return yaml.load(text, Loader=_Loader)
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        # PyYAML raises these for a 13th month, for text under the tag !!bool and the like.
        raise yaml.YAMLError(f"a value is not of the type that it looks like: {error}") from error
