"""How the runs of a sweep are started. The only importer of Hydra's launcher plugins, which do nothing here but place
processes: each job waits for one child process, and what came of it is on the disk."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote, unquote

from hydra import initialize
from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from prune_cli.common.errors import ConfigError, nearest
from prune_cli.common.polling import watching
from prune_cli.runs.status import held
from prune_cli.sweeps.child import STOP, run_child

OURS = ("_target_", "name", "submitit_folder", "nodes", "tasks_per_node")  # options that are not the user's
SUBMITIT_LOG = "SUBMITIT_LOG_LEVEL"
POLL = 0.2  # seconds between two looks at what comes of a launcher
ASK = 2.0  # seconds between two questions to Slurm
FIXED = (
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
    "hydra.output_subdir=null",
    "hydra.job.chdir=false",
    "hydra.sweep.subdir=.",
)


@dataclass(frozen=True)
class _Plugin:
    """A launcher of Hydra. name: Hydra's. package: where it is, if not in Hydra itself. extra: what installs it."""

    name: str
    package: str | None = None
    extra: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)  # ours, where Hydra's would not do


RAY = {
    "ray.init.include_dashboard": "false",
    "ray.init.log_to_driver": "false",
    "ray.init.logging_level": "30",  # warnings
    "ray.remote.max_retries": "0",  # a run whose worker has died is planned again, as with every launcher
}
PLUGINS = {
    "basic": _Plugin("basic"),
    "joblib": _Plugin("joblib", "hydra_joblib_launcher", "joblib", {"batch_size": "1"}),
    "local": _Plugin("submitit_local", "hydra_submitit_launcher", "slurm", {"timeout_min": "525600"}),
    "ray": _Plugin("ray", "hydra_ray_launcher", "ray", RAY),
    "slurm": _Plugin("submitit_slurm", "hydra_submitit_launcher", "slurm"),
}
LAUNCHERS = tuple(PLUGINS)
CLUSTERS = ("ray", "slurm")  # their runs are on other machines


@dataclass(frozen=True)
class Launcher:
    """Where the runs of a sweep are started: basic (one after another), joblib (several at once on this machine),
    slurm, ray, or local, which submits as slurm does, but to this machine, all at once.

    options: of the Hydra launcher, as they were typed, e.g. {"n_jobs": "4"}.
    """

    name: str = "basic"
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, words: Iterable[str]) -> Launcher:
        """The launcher with options typed as KEY=VALUE. Raises ConfigError for what is wrong with either."""
        if name not in PLUGINS:
            raise ConfigError(f"there is no launcher {name!r}", "--launcher", nearest(name, PLUGINS, "--launcher "))
        plugin = PLUGINS[name]
        if plugin.package and not _installed(plugin.package):
            hint = f"pip install 'prune-cli[{plugin.extra}]'"
            raise ConfigError(f"the launcher {name} is not installed", "--launcher", hint)
        made = cls(name, dict(map(_option, words)))
        with _hydra() as loader:
            made._check(loader)
        return made

    def launch(self, folders: Sequence[Path], home: Path) -> None:
        """Start a child process for each run folder and wait until all have ended.

        What came of each is on the disk. home: a folder of this sweep, also for what the launcher itself writes.
        Raises whatever the launcher raises, when no run of these is at work any more.
        """
        if not folders:
            return
        home = home.absolute()
        job = f"prune-cli-{home.name}"
        with _hydra(job) as loader, _withdrawn(job, home) if self.name == "slurm" else nullcontext():
            launcher = self._instantiate(loader, home, len(folders))
            try:
                launcher.launch([_job(folder.absolute(), home) for folder in folders], initial_job_idx=0)
            except Exception:
                while any(map(held, folders)):
                    time.sleep(POLL)
                raise

    def _instantiate(self, loader: ConfigLoader, home: Path, runs: int) -> Any:
        if self.name in ("local", "slurm"):
            _import_submitit()
        context = HydraContext(config_loader=loader, callbacks=Callbacks())
        config = self._config(loader, home)
        made: Any = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=start, config=config)
        if self.name == "joblib":
            _tame(made.joblib, runs)
        return made

    def _check(self, loader: ConfigLoader) -> None:
        """Refuse options that the launcher does not have, and values of the wrong type."""
        known = [str(key) for key in self._bare(loader) if str(key) not in OURS]
        for key, value in self.options.items():
            if key.split(".")[0] not in known:
                hint = (
                    nearest(key, known, "--launcher-opt ", f"={value}") if known else "leave it out: it has no options"
                )
                raise ConfigError(f"the launcher {self.name} has no option {key!r}", f"--launcher-opt {key}", hint)
            try:
                replace(self, options={key: value})._config(loader, Path("/"))
            except (HydraException, OmegaConfBaseException) as error:
                line, hint = str(error).strip().splitlines()[0], "quote a value with odd characters: KEY=\"'a,b'\""
                raise ConfigError(
                    f"this option cannot be used: {line}", f"--launcher-opt {key}={value}", hint
                ) from None

    def _bare(self, loader: ConfigLoader) -> DictConfig:
        return replace(self, options={})._config(loader, Path("/")).hydra.launcher

    def _config(self, loader: ConfigLoader, home: Path) -> DictConfig:
        plugin = PLUGINS[self.name]
        options = {**plugin.options, **self.options}
        words = [f"hydra/launcher={plugin.name}", f"hydra.sweep.dir={_quoted(str(home))}", *FIXED]
        words += [f"++hydra.launcher.{key}={value}" for key, value in options.items()]
        return loader.load_configuration(config_name=None, overrides=words, run_mode=RunMode.MULTIRUN)


def start(config: DictConfig) -> int:
    """The task of every job: one run of the sweep."""
    if config.parent != os.getpid():
        ignore_sigint()
    return run_child(Path(unquote(config.folder)), Path(unquote(config.home)))


def ignore_sigint() -> None:
    """Do nothing at Ctrl-C, which reaches the workers of a launcher too: the sweep tells the runs to stop.

    A handler, not SIG_IGN, which the runs would inherit. Ray blocks the signal for all that its workers start.
    """
    signal.signal(signal.SIGINT, _nothing)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _nothing(number: int, frame: FrameType | None) -> None:
    pass


@contextmanager
def _hydra(job: str = "prune-cli") -> Iterator[ConfigLoader]:
    with initialize(version_base="1.3", config_path=None, job_name=job):
        yield GlobalHydra.instance().config_loader()


def _installed(package: str) -> bool:
    try:
        return find_spec(f"hydra_plugins.{package}") is not None
    except ModuleNotFoundError:  # there is no hydra_plugins at all
        return False


def _option(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not (equals and re.fullmatch(r"\w+(\.[\w-]+)*", key)):
        raise ConfigError("this is not KEY=VALUE", f"--launcher-opt {word}", "e.g. --launcher-opt n_jobs=4")
    if "${" in value:
        raise ConfigError("interpolations cannot be typed", f"--launcher-opt {word}", "write the value itself")
    return key, value


def _job(folder: Path, home: Path) -> list[str]:
    """The overrides of one job. Paths are quoted as in an address: Hydra's grammar has no means for some characters."""
    return [f"+folder='{quote(str(folder))}'", f"+home='{quote(str(home))}'", f"+parent={os.getpid()}"]


def _quoted(text: str) -> str:
    """In Hydra's quotes, with nothing in it that OmegaConf would resolve."""
    return "'" + re.sub(r"(\\*)('|\$\{|\Z)", lambda found: found[1] * 2 + "\\" * bool(found[2]) + found[2], text) + "'"


def _tame(options: dict[str, Any], runs: int) -> None:
    """No more workers than runs (joblib starts all at once), and none that dies of Ctrl-C, which would end all runs."""
    from joblib import effective_n_jobs  # type: ignore[import-untyped]

    options["n_jobs"] = min(effective_n_jobs(options["n_jobs"]), runs)
    options["initializer"] = ignore_sigint


def _import_submitit() -> None:
    """submitit configures logging when it is imported: its notes would be on stdout, among our results."""
    before = os.environ.get(SUBMITIT_LOG)
    os.environ[SUBMITIT_LOG] = "NOCONFIG"
    try:
        import_module("submitit")
    finally:
        del os.environ[SUBMITIT_LOG]
        os.environ.update({} if before is None else {SUBMITIT_LOG: before})


@contextmanager
def _withdrawn(job: str, home: Path) -> Iterator[None]:
    """Meanwhile, once home/stop is there, take the jobs of this name that still wait out of Slurm's queue."""
    asked: list[float] = []

    def look() -> None:
        """Withdraw them, but ask Slurm no more than once in a while."""
        if (home / STOP).exists() and (not asked or time.monotonic() - asked[-1] > ASK):
            asked.append(time.monotonic())
            subprocess.run(["scancel", "--state=PENDING", f"--name={job}"], check=False, capture_output=True)
            import_module("submitit").SlurmJob.watcher.update()  # by itself it asks every ten minutes

    with watching(look, POLL):
        yield
