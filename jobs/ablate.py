"""Measure on validation what each part of the towers is worth, by training without it.

Reads what train_towers reads, and models; writes ablations of fusion (train_hybrid writes those of
the hybrid, whose members' scores it has). Parts that ablation.seconds do not suffice for are left
out, and all are where only cold items are ranked: there the towers are not validated.
"""

import time
from collections.abc import Iterable, Sequence

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.models import TowerPart
from m6rec.config.run import Config
from m6rec.fits.models import ablation_rows, read_model
from m6rec.fits.towers import FitInputs, fit_inputs, read_images, train_pair
from m6rec.kernels.arrays.rows import Float64
from m6rec.kernels.evaluation.ablation import Ablation, compare_with_whole
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import FUSION
from m6rec.towers.artifact import load_towers
from m6rec.towers.encoder import TowerEncoder
from m6rec.towers.validation import ValidationSample


def run(lakehouse: Lakehouse, config: Config) -> None:
    """Train the selection fit once a part, and compare NDCG over a sample of validation users."""
    if config.evaluate.ranks_cold_items:
        print("ablate: this protocol does not validate the towers", flush=True)
        return
    deadline = time.monotonic() + config.ablation.seconds
    expected = _seconds_of_training(lakehouse, config)
    parts = config.ablation.tower_parts
    affordable = parts[: int(config.ablation.seconds // max(expected, 1e-3))]
    left_out = parts[len(affordable) :]
    if affordable:
        inputs = fit_inputs(lakehouse, config, c.SELECTION, read_images(lakehouse))
        if inputs.validate is not None:
            lines = _measure(lakehouse, config, inputs, inputs.validate, affordable, deadline)
            rows = ablation_rows(lines, inputs.validate.k)
            lakehouse.write_rows("ablations", rows, model=FUSION)
    if left_out:
        print(
            f"ablate: without measure of {', '.join(left_out)}: a training takes {expected:.0f} s,"
            f" ablation.seconds is {config.ablation.seconds:.0f}",
            flush=True,
        )


def _measure(
    lakehouse: Lakehouse,
    config: Config,
    inputs: FitInputs,
    sample: ValidationSample,
    parts: Sequence[TowerPart],
    deadline: float,
) -> list[Ablation]:
    def ndcg_of_users(encoders: Iterable[TowerEncoder]) -> Float64:
        items = [inputs.items[method] for method in methods]
        return sample.ndcg_of_users(list(zip(encoders, items, strict=True)))

    methods, evaluate = config.towers.inputs, config.evaluate
    whole = ndcg_of_users([_trained(lakehouse, inputs, method) for method in methods])
    lines: list[Ablation] = []
    for part in parts:
        if time.monotonic() > deadline:
            print(f"ablate: no time left for {part}", flush=True)
            continue
        towers = config.towers.model_copy(update={"without": (*config.towers.without, part)})
        variant = config.model_copy(update={"towers": towers})
        encoders = [train_pair(lakehouse, variant, inputs, m, None).encoder for m in methods]
        line = compare_with_whole(
            part,
            ndcg_of_users(encoders),
            whole,
            evaluate.confidence,
            evaluate.bootstrap_replicates,
            config.seed,
        )
        print(f"fusion without {part}: NDCG {line.value:.4f} ({line.difference:+.4f})", flush=True)
        lines.append(line)
    return lines


def _trained(lakehouse: Lakehouse, inputs: FitInputs, method: str) -> TowerEncoder:
    folder = read_model(lakehouse, inputs.fit, "towers", method)["artifact"]
    return load_towers(folder).encoder(inputs.items[method].factor_model)


def _seconds_of_training(lakehouse: Lakehouse, config: Config) -> float:
    """What the selection fit of all pairs took, by its own record."""
    return sum(
        epoch["seconds"]
        for method in config.towers.inputs
        for epoch in read_model(lakehouse, c.SELECTION, "towers", method)["history"]
    )


if __name__ == "__main__":
    command_line("ablate", run, __doc__)
