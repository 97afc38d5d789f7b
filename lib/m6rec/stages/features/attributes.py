"""The owner's attributes of users or items by dense index, a row for each."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.window import Window

from m6rec import columns as c
from m6rec.config.data import AttributesSource, InteractionsConfig
from m6rec.spark.runtimes import SPATIAL, VARIANTS
from m6rec.spark.values import holds_type, id_column, item_id_column, quoted

# These columns stand beside the owner's, whatever names those have.
_ID, _COPY = "_m6rec_id", "_m6rec_copy"
_NOT_HASHED: tuple[type[T.DataType], ...] = (T.MapType, *VARIANTS, *SPATIAL)


def attributes_by_index(
    frame: DataFrame, source: AttributesSource, config: InteractionsConfig, indices: DataFrame
) -> DataFrame:
    """The owner's columns by index; of several rows of an id, the one with the least hash.

    Args:
        frame: the owner's table.
        source: names its column of ids.
        config: how ids are written.
        indices: the id, then the dense index; rows with other ids are left out.

    Returns:
        The dense index, and the other columns under the names that `column_name` gives.
    """
    id_name, index_column = indices.columns
    # A column of the owner's may have the name of one of ours.
    names = [name for name in frame.columns if name != source.id]
    identified = frame.select("*", attribute_id(frame, source, config, id_name).alias(_ID))
    # As SQL: a table may have thousands of columns, and each call of Spark's takes its time.
    renamed = identified.selectExpr(
        _ID, *(f"{quoted(name)} as {quoted(column_name(name, index_column))}" for name in names)
    )
    fields = renamed.schema.fields
    compared = [quoted(one.name) for one in fields if not holds_type(one.dataType, _NOT_HASHED)]
    hashed = F.expr(f"xxhash64({', '.join(compared)})") if compared else F.lit(0)
    order = Window.partitionBy(_ID).orderBy(hashed)
    single = renamed.withColumn(_COPY, F.row_number().over(order)).where(F.col(_COPY) == 1)
    named = indices.select(F.col(id_name).alias(_ID), index_column)
    return single.join(named, _ID, "inner").drop(_ID, _COPY)


def attribute_id(
    frame: DataFrame, source: AttributesSource, config: InteractionsConfig, id_name: str
) -> Column:
    """The ids of a table of attributes, as `user_id` or `item_id` of the lake has them."""
    own_id = item_id_column if id_name == c.ITEM_ID else id_column
    return own_id(frame, source.id, config)


def encoded_texts(source: AttributesSource, index_column: str) -> list[str]:
    """The columns beside the index of whose texts a sentence encoder makes vectors."""
    names = [name for name, kind in source.kinds.items() if kind == "text_embedding"]
    return [column_name(name, index_column) for name in names]


def column_name(name: str, index_column: str) -> str:
    """The name of an owner's column beside the index."""
    return f"{name} (attribute)" if name.lower() == index_column else name
