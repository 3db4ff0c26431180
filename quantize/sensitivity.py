"""Which quantisers cost accuracy, and layers that go back to float because they cost most.

Each quantiser is switched off in turn; how much nearer its encoder then comes to the float encoder is what it costs.
The idea of the fallback is NNCF's accuracy control: weights of the worst layers stay in float, one layer more at a
time, until the error is small enough or as much work has left int8 as an export may lose.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from avgn.extras import version_of
from avgn.files import write_file
from avgn.network.avgn import AVGN
from quantize.layerwise import channel_means, correct_biases, spread
from quantize.ptq import fuse_norms
from quantize.quantizer import quantizers, remove, weight_layers
from quantize.shares import LEAST_SHARE, STAGES, int8_layers, int8_shares, work_shares
from quantize.state import ENCODERS

FILES = ("sensitivity.json", "sensitivity.md", "sensitivity.png")
INPUTS = 16


@dataclass(frozen=True)
class Cost:
    """One quantiser: the encoder's relative RMS error with it and without; `share` of its stage's work in its layer."""

    encoder: str
    place: str
    layer: str
    weights: bool
    share: float
    error: float
    without: float

    @property
    def gain(self) -> float:
        """By how much the squared error shrinks without it."""
        return self.error**2 - self.without**2


@dataclass(frozen=True)
class Step:
    """The state after one more layer (none at first) went back to float."""

    layer: str
    errors: dict[str, float]
    int8: dict[str, float]  # share of each stage's multiply-accumulates


@dataclass(frozen=True)
class Report:
    """Costs, worst first, and the steps of the fallback."""

    inputs: int
    costs: tuple[Cost, ...]
    steps: tuple[Step, ...]


def relative_rms(net: nn.Module, given: Tensor, wanted: Tensor) -> float:
    """Root of the squared error of `net`'s answer to `given` over the squares of `wanted`."""
    with torch.no_grad():
        return float((net(given) - wanted).square().sum() / wanted.square().sum().clamp(min=1e-12)) ** 0.5


def costs_of(
    model: AVGN, encoders: dict[str, nn.Module], seen: dict[str, list[Tensor]], tick: Callable[[], None]
) -> list[Cost]:
    """What each quantiser costs, the worst first; `tick` is called after each."""
    found = []
    shares = work_shares(model, seen)
    for name, net in encoders.items():
        given = spread(torch.cat(seen[name]), INPUTS)
        with torch.no_grad():
            wanted = getattr(model, name)(given)
        error = relative_rms(net, given, wanted)
        layers, plain = weight_layers(net), fuse_norms(copy.deepcopy(getattr(model, name)))
        for place, hook in quantizers(net).items():
            layer = layers.get(place, "")
            left = relative_rms(without(net, place, plain, given), given, wanted)
            found.append(Cost(name, place, layer, hook.is_weight, shares[name].get(layer, 0.0), error, left))
            tick()
    return sorted(found, key=lambda cost: -cost.gain)


def without(net: nn.Module, place: str, plain: nn.Module, given: Tensor) -> nn.Module:
    """A copy of `net` without the quantiser at `place`; if of weights, the layer has those of `plain`, and its means.

    `plain` is the float encoder. The weights of `net` are rounded themselves, and the layer's bias was corrected for
    these: it would be wrong with others.
    """
    made, layer = copy.deepcopy(net), weight_layers(net).get(place, "")
    remove(made, place)
    if layer:
        with torch.no_grad():
            made.get_parameter(f"{layer}.weight").copy_(plain.get_parameter(f"{layer}.weight"))
            if made.get_submodule(layer).bias is not None:
                wanted, found = (channel_means(part, given, [layer])[layer] for part in (plain, made))
                made.get_parameter(f"{layer}.bias").add_(wanted - found)
    return made


def fall_back(
    model: AVGN,
    encoders: dict[str, nn.Module],
    seen: dict[str, list[Tensor]],
    costs: Sequence[Cost],
    most: float,
) -> tuple[dict[str, nn.Module], list[Step]]:
    """Copies of `encoders` whose worst layers have float weights again, until each errs by `most` at the most.

    At least LEAST_SHARE of each stage's work stays in int8, and layers that cost nothing stay as they are, so `most`
    may be missed: the steps, from none to all, tell. Layers that win most for their work go first.
    """
    made = {name: copy.deepcopy(net) for name, net in encoders.items()}
    plain = {name: fuse_norms(copy.deepcopy(getattr(model, name))) for name in encoders}
    given = {name: spread(torch.cat(values), INPUTS) for name, values in seen.items()}
    with torch.no_grad():
        wanted = {name: getattr(model, name)(given[name]) for name in made}
    errors = {name: relative_rms(net, given[name], wanted[name]) for name, net in made.items()}
    int8 = int8_shares(int8_layers(model, made), work_shares(model, seen))
    steps = [Step("none", dict(errors), dict(int8))]
    stage_of = {name: stage for stage, names in STAGES.items() for name in names}
    candidates = [cost for cost in costs if cost.weights and cost.gain > 0]
    for cost in sorted(candidates, key=lambda cost: -cost.gain / max(cost.share, 1e-4)):
        name, stage = cost.encoder, stage_of[cost.encoder]
        if errors[name] <= most or int8[stage] - cost.share < LEAST_SHARE:
            continue
        tried = without(made[name], cost.place, plain[name], given[name])
        error = relative_rms(tried, given[name], wanted[name])
        if error >= errors[name]:  # it won something alone, but not after those that went before
            continue
        made[name], errors[name] = tried, error
        int8[stage] -= cost.share
        steps.append(Step(f"{name}.{cost.layer}", dict(errors), dict(int8)))
    for name in {step.layer.split(".")[0] for step in steps[1:]}:
        correct_biases(made[name], plain[name], seen[name])
        errors[name] = relative_rms(made[name], given[name], wanted[name])
    return made, [*steps, Step("biases corrected anew", dict(errors), dict(int8))] if len(steps) > 1 else steps


def write_report(report: Report, folder: Path) -> None:
    """`sensitivity.json`, `.md` and, where matplotlib is installed, `.png` in `folder`."""
    write_file(folder / FILES[0], json.dumps(asdict(report), indent=1) + "\n")
    write_file(folder / FILES[1], markdown(report))
    if version_of("matplotlib"):
        plot(report, folder / FILES[2])


def markdown(report: Report, rows: int = 20) -> str:
    """The worst quantisers and the steps of the fallback as tables."""
    lines = [
        f"Relative RMS error of each encoder's map to float, on {report.inputs} inputs of it: with all quantisers, and",
        "without the one of the row. Share: of the stage's multiply-accumulates, for weights.",
        "",
        "| encoder | quantiser | of | share % | error | without it |",
        "|---|---|---|---|---|---|",
    ]
    for cost in report.costs[:rows]:
        of, share = ("weights", f"{100 * cost.share:.1f}") if cost.weights else ("activations", "")
        name = cost.layer or cost.place.split(".", 1)[1].rsplit("/", 1)[0]
        lines.append(f"| {cost.encoder} | {name} | {of} | {share} | {cost.error:.3f} | {cost.without:.3f} |")
    if len(report.steps) > 1:
        stages = "".join(f" int8 in {stage} % |" for stage in STAGES)
        names = "".join(f" {name} |" for name in ENCODERS)
        lines += ["", f"| back to float |{names}{stages}", "|---" * (1 + len(ENCODERS) + len(STAGES)) + "|"]
        for step in report.steps:
            errors = "".join(f" {step.errors[name]:.3f} |" for name in ENCODERS)
            lines.append(f"| {step.layer} |{errors}" + "".join(f" {100 * step.int8[stage]:.1f} |" for stage in STAGES))
    return "\n".join(lines) + "\n"


def plot(report: Report, path: Path) -> None:
    """The worst quantisers as bars, and error against int8 share over the fallback."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    bars, curve = figure.subplots(1, 2, width_ratios=(3, 2))
    worst = report.costs[:15][::-1]
    names = [f"{cost.encoder.split('_')[0]} {cost.place.split('.', 1)[1]}" for cost in worst]
    bars.barh(range(len(worst)), [cost.error - cost.without for cost in worst])
    bars.set_yticks(range(len(worst)), names, fontsize=6)
    bars.set_xlabel("relative RMS error that it adds")
    for stage, encoders in STAGES.items():
        for name in filter(ENCODERS.__contains__, encoders):
            places = [100 * step.int8[stage] for step in report.steps]
            curve.plot(places, [step.errors[name] for step in report.steps], "o-", label=name)
    curve.set_xlabel("multiply-accumulates of its stage in int8, %")
    curve.set_ylabel("relative RMS error")
    curve.legend()
    figure.savefig(path, dpi=130)
