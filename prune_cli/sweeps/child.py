"""One run as a child process: a crash, a kill by the kernel or a full GPU takes down that run alone.

The sweep controls its children, wherever a launcher has started them, by files in its scratch folder `home`:
stop (write a checkpoint and end), kill (end at once), quiet (keep stderr in the log), fail-fast (a failure is a stop).
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from prune_cli.common.errors import ErrorParts, PruneCliError
from prune_cli.common.ranks import STORE
from prune_cli.runs.artefacts import OUTPUT_LOG
from prune_cli.runs.run_request import RunRequest, read_request
from prune_cli.runs.status import FAILED, STOPPED, Status, died, end, read_status, write_status
from prune_cli.sweeps.forked import LOST, LostServerError
from prune_cli.sweeps.gpus import Claim, claimed
from prune_cli.sweeps.process import Fresh, Process, Spec, Start

STOP, KILL, QUIET, FAIL_FAST = "stop", "kill", "quiet", "fail-fast"
INTERRUPTED = 130  # the exit code of a run that was stopped
POLL = 0.2  # seconds between two looks at the files of home
GRACE = 30.0  # seconds that the other processes of a run have to end too, once one of them has not finished


def start_fresh(spec: Spec) -> Process:
    """Start a process of a run by subprocess; it does its imports itself."""
    return Fresh(command(spec.folder), spec)


def run_child(folder: Path, home: Path, start: Start = start_fresh) -> int:
    """Run `python -m prune_cli run FOLDER` in its own session and wait for it.

    start: the function that starts each process of the run. Returns the exit code: -N where signal N ended the run, 130
    where it was stopped, or not started because of home/stop. The run's status file has the code too, and counts one
    death more where the child ended without writing a reason. Raises LostServerError.
    """
    if (home / STOP).exists():
        return INTERRUPTED
    try:
        code = _run(folder, home, start)
    except (PruneCliError, OSError) as error:  # too few GPUs; no such cwd; no memory for one more process
        end(folder, FAILED, reason := ErrorParts.of(error))
        code = reason.exit_code
    if code not in (0, INTERRUPTED) and (home / FAIL_FAST).exists():
        (home / STOP).touch()
    return code


def command(folder: Path) -> list[str]:
    """The command that starts a run. -P keeps the current folder, which may hold a random.py, out of sys.path."""
    return [sys.executable, "-P", "-m", "prune_cli", "run", str(folder)]


def _run(folder: Path, home: Path, start: Start) -> int:
    request, before = _request(folder), read_status(folder)
    with claimed(0 if request.device == "cpu" else request.processes, (home / STOP).exists) as claim:
        if claim is None:
            return INTERRUPTED
        children = _Children(home, start)
        try:
            _start(children, folder, request, claim)
            children.wait()
        except BaseException:  # submitit raises where Slurm takes the node away
            children.end()
            raise
        finally:
            children.kill()
    if LOST in (child.returncode for child in children.all):
        raise LostServerError
    return _record(folder, before, children)


def _request(folder: Path) -> RunRequest:
    """The run's request; the default one where the file is gone, because another process has finished the run."""
    try:
        return read_request(folder)
    except FileNotFoundError:
        return RunRequest()


def _start(children: _Children, folder: Path, request: RunRequest, claim: Claim) -> None:
    quiet = (children.home / QUIET).exists()
    with (folder / OUTPUT_LOG).open("ab") as log:
        stdout = log.fileno()
        for rank in environments(request.processes, children.home):
            environment = claim.environment() | rank
            children.start(Spec(folder, stdout, stdout if quiet else 2, request.cwd, environment, claim.descriptors))


def environments(count: int, home: Path) -> list[dict[str, str]]:
    """The environment variables of each of the `count` processes of a run: RANK, WORLD_SIZE … as torchrun sets them.

    torchrun itself is not used: its workers outlive it where it is killed, and its exit code hides the signal that
    ended one of them. The rendezvous is a new file in home, because a free port may be taken before it is used.
    """
    if count == 1:
        return [{}]
    descriptor, store = tempfile.mkstemp(prefix="store-", dir=home.absolute())
    os.close(descriptor)
    world = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, STORE: store}
    threads = os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) // count)
    ranks = ({"RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": threads} for rank in range(count))
    return [{name: str(value) for name, value in (world | rank).items()} for rank in ranks]


@dataclass
class _Children:
    """The processes of one run: one, or one a GPU. stopped_by_sweep: whether the sweep has asked them to end."""

    home: Path
    starts: Start
    all: list[Process] = field(default_factory=list)
    stopped_by_sweep: bool = False
    _killed: list[Process] = field(default_factory=list)

    def start(self, spec: Spec) -> None:
        """Start one more process."""
        self.all.append(self.starts(spec))

    @property
    def code(self) -> int:
        """The exit code of the run, from processes that were not killed here: a signal's, else a failure's, else 0.

        130 where all processes that have not succeeded were killed here.
        """
        codes = [child.returncode for child in self.all if child.returncode and child not in self._killed]
        signals = [code for code in codes if code < 0]
        return next(iter(signals or codes), INTERRUPTED if self._killed else 0)

    def wait(self) -> None:
        """Wait until all processes have ended; obey the sweep's files, and kill the rest GRACE seconds after a failure."""
        patience = GRACE
        while self._running():
            self._check_stop_files()
            patience -= POLL if self.code else 0
            if patience < 0:
                self.kill()
            try:
                time.sleep(POLL)
            except KeyboardInterrupt:  # Ctrl-C in the terminal reaches the workers of some launchers too
                (self.home / STOP).touch()

    def kill(self) -> None:
        """Kill the processes that still run, with all of their sessions."""
        for child in self._running():
            self._killed.append(child)
            child.kill_session()
            child.wait()

    def _running(self) -> list[Process]:
        return [child for child in self.all if child.poll() is None]

    def _check_stop_files(self) -> None:
        if (self.home / KILL).exists():
            self.stopped_by_sweep = True
            self.kill()
        elif (self.home / STOP).exists() and not self.stopped_by_sweep:
            self._stop()

    def _stop(self) -> None:
        self.stopped_by_sweep = True
        for child in self._running():  # not its group: workers that load data have to go on meanwhile
            child.send_signal(signal.SIGTERM)  # SIGINT may be ignored: shells do so for jobs in the background

    def end(self) -> None:
        """Ask all processes to stop, and wait up to GRACE seconds for their checkpoint."""
        self._stop()
        patience = GRACE
        while self._running() and patience > 0:
            time.sleep(POLL)
            patience -= POLL


def _record(folder: Path, before: Status | None, children: _Children) -> int:
    """Write how the run ended into its status file, where the run has not done so, and return the exit code."""
    code, now = children.code, read_status(folder)
    said = now.state if now is not None and now != before else None
    if code and children.stopped_by_sweep and said != FAILED:
        return INTERRUPTED
    if code < 0 or (code and said not in (FAILED, STOPPED)):
        died(folder, code)
    elif code and now is not None:
        write_status(folder, replace(now, code=code))
    return code
