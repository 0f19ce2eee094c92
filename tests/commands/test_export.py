"""`prune-cli export` as typed: each format is measured before it counts as written, and read by those it is for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from conftest import QUICK, Answer, everything_in, stored_mask, stored_model
from safetensors.torch import load_file
from tiny_lstm import SMALL
from torch import Tensor, nn

import prune_cli
from prune_cli.commands import export as command
from prune_cli.execution import exports
from prune_cli.execution.exports import CompressedExport, DenseExport, OnnxExport
from prune_cli.execution.stored_run import open_run
from prune_cli.runs import compressed
from prune_cli.runs.paths import Paths

Run = Callable[..., Answer]
VIT = ("prune", "model=vit_micro", "dataset=mnist5k", "scorer=magnitude", "sparsity=98", *QUICK)
DENSE = ("train", "model=vit_micro", "dataset=mnist5k", *QUICK)
LSTM = ("prune", *SMALL, "scorer=transfer_entropy", "sparsity=50")
TIMM = (
    *("prune", "model=timm", "model.arch=test_vit", "model.weights=random", "model.image_size=160"),
    *("dataset=mnist5k", "scorer=magnitude", "sparsity=90", "recipe=none", "recipe.test_images=32"),
)


@pytest.fixture
def vit(finished: Run, here: Path) -> Path:
    """The folder of a pruned run."""
    return folder_of(finished, here, *VIT)


def folder_of(run: Run, here: Path, *words: str) -> Path:
    answer = run(*words, "--json")
    assert answer.code == 0, answer.err
    return here / "runs" / words[0] / answer.json["hash"]


def exported(run: Run, folder: Path, *words: str) -> dict[str, Any]:
    answer = run("export", str(folder), *words, "--json")
    assert answer.code == 0, answer.err
    return answer.json


def images(count: int = 3) -> Tensor:
    return torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def alike(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], t) for name, t in wanted.items())


def test_a_dense_file_is_every_weight_and_timm_loads_it(run: Run, vit: Path) -> None:
    found = exported(run, vit, "--format", "dense", "--out", "dense.safetensors")
    assert (found["format"], found["dtype"], found["file"]) == ("dense", "float32", "dense.safetensors")
    assert (found["accuracy"], found["tolerance"]) == (found["accuracy_recorded"], 0.0)
    assert found["bytes"] == Path("dense.safetensors").stat().st_size >= found["bytes_dense"] == 4 * 803_338
    assert alike(load_file("dense.safetensors"), stored_model(vit))
    options: dict[str, Any] = {"img_size": 28, "patch_size": 7, "in_chans": 1, "embed_dim": 128, "depth": 4}
    model = timm.create_model(
        "vit_tiny_patch16_224", num_classes=10, num_heads=4, checkpoint_path="dense.safetensors", **options
    )
    with torch.no_grad():
        assert torch.equal(model.eval()(images()), prune_cli.load(vit)(images()))


def test_a_timm_architecture_is_made_by_its_name_alone(run: Run, finished: Run, here: Path) -> None:
    folder = folder_of(finished, here, *TIMM)
    exported(run, folder, "--format", "dense", "--out", "dense.safetensors")
    model = timm.create_model("test_vit", num_classes=10, checkpoint_path="dense.safetensors").eval()
    exported(run, folder, "--format", "compressed", "--dtype", "float32", "--out", "small.safetensors")
    loaded = prune_cli.load("small.safetensors")
    assert loaded.card.model["arch"] == "test_vit"
    with torch.no_grad():
        x = torch.rand(2, 3, 160, 160)
        assert torch.equal(model(x), loaded(x))


def test_a_compressed_file_is_the_run_s_own_and_comes_back_in_one_line(run: Run, vit: Path) -> None:
    found = exported(run, vit, "--format", "compressed")
    file = vit / "exported-compressed.safetensors"
    assert file.read_bytes() == (vit / "model.safetensors").read_bytes()
    assert (found["accuracy"], found["tolerance"]) == (found["accuracy_recorded"], 0.0)
    assert found["bytes"] < found["bytes_dense"] / 19
    before = torch.get_rng_state()
    model = prune_cli.load(str(file))
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training and alike(dict(model.state_dict()), stored_model(vit))
    card = model.card
    assert (card.classes, card.class_names) == (10, [str(digit) for digit in range(10)])
    assert card.input == {"channels": 1, "height": 28, "width": 28, "mean": [0.286], "std": [0.353]}


def test_float16_halves_the_survivors_keeps_their_places_and_says_by_how_much_it_may_be_off(
    run: Run, vit: Path
) -> None:
    found = exported(run, vit, "--format", "compressed", "--dtype", "float16")
    assert (found["dtype"], found["tolerance"]) == ("float16", max(0.5, 100 / 32))
    assert abs(found["accuracy"] - found["accuracy_recorded"]) <= found["tolerance"]
    assert found["bytes"] < found["bytes_dense"] / 30
    stored = compressed.read(vit / "exported-compressed-float16.safetensors")
    assert all(bool((keep == stored_mask(vit)[name]).all()) for name, keep in stored.mask().items())
    assert {tensor.values_K.dtype for tensor in stored.pruned.values()} == {torch.float16}
    halves = {name: tensor.half().float() for name, tensor in stored_model(vit).items()}
    loaded = prune_cli.load(vit / "exported-compressed-float16.safetensors")
    assert alike(dict(loaded.state_dict()), halves)


def test_a_graph_takes_batches_of_any_size_says_what_it_sees_and_names_no_folder(run: Run, vit: Path) -> None:
    found = exported(run, vit, "--format", "onnx", "--out", "vit.onnx")
    assert (found["dtype"], found["tolerance"]) == ("float32", 100 / 32)
    import onnx
    import onnxruntime

    session = onnxruntime.InferenceSession("vit.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 5):
        (logits,) = session.run(["logits"], {"input": images(count).numpy()})
        with torch.no_grad():
            torch.testing.assert_close(
                torch.from_numpy(logits), prune_cli.load(vit)(images(count)), rtol=1e-4, atol=1e-5
            )
    (card,) = onnx.load("vit.onnx").metadata_props
    assert card.key == "prune-cli" and json.loads(card.value)["class_names"][7] == "7"
    raw = Path("vit.onnx").read_bytes()
    assert not any(str(Path(part.__file__).parent).encode() in raw for part in (torch, timm, prune_cli))
    again = exported(run, vit, "--format", "onnx", "--out", "vit.onnx")
    assert again["sha256"] == found["sha256"]


@pytest.mark.parametrize("words", [LSTM, DENSE], ids=["units", "dense"])
def test_other_runs_are_exported_too(run: Run, finished: Run, here: Path, words: tuple[str, ...]) -> None:
    folder = folder_of(finished, here, *words)
    for name in ("dense", "compressed", "onnx"):
        found = exported(run, folder, "--format", name)
        assert abs(found["accuracy"] - found["accuracy_recorded"]) <= found["tolerance"]
    assert alike(dict(prune_cli.load(folder).state_dict()), stored_model(folder))
    assert alike(dict(prune_cli.load(folder / "exported-compressed.safetensors").state_dict()), stored_model(folder))


def test_what_is_printed_names_the_file_its_size_and_its_accuracy(run: Run, vit: Path) -> None:
    answer = run("export", vit.name, "--format", "compressed", "--dtype", "float16", "--out", "h.safetensors")
    assert answer.code == 0
    for part in ("h.safetensors", "compressed, float16", "times smaller than 3,213,352", "percentage points"):
        assert part in answer.out
    assert "held exactly" in run("export", vit.name, "--format", "dense").out


def test_the_same_file_again_is_no_error_and_another_one_is_left_as_it_is(run: Run, vit: Path) -> None:
    for _ in range(2):
        exported(run, vit, "--format", "compressed", "--out", "a.safetensors")
    Path("b.safetensors").write_text("mine")
    answer = run("export", str(vit), "--format", "compressed", "--out", "b.safetensors")
    assert (answer.code, len(answer.lines)) == (2, 3 + 0)
    assert "another file of this name" in answer.err
    assert Path("b.safetensors").read_text() == "mine"
    assert not list(Path().glob("*.tmp"))


def test_a_model_that_is_less_accurate_is_not_written(
    run: Run, vit: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.nn.functional.one_hot(torch.full((len(x),), 11), 12).float()  # no digit

    before = everything_in(here)
    monkeypatch.setattr(DenseExport, "read", lambda *_: Wrong())
    monkeypatch.setattr(exports.CompressedExport, "read", lambda *_: Wrong())
    record = run("evaluate", str(vit), "--json").json
    assert record["accuracy"] > 100 / 32, "or this test says nothing"
    for words in (("dense",), ("compressed",), ("compressed", "--dtype", "float16")):
        answer = run("export", str(vit), "--format", *words)
        assert (answer.code, len(answer.lines) <= 4) == (1, True)
        assert "apart" in answer.err
    assert everything_in(here) == before


def test_a_file_that_fails_half_way_is_absent(run: Run, vit: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(_: DenseExport, __: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(5, "Input/output error", str(path))

    before = everything_in(here)
    monkeypatch.setattr(DenseExport, "write", half)
    assert run("export", str(vit), "--format", "dense").code == 1
    assert everything_in(here) == before


WRONG = {
    "no format": ((), "--format"),
    "an unknown format": (("--format", "torchscript"), "dense|compressed|onnx"),
    "an unknown dtype": (("--format", "compressed", "--dtype", "int8"), "float32|float16"),
    "a dtype of dense": (("--format", "dense", "--dtype", "float16"), "--format compressed"),
    "a dtype of a graph": (("--format", "onnx", "--dtype", "float16"), "--format compressed"),
    "another suffix": (("--format", "onnx", "--out", "vit.safetensors"), "--out vit.onnx"),
    "a folder": (("--format", "dense", "--out", "."), "no regular file"),
    "a file in a file": (("--format", "dense", "--out", "datum/a.safetensors"), "cannot be used"),
}


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_request_is_refused_and_nothing_is_written(
    run: Run, vit: Path, here: Path, words: tuple[str, ...], said: str
) -> None:
    (here / "datum").write_text("")
    before = everything_in(here)
    answer = run("export", str(vit), *words)
    assert (answer.code, answer.out, len(answer.lines) <= 3) == (2, "", True)
    assert said in answer.err
    assert everything_in(here) == before


def test_unknown_packed_and_damaged_runs_are_refused(run: Run, vit: Path, here: Path) -> None:
    assert run("export", "abcdef", "--format", "dense").code == 2
    assert run("pack", str(vit), "--to", "packed").code == 0
    packed = run("export", str(here / "packed/prune" / vit.name), "--format", "dense")
    assert (packed.code, "holds no weights" in packed.err) == (1, True)
    raw = (vit / "model.safetensors").read_bytes()
    (vit / "model.safetensors").write_bytes(raw[:-1] + b"\x07")
    damaged = run("export", str(vit), "--format", "dense")
    assert (damaged.code, "sha256" in damaged.err) == (1, True)
    assert not list(vit.glob("exported*"))


def test_without_its_packages_a_graph_is_refused_before_any_work(
    run: Run, vit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "find_spec", lambda name: None if name == "onnxruntime" else object())
    answer = run("export", str(vit), "--format", "onnx")
    assert (answer.code, answer.lines[-1]) == (2, "try: pip install 'prune-cli[export]'")
    assert "needs onnxruntime" in answer.err


def test_a_value_that_is_too_large_for_float16_is_named(run: Run, finished: Run, here: Path) -> None:
    from conftest import rewrite_manifest
    from safetensors.torch import save_file

    folder = folder_of(finished, here, *VIT)
    tensors = stored_model(folder)
    tensors["head.bias"][3] = 1e6
    save_file(tensors, folder / "model.safetensors")
    rewrite_manifest(folder)
    answer = run("export", str(folder), "--format", "compressed", "--dtype", "float16", "--out", "h.safetensors")
    assert (answer.code, "a value of head.bias is too large for float16" in answer.err) == (2, True)
    assert not Path("h.safetensors").exists()


def test_an_accuracy_is_held_exactly_only_where_it_was_computed_alike(vit: Path) -> None:
    found = open_run(str(vit), Paths(data=Path(shutil.os.environ["PRUNE_CLI_DATA"])))
    record = found.record

    def held(images: int = 10_000, **changed: Any) -> float:
        return command.tolerance(DenseExport(), replace(found, record=replace(record, **changed)), images)

    assert held() == 0.0
    elsewhere = replace(record.provenance, threads=64), replace(record.provenance, device="NVIDIA H200")
    assert [held(provenance=other) for other in elsewhere] == [0.1, 0.1]
    assert held(processes=2) == 0.1
    assert held(processes=2, images=32) == 100 / 32
    assert command.tolerance(CompressedExport("float16"), found, 10_000) == 0.5
    assert command.tolerance(CompressedExport("float32"), found, 10_000) == 0.0
    assert command.tolerance(OnnxExport(), found, 10_000) == 0.1
    bf16 = replace(found.job.settings, compute=replace(found.job.settings.compute, precision="bf16"))
    assert command.tolerance(OnnxExport(), replace(found, job=replace(found.job, settings=bf16)), 10_000) == 0.5
