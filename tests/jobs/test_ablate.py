"""What is measured of the towers' parts within the seconds that there are."""

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from jobs import ablate
from m6rec.config.run import parse_config
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import BAGGED

CONFIG = parse_config(
    {
        "interactions": {"source": {"path": "events.parquet"}},
        "evaluate": {"bootstrap_replicates": 20},
    },
    "test",
)
PARTS = CONFIG.ablation.tower_parts[:3]
SECONDS_OF_TRAINING = 10.0


def one_by_one(trainings: Sequence[Callable[[], Any]]) -> Iterator[Any]:
    return (training() for training in trainings)


def all_at_once(trainings: Sequence[Callable[[], Any]]) -> Iterator[Any]:
    return iter([training() for training in trainings])


@pytest.mark.parametrize(
    ("run_calls", "seconds", "measured"),
    [
        (one_by_one, 25.0, PARTS[:1]),
        (one_by_one, 75.0, PARTS),
        (all_at_once, 25.0, PARTS[:1]),
        # What has begun in time is measured, however long it has taken.
        (all_at_once, 50.0, PARTS),
    ],
)
def test_trainings_begin_before_the_deadline_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
    run_calls: Callable[[Sequence[Callable[[], Any]]], Iterator[Any]],
    seconds: float,
    measured: tuple[str, ...],
) -> None:
    clock = [0.0]

    def train(*_: Any) -> Any:
        clock[0] += SECONDS_OF_TRAINING
        return SimpleNamespace(encoder=None)

    monkeypatch.setattr(ablate, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(ablate, "train_pair", train)
    monkeypatch.setattr(ablate, "_trained", lambda *_: None)
    items = dict.fromkeys(CONFIG.towers.inputs)
    inputs: Any = SimpleNamespace(
        fit=SimpleNamespace(config=CONFIG), items=items, run_calls=run_calls
    )
    validate: Any = SimpleNamespace(
        ndcg_of_users=lambda _: np.array([0.5, 0.4, 0.1]),
        users=SimpleNamespace(owners=lambda: np.arange(3)),
    )

    lines = ablate._measure(inputs, validate, PARTS, seconds)

    assert tuple(line.part for line in lines) == measured


def test_nothing_is_measured_where_only_bagged_towers_were_trained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = SimpleNamespace(models_of=lambda _: [{"name": BAGGED}])
    monkeypatch.setattr(ablate, "Fit", lambda *_: fit)
    ablate.run(cast(Lakehouse, None), CONFIG)
    assert "has not trained the towers of fusion" in capsys.readouterr().out
