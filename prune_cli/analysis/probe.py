"""A trained LSTM classifier with some of its units removed: its accuracy, at once or after a few fine-tuning steps.

A letter legend: N clips, T frames, U units, G = 4U gates, K classes, A answers that count (see training.evaluate.counted_frames).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_cli.training.evaluate import counted_frames
from prune_cli.units.removal import classifier_of, gate_inputs, hidden_states, lstm_of

AT_ONCE = 500  # clips whose states stay in cache
STEPS, STEP_CLIPS = 10, 128  # of fine-tuning, and the clips of each step
LEARNING_RATE = 1e-3  # of Adam, as recipe=micro has it
Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Probe:
    """A trained model and clips, ready to be measured with any units removed.

    What the gates get from the frames does not depend on the units that stay: gates_NTG is computed once for all removals.
    """

    lstm: nn.LSTM
    head: nn.Linear
    gates_NTG: Tensor
    labels_NT: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, model: nn.Module, batches: Batches) -> Probe:
        """The probe of a model that has `features`, on these (clips, labels) batches."""
        model.eval()
        lstm, gates, labels = lstm_of(model), [], []
        for x, y in batches:
            gates.append(gate_inputs(lstm, model.features(x)))  # type: ignore[operator]
            labels.append(y)
        return cls(lstm, classifier_of(model), torch.cat(gates), torch.cat(labels))

    @torch.no_grad()
    def accuracy(self, keep_U: Tensor, placement: str) -> float:
        """The accuracy [%] with only the units of a bool mask (U,), True = keep."""
        if placement == "readout":
            logits_AK = self._read(self._dense_AU * keep_U, self.head.weight)
        else:
            logits_AK = self._read(self._hidden(keep_U), self.head.weight[:, keep_U])
        labels_A = self.labels_NT[self._counted_NT]
        return 100 * int((logits_AK.argmax(1) == labels_A).sum()) / len(labels_A)

    @property
    def units(self) -> int:
        """U."""
        return self.lstm.hidden_size

    @cached_property
    def _counted_NT(self) -> Tensor:
        return counted_frames(self.labels_NT)

    @cached_property
    def _dense_AU(self) -> Tensor:
        return self._run(torch.ones(self.units, dtype=torch.bool, device=self.gates_NTG.device))

    def _hidden(self, keep_U: Tensor) -> Tensor:
        """Every order of removal begins with all units: what they answer is kept."""
        return self._dense_AU if bool(keep_U.all()) else self._run(keep_U)

    def _run(self, keep_U: Tensor) -> Tensor:
        parts = zip(self.gates_NTG.split(AT_ONCE), self._counted_NT.split(AT_ONCE), strict=True)
        return torch.cat([hidden_states(self.lstm, gates, keep_U)[asked] for gates, asked in parts])

    def _read(self, hidden_AU: Tensor, weight_KU: Tensor) -> Tensor:
        return torch.addmm(self.head.bias, hidden_AU, weight_KU.T)


def fine_tuned(probe: Probe, training: Probe, keep_U: Tensor, placement: str) -> Probe:
    """The probe after one step of Adam on each batch of training clips with only these units: bool (U,), True = keep.

    What is trained are the recurrent weights, the gates' biases and the classifier, without dropout, on the loss of
    training (the mean over frames of the cross-entropy); the convolution and the input weights stay as they are, so that
    `training`, a probe of the same model on training clips, is made once for all removals.
    """
    lstm, head = copy.deepcopy(probe.lstm), copy.deepcopy(probe.head)
    bias_G = torch.zeros_like(probe.gates_NTG[0, 0], requires_grad=True)
    optimizer = torch.optim.Adam([lstm.get_parameter("weight_hh_l0"), bias_G, *head.parameters()], LEARNING_RATE)
    running_U = keep_U if placement == "recurrence" else torch.ones_like(keep_U)
    read_U = keep_U[running_U]
    for gates_BTG, labels_BT in zip(
        training.gates_NTG.split(STEP_CLIPS), training.labels_NT.split(STEP_CLIPS), strict=True
    ):
        optimizer.zero_grad()
        hidden_BTU = hidden_states(lstm, gates_BTG + bias_G, running_U) * read_U
        logits_BTK = F.linear(hidden_BTU, head.weight[:, running_U], head.bias)
        F.cross_entropy(logits_BTK.transpose(1, 2), labels_BT).backward()
        optimizer.step()
    return replace(probe, lstm=lstm, head=head, gates_NTG=probe.gates_NTG + bias_G.detach())
