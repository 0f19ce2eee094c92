"""lstm128: its counts, its forward pass written out, and where its weights and its classifier come from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from prune_cli.common.errors import ConfigError, WeightsError
from prune_cli.models import sources
from prune_cli.models.lstm128 import Lstm128
from prune_cli.models.networks.clip_classifier import ClipClassifier
from prune_cli.models.prunable import prunable
from prune_cli.models.sources import Weights, locate
from prune_cli.models.weights import StateOutline, build, check
from prune_cli.runs.files import sha256

UNITS, CLASSES = 5, 4


@pytest.fixture(scope="module")
def model() -> ClipClassifier:
    """A small one in eval mode, with statistics of BatchNorm that are not those of a fresh one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = ClipClassifier(CLASSES, UNITS).double().eval()
        nn.init.uniform_(made.norm.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
        nn.init.uniform_(made.norm.running_var, 0.5, 2)  # type: ignore[arg-type]
        nn.init.uniform_(made.norm.weight, -1, 1)  # negative ones too: then the pool's maximum is not the norm's
    return made


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_has_the_parameters_that_its_card_says() -> None:
    with torch.device("meta"):
        whole = Lstm128().build(8)
    found = prunable(whole, Lstm128().prunable)
    conv, norm, head = 16 * 9 + 16, 2 * 16, 128 * 8 + 8
    lstm = 4 * 128 * (16 * 16 * 16) + 4 * 128 * 128
    assert {name: tuple(p.shape) for name, p in found.items()} == {
        "lstm.weight_ih_l0": (512, 4096),
        "lstm.weight_hh_l0": (512, 128),
    }
    assert sum(p.numel() for p in found.values()) == lstm == 2_162_688
    assert sum(p.numel() for p in whole.parameters()) == conv + norm + lstm + 2 * 4 * 128 + head == 2_164_936


def test_convolution_and_classifier_are_prunable_by_name_and_never_the_head() -> None:
    with torch.device("meta"):
        whole = Lstm128().build(8)
    assert list(prunable(whole, ["*"])) == ["conv.weight", "lstm.weight_ih_l0", "lstm.weight_hh_l0"]


def plainly(model: ClipClassifier, frames_BTHW: Tensor) -> Tensor:
    """The model as DESIGN.md says it: Conv, BatchNorm, ReLU, MaxPool of each frame, the LSTM's equations, the classifier."""
    norm, lstm = model.norm, model.lstm
    h = c = torch.zeros(len(frames_BTHW), lstm.hidden_size, dtype=frames_BTHW.dtype)
    logits = []
    for x_BHW in frames_BTHW.unbind(1):
        x = F.conv2d(x_BHW[:, None], model.conv.weight, model.conv.bias, padding=1)
        mean, var = (t.view(1, -1, 1, 1) for t in (norm.running_mean, norm.running_var))
        x = (x - mean) / (var + norm.eps).sqrt() * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)
        x = F.max_pool2d(x.relu(), 2).flatten(1)
        gates = x @ lstm.weight_ih_l0.T + lstm.bias_ih_l0 + h @ lstm.weight_hh_l0.T + lstm.bias_hh_l0
        i, f, g, o = gates.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        logits.append(h @ model.head.weight.T + model.head.bias)
    return torch.stack(logits, 2)


def check_forward(model: ClipClassifier, forward: Callable[[Tensor], Tensor]) -> None:
    clips = drawn(2, 3, 32, 32)
    found = forward(clips)
    assert found.shape == (2, CLASSES, 3)
    torch.testing.assert_close(found, plainly(model, clips), rtol=1e-10, atol=1e-12)


@torch.no_grad()
def test_the_forward_pass_is_what_the_design_says(model: ClipClassifier) -> None:
    check_forward(model, model)


@torch.no_grad()
def test_a_pool_before_the_norm_and_frames_apart_are_rejected(model: ClipClassifier) -> None:
    def pooled_first(clips: Tensor) -> Tensor:
        """Right only while the norm has no negative weight."""
        frames = F.max_pool2d(model.conv(clips.flatten(0, 1)[:, None]), 2)
        seen = model.norm(frames).relu().flatten(1).unflatten(0, clips.shape[:2])
        return model.head(model.lstm(seen)[0]).transpose(1, 2)

    def apart(clips: Tensor) -> Tensor:
        """Without memory."""
        return torch.cat([model(frame) for frame in clips.split(1, 1)], 2)

    for mutant in (pooled_first, apart):
        with pytest.raises(AssertionError):
            check_forward(model, mutant)


@torch.no_grad()
def test_large_frames_are_averaged_down_and_frames_of_32_left_alone(model: ClipClassifier) -> None:
    large = drawn(2, 3, 64, 64, seed=1)
    small = large.unflatten(-1, (32, 2)).unflatten(-3, (32, 2)).mean((-1, -3))
    torch.testing.assert_close(model(large), plainly(model, small), rtol=1e-10, atol=1e-12)
    assert not torch.allclose(model(large), model(large[..., ::2, ::2]))  # every second pixel is not the average
    assert model(drawn(1, 2, 48, 40)).shape == (1, CLASSES, 2)


def test_it_drops_units_in_training_alone(model: ClipClassifier) -> None:
    clips = drawn(1, 2, 32, 32)
    assert torch.equal(model(clips), model(clips))
    one = ClipClassifier(CLASSES, UNITS).double().train()
    assert not torch.equal(one(clips), one(clips))


def test_weights_of_a_file_bring_their_classifier_and_random_ones_a_fresh_one(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    tensors = {name: torch.rand_like(t) if t.is_floating_point() else t for name, t in Lstm128(units=UNITS).build(CLASSES).state_dict().items()}  # fmt: skip
    save_file({name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}, path)
    filed = Lstm128(str(path), units=UNITS)
    assert locate(filed) == Weights("file", path, sha256(path), head=True)
    loaded = build(filed, locate(filed), CLASSES, seed=3).state_dict()
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor.half().float() if tensor.is_floating_point() else tensor), name
    random = Lstm128("random", units=UNITS)
    one, again, other = (build(random, locate(random), CLASSES, seed).head.weight for seed in (3, 3, 4))  # type: ignore[union-attr]
    assert torch.equal(one, again)  # type: ignore[arg-type]
    assert not torch.equal(one, other) and not torch.equal(one, loaded["head.weight"])  # type: ignore[arg-type]


def test_weights_of_other_classes_or_units_are_refused_by_the_names_of_their_tensors(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(Lstm128(units=UNITS).build(CLASSES).state_dict(), path)
    lstm = "lstm.bias_hh_l0, lstm.bias_ih_l0"
    for units, classes, said in (
        (UNITS, CLASSES + 4, "2 of another shape: head.bias, head.weight"),
        (UNITS + 1, CLASSES, f"5 of another shape: head.weight, {lstm}, …"),
    ):
        model = Lstm128(str(path), units=units)
        with torch.device("meta"):
            outline = model.build(classes)
        for use in (lambda m=model, k=classes: build(m, locate(m), k, 0), lambda m=model, o=outline: check(StateOutline.of(o), locate(m))):  # fmt: skip
            with pytest.raises(WeightsError) as caught:
                use()
            assert said in caught.value.what
            assert caught.value.where == str(path)


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packaged weights for two datasets."""
    monkeypatch.setattr(sources, "PACKAGED", tmp_path)
    for dataset in ("action_mnist", "uiuc_video"):
        save_file({"w": torch.full((1,), len(dataset))}, sources.packaged_file("lstm128", dataset))
    return tmp_path


def test_packaged_means_those_of_the_dataset(packaged: Path) -> None:
    for dataset in ("action_mnist", "uiuc_video"):
        path = packaged / f"lstm128.{dataset}.safetensors"
        expected = Weights("packaged", path, sha256(path), dataset, head=True)
        assert locate(Lstm128(), dataset=dataset) == expected
        assert locate(Lstm128(f"packaged:{dataset}"), dataset="action_mnist") == expected
        assert expected.name == f"packaged:{dataset}"


def test_a_dataset_without_packaged_weights_is_answered_with_those_there_are(packaged: Path) -> None:  # noqa: ARG001
    for model, dataset in ((Lstm128(), "mine"), (Lstm128(), ""), (Lstm128("packaged:mine"), "action_mnist")):
        with pytest.raises(WeightsError) as caught:
            locate(model, dataset=dataset)
        assert caught.value.hint == "there are: packaged:action_mnist, packaged:uiuc_video"


@pytest.mark.parametrize("dataset", ["action_mnist", "uiuc_video"])
def test_our_packaged_weights_are_small_and_say_how_they_were_made(dataset: str) -> None:
    model, path = Lstm128(), sources.packaged_file("lstm128", dataset)
    if not path.is_file():
        pytest.skip("they are still being trained")
    assert path.stat().st_size <= 5e6
    with torch.device("meta"):
        check(StateOutline.of(model.build(8)), locate(model, dataset=dataset))
    card = json.loads(path.with_suffix(".json").read_text())
    assert (card["sha256"], card["parameters"], card["dtype"]) == (sha256(path), 2_164_936, "float16")
    assert card["test_accuracy"] > 50  # chance is 12.5; what came out stands in the README


@pytest.mark.parametrize("units", [0, -1])
def test_an_lstm_has_a_unit(units: int) -> None:
    with pytest.raises(ConfigError, match="1 unit or more"):
        Lstm128(units=units)
