"""A run without the work: what it does is written in the file `behaviour` of its folder. Also what its tests share."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

LIMIT = 300  # seconds until a test gives up, on a machine however busy


def main(folder: Path) -> int:
    """Do what a child process may do; no torch, so that it starts at once."""
    (folder / "pids").open("a").write(f"{os.getpid()}\n")
    (folder / "environment.json").write_text(json.dumps({"cwd": os.getcwd(), **os.environ}))  # noqa: PTH109
    print("to stdout")
    print("to stderr", file=sys.stderr)
    return BEHAVIOURS[(folder / "behaviour").read_text()](folder)


def finish(folder: Path) -> int:
    (folder / "manifest.json").write_text("{}")
    return 0


def fail(folder: Path, state: str = "failed", code: int = 1) -> int:
    """End with words of its own."""
    reason = {"what": "NaN", "where": "epoch 1", "hint": "a: b", "exit_code": 2}
    status = {"state": state, "pid": os.getpid(), "reason": reason}
    (folder / "status.json").write_text(json.dumps(status))
    return code


def crash(_: Path) -> int:
    return 3


def die(_: Path) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def kill_launcher(folder: Path) -> int:
    """Hold the run, kill the process that waits for this one, as the kernel may, and go on working for a while."""
    from filelock import FileLock

    from prune_cli.runs.status import lock_of

    lock_of(folder).parent.mkdir(exist_ok=True)
    with FileLock(lock_of(folder)):
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(2)
        return finish(folder)


def wait(folder: Path) -> int:
    """Work until the file `go` is there; stop at Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(fail(folder, "stopped", 130)))
    return _until_go(folder)


def ignore(folder: Path) -> int:
    """The same, but never stop."""
    signal.signal(signal.SIGTERM, lambda *_: (folder / "ignored").touch())
    return _until_go(folder)


def one_rank_dies(folder: Path) -> int:
    """Of several processes, one is killed and the others wait for it for ever."""
    return die(folder) if os.environ["RANK"] == "1" else ignore(folder)


def one_rank_ignores(folder: Path) -> int:
    """Of several processes, one stops and the others do not."""
    return wait(folder) if os.environ["RANK"] == "1" else ignore(folder)


def _until_go(folder: Path) -> int:
    (folder / f"begun{os.environ.get('RANK', '')}").touch()
    until((folder / "go").exists)
    return finish(folder)


BEHAVIOURS: dict[str, Callable[[Path], int]] = {
    "finish": finish,
    "fail": fail,
    "crash": crash,
    "die": die,
    "kill_launcher": kill_launcher,
    "wait": wait,
    "ignore": ignore,
    "one_rank_dies": one_rank_dies,
    "one_rank_ignores": one_rank_ignores,
}


def command(folder: Path) -> list[str]:
    """In place of child.command."""
    return [sys.executable, __file__, str(folder)]


def package(folder: Path) -> Path:
    """A folder that, on PYTHONPATH, makes `python -m prune_cli run` this file, and changes nothing else of prune_cli."""
    import prune_cli

    (folder / "prune_cli").mkdir(parents=True)
    real = list(prune_cli.__path__)
    (folder / "prune_cli/__init__.py").write_text(f"__path__.extend({real!r})\n")
    script = (
        f"import runpy, sys\nsys.argv = [sys.argv[0], sys.argv[2]]\nrunpy.run_path({__file__!r}, run_name='__main__')\n"
    )
    (folder / "prune_cli/__main__.py").write_text(script)
    return folder


def a_run(folder: Path, behaviour: str, **request: object) -> Path:
    """A run folder that is ready to be launched."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "behaviour").write_text(behaviour)
    (folder / "request.json").write_text(json.dumps({"device": "cpu", **request}))
    return folder


def until(condition: Callable[[], bool]) -> None:
    """Wait for an event; fail after LIMIT."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
