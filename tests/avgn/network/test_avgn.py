from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import SMALL, batch, network

from avgn.network.patches import crop
from avgn.selection import patch_corner
from avgn.selection import top_k as host_top_k


@pytest.mark.parametrize(("top", "left"), [(0, 0), (5, 17), (32, 64)])
def test_crop_at_whole_pixels_equals_slicing(top, left):
    pictures = torch.rand(1, 3, 96, 128)
    centre = torch.tensor([[(top + 32) / 96, (left + 32) / 128]])
    assert torch.allclose(crop(pictures, centre, 64), pictures[..., top : top + 64, left : left + 64], atol=1e-4)


@given(st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_crop_is_within_half_a_pixel_of_the_hosts_slice(y, x):
    ramp = torch.stack(torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij"))
    pictures = torch.cat([ramp, ramp[:1]])[None]
    top, left = patch_corner((y, x), 96, 128, 64)
    found = crop(pictures, torch.tensor([[y, x]]), 64)[0, :2]
    assert (found - ramp[:, top : top + 64, left : left + 64]).abs().max() <= 0.5 + 1e-3


def test_crop_has_the_gradient_of_moving_the_centre():
    ramp = (torch.arange(128.0) ** 2 / 128).expand(1, 3, 96, 128).double()
    centre = torch.tensor([[0.5, 0.52]], dtype=torch.float64, requires_grad=True)
    crop(ramp, centre, 64).mean().backward()
    step = torch.tensor([[0.0, 1e-4]], dtype=torch.float64)
    with torch.no_grad():
        slope = (crop(ramp, centre + step, 64).mean() - crop(ramp, centre - step, 64).mean()) / 2e-4
    assert centre.grad[0, 1] == pytest.approx(float(slope), rel=1e-2)
    assert abs(float(centre.grad[0, 0])) < 1e-9


def test_a_centre_beyond_the_edge_can_come_back():
    ramp = torch.arange(128.0).expand(1, 3, 96, 128)
    centre = torch.tensor([[0.5, 1.0]], requires_grad=True)
    crop(ramp, centre, 64).mean().backward()
    assert centre.grad[0, 1] > 1


def test_all_snippets_and_whole_frames_make_a_plain_frame_average_net():
    """k = T and a patch as large as the picture: the answer is a linear map of frame averages, made here by hand."""
    config = replace(
        SMALL, chosen=SMALL.snippets, patch=replace(SMALL.patch, size=96), fusion=replace(SMALL.fusion, layers=0)
    )
    model, clips = network(config), batch(2, config)
    clips = clips._replace(pictures=clips.pictures[..., :96])
    with torch.no_grad():
        found = model(clips)
        glance = model.glance_all(clips)
        features = model.focus_encoder(model.focus_pixels(clips.pictures.flatten(0, 1))).mean((2, 3))
        local = features.unflatten(0, (2, -1)).mean(1)
        context = glance.place.context.unflatten(0, (2, -1)).mean(1)
        visual, audio = (value.unflatten(0, (2, -1)) for value in (glance.visual, glance.audio))
        tokens = model.select(visual, audio, clips.heard, clips.seen).tokens
        sound = tokens[:, config.snippets :].mean(1)
        fusion = model.fusion
        expected = fusion.classifier(torch.cat([context, fusion.local(local), sound], 1))
    assert torch.allclose(found, expected, atol=1e-5)


def test_another_clips_sound_changes_nothing():
    model, clips = network(), batch(3)
    other = clips.mel.clone()
    other[1] = torch.randn_like(other[1]) * 3
    with torch.no_grad():
        before, after = model(clips), model(clips._replace(mel=other))
    change = (before - after).abs().amax(1)
    assert change[[0, 2]].max() < 1e-6 < 1e-5 < change[1]


@pytest.mark.parametrize("kind", ["silent", "clipped", "unheard", "unseen", "neither"])
def test_unusual_sound_and_picture_give_finite_answers(kind):
    model, clips = network(), batch(2)
    none = torch.zeros_like(clips.heard)
    clips = {
        "silent": clips._replace(mel=torch.full_like(clips.mel, -1.4)),
        "clipped": clips._replace(mel=torch.full_like(clips.mel, 3.0)),
        "unheard": clips._replace(heard=none, mel=torch.zeros_like(clips.mel)),
        "unseen": clips._replace(seen=none),
        "neither": clips._replace(seen=none, heard=none),
    }[kind]
    with torch.no_grad():
        assert model(clips).isfinite().all()


@pytest.mark.parametrize(("hidden", "values"), [("heard", "mel"), ("seen", "frames")])
def test_what_is_masked_has_no_influence(hidden, values):
    """A missing sound is not silence, and a missing picture is not black: whatever stands there changes nothing."""
    model, clips = network(), batch(2)
    clips = clips._replace(**{hidden: torch.zeros_like(clips.heard)})
    changed = clips._replace(**{values: torch.rand_like(getattr(clips, values))})
    if hidden == "seen":
        changed = changed._replace(pictures=torch.rand_like(clips.pictures))
    with torch.no_grad():
        assert torch.allclose(model(clips), model(changed), atol=1e-5)


def test_missing_sound_differs_from_silence():
    model, clips = network(), batch(2)
    silent = clips._replace(mel=torch.full_like(clips.mel, -1.4))
    with torch.no_grad():
        assert not torch.allclose(model(silent), model(silent._replace(heard=torch.zeros_like(clips.heard))), atol=1e-4)


def test_attention_over_the_sound_is_not_constant():
    model, clips = network(), batch(1)
    frame_map = model.frame_encoder(model.frame_pixels(clips.frames[0]))
    sound_map = model.sound_encoder(clips.mel[0])
    weights = model.patch_net.attention_weights(frame_map, sound_map)
    assert weights.shape[-1] == 16
    assert weights.sum(-1).allclose(torch.ones(1), atol=1e-5)
    assert weights.std() > 0


def test_the_search_for_a_place_does_not_reach_the_encoders():
    model, clips = network(), batch(1)
    model.glance_all(clips).place.centre.sum().backward()
    assert all(parameter.grad is None for parameter in model.frame_encoder.parameters())
    assert all(parameter.grad is None for parameter in model.sound_encoder.parameters())
    assert any(parameter.grad is not None for parameter in model.patch_net.parameters())


def test_unfilled_slots_change_nothing():
    """The device fills slots it does not use with zeros: the answer is that of the filled ones alone."""
    config = replace(SMALL, chosen=4)
    model, clips = network(config), batch(1, config)
    with torch.no_grad():
        glance = model.glance_all(clips)
        visual, audio = glance.visual[None], glance.audio[None]
        tokens = model.select(visual, audio, clips.heard, clips.seen).tokens
        local = torch.rand(1, 4, model.focus_encoder.channels)
        context = glance.place.context[None, :4]
        used = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
        blank = used[..., None]
        two = model.classify(
            tokens, context[:, :2], local[:, :2], torch.tensor([[1, 3]]), used[:, :2], clips.heard, clips.seen
        )
        four = model.classify(
            tokens, context * blank, local * blank, torch.tensor([[1, 3, 0, 0]]), used, clips.heard, clips.seen
        )
    assert torch.allclose(two, four, atol=1e-5)


@given(st.lists(st.integers(0, 3), min_size=6, max_size=6), st.integers(1, 6))
def test_top_k_is_sorted_unique_and_prefers_the_earlier(values, k):
    from avgn.network.topk import top_k

    saliency = torch.tensor([values], dtype=torch.float32)
    chosen = top_k(saliency, k)[0].tolist()
    ranked = sorted(range(6), key=lambda index: (-values[index], index))[:k]
    assert chosen == sorted(ranked) == list(host_top_k(saliency[0].numpy(), k))
