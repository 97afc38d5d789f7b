"""Keep what PySpark has asked the JVM about its classes, which it asks again at each call.

To make a column, PySpark asks the JVM what `functions` is, and then whether `col` is one of its
methods. The JVM tries the name in each package that PySpark imports, and a class that is not there
is looked for in all jars. Where queries are small, that is a twentieth of the processor's time.
"""

from typing import Any

from py4j.java_gateway import JavaClass, JavaMember, JavaPackage, JVMView
from pyspark import SparkContext
from pyspark.sql import SparkSession


class _KnownClass(JavaClass):  # type: ignore[misc]
    """A class that asks for each of its static methods once."""

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        # A static field may change, a method does not.
        if isinstance(found, JavaMember):
            self.__dict__[name] = found
        return found


class _KnownPackage(JavaPackage):  # type: ignore[misc]
    """A package that asks for each of its members once."""

    def __getattr__(self, name: str) -> Any:
        return _remembered(self, name, super().__getattr__(name))


class _KnownNames(JVMView):  # type: ignore[misc]
    """The JVM of a session, which is asked for each name once."""

    def __getattr__(self, name: str) -> Any:
        return _remembered(self, name, super().__getattr__(name))


def _remembered(owner: JVMView | JavaPackage, name: str, found: Any) -> Any:
    if isinstance(found, JavaClass):
        found = _KnownClass(found._fqn, found._gateway_client)
    elif isinstance(found, JavaPackage):
        found = _KnownPackage(found._fqn, found._gateway_client, found._jvm_id)
    else:
        return found
    owner.__dict__[name] = found
    return found


def keep_class_lookups(spark: SparkSession) -> None:
    """Have the session's JVM asked for each class and each static method once.

    A JVM that a platform hands out in a form of its own stays as it is.
    """
    asked: Any = spark._jvm
    if type(asked) is JVMView:
        kept = _KnownNames(asked._gateway_client, asked._jvm_name, id=asked._id)
        SparkContext._jvm = spark._jvm = kept
