"""`prune_cli.load`: what it gives, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import prune_cli
from prune_cli.common.errors import PruneCliError
from prune_cli.models.card import ModelCard
from prune_cli.models.lstm128 import Lstm128
from prune_cli.models.timm_arch import TimmArch
from prune_cli.models.vit_micro import ViTMicro
from prune_cli.runs.compressed import write_mask, write_model

DIGITS = [str(digit) for digit in range(10)]


def stored(path: Path, card: Any = None, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Write a vit_micro, pruned in one tensor. Returns it."""
    module = ViTMicro("random").build(10).to(dtype)
    keep = torch.rand(512, 128) < 0.1
    with torch.no_grad():
        module.get_parameter("blocks.0.mlp.fc1.weight").mul_(keep)
    own = ModelCard.of(ViTMicro("packaged:600"), DIGITS).to_json()
    write_model(path, module.state_dict(), {"blocks.0.mlp.fc1.weight": keep}, own if card is None else card)
    return module


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16], ids=str)
def test_a_model_comes_back_with_its_weights(tmp_path: Path, dtype: torch.dtype) -> None:
    module = stored(tmp_path / "a.safetensors", dtype=dtype)
    found = prune_cli.load(tmp_path / "a.safetensors")
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    for name, tensor in found.state_dict().items():
        assert tensor.dtype == wanted
        assert torch.equal(tensor, module.state_dict()[name].to(wanted))
    assert found(torch.rand(2, 1, 28, 28, dtype=wanted)).shape == (2, 10)


def test_a_card_says_all_that_a_model_is_built_from_and_no_path() -> None:
    for model, classes in (
        (ViTMicro("/home/someone/weights.safetensors"), DIGITS),
        (Lstm128(units=6), ["left", "right"]),
        (TimmArch("test_vit", weights="hub:r160_in1k", image_size=64), ["cat"]),
    ):
        card = ModelCard.of(model, classes)
        text = json.dumps(card.to_json())
        assert "someone" not in text
        again = ModelCard.from_json(json.loads(text))
        assert again == card
        built = again.build()
        assert {n: t.shape for n, t in built.state_dict().items()} == {
            n: t.shape for n, t in model.build(len(classes)).state_dict().items()
        }
    assert card.model["arch"].startswith("test_vit")
    assert (card.input["height"], len(card.input["mean"])) == (64, 3)


GOOD = ModelCard.of(ViTMicro("random"), DIGITS).to_json()
WRONG: dict[str, tuple[Any, str]] = {
    "no card": ({}, "does not say which model it holds"),
    "no classes": ({key: value for key, value in GOOD.items() if key != "classes"}, "does not say which model"),
    "classes of another kind": (GOOD | {"classes": "10"}, "does not say which model"),
    "a model of another kind": (GOOD | {"model": 3}, "does not say which model"),
    "no name": (GOOD | {"model": {}}, "does not say which model"),
    "an unknown model": (GOOD | {"model": {"name": "mine"}}, "there is no model 'mine'"),
    "an unknown option": (GOOD | {"model": {"name": "vit_micro", "depth": 3}}, "has no option 'depth'"),
    "a wrong option": (GOOD | {"model": {"name": "lstm128", "units": -3}}, "cannot be built"),
    "another model": (GOOD | {"model": {"name": "mixer_micro"}}, "of another model"),
    "more classes": (GOOD | {"classes": 11}, "2 of another shape: head.bias, head.weight"),
    "no end of classes": (GOOD | {"classes": 2**40}, "of another shape"),
    "fewer than none": (GOOD | {"classes": -1}, "of another model"),
}


@pytest.mark.parametrize(("card", "said"), WRONG.values(), ids=WRONG)
def test_a_card_that_does_not_fit_is_refused(tmp_path: Path, card: Any, said: str) -> None:
    stored(tmp_path / "a.safetensors", card)
    with pytest.raises(PruneCliError) as caught:
        prune_cli.load(tmp_path / "a.safetensors")
    assert said in caught.value.what
    assert len(caught.value.lines()) == 3


def test_other_files_and_folders_are_refused(tmp_path: Path) -> None:
    stored(tmp_path / "a.safetensors")
    write_mask(tmp_path / "mask.safetensors", {"a": torch.ones(3, dtype=torch.bool)})
    save_file({"a": torch.ones(3)}, tmp_path / "plain.safetensors")
    (tmp_path / "text").write_text("no tensors")
    raw = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "damaged").write_bytes(raw[:-1] + b"\x07")
    for name, said in {
        "mask.safetensors": "does not say which model",
        "plain.safetensors": "does not say which model",
        "text": "does not say which model",
        "nothing": "there is no such file or folder",
        "damaged": "sha256",
        ".": "there is no finished run in this folder",
    }.items():
        with pytest.raises(PruneCliError, match=said) as caught:
            prune_cli.load(tmp_path / name)
        assert caught.value.where is not None and caught.value.hint is not None
