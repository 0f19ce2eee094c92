"""compute.sparse: a run with sparse layers, what its record says, and when it goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import QUICK, Answer
from safetensors.torch import load_file

from prune_cli.pipeline import sparse_training as sparse_training_file
from prune_cli.pipeline import stages
from prune_cli.pipeline.sparse_training import sparse_training
from prune_cli.runs.artefacts import SPARSE_LAYERS
from prune_cli.runtime.layers import SparseLayer
from prune_cli.training import loop

Run = Callable[..., Answer]
WORDS = ("prune", "model.weights=random", *QUICK, "recipe.epochs=1", "recipe.warmup_epochs=0", "--json")


def test_a_sparse_run_is_a_dense_one_to_rounding_under_a_name_of_its_own(run: Run, here: Path) -> None:
    off, on = run(*WORDS).json, run(*WORDS, "compute.sparse=on").json
    assert off["hash"] != on["hash"] and on["mask_digest"] == off["mask_digest"]
    weights = [load_file(here / "runs/prune" / found["hash"] / "model.safetensors") for found in (off, on)]
    assert weights[0].keys() == weights[1].keys()
    for key, dense in weights[0].items():
        torch.testing.assert_close(weights[1][key], dense, rtol=0, atol=5e-3)  # two steps of Adam move by 2e-3 at most
    said = on["sparse_layers"]
    assert len(said["sparse"]) == 16 and said["dense"] == [] and said["products"]
    assert "sparse_layers" not in off
    assert not (here / "runs/prune" / on["hash"] / SPARSE_LAYERS).exists()


def test_other_devices_stay_dense(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """The layers of a model that is not on a CPU are left alone."""
    from types import SimpleNamespace

    from prune_cli.common.device import Compute
    from prune_cli.common.ranks import ALONE

    model = torch.nn.Sequential(torch.nn.Linear(4, 4)).to("meta")
    job = SimpleNamespace(
        settings=SimpleNamespace(compute=Compute(sparse="on")), ranks=ALONE, device=torch.device("cuda")
    )
    mask = {"0.weight": torch.ones(4, 4, dtype=torch.bool)}
    with sparse_training(job, model, mask, None) as left:  # type: ignore[arg-type]
        assert left == mask and not isinstance(model[0], SparseLayer)


def test_a_stopped_run_goes_on_with_the_layers_that_it_began_with(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*WORDS, "compute.sparse=on", "compute.checkpoint_steps=1")
    whole = run(*words).json
    expected = load_file(here / "runs/prune" / whole["hash"] / "model.safetensors")
    step, taken = loop._Run._step, []

    def cut(self: loop._Run, *batch: torch.Tensor) -> None:
        if len(taken) == 1:
            raise KeyboardInterrupt
        taken.append(step(self, *batch))

    with monkeypatch.context() as patch:
        patch.setattr(loop._Run, "_step", cut)
        assert run(*words, "--runs-dir", "again").code != 0
    folder = here / "again/prune" / whole["hash"]
    assert (folder / SPARSE_LAYERS).exists() and (folder / "checkpoint.json").exists()
    assert run(*words, "--runs-dir", "again").code == 0
    found = load_file(folder / "model.safetensors")
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())


def test_a_damaged_choice_begins_again(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*WORDS, "compute.sparse=on")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stages, "fine_tune", stop)
        assert run(*words).code != 0
    (chosen,) = (here / "runs/prune").glob(f"*/{SPARSE_LAYERS}")
    chosen.write_text(chosen.read_text().replace('"sparse"', '"spars"'))
    answer = run(*words)
    assert answer.code == 0 and "the run begins again" in answer.err


def test_a_word_that_is_none_of_three(run: Run) -> None:
    answer = run(*WORDS, "compute.sparse=onn")
    assert answer.code == 2 and answer.lines == [
        "error: there is no sparse 'onn'",
        "where: compute.sparse",
        "try: did you mean compute.sparse=on?",
    ]


def test_what_removes_nothing_has_nothing_sparse(run: Run) -> None:
    answer = run(*WORDS, "sparsity=dense", "compute.sparse=on")
    assert answer.code == 2 and answer.lines[0] == "error: compute.sparse changes nothing: nothing is removed"


def test_auto_takes_what_is_faster_and_goes_on_with_it(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name does not depend on what was found; a run that goes on asks no clock."""
    words, first = (*WORDS, "compute.sparse=auto"), "blocks.0.attn.qkv.weight"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sparse_training_file, "faster_sparse", lambda *_: [first])
        patch.setattr(stages, "fine_tune", stop)
        assert run(*words).code != 0
    monkeypatch.setattr(sparse_training_file, "faster_sparse", lambda *_: [])
    found = run(*words).json
    assert found["sparse_layers"]["sparse"] == [first] and len(found["sparse_layers"]["dense"]) == 15
    other = run(*words, "--runs-dir", "again").json
    assert other["hash"] == found["hash"] and other["sparse_layers"]["sparse"] == []
    assert other["sparse_layers"]["products"] == "dense"
    off = run(*WORDS).json
    same = [
        load_file(here / folder / "model.safetensors")
        for folder in (f"again/prune/{other['hash']}", f"runs/prune/{off['hash']}")
    ]
    assert all(torch.equal(same[0][key], value) for key, value in same[1].items())
