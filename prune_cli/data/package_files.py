"""Files of installed packages, found without importing the packages, which takes seconds."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from prune_cli.common.errors import DataError


def package_file(package: str, file: str) -> Path:
    """The path of a file of an installed package. file: relative to the package. Raises DataError where it is missing."""
    spec = find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or []
    for path in (Path(folder) / file for folder in folders):
        if path.is_file():
            return path
    raise DataError(f"this package is without its {file}", package, f"pip install {package}")
