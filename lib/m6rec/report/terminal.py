"""The terminal of a job's results."""

from rich.console import Console


def terminal(least_width: int = 0) -> Console:
    """A console on stdout that prints values as they are: `:m:` in an id is no emoji.

    A log file has no width of its own, and the 80 columns that it is taken for would cut tables.

    Args:
        least_width: how many columns it has at least.
    """
    return Console(width=max(Console().width, least_width), emoji=False)
