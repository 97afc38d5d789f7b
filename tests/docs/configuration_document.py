"""Writes docs/configuration.md, which follows from the models of the configuration.

python -m tests.docs.configuration_document
"""

import builtins
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from inspect import getdoc
from typing import Any, TypeGuard, get_args, get_origin

import annotated_types
from pydantic import WithJsonSchema
from pydantic.fields import FieldInfo

from m6rec.config.base import Section, TableSource
from m6rec.config.data import AttributesSource
from m6rec.config.outputs import ItemTable, PairTable
from m6rec.config.publication import Guard
from m6rec.config.run import Config
from m6rec.config.search import Choice, Range
from tests.test_layers import REPOSITORY

CONFIGURATION_DOCUMENT = REPOSITORY / "docs" / "configuration.md"

# Sections that can stand at several keys. They are explained once, after all keys.
TYPES: Mapping[type[Section], str] = {
    TableSource: "table",
    AttributesSource: "table of attributes",
    ItemTable: "table of items",
    PairTable: "table of pairs",
    Range: "range",
    Choice: "choice",
    Guard: "guard",
}
# In the singular and in the plural.
WORDS: Mapping[type, tuple[str, str]] = {
    int: ("whole number", "whole numbers"),
    float: ("number", "numbers"),
    str: ("text", "texts"),
    bool: ("true or false", "true or false"),
}
INTRODUCTION = """\
# Configuration

<!-- Written by: python -m tests.docs.configuration_document -->

A configuration is a YAML file of sections and keys. Keys that are not listed here are refused.
On the command line, `--set SECTION.KEY=VALUE` replaces a value. What is the same at several keys,
such as a table, is explained at the end."""
HEADER = "| key | type | default | what it is |\n|---|---|---|---|"


def document() -> str:
    """The whole document as Markdown."""
    parts = [INTRODUCTION, _rows(Config, ""), *_subsections(Config, ""), *_types()]
    return "\n\n".join(parts) + "\n"


def _subsections(section: type[Section], key: str) -> Iterator[str]:
    """The heading, the words and the keys of each section within a section, in order."""
    for name, field in section.model_fields.items():
        if _is_subsection(field.annotation):
            inner = _joined(key, name)
            yield f"{'#' * (2 + inner.count('.'))} {inner}"
            yield _words_of(field.annotation)
            yield _rows(field.annotation, inner)
            yield from _subsections(field.annotation, inner)


def _types() -> Iterator[str]:
    yield "## Types"
    for section, name in TYPES.items():
        yield f"### {name}"
        yield _words_of(section)
        yield _rows(section, "")


def _is_subsection(annotation: Any) -> TypeGuard[type[Section]]:
    is_section = isinstance(annotation, type) and issubclass(annotation, Section)
    return is_section and annotation not in TYPES


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _words_of(section: type[Section]) -> str:
    return getdoc(section) or ""


def _rows(section: type[Section], key: str) -> str:
    """The table of a section's keys, without those of a type that it extends."""
    inherited = {
        name
        for base in section.__bases__
        if issubclass(base, Section)
        for name in base.model_fields
    }
    rows = (
        _row(name, field, key)
        for name, field in section.model_fields.items()
        if name not in inherited
    )
    return "\n".join([HEADER, *rows])


def _row(name: str, field: FieldInfo, key: str) -> str:
    if _is_subsection(field.annotation):
        kind = _link("section", _joined(key, name))
        default = "required" if field.is_required() else "optional"
    else:
        kind = type_in_words(field.annotation, field.metadata)
        default = default_in_words(field)
    return f"| `{name}` | {kind} | {default} | {field.description} |"


def _link(text: str, heading: str) -> str:
    """A link to a heading of the document, as GitHub names it."""
    return f"[{text}](#{heading.replace('.', '').replace(' ', '-')})"


def type_in_words(annotation: Any, constraints: Sequence[Any] = (), plural: bool = False) -> str:
    """What a value must be, such as `whole number, at least 1`.

    Args:
        annotation: the type.
        constraints: of the value, as pydantic holds them.
        plural: whether the words are of the values of a list.
    """
    arguments = get_args(annotation)
    words: str
    match get_origin(annotation):
        case typing.Annotated:
            inner = [part for one in arguments[1:] for part in getattr(one, "metadata", [one])]
            words = type_in_words(arguments[0], [*inner, *constraints], plural)
        case typing.Union | types.UnionType:
            kinds = [one for one in arguments if one is not types.NoneType]
            words = " or ".join(type_in_words(one, constraints, plural) for one in kinds)
        case typing.Literal:
            words = _choice(arguments, plural)
        case builtins.tuple:
            words = f"list of {type_in_words(arguments[0], plural=True)}".replace("of of", "of")
        case builtins.dict:
            words = f"mapping from {' to '.join(type_in_words(one) for one in arguments)}"
        case _ if annotation in TYPES:
            words = _link(TYPES[annotation], TYPES[annotation])
        case _ if names := _names(constraints):
            words = _choice(names, plural)
        case _:
            bounds = " and ".join(_bounds(constraints))
            each = "each " if plural and bounds else ""
            words = ", ".join(filter(None, [WORDS[annotation][plural], each + bounds]))
    return words


def _choice(values: Sequence[str], plural: bool) -> str:
    return f"{'' if plural else 'one '}of: {', '.join(f'`{one}`' for one in values)}"


def _names(constraints: Sequence[Any]) -> list[str]:
    """The only values that a text may have; empty where it may be any."""
    schemas = (one.json_schema for one in constraints if isinstance(one, WithJsonSchema))
    return [name for schema in schemas if schema for name in schema.get("enum", [])]


def _bounds(constraints: Sequence[Any]) -> Iterator[str]:
    for constraint in constraints:
        match constraint:
            case annotated_types.Ge():
                yield f"at least {constraint.ge:g}"
            case annotated_types.Gt():
                yield f"above {constraint.gt:g}"
            case annotated_types.Le():
                yield f"at most {constraint.le}"
            case annotated_types.Lt():
                yield f"below {constraint.lt:g}"


def default_in_words(field: FieldInfo) -> str:
    """What stands where the key is not given."""
    if field.is_required():
        return "required"
    if field.default_factory_takes_validated_data:
        return "depends"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    if isinstance(value, dict) and value:
        return "<br>".join(f"`{key}`: {_in_words(one)}" for key, one in value.items())
    return f"`{_in_words(value)}`"


def _in_words(value: Any) -> str:
    match value:
        case Range():
            return f"{value.low:g} to {value.high:g}{' (log)' if value.log else ''}"
        case Choice():
            return " or ".join(map(_in_words, value.values))
        case Guard():
            return f"{value.action}, {value.limit:g}"
        case bool():
            return str(value).lower()
        case tuple():
            return f"[{', '.join(map(_in_words, value))}]"
    return str(value)


if __name__ == "__main__":
    CONFIGURATION_DOCUMENT.write_text(document())
