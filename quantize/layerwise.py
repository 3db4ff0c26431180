"""A quantised net is put right layer by layer, first to last: each on what the layers before it really give.

Its weights are rounded anew (`quantize.rounding`); then its bias is shifted so that each channel keeps the mean that it
has in the float net. Rounding errors have means of their own, which add up over layers (Nagel 2019, empirical bias
correction).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from quantize.quantizer import quantizers, weight_layers
from quantize.rounding import round_layer

_MEANS_OF = 32  # inputs from which the means of channels are told
_ROUNDED_FOR = 128  # inputs for which weights are rounded
_GROUP = 32  # inputs at once


@torch.no_grad()
def round_weights(net: nn.Module, wanted: nn.Module, seen: Sequence[Tensor]) -> None:
    """Round the weights of the quantised `net` for the batches `seen` of its inputs, and correct its biases.

    `wanted` is the float net, batch norms folded; weights and biases of `net` are still those.
    """
    found = quantizers(net)
    hooks = {name: found[place] for place, name in weight_layers(net).items()}
    inputs = spread(torch.cat(list(seen)), _ROUNDED_FOR)

    def anew(name: str) -> None:
        layer = net.get_submodule(name)
        assert isinstance(layer, (nn.Conv2d, nn.Linear)), "nothing else has a quantiser of weights"
        layer.weight.data = round_layer(layer, hooks[name], inputs_of(net, inputs, name))

    _layer_by_layer(net, wanted, spread(torch.cat(list(seen)), _MEANS_OF), anew)


@torch.no_grad()
def correct_biases(net: nn.Module, wanted: nn.Module, seen: Sequence[Tensor]) -> None:
    """Shift each bias of the quantised `net` by what its channels' means lie off those of the float net `wanted`."""
    _layer_by_layer(net, wanted, spread(torch.cat(list(seen)), _MEANS_OF), lambda _: None)


def _layer_by_layer(net: nn.Module, wanted: nn.Module, inputs: Tensor, before: Callable[[str], None]) -> None:
    """Correct the quantised layers in the order in which they run, each after `before` was told its name."""
    for name, aim in channel_means(wanted, inputs, list(weight_layers(net).values())).items():
        before(name)
        if getattr(net.get_submodule(name), "bias", None) is not None:
            net.get_parameter(f"{name}.bias").add_(aim - channel_means(net, inputs, [name])[name])


def spread(inputs: Tensor, most: int) -> Tensor:
    """Up to `most` of the inputs [n,...], spread over all."""
    return inputs[torch.linspace(0, len(inputs) - 1, min(most, len(inputs))).round().long()]


class _ReachedError(Exception):
    """The last layer that was asked for has been reached."""


def channel_means(net: nn.Module, inputs: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Mean of each channel of the outputs of the layers `names`, in the order in which they run."""
    means: dict[str, Tensor] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
            means[name] = output.transpose(0, 1).flatten(1).mean(1)
            if len(means) == len(names):
                raise _ReachedError

        return hook

    handles = [net.get_submodule(name).register_forward_hook(note(name)) for name in names]
    try:
        net(inputs)
    except _ReachedError:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return means


def inputs_of(net: nn.Module, inputs: Tensor, name: str) -> Tensor:
    """What the layer `name` is given when `net` is given `inputs`."""
    found: list[Tensor] = []

    def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        found.append(given[0].clone())
        raise _ReachedError

    handle = net.get_submodule(name).register_forward_pre_hook(note)
    try:
        for group in inputs.split(_GROUP):
            try:
                net(group)
            except _ReachedError:
                continue
    finally:
        handle.remove()
    return torch.cat(found)
