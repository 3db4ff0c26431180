"""A bundle so small that a test makes it in a moment: the contract's graphs with a few fixed weights, and a numpy twin.

`reference` computes every graph in plain numpy, written apart from the OpenVINO models, so that engines and the
classifier can be held against it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avgn.bundle import BundleWriter, GraphRecord, Manifest, Source, contract
from avgn.config import Config, FrameConfig, FusionConfig, PatchConfig, SaliencyConfig, SoundConfig

LABELS = ("bell", "dog", "siren")
WIDTH = 8  # d
LOCAL = 6  # D
MACS = {"glance": 1000, "select": 200, "focus": 5000, "classify": 30}
SOUND = SoundConfig(rate=8000, window=200, hop=80, fft=256, mels=16, frames=32, high_hz=4000.0)
CONFIG = Config(
    snippets=4,
    chosen=2,
    classes=len(LABELS),
    frame=FrameConfig(size=32),
    sound=SOUND,
    saliency=SaliencyConfig(width=WIDTH, heads=2),
    patch=PatchConfig(size=32, short_side=48, heads=2, width=8),
    fusion=FusionConfig(heads=2),
)
Arrays = dict[str, NDArray[Any]]


def _weights() -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(7)
    shapes = {
        "visual": (3, WIDTH),
        "audio": (SOUND.mels, WIDTH),
        "context": (3, WIDTH),
        "centre": (3, 2),
        "glance_logits": (WIDTH, len(LABELS)),
        "local": (3, LOCAL),
        "tokens_logits": (WIDTH, len(LABELS)),
        "context_logits": (WIDTH, len(LABELS)),
        "local_logits": (LOCAL, len(LABELS)),
        "when_logits": (len(LABELS),),
    }
    return {name: random.normal(0, 1, shape).astype(np.float32) for name, shape in shapes.items()}


W = _weights()


def _sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    return 1 / (1 + np.exp(-x))


def reference(graph: str, x: Arrays) -> Arrays:
    """Outputs of a graph for `x`, in float64."""
    x = {name: value.astype(np.float64) for name, value in x.items()}
    if graph == "glance":
        colour = x["frame"].mean((2, 3))
        return {
            "visual": colour @ W["visual"],
            "audio": x["heard"] * (x["mel"].mean((1, 3)) @ W["audio"]),
            "centre": _sigmoid(4 * colour @ W["centre"]),
            "context": colour @ W["context"],
        }
    if graph == "select":
        visual, audio = x["visual"] * x["seen"][..., None], x["audio"] * x["heard"][..., None]
        tokens = np.concatenate([visual, audio], 1)
        saliency = _sigmoid(visual.sum(-1) + audio.sum(-1))
        return {"saliency": saliency, "tokens": tokens, "logits": tokens.mean(1) @ W["glance_logits"]}
    if graph == "focus":
        return {"local": x["patch"].mean((2, 3)) @ W["local"]}
    used = x["used"][..., None]
    logits = x["tokens"].mean(1) @ W["tokens_logits"] + (x["context"] * used).sum(1) @ W["context_logits"]
    logits += (x["local"] * used).sum(1) @ W["local_logits"] + (x["when"] * x["used"]).sum() * W["when_logits"]
    return {"logits": logits * (1 + 0.1 * (x["heard"] + x["seen"]).sum())}


class NumpyEngine:
    """`reference` as an engine that counts its calls."""

    backend, precision = "numpy", "fp32"

    def __init__(self) -> None:
        self.calls: list[tuple[str, Arrays]] = []

    def run(self, graph: str, inputs: Any) -> Arrays:
        self.calls.append((graph, {name: np.array(value) for name, value in inputs.items()}))
        return {name: value.astype(np.float32) for name, value in reference(graph, dict(inputs)).items()}


def openvino_models() -> dict[str, Any]:
    """The four graphs as OpenVINO models."""
    import openvino
    from openvino import opset13 as op

    def parameters(graph: str) -> dict[str, Any]:
        made = {}
        for spec in contract(CONFIG, graph, LOCAL)[0]:
            made[spec.name] = op.parameter(list(spec.shape), np.dtype(spec.dtype), name=spec.name)
            made[spec.name].output(0).set_names({spec.name})
        return made

    def model(graph: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
        for name, node in outputs.items():
            node.output(0).set_names({name})
        return openvino.Model([op.result(node.output(0)) for node in outputs.values()], list(inputs.values()), graph)

    def mean(node: Any, *axes: int) -> Any:
        return op.reduce_mean(node, np.array(axes), False)

    def total(node: Any, *axes: int) -> Any:
        return op.reduce_sum(node, np.array(axes), False)

    def times(node: Any, name: str) -> Any:
        return op.matmul(node, op.constant(W[name]), False, False)

    def wide(node: Any) -> Any:
        return op.unsqueeze(node, np.array([2]))

    one = np.float32(1)
    g, s, f, c = (parameters(graph) for graph in ("glance", "select", "focus", "classify"))
    colour = mean(g["frame"], 2, 3)
    glance = {
        "visual": times(colour, "visual"),
        "audio": op.multiply(g["heard"], times(mean(g["mel"], 1, 3), "audio")),
        "centre": op.sigmoid(op.multiply(times(colour, "centre"), op.constant(np.float32(4)))),
        "context": times(colour, "context"),
    }
    visual, audio = op.multiply(s["visual"], wide(s["seen"])), op.multiply(s["audio"], wide(s["heard"]))
    tokens = op.concat([visual, audio], 1)
    select = {
        "saliency": op.sigmoid(op.add(total(visual, 2), total(audio, 2))),
        "tokens": tokens,
        "logits": times(mean(tokens, 1), "glance_logits"),
    }
    focus = {"local": times(mean(f["patch"], 2, 3), "local")}
    used = wide(c["used"])
    when = op.multiply(op.convert(c["when"], "f32"), c["used"])
    parts = [
        times(mean(c["tokens"], 1), "tokens_logits"),
        times(total(op.multiply(c["context"], used), 1), "context_logits"),
        times(total(op.multiply(c["local"], used), 1), "local_logits"),
        op.multiply(op.reduce_sum(when, np.array([1]), True), op.constant(W["when_logits"])),
    ]
    fused = op.add(op.add(parts[0], parts[1]), op.add(parts[2], parts[3]))
    present = op.multiply(op.reduce_sum(op.add(c["heard"], c["seen"]), np.array([1]), True), op.constant(one / 10))
    classify = {"logits": op.multiply(fused, op.add(present, op.constant(one)))}
    return {
        "glance": model("glance", g, glance),
        "select": model("select", s, select),
        "focus": model("focus", f, focus),
        "classify": model("classify", c, classify),
    }


def openvino_files(model: Any) -> tuple[bytes, bytes]:
    """The .xml and the .bin of a model."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        xml, weights = Path(folder) / "g.xml", Path(folder) / "g.bin"
        openvino.serialize(model, str(xml), str(weights))
        return xml.read_bytes(), weights.read_bytes()


def head(exit_confidence: float | None = None) -> Manifest:
    """A manifest without graphs."""
    return Manifest(
        format=1,
        name="tiny",
        run="tiny-run",
        created="2026-01-01T00:00:00+00:00",
        labels=LABELS,
        config=CONFIG,
        graphs=(),
        accuracy="not run: made for tests",
        tools={"openvino": "any"},
        sources=(Source("weights", "drawn from a generator", "Apache-2.0"),),
        exit_confidence=exit_confidence,
    )


def record(graph: str, backend: str = "openvino", precision: str = "fp32") -> GraphRecord:
    """What the manifest says of a tiny graph, its files left out."""
    inputs, outputs = contract(CONFIG, graph, LOCAL)
    return GraphRecord(
        graph, backend, precision, "tiny-run", MACS[graph], (), inputs, outputs, precision, "not run: made for tests"
    )


def tiny_bundle(
    folder: Path,
    variants: tuple[tuple[str, str], ...] = (("openvino", "fp32"),),
    exit_confidence: float | None = None,
    models: dict[str, Any] | None = None,
) -> Path:
    """Write a tiny bundle into `folder` and return its path; every variant holds the same float graphs."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny.avgn"
    files = {graph: openvino_files(model) for graph, model in (models or openvino_models()).items()}
    with BundleWriter(path, head(exit_confidence)) as writer:
        for backend, precision in variants:
            for graph, (xml, weights) in files.items():
                writer.add(record(graph, backend, precision), {f"{graph}.xml": xml, f"{graph}.bin": weights})
    return path


class Pixels:
    """A `Picture` from pixels [H, W, 3] of the short side that the tiny configuration asks for."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels

    def squashed(self, size: int) -> NDArray[np.uint8]:
        rows = np.arange(size) * self.pixels.shape[0] // size
        columns = np.arange(size) * self.pixels.shape[1] // size
        return np.ascontiguousarray(self.pixels[rows][:, columns].transpose(2, 0, 1))

    def scaled(self, short_side: int) -> NDArray[np.uint8]:
        assert min(self.pixels.shape[:2]) == short_side
        return self.pixels


def tiny_clip(seed: int = 0, heard: tuple[int, ...] = (1, 1, 1, 1), seen: tuple[int, ...] = (1, 1, 1, 1)) -> Any:
    """A clip of smooth colours that differ from place to place, and of noise of different loudness."""
    from avgn.snippets import Clip

    random = np.random.default_rng(seed)
    pictures = []
    for present in seen:
        corners = random.uniform(0, 255, (2, 2, 3))
        down, across = np.linspace(0, 1, 48)[:, None, None], np.linspace(0, 1, 64)[None, :, None]
        top = corners[0, 0] * (1 - across) + corners[0, 1] * across
        bottom = corners[1, 0] * (1 - across) + corners[1, 1] * across
        pixels = (top * (1 - down) + bottom * down).astype(np.uint8)
        pictures.append(Pixels(pixels) if present else None)
    loud = random.uniform(0.01, 0.5, (4, 1)) * np.array(heard)[:, None]
    return Clip(
        duration=4.0,
        times=np.arange(4) + 0.5,
        pictures=tuple(pictures),
        sound=(loud * random.uniform(-1, 1, (4, SOUND.samples))).astype(np.float32),
        starts=np.arange(4) * 100 * SOUND.hop,
        heard=np.array(heard, bool),
        seen=np.array(seen, bool),
    )
