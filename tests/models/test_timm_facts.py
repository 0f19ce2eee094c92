"""What is kept of timm's architectures is what timm says."""

from __future__ import annotations

from typing import Any

import pytest
from timm.models import get_pretrained_cfg

from prune_cli.common.errors import ConfigError, WeightsError
from prune_cli.models import timm_facts
from prune_cli.models.timm_arch import TimmArch
from prune_cli.models.timm_facts import pretrained_config, tagged_names
from prune_cli.runs import facts


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever plug-ins an earlier test has used."""
    monkeypatch.setattr(facts, "_trusted", True)


@pytest.mark.parametrize("arch", ["vit_tiny_patch16_224", "mobilenetv3_large_100.miil_in21k", "resnet18", "vgg11"])
def test_kept_or_not_it_is_what_timm_says(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pretrained_config(arch), tagged_names(arch.partition(".")[0])
    for name in ("_config", "_tagged_names"):
        monkeypatch.setattr(timm_facts, name, None)
    assert (pretrained_config(arch), tagged_names(arch.partition(".")[0])) == first
    config, theirs = first[0], get_pretrained_cfg(arch)
    assert config is not None and theirs is not None
    for name in vars(config):
        assert getattr(config, name) == getattr(theirs, name)


def test_what_timm_does_not_know_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(ConfigError, match="no architecture 'vit_tyny'"):
            TimmArch("vit_tyny")
        with pytest.raises(ConfigError, match=r"no weights 'resnet18\.x'"):
            TimmArch("resnet18.x")
        with pytest.raises(WeightsError, match=r"no weights under 'resnet18\.x'"):
            _ = TimmArch("resnet18", "hub:x").input


def test_another_timm_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    TimmArch("resnet18")
    asked: list[Any] = []
    monkeypatch.setattr(timm_facts, "_tagged_names", lambda base: asked.append(base) or ["resnet18.new"])
    TimmArch("resnet18")
    assert not asked
    version = facts._version
    with monkeypatch.context() as patch:
        patch.setattr(facts, "_version", lambda name: "99.0" if name == "timm" else version(name))
        facts._code.cache_clear()
        assert TimmArch("resnet18").hub_tags == ["new"]
        assert asked == ["resnet18"]
    facts._code.cache_clear()
