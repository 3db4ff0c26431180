"""ψ and fC: what was chosen becomes one decision.

From the summary: a fusion transformer over local, audio and global visual features; the classifier sees the
concatenation of [audio-enhanced visual; local; audio]. Ours: type and position embeddings, masks, the mean over the
chosen snippets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avgn.config import Config
from avgn.network.attention import Blocks, embedding, masked_mean


class Fusion(nn.Module):
    """ψ and fC over k chosen snippets."""

    def __init__(self, config: Config, local_channels: int) -> None:
        super().__init__()
        width = config.saliency.width
        self.local = nn.Linear(local_channels, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.kind = embedding(3, width)
        self.position = embedding(config.snippets, width)
        self.blocks = Blocks(config.fusion.layers, width, config.fusion.heads, config.fusion.dropout)
        self.dropout = nn.Dropout(config.fusion.dropout)
        self.classifier = nn.Linear(3 * width, config.classes)

    def forward(
        self, context: Tensor, local: Tensor, audio: Tensor, pick: Tensor, seen: Tensor, heard: Tensor
    ) -> Tensor:
        """Logits [B,C].

        `context` and `audio` [B,k,d], `local` [B,k,D], `pick` [B,k,T] one-hot rows (which snippet fills the slot),
        `seen` and `heard` [B,k]: 1 where the slot is filled and has a picture, or a sound.
        """
        count = context.shape[1]
        parts = (context, self.local(local), audio)
        if self.blocks:
            place = pick @ self.position
            parts = tuple(norm(part) + place for norm, part in zip(self.norms, parts, strict=True))
            valid = torch.cat([seen, seen, heard], 1)
            tokens = torch.cat([part + kind for part, kind in zip(parts, self.kind, strict=True)], 1)
            tokens = self.blocks(tokens, valid)
            parts = tokens[:, :count], tokens[:, count : 2 * count], tokens[:, 2 * count :]
        means = [masked_mean(part, valid) for part, valid in zip(parts, (seen, seen, heard), strict=True)]
        return self.classifier(self.dropout(torch.cat(means, 1)))
