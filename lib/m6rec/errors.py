"""The errors that a user of M6-Rec can act on.

Each message says what was found, what was expected, where, and what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches


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


def likely_spelling(name: str, known: Iterable[str]) -> str:
    """Words for a message: the known name that an unknown one is most like; empty without one."""
    in_lower_case = {one.lower(): one for one in known}
    likely = get_close_matches(name.lower(), in_lower_case, 1)
    return f", which may be {in_lower_case[likely[0]]}" if likely else ""
