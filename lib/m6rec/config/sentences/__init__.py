"""Sentences for reasons: a file for each language beside this module; the owner can change them."""

import string
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml

from m6rec.config.reading import data_of_file
from m6rec.errors import ConfigError

Language = Literal["en", "zh", "de"]
_FIELDS = frozenset({"value", "share"})


def read_sentences(language: Language, file: str | None) -> dict[str, str]:
    """The template of each kind of reason: those of the language, under those of the file.

    Raises:
        ConfigError: the file cannot be read, has another key, or a template with another field.
    """
    own = resources.files(__package__).joinpath(f"{language}.yaml").read_text(encoding="utf-8")
    templates: dict[str, str] = yaml.safe_load(own)
    what, option = "file of sentences", "recommend.reasons.file"
    given = {} if file is None else data_of_file(Path(file), what, option)
    found = (_wrong(str(key), value, templates) for key, value in given.items())
    problems = [problem for problem in found if problem is not None]
    if problems:
        raise ConfigError(f"recommend.reasons.file {file}: {'; '.join(problems)}")
    return {**templates, **given}


def _wrong(key: str, template: Any, known: Mapping[str, Any]) -> str | None:
    if key not in known:
        return f"unknown key {key}; give {', '.join(known)}"
    if not isinstance(template, str):
        return f"{key} is {template!r}, expected text in quotes"
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    except ValueError as error:
        return f"{key}: {error}; write a brace that is meant as {{{{ or }}}}"
    unknown = sorted(fields - _FIELDS)
    if unknown:
        return f"{key} has the field {unknown[0]!r}; give {{value}} or {{share}}"
    try:
        template.format(value="Fargo", share="15%")
    except (LookupError, ValueError) as error:
        return f"{key}: {error}; both fields are texts, such as Fargo and 15%, and hold no field"
    return None
