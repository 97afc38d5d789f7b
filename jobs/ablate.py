"""Measure on validation what each part of the towers is worth, by training without it.

Each part costs a training. Parts for which `ablation.seconds` do not suffice are left out. Where
only cold items are ranked, the towers are not validated, and no part is measured. (The members of
the hybrid are measured by job `train_hybrid`, which has their scores.)
"""

import time
from collections.abc import Iterable, Sequence
from functools import partial

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.config.towers import TowerPart, TowersConfig
from m6rec.fits.contexts import context_vocabulary, first_held_out
from m6rec.fits.fit import Fit
from m6rec.fits.towers import VALIDATION_USERS, TowerInputs, tower_inputs, train_pair
from m6rec.job_records import ABLATE
from m6rec.kernels.arrays.rows import Float64, Int64
from m6rec.kernels.evaluation.ablation import Ablation, ablation_rows, compare_with_whole
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import SEQUENCE, TOWERS_ON_ORDER, TOWERS_ON_SETS
from m6rec.runs import Job
from m6rec.spark.places import remove_folder
from m6rec.towers.artifact import load_towers
from m6rec.towers.encoder import Towers
from m6rec.towers.loop import TrainingResult
from m6rec.towers.sequence_encoder import SequenceEncoder
from m6rec.towers.validation import TowerValidation


def run(lakehouse: Lakehouse, config: Config) -> None:
    """Train the selection fit once a part, and compare NDCG over a sample of validation users."""
    if config.evaluate.ranks_cold_items:
        print("ablate: this protocol does not validate the towers", flush=True)
        return
    deadline = time.monotonic() + config.ablation.seconds
    fit = Fit(lakehouse, config, c.SELECTION)
    # Bagged and boosted towers can be trained without those whose parts are measured.
    if not {*config.trained_towers} <= {row["name"] for row in fit.models_of("towers")}:
        print("ablate: the run has not trained the towers of fusion", flush=True)
        return
    expected = _seconds_of_training(fit)
    parts = config.ablation.tower_parts
    affordable = parts[: int(config.ablation.seconds // max(expected, 1e-3))]
    left_out = parts[len(affordable) :]
    if affordable or config.has_order:
        inputs = tower_inputs(fit, context_vocabulary(fit))
        if inputs.validate is not None:
            _write(inputs, inputs.validate, affordable, deadline)
            remove_folder(lakehouse.spark, fit.artifact_path("checkpoints"))
    if left_out:
        print(
            f"ablate: {', '.join(left_out)} not measured: a training takes {expected:.0f} s and"
            f" ablation.seconds is {config.ablation.seconds:.0f}",
            flush=True,
        )


def _write(
    inputs: TowerInputs, validate: TowerValidation, parts: Sequence[TowerPart], deadline: float
) -> None:
    lakehouse = inputs.fit.lakehouse
    if parts:
        lines = _measure(inputs, validate, parts, deadline)
        lakehouse.write_rows("ablations", ablation_rows(lines, validate.k), model=TOWERS_ON_SETS)
    if inputs.fit.config.has_order:
        lines = [_order(inputs, validate)]
        if inputs.contexts.values:
            lines.append(_context(inputs, validate))
        rows = ablation_rows(lines, validate.k)
        lakehouse.write_rows("ablations", rows, model=TOWERS_ON_ORDER)


def _order(inputs: TowerInputs, validate: TowerValidation) -> Ablation:
    """What order is worth: the same towers on shuffled histories."""
    config = inputs.fit.config
    items = inputs.items[config.towers.factors_of(SEQUENCE)]
    towers = [(_trained(inputs, SEQUENCE), items)]
    shuffled = validate.with_shuffled_histories(config.seed)
    without, whole = shuffled.ndcg_of_users(towers), validate.ndcg_of_users(towers)
    return _compared(config, TOWERS_ON_ORDER, "order", without, whole, validate.users.owners())


def _context(inputs: TowerInputs, validate: TowerValidation) -> Ablation:
    """What context is worth for each user's first held-out item: the same towers without it."""
    fit = inputs.fit
    towers = _trained(inputs, SEQUENCE)
    assert isinstance(towers, SequenceEncoder)
    sample = fit.sample_targets(VALIDATION_USERS)
    first, codes = first_held_out(fit, towers.contexts, sample)
    items = inputs.items[fit.config.towers.factors_of(SEQUENCE)]
    of_first = validate.of_items(first)
    without, whole = of_first.ndcg_in_contexts(towers, items, codes)
    return _compared(
        fit.config, TOWERS_ON_ORDER, "context", without, whole, of_first.users.owners()
    )


def _compared(
    config: Config, ranker: str, part: str, without: Float64, whole: Float64, owners: Int64
) -> Ablation:
    evaluate = config.evaluate
    line = compare_with_whole(
        part,
        without,
        whole,
        owners,
        evaluate.confidence,
        evaluate.bootstrap_replicates,
        config.seed,
    )
    print(f"{ranker} without {part}: NDCG {line.value:.4f} ({line.difference:+.4f})", flush=True)
    return line


def _measure(
    inputs: TowerInputs, validate: TowerValidation, parts: Sequence[TowerPart], deadline: float
) -> list[Ablation]:
    """What parts of the towers on sets are worth; no training begins after the deadline."""
    config = inputs.fit.config
    methods = config.towers.inputs

    def ndcg_of_users(encoders: Iterable[Towers]) -> Float64:
        items = [inputs.items[method] for method in methods]
        return validate.ndcg_of_users(list(zip(encoders, items, strict=True)))

    whole = ndcg_of_users([_trained(inputs, method) for method in methods])
    trained = inputs.run_calls(
        [
            partial(_train_in_time, inputs, _without(config.towers, part), method, deadline)
            for part in parts
            for method in methods
        ]
    )
    owners = validate.users.owners()
    lines: list[Ablation] = []
    for part in parts:
        results = [next(trained) for _ in methods]
        encoders = [result.encoder for result in results if result is not None]
        if len(encoders) < len(results):
            print(f"ablate: no time left for {part}", flush=True)
            continue
        without = ndcg_of_users(encoders)
        lines.append(_compared(config, TOWERS_ON_SETS, part, without, whole, owners))
    return lines


def _train_in_time(
    inputs: TowerInputs, towers: TowersConfig, method: str, deadline: float
) -> TrainingResult | None:
    """The pair that is trained, unless the deadline has passed."""
    return None if time.monotonic() > deadline else train_pair(inputs, towers, method, None)


def _without(towers: TowersConfig, part: TowerPart) -> TowersConfig:
    return towers.model_copy(update={"without": (*towers.without, part)})


def _trained(inputs: TowerInputs, model: str) -> Towers:
    folder = inputs.fit.saved_artifact("towers", model)
    items = inputs.items[inputs.fit.config.towers.factors_of(model)]
    return load_towers(folder).encoder(items.factor_model)


def _seconds_of_training(fit: Fit) -> float:
    """What the fit of all pairs took, by its own record."""
    return sum(
        float(epoch["seconds"])
        for method in fit.config.towers.inputs
        for epoch in fit.model("towers", method)["history"]
    )


JOB = Job(ABLATE, run)

if __name__ == "__main__":
    command_line(JOB, __doc__)
