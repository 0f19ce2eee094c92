"""A run that several processes compute: what is typed, what is refused, and that it is the run of one process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Answer, stored_model

from prune_cli.common.device import Compute
from prune_cli.common.errors import ConfigError, ErrorParts, RequestError
from prune_cli.common.ranks import ALONE, LostError, Ranks
from prune_cli.config.schema import Point
from prune_cli.execution.processes import ask
from prune_cli.execution.run_once import record_failure
from prune_cli.pipeline import JobFactory, composer, describe
from prune_cli.runs.paths import Paths
from prune_cli.runs.run_request import RunRequest, read_request, write_request
from prune_cli.runs.status import FAILED, RUNNING, Status, begin, end, read_status, write_status
from prune_cli.sweeps.child import run_child

CPU = torch.device("cpu")
SMALL = ("compute.device=cpu", "recipe=smoke", "model.weights=random", "recipe.cutmix_alpha=1", "recipe.batch_size=23")


def test_two_processes_make_the_run_of_one(run: Callable[..., Answer], here: Path) -> None:
    words = ("prune", *SMALL, "sparsity=95", "compute.precision=fp64", "recipe.accumulation=2", "recipe.clip_norm=1")
    one = run(*words, "--runs-dir", "one", "--json").json
    answer = run(*words, "--json", "compute.processes=2", "compute.trackers=[tensorboard]")
    assert answer.code == 0, answer.err
    two = answer.json
    assert [two[key] for key in ("hash", "mask_digest", "accuracy_last")] == [
        one[key] for key in ("hash", "mask_digest", "accuracy_last")
    ]
    assert (one["processes"], two["processes"]) == (1, 2)
    weights, theirs = (stored_model(here / runs / "prune" / two["hash"]) for runs in ("one", "runs"))
    assert all(weight.dtype == torch.float64 for weight in weights.values())
    assert max(float((weights[name] - theirs[name]).abs().max()) for name in weights) < 1e-9
    assert len(list((here / "runs" / "trackers").rglob("events*"))) >= 1
    assert not (here / "runs" / "prune" / two["hash"] / "request.json").exists()
    assert run("evaluate", two["hash"], "--json").json["accuracy"] == two["accuracy_last"]
    assert "this run is finished" in run(*words, "compute.processes=2").err


@pytest.mark.slow
def test_a_run_that_fails_says_why_and_ends_all_of_its_processes(run: Callable[..., Answer]) -> None:
    answer = run("train", *SMALL, "recipe.lr=1e30", "compute.processes=2")
    assert answer.code == 1
    assert answer.lines[-3].startswith("error: the loss is ")
    assert answer.lines[-2:] == ["where: epoch 1, batch 2", "try: a lower recipe.lr"]


def test_an_error_keeps_its_parts_and_exit_code_when_it_crosses_a_process(here: Path) -> None:
    settings = composer(Paths()).settings(Point(values={"model.weights": "random"}))
    folder, scratch = here / "runs/prune/a", here / "scratch"
    for path in (folder, scratch):
        path.mkdir(parents=True)
    write_request(folder, RunRequest("prune", settings.plain | {"mask": "a: b"}, argv=("prune-cli",), device="cpu"))
    assert run_child(folder, scratch) == 2
    status = read_status(folder)
    assert status is not None
    hint = "mask=runs/prune/HASH/mask.safetensors"
    assert status.reason == ErrorParts("there is no such mask", "a: b", hint, 2)
    assert isinstance(status.reason.error(), RequestError)
    assert ErrorParts.of(status.reason.error()) == status.reason


def test_a_record_tells_the_command_of_its_request_not_that_of_the_process(run: Callable[..., Answer]) -> None:
    typed = ("prune-cli", "sweep", "scorer=magnitude", *SMALL)
    point = Point({"recipe": "smoke", "scorer": "magnitude"}, {"model.weights": "random", "compute.device": "cpu"})
    job = JobFactory(Paths(), argv=typed).job(composer(Paths()).settings(point))
    plan = describe(job, "prune")
    folder = Path("runs/prune") / plan.hash
    ask(job, folder, Paths())
    assert read_request(folder).argv == typed
    answer = run("run", str(folder), "--json")
    assert answer.code == 0, answer.err
    assert answer.json["argv"] == list(typed)
    assert sys.argv == ["prune-cli", "run", str(folder), "--json"]


def test_batch_statistics_are_not_shared_so_a_model_that_has_them_is_refused(run: Callable[..., Answer]) -> None:
    answer = run("train", "model=lstm128", "dataset=action_mnist", "recipe=smoke", "compute.processes=2")
    assert answer.code == 2
    assert answer.lines[0].startswith("error: lstm128 has BatchNorm")
    assert answer.lines[1:] == ["where: compute.processes=2", "try: compute.processes=1"]


def test_a_tracker_that_does_not_exist_is_refused_before_any_work(run: Callable[..., Answer], here: Path) -> None:
    answer = run("prune", *SMALL, "compute.trackers=[tensorbored]")
    assert answer.code == 2
    assert answer.lines[-1] == "try: did you mean compute.trackers=[tensorboard]?"
    assert not (here / "runs").exists()


def test_less_than_one_process_is_none() -> None:
    with pytest.raises(ConfigError, match=r"compute\.processes must be 1 or more"):
        Compute(processes=0)


def test_one_process_asks_nobody_and_a_group_of_another_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Ranks.join(4, CPU) is ALONE
    for name, value in (("RANK", "1"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "3")):
        monkeypatch.setenv(name, value)
    assert Ranks.join(1, CPU) is ALONE
    with pytest.raises(ConfigError, match="one of 3 processes, not 2"):
        Ranks.join(2, CPU)


def test_the_reason_of_the_process_that_failed_stands(tmp_path: Path) -> None:
    begin(tmp_path)
    end(tmp_path, FAILED, ErrorParts("the other one's"))
    record_failure(tmp_path, LostError())
    assert read_status(tmp_path).reason == ErrorParts("the other one's")  # type: ignore[union-attr]


def test_a_process_that_is_lost_without_a_word_is_the_reason_that_the_first_one_gives(tmp_path: Path) -> None:
    write_status(tmp_path, Status(RUNNING, pid=1))
    record_failure(tmp_path, LostError())  # not the first one
    assert read_status(tmp_path).state == RUNNING  # type: ignore[union-attr]
    begin(tmp_path)
    record_failure(tmp_path, LostError())
    assert read_status(tmp_path).state == FAILED  # type: ignore[union-attr]
