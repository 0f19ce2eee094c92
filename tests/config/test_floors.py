"""config names the types of parts that rooms above it have, and imports none of them when it runs."""

from __future__ import annotations

import subprocess
import sys


def test_config_imports_no_room_above_its_own_when_it_runs() -> None:
    code = "import sys, prune_cli.config.compose; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    rooms = {name.split(".")[1] for name in loaded if name.startswith("prune_cli.")}
    assert rooms == {"common", "config"}
