"""The training loss: cross entropy on every answer, the saliency's own loss, and optional true supervision."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from avgn.config import SelectionTraining
from avgn.data.samples import Truth
from avgn.network.topk import gather, pseudo_label_loss
from avgn.training.branches import Outputs


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term. Saliency and place supervision are off: the method itself needs labels only."""

    early: float = 1.0
    frame: float = 0.5
    sound: float = 0.5
    local: float = 0.5
    saliency: float = 1.0
    true_saliency: float = 0.0
    true_place: float = 0.0


def losses(out: Outputs, truth: Truth, weights: LossWeights, training: SelectionTraining) -> dict[str, Tensor]:
    """Named terms (scalars); the total is their weighted sum under `total`."""
    label = truth.label
    shares = _shares(out, truth if weights.true_saliency else None)
    terms = {
        "chosen": F.cross_entropy(out.logits, label) / 2,
        "random": F.cross_entropy(out.random_logits, label) / 2,
        "early": weights.early * F.cross_entropy(out.selected.logits, label),
        "frame": weights.frame * weighted(out.frame_logits, label, shares * out.seen),
        "sound": weights.sound * weighted(out.sound_logits, label, shares * out.heard),
        "local": weights.local * _local(out, label, shares),
        "saliency": weights.saliency * _saliency(out, label, training),
    }
    if weights.true_saliency:
        terms["true_saliency"] = weights.true_saliency * true_saliency(out, truth)
    if weights.true_place:
        terms["true_place"] = weights.true_place * true_place(out.heat, truth.boxes, out.seen)
    return terms | {"total": torch.stack(list(terms.values())).sum()}


def true_saliency(out: Outputs, truth: Truth) -> Tensor:
    """Binary cross entropy of the saliency against the true interval, over the snippets that hold anything."""
    present = torch.maximum(out.heard, out.seen)
    each = F.binary_cross_entropy_with_logits(out.selected.saliency.clamp(-50, 50), truth.salient, reduction="none")
    return (each * present).sum() / present.sum().clamp(min=1)


def true_place(heat: Tensor, boxes: Tensor, seen: Tensor) -> Tensor:
    """Cross entropy of softmax(`heat` [B,T,h,w]) against the share of each cell that the true box [B,T,4] covers."""
    height, width = heat.shape[-2:]
    known = seen * ~boxes.isnan().any(-1)
    cover = box_cover(boxes.nan_to_num(0.0), height, width)
    target = cover / cover.sum((-2, -1), keepdim=True).clamp(min=1e-6)
    each = -(target * heat.flatten(-2).log_softmax(-1).unflatten(-1, (height, width))).sum((-2, -1))
    return (each * known).sum() / known.sum().clamp(min=1)


def box_cover(boxes: Tensor, height: int, width: int) -> Tensor:
    """How much of each cell of a `height` x `width` grid lies in the `boxes` [...,4]: [...,height,width] in 0..1."""
    y0, x0, y1, x1 = boxes.unbind(-1)
    return _cover(y0, y1, height)[..., :, None] * _cover(x0, x1, width)[..., None, :]


def _cover(low: Tensor, high: Tensor, cells: int) -> Tensor:
    """How much of each of `cells` equal cells of 0..1 lies in [low, high]: [..., cells], in cells."""
    edges = torch.arange(cells, device=low.device, dtype=low.dtype)
    return (torch.minimum(high[..., None] * cells, edges + 1) - torch.maximum(low[..., None] * cells, edges)).clamp(
        0, 1
    )


def _shares(out: Outputs, truth: Truth | None) -> Tensor:
    """How far each snippet is held to the clip's label [B,T]: by the saliency itself, or by the true interval."""
    if truth is not None:
        return truth.salient
    return out.selected.saliency.detach().softmax(1)


def weighted(logits: Tensor, label: Tensor, share: Tensor) -> Tensor:
    """Cross entropy of `logits` [B,T,C] with the clip's label, weighted by `share` [B,T]."""
    count = logits.shape[1]
    each = F.cross_entropy(logits.flatten(0, 1), label.repeat_interleave(count), reduction="none")
    return (each * share.flatten()).sum() / share.sum().clamp(min=1e-6)


def _local(out: Outputs, label: Tensor, shares: Tensor) -> Tensor:
    """The focus encoder's auxiliary loss: chosen snippets by their share, random ones lightly."""
    chosen = weighted(out.local_logits, label, gather(shares * out.seen, out.when))
    even = torch.ones_like(out.random_local_logits[..., 0])
    return chosen + 0.1 * weighted(out.random_local_logits, label, even)


def _saliency(out: Outputs, label: Tensor, training: SelectionTraining) -> Tensor:
    if training == "expectation" and out.expected_logits is not None:
        return F.cross_entropy(out.expected_logits, label)
    if training == "pseudo_label":
        every = out.selected.snippet_logits.log_softmax(-1)
        evidence = every.gather(-1, label[:, None, None].expand(-1, every.shape[1], 1))[..., 0]
        return pseudo_label_loss(out.selected.saliency, evidence) + _snippet_loss(out, label)
    return _snippet_loss(out, label)


def _snippet_loss(out: Outputs, label: Tensor) -> Tensor:
    """Per-snippet evidence needs a teacher of its own where the expectation does not give one."""
    return F.cross_entropy(out.selected.snippet_logits.mean(1), label)
