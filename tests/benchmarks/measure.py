"""Each contender in a process of its own; within a round they take turns on the same cores.

A contender is a function of a `Workspace` that gets ready (loads, compiles, warms up) and returns
the function to measure. Its process stays between rounds, idle, unless it asks for a fresh one.
"""

import importlib
import importlib.util
import multiprocessing
import os
import statistics
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from tests.benchmarks.dataset import Dataset

Measure = Callable[[], float]
THREADS = 2


class CannotRunError(Exception):
    """A contender that does not fit this matrix or this machine; the message says why."""


@dataclass(frozen=True)
class Workspace:
    """What a contender may know.

    Attributes:
        dataset: the matrix.
        case: the case of the key, such as the rank.
        scratch: a folder of its own.
        seed: of everything drawn.
        workers: Spark's task slots, and threads.
        facts: what it reports beside the time, filled as it goes.
    """

    dataset: Dataset
    case: str
    scratch: Path
    seed: int = 1
    workers: int = THREADS
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """One way to do the work of a key and case.

    Attributes:
        key, case, name: where its median goes in benchmark.json.
        prepare: gets ready and returns the function that gives one sample.
        needs: a module that must be installed.
        fresh: whether each round starts a new process, so that fixed costs count.
        dataset: gives another matrix than the common one; called when its turn has come.
        workers: other than the common number.
    """

    key: str
    case: str
    name: str
    prepare: Callable[[Workspace], Measure]
    needs: str | None = None
    fresh: bool = False
    dataset: Callable[[], Dataset] | None = None
    workers: int = THREADS

    @property
    def label(self) -> str:
        """Key, case and name in one line."""
        return f"{self.key}/{self.case}/{self.name}"


@dataclass
class Outcome:
    """What a contender gave: a sample a round, or the reason why there is none."""

    samples: list[float] = field(default_factory=list)
    peaks: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    failure: str | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def peak_bytes(self) -> int:
        """The sum of the processes' own peaks: JVM and Python workers together."""
        return sum(self.peaks.values())


def time_of(work: Callable[[], Any]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def marginal(fit: Callable[[int], Any], first: int, last: int) -> float:
    """Seconds of an iteration by difference, so that loading and set-up cancel."""
    return (time_of(lambda: fit(last)) - time_of(lambda: fit(first))) / (last - first)


def run_contenders(
    contenders: Iterable[Contender], dataset: Dataset, scratch: Path, rounds: int, seed: int
) -> list[tuple[Contender, Outcome]]:
    """Measure contenders of one key and case in turns; a failure stops only its contender."""
    entrants = [(one, Outcome(), _Host(one, dataset, scratch, seed)) for one in contenders]
    try:
        for number in range(rounds):
            for contender, outcome, host in entrants:
                if outcome.failure is None:
                    host.sample(outcome)
                    _report(contender, outcome, number, rounds)
    finally:
        for _, _, host in entrants:
            host.close()
    return [(contender, outcome) for contender, outcome, _ in entrants]


def _report(contender: Contender, outcome: Outcome, number: int, rounds: int) -> None:
    value = outcome.failure or f"{outcome.samples[-1]:.4g}"
    print(f"  {contender.label} [{number + 1}/{rounds}]: {value}", flush=True)


class _Host:
    """The process of one contender, seen from outside."""

    def __init__(self, contender: Contender, dataset: Dataset, scratch: Path, seed: int) -> None:
        self._contender = contender
        folder = scratch / contender.label.replace("/", "-")
        own = contender.dataset() if contender.dataset else dataset
        self._workspace = Workspace(own, contender.case, folder, seed, contender.workers)
        self._process: Any = None
        self._pipe: Connection | None = None

    def sample(self, outcome: Outcome) -> None:
        needs = self._contender.needs
        if needs is not None and importlib.util.find_spec(needs) is None:
            outcome.failure = f"{needs} is not installed; make benchmark installs it"
            return
        if self._process is None:
            self._start()
        assert self._pipe is not None
        try:
            self._pipe.send("sample")
            answer = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            answer = {"failure": f"its process ended with code {self._process.exitcode}"}
        if "failure" in answer:
            outcome.failure = answer["failure"]
        else:
            outcome.samples.append(answer["value"])
            outcome.peaks = answer["peaks"]
            outcome.facts = answer["facts"]
        if self._contender.fresh or outcome.failure is not None:
            self.close()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(other, self._contender, self._workspace)
        )
        self._process.start()
        other.close()

    def close(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.join()
        self._process = self._pipe = None


def run_apart(module: str, function: str, workspace: Workspace) -> None:
    """Call a module's function in a process of its own: here nothing is imported nor warmed up.

    Raises:
        CannotRunError: it failed; its traceback is on stderr.
    """
    process = multiprocessing.get_context("spawn").Process(
        target=_call, args=(module, function, workspace)
    )
    process.start()
    process.join()
    if process.exitcode:
        raise CannotRunError(f"{function} ended with code {process.exitcode}; see above")


def _call(module: str, function: str, workspace: Workspace) -> None:
    getattr(importlib.import_module(module), function)(workspace)


def _serve(pipe: Connection, contender: Contender, workspace: Workspace) -> None:
    """The life of a contender's process: prepare once, then a sample each time that it is asked."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: contender.workers])
    # BLAS was loaded before, with as many threads as there were cores.
    threadpool_limits(contender.workers)
    workspace.scratch.mkdir(parents=True, exist_ok=True)
    measure: Measure | None = None
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        try:
            measure = measure or contender.prepare(workspace)
            before = processor_seconds_of_family()
            value = measure()
            workspace.facts["processor_seconds"] = processor_seconds_of_family() - before
            answer = {"value": value, "peaks": peaks_of_family(), "facts": dict(workspace.facts)}
        except CannotRunError as reason:
            answer = {"failure": str(reason)}
        except Exception as error:
            traceback.print_exc()
            answer = {"failure": f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"}
        pipe.send(answer)


def peaks_of_family() -> dict[str, int]:
    """VmHWM in bytes of this process and all its descendants, by pid and command."""
    peaks = {}
    for pid in _family():
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        values = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        if "VmHWM" in values:
            name = f"{values['Name'].strip()} {pid}"
            peaks[name] = int(values["VmHWM"].split()[0]) * 1024
    return peaks


def processor_seconds_of_family() -> float:
    """What this process, its descendants and those that have ended took of all cores.

    Other load on the machine lengthens wall time, and leaves this nearly alone.
    """
    ticks = 0
    for pid in _family():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        # utime, stime, and those of children that were waited for (proc(5), 14 to 17).
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def _family() -> list[int]:
    """This process and all its descendants."""
    found, waiting = [], [os.getpid()]
    while waiting:
        pid = waiting.pop()
        try:
            waiting += [
                int(child)
                for task in Path(f"/proc/{pid}/task").iterdir()
                for child in (task / "children").read_text().split()
            ]
        except OSError:
            continue
        found.append(pid)
    return found
