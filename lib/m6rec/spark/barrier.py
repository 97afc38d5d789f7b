"""Iterative programs as one Spark barrier stage with all-reduce between its tasks.

`run_program` divides user rows over ranks, one a task. Each turns its Arrow batches into arrays
once, joins the others in a gloo group, and runs the program, which iterates on its own rows and
adds up item-side arrays with its communicator. `run_ranks` is for programs that read their rows
themselves. Only this module uses barrier stages.
"""

import json
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, cached_property, partial
from threading import Lock
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from pyspark import BarrierTaskContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]
from torch import distributed

from m6rec import columns as c
from m6rec.errors import ClusterError
from m6rec.kernels.arrays.communicator import Communicator
from m6rec.kernels.arrays.rows import Rows
from m6rec.spark.arrow_rows import ROW_COLUMNS, rows_from_batches
from m6rec.spark.session import check_classic
from m6rec.spark.slots import task_slots

# torch exports these without declaring it to type checkers.
dist: Any = distributed

Program = Callable[[Rows, Communicator], Iterator[pa.RecordBatch]]
RankProgram = Callable[["RankTask"], Iterator[pa.RecordBatch]]

# Longer than the slowest rank may lag behind the fastest between two collectives.
_COLLECTIVE_TIMEOUT = timedelta(minutes=10)
_JOIN_TIMEOUT = timedelta(minutes=2)
_THIS_MACHINE = "127.0.0.1"
_ANY_PORT = 9
_ONE_STORE = Lock()
_GPU = "gpu"


def run_program(
    frame: DataFrame, program: Program, schema: T.StructType | str, ranks: int | None = None
) -> DataFrame:
    """Run `program(rows, communicator)` on all ranks at once, and return the rows that they yield.

    The result is lazy, as all DataFrames are: the stage runs when an action on the result runs.
    On a cluster, a stage of which a rank fails is started again.

    Args:
        frame: columns user_index, item_indices, weights; others are left out. A user is one row.
        program: called once on each rank with its users by ascending user_index; it must pickle.
            All ranks must call the communicator's collectives in the same order.
        schema: of the batches that the program yields.
        ranks: how many tasks; as many as there are free slots unless given.

    Raises:
        ClusterError: the cluster cannot run a barrier stage of that many tasks.
    """
    spark = frame.sparkSession
    ranks = check_barrier(spark, ranks)
    divided = (
        frame.select(*ROW_COLUMNS)
        .repartition(ranks, c.USER_INDEX)
        .sortWithinPartitions(c.USER_INDEX)
    )
    meeting = _meeting(spark)
    task = partial(_run_rank, program=program, threads=cores_of_task(spark), meeting=meeting)
    return _restartable(divided.mapInArrow(task, schema, barrier=True), meeting)


@dataclass(frozen=True)
class RankTask:
    """What a program knows that reads its own rows.

    Attributes:
        group: its communicator with the other ranks.
        gpus: the addresses of the GPUs that Spark has given to the task.
    """

    group: "GlooCommunicator"
    gpus: tuple[str, ...]


def run_ranks(
    spark: SparkSession,
    program: RankProgram,
    schema: T.StructType | str,
    ranks: int | None = None,
    threads: int | None = None,
) -> DataFrame:
    """Run `program(task)` on all ranks at once; arguments, result and errors as `run_program`.

    Each rank computes with so many `threads`; with as many as its task has cores unless given.
    """
    ranks, meeting = check_barrier(spark, ranks), _meeting(spark)
    task = partial(
        _run_rank_without_rows,
        program=program,
        threads=cores_of_task(spark) if threads is None else threads,
        meeting=meeting,
    )
    numbers = spark.range(0, ranks, 1, ranks)
    return _restartable(numbers.mapInArrow(task, schema, barrier=True), meeting)


def cores_of_task(spark: SparkSession) -> int:
    """How many cores Spark reserves for each task."""
    return int(spark.sparkContext.getConf().get("spark.task.cpus", "1") or 1)


def check_barrier(spark: SparkSession, ranks: int | None = None) -> int:
    """How many ranks a barrier stage gets: `ranks`, or all slots of the cluster.

    Executors that are missing are waited for; see `task_slots`.

    Raises:
        ClusterError: the session is Spark Connect, dynamic allocation is on, or the cluster has
            fewer slots than `ranks`; the message names the setting.
    """
    check_classic(spark)
    context = spark.sparkContext
    if context.getConf().get("spark.dynamicAllocation.enabled", "false") == "true":
        raise ClusterError(
            "spark.dynamicAllocation.enabled is true, and a barrier stage needs its executors from"
            " the start; set spark.dynamicAllocation.enabled=false and spark.executor.instances"
        )
    slots = task_slots(spark, ranks)
    if ranks is None:
        ranks = slots
    if not 1 <= ranks <= slots:
        raise ClusterError(
            f"{ranks} ranks were asked of a cluster with {slots} task slots (cores of its executors"
            " divided by spark.task.cpus); ask for 1 to that many, or raise"
            " spark.executor.instances or spark.executor.cores, or in local mode the N of local[N]"
        )
    return ranks


@dataclass(frozen=True)
class Meeting:
    """Where the ranks of an application in local mode find each other.

    Attributes:
        port: of the driver's store, on this machine.
        application: its id.
    """

    port: int
    application: str


def _meeting(spark: SparkSession) -> Meeting | None:
    """Where the ranks meet if all run on the driver's machine and a stage is tried once, else None.

    Without a meeting, rank zero tells the others its address through Spark, which looks only once a
    second whether all have answered. In local mode a whole program may take no longer than that.
    """
    context = spark.sparkContext
    if re.fullmatch(r"local(\[[^,]*\])?", str(context.master)) is None:
        return None
    # Two threads must not make a store at once: the cache keeps one, and the other would be closed
    # while it is in use.
    with _ONE_STORE:
        return Meeting(_drivers_store().port, context.applicationId)


@cache
def _drivers_store() -> Any:
    return dist.TCPStore(_THIS_MACHINE, 0, None, True, _JOIN_TIMEOUT, wait_for_workers=False)


def _restartable(yielded: DataFrame, meeting: Meeting | None) -> DataFrame:
    """The same rows, from a stage that Spark starts again where a rank fails.

    It does so up to `spark.stage.maxConsecutiveAttempts` times, with all ranks, if the rows go
    through a shuffle. Where they go to the driver, it gives up. So it does in local mode, where the
    ranks meet by the number of the stage, which is the same when it is tried again.
    """
    return yielded if meeting is not None else yielded.repartition(1)


def _run_rank(
    batches: Iterable[pa.RecordBatch], program: Program, threads: int, meeting: Meeting | None
) -> Iterator[pa.RecordBatch]:
    rows = rows_from_batches(batches)
    with _thread_pools(threads), joined_group(BarrierTaskContext.get(), meeting) as communicator:
        yield from program(rows, communicator)


def _run_rank_without_rows(
    batches: Iterable[pa.RecordBatch],
    program: RankProgram,
    threads: int,
    meeting: Meeting | None,
) -> Iterator[pa.RecordBatch]:
    for _ in batches:
        pass
    context = BarrierTaskContext.get()
    given = context.resources().get(_GPU)
    gpus = () if given is None else tuple(given.addresses)
    with _thread_pools(threads), joined_group(context, meeting) as communicator:
        yield from program(RankTask(communicator, gpus))


@cache
def _loaded_pools() -> ThreadpoolController:
    """The thread pools of the libraries that this process has loaded; it loads them by imports."""
    return ThreadpoolController()


@contextmanager
def _thread_pools(threads: int) -> Iterator[None]:
    """BLAS, OpenMP, torch and numba use `threads` threads, as Spark has reserved cores."""
    before, numba_before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(threads)
    numba.set_num_threads(min(threads, numba_before))
    try:
        with _loaded_pools().limit(limits=threads):
            yield
    finally:
        torch.set_num_threads(before)
        numba.set_num_threads(numba_before)


@contextmanager
def joined_group(
    context: BarrierTaskContext, meeting: Meeting | None
) -> Iterator["GlooCommunicator"]:
    """A communicator over the tasks of a barrier stage, closed at the end whatever happens."""
    rank = context.partitionId()
    hosts = [host_of(info.address) for info in context.getTaskInfos()]
    address = own_address(hosts[rank], hosts)
    if meeting is None:
        store = _store_of_rank_zero(context, address, len(hosts))
    else:
        common = dist.TCPStore(_THIS_MACHINE, meeting.port, None, False, _JOIN_TIMEOUT)
        store = dist.PrefixStore(f"{meeting.application}/{context.stageId()}", common)
    group = _gloo_group(store, rank, len(hosts), address)
    try:
        # A rank that left while another is still connecting would fail it with an error of its own,
        # which could hide why the first has left.
        group.barrier().wait()
        yield GlooCommunicator(group, store)
    finally:
        # Frees the sockets and threads: the worker process may live on for other tasks.
        del group, store


def _store_of_rank_zero(context: BarrierTaskContext, address: str, ranks: int) -> Any:
    if context.partitionId() == 0:
        store = dist.TCPStore(address, 0, ranks, True, _JOIN_TIMEOUT, wait_for_workers=False)
        context.allGather(json.dumps([address, store.port]))
        return store
    host, port = json.loads(context.allGather()[0])
    return dist.TCPStore(host, port, ranks, False, _JOIN_TIMEOUT)


def host_of(address: str) -> str:
    """The host of `host:port`; that of an IPv6 address stands in brackets there."""
    return address.rpartition(":")[0].strip("[]")


def own_address(own_host: str, hosts: list[str]) -> str:
    """An address of this machine that the others can reach."""
    others = [host for host in hosts if host != own_host]
    if not others:
        return _THIS_MACHINE
    found = socket.getaddrinfo(others[0], _ANY_PORT, type=socket.SOCK_DGRAM)
    # All ranks have to take the same of a machine's two kinds of addresses.
    family, kind, _, _, place = min(found, key=lambda one: one[0] != socket.AF_INET)
    # Connecting a datagram socket sends nothing; it picks the interface that leads there. A
    # machine's own name often means a loopback address (Debian's 127.0.1.1).
    with socket.socket(family, kind) as probe:
        probe.connect(place)
        return str(probe.getsockname()[0])


def _gloo_group(store: Any, rank: int, size: int, address: str) -> Any:
    # Not the process-wide default group of torch: that belongs to whoever trains towers in this
    # process.
    options = dist.ProcessGroupGloo._Options()
    options._devices = [dist.ProcessGroupGloo.create_device(hostname=address)]
    options._timeout = _COLLECTIVE_TIMEOUT
    return dist.ProcessGroupGloo(store, rank, size, options)


class GlooCommunicator:
    """A Communicator over a gloo group; arrays are reduced where they lie, without a copy.

    Gloo's ring adds each piece of an array in one order and hands it round, so that all ranks get
    the same bits.
    """

    def __init__(self, group: Any, store: Any) -> None:
        """Speak for a group that has met in `store`."""
        self._group = group
        self._store = store
        self.rank: int = group.rank()
        self.size: int = group.size()

    def all_reduce(self, array: npt.NDArray[Any]) -> None:
        """Sum over ranks, in place; float32, float64 or int64, contiguous."""
        self.start_all_reduce(array)()

    def start_all_reduce(self, array: npt.NDArray[Any]) -> Callable[[], None]:
        """`all_reduce` on gloo's own threads; the array must be left alone until it is called."""
        if self.size == 1 or not array.size:
            return lambda: None
        wait: Callable[[], None] = self._group.allreduce([_tensor(array)]).wait
        return wait

    def broadcast(self, array: npt.NDArray[Any]) -> None:
        """Rank 0's array on all ranks, in place; float32, float64 or int64, contiguous."""
        if self.size > 1 and array.size:
            self._group.broadcast(_tensor(array), 0).wait()

    def all_reduce_tensor(self, tensor: torch.Tensor) -> None:
        """Sum over ranks, in place; float32, contiguous; between GPUs by NCCL."""
        if self.size == 1 or not tensor.numel():
            return
        group = self._group_of_gpus if tensor.is_cuda else self._group
        group.allreduce([tensor]).wait()

    @cached_property
    def _group_of_gpus(self) -> Any:
        options = dist.ProcessGroupNCCL.Options()
        options._timeout = _COLLECTIVE_TIMEOUT
        store = dist.PrefixStore("gpus", self._store)
        return dist.ProcessGroupNCCL(store, self.rank, self.size, options)


def _tensor(array: npt.NDArray[Any]) -> torch.Tensor:
    if not array.flags.c_contiguous or array.dtype not in (np.float32, np.float64, np.int64):
        raise ClusterError(
            f"a collective was given a {array.dtype} array of shape {array.shape} and strides"
            f" {array.strides}; it takes contiguous float32, float64 or int64 arrays"
        )
    return torch.from_numpy(array)
