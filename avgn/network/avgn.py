"""The whole network: glance at every snippet, choose k, focus on one patch of each, decide.

The four stages are methods of `AVGN`; the exported graphs wrap exactly these (see `export/graphs.py`).
B clips, N = B * T snippets, T snippets in a window, k chosen, d token width, C classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from avgn.config import Config
from avgn.network import encoders
from avgn.network.fusion import Fusion
from avgn.network.patches import PatchAttention, Place, crop
from avgn.network.saliency import SaliencyTransformer, Selected
from avgn.network.topk import gather, one_hot, top_k


class Batch(NamedTuple):
    """B clips as the network sees them."""

    frames: Tensor  # [B,T,3,G,G] RGB in 0..1, the whole frame
    pictures: Tensor  # [B,T,3,H,W] RGB in 0..1 (or uint8 0..255), the same frame with short side R
    mel: Tensor  # [B,T,1,M,F]
    heard: Tensor  # [B,T] 1 where there is sound
    seen: Tensor  # [B,T] 1 where there is a picture


class Glance(NamedTuple):
    """What the glance says of N snippets."""

    visual: Tensor  # [N,d]
    audio: Tensor  # [N,d]
    place: Place
    frame_logits: Tensor  # [N,C] of the auxiliary head on the frame encoder
    sound_logits: Tensor  # [N,C] of the auxiliary head on the sound encoder


class AVGN(nn.Module):
    """The audio-visual glance network for one Config."""

    frames_go_to = "frame"  # which encoder sees the whole frames

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.frame_pixels = encoders.Pixels(config.frame.pixels)
        self.focus_pixels = encoders.Pixels(config.focus.pixels)
        self.frame_encoder = encoders.build(config.frame.encoder, 3)
        self.sound_encoder = encoders.build(config.sound.encoder, 1)
        self.focus_encoder = encoders.build(config.focus.encoder, 3)
        width, classes = config.saliency.width, config.classes
        self.frame_token = nn.Linear(self.frame_encoder.channels, width)
        self.sound_token = nn.Linear(self.sound_encoder.channels, width)
        self.frame_head = nn.Linear(self.frame_encoder.channels, classes)
        self.sound_head = nn.Linear(self.sound_encoder.channels, classes)
        self.focus_head = nn.Linear(self.focus_encoder.channels, classes)
        self.select_net = SaliencyTransformer(config)
        self.patch_net = PatchAttention(config, *self._map_shapes())
        self.fusion = Fusion(config, self.focus_encoder.channels)

    def glance(self, frame: Tensor, mel: Tensor, heard: Tensor) -> Glance:
        """`frame` [N,3,G,G] in 0..1, `mel` [N,1,M,F], `heard` [N,1] -> Glance of N snippets.

        In training AESPA and π see detached maps, so that the search for a place does not disturb the encoders.
        """
        frame_map = encode(self.frame_encoder, self.frame_pixels(frame))
        sound_map = encode(self.sound_encoder, mel)
        frame_vector, sound_vector = encoders.pool(frame_map), encoders.pool(sound_map)
        return Glance(
            self.frame_token(frame_vector),
            self.sound_token(sound_vector),
            self.patch_net(frame_map.detach(), sound_map.detach(), heard),
            self.frame_head(frame_vector),
            self.sound_head(sound_vector),
        )

    def select(self, visual: Tensor, audio: Tensor, heard: Tensor, seen: Tensor) -> Selected:
        """`visual`, `audio` [B,T,d], `heard`, `seen` [B,T] -> Selected."""
        return self.select_net(visual, audio, heard, seen)

    def focus(self, patch: Tensor) -> Tensor:
        """`patch` [N,3,P,P] in 0..1 -> local features [N,D]."""
        return encoders.pool(encode(self.focus_encoder, self.focus_pixels(patch)))

    def classify(
        self, tokens: Tensor, context: Tensor, local: Tensor, when: Tensor, used: Tensor, heard: Tensor, seen: Tensor
    ) -> Tensor:
        """Logits [B,C] from `tokens` [B,2T,d], `context` [B,k,d], `local` [B,k,D] of the snippets `when` [B,k].

        `used` [B,k] is 1 where the slot is filled; `heard` and `seen` [B,T] are the window's masks.
        """
        count = self.config.snippets
        pick = one_hot(when, count) * used[..., None]
        audio = pick @ tokens[:, count:]
        heard_there = (pick @ heard[..., None])[..., 0]
        seen_there = (pick @ seen[..., None])[..., 0]
        return self.fusion(context, local, audio, pick, seen_there, heard_there)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B,C] of whole clips: the deterministic answer that the deployed graphs give, in one call."""
        glance = self.glance_all(batch)
        visual, audio = unfold(glance.visual, batch), unfold(glance.audio, batch)
        selected = self.select(visual, audio, batch.heard, batch.seen)
        return self.look(batch, glance, selected, top_k(selected.saliency, self.config.chosen))[0]

    def glance_all(self, batch: Batch) -> Glance:
        """The glance of every snippet of every clip, N = B * T."""
        return self.glance(batch.frames.flatten(0, 1), batch.mel.flatten(0, 1), batch.heard.reshape(-1, 1))

    def look(
        self,
        batch: Batch,
        glance: Glance,
        selected: Selected,
        when: Tensor,
        centres: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Focus on the snippets `when` [B,k] and decide: logits [B,C] and local features [B,k,D].

        `centres` [B,k,2] overrides π's choice; `weight` [B,k] scales what each chosen snippet contributes (its value
        is 1; it carries the gradient of straight-through selection).
        """
        if centres is None:
            centres = gather(unfold(glance.place.centre, batch), when)
        pictures = gather(batch.pictures, when).flatten(0, 1)
        if pictures.dtype == torch.uint8:  # as data sets give them: only what is looked at is converted
            pictures = pictures.float() / 255
        patches = crop(pictures, centres.flatten(0, 1), self.config.patch.size)
        local = self.focus(patches).unflatten(0, when.shape)
        context = gather(unfold(glance.place.context, batch), when)
        used = torch.ones_like(when, dtype=local.dtype) if weight is None else weight
        logits = self.classify(selected.tokens, context, local, when, used, batch.heard, batch.seen)
        return logits, local

    def _map_shapes(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Shapes (channels, height, width) of the two glance encoders' maps."""
        side, sound = self.config.frame.size, self.config.sound
        return _map_shape(self.frame_encoder, side, side), _map_shape(self.sound_encoder, sound.mels, sound.frames)


def _map_shape(encoder: encoders.Encoder, height: int, width: int) -> tuple[int, int, int]:
    """Each stride of 2 rounds up."""
    return encoder.channels, -(-height // encoder.stride), -(-width // encoder.stride)


def encode(encoder: encoders.Encoder, pixels: Tensor, group: int = 16) -> Tensor:
    """The encoder's map; in small groups where no gradient is kept: they stay in a CPU's caches, 4 times faster."""
    learns = torch.is_grad_enabled() and any(weight.requires_grad for weight in encoder.parameters())
    if learns or encoder.training or pixels.is_cuda or len(pixels) <= group:
        return encoder(pixels)
    return torch.cat([encoder(part) for part in pixels.split(group)])


def unfold(flat: Tensor, batch: Batch) -> Tensor:
    """[B*T,...] -> [B,T,...]."""
    return flat.unflatten(0, tuple(batch.heard.shape))
