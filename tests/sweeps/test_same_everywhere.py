"""The same sweep, however it is launched, leaves the same tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from study import Study, study

EIGHT = ("scorer=magnitude,random", "sparsity=90,95", "seed=0,1")
LAUNCHERS = {
    "joblib": ("--launcher", "joblib", "--launcher-opt", "n_jobs=2"),
    "local": ("--launcher", "local"),
    "ray": ("--launcher", "ray", "--launcher-opt", "ray.init.num_cpus=2"),
}


def tables(made: Study) -> dict[str, str]:
    """Every CSV of the sweep: the tables byte for byte, runs.csv without its times."""
    assert made.start().wait() == 0, (made.folder / "stderr.txt").read_text()[-3000:]
    found = {path.name: path.read_text() for path in (made.folder / "results").glob("table*.csv")}
    return found | {"runs.csv": made.results().to_csv()}


@pytest.fixture(scope="module")
def basic(tmp_path_factory: pytest.TempPathFactory, built_data: Path) -> dict[str, str]:
    with study(tmp_path_factory.mktemp("basic") / "study", built_data, EIGHT) as made:
        return tables(made)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_sweep_of_eight_runs_gives_the_same_csv(
    launcher: str, tmp_path: Path, built_data: Path, basic: dict[str, str]
) -> None:
    assert basic.keys() == {"table1.csv", "table2.csv", "runs.csv"}
    with study(tmp_path / "study", built_data, (*EIGHT, *LAUNCHERS[launcher])) as made:
        assert tables(made) == basic
