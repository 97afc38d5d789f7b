"""Columns of text whose values are objects: JSON, or as Python writes them."""

import ast
import json
from collections.abc import Sequence

from m6rec.check.shares import found_for_share

_MOST_ARE_OBJECTS = 0.9


def fields_of_objects(values: Sequence[str]) -> tuple[str, ...] | None:
    """The fields of objects, or of lists of objects, the most frequent first.

    None unless nearly all texts are objects. An empty list or object counts as one if others are
    not empty.
    """
    counted: dict[str, int] = {}
    for objects in found_for_share(values, _MOST_ARE_OBJECTS, _objects) or ():
        for name in {name for one in objects for name in one}:
            counted[name] = counted.get(name, 0) + 1
    if not counted:
        return None
    return tuple(sorted(counted, key=lambda name: (-counted[name], name)))


def _objects(text: str) -> list[dict[str, object]] | None:
    """The objects of a text, or None where it is neither one nor a list of them."""
    text = text.strip()
    if text[:1] + text[-1:] not in {"{}", "[]"} or (
        text[0] == "[" and text[1:].lstrip()[:1] not in "{]"
    ):
        return None
    try:
        read = json.loads(text)
    except ValueError:
        try:
            read = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    objects = read if isinstance(read, list) else [read]
    return objects if all(isinstance(one, dict) and _is_named(one) for one in objects) else None


def _is_named(one: dict[object, object]) -> bool:
    return all(isinstance(name, str) for name in one)
