"""Microphones, by PortAudio: any rate and channel count, chosen by a name that stays the same when devices change.

The callback does nothing but copy. Blocks are stamped by our own clock when they come: what sound systems say about
times is on some the wall clock, on some 0, and on some wrong.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avgn.errors import MissingError
from avgn.extras import import_extra
from runtimes.capture.devices import DeviceError
from runtimes.capture.events import Kind, Sink, SoundEvent
from runtimes.capture.source import Clock, State

DEFAULT = "default"
# Blocks of this length, and how many may wait for us (two seconds).
_BLOCK, _WAITING = 0.02, 100
# Seconds without a block after which the device is taken for lost, and between two looks.
_STALE, _LOOK = 1.0, 0.02
_BUSY = ("unavailable", "busy", "-9985")
# ALSA puts the card's number into its name, which is another after the next start.
_NUMBERS = re.compile(r"\s*[(,]\s*hw:\d+,\d+\s*\)?")


@dataclass(frozen=True, eq=False)
class _Block:
    number: int
    time: float
    samples: NDArray[np.float32]
    overflow: bool


class Microphone:
    """The microphone called `name`; DEFAULT is the one that the system prefers. `load` gives the module sounddevice."""

    kinds: tuple[Kind, ...] = ("sound",)

    def __init__(self, name: str, clock: Clock, load: Callable[[], Any] | None = None) -> None:
        self._name, self._clock, self._load = name, clock, load or portaudio
        self._tried = False

    def run(self, sink: Sink, stop: threading.Event) -> None:
        """Bring sound."""
        system = self._load()
        if self._tried:
            _look_again(system)
        self._tried = True
        blocks: deque[_Block] = deque(maxlen=_WAITING)
        stream, rate = self._open(system, blocks)
        try:
            self._bring(stream, rate, blocks, sink, stop)
        finally:
            stream.abort()
            stream.close()

    def _bring(self, stream: Any, rate: int, blocks: deque[_Block], sink: Sink, stop: threading.Event) -> None:
        expected, last = 0, self._clock.now()
        while not stop.wait(_LOOK):
            while blocks:
                block = blocks.popleft()
                overflow = block.overflow or block.number != expected
                expected, last = block.number + 1, block.time
                sink(SoundEvent(block.time, block.samples.mean(axis=1), rate, overflow))
            if not stream.active or self._clock.now() - last > _STALE:
                raise DeviceError(State.LOST, f"microphone {self._name!r}: gives nothing more; is it plugged in?")

    def _open(self, system: Any, blocks: deque[_Block]) -> tuple[Any, int]:
        device = self._find(system)
        rate = round(float(device["default_samplerate"]))
        fault: Exception | None = None
        for channels in dict.fromkeys((1, 2, int(device["max_input_channels"]))):
            try:
                stream = system.InputStream(
                    device=device["index"],
                    samplerate=rate,
                    channels=channels,
                    dtype="float32",
                    blocksize=round(_BLOCK * rate),
                    callback=self._callback(blocks),
                )
                stream.start()
                return stream, rate
            except (system.PortAudioError, ValueError) as failed:
                fault = failed
        busy = any(word in str(fault).lower() for word in _BUSY)
        what = "another program uses it; close that program" if busy else f"cannot be opened ({fault})"
        raise DeviceError(State.BUSY if busy else State.MISSING, f"microphone {self._name!r}: {what}.") from fault

    def _callback(self, blocks: deque[_Block]) -> Callable[..., None]:
        number = 0

        def copy(samples: NDArray[np.float32], count: int, time: Any, status: Any) -> None:
            nonlocal number
            blocks.append(_Block(number, self._clock.now(), samples.copy(), bool(status.input_overflow)))
            number += 1

        return copy

    def _find(self, system: Any) -> dict[str, Any]:
        """The device of that name: the very name first, then the first that contains it."""
        devices = inputs(system)
        if self._name == DEFAULT:
            index = system.default.device[0]
            matches = [device for device in devices if device["index"] == index] or devices
        else:
            wanted = stable_name(self._name).lower()
            named = [(stable_name(device["name"]).lower(), device) for device in devices]
            matches = [device for name, device in named if name == wanted]
            matches += [device for name, device in named if wanted in name]
        if not matches:
            there = ", ".join(repr(stable_name(device["name"])) for device in devices) or "none"
            raise DeviceError(State.MISSING, f"microphone {self._name!r}: is not there; there are: {there}.")
        return matches[0]


def portaudio() -> Any:
    """The module sounddevice. Raises DeviceError where it or PortAudio itself is not installed."""
    try:
        return import_extra("sounddevice", "live", "microphone")
    except MissingError as fault:
        raise DeviceError(State.MISSING, str(fault)) from fault
    except OSError as fault:
        sentence = "microphone: needs the PortAudio library; on Debian: apt-get install libportaudio2"
        raise DeviceError(State.MISSING, sentence) from fault


def inputs(system: Any) -> list[dict[str, Any]]:
    """The devices that sound comes from."""
    devices = (dict(device, index=index) for index, device in enumerate(system.query_devices()))
    return [device for device in devices if device["max_input_channels"] > 0]


def stable_name(name: str) -> str:
    """A device's name without the card's number."""
    return _NUMBERS.sub("", name).strip(" :,")


def microphones() -> list[str]:
    """Names by which microphones can be chosen now. Raises DeviceError where PortAudio is not installed."""
    return list(dict.fromkeys(stable_name(device["name"]) for device in inputs(portaudio())))


def _look_again(system: Any) -> None:
    """Have PortAudio list the devices anew, which it does only when it starts. No stream of ours is open here."""
    system._terminate()
    system._initialize()
