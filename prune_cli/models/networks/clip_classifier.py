"""The recurrent classifier of grey clips that lstm128 builds."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE, CHANNELS = 32, 16  # pixels of a frame as the convolution sees it; its kernels


class ClipClassifier(nn.Module):
    """Each frame averaged down to 32×32 → Conv 3×3 + BatchNorm + ReLU + MaxPool → LSTM → dropout + Linear.

    Called with clips_BTHW, values in [0, 1]; gives logits_BKT: the classes come second, as the cross-entropy wants them.
    """

    def __init__(self, num_classes: int, units: int):
        super().__init__()
        conv = nn.Conv2d(1, CHANNELS, 3, padding=1)
        self.conv = conv.to(memory_format=torch.channels_last)  # pooling what it makes takes half the time
        self.norm = nn.BatchNorm2d(CHANNELS)
        self.lstm = nn.LSTM(CHANNELS * (SIDE // 2) ** 2, units, batch_first=True)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(units, num_classes)

    def forward(self, clips_BTHW: Tensor) -> Tensor:
        """logits_BKT: the classes at every frame."""
        hidden_BTU, _ = self.lstm(self.features(clips_BTHW))
        return self.head(self.dropout(hidden_BTU)).transpose(1, 2)

    def features(self, clips_BTHW: Tensor) -> Tensor:
        """The input of the LSTM, (B, T, 4096)."""
        frames = clips_BTHW.flatten(0, 1).unsqueeze(1)
        if max(frames.shape[-2:]) > SIDE:
            frames = F.adaptive_avg_pool2d(frames, SIDE)
        pooled = torch.relu(
            F.max_pool2d(self.norm(self.conv(frames)), 2)
        )  # the maximum first: the same, a quarter to do
        return pooled.flatten(1).unflatten(0, clips_BTHW.shape[:2])

    def get_classifier(self) -> nn.Module:
        """The classification head."""
        return self.head

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the head by a freshly initialised one for `num_classes`."""
        self.head = nn.Linear(self.head.in_features, num_classes)
