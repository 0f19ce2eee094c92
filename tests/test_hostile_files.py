"""Hostile files, given to the commands that read such: each is refused in three lines, and nothing in it ever runs."""

from __future__ import annotations

import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cifar_files import python2_pickle, write_archive, write_cifar
from conftest import Answer, everything_in
from hostile_files import (
    BOMB,
    OUTWARD,
    Canary,
    forged_compressed,
    hostile_pickle,
    sings,
    write_bomb,
    write_header,
    write_tar,
)
from idx_files import write_folder
from PIL import Image
from safetensors.torch import save_file
from tiny_lstm import SMALL, SMALL_CLIPS

from prune_cli.common.errors import DataError, WeightsError
from prune_cli.data.images import read_grey
from prune_cli.data.registry import datasets
from prune_cli.masks import mask as mask_files
from prune_cli.models.sources import locate
from prune_cli.models.timm_arch import TimmArch
from prune_cli.models.vit_micro import ViTMicro
from prune_cli.runs.compressed import write_model
from prune_cli.runs.files import sha256

Run = Callable[..., Answer]
DRY = ("prune", "--dry-run")
ENDINGS = (".pt", ".pth", ".npy", ".bin", ".ckpt", ".safetensors", "")


@pytest.fixture
def canary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is made when a hostile pickle is loaded."""
    return tmp_path_factory.mktemp("cage") / "canary"


@pytest.fixture
def refused(run: Run, here: Path, canary: Path) -> Callable[..., str]:
    """Type a command that is to be refused; returns what was said."""

    def typed(*words: str, code: int = 2) -> str:
        before = everything_in(here)
        answer = run(*words)
        assert answer.code == code, answer.err
        assert 1 <= len(answer.lines) <= 3
        assert "Traceback" not in answer.err
        assert not canary.exists()
        assert everything_in(here) == before
        return answer.err

    return typed


def written(path: Path, canary: Path, how: str) -> Path:
    """A file that makes the canary where Python's own reader, torch's or numpy's believes it."""
    if how == "torch":
        torch.save({"weight": torch.ones(1), "more": Canary(canary)}, path)
    elif how == "numpy":
        with path.open("wb") as file:
            np.save(file, np.array([Canary(canary)]), allow_pickle=True)
    else:
        path.write_bytes(hostile_pickle(canary))
    return path


LOADERS = {
    "torch": lambda path: torch.load(path, weights_only=False),
    "numpy": lambda path: np.load(path, allow_pickle=True),
    "pickle": lambda path: pickle.loads(path.read_bytes()),
}


@pytest.mark.parametrize("how", LOADERS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_weights_that_are_a_pickle_are_refused(
    refused: Callable[..., str], here: Path, canary: Path, ending: str, how: str
) -> None:
    path = written(here / f"weights{ending}", canary, how)
    for command in (DRY, ("score",)) if ending == ".pt" else (DRY,):
        said = refused(*command, f"model.weights={path.name}")
        assert "these weights cannot be read" in said
        assert path.name in said
        assert ".safetensors" in said
    LOADERS[how](path.rename(here / "believed"))
    assert canary.exists()  # so that the lines above mean something


@pytest.mark.parametrize("how", LOADERS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_mask_that_is_a_pickle_is_refused(
    refused: Callable[..., str], here: Path, canary: Path, ending: str, how: str
) -> None:
    path = written(here / f"mask{ending}", canary, how)
    said = refused(*DRY, "model.weights=random", f"mask={path.name}")
    assert "this mask cannot be read" in said
    assert "mask.safetensors" in said


def test_a_mask_of_numbers_is_refused(refused: Callable[..., str], here: Path) -> None:
    save_file(ViTMicro().build(10).state_dict(), here / "model.safetensors")
    assert "this is no mask" in refused(*DRY, "mask=model.safetensors")
    save_file({"a": torch.tensor([True])}, here / "good.safetensors")
    assert mask_files.read(here / "good.safetensors")["a"].tolist() == [True]


def test_compressed_files_that_are_damaged_or_claim_too_much_are_refused(
    here: Path, refused: Callable[..., str]
) -> None:
    module, keep = ViTMicro("random").build(10), torch.rand(512, 128) < 0.1
    name = "blocks.0.mlp.fc1.weight"
    with torch.no_grad():
        module.get_parameter(name).mul_(keep)
    write_model(here / "good.safetensors", module.state_dict(), {name: keep})
    raw, path = (here / "good.safetensors").read_bytes(), here / "bad.safetensors"
    for content, said in {
        raw[:-1] + bytes([raw[-1] ^ 1]): "sha256",
        raw[:-9]: "cannot be read",
        forged_compressed(raw, lambda about, _: about["pruned"][name].update(shape=[2**47])): "bad.safetensors",
        forged_compressed(raw, lambda about, _: about["pruned"][name].update(shape=[1, 1])): "survivor is at place",
        forged_compressed(raw, lambda about, _: about["pruned"].clear()): "bad.safetensors",
    }.items():
        path.write_bytes(content)
        assert said in refused(*DRY, f"model.weights={path}")
        assert "bad.safetensors" in refused(*DRY, f"mask={path}")


def test_weights_that_are_a_bomb_are_refused(refused: Callable[..., str], here: Path) -> None:
    """torch's own reader would unpack it."""
    torch.save({"zeros": torch.zeros(2**22)}, here / "plain.pt")
    with (
        zipfile.ZipFile(here / "plain.pt") as plain,
        zipfile.ZipFile(here / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for part in plain.infolist():
            bomb.writestr(part.filename, plain.read(part))
    assert (here / "bomb.pt").stat().st_size < 2**17
    assert torch.load(here / "bomb.pt", weights_only=True)["zeros"].nbytes == 2**24
    assert "it would unpack to 16,777" in refused(*DRY, "model.weights=bomb.pt")


@pytest.mark.parametrize(
    "content",
    [
        {1: torch.ones(1)},
        {("a", "b"): torch.ones(1)},
        {"cls_token": torch.zeros(1, 1, 128).to_sparse()},
        {"cls_token": torch.zeros(1, 1, 128, device="meta")},
    ],
)
def test_tensors_that_hold_no_plain_values_are_refused(refused: Callable[..., str], here: Path, content: Any) -> None:
    torch.save({**ViTMicro().build(10).state_dict(), **content}, here / "odd.pt")
    assert "no dictionary of tensors" in refused("prune", "model.weights=odd.pt")


OUTSIDE = {  # names in a request that would lead out of a root
    "packaged weights": ("model.weights=packaged:../../x", "no packaged weights"),
    "packaged weights that are there": ("model.weights=packaged:../packaged/vit_micro", "no packaged weights"),
    "absolute packaged weights": ("model.weights=packaged:/etc/passwd", "no packaged weights"),
    "a pattern": ("model.weights=packaged:*", "no packaged weights"),
    "a dataset": ("dataset=../mnist5k", "there is no dataset"),
    "an absolute dataset": ("dataset=/etc/passwd", "there is no dataset"),
    "a model": ("model='../model/vit_micro'", "there is no model"),
    "a scorer": ("scorer=../scorer/snip", "there is no scorer"),
    "an experiment": ("experiment=../../configs/experiment/demo", "there is no experiment"),
    "a name": ("model.name=../x", "the name of a model cannot be changed"),
    "a device": ("compute.device=/dev/null", "there is no device"),
}


@pytest.mark.parametrize(("word", "said"), OUTSIDE.values(), ids=OUTSIDE.keys())
def test_no_name_leads_out_of_its_root(refused: Callable[..., str], word: str, said: str) -> None:
    assert said in refused(*DRY, word)


@pytest.mark.parametrize("tag", ["../x", "/etc/passwd", "..", "augreg_in21k/../x"])
def test_no_tag_of_the_hub_leads_out_of_its_cache(refused: Callable[..., str], tag: str) -> None:
    with pytest.raises(WeightsError, match="timm has no weights"):
        locate(TimmArch("vit_tiny_patch16_224", f"hub:{tag}"))
    assert "timm has no" in refused(*DRY, "model=timm", f"model.arch='vit_tiny_patch16_224.{tag}'")
    assert "timm has no architecture" in refused(*DRY, "model=timm", f"model.arch='{tag}'")


CONFIGS = {  # experiments of a user's own, and what is said of each
    "code": ("seed: !!python/object/apply:os.mkdir [{canary}]", "does not compose"),
    "an object to make": ("model:\n  _target_: os.mkdir\n  path: {canary}", "_target_"),
    "Hydra's settings": ("hydra:\n  searchpath: ['file://{outside}']", "does not compose"),
    "defaults above": ("defaults: ['../../outside/secret@_global_']", "lead out of the config groups"),
    "defaults above, absolute": ("defaults: ['/../outside/secret@_global_']", "lead out of the config groups"),
    "absolute defaults": ("defaults: ['//{outside}/secret@_global_']", "lead out of the config groups"),
    "a group above": ("defaults: [{{'/model@_global_': ../../outside/secret}}]", "lead out of the config groups"),
    "an option above": ("defaults: [override /model: ../../outside/secret]", "lead out of the config groups"),
    "one of several above": ("defaults: [/model: [vit_micro, ../../outside/secret]]", "lead out of the config groups"),
    "another root": ("defaults: [/outside/secret@_global_]", "lead out of the config groups"),
    "put together": ("defaults: [/model: '${{oc.env:HOME}}']", "lead out of the config groups"),
    "endless": ("model: &model\n  weights: *model", "unfolds to more than"),
    "a bomb": (
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
        ),
        "unfolds to more than",
    ),
    "a list for a number": ("seed: [1]", "seed"),
    "a number for a group": ("scoring: 3", "Merge error"),
    "itself": ("seed: ${{seed}}", "interpolation"),
    "defaults that are none": ("defaults: 5", "does not compose"),
}


@pytest.mark.parametrize(("text", "said"), CONFIGS.values(), ids=CONFIGS.keys())
def test_a_config_runs_nothing_and_reads_nothing_outside(
    refused: Callable[..., str], here: Path, canary: Path, text: str, said: str
) -> None:
    for folder in ("outside", "own/experiment"):
        (here / folder).mkdir(parents=True)
    (here / "outside/secret.yaml").write_text("seed: 77\n")
    text = text.format(canary=canary, outside=here / "outside")
    (here / "own/experiment/mine.yaml").write_text(f"# @package _global_\n{text}\n")
    assert said in refused(*DRY, "experiment=mine", "--config-dir", "own")


def test_a_config_of_ones_own_may_choose_by_its_defaults(run: Run, here: Path) -> None:
    (here / "own/experiment").mkdir(parents=True)
    text = "# @package _global_\ndefaults:\n  - override /model: mixer_micro\n  - _self_\nseed: 5\n"
    (here / "own/experiment/mine.yaml").write_text(text)
    answer = run(*DRY, "experiment=mine", "--config-dir", "own", "--json")
    assert answer.code == 0, answer.err
    assert (answer.json["config"]["model"]["name"], answer.json["config"]["seed"]) == ("mixer_micro", 5)


@pytest.mark.parametrize("name", ["data_batch_1", "test_batch", "batches.meta"])
def test_cifar_files_that_would_run_something_are_refused(
    refused: Callable[..., str], here: Path, canary: Path, name: str
) -> None:
    write_cifar(here, 10, train=4, test=2)
    raw = hostile_pickle(canary)
    (here / "cifar-10-batches-py" / name).write_bytes(raw)
    words = ("dataset=cifar10", f"dataset.root={here}", "dataset.verify=false")
    for command in (("build-data",), (*DRY, "model=vit_micro")):
        said = refused(*command, *words)
        assert "mkdir" in said
        assert name in said
    assert "MD5" in refused("build-data", *words[:2])
    assert sings(raw, canary)


def test_a_cifar_file_that_would_take_more_than_it_has_is_refused(refused: Callable[..., str], here: Path) -> None:
    """The same bytes made into an array again and again, which takes a file ten bytes each time."""
    write_cifar(here, 10, train=4, test=2)
    again = b"".join(b"c_codecs\nencode\n(h\x00h\x01tR0" for _ in range(50))
    raw = b"\x80\x02X" + (2**16).to_bytes(4, "little") + b"x" * 2**16 + b"q\x00X\x06\x00\x00\x00latin1q\x01"
    (here / "cifar-10-batches-py/test_batch").write_bytes(raw + again.replace(b"0", b"a") + b".")
    refused("build-data", "dataset=cifar10", f"dataset.root={here}", "dataset.verify=false")
    (here / "cifar-10-batches-py/test_batch").write_bytes(raw + b"](" + again.replace(b"0", b"") + b"e.")
    said = refused("build-data", "dataset=cifar10", f"dataset.root={here}", "dataset.verify=false")
    assert "it unpacks to more than it holds" in said


@pytest.mark.parametrize("add", OUTWARD.values(), ids=OUTWARD.keys())
def test_cifar_archives_that_lead_out_are_refused(refused: Callable[..., str], here: Path, add: Any) -> None:
    write_tar(here / "cifar-10-python.tar.gz", add)
    said = refused("build-data", "dataset=cifar10", f"dataset.root={here}", "dataset.verify=false")
    assert "cifar-10-python.tar.gz: " in said
    assert not Path("/tmp/prune-cli-canary").exists()


def test_cifar_archives_that_are_bombs_are_refused(refused: Callable[..., str], here: Path) -> None:
    words = ("build-data", "dataset=cifar10", f"dataset.root={here}", "dataset.verify=false")
    write_header(here / "cifar-10-python.tar.gz", BOMB)
    assert "would unpack to more than" in refused(*words)
    with zipfile.ZipFile(here / "cifar-10-python.tar.gz", "w") as other:
        other.writestr("../canary", "")
    assert "damaged" in refused(*words)


def test_an_archive_with_a_hostile_batch_is_refused(refused: Callable[..., str], here: Path, canary: Path) -> None:
    write_archive(here / "good", 10, train=4, test=2)
    assert hostile_pickle(canary) != python2_pickle({})
    write_cifar(here / "bad", 10, train=4, test=2)
    (here / "bad/cifar-10-batches-py/data_batch_5").write_bytes(hostile_pickle(canary))
    shutil.make_archive(str(here / "cifar-10-python"), "gztar", here / "bad", "cifar-10-batches-py")
    shutil.rmtree(here / "bad")
    said = refused("build-data", "dataset=cifar10", f"dataset.root={here}", "dataset.verify=false")
    assert "mkdir" in said and "data_batch_5" in said


def test_idx_files_that_are_bombs_are_refused(refused: Callable[..., str], here: Path) -> None:
    write_folder(here)
    name = "train-images-idx3-ubyte.gz"
    for side, said in ((4, "and more may follow"), (1024, "is the most for its size")):
        header = bytes((0, 0, 8, 3)) + b"".join(size.to_bytes(4, "big") for size in (BOMB // 2**20, side, side))
        write_bomb(here / name, header)
        found = refused("build-data", "dataset=fashion_mnist", f"dataset.root={here}")
        assert said in found and name in found


@pytest.fixture
def clips(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of built clips."""
    monkeypatch.setenv("PRUNE_CLI_DATA", str(here / "data"))
    answer = run("build-data", *SMALL_CLIPS, "--json")
    assert answer.code == 0, answer.err
    return Path(answer.json["folder"])


@pytest.mark.parametrize("how", LOADERS)
@pytest.mark.parametrize("name", ["train-clips.npy", "test-labels.npy"])
def test_clips_that_are_a_pickle_are_refused(
    refused: Callable[..., str], clips: Path, canary: Path, how: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size and its sha256 are in the manifest, as whoever may change the one may change the other."""
    path = written(clips / name, canary, how)
    record = datasets.classes["action_mnist"](
        **{word.split(".")[1].split("=")[0]: int(word.split("=")[1]) for word in SMALL_CLIPS[1:]}
    )
    manifest = record._folder(clips.parents[1], record._sources()).manifest()
    manifest["files"][name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    monkeypatch.setattr("prune_cli.runs.store.RunFolder.manifest", lambda _: manifest)
    for command in (("build-data", *SMALL_CLIPS, "--verify"), (*DRY, *SMALL)):
        said = refused(*command)
        assert "damaged" in said
        assert name in said
    LOADERS[how](path)
    assert canary.exists()


@pytest.mark.usefixtures("clips")
@pytest.mark.parametrize("files", [None, [], {"train-clips.npy": 3}, {"../../secret": {"bytes": 1, "sha256": ""}}, "x"])
def test_a_manifest_of_clips_reads_no_files_but_its_own(
    refused: Callable[..., str], files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prune_cli.runs.store.RunFolder.manifest", lambda _: {"files": files})
    assert "damaged" in refused("build-data", *SMALL_CLIPS, "--verify")


def test_built_digits_that_are_a_pickle_are_refused(
    refused: Callable[..., str], here: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRUNE_CLI_DATA", str(here / "data"))
    path = here / "data/mnist5k/mnist5k.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(hostile_pickle(canary))
    assert "damaged" in refused(*DRY)
    for dtype in (torch.bfloat16, torch.complex64):
        parts = {
            f"{split}.{part}": torch.zeros(2, 1, 2, 2, dtype=dtype)
            for split in ("train", "validation", "test")
            for part in ("images", "labels")
        }
        save_file(parts, path)
        assert "damaged" in refused(*DRY)


def test_a_finished_model_that_is_a_pickle_is_refused(run: Run, here: Path, canary: Path) -> None:
    answer = run("prune", "model.weights=random", "recipe=smoke", "scorer=magnitude", "--json")
    assert answer.code == 0, answer.err
    folder = here / "runs/prune" / answer.json["hash"]
    for name in ("model.safetensors", "mask.safetensors"):
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(hostile_pickle(canary))
        found = run("evaluate", str(folder))
        assert found.code in (1, 2)
        assert 1 <= len(found.lines) <= 3 and "Traceback" not in found.err
        assert not canary.exists()
        (folder / name).write_bytes(kept)
    assert run("evaluate", str(folder)).code == 0


@pytest.mark.parametrize("kind", ["EPS", "PDF", "ICO", "TGA"])
def test_an_image_of_an_odd_kind_is_not_read_whatever_its_name(tmp_path: Path, kind: str) -> None:
    """Pillow hands EPS to Ghostscript, which is a language."""
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "a.jpg", kind)
    with pytest.raises(DataError, match="cannot be read"):
        read_grey(tmp_path / "a.jpg")
