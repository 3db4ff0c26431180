import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avgn.data.samples import Truth
from avgn.network.patches import cell_centres
from avgn.training.branches import drop_modalities, run_branches
from avgn.training.losses import LossWeights, losses, true_place

sys.path.insert(0, str(Path(__file__).parent.parent / "network"))
from small import SMALL, batch, network

NO_BOXES = torch.full((3, 6, 4), float("nan"))
TRUTH = Truth(torch.tensor([0, 1, 4]), torch.ones(3, 6), NO_BOXES)
# A constant added to every score of a softmax changes nothing: these have no gradient by construction.
INVARIANT = ("select_net.saliency.bias", ".key.bias")


@pytest.mark.parametrize("training", ["expectation", "pseudo_label", "gumbel"])
def test_every_part_is_trained_end_to_end(training):
    config = replace(SMALL, saliency=replace(SMALL.saliency, training=training))
    model = network(config).train()
    torch.manual_seed(3)
    terms = losses(run_branches(model, batch()), TRUTH, LossWeights(), training)
    terms["total"].backward()
    dead = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.abs().sum() > 0]
    assert [name for name in dead if not name.endswith(INVARIANT)] == []
    assert all(term.isfinite() for term in terms.values())


def test_the_policy_learns_from_the_crop_alone():
    model = network().train()
    out = run_branches(model, batch())
    torch.nn.functional.cross_entropy(out.local_logits.mean(1), TRUTH.label).backward()
    assert model.patch_net.policy[0].weight.grad.abs().sum() > 0


def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)
    model, clips = network().train(), batch()
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    values = []
    for _ in range(12):
        loss = losses(run_branches(model, clips), TRUTH, LossWeights(), "expectation")["total"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(float(loss.detach()))
    assert sum(values[-3:]) < 0.7 * sum(values[:3])


def test_dropped_modalities_are_never_both():
    torch.manual_seed(0)
    clips = batch(2)
    heard, seen = torch.ones(400, 6), torch.ones(400, 6)
    heard[:100] = 0
    dropped = drop_modalities(clips._replace(heard=heard, seen=seen), 0.25)
    assert torch.equal(dropped.seen[:100], seen[:100])
    assert (torch.maximum(dropped.heard, dropped.seen) == 1).all()
    for mask in (dropped.heard, dropped.seen):
        assert (mask[100:, 0] == 0).float().mean() == pytest.approx(0.25, abs=0.08)


def test_true_place_is_least_where_the_box_is():
    centres = cell_centres(5, 5)
    box = torch.tensor([[[0.0, 0.6, 0.2, 0.8]]])

    def heat(cell):
        return torch.nn.functional.one_hot(torch.tensor(cell), 25).float().reshape(1, 1, 5, 5) * 5

    values = [float(true_place(heat(cell), box, torch.ones(1, 1))) for cell in range(25)]
    best = min(range(25), key=values.__getitem__)
    assert centres[best].tolist() == pytest.approx([0.1, 0.7])


def test_true_place_ignores_snippets_without_a_box():
    heat = torch.full((1, 2, 5, 5), 1 / 25, requires_grad=True)
    loss = true_place(heat, torch.full((1, 2, 4), float("nan")), torch.ones(1, 2))
    loss.backward()
    assert loss == 0
    assert heat.grad.abs().sum() == 0
