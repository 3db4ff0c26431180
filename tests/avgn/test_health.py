import pytest

from avgn.health import ENOUGH, SIGNS, clip_warnings, set_warnings, spread

LIVELY = (-3.0, 1.0, 4.0, -2.0)
FLAT = (1.0, 1.1, 0.9, 1.0)
SPREAD_OUT = [(index / ENOUGH, 1 - index / ENOUGH) for index in range(ENOUGH)]


def test_a_clip_with_a_flat_saliency_is_told_of():
    assert clip_warnings(LIVELY) == []
    (warning,) = clip_warnings(FLAT)
    assert "flat" in warning and "0.071" in warning


def test_missing_snippets_do_not_count():
    assert clip_warnings((*FLAT, -1e4)) == clip_warnings(FLAT)
    assert clip_warnings((2.0, -1e4)) == []  # one snippet alone cannot differ
    assert spread((-1e4, -1e4)) == 0


@pytest.mark.parametrize(
    ("sign", "set_of"),
    [
        (None, ([LIVELY] * ENOUGH, SPREAD_OUT, [False] * ENOUGH)),
        ("flat", ([FLAT] * ENOUGH, SPREAD_OUT, [False] * ENOUGH)),
        ("stuck", ([LIVELY] * ENOUGH, [(0.5, 0.4)] * ENOUGH, [False] * ENOUGH)),
        ("flips", ([LIVELY] * ENOUGH, SPREAD_OUT, [True, False] * (ENOUGH // 2))),
    ],
)
def test_a_set_shows_each_sign(sign, set_of):
    told = set_warnings(*set_of)
    assert len(told) == (sign is not None)
    assert sign is None or told[0].startswith(SIGNS[sign].says)


def test_nothing_is_said_of_few_clips():
    few = ENOUGH - 1
    assert set_warnings([FLAT] * few, [(0.5, 0.5)] * few, [True] * few) == []


def test_patches_that_move_along_one_axis_are_not_stuck():
    assert set_warnings([], [(0.5, index / ENOUGH) for index in range(ENOUGH)], []) == []
