"""Executors that have not registered yet are waited for, for as long as any may still come."""

import pytest

from m6rec.spark.slots import MOST_SECONDS, expected_executors, wait_for_slots

STANDALONE, YARN = "spark://master:7077", "yarn"


class Cluster:
    """Says each time that it is asked how many slots and executors there are, at last for ever."""

    def __init__(self, *sizes: tuple[int, int]) -> None:
        self.sizes = iter(sizes)
        self.last = sizes[-1]
        self.slept = 0.0

    def settle(self, ranks: int | None, expected: int | None) -> tuple[int, int]:
        return wait_for_slots(lambda: next(self.sizes, self.last), ranks, expected, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


@pytest.mark.parametrize(
    ("ranks", "expected", "sizes", "looks"),
    [
        # As many slots as ranks: at once, and when one of them has been replaced.
        (2, None, [(2, 2)], 1),
        (2, 2, [(1, 1), (1, 1), (2, 2)], 3),
        # Without ranks, all executors; on a cluster that names none, the first slot.
        (None, 3, [(0, 0), (4, 1), (8, 2), (12, 3)], 4),
        (1, None, [(0, 0), (4, 1)], 2),
        # All executors are there, so that the other ranks never come.
        (9, 2, [(1, 1), (2, 2)], 2),
    ],
)
def test_what_is_missing_is_waited_for_and_no_longer(
    ranks: int | None, expected: int | None, sizes: list[tuple[int, int]], looks: int
) -> None:
    cluster = Cluster(*sizes)
    assert cluster.settle(ranks, expected) == sizes[-1]
    assert cluster.slept == (looks - 1) * 0.5


def test_what_never_comes_is_not_waited_for_without_end(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = Cluster((3, 3))
    assert cluster.settle(None, 4) == (3, 3)
    assert cluster.slept == MOST_SECONDS
    said = (
        "note: waiting for 4 executors, at most 120 seconds; there are 3 task slots of 3 executors"
    )
    assert capsys.readouterr().err.splitlines() == [said]


@pytest.mark.parametrize(
    ("master", "settings", "expected"),
    [
        (YARN, {"spark.executor.instances": "4", "spark.executor.cores": "8"}, 4),
        (YARN, {"spark.executor.cores": "8"}, None),
        # A standalone cluster does not go by the number of executors.
        (STANDALONE, {"spark.executor.instances": "4"}, None),
        (STANDALONE, {"spark.cores.max": "19", "spark.executor.cores": "4"}, 4),
        (STANDALONE, {"spark.cores.max": "19"}, None),
    ],
)
def test_the_properties_say_how_many_executors_there_will_be(
    master: str, settings: dict[str, str], expected: int | None
) -> None:
    assert expected_executors(master, settings) == expected
