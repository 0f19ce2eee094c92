"""A lazy name stands for the thing itself."""

from __future__ import annotations

import pickle

import pytest
import torch

from prune_cli.common.lazy import F, Lazy, Tensor, load_file, nn, pd, save_file
from prune_cli.common.lazy import torch as lazy_torch


def test_attributes_calls_and_isinstance_are_those_of_the_real_one() -> None:
    assert lazy_torch.zeros is torch.zeros
    assert nn.Linear is torch.nn.Linear
    assert F.relu is torch.nn.functional.relu
    assert isinstance(torch.zeros(1), Tensor)
    assert not isinstance([0.0], Tensor)
    assert isinstance(torch.nn.Linear(1, 1), (nn.Conv2d, nn.Linear))
    assert pd.DataFrame({"a": [1]}).shape == (1, 1)


def test_a_lazy_function_is_called(tmp_path) -> None:  # type: ignore[no-untyped-def]
    save_file({"w": torch.ones(2)}, tmp_path / "w.safetensors")
    assert torch.equal(load_file(tmp_path / "w.safetensors")["w"], torch.ones(2))


def test_a_replaced_attribute_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "zeros", "another")
    assert lazy_torch.zeros == "another"


def test_nothing_is_imported_for_what_is_asked_of_any_object() -> None:
    missing = Lazy("no_such_module")
    assert pickle.loads(pickle.dumps(missing))._module == "no_such_module"
    with pytest.raises(ModuleNotFoundError):
        _ = missing.anything
