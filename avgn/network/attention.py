"""Attention in plain matrix products, so that every exporter and the MAC counter see all of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MASKED = -1e4  # added to scores of masked keys: low enough for softmax, inside the range of fp16


class Attention(nn.Module):
    """Multi-head attention of `width` over keys of `width`, with an optional mask of valid keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, queries: Tensor, keys: Tensor, valid: Tensor | None = None) -> Tensor:
        """[B,n,width], [B,m,width], `valid` [B,m] (1 or 0) -> [B,n,width]."""
        scores = self.scores(queries, keys, valid)
        mixed = scores.softmax(-1) @ self._split(self.value(keys))
        return self.output(mixed.transpose(1, 2).flatten(2))

    def scores(self, queries: Tensor, keys: Tensor, valid: Tensor | None = None) -> Tensor:
        """Scaled dot products before the softmax: [B,heads,n,m]."""
        query, key = self._split(self.query(queries)), self._split(self.key(keys))
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)
        if valid is None:
            return scores
        return scores + (1 - valid)[:, None, None, :] * MASKED

    def _split(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        return tokens.reshape(batch, count, self.heads, width // self.heads).transpose(1, 2)


class FeedForward(nn.Sequential):
    """Two linear layers with a GELU between, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


class Block(nn.Module):
    """One pre-norm transformer encoder layer."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm_forward = nn.LayerNorm(width)
        self.forward_net = FeedForward(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """[B,n,width] with `valid` [B,n] -> [B,n,width]."""
        normed = self.norm_attention(tokens)
        tokens = tokens + self.dropout(self.attention(normed, normed, valid))
        return tokens + self.dropout(self.forward_net(self.norm_forward(tokens)))


class Blocks(nn.ModuleList):
    """Blocks in a row. Called as one module, so that the place of each has a name (NNCF's quantisers need it)."""

    def __init__(self, count: int, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__(Block(width, heads, dropout) for _ in range(count))

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """[B,n,width] with `valid` [B,n] -> [B,n,width]."""
        for block in self:
            tokens = block(tokens, valid)
        return tokens


def embedding(*shape: int) -> nn.Parameter:
    """A learned embedding, drawn with the usual small spread."""
    return nn.Parameter(torch.randn(*shape) * 0.02)


def masked_mean(tokens: Tensor, valid: Tensor) -> Tensor:
    """Mean of `tokens` [B,n,d] over the valid ones [B,n]; zeros where none is valid: [B,d]."""
    total = (tokens * valid[..., None]).sum(1)
    return total / valid.sum(1, keepdim=True).clamp(min=1.0)
