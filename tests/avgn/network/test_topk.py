from itertools import permutations

import pytest
import torch

from avgn.network.topk import expectation, gather, gumbel_top_k, one_hot, pseudo_label_loss, random_subset


def exact_expectation(weights, logits, draws):
    """Every order of taking snippets away, with its probability: the formula without Monte Carlo."""
    count = len(weights)
    total = torch.zeros(logits.shape[-1])
    for step in range(draws):
        for taken in permutations(range(count), step):
            chance, left = 1.0, 1.0
            for index in taken:
                chance, left = chance * float(weights[index]) / left, left - float(weights[index])
            rest = [index for index in range(count) if index not in taken]
            share = weights[rest] / weights[rest].sum()
            total += chance * (share[:, None] * logits[rest]).sum(0)
    return total / draws


def test_expectation_is_that_of_sampling_without_replacement():
    torch.manual_seed(0)
    saliency, logits = torch.randn(1, 5), torch.randn(1, 5, 3)
    found = expectation(saliency, logits, draws=3, repeats=20_000)[0]
    assert torch.allclose(found, exact_expectation(saliency[0].softmax(0), logits[0], 3), atol=0.02)


def test_expectation_moves_saliency_to_the_telling_snippet():
    torch.manual_seed(0)
    saliency = torch.zeros(1, 4, requires_grad=True)
    logits = torch.zeros(1, 4, 2)
    logits[0, 2, 1] = 4.0
    loss = torch.nn.functional.cross_entropy(expectation(saliency, logits, draws=2), torch.tensor([1]))
    loss.backward()
    assert saliency.grad[0].argmin() == 2
    assert saliency.grad[0, 2] < 0


def test_gumbel_weights_are_one_and_carry_a_gradient():
    torch.manual_seed(0)
    saliency = torch.randn(2, 6, requires_grad=True)
    when, weight = gumbel_top_k(saliency, 3)
    assert when.shape == (2, 3)
    assert torch.allclose(weight, torch.ones(2, 3))
    weight.sum().backward()
    assert saliency.grad.abs().sum() > 0


def test_gumbel_top_k_samples_by_softmax():
    torch.manual_seed(0)
    saliency = torch.tensor([[0.0, 1.0, 2.0]]).expand(20_000, -1)
    when, _ = gumbel_top_k(saliency, 1)
    share = torch.bincount(when.flatten(), minlength=3) / 20_000
    assert torch.allclose(share, saliency[0].softmax(0), atol=0.015)


def test_pseudo_label_loss_is_zero_where_saliency_is_the_evidence():
    evidence = torch.randn(2, 5)
    assert pseudo_label_loss(evidence + 7, evidence) == pytest.approx(0.0, abs=1e-6)
    assert pseudo_label_loss(-evidence, evidence) > 0.01


def test_random_subset_prefers_what_is_present():
    present = torch.tensor([[1.0, 0, 1, 0, 1, 0]]).expand(50, -1)
    assert set(random_subset(present, present, 3).flatten().tolist()) == {0, 2, 4}


def test_gather_and_one_hot_agree():
    values, when = torch.randn(2, 5, 3), torch.tensor([[0, 3], [2, 4]], dtype=torch.int32)
    assert torch.allclose(one_hot(when, 5) @ values, gather(values, when))
