"""The dense yardstick: the focus encoder on all T whole frames, the same sound net, the same fusion; nothing is chosen.

It is what AVGN saves work against: no glance, no saliency, no patches. Where AVGN's fusion takes what AESPA made of the
coarse map, it takes the same frame's own feature. Not from the paper.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from avgn.config import Config, FrameConfig
from avgn.network import encoders
from avgn.network.avgn import Batch, encode, unfold
from avgn.network.fusion import Fusion

# The picture side that each encoder was pretrained on (Lite2: 260, rounded to its stride).
NATIVE = {"efficientnet_lite0": 224, "efficientnet_lite2": 256, "resnet50": 224}


class DenseOutputs(NamedTuple):
    """What the dense net says of B clips."""

    logits: Tensor  # [B,C]
    frame_logits: Tensor  # [B,T,C] of the auxiliary head on each frame
    sound_logits: Tensor  # [B,T,C] of the auxiliary head on each sound


def dense_config(config: Config) -> Config:
    """The yardstick's configuration beside a model's: frames of the focus encoder's native side, all T of them used."""
    side = NATIVE[config.focus.encoder]
    return replace(config, chosen=config.snippets, frame=FrameConfig(size=side, pixels=config.focus.pixels))


class Dense(nn.Module):
    """The dense net for a `dense_config`; its parts are called as AVGN's are, so that weights go from one to the other.

    `frames` of a Batch are [B,T,3,G,G] with G the native side; its pictures are not looked at.
    """

    frames_go_to = "focus"  # which encoder sees the frames

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.focus_pixels = encoders.Pixels(config.focus.pixels)
        self.focus_encoder = encoders.build(config.focus.encoder, 3)
        self.sound_encoder = encoders.build(config.sound.encoder, 1)
        width, classes = config.saliency.width, config.classes
        self.frame_token = nn.Linear(self.focus_encoder.channels, width)
        self.sound_token = nn.Linear(self.sound_encoder.channels, width)
        self.focus_head = nn.Linear(self.focus_encoder.channels, classes)
        self.sound_head = nn.Linear(self.sound_encoder.channels, classes)
        self.fusion = Fusion(config, self.focus_encoder.channels)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B,C]."""
        return self.answers(batch).logits

    def answers(self, batch: Batch) -> DenseOutputs:
        """Logits, and those of the auxiliary heads."""
        frames, sounds = batch.frames.flatten(0, 1), batch.mel.flatten(0, 1)
        local = encoders.pool(encode(self.focus_encoder, self.focus_pixels(frames)))
        sound = encoders.pool(encode(self.sound_encoder, sounds))
        count = batch.heard.shape[1]
        pick = torch.eye(count, device=local.device).expand(len(batch.heard), count, count)
        context, audio = unfold(self.frame_token(local), batch), unfold(self.sound_token(sound), batch)
        logits = self.fusion(context, unfold(local, batch), audio, pick, batch.seen, batch.heard)
        frame_logits, sound_logits = self.focus_head(local), self.sound_head(sound)
        return DenseOutputs(logits, unfold(frame_logits, batch), unfold(sound_logits, batch))
