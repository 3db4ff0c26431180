"""The convolutional encoders of frame, sound and patch: plain feature extractors, all of stride 32.

Parameters are named as in torchvision (mobilenet_v2, resnet50, and EfficientNet's `features.N` for the Lite nets) or
as in EfficientAT (mn04), so that published weights load by name. Padding is symmetric, as in torchvision. Activations
are modules, one per use: quantisers insert their observers between modules.

Sources: MobileNetV2 (Sandler 2018), MobileNetV3 (Howard 2019), mn04 = EfficientAT (Schmid 2023), ResNet (He 2015, with
the stride on the 3x3 convolution), EfficientNet-Lite (Tan 2019; ReLU6, no squeeze-excitation, stem and head fixed).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avgn.config import Pixels as PixelsKind
from avgn.errors import UsageError

Activation = Callable[[], nn.Module]
# Mean and standard deviation per channel of RGB in 0..1. `lite` is (255 x - 127) / 128.
PIXELS: dict[PixelsKind, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "symmetric": ((0.5,) * 3, (0.5,) * 3),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "lite": ((127 / 255,) * 3, (128 / 255,) * 3),
}


class Pixels(nn.Module):
    """RGB [N,3,H,W] in 0..1 to what an encoder was trained on; nothing to learn, nothing in the state dict."""

    scale: Tensor
    shift: Tensor

    def __init__(self, kind: PixelsKind) -> None:
        super().__init__()
        mean, deviation = (torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in PIXELS[kind])
        self.register_buffer("scale", (1 / deviation).float(), persistent=False)
        self.register_buffer("shift", (-mean / deviation).float(), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """[N,3,H,W] -> [N,3,H,W]."""
        return pixels * self.scale + self.shift


class Encoder(nn.Module):
    """Images [N, in_channels, H, W] to a feature map [N, `channels`, ceil(H / `stride`), ceil(W / `stride`)]."""

    channels: int
    stride: int = 32


class FeatureNet(Encoder):
    """An encoder that is one sequence named `features`: a stem of stride 2, `blocks`, and a 1x1 convolution.

    `widths`: channels of the stem, of the last block and of the feature map.
    """

    def __init__(
        self, in_channels: int, widths: tuple[int, int, int], blocks: Sequence[nn.Module], activation: Activation
    ) -> None:
        super().__init__()
        stem, last, self.channels = widths
        head = conv(last, self.channels, 1, activation=activation)
        self.features = nn.Sequential(conv(in_channels, stem, 3, 2, activation=activation), *blocks, head)
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        """[N,in_channels,H,W] -> [N,channels,h,w]."""
        return self.features(image)


class ResNet(Encoder):
    """A residual net of bottleneck blocks; `depths` holds the number of blocks of each of the four stages."""

    def __init__(self, in_channels: int, depths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(in_channels, 64, 7, 2, padding=3, bias=False), nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.channels = 64
        self.layer1 = self._stage(64, depths[0], 1)
        self.layer2 = self._stage(128, depths[1], 2)
        self.layer3 = self._stage(256, depths[2], 2)
        self.layer4 = self._stage(512, depths[3], 2)
        initialise(self)

    def _stage(self, width: int, depth: int, stride: int) -> nn.Sequential:
        blocks = []
        for step in (stride, *[1] * (depth - 1)):
            blocks.append(Bottleneck(self.channels, width, step))
            self.channels = 4 * width
        return nn.Sequential(*blocks)

    def forward(self, image: Tensor) -> Tensor:
        """[N,in_channels,H,W] -> [N,channels,h,w]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 convolutions beside a shortcut."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        channels = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(in_channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, channels, 1, bias=False), nn.BatchNorm2d(channels)
        self.relu1, self.relu2, self.relu3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
        reshapes = stride != 1 or in_channels != channels
        self.downsample = conv(in_channels, channels, 1, stride) if reshapes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[N,in_channels,H,W] -> [N,4*width,H/stride,W/stride]."""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.relu2(self.bn2(self.conv2(y)))
        return self.relu3(self.bn3(self.conv3(y)) + self.downsample(x))


@dataclass(frozen=True)
class Inverted:
    """One inverted residual block: 1x1 expansion, depthwise convolution, 1x1 projection."""

    in_channels: int
    expanded: int
    channels: int
    kernel: int
    stride: int
    activation: Activation = nn.ReLU6
    squeeze: bool = False

    def layers(self) -> list[nn.Module]:
        """The convolutions in order, each with its BatchNorm; no expansion where it would change nothing."""
        found: list[nn.Module] = []
        if self.expanded != self.in_channels:
            found.append(conv(self.in_channels, self.expanded, 1, 1, 1, self.activation))
        found.append(conv(self.expanded, self.expanded, self.kernel, self.stride, self.expanded, self.activation))
        if self.squeeze:
            found.append(SqueezeExcitation(self.expanded))
        found.append(conv(self.expanded, self.channels, 1))
        return found


class InvertedResidual(nn.Sequential):
    """An inverted residual block, named `block.N` as in torchvision's EfficientNet and MobileNetV3.

    `flat` gives the names of torchvision's MobileNetV2: `conv.N`, the projection not grouped with its BatchNorm.
    """

    def __init__(self, shape: Inverted, flat: bool = False) -> None:
        *before, projection = shape.layers()
        layers = nn.Sequential(*before, *(projection.children() if flat else [projection]))
        super().__init__(OrderedDict({"conv" if flat else "block": layers}))
        self.residual = shape.stride == 1 and shape.in_channels == shape.channels

    def forward(self, x: Tensor) -> Tensor:
        """[N,in_channels,H,W] -> [N,channels,H/stride,W/stride]."""
        y: Tensor = super().forward(x)
        return x + y if self.residual else y


class SqueezeExcitation(nn.Module):
    """Channels weighted by a gate on their means, with EfficientAT's names, squeeze (a quarter) and sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = divisible(channels // 4)
        gate: OrderedDict[str, nn.Module] = OrderedDict(
            fc1=nn.Linear(channels, squeezed), relu=nn.ReLU(), fc2=nn.Linear(squeezed, channels), sigmoid=nn.Sigmoid()
        )
        self.conc_se_layers = nn.Sequential(nn.Sequential(gate))

    def forward(self, x: Tensor) -> Tensor:
        """[N,channels,H,W] -> the same shape."""
        return x * self.conc_se_layers(pool(x))[:, :, None, None]


def conv(
    inputs: int, channels: int, kernel: int, stride: int = 1, groups: int = 1, activation: Activation | None = None
) -> nn.Sequential:
    """Convolution (symmetric padding, no bias), BatchNorm and perhaps an activation: names `0`, `1`, `2`."""
    convolution = nn.Conv2d(inputs, channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), *([activation()] if activation else []))


def pool(feature_map: Tensor) -> Tensor:
    """[N,channels,h,w] -> [N,channels]: the mean over the map (kept as a plain mean, which every exporter takes)."""
    return feature_map.mean([2, 3], keepdim=True).flatten(1)


def divisible(channels: float) -> int:
    """The multiple of 8 nearest to `channels`, never more than 10 % below it (the rule of the MobileNet papers)."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


def initialise(net: nn.Module) -> None:
    """He initialisation of the convolutions (fan out), for encoders trained from scratch."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


# (expansion, channels, kernel, stride, repeats) of each stage; the stem gives 32 channels, the head 1280.
Stages = Sequence[tuple[int, int, int, int, int]]
MOBILENET_V2: Stages = (
    (1, 16, 3, 1, 1),
    (6, 24, 3, 2, 2),
    (6, 32, 3, 2, 3),
    (6, 64, 3, 2, 4),
    (6, 96, 3, 1, 3),
    (6, 160, 3, 2, 3),
    (6, 320, 3, 1, 1),
)
EFFICIENTNET: Stages = (
    (1, 16, 3, 1, 1),
    (6, 24, 3, 2, 2),
    (6, 40, 5, 2, 2),
    (6, 80, 3, 2, 3),
    (6, 112, 5, 1, 3),
    (6, 192, 5, 2, 4),
    (6, 320, 3, 1, 1),
)
# (expanded, channels, kernel, stride, squeeze-excitation, activation) of each block at width 1; the stem gives 16.
MOBILENET_V3_LARGE = (
    (16, 16, 3, 1, False, nn.ReLU),
    (64, 24, 3, 2, False, nn.ReLU),
    (72, 24, 3, 1, False, nn.ReLU),
    (72, 40, 5, 2, True, nn.ReLU),
    (120, 40, 5, 1, True, nn.ReLU),
    (120, 40, 5, 1, True, nn.ReLU),
    (240, 80, 3, 2, False, nn.Hardswish),
    (200, 80, 3, 1, False, nn.Hardswish),
    (184, 80, 3, 1, False, nn.Hardswish),
    (184, 80, 3, 1, False, nn.Hardswish),
    (480, 112, 3, 1, True, nn.Hardswish),
    (672, 112, 3, 1, True, nn.Hardswish),
    (672, 160, 5, 2, True, nn.Hardswish),
    (960, 160, 5, 1, True, nn.Hardswish),
    (960, 160, 5, 1, True, nn.Hardswish),
)


def inverted_stages(table: Stages, width: float = 1.0, depth: float = 1.0) -> list[list[Inverted]]:
    """The blocks of each stage of `table`; as in EfficientNet-Lite, `depth` leaves the first and last stage alone."""
    last, stages = 32, []
    for number, (expansion, channels, kernel, stride, repeats) in enumerate(table):
        count = repeats if number in (0, len(table) - 1) else math.ceil(repeats * depth)
        stage = []
        for step in (stride, *[1] * (count - 1)):
            stage.append(Inverted(last, last * expansion, divisible(channels * width), kernel, step))
            last = stage[-1].channels
        stages.append(stage)
    return stages


def mobilenet_v2(in_channels: int) -> Encoder:
    """MobileNetV2 of width 1: map of 1280 channels."""
    blocks = [InvertedResidual(shape, flat=True) for stage in inverted_stages(MOBILENET_V2) for shape in stage]
    return FeatureNet(in_channels, (32, 320, 1280), blocks, nn.ReLU6)


def mobilenet_v3_large(in_channels: int, width: float) -> Encoder:
    """MobileNetV3-Large up to its last convolution: map of 6 x the last block's channels."""
    stem = last = divisible(16 * width)
    blocks = []
    for expanded, channels, kernel, stride, squeeze, activation in MOBILENET_V3_LARGE:
        wide, thin = divisible(expanded * width), divisible(channels * width)
        blocks.append(InvertedResidual(Inverted(last, wide, thin, kernel, stride, activation, squeeze)))
        last = thin
    return FeatureNet(in_channels, (stem, last, 6 * last), blocks, nn.Hardswish)


def efficientnet_lite(in_channels: int, width: float, depth: float) -> Encoder:
    """EfficientNet-Lite: map of 1280 channels."""
    stages = inverted_stages(EFFICIENTNET, width, depth)
    blocks = [nn.Sequential(*map(InvertedResidual, stage)) for stage in stages]
    return FeatureNet(in_channels, (32, stages[-1][-1].channels, 1280), blocks, nn.ReLU6)


ENCODERS: dict[str, Callable[[int], Encoder]] = {
    "mobilenet_v2": mobilenet_v2,
    "mn04": lambda in_channels: mobilenet_v3_large(in_channels, width=0.4),
    "resnet50": lambda in_channels: ResNet(in_channels, depths=(3, 4, 6, 3)),
    "efficientnet_lite0": lambda in_channels: efficientnet_lite(in_channels, width=1.0, depth=1.0),
    "efficientnet_lite2": lambda in_channels: efficientnet_lite(in_channels, width=1.1, depth=1.2),
}


def build(name: str, in_channels: int) -> Encoder:
    """The encoder called `name` with fresh weights. Raises UsageError for a name that is not in ENCODERS."""
    if name not in ENCODERS:
        raise UsageError(f"encoder {name!r} is unknown: choose one of {', '.join(ENCODERS)}.")
    return ENCODERS[name](in_channels)
