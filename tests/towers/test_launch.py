"""Towers are trained by ranks, which are tasks of Spark or the driver's process alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from m6rec.errors import ClusterError
from m6rec.stages.training.tower_ranks import ranks_of, train_on_ranks
from m6rec.towers.launch import TrainingTask, train_alone
from tests.towers.coloured import coloured_task


@pytest.fixture
def task(tmp_path: Path) -> TrainingTask:
    return coloured_task(tmp_path, world_size=1)


def test_a_task_of_spark_trains_bit_for_bit_what_the_driver_trains(
    spark: SparkSession, task: TrainingTask
) -> None:
    of_task, of_driver = train_on_ranks(spark, task), train_alone(task)
    assert of_task.encoder.weights.keys() == of_driver.encoder.weights.keys()
    for name, weights in of_driver.encoder.weights.items():
        np.testing.assert_array_equal(of_task.encoder.weights[name], weights)
    scores = [[r.validation_ndcg for r in one.history] for one in (of_task, of_driver)]
    assert scores[0] == scores[1]
    assert of_task.encoder.factor_model is task.items.factor_model


def test_two_ranks_train_what_one_trains(
    spark: SparkSession, task: TrainingTask, tmp_path: Path
) -> None:
    """Not the same numbers: the ranks draw their own targets. But the same quality, saved once."""
    divided = replace(
        task,
        manifest=replace(task.manifest, world_size=2),
        checkpoint_folder=str(tmp_path / "checkpoint"),
    )
    together, alone = train_on_ranks(spark, divided), train_alone(task)
    assert len(together.history) == len(alone.history)
    last, other = together.history[-1].loss, alone.history[-1].loss
    assert last < together.history[0].loss
    assert last == pytest.approx(other, rel=0.1)
    best = [max(r.validation_ndcg or 0.0 for r in one.history) for one in (together, alone)]
    assert best[0] == pytest.approx(best[1], abs=0.05)
    assert [file.name for file in (tmp_path / "checkpoint").iterdir()] == ["last.safetensors"]


def test_a_rank_without_rows_takes_each_step_with_the_others(
    spark: SparkSession, task: TrainingTask
) -> None:
    rows = task.manifest
    first_file = replace(rows, files=rows.files[:1], rows=rows.rows[:1])
    one_file = replace(task, manifest=first_file, epochs=2)
    divided = replace(one_file, manifest=replace(one_file.manifest, world_size=2))
    together, alone = train_on_ranks(spark, divided), train_alone(one_file)
    losses = [[record.loss for record in one.history] for one in (together, alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_a_killed_training_begins_anew_where_the_number_of_ranks_has_changed(
    spark: SparkSession, task: TrainingTask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "checkpoint")
    train_alone(replace(task, checkpoint_folder=folder, epochs=1))
    # With two ranks, rows are dealt to other files, too.
    divided = coloured_task(tmp_path / "divided", world_size=2, files=6)
    again = train_on_ranks(spark, replace(divided, checkpoint_folder=folder))
    assert "another number of ranks (1, now 2)" in capsys.readouterr().err
    undisturbed = train_on_ranks(spark, divided)
    assert [one.loss for one in again.history] == [one.loss for one in undisturbed.history]
    # Of as many ranks, it goes on; here, from its end.
    over = train_on_ranks(spark, replace(divided, checkpoint_folder=folder))
    assert over.history == again.history
    assert "ranks" not in capsys.readouterr().err


def test_local_mode_trains_on_the_driver_unless_ranks_are_asked_for(spark: SparkSession) -> None:
    assert ranks_of(spark, "auto") is None
    assert ranks_of(spark, "driver") is None
    assert ranks_of(spark, 2) == 2
    with pytest.raises(ClusterError, match=r"3 ranks .* 2 task slots"):
        ranks_of(spark, 3)
