"""Type aliases for plain values, as JSON and YAML files hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JsonObject = dict[str, Any]  # a JSON object as the json module reads and writes it
Options = dict[str, Any]  # options of one scorer, model, dataset …: name -> value
Row = dict[str, Any]  # one row of a table: column -> value
PlainConfig = Mapping[str, Any]  # settings as nested mappings, in the order of the config files
Identity = Mapping[str, Any]  # all that changes the numbers of a run; its hash is the run's name (runs/identity.py)
