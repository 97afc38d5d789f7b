"""Factor models are trained on a small matrix, of a fit that stands for one of a run."""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import cast

import numpy as np
import pytest
from pyspark.sql import SparkSession

from jobs import train_factors, train_neighbours, train_towers
from m6rec.config.models import AlsConfig, FactorsConfig, MllibAlsConfig
from m6rec.config.run import Config, parse_config
from m6rec.fits.fit import Fit
from m6rec.lakehouse import Lakehouse
from m6rec.stages.training.factor_trainers import TrainedFactors


def test_checkpoints_are_kept_until_the_models_are_written_and_no_longer(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = spark.createDataFrame(
        [(user, [0, 1 + user % 2], [1.0, 1.0]) for user in range(6)],
        "user_index long, item_indices array<int>, weights array<float>",
    )
    lakehouse = Lakehouse(spark, str(tmp_path), "run")
    als = AlsConfig(rank=2, iterations=2, checkpoint_every=1)
    factors = FactorsConfig(als=als, mllib_als=MllibAlsConfig(rank=2, iterations=12))
    fit = SimpleNamespace(
        matrix=matrix,
        n_items=3,
        settings=SimpleNamespace(factors=factors, seed=1),
        domains=(),
        ranks=None,
        lakehouse=lakehouse,
        artifact_path=lambda *parts: lakehouse.artifact_path(parts[0], "final", *parts[1:]),
        artifact_place=lambda *parts: lakehouse.artifact_place(parts[0], "final", *parts[1:]),
    )
    folder = Path(lakehouse.artifact_path("checkpoints", "final"))
    seen: set[str] = set()

    def write(fit: object, trained: Sequence[TrainedFactors]) -> None:
        seen.update(place.name for place in folder.iterdir())

    monkeypatch.setattr(train_factors, "fits_of", lambda *given: [fit])
    monkeypatch.setattr(train_factors, "write_factors", write)
    train_factors.run(lakehouse, cast(Config, None), models=("als", "mllib_als"))
    assert seen == {"als", "mllib_als"}
    assert not list(folder.iterdir())


@pytest.mark.parametrize("job", [train_factors, train_neighbours, train_towers])
def test_a_job_of_whose_models_no_ranker_needs_any_does_nothing(
    job: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {
        "interactions": {"source": {"path": "events.csv", "format": "csv"}},
        "evaluate": {"rankers": ["popularity"]},
        "hybrid": {"members": ["popularity"]},
        "recommend": {"ranker": "popularity"},
    }
    config = parse_config(given, "test")
    monkeypatch.setattr(job, "fits_of", lambda *_: [SimpleNamespace(settings=config)])
    job.run(cast(Lakehouse, None), config)
    assert capsys.readouterr().out == ""


def test_the_pairs_alone_decide_how_many_ranks_share_a_program(
    spark: SparkSession, tmp_path: Path
) -> None:
    # Whoever runs a job, by itself or within a pipeline, has the same sums.
    lakehouse = Lakehouse(spark, str(tmp_path), "run")
    for pairs, ranks in ((20_000, 1), (20_001, None)):
        for tables in (lakehouse, lakehouse.with_tables_in_memory()):
            fit = Fit(tables, cast(Config, None), "final")
            fit.__dict__["item_counts"] = np.array([pairs - 5, 5])
            assert fit.ranks == ranks
