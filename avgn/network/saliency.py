"""AV-TeST: how salient is each snippet, from what is seen and heard in all of them.

From the summary of the paper: a transformer encoder over concatenated audio and visual tokens, and a fully connected
layer for the saliency. Ours: widths, depth, the product of the two tokens as a further input of that layer (does what
is seen agree with what is heard?), the masks, and per-snippet logits whose saliency-weighted mean is the early answer.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from avgn.config import Config
from avgn.network.attention import MASKED, Blocks, embedding


class Selected(NamedTuple):
    """What AV-TeST says of a window."""

    saliency: Tensor  # [B,T]
    tokens: Tensor  # [B,2T,d]: T visual, then T audio; zeros where missing
    logits: Tensor  # [B,C]: the glance-only answer, for early exit
    snippet_logits: Tensor  # [B,T,C]


class SaliencyTransformer(nn.Module):
    """AV-TeST over T visual and T audio tokens of width d."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.saliency.width
        self.position = embedding(config.snippets, width)
        self.modality = embedding(2, width)
        self.blocks = Blocks(config.saliency.layers, width, config.saliency.heads)
        self.norm = nn.LayerNorm(width)
        self.saliency = nn.Linear(3 * width, 1)
        self.classifier = nn.Linear(3 * width, config.classes)

    def forward(self, visual: Tensor, audio: Tensor, heard: Tensor, seen: Tensor) -> Selected:
        """`visual`, `audio` [B,T,d], `heard`, `seen` [B,T] (1 or 0) -> Selected.

        A snippet with neither picture nor sound gets the lowest saliency and no weight in the early answer.
        """
        count = visual.shape[1]
        valid = torch.cat([seen, heard], 1)
        tokens = torch.cat([visual + self.position + self.modality[0], audio + self.position + self.modality[1]], 1)
        tokens = self.norm(self.blocks(tokens, valid)) * valid[..., None]
        seen_tokens, heard_tokens = tokens[:, :count], tokens[:, count:]
        pairs = torch.cat([seen_tokens, heard_tokens, seen_tokens * heard_tokens], -1)
        present = torch.maximum(seen, heard)
        saliency = self.saliency(pairs)[..., 0] * present + (1 - present) * MASKED
        snippet_logits = self.classifier(pairs)
        logits = (saliency.softmax(1)[..., None] * snippet_logits).sum(1)
        return Selected(saliency, tokens, logits, snippet_logits)
