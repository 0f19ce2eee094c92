"""Launch runs as a sweep does: python launching.py NAME OPTIONS HOME FOLDER… Ctrl-C stops them."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

OF_RAY = ("RAY_", "PYTHONBREAKPOINT")  # it sets them for its own processes


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
    after = state()
    changed = [f"{key}: {before[key]} became {after[key]}" for key in before if before[key] != after[key]]
    print("\n".join(changed) or "left alone")


def state() -> dict[str, object]:
    """What there is in this process that a launcher may change."""
    from hydra.core.global_hydra import GlobalHydra

    root = logging.getLogger()
    return {
        "folder": (Path.cwd(), sorted(Path().iterdir())),
        "environment": {name: value for name, value in os.environ.items() if not name.startswith(OF_RAY)},
        "log": (list(root.handlers), root.level),
        "signal": signal.getsignal(signal.SIGINT),
        "hydra": GlobalHydra.instance().is_initialized(),
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2].split(), Path(sys.argv[3]), *sys.argv[4:])
