"""Masks on disk and in a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from prune_cli import masks
from prune_cli.common.errors import RequestError
from prune_cli.masks import mask as mask_files
from prune_cli.masks.layers import layer_table
from prune_cli.runs.compressed import write_mask, write_model

MASK = {"b": torch.tensor([[True, False, True], [False, False, True]]), "a": torch.tensor([True, False])}


def test_a_digest_is_of_the_content_and_of_every_bit() -> None:
    assert masks.digest(MASK) == "72d3017d27df6d77ce95f348f1bd574b801752451c738eba17be9fc4675395a2"
    assert masks.digest(dict(reversed(MASK.items()))) == masks.digest(MASK)
    changed = {**MASK, "a": torch.tensor([True, True])}
    reshaped = {**MASK, "b": MASK["b"].view(3, 2)}
    renamed = {"c": MASK["b"], "a": MASK["a"]}
    assert len({masks.digest(mask) for mask in (MASK, changed, reshaped, renamed)}) == 4


def test_apply_zeroes_what_is_removed_and_leaves_the_rest() -> None:
    parameter = nn.Parameter(torch.tensor([[1.0, -2.0, 3.0], [-4.0, 5.0, 6.0]]))
    masks.apply({"b": parameter}, {"b": MASK["b"]})
    assert parameter.tolist() == [[1.0, 0.0, 3.0], [0.0, 0.0, 6.0]]
    assert torch.equal(parameter.detach()[~MASK["b"]].view(torch.int32), torch.zeros(3, dtype=torch.int32))


def test_a_stored_mask_comes_back_in_the_models_order(tmp_path: Path) -> None:
    save_file(MASK, tmp_path / "mask.safetensors")
    parameters = {"b": nn.Parameter(torch.ones(2, 3)), "a": nn.Parameter(torch.ones(2))}
    found = mask_files.load(tmp_path / "mask.safetensors", parameters)
    assert list(found) == ["b", "a"]
    assert all(torch.equal(found[name], MASK[name]) for name in MASK)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"b": MASK["b"]}, "only the model has something to prune called a"),
        ({**MASK, "z": MASK["a"].clone()}, "only the mask has something to prune called z"),
        ({**MASK, "a": torch.ones(3, dtype=torch.bool)}, "a is"),
        ({**MASK, "a": torch.ones(2)}, "a is"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused_by_name(tmp_path: Path, tensors: dict, said: str) -> None:
    save_file(tensors, tmp_path / "mask.safetensors")
    parameters = {"b": nn.Parameter(torch.ones(2, 3)), "a": nn.Parameter(torch.ones(2))}
    with pytest.raises(RequestError, match=said):
        mask_files.load(tmp_path / "mask.safetensors", parameters)


def test_a_mask_is_read_from_a_compressed_file_too_with_the_digest_that_it_had(tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.safetensors", MASK)
    values = {name: keep.float() for name, keep in MASK.items()}
    write_model(tmp_path / "model.safetensors", values | {"bias": torch.ones(3)}, MASK)
    for name in ("mask.safetensors", "model.safetensors"):
        found = mask_files.read(tmp_path / name)
        assert all(torch.equal(found[part], keep) for part, keep in MASK.items())
        assert masks.digest(found) == masks.digest(MASK)


def write_bool(path: Path, mask: masks.Mask) -> None:
    save_file(mask, path)


@pytest.mark.parametrize("write", [write_bool, write_mask])
def test_a_truncated_mask_is_refused(tmp_path: Path, write: Callable[[Path, masks.Mask], None]) -> None:
    path = tmp_path / "mask.safetensors"
    write(path, MASK)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(RequestError, match="cannot be read"):
        mask_files.read(path)


def test_a_damaged_compressed_mask_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.safetensors"
    write_mask(path, MASK)
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    with pytest.raises(RequestError, match="sha256") as caught:
        mask_files.read(path)
    assert len(caught.value.lines()) == 3


def test_the_layer_table_counts_what_is_left_with_q_k_and_v_apart() -> None:
    qkv = torch.zeros(6, 3, dtype=torch.bool)
    qkv[2, 1] = qkv[4] = True  # k keeps one weight, v a whole row
    table = layer_table({"attn.qkv.weight": qkv, "conv.weight": torch.ones(2, 3, 2, 2, dtype=torch.bool)})
    assert list(table.part) == ["q", "k", "v", ""]
    assert list(table.kept) == [0, 1, 3, 24]
    assert list(table["size"]) == [6, 6, 6, 24]
    assert list(table.dead_rows) == [2, 1, 1, 0]
    assert list(table.dead_columns) == [3, 2, 0, 0]
    assert list(table.density) == pytest.approx([0, 1 / 6, 1 / 2, 1])
