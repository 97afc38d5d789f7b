"""conf/spark-local.conf, as all that starts a session of its own reads it."""

from pathlib import Path

import pyspark

from m6rec.spark.runtimes import delta_package
from m6rec.spark.session import read_properties

JAVA_OPTIONS = "spark.driver.extraJavaOptions"
LOCAL_PROPERTIES = read_properties(Path(__file__).parent.parent / "conf" / "spark-local.conf")
LOCAL_PROPERTIES["spark.jars.packages"] = delta_package()
# Of the environment that Spark is in: the benchmark's own has none.
CLASS_ARCHIVE = Path(pyspark.__file__).parents[4] / "jvm-classes.jsa"
if CLASS_ARCHIVE.exists():
    # As spark-submit.sh runs jobs after `./spark-submit.sh setup`.
    LOCAL_PROPERTIES[JAVA_OPTIONS] += f" -XX:SharedArchiveFile={CLASS_ARCHIVE} -Xlog:cds*=off"


def with_java_options(options: str) -> dict[str, str]:
    """The properties with more options of the JVM."""
    return LOCAL_PROPERTIES | {JAVA_OPTIONS: f"{LOCAL_PROPERTIES[JAVA_OPTIONS]} {options}"}
