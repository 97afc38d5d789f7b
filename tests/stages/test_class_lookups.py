"""Of one JVM, what PySpark asks for again is not asked again."""

from typing import Any

import pytest
from py4j.java_gateway import GatewayClient
from py4j.protocol import Py4JError
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

QUESTION = "r\n"


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of classes and members that the JVM is asked for."""
    asked: list[str] = []
    send = GatewayClient.send_command

    def noting(self: GatewayClient, command: str, *arguments: Any, **named: Any) -> Any:
        if command.startswith(QUESTION):
            asked.append(command)
        return send(self, command, *arguments, **named)

    for kind in {GatewayClient, *GatewayClient.__subclasses__()}:
        monkeypatch.setattr(kind, "send_command", noting)
    return asked


def test_another_column_is_made_without_a_question(
    spark: SparkSession, questions: list[str]
) -> None:
    # A function that nothing else calls.
    one = spark.sql("SELECT 'Robert' AS name").select(F.soundex(F.col("name")))
    first = len(questions)
    other = spark.sql("SELECT 'Rupert' AS name").select(F.soundex(F.col("name")))
    assert first > 0
    assert len(questions) == first
    assert one.collect() == other.collect()


def test_what_is_not_there_is_refused_as_before(spark: SparkSession) -> None:
    jvm: Any = spark._jvm
    for _ in range(2):
        with pytest.raises(Py4JError, match="does not exist in the JVM"):
            jvm.java.lang.String.nothing()
        with pytest.raises(TypeError, match="not callable"):
            jvm.org.apache.spark.Nothing()


def test_a_static_field_is_asked_for_each_time(spark: SparkSession, questions: list[str]) -> None:
    jvm: Any = spark._jvm
    assert jvm.java.lang.Integer.MAX_VALUE == (1 << 31) - 1
    first = len(questions)
    assert jvm.java.lang.Integer.MAX_VALUE == (1 << 31) - 1
    assert len(questions) == first + 1
