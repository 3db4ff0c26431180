"""A quantised run whose quantisers were put in by hand: NNCF on three encoders would take minutes."""

from __future__ import annotations

import sys
from pathlib import Path

from torch import nn

from avgn.config import Config
from avgn.network.avgn import AVGN
from avgn.network.checkpoint import new_run, save_run
from quantize.ptq import HALF, fuse_norms
from quantize.quantizer import Spec, install, owner, quantizers
from quantize.state import ENCODERS, save_quantised, with_parts

sys.path.insert(0, str(Path(__file__).parent.parent / "avgn" / "network"))
from small import network


def quantised_by_hand(folder: Path, config: Config, labels: tuple[str, ...]) -> AVGN:
    """Write `folder`/float and `folder`/int8, whose first convolutions are quantised; returns the int8 network."""
    model = network(config)
    save_run(folder / "float", model, new_run(config, labels))
    encoders = {}
    for name in ENCODERS:
        net = fuse_norms(getattr(network(config), name))
        layer = next(path for path, part in net.named_modules() if isinstance(part, nn.Conv2d))
        place = f"{layer.replace('.', '/')}/conv2d/0"
        specs = [Spec(f"pre_hooks.{place}__0.0", -128, 127, 0.03, 5), Spec(f"pre_hooks.{place}__1.0", *HALF, axis=0)]
        install(net, specs)
        hook = quantizers(net)[specs[1].place]
        hook.steps.copy_(owner(net, specs[1].place).weight.detach().abs().amax((1, 2, 3)) / 63)
        encoders[name] = net
        net.get_submodule(layer).bias.data += 0.01  # as a corrected bias
    save_quantised(folder / "int8", folder / "float", encoders, "by hand")
    return with_parts(model, encoders)
