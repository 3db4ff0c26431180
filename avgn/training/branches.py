"""The network's forward pass in training: the chosen branch and the random one, with modality dropout.

From AdaFocusV2: a second branch on random places keeps the focus net and the classifier robust. Ours: its temporal twin
(random subsets of snippets), and modality dropout by masks, so that a clip without sound or picture is nothing new.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from avgn.network.avgn import AVGN, Batch, Glance, unfold
from avgn.network.saliency import Selected
from avgn.network.topk import expectation, gumbel_top_k, random_subset, top_k


class Outputs(NamedTuple):
    """Everything the losses look at. B clips, T snippets, k chosen, C classes."""

    logits: Tensor  # [B,C] of the chosen branch
    random_logits: Tensor  # [B,C] of the random branch
    local_logits: Tensor  # [B,k,C] of the focus encoder's auxiliary head, chosen branch
    random_local_logits: Tensor  # [B,k,C]
    selected: Selected
    expected_logits: Tensor | None  # [B,C] for saliency training by expectation
    frame_logits: Tensor  # [B,T,C]
    sound_logits: Tensor  # [B,T,C]
    heat: Tensor  # [B,T,h,w] of π
    when: Tensor  # [B,k] chosen
    heard: Tensor  # [B,T] after modality dropout
    seen: Tensor  # [B,T] after modality dropout


def drop_modalities(batch: Batch, share: float) -> Batch:
    """Hide the sound of a `share` of the clips and the picture of another, never both and never the only one."""
    draw = torch.rand(len(batch.heard), 1, device=batch.heard.device)
    both = batch.heard.amax(1, keepdim=True) * batch.seen.amax(1, keepdim=True)
    deaf, blind = (draw < share) * both, (draw > 1 - share) * both
    return batch._replace(heard=batch.heard * (1 - deaf), seen=batch.seen * (1 - blind))


def run_branches(model: AVGN, batch: Batch, dropout: float = 0.0) -> Outputs:
    """One training pass over `batch`; `dropout` is the share of clips that lose their sound, and their picture."""
    batch = drop_modalities(batch, dropout)
    glance = model.glance_all(batch)
    visual, audio = unfold(glance.visual, batch), unfold(glance.audio, batch)
    selected = model.select(visual, audio, batch.heard, batch.seen)
    when, weight = _choose(model, selected)
    logits, local = model.look(batch, glance, selected, when, weight=weight)
    random_logits, random_local = _random_branch(model, batch, glance, selected)
    return Outputs(
        logits,
        random_logits,
        model.focus_head(local),
        model.focus_head(random_local),
        selected,
        _expected(model, selected),
        unfold(glance.frame_logits, batch),
        unfold(glance.sound_logits, batch),
        unfold(glance.place.heat, batch),
        when,
        batch.heard,
        batch.seen,
    )


def _choose(model: AVGN, selected: Selected) -> tuple[Tensor, Tensor | None]:
    k = model.config.chosen
    if model.config.saliency.training == "gumbel":
        return gumbel_top_k(selected.saliency, k)
    return top_k(selected.saliency.detach(), k), None


def _expected(model: AVGN, selected: Selected) -> Tensor | None:
    if model.config.saliency.training != "expectation":
        return None
    draws = max(1, model.config.snippets // 3)
    return expectation(selected.saliency, selected.snippet_logits, draws)


def _random_branch(model: AVGN, batch: Batch, glance: Glance, selected: Selected) -> tuple[Tensor, Tensor]:
    present = torch.maximum(batch.heard, batch.seen)
    when = random_subset(selected.saliency, present, model.config.chosen)
    centres = torch.rand(*when.shape, 2, device=when.device)
    return model.look(batch, glance, selected, when, centres=centres)
