"""Where weights come from, what is refused, and that the head never depends on it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from prune_cli.common.errors import WeightsError
from prune_cli.models import sources
from prune_cli.models.registry import models
from prune_cli.models.report_models import ViTB16
from prune_cli.models.sources import Weights, locate, origin, packaged_file
from prune_cli.models.timm_arch import TimmArch
from prune_cli.models.vit_micro import ViTMicro
from prune_cli.models.weights import StateOutline, build, check, read, restore
from prune_cli.runs.compressed import write_mask, write_model
from prune_cli.runs.files import sha256, write_json

ARCH = "vit_tiny_patch16_224"


def built(weights: str, seed: int = 0, classes: int = 10) -> nn.Module:
    model = ViTMicro(weights)
    return build(model, locate(model), classes, seed)


def same(one: nn.Module, two: nn.Module) -> dict[str, bool]:
    return {name: torch.equal(t, two.state_dict()[name]) for name, t in one.state_dict().items()}


def outlined(classes: int = 10) -> nn.Module:
    with torch.device("meta"):
        return ViTMicro().build(classes)


def refused(path: Path) -> str:
    """What is said of a file, whether the model is built from it or only checked against it."""
    said = set()
    for use in (lambda: built(str(path)), lambda: check(StateOutline.of(outlined()), locate(ViTMicro(str(path))))):
        with pytest.raises(WeightsError) as caught:
            use()
        assert caught.value.where == str(path)
        assert len(caught.value.lines()) == 3
        said.add(caught.value.what)
    (what,) = said
    return what


def test_compressed_weights_are_those_that_were_written_and_a_mask_or_a_damaged_file_is_refused(tmp_path: Path) -> None:
    module, path = ViTMicro("random").build(10), tmp_path / "model.safetensors"
    mask = {"blocks.0.mlp.fc1.weight": torch.rand(512, 128) < 0.1}
    with torch.no_grad():
        module.get_parameter("blocks.0.mlp.fc1.weight").mul_(mask["blocks.0.mlp.fc1.weight"])
    write_model(path, module.state_dict(), mask)
    fresh = ViTMicro("random").build(10)
    restore(fresh, path)
    assert all(same(module, fresh).values())
    build(ViTMicro(str(path)), locate(ViTMicro(str(path))), 10, 0)
    check(StateOutline.of(outlined()), locate(ViTMicro(str(path))))
    write_mask(path, mask)
    with pytest.raises(WeightsError, match="a mask has no values"):
        built(str(path))
    write_model(path, module.state_dict() | {"head.bias": torch.zeros(7)}, mask)
    with pytest.raises(WeightsError, match=r"1 of another shape: head\.bias"):
        restore(fresh, path)
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    assert "it does not fit its own sha256" in refused(path)


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """A state_dict of vit_micro for 7 classes whose every value is made up."""
    module = ViTMicro().build(7)
    torch.manual_seed(5)
    return {name: torch.rand_like(t) for name, t in module.state_dict().items()}


@pytest.fixture
def path(tmp_path: Path, tensors: dict[str, Tensor]) -> Path:
    save_file(tensors, tmp_path / "good.safetensors")
    return tmp_path / "good.safetensors"


def test_random_weights_depend_on_the_seed_alone() -> None:
    assert all(same(built("random", seed=1), built("random", seed=1)).values())
    differing = same(built("random", seed=1), built("random", seed=2))
    assert not differing["blocks.0.attn.qkv.weight"] and not differing["head.weight"]
    assert locate(ViTMicro("random")) == Weights("random", None, "random")


def test_building_leaves_the_global_generator_as_it_was() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    built("random", seed=9)
    assert torch.equal(torch.rand(3), expected)


def test_the_head_is_the_same_wherever_the_other_weights_come_from(path: Path) -> None:
    modules = [built(weights, seed=3) for weights in ("random", str(path), "packaged")]
    for module in modules[1:]:
        found = same(modules[0], module)
        assert found["head.weight"] and found["head.bias"]
        assert not found["blocks.0.attn.qkv.weight"]
    assert not same(built(str(path), seed=4), modules[1])["head.weight"]


@pytest.mark.parametrize("classes", [10, 7, 3])
def test_a_file_fills_all_but_the_head_whatever_the_classes(
    path: Path, tensors: dict[str, Tensor], classes: int
) -> None:
    found = built(str(path), classes=classes).state_dict()
    for name, tensor in tensors.items():
        if name.startswith("head."):
            assert found[name].shape[0] == classes
        else:
            assert torch.equal(found[name], tensor)


def test_a_file_may_lack_the_head(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file({name: t for name, t in tensors.items() if not name.startswith("head.")}, path)
    assert torch.equal(built(str(path)).state_dict()["cls_token"], tensors["cls_token"])


def test_float16_weights_become_float32(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file({name: t.half() for name, t in tensors.items()}, path)
    found = built(str(path)).state_dict()
    assert {t.dtype for t in found.values()} == {torch.float32}
    for name in tensors.keys() - {"head.weight", "head.bias"}:
        assert torch.equal(found[name], tensors[name].half().float())


@pytest.mark.parametrize("name", ["vit_micro", "mixer_micro", "poolformer_micro"])
@pytest.mark.parametrize(("weights", "images"), [("packaged", 60_000), ("packaged:6000", 6_000), ("packaged:600", 600)])
def test_packaged_weights_are_small_fit_and_say_how_they_were_made(name: str, weights: str, images: int) -> None:
    model = models.build(name, weights=weights)
    path = packaged_file(name, weights.partition(":")[2])
    assert locate(model) == Weights("packaged", path, sha256(path), weights.partition(":")[2])
    assert path.stat().st_size <= 2.5e6
    with torch.device("meta"):
        check(StateOutline.of(model.build(3)), locate(model))
    assert all(t.isfinite().all() for t in build(model, locate(model), 3, seed=0).state_dict().values())
    card = json.loads(path.with_suffix(".json").read_text())
    assert (card["sha256"], card["train_images"], card["test_images"]) == (sha256(path), images, 10_000)
    assert f"model={name}" in card["command"] and path.name in card["command"]


def test_a_file_is_located_with_its_sha256(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locate(ViTMicro(str(path))) == Weights("file", path, sha256(path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate(ViTMicro("~/good.safetensors")).path == path


@pytest.mark.parametrize("name", ["missing.safetensors", "", "."])
def test_a_file_that_is_not_there_is_answered_with_what_there_is(name: str) -> None:
    with pytest.raises(WeightsError, match="no such weights") as caught:
        locate(ViTMicro(name))
    assert f"model.weights={name}" in str(caught.value.where)
    assert "packaged, hub, random" in str(caught.value.hint)


def test_a_model_without_packaged_weights_says_so() -> None:
    with pytest.raises(WeightsError, match="timm has no packaged weights"):
        locate(TimmArch(ARCH, "packaged"))


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_a_truncated_file_is_refused(path: Path, keep: float) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: int(keep * len(raw)) if isinstance(keep, float) else keep])
    assert "cannot be read" in refused(path)


def test_weights_of_another_model_are_refused_by_the_names_of_their_keys(path: Path) -> None:
    save_file({"conv1.weight": torch.ones(1), "fc.weight": torch.ones(1)}, path)
    said = refused(path)
    assert "2 unknown: conv1.weight, fc.weight" in said
    assert "blocks.0.attn.proj.bias" in said
    assert "missing: " in said and "…" in said


def test_one_missing_one_unknown_and_one_misshapen_tensor_are_named(path: Path, tensors: dict[str, Tensor]) -> None:
    changed = dict(tensors)
    changed["blocks.9.new"] = changed.pop("blocks.1.norm1.bias")
    changed["pos_embed"] = torch.ones(1, 5, 128)
    save_file(changed, path)
    said = refused(path)
    assert "1 missing: blocks.1.norm1.bias" in said
    assert "1 unknown: blocks.9.new" in said
    assert "1 of another shape: pos_embed" in said


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
@pytest.mark.parametrize("nested", [(), ("state_dict",), ("model",), ("model", "state_dict")])
def test_a_pickle_of_tensors_is_read_however_it_is_nested(
    tmp_path: Path, tensors: dict[str, Tensor], suffix: str, nested: tuple[str, ...]
) -> None:
    content: Any = tensors
    for key in nested:
        content = {key: content, "epoch": 3}
    torch.save(content, tmp_path / f"weights{suffix}")
    found = read(tmp_path / f"weights{suffix}")
    assert found.keys() == tensors.keys()
    check(StateOutline.of(outlined()), locate(ViTMicro(str(tmp_path / f"weights{suffix}"))))
    assert torch.equal(built(str(tmp_path / f"weights{suffix}")).state_dict()["norm.bias"], tensors["norm.bias"])


class Code:
    """Unpickling it writes a file."""

    def __init__(self, proof: Path):
        self.proof = proof

    def __reduce__(self) -> tuple:
        return Path.write_text, (self.proof, "this was run")


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_code_in_a_pickle_is_refused_and_not_run(
    tmp_path: Path, tensors: dict[str, Tensor], suffix: str, save: Any
) -> None:
    path, proof = tmp_path / f"weights{suffix}", tmp_path / "proof"
    save({**tensors, "more": Code(proof)}, path)
    said = refused(path)
    assert "no code in it is run" in said
    assert "weights_only" not in said  # torch's own answer tells how to run it
    assert not proof.exists()
    torch.load(path, weights_only=False) if save is torch.save else pickle.loads(path.read_bytes())
    assert proof.exists()  # so it was code that would have run


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "content", [b"", b"hello world", b"PK\x03\x04junk", b")R.", b"\x80\x02X\xff\xff\xff\x7f", pickle.dumps([1, 2])]
)
def test_what_is_no_pickle_of_tensors_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights.pt").write_bytes(content)
    assert "cannot be read" in refused(tmp_path / "weights.pt")


def test_a_pickle_of_other_things_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "weights.pt")
    assert "no dictionary of tensors" in refused(tmp_path / "weights.pt")


def test_a_finished_model_is_restored_head_and_all(path: Path, tensors: dict[str, Tensor]) -> None:
    module = ViTMicro().build(7)
    restore(module, path)
    assert all(torch.equal(t, tensors[name]) for name, t in module.state_dict().items())
    with pytest.raises(WeightsError, match=r"2 of another shape: head\.bias, head\.weight"):
        restore(ViTMicro().build(10), path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, which cannot be reached."""
    assert huggingface_hub.constants.HF_HUB_OFFLINE
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_hub_weights_that_are_not_here_have_no_digest_yet(hub: Path) -> None:  # noqa: ARG001
    assert locate(TimmArch(ARCH), fetch=False) == Weights("hub", None, None)


def test_hub_weights_that_cannot_be_fetched_are_answered_with_what_works_offline(hub: Path) -> None:  # noqa: ARG001
    with pytest.raises(WeightsError, match="cannot be fetched") as caught:
        locate(TimmArch(ARCH))
    assert caught.value.where == "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    assert "FILE.safetensors" in str(caught.value.hint)
    assert len(caught.value.lines()) == 3


def cached(hub: Path, model: TimmArch, classes: int) -> tuple[Path, dict[str, Tensor]]:
    """The model's file in the hub's cache, filled with made-up values."""
    torch.manual_seed(5)
    tensors = {name: torch.rand_like(t) for name, t in model.build(classes).state_dict().items()}
    folder = hub / f"models--{model.hub_id.replace('/', '--')}"
    path = folder / "snapshots/1234/model.safetensors"
    path.parent.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("1234")
    save_file(tensors, path)
    return path, tensors


def test_hub_weights_in_the_cache_are_used_without_a_network(hub: Path) -> None:
    """This tag was made from an .npz file, whose format timm must not expect here."""
    model = TimmArch(ARCH)
    path, tensors = cached(hub, model, 1000)

    found = locate(model, fetch=False)
    assert found == locate(model) == Weights("hub", path, sha256(path))
    module = build(model, found, 10, seed=0)
    random = build(TimmArch(ARCH, "random"), Weights("random", None, "random"), 10, seed=0)
    for name, tensor in module.state_dict().items():
        expected = random.state_dict() if name.startswith("head.") else tensors
        assert torch.equal(tensor, expected[name]), name


def test_what_the_hub_has_no_weights_of_is_refused(hub: Path) -> None:  # noqa: ARG001
    with pytest.raises(WeightsError, match="no weights on the hub"):
        locate(ViTMicro("hub"))
    with pytest.raises(WeightsError, match="no pre-trained weights under this name"):
        locate(TimmArch("test_coatnet", "hub"))


def test_a_model_with_two_heads_takes_weights_of_other_classes(tmp_path: Path) -> None:
    model = TimmArch("deit_tiny_distilled_patch16_224", str(tmp_path / "w.safetensors"))
    save_file(model.build(5).state_dict(), tmp_path / "w.safetensors")
    module = build(model, locate(model), 3, seed=0)
    assert {len(module.get_parameter(f"{head}.bias")) for head in ("head", "head_dist")} == {3}


def test_another_tag_of_the_hub_is_another_file_and_fits_its_own_classes(hub: Path) -> None:
    """augreg_in21k has 21,843 classes, the default tag of this architecture 1,000."""
    model = TimmArch(ARCH, "hub:augreg_in21k")
    path, tensors = cached(hub, model, 21843)
    assert TimmArch(ARCH).hub_id != model.hub_id == "timm/vit_tiny_patch16_224.augreg_in21k"
    found = locate(model, fetch=False)
    assert found == Weights("hub", path, sha256(path), "augreg_in21k")
    assert (found.name, origin(model, found)) == ("hub:augreg_in21k", "augreg_in21k")
    module = build(model, found, 10, seed=0)
    assert module.pretrained_cfg["tag"] == "augreg_in21k"  # type: ignore[index]
    assert torch.equal(module.state_dict()["blocks.3.mlp.fc1.weight"], tensors["blocks.3.mlp.fc1.weight"])
    assert len(module.get_parameter("head.bias")) == 10
    assert locate(TimmArch(ARCH), fetch=False).path is None  # the default tag's file is not here


def test_a_tag_after_hub_stands_above_the_tag_of_the_architecture() -> None:
    model = ViTB16(weights="hub:augreg_in1k")
    assert model.hub_id == "timm/vit_base_patch16_224.augreg_in1k"
    assert ViTB16().hub_id == ViTB16(weights="random").hub_id == "timm/vit_base_patch16_224.augreg_in21k"
    assert (model.title, model.input) == (ViTB16().title, ViTB16().input)
    assert TimmArch("vit_base_patch16_224", "hub:mae").input.mean == (0.485, 0.456, 0.406)
    assert (ViTB16().tag, model.tag) == ("augreg_in21k", "augreg_in1k")


@pytest.mark.parametrize("tag", ["augreg_in1k", "", "augreg_in21k:more"])
def test_an_unknown_tag_is_answered_with_those_there_are(tag: str) -> None:
    with pytest.raises(WeightsError, match="timm has no weights") as caught:
        locate(TimmArch(ARCH, f"hub:{tag}"))
    assert caught.value.where == f"model.weights=hub:{tag}"
    assert caught.value.hint == "there are: hub:augreg_in21k, hub:augreg_in21k_ft_in1k"


@pytest.fixture
def packaged(tmp_path: Path, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three packaged files of vit_micro, one of them with its card, and a file of another model."""
    monkeypatch.setattr(sources, "PACKAGED", tmp_path)
    for number, name in enumerate(("vit_micro", "vit_micro.600", "vit_micro.6000", "vit_micro_2.7")):
        save_file({key: t + number for key, t in tensors.items()}, tmp_path / f"{name}.safetensors")
    write_json(tmp_path / "vit_micro.6000.json", {"train_images": 6000})
    return tmp_path


def test_a_packaged_variant_is_a_file_of_its_own(packaged: Path, tensors: dict[str, Tensor]) -> None:
    path = packaged / "vit_micro.600.safetensors"
    found = locate(ViTMicro("packaged:600"))
    assert found == Weights("packaged", path, sha256(path), "600")
    assert found.name == "packaged:600"
    assert torch.equal(built("packaged:600").state_dict()["norm.bias"], tensors["norm.bias"] + 1)
    assert torch.equal(built("packaged").state_dict()["norm.bias"], tensors["norm.bias"])
    assert len({locate(ViTMicro(weights)).sha256 for weights in ViTMicro.scales}) == 4


@pytest.mark.usefixtures("packaged")
@pytest.mark.parametrize("variant", ["60", "", "6", "../vit_micro", "*", "600.safetensors"])
def test_an_unknown_packaged_variant_is_answered_with_those_there_are(variant: str) -> None:
    with pytest.raises(WeightsError, match="vit_micro has no packaged weights") as caught:
        locate(ViTMicro(f"packaged:{variant}"))
    assert caught.value.where == f"model.weights=packaged:{variant}"
    assert caught.value.hint == "there are: packaged, packaged:600, packaged:6000"


def test_the_origin_of_weights_is_told_in_two_words(packaged: Path) -> None:
    told = {w: origin(ViTMicro(w), locate(ViTMicro(w))) for w in ("random", "packaged:6000", "packaged:600")}
    assert told == {"random": "from scratch", "packaged:6000": "6,000 images", "packaged:600": "packaged:600"}
    mine = ViTMicro(str(packaged / "vit_micro_2.7.safetensors"))
    assert origin(mine, locate(mine)) == "vit_micro_2.7.safetensors"
