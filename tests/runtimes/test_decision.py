from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax as scipys

from runtimes.decision import best, softmax


@given(arrays(np.float32, st.integers(1, 20), elements=st.floats(-(2.0**99), 2.0**99, width=32)))
def test_softmax_is_scipys_and_never_overflows(logits):
    found = softmax(logits)
    np.testing.assert_allclose(found, scipys(logits.astype(np.float64)), atol=1e-12)
    assert abs(sum(found) - 1) < 1e-9


def test_the_five_best_with_ties_to_the_earlier_label():
    labels = tuple("abcdefg")
    top = best((0.1, 0.3, 0.1, 0.3, 0.05, 0.05, 0.1), labels)
    assert "".join(scored.label for scored in top) == "bdacg"
    assert [scored.score for scored in top] == [0.3, 0.3, 0.1, 0.1, 0.1]
    assert len(best((1.0,), ("only",))) == 1
