"""Split the values of attribute columns into tokens, and choose which tokens are kept."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never, get_args

import numpy as np
from pyspark.ml.feature import RegexTokenizer, StopWordsRemover
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.window import Window

from m6rec.config.data import StopWordLanguage, TokenKind
from m6rec.kernels.arrays.rows import Float64
from m6rec.spark.values import as_text, is_fraction, owner_column, quoted

NO_SEPARATOR = ""
WHITESPACE = " "
SEPARATOR = "|"
SEPARATED_SHARE = 0.1
"""The share of a column's values from which on what stands in them is taken for a separator."""
# The punctuation of Chinese and Japanese is among them.
OTHER_SEPARATORS = (",", ";", "\u3001", "\uff0c", "\uff1b", " / ", "\t")
# Of lists as programs write them: ['Action', 'Comedy'].
BRACKETS = "[]"

NO_LANGUAGE = "none"

_IN_BRACKETS = r"[\[({][^\[\](){}]*[\])}]"
_BRACKETS_AROUND = r"^\s*[\[({]|[\])}]\s*$"
_AROUND_VALUES = " \t\n'\""
_NO_TOKENS = "array<string>"
_SHORTEST_WORD = 2
# The scripts that put no space between words, and Korean, whose words carry particles.
_UNSPACED = "".join(
    rf"\p{{Is{script}}}"
    for script in (
        "Han",
        "Hiragana",
        "Katakana",
        "Hangul",
        "Thai",
        "Lao",
        "Khmer",
        "Myanmar",
    )
)
# Japanese words contain the character for a long vowel, which belongs to no script.
_UNSPACED += "\u30fc"
# In running text of a language about a third of the words are its stop words.
_LEAST_STOP_WORDS = 0.1


@dataclass(frozen=True)
class Vocabulary:
    """The kept tokens of a column, the most frequent first.

    Attributes:
        tokens: the tokens.
        document_counts: float64 [v]; in how many training rows each token occurs.
        documents: how many training rows there were.
    """

    tokens: tuple[str, ...]
    document_counts: Float64
    documents: int

    def first(self, limit: int) -> "Vocabulary":
        """The `limit` most frequent tokens."""
        return Vocabulary(self.tokens[:limit], self.document_counts[:limit], self.documents)


def is_in_brackets(value: str) -> bool:
    """Whether a text is a list in brackets, without others in it."""
    return re.fullmatch(_IN_BRACKETS, value) is not None


def values_in_brackets(value: str) -> list[str]:
    """The values of a list in brackets."""
    return [part for one in value[1:-1].split(",") if (part := one.strip(_AROUND_VALUES))]


def token_column(name: str, kind: TokenKind, data_type: T.DataType, separator: str) -> Column:
    """The values of a column as array<string> without nulls and empty strings.

    Text stays one string here; `split_text` splits it.
    """
    match kind:
        case "text":
            return F.coalesce(_as_string(owner_column(name), data_type), F.lit(""))
        case "categorical" | "multi_valued":
            if is_fraction(_single(data_type)):
                return _fraction_tokens(owner_column(name), data_type)
            return F.expr(_value_tokens(quoted(name), data_type, separator))
        case _:
            assert_never(kind)


def _value_tokens(column: str, data_type: T.DataType, separator: str) -> str:
    """As SQL: a table may have thousands of columns, and each call of Spark's takes its time."""
    text = f"cast({column} as string)"
    if isinstance(data_type, T.ArrayType):
        values = f"cast({column} as {_NO_TOKENS})"
    elif separator == NO_SEPARATOR:
        values = f"array({text})"
    elif separator == WHITESPACE:
        values = rf"split({text}, r'\s+')"
    elif separator == BRACKETS:
        inner = f"regexp_replace({text}, r'{_BRACKETS_AROUND}', '')"
        around = f"concat({', '.join(f'char({ord(sign)})' for sign in _AROUND_VALUES)})"
        values = f"transform(split({inner}, ','), value -> btrim(value, {around}))"
    else:
        values = rf"split({text}, r'\Q{separator}\E')"
    trimmed = f"transform({values}, value -> trim(value))"
    present = f"filter({trimmed}, value -> value is not null and value != '')"
    return f"coalesce({present}, cast(array() as {_NO_TOKENS}))"


def _fraction_tokens(column: Column, data_type: T.DataType) -> Column:
    """Fractions as tokens: those that are whole by their digits alone."""
    values = column if isinstance(data_type, T.ArrayType) else F.array(column)
    texts = F.transform(values, lambda value: as_text(value, _single(data_type)))
    return F.coalesce(F.filter(texts, F.isnotnull), F.array().cast(_NO_TOKENS))


def _single(data_type: T.DataType) -> T.DataType:
    """The type of the values of a column of one or of several."""
    return data_type.elementType if isinstance(data_type, T.ArrayType) else data_type


@dataclass(frozen=True)
class TextColumn:
    """A column of text that is split into words.

    Attributes:
        text: the column; it is dropped.
        tokens: the name of the array of its words.
        language: whose stop words are left out; `none` keeps all words.
    """

    text: str
    tokens: str
    language: str


def split_text(frame: DataFrame, columns: Sequence[TextColumn]) -> DataFrame:
    """Add the words of text columns as arrays, in lower case and without stop words.

    A word consists of letters, digits and the marks on them, and has two of them or more. Scripts
    that put no space between words (Chinese, Japanese, Thai and others) give each character and
    each pair of neighbouring characters.
    """
    for column in columns:
        raw = f"{column.tokens}_all"
        frame = _with_words(frame, column.text, raw).drop(column.text)
        if column.language == NO_LANGUAGE:
            frame = frame.withColumnRenamed(raw, column.tokens)
            continue
        remover = StopWordsRemover(inputCol=raw, outputCol=column.tokens)
        remover = remover.setStopWords(_stop_words(column.language))
        frame = remover.transform(frame).drop(raw)
    return frame


def inferred_languages(frame: DataFrame, texts: Mapping[str, Column]) -> dict[str, str]:
    """The language of each text by its stop words, or `none` where they are few in all languages.

    Args:
        frame: some rows; a sample suffices.
        texts: by any name, a column of text each.
    """
    if not texts:
        return {}
    names = list(texts)
    split = frame.select(*(texts[name].alias(f"text_{k}") for k, name in enumerate(names)))
    for k in range(len(names)):
        split = _with_words(split, f"text_{k}", f"words_{k}")
    sums = [F.sum(F.size(f"words_{k}")).alias(f"all_{k}") for k in range(len(names))]
    for k in range(len(names)):
        for language in get_args(StopWordLanguage):
            found = _stop_words_among(F.col(f"words_{k}"), language)
            sums.append(F.sum(F.size(found)).alias(f"{language}_{k}"))
    row = split.agg(*sums).first()
    inferred = {}
    for k, name in enumerate(names):
        words = 0 if row is None else row[f"all_{k}"] or 0
        shares = {
            language: row[f"{language}_{k}"] / words if row is not None and words else 0.0
            for language in get_args(StopWordLanguage)
        }
        best = max(shares, key=lambda language: shares[language])
        inferred[name] = best if shares[best] >= _LEAST_STOP_WORDS else NO_LANGUAGE
    return inferred


def _with_words(frame: DataFrame, text: str, words: str) -> DataFrame:
    tokenizer = RegexTokenizer(
        inputCol=text,
        outputCol=words,
        pattern=r"[^\p{L}\p{N}\p{M}]+",
        minTokenLength=1,
        toLowercase=True,
    )
    # Most texts hold no such script, and then no word needs to be split.
    split = F.flatten(F.transform(words, _signs_and_pairs))
    whole = F.filter(words, lambda word: F.length(word) >= _SHORTEST_WORD)
    has_signs = F.col(text).rlike(f"[{_UNSPACED}]")
    return tokenizer.transform(frame).withColumn(words, F.when(has_signs, split).otherwise(whole))


def _signs_and_pairs(word: Column) -> Column:
    """The runs of a word: one without spaces as characters and pairs, any other as it is."""
    nothing = F.array().cast(_NO_TOKENS)
    runs = F.regexp_extract_all(word, F.lit(f"([{_UNSPACED}]+|[^{_UNSPACED}]+)"), F.lit(1))
    return F.flatten(
        F.transform(
            runs,
            lambda run: F.when(
                run.rlike(f"^[{_UNSPACED}]"), F.concat(_grams(run, 1), _grams(run, 2))
            ).otherwise(F.when(F.length(run) >= _SHORTEST_WORD, F.array(run)).otherwise(nothing)),
        )
    )


def _grams(run: Column, length: int) -> Column:
    """All parts of so many characters."""
    last = F.length(run) - (length - 1)
    starts = F.when(last >= 1, F.sequence(F.lit(1), last)).otherwise(F.array().cast("array<int>"))
    return F.transform(starts, lambda start: F.substr(run, start, F.lit(length)))


def _stop_words_among(words: Column, language: str) -> Column:
    stop_words = F.array(*map(F.lit, _stop_words(language)))
    return F.filter(words, lambda word: F.array_contains(stop_words, word))


def _stop_words(language: str) -> list[str]:
    """The stop words of a language, and the words that texts are split into where they have one."""
    words: list[str] = list(StopWordsRemover.loadDefaultStopWords(language))
    parts = (part for word in words for part in word.split("'") if len(part) >= _SHORTEST_WORD)
    return list(dict.fromkeys([*words, *parts]))


def fit_vocabularies(
    frame: DataFrame, limits: Mapping[str, int], minimum_count: int, documents: int
) -> dict[str, Vocabulary]:
    """The `limits[column]` most frequent tokens of each token column, in one job.

    A token counts once in a row. Tokens in fewer than `minimum_count` rows count as unknown. Equal
    counts are ordered by token, so the vocabulary does not depend on the order of rows.
    """
    if not limits:
        return {}
    pairs = F.concat(*(_token_pairs(name, limit) for name, limit in limits.items()))
    counts = (
        frame.select(F.explode(pairs).alias("pair"))
        .groupBy("pair.column", "pair.limit", "pair.token")
        .count()
        .where(F.col("count") >= minimum_count)
    )
    order = Window.partitionBy("column").orderBy(F.col("count").desc(), "token")
    rows = (
        counts.withColumn("position", F.row_number().over(order))
        .where(F.col("position") <= F.col("limit"))
        .toPandas()
        .sort_values(["column", "position"])
    )
    groups = {str(name): group for name, group in rows.groupby("column")}
    return {
        name: Vocabulary(
            tuple(str(token) for token in groups[name]["token"]) if name in groups else (),
            groups[name]["count"].to_numpy(np.float64) if name in groups else np.zeros(0),
            documents,
        )
        for name in limits
    }


def _token_pairs(name: str, limit: int) -> Column:
    pair = f"named_struct('column', '{name}', 'limit', {limit}, 'token', token)"
    return F.expr(f"transform(array_distinct({name}), token -> {pair})")


def _as_string(column: Column, data_type: T.DataType) -> Column:
    if isinstance(data_type, T.ArrayType):
        return F.array_join(column.cast(_NO_TOKENS), " ")
    return column.cast("string")
