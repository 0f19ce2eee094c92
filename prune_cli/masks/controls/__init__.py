"""Controls: ablations of a pruning method, one file each; base.py has the base class and the registry."""

from prune_cli.masks.controls.base import Control, ControlChoice, controls, names

build = controls.build

__all__ = ["Control", "ControlChoice", "build", "controls", "names"]
