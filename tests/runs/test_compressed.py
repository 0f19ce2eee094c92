"""Compressed files: written, damaged (refused), read back, and read by the lines of numpy on their page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from hostile_files import Change, forged_compressed
from safetensors.torch import save
from torch import Tensor

from prune_cli.common.errors import PruneCliError, RequestError
from prune_cli.runs.compressed import METADATA, PrunedTensor, is_compressed, read, write_mask, write_model
from prune_cli.runs.files import DamagedError, write_tensors

PAGE = Path(__file__).parents[2] / "docs/format.md"
ODD = torch.tensor([0.0, -0.0, float("nan"), float("inf"), 1e-30, -3.5])  # survivors all the same
Tensors = dict[str, Tensor]


def drawn(density: float = 0.1, dtype: torch.dtype = torch.float32) -> tuple[Tensors, Tensors]:
    """A small state_dict, pruned, and its mask."""
    draw = torch.Generator().manual_seed(0)
    mask = {name: torch.rand(shape, generator=draw) < density for name, shape in SHAPES.items()}
    tensors = {name: torch.randn(SHAPES[name], generator=draw).to(dtype) * keep for name, keep in mask.items()}
    mask["fc.weight"][0, :6] = True
    tensors["fc.weight"][0, :6] = ODD.to(dtype)
    tensors |= {"fc.bias": torch.randn(40, generator=draw).to(dtype), "bn.num_batches_tracked": torch.tensor(7)}
    return tensors, mask


SHAPES = {"fc.weight": (40, 33), "conv.weight": (8, 4, 3, 3), "wide.weight": (2, 70_000), "empty.weight": (0, 5)}


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def same(found: Tensors, wanted: Tensors) -> bool:
    """Whether they are equal in names, dtypes, shapes and every bit, signs of zero and NaN too."""
    return found.keys() == wanted.keys() and all(
        (found[name].dtype, found[name].shape, bits(found[name])) == (t.dtype, t.shape, bits(t))
        for name, t in wanted.items()
    )


def without_sign(tensors: Tensors, mask: Tensors) -> Tensors:
    """The tensors with +0 where a weight was removed, which a product with a mask may leave as −0."""
    return {name: torch.where(mask[name], t, 0).to(t.dtype) if name in mask else t for name, t in tensors.items()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("density", [0.0, 0.001, 0.02, 0.1, 0.6, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64, torch.bfloat16], ids=str)
def test_a_model_and_its_mask_come_back_to_the_bit(file: Path, density: float, dtype: torch.dtype) -> None:
    tensors, mask = drawn(density, dtype)
    write_model(file, tensors, mask, {"name": "ViT – 16"})
    found = read(file)
    assert same(found.state_dict(), without_sign(tensors, mask))
    assert same(found.mask(), mask)
    assert found.model == {"name": "ViT – 16"}
    assert is_compressed(file)


def test_a_mask_comes_back_and_has_no_values(file: Path) -> None:
    _, mask = drawn()
    write_mask(file, mask)
    assert same(read(file).mask(), mask)
    assert file.stat().st_size < sum(keep.numel() for keep in mask.values()) / 8
    with pytest.raises(ValueError, match="no values"):
        read(file).state_dict()


def test_nothing_pruned_and_nothing_at_all(file: Path) -> None:
    write_model(file, {"a": torch.ones(3)}, {})
    assert same(read(file).state_dict(), {"a": torch.ones(3)})
    write_mask(file, {})
    assert read(file).mask() == {}


def test_two_writings_are_the_same_bytes_and_each_one_is_small(tmp_path: Path) -> None:
    tensors, mask = drawn(0.02)
    sizes = {}
    for name, dtype in (("a", None), ("b", None), ("half", torch.float16)):
        finite = {key: t.nan_to_num(posinf=0) if t.is_floating_point() else t for key, t in tensors.items()}
        write_model(tmp_path / name, finite, mask, dtype=dtype)
        sizes[name] = (tmp_path / name).stat().st_size
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    kept = sum(int(keep.sum()) for keep in mask.values())
    assert 1.9 * kept < sizes["a"] - sizes["half"] <= 2 * (kept + 40) + 16  # the header


def test_float16_keeps_survivors_that_become_zero_and_refuses_those_that_become_infinite(file: Path) -> None:
    tensors, mask = {"w": torch.tensor([1e-12, 0.0, 2.0])}, {"w": torch.tensor([True, False, True])}
    write_model(file, tensors, mask, dtype=torch.float16)
    assert read(file).mask()["w"].tolist() == [True, False, True]
    assert read(file).state_dict()["w"].tolist() == [0.0, 0.0, 2.0]
    before = file.read_bytes()
    with pytest.raises(RequestError, match="a value of b is too large for float16"):
        write_model(file, {**tensors, "b": torch.tensor([7e4])}, mask, dtype=torch.float16)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("tensors", "mask", "said"),
    [
        ({"w": torch.ones(3)}, {"w": torch.tensor([True, False, True])}, "removed is not zero"),
        ({"w": torch.tensor([1, float("nan"), 0])}, {"w": torch.tensor([True, False, True])}, "removed is not zero"),
        ({"w": torch.zeros(3)}, {"w": torch.ones(4, dtype=torch.bool)}, "of shape (3,), and its mask of (4,)"),
        ({"w": torch.zeros(3)}, {"v": torch.ones(3, dtype=torch.bool)}, "no tensor of this name"),
        (
            {"w": torch.zeros(3, dtype=torch.int8)},
            {"w": torch.ones(3, dtype=torch.bool)},
            "torch.int8 cannot be stored",
        ),
        (
            {"w": torch.zeros(3), "w.values": torch.zeros(1)},
            {"w": torch.zeros(3, dtype=torch.bool)},
            "name that a part of another would have",
        ),
    ],
)
def test_what_does_not_fit_is_not_written(file: Path, tensors: Tensors, mask: Tensors, said: str) -> None:
    with pytest.raises(PruneCliError, match=re.escape(said)):
        write_model(file, tensors, mask)
    assert not file.exists() and list(file.parent.iterdir()) == []


def test_any_flipped_byte_is_found(file: Path) -> None:
    tensors, mask = drawn(0.01)
    write_model(file, tensors, mask)
    raw = file.read_bytes()
    header = 8 + int.from_bytes(raw[:8], "little")
    for at in [*range(0, header, 7), *range(header, len(raw), 501), len(raw) - 1]:
        for flip in (1, 128):
            file.write_bytes(raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :])
            with pytest.raises(DamagedError):
                read(file)


@pytest.mark.parametrize("length", [0, 7, 8, 40, -1, 1])
def test_a_file_that_ends_early_or_late_is_found(file: Path, length: int) -> None:
    tensors, mask = drawn()
    write_model(file, tensors, mask)
    raw = file.read_bytes()
    file.write_bytes(raw + b"\0" if length == 1 else raw[:length])
    with pytest.raises(DamagedError, match="cannot be read"):
        read(file)


def entry(**values: Any) -> Change:
    """Say something else of one tensor."""
    return lambda about, _: about["pruned"]["fc.weight"].update(values)


def part(name: str, change: Callable[[Tensor], Tensor]) -> Change:
    """Store something else as a part of one tensor."""
    return lambda _, tensors: tensors.update({f"fc.weight.{name}": change(tensors[f"fc.weight.{name}"])})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda about, _: about.update(format=2), "it is of format 2, and this prune-cli reads format 1"),
        (entry(shape=[40, 32]), "fc.weight: a survivor is at place"),
        (entry(shape=[4]), "fc.weight: a survivor is at place"),
        (entry(shape=[40, -33]), "fc.weight cannot be of shape [40, -33]"),
        (entry(shape=[2**40, 2**40]), "fc.weight cannot be of shape"),
        (entry(shape=[40.0, 33.0]), "fc.weight cannot be of shape"),
        (entry(shape=None), "docs/format.md"),
        (entry(places="columns"), "written as 'columns'"),
        (entry(places=["bits"]), "fc.weight"),
        (entry(places="bits"), "fc.weight: its bitmask has"),
        (entry(dtype="F16"), "the values of fc.weight are torch.float32"),
        (entry(dtype="I8"), "the values of fc.weight are torch.float32"),
        (part("places", lambda code: code[:-1]), "the values of fc.weight are"),
        (part("places", lambda code: code.to(torch.int64)), "its places are int64"),
        (part("places", lambda code: code.to(torch.bfloat16)), "docs/format.md"),
        (part("places", lambda code: code.view(1, -1)), "its places are uint8 of shape (1,"),
        (part("places", lambda code: torch.full_like(code, 255)), "go on after the last survivor"),
        (part("values", lambda values: values[:-1]), "the values of fc.weight are"),
        (part("values", lambda values: values.view(1, -1)), "the values of fc.weight are"),
        (part("values", lambda values: values.to(torch.int32)), "the values of fc.weight are torch.int32"),
        (lambda _, tensors: tensors.pop("fc.weight.values"), "fc.weight.values is missing"),
        (lambda _, tensors: tensors.pop("fc.weight.places"), "fc.weight.places is missing"),
        (lambda _, tensors: tensors.update({"fc.weight": torch.zeros(1)}), "fc.weight is there twice"),
        (lambda about, _: about.update(pruned=[1]), "docs/format.md"),
        (lambda about, _: about["pruned"].update({"fc.weight": None}), "docs/format.md"),
        (lambda about, _: about.update(model=3), "docs/format.md"),
        (lambda about, _: about.pop("format"), "docs/format.md"),
        (lambda about, _: about.pop("pruned"), "docs/format.md"),
    ],
)
def test_a_forged_file_is_refused(file: Path, change: Change, said: str) -> None:
    tensors, mask = drawn()
    write_model(file, tensors, mask)
    raw = file.read_bytes()
    file.write_bytes(forged_compressed(raw, lambda *_: None))
    assert same(read(file).mask(), mask)  # the forger's hand is good
    file.write_bytes(forged_compressed(raw, change))
    with pytest.raises(DamagedError, match=re.escape(said)):
        read(file)


@pytest.mark.parametrize("text", ["", "[]", "7", "[" * 100_000, '{"sha256": 5, "format": 1}'])
def test_metadata_of_another_make_is_refused(file: Path, text: str) -> None:
    file.write_bytes(save({"a": torch.zeros(1)}, {METADATA: text}))
    assert is_compressed(file)
    with pytest.raises(DamagedError, match="cannot be read"):
        read(file)


def test_a_tensor_larger_than_the_memory_is_an_error_of_ours(file: Path) -> None:
    whole = {"w": torch.zeros(3, dtype=torch.bool)}
    write_model(file, {"w": torch.zeros(3)}, whole)
    file.write_bytes(forged_compressed(file.read_bytes(), lambda about, _: about["pruned"]["w"].update(shape=[2**47])))
    with pytest.raises(PruneCliError, match="more memory than there is"):
        read(file).state_dict()


def test_other_files_are_not_compressed(tmp_path: Path) -> None:
    write_tensors(tmp_path / "plain", {"a": torch.zeros(1)})
    (tmp_path / "text").write_text("not tensors")
    for name in ("plain", "text", "none", "."):
        assert not is_compressed(tmp_path / name)
    with pytest.raises(DamagedError, match=re.escape("docs/format.md")):
        read(tmp_path / "plain")
    with pytest.raises(DamagedError, match="No such file"):
        read(tmp_path / "none")


def lines_of_the_page() -> str:
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    return block


@pytest.mark.parametrize("density", [0.0, 0.001, 0.02, 0.1, 0.6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_the_page_reads_what_is_written(file: Path, density: float, dtype: torch.dtype) -> None:
    page: dict[str, Any] = {}
    exec(lines_of_the_page(), page)
    tensors, mask = drawn(density, dtype)
    write_model(file, tensors, mask)
    found, kept = page["read"](file)
    assert same({name: torch.from_numpy(t) for name, t in found.items()}, without_sign(tensors, mask))
    assert same({name: torch.from_numpy(keep) for name, keep in kept.items()}, mask)
    write_mask(file, mask)
    assert page["read"](file)[0] == {}
    file.write_bytes(file.read_bytes()[:-1] + b"\x55")
    with pytest.raises((AssertionError, safetensors.SafetensorError)):
        page["read"](file)


def test_the_page_needs_twenty_lines() -> None:
    function = lines_of_the_page().partition("def read")[2].strip().splitlines()
    assert len(function) <= 20


def test_the_layout_is_that_of_the_page(file: Path) -> None:
    """A later version must still read the file that is kept here, which this one writes."""
    tensors, mask = (
        {"w": torch.tensor([[0.0, 2.0, 0.0, 0.0]]), "b": torch.ones(1)},
        {"w": torch.tensor([[0, 1, 0, 0]]) > 0},
    )
    kept = Path(__file__).parents[1] / "data/format_1.safetensors"
    assert same(read(kept).state_dict(), tensors) and same(read(kept).mask(), mask)
    assert kept.read_bytes()[8:].startswith(b'{"__metadata__":{"prune-cli":"{\\"sha256\\": \\"')
    stored = {name: t.tolist() for name, t in safetensors.numpy.load_file(kept).items()}
    assert stored == {"b": [1.0], "w.values": [2.0], "w.places": [0b01000000]}
    write_model(file, tensors, mask)
    assert safetensors.numpy.load_file(file).keys() == stored.keys()


def test_a_mask_of_another_layout_in_memory(file: Path) -> None:
    """Channels last, transposed and strided tensors are stored in the order of their indices."""
    tensor = torch.randn(4, 6, 3, 3).to(memory_format=torch.channels_last)
    keep = (torch.rand(6, 4, 3, 3) < 0.5).transpose(0, 1)
    write_model(file, {"w": tensor * keep, "v": torch.arange(6.0).view(2, 3).T}, {"w": keep})
    assert torch.equal(read(file).state_dict()["w"], tensor * keep)
    assert torch.equal(read(file).state_dict()["v"], torch.arange(6.0).view(2, 3).T)
    assert np.array_equal(PrunedTensor.of(keep).places_K.numpy(), np.flatnonzero(keep.contiguous().numpy()))
