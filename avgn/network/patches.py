"""AESPA and π: where in the frame to look, helped by the sound; and the differentiable crop.

From the abstract: audio enhances the coarse visual features by cross-modal attention, and a policy network turns them
into patch coordinates. Ours: the audio keys are the time-frequency cells of the snippet's own sound map (with one
pooled key the softmax would be constant 1), π is a heat map with a soft arg-max, and gradients stop before AESPA.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avgn.config import Config
from avgn.network.attention import Attention, FeedForward, embedding


class Place(NamedTuple):
    """Where to look in one snippet."""

    centre: Tensor  # [N,2]: y, x in 0..1
    context: Tensor  # [N,d]: audio-enhanced visual features, pooled
    heat: Tensor  # [N,h,w]: π's score of each cell of the map, before the softmax over all of them


class PatchAttention(nn.Module):
    """AESPA and π on the maps of one snippet."""

    def __init__(self, config: Config, frame_map: tuple[int, int, int], sound_map: tuple[int, int, int]) -> None:
        """`frame_map` and `sound_map`: (channels, height, width) of the encoders' maps."""
        super().__init__()
        width = config.patch.width
        self.query = nn.Conv2d(frame_map[0], width, 1)
        self.key = nn.Conv2d(sound_map[0], width, 1)
        self.query_position = embedding(frame_map[1] * frame_map[2], width)
        self.key_position = embedding(sound_map[1] * sound_map[2], width)
        self.norm_query = nn.LayerNorm(width)
        self.norm_key = nn.LayerNorm(width)
        self.attention = Attention(width, config.patch.heads)
        self.norm_forward = nn.LayerNorm(width)
        self.forward_net = FeedForward(width)
        self.norm_output = nn.LayerNorm(width)
        self.context = nn.Linear(width, config.saliency.width)
        self.policy = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 1))
        self.register_buffer("cells", cell_centres(*frame_map[1:]), persistent=False)

    def forward(self, frame_map: Tensor, sound_map: Tensor, heard: Tensor) -> Place:
        """[N,c,h,w], [N,e,i,j], `heard` [N,1] (1 or 0) -> Place. Without sound the picture speaks alone."""
        batch, _, height, width = frame_map.shape
        query = self.query(frame_map).flatten(2).transpose(1, 2) + self.query_position
        key = self.key(sound_map).flatten(2).transpose(1, 2) + self.key_position
        mixed = self.attention(self.norm_query(query), self.norm_key(key))
        enhanced = query + mixed * heard[:, :, None]
        enhanced = self.norm_output(enhanced + self.forward_net(self.norm_forward(enhanced)))
        grid = enhanced.transpose(1, 2).reshape(batch, -1, height, width)
        heat = self.policy(grid)[:, 0]
        return Place(heat.flatten(1).softmax(1) @ self.cells, self.context(enhanced.mean(1)), heat)

    def attention_weights(self, frame_map: Tensor, sound_map: Tensor) -> Tensor:
        """Weights of each picture cell over the sound cells, for analysis: [N,heads,h*w,i*j]."""
        query = self.query(frame_map).flatten(2).transpose(1, 2) + self.query_position
        key = self.key(sound_map).flatten(2).transpose(1, 2) + self.key_position
        return self.attention.scores(self.norm_query(query), self.norm_key(key)).softmax(-1)


def cell_centres(height: int, width: int) -> Tensor:
    """Middles (y, x in 0..1) of the cells of a map, row by row: [height*width,2]."""
    rows = (torch.arange(height) + 0.5) / height
    columns = (torch.arange(width) + 0.5) / width
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)


def crop(pictures: Tensor, centres: Tensor, size: int) -> Tensor:
    """Bilinear `size` x `size` crops of `pictures` [N,3,H,W] at `centres` [N,2] (y, x in 0..1): [N,3,size,size].

    The crop is moved inside the picture; at whole-pixel corners it equals slicing. The gradient to a centre is that of
    the crop it was moved to (straight through), so that a policy that looks over the edge can come back.
    Source of the mapping: AdaFocusV2 (theta as in `affine_grid`, align_corners=False).
    """
    height, width = pictures.shape[-2:]
    half = centres.new_tensor([size / 2 / height, size / 2 / width])
    inside = torch.minimum(torch.maximum(centres, half), 1 - half)
    centres = centres + (inside - centres).detach()
    zero = torch.zeros_like(centres[:, 0])
    row_x = torch.stack([zero + size / width, zero, 2 * centres[:, 1] - 1], 1)
    row_y = torch.stack([zero, zero + size / height, 2 * centres[:, 0] - 1], 1)
    grid = F.affine_grid(torch.stack([row_x, row_y], 1), [len(pictures), 3, size, size], align_corners=False)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)
