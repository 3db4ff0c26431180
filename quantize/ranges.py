"""Ranges of quantisers: of the whole range of what passes and narrower ones, the one with the least squared error.

NNCF averages the least and the largest value of each input, which cuts off much where inputs differ in loudness or
contrast: the rare large values are those that decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from quantize.quantizer import Quantizer, Spec, quantizers, weight_of

SHRUNK = tuple(1 - 0.08 * number for number in range(9))  # shares of the whole range that are tried
_INPUTS = 64


@torch.no_grad()
def fit_ranges(net: nn.Module, seen: Sequence[Tensor | tuple[Tensor, ...]]) -> None:
    """Set the steps of all quantisers in `net`: of weights by the weights, of activations by the batches `seen`.

    A net of several inputs is given a tuple of them each time.
    """
    hooks = quantizers(net)
    for place, hook in hooks.items():
        if hook.is_weight:
            hook.steps.copy_(weight_steps(weight_of(net, place), hook.spec))
    activations = [hook for hook in hooks.values() if not hook.is_weight]
    fits = [_Fit(hook) for hook in activations]
    for hook in hooks.values():
        hook.on = False
    batches = seen[:: max(1, len(seen) * len(seen[0]) // _INPUTS)]
    for look in (_Fit.see_ends, _Fit.see_errors):
        handles = [
            hook.register_forward_pre_hook(lambda _, given, fit=fit, look=look: look(fit, given[0]))
            for hook, fit in zip(activations, fits, strict=True)
        ]
        for batch in batches:
            net(*(batch if isinstance(batch, tuple) else (batch,)))
        for handle in handles:
            handle.remove()
    for hook, fit in zip(activations, fits, strict=True):
        hook.spec = fit.best()
    for hook in hooks.values():
        hook.on = True


class _Fit:
    """What passes one quantiser of activations: its ends, then the squared error of each spec that is tried."""

    def __init__(self, hook: Quantizer) -> None:
        self.spec, self.low, self.high = hook.spec, 0.0, 0.0
        before = hook.spec.place.startswith("pre_hooks.") and "/hardswish/" in hook.spec.place
        self.floor = -3.0 if before else -math.inf  # hard-swish makes 0 of all below
        self.errors = torch.zeros(len(SHRUNK), dtype=torch.float64)

    def see_ends(self, x: Tensor) -> None:
        """The range is widened to hold `x`."""
        x = x.clamp(min=self.floor)
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))

    def see_errors(self, x: Tensor) -> None:
        """The errors that each spec makes of `x` are added."""
        x = x.clamp(min=self.floor)
        self.errors += torch.tensor([float((Quantizer(spec)(x) - x).square().sum()) for spec in self._tried()])

    def best(self) -> Spec:
        """The spec with the least error so far."""
        return self._tried()[int(self.errors.argmin())]

    def _tried(self) -> list[Spec]:
        return [spanning(self.spec, share * self.low, share * self.high) for share in SHRUNK]


def spanning(spec: Spec, low: float, high: float) -> Spec:
    """`spec` for values from `low` <= 0 to `high` >= 0, of its own kind: from 0 on, symmetric, or neither."""
    if spec.zero_point == spec.low:
        return replace(spec, step=max(high, 1e-6) / (spec.high - spec.low))
    if spec.zero_point == 0:
        return replace(spec, step=max(-low, high, 1e-6) / spec.high)
    return asymmetric(spec.place, low, high)


def asymmetric(place: str, low: float, high: float) -> Spec:
    """The quantiser whose 256 values span `low` <= 0 <= `high`, with a value for 0 itself."""
    step = max(high - low, 1e-6) / 255
    return Spec(place, -128, 127, step, max(-128, min(127, round(-low / step) - 128)))


def weight_steps(weight: Tensor, spec: Spec) -> Tensor:
    """For each channel along the spec's axis the step, of those tried, that changes its weights least."""
    rows = weight.detach().movedim(spec.axis or 0, 0).flatten(1)
    whole = rows.abs().amax(1).clamp(min=1e-8) / spec.high
    tried = torch.stack([share * whole for share in SHRUNK])
    stored = (rows / tried[..., None]).round().clamp(spec.low, spec.high)
    errors = (stored * tried[..., None] - rows).square().sum(-1)
    return tried.gather(0, errors.argmin(0, keepdim=True))[0]
