"""Encode columns of text by a sentence encoder, by partition, and only texts that are new."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from m6rec import columns as c
from m6rec.kernels.arrays.rows import Float32
from m6rec.kernels.text.sentence_encoder import SentenceEncoder, load_sentence_encoder
from m6rec.spark.arrow_rows import list_array_from_matrix
from m6rec.spark.failures import failed_at
from m6rec.spark.shipping import Shipped, ship
from m6rec.spark.values import owner_column

_TEXT = "_m6rec_text"
_TEXTS_AT_ONCE = 256


def texts_of(frame: DataFrame, names: Sequence[str]) -> DataFrame:
    """The distinct texts of columns: text_hash and the text; rows without letters have none."""
    texts = F.explode(F.array(*(_as_text(frame, name) for name in names)))
    given = frame.select(texts.alias(_TEXT)).where(F.length(F.trim(_TEXT)) > 0).distinct()
    return given.select(text_hash(F.col(_TEXT)).alias(c.TEXT_HASH), _TEXT)


def text_hash(text: Column) -> Column:
    """What a text is known by, whatever row it stands in."""
    return F.sha2(text, 256)


def encode_texts(texts: DataFrame, encoder: SentenceEncoder) -> DataFrame:
    """The vectors of texts: text_hash and vector, array<float>.

    Args:
        texts: as `texts_of` gives them.
        encoder: is sent to the executors once.
    """
    spark = texts.sparkSession
    encode = partial(_encode_partition, shipped=ship(spark, encoder))
    # Spark would put few texts into one partition, whatever it costs to encode them.
    spread = texts.repartition(4 * spark.sparkContext.defaultParallelism, c.TEXT_HASH)
    return spread.mapInArrow(encode, f"{c.TEXT_HASH} string, {c.VECTOR} array<float>")


def with_text_vectors(frame: DataFrame, names: Sequence[str], vectors: DataFrame) -> DataFrame:
    """The frame with the vectors of text columns in their place; null where there is no text.

    Args:
        frame: has the columns.
        names: the columns.
        vectors: text_hash and vector of all their texts.
    """
    for name in names:
        other = vectors.select(
            F.col(c.TEXT_HASH).alias(_TEXT), F.col(c.VECTOR).alias(f"{_TEXT}_vector")
        )
        key = text_hash(_as_text(frame, name))
        joined = frame.join(other, key == F.col(_TEXT), "left").drop(_TEXT)
        columns = [
            F.col(f"{_TEXT}_vector").alias(name) if each == name else owner_column(each)
            for each in frame.columns
        ]
        frame = joined.select(*columns)
    return frame


def with_texts_encoded(frame: DataFrame, names: Sequence[str], model: str | None) -> DataFrame:
    """The frame with the vectors of text columns in their place, all of them encoded anew.

    Args:
        frame: has the columns.
        names: the columns.
        model: the folder or package of the sentence encoder; it is read where there are columns.
    """
    if not names:
        return frame
    encoder = load_sentence_encoder(model or "")
    return with_text_vectors(frame, names, encode_texts(texts_of(frame, names), encoder))


def _as_text(frame: DataFrame, name: str) -> Column:
    column = owner_column(name)
    if isinstance(frame.schema[name].dataType, T.ArrayType):
        return F.array_join(column.cast("array<string>"), " ")
    return column.cast("string")


def _encode_partition(
    batches: Iterable[pa.RecordBatch], shipped: Shipped
) -> Iterator[pa.RecordBatch]:
    encoder: SentenceEncoder = shipped.load()
    for batch in batches:
        for start in range(0, batch.num_rows, _TEXTS_AT_ONCE):
            part = batch.slice(start, _TEXTS_AT_ONCE)
            vectors = _encoded(encoder, part.column(_TEXT).to_pylist())
            yield pa.RecordBatch.from_arrays(
                [part.column(c.TEXT_HASH), list_array_from_matrix(vectors)],
                names=[c.TEXT_HASH, c.VECTOR],
            )


def _encoded(encoder: SentenceEncoder, texts: Sequence[str]) -> Float32:
    """The vectors of texts.

    Raises:
        WorkerError: the encoder fails; the message has the text.
    """
    try:
        return encoder.encode(texts)
    except Exception as error:
        # One by one, the text shows itself.
        for text in texts if len(texts) > 1 else ():
            _encoded(encoder, [text])
        raise failed_at("the text", texts[0], error) from error
