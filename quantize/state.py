"""A quantised run on disk: a run's folder and beside it `quantisation.json` and `quantisation.safetensors`.

Three encoders are quantised and, if so wished, what is behind them: the heads of `glance`, then also selection and
decision (`quantize/heads.py`).

`model.safetensors` stays the float model. The JSON holds where quantisers sit and what activations are rounded to; the
tensors are the steps of weights and whatever quantisation changed besides, as `PART/NAME`: corrected biases and the
weights that are no longer the float model's, as int8.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from avgn.config import Config
from avgn.errors import InputError, UsageError
from avgn.files import parse_json, replace_folder, write_file
from avgn.network.avgn import AVGN
from avgn.network.checkpoint import QUANTISATION, Run, load_run, read_run
from avgn.schema import build, plain
from quantize.ptq import fuse_norms
from quantize.quantizer import Quantizer, Spec, install, owner, quantizers

FORMAT = 1
ENCODERS = ("frame_encoder", "sound_encoder", "focus_encoder")
HEADS = ("frame_token", "sound_token", "patch_net")
DECIDERS = ("select_net", "fusion")
PARTS = ENCODERS + HEADS + DECIDERS
_HELD = (ENCODERS, ENCODERS + HEADS, PARTS)  # what a run may have quantised
TENSORS = "quantisation.safetensors"


@dataclass(frozen=True)
class Quantisation:
    """Of which run, which nets its encoders are, and the quantisers of each part; `made` says from what."""

    format: int
    run: str
    labels: tuple[str, ...]
    nets: dict[str, str]
    specs: dict[str, tuple[Spec, ...]]
    made: str


def nets_of(config: Config) -> dict[str, str]:
    """The nets that the three encoders of a run are."""
    return dict(zip(ENCODERS, (config.frame.encoder, config.sound.encoder, config.focus.encoder), strict=True))


def is_quantised(folder: Path) -> bool:
    """Whether a run has a quantisation."""
    return (folder / QUANTISATION).is_file()


def save_quantised(
    folder: Path, source: Path, parts: Mapping[str, nn.Module], made: str, keep: Sequence[str] = ()
) -> None:
    """Write `folder` whole: the run `source` and its quantised `parts`; of what was there, only `keep` stays.

    Raises InputError where it cannot.
    """
    model, run = load_run(source)
    tensors: dict[str, Tensor] = {}
    for name, net in parts.items():
        plain_state = fuse_norms(copy.deepcopy(getattr(model, name))).state_dict()
        tensors |= {f"{name}/{key}": value for key, value in _changed(net, plain_state).items()}
    specs = {name: tuple(hook.spec for hook in quantizers(net).values()) for name, net in parts.items()}
    table = Quantisation(FORMAT, run.run, run.labels, nets_of(run.config), specs, made)
    with replace_folder(folder) as place:
        for name in ("model.safetensors", "run.json"):
            shutil.copyfile(source / name, place / name)
        for old in (folder / name for name in keep if (folder / name).exists()):
            (shutil.copytree if old.is_dir() else shutil.copyfile)(old, place / old.name)
        write_file(place / TENSORS, save(tensors))
        write_file(place / QUANTISATION, json.dumps(plain(table), indent=1) + "\n")


def _changed(net: nn.Module, before: dict[str, Tensor]) -> dict[str, Tensor]:
    """What of a net's state is new or not as before."""
    rounded = _weights(net)
    return {
        key: (rounded[key].stored(value) if key in rounded else value.detach()).cpu().contiguous()
        for key, value in net.state_dict().items()
        if key not in before or not torch.equal(value, before[key])
    }


def _weights(net: nn.Module) -> dict[str, Quantizer]:
    """The quantisers of weights by the weights' keys in the net's state."""
    names = {module: name for name, module in net.named_modules()}
    hooks = {place: hook for place, hook in quantizers(net).items() if hook.is_weight}
    return {f"{names[owner(net, place)]}.weight".removeprefix("."): hook for place, hook in hooks.items()}


def load_quantised(folder: Path) -> tuple[AVGN, Run]:
    """A run whose encoders, and perhaps what is behind them, are quantised, in evaluation mode.

    Raises UsageError where it has no quantisation, InputError where that is broken or of another run.
    """
    if not is_quantised(folder):
        read_run(folder)
        raise UsageError(f"{folder}: has no quantisation; make one with `avgn quantize --run {folder}` first.")
    model, run = load_run(folder)
    table = _table(folder, run)
    tensors = _tensors(folder / TENSORS)
    for name in table.specs:
        net = fuse_norms(getattr(model, name))
        state = net.state_dict()
        install(net, table.specs[name])
        own = {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}
        stored = {key: own.pop(key) for key, value in list(own.items()) if value.dtype == torch.int8}
        try:
            net.load_state_dict(state | own)
            for key, value in stored.items():
                net.get_parameter(key).data.copy_(_weights(net)[key].value(value))
        except (RuntimeError, KeyError, AttributeError) as fault:
            raise InputError(f"{folder / TENSORS}: does not fit the {name} of this run: {fault}") from fault
        if any(bool((hook.steps <= 0).any()) for hook in quantizers(net).values() if hook.is_weight):
            raise InputError(f"{folder / TENSORS}: a step of {name} is not above 0; quantise the run again.")
    return model.eval(), run


def with_parts(model: AVGN, parts: Mapping[str, nn.Module]) -> AVGN:
    """A copy of `model` with other encoders, or heads."""
    made = copy.deepcopy(model)
    for name, net in parts.items():
        setattr(made, name, net)
    return made.eval()


def words_of(folder: Path) -> str:
    """From what a quantised run was made."""
    return _table(folder, read_run(folder)).made


def _table(folder: Path, run: Run) -> Quantisation:
    path = folder / QUANTISATION
    table = build(Quantisation, parse_json(path.read_bytes(), str(path)), str(path))
    if table.format != FORMAT:
        raise InputError(f"{path}: format {table.format} is not known to this version, which reads {FORMAT}.")
    if (table.run, table.labels) != (run.run, run.labels):
        raise InputError(f"{path}: belongs to the run {table.run}, or other labels, not to {run.run}; quantise again.")
    if table.nets != nets_of(run.config) or set(table.specs) not in map(set, _HELD):
        raise InputError(f"{path}: is for other encoders than this run has; quantise it again.")
    return table


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as fault:
        raise InputError(f"{path}: not a readable safetensors file ({fault}); quantise the run again.") from fault
    for key, value in tensors.items():
        if not key.startswith(tuple(f"{name}/" for name in PARTS)):
            raise InputError(f"{path}: {key!r} belongs to no quantised part; quantise the run again.")
        if not bool(value.isfinite().all()):
            raise InputError(f"{path}: {key!r} holds values that are not finite; quantise the run again.")
    return tensors
