"""Profile what a run was trained on, so that a later run can tell how far its own has moved."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.check.writing import AS_IS
from m6rec.config.data import AttributesSource, FeatureKind
from m6rec.kernels.arrays.rows import Float64
from m6rec.kernels.publication.drift import (
    NO_WORD,
    Profile,
    drift_of_numbers,
    drift_of_words,
    profile_of_numbers,
    profile_of_words,
)
from m6rec.spark.runtimes import arrow_table
from m6rec.spark.values import owner_column
from m6rec.stages.features.inputs import number_column
from m6rec.stages.features.kinds import kinds_of_attributes

# Enough for shares to be known to half a percent.
MOST_ROWS = 20_000
# Of columns of these kinds, a profile holds which rows have a value. Bytes are not read for that.
_TOLD_BY_ROWS: frozenset[FeatureKind] = frozenset({"text", "image", "video"})

Numbers = Mapping[str, Float64]
Words = Mapping[str, Mapping[str, int]]


def numbers_of(
    frame: DataFrame, key: tuple[str, ...], names: tuple[str, ...], seed: int
) -> dict[str, Float64]:
    """The values of numeric columns in a sample of rows; NaN where there is none.

    Args:
        frame: with the columns.
        key: the columns that tell a row from another, by which rows are sampled.
        names: the columns of numbers.
        seed: of the sample.
    """
    if not names:
        return {}
    sample = _sample(frame, key, seed).select(
        *(owner_column(name).cast("double").alias(name) for name in names)
    )
    table = arrow_table(sample)
    # A missing value becomes NaN.
    return {name: table.column(name).to_numpy().astype(np.float64, copy=False) for name in names}


def numbers_of_attributes(
    frame: DataFrame, source: AttributesSource, id_parts: Sequence[str], seed: int
) -> dict[str, Float64]:
    """The attributes that become features as numbers, dates and truth values among them.

    Of texts and paths of pictures it is 1 where a row has one, and NaN where it has none.

    Args:
        frame: the owner's table.
        source: what the configuration says of it.
        id_parts: columns that are a part of the id.
        seed: of the sample.
    """
    columns = kinds_of_attributes(frame, source, id_parts)
    types = {field.name: field.dataType for field in frame.schema.fields}
    values = {
        name: number_column(name, types[name], columns.writings.get(name, AS_IS))
        for name, kind in columns.kinds.items()
        if kind == "numeric"
    }
    values |= {
        name: F.when(_is_there(name, types[name]), 1.0)
        for name, kind in columns.kinds.items()
        if kind in _TOLD_BY_ROWS and not isinstance(types[name], T.BinaryType)
    }
    numbers = frame.select(
        owner_column(source.id).alias(source.id),
        *(value.alias(name) for name, value in values.items()),
    )
    return numbers_of(numbers, (source.id,), tuple(values), seed)


def _is_there(name: str, data_type: T.DataType) -> Column:
    """Whether a row has a text that is not blank, or an array that is not empty."""
    column = owner_column(name)
    if isinstance(data_type, T.ArrayType):
        return F.size(column) > 0
    return F.trim(column.cast("string")) != ""


def words_of(
    features: DataFrame, index_column: str, seed: int
) -> tuple[dict[str, dict[str, int]], int]:
    """How often each attribute in words, such as `genre: Drama`, stands in a sample of rows.

    Args:
        features: rows of `user_features` or `item_features`.
        index_column: user_index or item_index.
        seed: of the sample.

    Returns:
        By name of the attribute, the count of each of its words, and that of the rows that have
        none; and how many rows the sample has.
    """
    sample = _sample(features.select(index_column, c.ATTRIBUTES), (index_column,), seed)
    words = F.coalesce(c.ATTRIBUTES, F.array().cast("array<string>"))
    names = F.array_distinct(F.transform(words, lambda word: F.substring_index(word, ":", 1)))
    # By one query: each word, the name of each attribute that the row has words of, and the row.
    marks = F.concat(words, names, F.array(F.lit(NO_WORD)))
    counted = sample.select(F.explode(marks).alias("word")).groupBy("word").count()
    found = {row["word"]: int(row["count"]) for row in counted.collect()}
    rows = found.pop(NO_WORD, 0)
    counts = {name: {NO_WORD: rows - count} for name, count in found.items() if ":" not in name}
    for word, count in found.items():
        if ":" in word:
            counts[word.partition(":")[0]][word] = count
    return counts, rows


def words_of_vectors(described: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """How many rows have a usable vector, and how many none, by column of vectors.

    Args:
        described: what job `build_features` has recorded of the features of users or items.
    """
    counts: Mapping[str, tuple[int, int]] = described.get("usable_vectors", {})
    return {
        name: {f"{name}: vector": usable, NO_WORD: rows - usable}
        for name, (usable, rows) in counts.items()
    }


def profiles_of(numbers: Numbers, words: Words) -> str:
    """The profiles of all quantities, as JSON."""
    profiles = {name: profile_of_numbers(values) for name, values in numbers.items()}
    profiles |= {name: profile_of_words(counts) for name, counts in words.items()}
    return json.dumps({name: asdict(profile) for name, profile in profiles.items()})


def largest_drift(
    earlier: str,
    numbers: Numbers,
    words: Words,
    sides: Collection[str] = (),
    described: Mapping[str, int] | None = None,
) -> tuple[str, float]:
    """The quantity that has moved farthest from its earlier profile, and how far.

    Args:
        earlier: the profiles of the earlier run, as JSON.
        numbers: those of this run.
        words: those of this run.
        sides: users or items, where this run has read a table of them. A number that it lacks there
            counts as missing in all rows. What only one of the runs has is else not compared.
        described: how many rows of features this run has of those of whom it has made any; a kind
            of words that it lacks there counts as missing in all of them, too.
    """
    profiles = {name: _profile(fields) for name, fields in json.loads(earlier).items()}
    drifts = {}
    for name, profile in profiles.items():
        if profile.categories:
            counts = words.get(name)
            rows = (described or {}).get(_side(name))
            if counts is None and rows is not None:
                # A row can have had several words, so that the earlier profile tells no rows.
                counts = {NO_WORD: rows}
            if counts is not None:
                drifts[name] = drift_of_words(profile, counts)
        else:
            values = numbers.get(name)
            if _side(name) in sides and (values is None or not len(values)):
                values = np.full(profile.values, np.nan)
            if values is not None:
                drifts[name] = drift_of_numbers(profile, values)
    return max(drifts.items(), key=lambda item: item[1], default=("", 0.0))


def _side(name: str) -> str:
    """Whose attribute a quantity is; for one of activity, its name."""
    return name.partition(": ")[0]


def _profile(fields: Mapping[str, Any]) -> Profile:
    return Profile(*(tuple(fields[name]) for name in ("edges", "categories", "counts")))


def _sample(frame: DataFrame, key: tuple[str, ...], seed: int) -> DataFrame:
    order = F.xxhash64(F.lit(seed), *map(owner_column, key))
    return frame.orderBy(order).limit(MOST_ROWS)
