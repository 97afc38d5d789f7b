"""Embeddings of a run that has trained only the towers that have a weight."""

import pytest

from jobs.recommend import embed
from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.fits.fit import Fit, model_row
from m6rec.fits.members import read_members
from m6rec.kernels.ranking.members import DotMember
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import FUSION


def test_towers_without_a_weight_are_not_needed_for_embeddings(
    copied: Lakehouse, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = Fit(copied, config, c.FINAL)
    selection = fit.other(c.SELECTION)
    chosen = selection.model(FUSION, FUSION)
    weights = [float(name == "towers_svd") for name in chosen["members"]]
    selection.write_models(FUSION, [model_row(FUSION, {**chosen, "weights": weights})])
    members = read_members(fit, ("towers_svd",))
    embed(fit, members)
    tower = members["towers_svd"]
    assert isinstance(tower, DotMember)
    for table in ("item_embeddings", "user_embeddings"):
        row = copied.read(table, fit=c.FINAL).first()
        assert row is not None and len(row[c.EMBEDDING]) == tower.item_vectors.shape[1]
    assert capsys.readouterr().out == ""
    embed(fit, read_members(fit, ("towers_als",)))
    assert "no embeddings, as lists need none of fusion's towers" in capsys.readouterr().out
