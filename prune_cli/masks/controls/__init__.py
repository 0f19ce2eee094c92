"""Controls: one file each; base.py is their only door."""

from prune_cli.masks.controls.base import Control, ControlChoice, controls, names

build = controls.build

__all__ = ["Control", "ControlChoice", "build", "controls", "names"]
