"""Names for plain values: what JSON and YAML files hold, read and written as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JsonObject = dict[str, Any]  # an object as `json` reads and writes it
Options = dict[str, Any]  # of one part, by their names
Row = dict[str, Any]  # of a table: a value for each column
PlainConfig = Mapping[str, Any]  # settings as nested mappings, in the order of the config files
Identity = Mapping[str, Any]  # all that changes the numbers of a run; its hash is the run's name (runs/identity.py)
