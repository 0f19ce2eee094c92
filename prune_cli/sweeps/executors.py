"""Executors of the runs of a sweep: on this machine one by one or by joblib, elsewhere by submitit and Ray.

Each executor starts, for each run, a job that runs one child process and waits for it; results are on the disk.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from prune_cli.common.polling import polling
from prune_cli.sweeps.child import QUIET, STOP, run_child, start_fresh
from prune_cli.sweeps.forked import can_fork, fork_server_for
from prune_cli.sweeps.process import Start

Execute = Callable[[Sequence[Path], Path, Any], None]  # run folders, home and the options: start them all and wait
SUBMITIT_LOG = "SUBMITIT_LOG_LEVEL"
THREADS = "OMP_NUM_THREADS"
POLL = 0.2  # seconds between two looks at what comes of jobs
SCANCEL_INTERVAL = 2.0  # seconds between two questions to Slurm
YEAR = 525_600  # minutes


@dataclass
class NoOptions:
    """The options of the launcher basic: none."""


@dataclass
class JoblibOptions:
    """Arguments of joblib.Parallel."""

    n_jobs: int = -1  # runs at once; -1: one a CPU
    verbose: int = 0  # above 0: joblib tells how far it is


@dataclass
class LocalOptions:
    """Parameters of a local job, as submitit names them."""

    timeout_min: int = YEAR
    cpus_per_task: int | None = None
    gpus_per_node: int | None = None
    mem_gb: int | None = None
    stderr_to_stdout: bool = False


@dataclass
class SlurmOptions(LocalOptions):
    """Parameters of a Slurm job, as sbatch and submitit name them."""

    timeout_min: int = 60
    partition: str | None = None
    qos: str | None = None
    account: str | None = None
    comment: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    gres: str | None = None
    cpus_per_gpu: int | None = None
    gpus_per_task: int | None = None
    mem_per_gpu: str | None = None
    mem_per_cpu: str | None = None
    signal_delay_s: int = 120  # how long before its time is up a job hears of it
    max_num_timeout: int = 0  # how often a job whose time was up is submitted again
    array_parallelism: int = 256  # jobs at once
    setup: list[str] | None = None  # shell commands before srun
    additional_parameters: dict[str, Any] = field(default_factory=dict)  # of sbatch, which are not named above


@dataclass
class RayCalls:
    """Arguments of ray.init and ray.remote."""

    init: dict[str, Any] = field(
        default_factory=lambda: {"include_dashboard": False, "log_to_driver": False, "logging_level": 30}  # warnings
    )
    remote: dict[str, Any] = field(default_factory=lambda: {"max_retries": 0})  # the sweep plans lost runs again


@dataclass
class RayOptions:
    """The options of the launcher ray, typed as ray.init.KEY=VALUE and ray.remote.KEY=VALUE."""

    ray: RayCalls = field(default_factory=RayCalls)


def one_by_one(folders: Sequence[Path], home: Path, _: NoOptions) -> None:
    """Run the runs one after another on this machine."""
    with _starter(home) as start:
        for folder in folders:
            run_child(folder, home, start)


def by_joblib(folders: Sequence[Path], home: Path, options: JoblibOptions) -> None:
    """Run several runs at once on this machine, each in a thread that waits for its process."""
    from joblib import Parallel, delayed, effective_n_jobs  # type: ignore[import-untyped]

    count = min(effective_n_jobs(options.n_jobs), len(folders))
    with _shared_cpus(count), _starter(home) as start:
        parallel = Parallel(n_jobs=count, verbose=options.verbose, backend="threading", batch_size=1)
        raised = parallel(delayed(_run_returning_error)(folder, home, start) for folder in folders)
    for error in filter(None, raised):
        raise error


def by_submitit(cluster: str) -> Execute:
    """An executor that submits the runs to a cluster of submitit: `slurm`, or `local`, which is this machine."""

    def submit(folders: Sequence[Path], home: Path, options: LocalOptions) -> None:
        """Submit the runs as one job array and wait for all of them."""
        given, name = asdict(options), f"prune-cli-{home.name}"
        first = {f"{cluster}_{key}": given.pop(key) for key in ("max_num_timeout",) if key in given}
        executor = _submitit().AutoExecutor(home / ".submitit" / "%j", cluster=cluster, **first)
        common = LocalOptions.__dataclass_fields__
        executor.update_parameters(
            name=name, **{key if key in common else f"{cluster}_{key}": value for key, value in given.items()}
        )
        with _cancel_pending_on_stop(name, home) if cluster == "slurm" else nullcontext():
            jobs = executor.map_array(_SubmittedRun(), folders, [home] * len(folders))
            for job in jobs:
                job.result()

    return submit


def by_ray(folders: Sequence[Path], home: Path, options: RayOptions) -> None:
    """Run the runs as Ray tasks, on the cluster that ray.init.address names or on a local one."""
    import ray  # type: ignore[import-not-found, unused-ignore]

    ray.init(**options.ray.init)
    try:
        task = ray.remote(**options.ray.remote)(_run_elsewhere)
        tasks = [task.remote(folder, home) for folder in folders]
        ray.wait(tasks, num_returns=len(tasks))  # get would raise at the first error
        ray.get(tasks)
    finally:
        ray.shutdown()


@contextmanager
def _starter(home: Path) -> Iterator[Start]:
    """Yield a function that starts a run: by fork from a preloaded server where that is possible, else a fresh process."""
    if not can_fork():
        yield start_fresh
        return
    with fork_server_for(quiet=(home / QUIET).exists()) as start:
        yield start


@contextmanager
def _shared_cpus(count: int) -> Iterator[None]:
    """Set OMP_NUM_THREADS so that `count` processes share the CPUs evenly, unless the variable is set already."""
    from joblib import cpu_count

    if THREADS in os.environ:
        yield
        return
    os.environ[THREADS] = str(max(1, cpu_count() // count))
    try:
        yield
    finally:
        del os.environ[THREADS]


def _run_returning_error(folder: Path, home: Path, start: Start) -> Exception | None:
    """Run one run and return its exception, or None, so that it can be raised after the others have ended."""
    try:
        run_child(folder, home, start)
    except Exception as error:
        return error
    return None


def _run_elsewhere(folder: Path, home: Path) -> int:
    """Run one run of the sweep in a worker process of an executor."""
    ignore_sigint()
    return run_child(folder, home)


class _SubmittedRun:
    """A job of submitit, whose `checkpoint` is called when the cluster takes the node back."""

    def __call__(self, folder: Path, home: Path) -> int:
        """Run one run."""
        return _run_elsewhere(folder, home)

    def checkpoint(self, *args: Any) -> Any:
        """The job to submit in place of this one."""
        return _submitit().helpers.DelayedSubmission(self, *args)


def ignore_sigint() -> None:
    """Ignore Ctrl-C, which also reaches the workers of an executor: the sweep stops the runs by a file.

    A handler, not SIG_IGN, which the runs would inherit. Ray blocks the signal for all that its workers start.
    """
    signal.signal(signal.SIGINT, _nothing)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _nothing(number: int, frame: FrameType | None) -> None:
    pass


def _submitit() -> Any:
    """Import submitit without its logging configuration, which would print notes on stdout, among results."""
    before = os.environ.get(SUBMITIT_LOG)
    os.environ[SUBMITIT_LOG] = "NOCONFIG"
    try:
        return import_module("submitit")
    finally:
        del os.environ[SUBMITIT_LOG]
        os.environ.update({} if before is None else {SUBMITIT_LOG: before})


@contextmanager
def _cancel_pending_on_stop(job: str, home: Path) -> Iterator[None]:
    """Inside this context, once home/stop exists, cancel the pending Slurm jobs of this name."""
    asked: list[float] = []

    def cancel_pending() -> None:
        """Call scancel if home/stop exists, at most once in SCANCEL_INTERVAL seconds."""
        if (home / STOP).exists() and (not asked or time.monotonic() - asked[-1] > SCANCEL_INTERVAL):
            asked.append(time.monotonic())
            subprocess.run(["scancel", "--state=PENDING", f"--name={job}"], check=False, capture_output=True)
            _submitit().SlurmJob.watcher.update()  # by itself it asks every ten minutes

    with polling(cancel_pending, POLL):
        yield
