"""A search for better values of the config: Optuna's study of it, and what it leaves to read.

The study is a file, so that a search which was killed goes on: trials that had begun are begun
again. The given config's own values are themselves a trial, so the best trial is never worse on
validation than these. What a pipeline chooses in place of values that are not set is no trial.
"""

import csv
import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from m6rec.config.run import Config
from m6rec.config.search import Choice, Range
from m6rec.errors import ConfigError
from m6rec.files import written_whole
from m6rec.fingerprints import fingerprint_of

STUDY = "m6rec"
# Optuna keeps the values that a waiting trial will be given under this key.
_PROMISED = "fixed_params"
_FINGERPRINT = "fingerprint"
_NAME = "name"
_SECONDS = "seconds"
# The reason for which a trial was refused stands under this key of it.
_REFUSED = "refused"
# So many trials in a row are refused before a search ends, as its values hardly go together.
_MOST_REFUSED = 100
_LOCK = "tune.lock"
_SQLITE = b"SQLite format 3\0"

Report = Callable[[float], None]
# A function of this kind measures a config. It may first report an earlier measure, at which the
# trial may end.
MeasureConfig = Callable[[Config, Report], float]


def given_values(config: Config) -> dict[str, Any]:
    """The config's own value of each key that is searched."""
    return {key: config.value(key) for key in config.tune.search}


def distributions(config: Config) -> dict[str, BaseDistribution]:
    """The search space as Optuna's, widened where the config's own values lie outside.

    Raises:
        ConfigError: there is nothing to search, or a range cannot hold the config's own value.
    """
    if not config.tune.search:
        raise ConfigError("tune.search is empty; give a key of the config and what to try")
    return {
        key: _distribution(key, dimension, config.value(key))
        for key, dimension in config.tune.search.items()
    }


def _distribution(key: str, dimension: Range | Choice, given: Any) -> BaseDistribution:
    if isinstance(dimension, Choice):
        values = dimension.values
        return CategoricalDistribution(values if given in values else (*values, given))
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ConfigError(
            f"tune.search: {key} has a range, and the config's own value is {given!r}; set a number"
            f" to start from, or give values instead of a range"
        )
    low, high = min(dimension.low, given), max(dimension.high, given)
    if dimension.log and low <= 0:
        raise ConfigError(
            f"tune.search: {key} is searched by its logarithm, and the config's own value is"
            f" {given!r}; set one above 0"
        )
    if isinstance(given, int):
        return IntDistribution(int(low), int(high), log=dimension.log)
    return FloatDistribution(low, high, log=dimension.log)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other searches out of an output folder, which is made where there is none.

    A search takes the trials that it finds begun for those of a process that was killed.

    Raises:
        ConfigError: another search is at work there, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("w")
    except OSError as error:
        raise ConfigError(
            f"--output {folder} cannot be written ({error.strerror}); give another folder"
        ) from error
    with lock:
        try:
            # The system gives it back when the process ends, in whatever way.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another tune is at work in {folder}; wait for it or end it, or give another"
                " --output and --run-id"
            ) from None
        yield


def open_study(config: Config, file: Path) -> optuna.Study:
    """The study in an SQLite file, made where there is none, with the trials that are due first.

    Due are the trials that a killed process left, and the config's own values if no trial has
    measured them.

    Raises:
        ConfigError: the file is of a study of another config, or no study.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.is_dir() or (file.is_file() and not _may_be_a_study(file)):
        raise ConfigError(
            f"{file} is no database of SQLite, in which a search is kept; remove it to begin the"
            " search anew, or give another --output"
        )
    study = optuna.create_study(
        storage=f"sqlite:///{file.resolve()}",
        study_name=STUDY,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(),
    )
    _check_same_study(study, config, file)
    # A sampler of one seed would propose the first trials of an earlier process again.
    study.sampler = optuna.samplers.TPESampler(seed=(config.seed + len(study.trials)) % 2**32)
    for killed in study.get_trials(states=(TrialState.RUNNING,)):
        study.enqueue_trial(killed.params)
        study.tell(killed.number, state=TrialState.FAIL)
    given = given_values(config)
    if given not in _promised(study) and given not in [t.params for t in _complete(study)]:
        study.enqueue_trial(given)
    return study


def name_of(study: optuna.Study) -> str:
    """A name that no other study has."""
    return str(kept(study, _NAME, lambda: uuid4().hex))


def kept(study: optuna.Study, key: str, make: Callable[[], Any]) -> Any:
    """A value that can be written as JSON, which the study keeps from the first call on."""
    if key not in study.user_attrs:
        study.set_user_attr(key, make())
    return study.user_attrs[key]


def _may_be_a_study(file: Path) -> bool:
    """Whether SQLite may have written the file, which is empty until there is a table."""
    with file.open("rb") as opened:
        return opened.read(len(_SQLITE)) in {b"", _SQLITE}


def _check_same_study(study: optuna.Study, config: Config, file: Path) -> None:
    shared = config.model_dump(mode="json", exclude={"tune": {"trials", "seconds"}})
    fingerprint = fingerprint_of(shared)
    found = kept(study, _FINGERPRINT, lambda: fingerprint)
    if found != fingerprint:
        raise ConfigError(
            f"study {file} was begun with config {found[:12]}, and is now given config"
            f" {fingerprint[:12]} (only trials and seconds of section tune may change); give the"
            " first config again, or another --output"
        )


def _promised(study: optuna.Study) -> list[dict[str, Any]]:
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    return [trial.system_attrs[_PROMISED] for trial in waiting]


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that were measured to their end, or pruned while they were, in order."""
    trials = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    return [trial for trial in trials if refusal_of(trial) is None]


def refusal_of(trial: FrozenTrial) -> str | None:
    """Why no valid config has the values of a trial, which was not trained; None where one has."""
    reason = trial.user_attrs.get(_REFUSED)
    return None if reason is None else str(reason)


def search(
    study: optuna.Study,
    config: Config,
    measure: MeasureConfig,
    deadline: float | None,
    after_trial: Callable[[FrozenTrial], None],
) -> None:
    """Run the trials that are missing from `config.tune.trials`.

    Trials whose values together make no valid config are refused, and are none of these.

    Args:
        study: of `open_study`.
        config: what trials change.
        measure: of a trial's config; larger is better.
        deadline: in seconds of `time.monotonic`; no trial begins after it once one is complete.
        after_trial: called with each trial as it ends, or is refused.

    Raises:
        ConfigError: the space cannot be searched, or very many trials in a row were refused.
    """
    space = distributions(config)
    refused = 0
    while len(ended(study)) < config.tune.trials:
        if deadline is not None and time.monotonic() >= deadline and _complete(study):
            return
        trial = _run_trial(study, study.ask(space), config, measure)
        after_trial(trial)
        reason = refusal_of(trial)
        refused = 0 if reason is None else refused + 1
        if refused == _MOST_REFUSED:
            raise ConfigError(
                f"tune.search: {refused} trials in a row were refused, as their values together"
                f" make no valid config; the last one, {trial.params}, for: {reason}; give values"
                " in tune.search that go together"
            )


def _run_trial(
    study: optuna.Study, trial: optuna.Trial, config: Config, measure: MeasureConfig
) -> FrozenTrial:
    problems = config.problems_with(trial.params)
    if problems:
        trial.set_user_attr(_REFUSED, "; ".join(problems))
        # The sampler learns from pruned trials which values to avoid, and nothing from failed ones.
        return study.tell(trial, state=TrialState.PRUNED)

    def report(value: float) -> None:
        trial.report(value, step=0)
        if trial.should_prune():
            raise optuna.TrialPruned

    started = time.monotonic()
    value, state = None, TrialState.COMPLETE
    try:
        value = measure(config.replaced(trial.params), report)
    except optuna.TrialPruned:
        state = TrialState.PRUNED
    except Exception:
        study.tell(trial, state=TrialState.FAIL)
        raise
    trial.set_user_attr(_SECONDS, time.monotonic() - started)
    return study.tell(trial, value, state=state)


def write_best(study: optuna.Study, config: Config, file: Path) -> None:
    """Write the config of the best trial as a file that `pipeline` takes.

    A pipeline searches the settings that are open, beside those of the best trial, and would not
    run what has been measured. So it is told to search none, unless no trial is better than the
    given values: then those that the owner has left open stay open.
    """
    best = study.best_trial
    is_given = best.params == given_values(config)
    given = ", the given config itself" if is_given else ""
    header = (
        f"# Written by job tune: trial {best.number}{given}, is the best of {len(ended(study))}.\n"
        f"# Validation NDCG@{config.tune.k} of the hybrid: {best.value:.4f}.\n"
    )
    chosen = config if is_given else config.replaced({**best.params, "settings.seconds": 0.0})
    text = yaml.safe_dump(chosen.given(), sort_keys=False, allow_unicode=True)
    with written_whole(file) as unfinished:
        unfinished.write_text(header + text)


def trial_rows(study: optuna.Study) -> list[dict[str, Any]]:
    """The trials as rows: trial, state, ndcg, ndcg_before_towers, seconds, and the searched keys.

    `ndcg` is None for a trial that was pruned.
    """
    return [
        {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            "ndcg": trial.value if trial.state == TrialState.COMPLETE else None,
            "ndcg_before_towers": trial.intermediate_values.get(0),
            "seconds": trial.user_attrs.get(_SECONDS),
            **trial.params,
        }
        for trial in ended(study)
    ]


def write_trials(study: optuna.Study, file: Path) -> None:
    """Write the rows of all trials as CSV."""
    rows = trial_rows(study)
    with written_whole(file) as unfinished, unfinished.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
