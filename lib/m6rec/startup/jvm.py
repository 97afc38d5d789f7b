"""Which of the JVM's compilers a job in local mode starts with; asked before Spark starts.

The optimising compiler takes as much of the first ten seconds as the job itself, and earns it in
loops that go on for longer: MLlib's, and the writing of millions of rows.
"""

from pathlib import Path

from m6rec.config.run import Config

SIMPLE_COMPILER = "-XX:TieredStopAtLevel=1"

_ALL_JOBS_IN_ONE = frozenset({"demo", "pipeline", "quality", "tune"})
# Of table user_index: some 50,000 users, whose lists are a million rows.
_BYTES_OF_FEW_USERS = 500_000


def compiler_options(job: str, config: Config) -> str:
    """JVM options, possibly none, for a job that has a JVM of its own."""
    return "" if _earns_optimising_compiler(job, config) else SIMPLE_COMPILER


def _earns_optimising_compiler(job: str, config: Config) -> bool:
    if job == "train_factors":
        return "mllib_als" in config.evaluate.rankers
    if job == "recommend":
        return not 0 < _local_bytes(f"{config.lake}/user_index") <= _BYTES_OF_FEW_USERS
    return job in _ALL_JOBS_IN_ONE


def _local_bytes(table: str) -> int:
    """Size of a table's files; 0 where it is no folder of this machine."""
    return sum(file.stat().st_size for file in Path(table).rglob("*.parquet"))
