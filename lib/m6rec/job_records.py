"""The only list of jobs: what each reads and writes, and which sections of the config it rests on.

The functions are in `jobs/`, a file each. What needs to know jobs without running them reads them
here: the choice of the JVM's compiler, `--help`, the documentation, and the tests.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from m6rec.config.run import Config, sources_of
from m6rec.rankers import MLLIB_ALS

# The sections and keys that the tables of every fit depend on.
_PREPARED = (
    "interactions",
    "split",
    "features",
    "seed",
    "recommend.rules.mask_seen",
    "ratings.enabled",
)
# From these follows which models there have to be.
_NEEDED = ("hybrid.members", "evaluate.rankers", "recommend.ranker")
_NEEDED_BY_TOWERS = (
    "towers.inputs",
    "towers.sequence.enabled",
    "towers.sequence.factors",
    "towers.bagging",
    "towers.boosting",
)
# The size of table user_index with some 50,000 users, whose lists have a million rows.
_BYTES_OF_FEW_USERS = 500_000
# The size of a table of interactions with some 20,000 rows.
_BYTES_OF_FEW_ROWS = 500_000
# The largest size of all sources together at which the driver can hold each table of the run.
_BYTES_IN_DRIVER = 4_000_000


def _never(_: Config) -> bool:
    return False


def _always(_: Config) -> bool:
    return True


def reads_many_rows(config: Config) -> bool:
    """Whether the interactions are many, or lie where this machine cannot see them."""
    path = config.interactions.source.path
    return path is None or not 0 < _bytes_below(Path(path)) <= _BYTES_OF_FEW_ROWS


def fits_in_driver(config: Config) -> bool:
    """Whether the tables of a run are so small that the driver can hold each."""
    if reads_many_rows(config):
        return False
    sizes = [
        0 if source.path is None else _bytes_below(Path(source.path))
        for _, source, _ in sources_of(config)
    ]
    return all(sizes) and sum(sizes) <= _BYTES_IN_DRIVER


def _trains_mllib(config: Config) -> bool:
    return MLLIB_ALS in config.evaluate.rankers and reads_many_rows(config)


def _writes_many_lists(config: Config) -> bool:
    """Whether the lake has many users, or lies where this machine cannot see them."""
    return not 0 < _bytes_below(Path(config.lake, "user_index")) <= _BYTES_OF_FEW_USERS


def _bytes_below(place: Path) -> int:
    """The size of a file, or of all files of a folder; 0 where there is neither."""
    files = [place] if place.is_file() else place.rglob("*.*")
    return sum(file.stat().st_size for file in files if file.is_file())


@dataclass(frozen=True)
class JobRecord:
    """One job.

    Attributes:
        name: of the job, of its file in `jobs/`, and in table `runs`.
        reads: the tables that it reads of what other jobs wrote.
        reads_if_made: tables that it reads where the config had them made.
        writes: the tables that it writes.
        writes_if_asked: tables that it writes where the config asks for them.
        sections: the sections and single keys of the config that its tables follow from.
        has_long_loops: whether, with a config, the JVM runs loops for so long that its optimising
            compiler pays for itself.
        reads_sources: whether it also reads tables of the owner's.
    """

    name: str
    reads: tuple[str, ...] = ()
    reads_if_made: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    writes_if_asked: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    has_long_loops: Callable[[Config], bool] = _never
    reads_sources: bool = False


PREPARE_INTERACTIONS = JobRecord(
    "prepare_interactions",
    writes=(
        "interactions",
        "quarantine",
        "user_index",
        "item_index",
        "splits",
        "catalogue",
        "user_item_matrix",
        "models",
    ),
    sections=_PREPARED,
    has_long_loops=reads_many_rows,
    reads_sources=True,
)
BUILD_FEATURES = JobRecord(
    "build_features",
    reads=("user_item_matrix", "user_index", "item_index"),
    reads_if_made=("splits", "interactions", "text_vectors"),
    writes=("user_features", "item_features", "models"),
    writes_if_asked=("item_images", "text_vectors"),
    sections=_PREPARED,
    reads_sources=True,
)
CHOOSE_SETTINGS = JobRecord(
    "choose_settings",
    reads=("user_item_matrix", "splits", "catalogue", "item_index"),
    reads_if_made=("models", "item_features", "item_images"),
    writes=("models",),
    sections=(*_PREPARED, "settings", "neighbours", "factors", "hybrid", "evaluate"),
)
TRAIN_FACTORS = JobRecord(
    "train_factors",
    reads=("user_item_matrix", "item_index"),
    reads_if_made=("models", "item_features", "catalogue"),
    writes=("item_factors", "models"),
    writes_if_asked=("user_factors",),
    sections=(
        *_PREPARED,
        "settings",
        "factors",
        *_NEEDED,
        *_NEEDED_BY_TOWERS,
        "recommend.diversity.strength",
        "recommend.diversity.column",
    ),
    has_long_loops=_trains_mllib,
)
TRAIN_NEIGHBOURS = JobRecord(
    "train_neighbours",
    reads=("user_item_matrix", "item_index"),
    reads_if_made=("models", "item_features", "catalogue"),
    writes=("item_neighbours",),
    sections=(
        *_PREPARED,
        "settings",
        "neighbours",
        *_NEEDED,
        *_NEEDED_BY_TOWERS,
        "factors.als.attribute_weight",
    ),
)
TRAIN_TOWERS = JobRecord(
    "train_towers",
    reads=(
        "user_item_matrix",
        "splits",
        "catalogue",
        "item_index",
        "item_factors",
        "models",
        "user_features",
        "item_features",
    ),
    reads_if_made=("item_images", "interactions", "user_index"),
    writes=("models",),
    sections=(*_PREPARED, "settings", "factors", "towers", *_NEEDED),
)
TRAIN_HYBRID = JobRecord(
    "train_hybrid",
    reads=(
        "user_item_matrix",
        "splits",
        "catalogue",
        "item_index",
        "item_factors",
        "item_neighbours",
        "models",
        "user_features",
        "item_features",
    ),
    reads_if_made=("item_images",),
    writes=("models", "ablations"),
    sections=(*_PREPARED, "settings", "factors", "neighbours", "towers", "hybrid", "evaluate"),
)
TRAIN_RATINGS = JobRecord(
    "train_ratings",
    reads=("user_item_matrix", "splits", "item_index"),
    writes=("rating_predictions", "models"),
    sections=(*_PREPARED, "ratings"),
)
RECOMMEND = JobRecord(
    "recommend",
    reads=(
        "user_item_matrix",
        "splits",
        "catalogue",
        "user_index",
        "item_index",
        "item_factors",
        "item_neighbours",
        "models",
        "user_features",
        "item_features",
    ),
    reads_if_made=("item_images", "user_factors"),
    writes=("lists", "recommendations", "item_embeddings"),
    writes_if_asked=("user_embeddings",),
    sections=(*TRAIN_HYBRID.sections, "recommend", "outputs"),
    has_long_loops=_writes_many_lists,
    reads_sources=True,
)
EVALUATE = JobRecord(
    "evaluate",
    reads=("lists", "splits", "user_item_matrix", "item_index", "catalogue"),
    reads_if_made=(
        "item_features",
        "item_images",
        "rating_predictions",
        "item_factors",
        "item_neighbours",
        "models",
    ),
    writes=("metrics", "comparisons"),
    sections=(*TRAIN_HYBRID.sections, "recommend", "ratings"),
    reads_sources=True,
)
ABLATE = JobRecord(
    "ablate",
    reads=TRAIN_TOWERS.reads,
    reads_if_made=TRAIN_TOWERS.reads_if_made,
    writes=("ablations",),
    sections=(
        *_PREPARED,
        "settings",
        "factors",
        "towers",
        "hybrid.members",
        "recommend.ranker",
        "ablation",
        "evaluate",
    ),
)
# What is done to finished runs.
KEEP_CHOICES = JobRecord(
    "keep_choices",
    reads=("runs", "models"),
    reads_if_made=("item_neighbours",),
    writes=("models",),
    writes_if_asked=("item_neighbours",),
)
PUBLISH = JobRecord(
    "publish",
    reads=(
        "runs",
        "models",
        "recommendations",
        "user_index",
        "catalogue",
        "user_item_matrix",
        "interactions",
        "quarantine",
        "lists",
        "splits",
        "user_features",
        "item_features",
    ),
    reads_if_made=(
        "item_index",
        "item_embeddings",
        "user_embeddings",
        "item_factors",
        "guard_results",
    ),
    writes=("runs", "guard_results"),
    sections=("guards",),
    has_long_loops=_writes_many_lists,
    reads_sources=True,
)
CLEAN = JobRecord("clean", reads=("runs",), writes=("runs",), sections=("retention",))
FORGET = JobRecord(
    "forget",
    reads=("runs", "user_index"),
    writes=("runs", "receipts"),
    has_long_loops=_writes_many_lists,
)

# The tables of a run that make lists for users who came after training.
_FOR_NEW_USERS = (
    "runs",
    "interactions",
    "splits",
    "user_item_matrix",
    "catalogue",
    "user_index",
    "item_index",
    "item_factors",
    "item_neighbours",
    "models",
    "item_features",
)
SCORE_USERS = JobRecord(
    "score",
    reads=_FOR_NEW_USERS,
    reads_if_made=("user_features", "item_images"),
    reads_sources=True,
)
FOLD_IN = JobRecord(
    "fold_in",
    reads=_FOR_NEW_USERS,
    reads_if_made=("user_features", "item_images", "fold_in_batches"),
    writes=("runs", "fold_in_batches"),
    sections=("fold_in",),
    has_long_loops=_always,
    reads_sources=True,
)

# The jobs of a run, in order; then those that run them.
JOBS_OF_A_RUN = (
    PREPARE_INTERACTIONS,
    BUILD_FEATURES,
    CHOOSE_SETTINGS,
    TRAIN_FACTORS,
    TRAIN_NEIGHBOURS,
    TRAIN_TOWERS,
    TRAIN_HYBRID,
    TRAIN_RATINGS,
    RECOMMEND,
    EVALUATE,
    ABLATE,
)
CHECK = JobRecord("check", reads_sources=True)
EXPLAIN = JobRecord("explain", reads_sources=True)
EXAMPLES = JobRecord("examples")
PIPELINE = JobRecord("pipeline", has_long_loops=reads_many_rows, reads_sources=True)
DEMO = JobRecord("demo", has_long_loops=_always, reads_sources=True)
QUALITY = JobRecord("quality", has_long_loops=_always, reads_sources=True)
NIGHTLY = JobRecord("nightly", has_long_loops=_writes_many_lists, reads_sources=True)
ROBUSTNESS = JobRecord("robustness", has_long_loops=_always, reads_sources=True)
TUNE = JobRecord("tune", has_long_loops=_always, reads_sources=True)
RERUN = JobRecord("rerun", has_long_loops=reads_many_rows, reads_sources=True)

JOBS_ON_RUNS = (KEEP_CHOICES, PUBLISH, SCORE_USERS, FOLD_IN, CLEAN, FORGET)
JOBS_OF_JOBS = (PIPELINE, NIGHTLY, RERUN, DEMO, QUALITY, ROBUSTNESS, TUNE)
JOBS = (*JOBS_OF_A_RUN, *JOBS_ON_RUNS, CHECK, EXPLAIN, EXAMPLES, *JOBS_OF_JOBS)


def job_named(name: str) -> JobRecord | None:
    """The record of that name, or None."""
    return next((job for job in JOBS if job.name == name), None)
