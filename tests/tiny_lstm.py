"""An LSTM of a few units for the tests of the recurrent half, and clips drawn by chance."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]

SMALL_CLIPS = (
    "dataset=action_mnist",
    "dataset.frame_size=32",
    "dataset.frames=4",
    "dataset.train_clips_per_class=2",
    "dataset.validation_clips_per_class=1",
    "dataset.test_clips_per_class=1",
)
SMALL_LSTM = ("model=lstm128", "model.units=6", "model.weights=random")
SMALL = (*SMALL_LSTM, *SMALL_CLIPS)


class TinyClassifier(nn.Module):
    """An LSTM that sees inputs_BTI and a classifier that reads it: logits_BKT, as ClipClassifier gives them."""

    def __init__(self, inputs: int = 3, units: int = 4, classes: int = 3):
        super().__init__()
        self.lstm = nn.LSTM(inputs, units, batch_first=True)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(units, classes)

    def forward(self, x_BTI: Tensor) -> Tensor:
        return self.head(self.dropout(self.lstm(self.features(x_BTI))[0])).transpose(1, 2)

    def features(self, x_BTI: Tensor) -> Tensor:
        return x_BTI

    def get_classifier(self) -> nn.Module:
        return self.head


def tiny(inputs: int = 3, units: int = 4, classes: int = 3, seed: int = 0) -> TinyClassifier:
    """In float64, its weights drawn wide enough for the gates to differ."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = TinyClassifier(inputs, units, classes).double()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.7)
    return model


def clips(number: int, frames: int = 5, inputs: int = 3, classes: int = 3, seed: int = 1) -> Batch:
    """inputs_BTI and labels_BT, a label a frame."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(number, frames, inputs, generator=draw, dtype=torch.float64)
    return x, torch.randint(classes, (number, frames), generator=draw)


class Given(nn.LSTM):
    """A recurrent layer whose hidden states are what it is given."""

    def forward(self, hidden_BTU: Tensor, state: object = None) -> tuple[Tensor, object]:  # type: ignore[override]
        return hidden_BTU, state


class Shown(TinyClassifier):
    """A classifier whose hidden states are its inputs, (B, T, U)."""

    def __init__(self, units: int, classes: int = 3):
        super().__init__(1, units, classes)
        self.lstm = Given(1, units, batch_first=True)
