"""The errors that a user of M6-Rec can act on.

Each message says what was found, what was expected, where, and what to do.
"""


class M6RecError(Exception):
    """Base of all errors that a user of M6-Rec can act on."""


class ConfigError(M6RecError):
    """A configuration that cannot be right: unknown key, impossible value, contradiction."""


class TableError(M6RecError):
    """A table that is missing, lacks a column, or breaks its schema or key."""


class DataError(M6RecError):
    """Data that breaks an invariant, such as rows in = rows kept + rows quarantined."""


class ClusterError(M6RecError):
    """A cluster that cannot run what is asked: no barrier slots, dynamic allocation, Connect."""


class WorkerError(M6RecError):
    """A Python worker of Spark's that failed or was ended, with the stage that it was at."""


class ArtifactError(M6RecError):
    """A saved model or checkpoint that is missing, incomplete, or made from other inputs."""


class GuardError(M6RecError):
    """A finished run that a guard keeps from being published."""
