"""What an earlier run has trained, for the trainings of a later one to go on from.

Users and items keep their dense index for good, so that rows of both runs are matched by index. An
item that the earlier run did not know has a row of zeros: it starts from its interactions or its
attributes.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from threading import Lock

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.errors import ArtifactError
from m6rec.fits.fit import Fit
from m6rec.kernels.arrays.principal_components import turn_between
from m6rec.kernels.arrays.rows import Float32, Float64
from m6rec.kernels.neighbours.content import unit_rows
from m6rec.spark.arrow_rows import matrix_column
from m6rec.spark.collecting import BYTES_OF_ITEM, collected_batches
from m6rec.spark.item_matrices import item_rows
from m6rec.spark.messages import say
from m6rec.stages.features.blocks import TokenBlock, VectorBlock, mean_vectors
from m6rec.stages.features.pipeline import FeaturePipeline
from m6rec.towers.artifact import DESCRIPTION_FILE, load_towers
from m6rec.towers.modalities import Modalities, split_features
from m6rec.towers.warm_start import EarlierTowers, FeatureMap, VectorMap

_FEATURE_TABLES = {
    "users": ("user_features", c.USER_INDEX),
    "items": ("item_features", c.ITEM_INDEX),
}
_EARLIER = "earlier"
# The users or items, those of the lowest indices, by which a column of vectors is compared.
_COMPARED_ROWS = 2000
# The median cosine between the vectors of two nights above which they are of one encoder. Those of
# different ones are orthogonal on average.
_LEAST_COSINE = 0.5


class EarlierRun:
    """The final fit of an earlier run.

    Attributes:
        als_iterations: how many iterations of ALS follow on its factors.
    """

    def __init__(self, fit: Fit, als_iterations: int, tower_epochs: float) -> None:
        """Read nothing yet.

        Args:
            fit: the final fit of the earlier run.
            als_iterations: how many iterations of ALS follow on its factors.
            tower_epochs: the share of the chosen epochs that towers are trained for.
        """
        self._fit = fit
        self.als_iterations = als_iterations
        self._tower_epochs = tower_epochs
        self._maps: dict[tuple[str, str], FeatureMap] = {}
        self._making_a_map = Lock()

    def factors(self, models: Sequence[str], n_items: int) -> dict[str, Float32]:
        """float32 [n_items, k] for each of the factor models that the run has trained."""
        if not self._fit.lakehouse.exists("item_factors"):
            return {}
        found = {
            model: item_rows(self._factor_rows(model, n_items), c.FACTOR, n_items)
            for model in models
        }
        return {model: matrix.values for model, matrix in found.items() if matrix.rows}

    def _factor_rows(self, model: str, n_items: int) -> Iterator[pa.RecordBatch]:
        columns, most_bytes = (c.ITEM_INDEX, c.FACTOR), n_items * BYTES_OF_ITEM
        batches, fit = self._fit.lakehouse.batches, self._fit.name
        return batches("item_factors", columns, most_bytes, fit=fit, method=model)

    def towers(self, fit: Fit, model: str, epochs: int) -> EarlierTowers | None:
        """The towers of that name, whose training goes on with the last of the chosen epochs.

        None where the run has no such towers, where their files are gone or another release has
        written them, and where validation chose to train them for no epoch.

        Args:
            fit: that is to be trained.
            model: a name of `Config.trained_towers`.
            epochs: for how many the towers are trained from their start.
        """
        rows = [row for row in self._fit.models_of("towers") if row["name"] == model]
        if not rows or epochs == 0:
            return None
        saved = self._fit.saved_artifact("towers", model)
        if not (saved / DESCRIPTION_FILE).is_file():
            return None
        try:
            artifact = load_towers(saved)
        except ArtifactError as error:
            say("note", f"the towers on {model} are trained from their start: {error}")
            return None
        follow = math.ceil(epochs * self._tower_epochs)
        return EarlierTowers(
            weights=artifact.weights,
            contexts=artifact.contexts,
            first_epoch=epochs - follow,
            epochs=follow,
            users=self._map_of(fit, "users"),
            items=self._map_of(fit, "items"),
        )

    def _map_of(self, fit: Fit, side: str) -> FeatureMap:
        # All towers of a fit read the same features, and are trained by several threads.
        with self._making_a_map:
            if (fit.name, side) not in self._maps:
                self._maps[fit.name, side] = _map_between(fit, self._fit, side)
            return self._maps[fit.name, side]


def _map_between(fit: Fit, earlier: Fit, side: str) -> FeatureMap:
    now, before = (_pipeline_of(one, side) for one in (fit, earlier))
    if now is None:
        return FeatureMap(np.zeros((0, 0), np.float32))
    found = map_of_features(now, before)
    if before is None:
        return found
    if any(found.vectors):
        rows, earlier_rows = features_of_both(fit, earlier, side)
        if len(rows):
            found = without_other_vectors(
                found, now.modalities, before.modalities, rows, earlier_rows
            )
    for block, mapped in zip(now.vectors, found.vectors, strict=True):
        if mapped is None:
            say(
                "note",
                f"column {block.column.name} of the {side}: its vectors are not those that run"
                f" {earlier.lakehouse.run_id} was trained on (the column is new, or they are of"
                " another length or encoder), so that towers learn them anew, in their last epochs"
                " alone; job pipeline trains all",
            )
    return found


def _pipeline_of(fit: Fit, side: str) -> FeaturePipeline | None:
    """The pipeline of a fit; None where it has none, or another release has written it."""
    if side not in {row["name"] for row in fit.models_of("features")}:
        return None
    try:
        return FeaturePipeline.load(fit.saved_artifact("features", side))
    except ArtifactError:
        say(
            "note",
            f"another release has written the features of the {side}, or their file is gone, so"
            " that towers learn them anew, in their last epochs alone; job pipeline trains all",
        )
        return None


def map_of_features(now: FeaturePipeline, before: FeaturePipeline | None) -> FeatureMap:
    """What turns the features of a pipeline into those of an earlier one.

    Features are matched by name, those that share one in their order. The directions of large
    vocabularies and the axes of columns of vectors are only numbered and differ from run to run, so
    they are mapped onto the earlier ones. Principal components differ, too, and count as features
    that the earlier towers do not know.
    """
    vectors = tuple(_map_of_vectors(block, before) for block in now.vectors)
    if before is None or now.reduction is not None or before.reduction is not None:
        return FeatureMap(np.zeros((len(now.names), 0), np.float32), vectors)
    plain: Float32 = np.zeros((len(now.names), len(before.names)), np.float32)
    places = {name: place for place, name in enumerate(_told_apart(before.names))}
    for row, name in enumerate(_told_apart(now.names)):
        if name in places:
            plain[row, places[name]] = 1.0
    blocks = {block.name: block for block in before.blocks if block.projection is not None}
    for block in now.blocks:
        if block.projection is not None and block.name in blocks:
            tokens = blocks[block.name].vocabulary
            axes, rows = _text_directions(now, block, tokens)
            earlier_axes, columns = _text_directions(before, blocks[block.name], tokens)
            plain[np.ix_(rows, columns)] = turn_between(axes, earlier_axes)
    return FeatureMap(plain, vectors)


def _told_apart(names: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Each name, and how often it stood before; the readable names of two columns may be one."""
    before: Counter[str] = Counter()
    for name in names:
        yield name, before[name]
        before[name] += 1


def _map_of_vectors(block: VectorBlock, before: FeaturePipeline | None) -> VectorMap | None:
    for place, other in enumerate(() if before is None else before.vectors):
        if other.column.name == block.column.name:
            matrix = block.space.turn_to(other.space)
            # Features are placed vectors times the root of twice the width.
            matrix *= np.float32(np.sqrt(other.width / block.width))
            return VectorMap(place, matrix) if matrix.any() else None
    return None


def features_of_both(now: Fit, before: Fit, side: str) -> tuple[Float32, Float32]:
    """The features of the first users or items of both fits, float32 [n, features] each."""
    table, index = _FEATURE_TABLES[side]
    first = F.col(index) < _COMPARED_ROWS
    later, earlier = (
        fit.lakehouse.read(table, fit=fit.name).where(first).select(index, F.col(c.FEATURES))
        for fit in (now, before)
    )
    both = later.join(earlier.withColumnRenamed(c.FEATURES, _EARLIER), index)
    batches = list(collected_batches(both, _COMPARED_ROWS * BYTES_OF_ITEM))
    if not batches:
        return np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32)
    rows, earlier_rows = (
        np.concatenate([matrix_column(batch, name) for batch in batches])
        for name in (c.FEATURES, _EARLIER)
    )
    return rows, earlier_rows


def without_other_vectors(
    found: FeatureMap,
    modalities: Modalities,
    modalities_before: Modalities,
    now: Float32,
    before: Float32,
) -> FeatureMap:
    """The map without the columns of vectors that have come to hold other vectors.

    The spaces of two encoders may have the same mean. So the same users or items are compared.
    Where their mapped vectors point elsewhere than the earlier ones, the towers do not know the
    column.

    Args:
        found: the map.
        modalities, modalities_before: the columns that features end with.
        now, before: float32 [n, features]; of the same users or items.
    """
    _, columns = split_features(now, modalities)
    _, columns_before = split_features(before, modalities_before)

    def is_known(mapped: VectorMap, column: Float32) -> bool:
        turned = mean_vectors(column) @ mapped.matrix
        return _point_alike(turned, mean_vectors(columns_before[mapped.place]))

    kept = (
        mapped if mapped is not None and is_known(mapped, column) else None
        for mapped, column in zip(found.vectors, columns, strict=True)
    )
    return replace(found, vectors=tuple(kept))


def _point_alike(turned: Float32, earlier: Float32) -> bool:
    """Whether the vectors [n, width] of most rows that have both point the same way."""
    cosines = (unit_rows(turned) * unit_rows(earlier)).sum(axis=1)
    compared = cosines[turned.any(axis=1) & earlier.any(axis=1)]
    return not (len(compared) and np.median(compared) < _LEAST_COSINE)


def _text_directions(
    pipeline: FeaturePipeline, block: TokenBlock, tokens: Sequence[str]
) -> tuple[Float64, list[int]]:
    """The directions of a block that are features.

    Returns:
        float64 [tokens, k], the directions by the given tokens in units of the features'
        deviations, zero for tokens that the block does not know; and their places among features.
    """
    assert block.projection is not None and pipeline.selection is not None
    of_name = {name: place for place, name in enumerate(pipeline.names)}
    known = [k for k, name in enumerate(block.feature_names[: block.width]) if name in of_name]
    places = [of_name[block.feature_names[k]] for k in known]
    deviations = pipeline.selection.standardisation.deviations[places]
    of_token = {token: row for row, token in enumerate(block.vocabulary)}
    rows = np.array([of_token.get(token, -1) for token in tokens])
    axes: Float64 = block.projection[rows][:, known] / deviations
    axes[rows < 0] = 0.0
    return axes, places
