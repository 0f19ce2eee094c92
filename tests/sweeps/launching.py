"""Launch runs as a sweep does: python launching.py NAME OPTIONS HOME FOLDER… Ctrl-C stops them."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path


def main(name: str, options: list[str], home: Path, *folders: str) -> None:
    """What a launcher must leave alone is printed, before and after."""
    import joblib  # noqa: F401 - it sets KMP_INIT_AT_FORK whenever it is imported

    from prune_cli.sweeps.launch import Launcher

    signal.signal(signal.SIGINT, lambda *_: (home / "stop").touch())
    before = state()
    launcher = Launcher.of(name, options)
    try:
        launcher.launch(list(map(Path, folders)), home)
    except Exception as error:
        print("raised", type(error).__name__)
    print("left alone" if state() == before else f"{before}\n{state()}")


def state() -> tuple[object, ...]:
    """Of this process."""
    from hydra.core.global_hydra import GlobalHydra

    root = logging.getLogger()
    handler = signal.getsignal(signal.SIGINT)
    hydra = GlobalHydra.instance().is_initialized()
    return Path.cwd(), dict(os.environ), list(root.handlers), root.level, handler, hydra, sorted(Path().iterdir())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2].split(), Path(sys.argv[3]), *sys.argv[4:])
