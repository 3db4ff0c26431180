"""Top-k of the saliency, and the ways to train a choice that has no gradient of its own.

* `expectation`: Monte-Carlo expectation of sampling without replacement (Uni-AdaFocus), the default.
* `pseudo_label`: saliency follows the per-snippet evidence for the true class (after NSNet's idea).
* `gumbel`: straight-through Gumbel top-k, the chosen snippets carry the gradient of a relaxed mask.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def top_k(saliency: Tensor, k: int) -> Tensor:
    """Indices of the k highest of `saliency` [B,T], ties to the earlier, sorted by time: [B,k]."""
    order = torch.argsort(saliency, dim=1, descending=True, stable=True)
    return order[:, :k].sort(1).values


def gather(values: Tensor, when: Tensor) -> Tensor:
    """`values` [B,T,...] at `when` [B,k] -> [B,k,...]."""
    rows = torch.arange(len(when), device=when.device)[:, None]
    return values[rows, when.long()]


def one_hot(when: Tensor, count: int) -> Tensor:
    """`when` [B,k] -> [B,k,count] float, of comparisons only (every engine has them)."""
    return (when[..., None] == torch.arange(count, device=when.device, dtype=when.dtype)).float()


def gumbel_noise(like: Tensor) -> Tensor:
    """Standard Gumbel noise of the same shape."""
    uniform = torch.rand_like(like).clamp(1e-9, 1 - 1e-7)
    return -torch.log(-torch.log(uniform))


def random_subset(saliency: Tensor, present: Tensor, k: int) -> Tensor:
    """A uniformly random k-subset of the `present` [B,T] snippets (others only when too few), sorted: [B,k]."""
    return top_k(torch.rand_like(saliency) + present, k)


def gumbel_top_k(saliency: Tensor, k: int, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """A sampled k-subset [B,k] and its straight-through weights [B,k]: value 1, gradient of k * softmax."""
    keys = saliency + gumbel_noise(saliency)
    when = top_k(keys.detach(), k)
    soft = gather(k * torch.softmax(keys / temperature, 1), when)
    return when, 1 + soft - soft.detach()


def expectation(saliency: Tensor, logits: Tensor, draws: int, repeats: int = 64) -> Tensor:
    """Expected logits of a sampled snippet, averaged over sampling without replacement: [B,C].

    With w = softmax(saliency): for i = 0 .. draws - 1 take i distinct snippets at random by w away and let
    E_i = Σ_t w_t · y_t / Σ_t w_t over the rest, the denominator without gradient; average over i and `repeats`.
    Sampling without replacement by w is the order of log w + Gumbel noise (Gumbel top-k).
    `saliency` [B,T], `logits` y [B,T,C]; 1 <= draws <= T.
    """
    weights = saliency.softmax(1)
    keys = saliency.detach()[None] + gumbel_noise(saliency.detach().expand(repeats, -1, -1))
    rank = keys.argsort(-1, descending=True).argsort(-1)  # [repeats,B,T]: when each snippet is taken away
    steps = torch.arange(draws, device=saliency.device)
    left = (rank[None] >= steps[:, None, None, None]).to(weights.dtype)  # [draws,repeats,B,T]
    share = weights.detach() * left
    factor = (left / share.sum(-1, keepdim=True).clamp(min=1e-6)).mean((0, 1))  # [B,T]
    return ((weights * factor)[..., None] * logits).sum(1)


def pseudo_label_loss(saliency: Tensor, evidence: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(q || softmax(saliency)) with q = softmax over t of the detached evidence; `evidence` [B,T] = log p(label)."""
    target = torch.softmax(evidence.detach() / temperature, 1)
    return F.kl_div(saliency.log_softmax(1), target, reduction="batchmean")
