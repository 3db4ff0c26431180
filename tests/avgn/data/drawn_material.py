"""Material drawn for tests: each class has a colour and a tone of its own, so that content can be told by measuring."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from PIL import Image

RATE = 32_000
COLOURS = {"amber": (230, 160, 20), "blue": (20, 40, 220), "green": (20, 200, 40), "red": (220, 20, 30)}
TONES = {"amber": 400.0, "blue": 900.0, "green": 2000.0, "red": 4500.0}  # Hz


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def write_picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (60, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def tone(hertz: float, seconds: float, amplitude: float = 0.3) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


def draw_material(folder: Path, files: int = 4) -> Path:
    """`files` pictures and recordings of each of four classes, grey backgrounds and quiet white noise."""
    noise = np.random.default_rng(5)
    for name, colour in COLOURS.items():
        for index in range(files):
            write_picture(folder / "images" / name / f"{name}-{index}.png", colour, (60, 30 + 10 * index))
            write_wav(folder / "sounds" / name / f"take {index}.wav", tone(TONES[name], 3.0, 0.1 + 0.1 * index))
    for index in range(files):
        grey = 90 + 10 * index
        write_picture(folder / "backgrounds" / f"b{index}.png", (grey, grey, grey), (160, 90 + 20 * index))
        write_wav(folder / "noise" / "hiss" / f"n{index}.wav", 0.05 * noise.standard_normal(2 * RATE))
    return folder
