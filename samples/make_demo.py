"""Compose samples/demo.mp4: an electric guitar that is seen and heard between 3.0 and 6.5 s of 8 s.

python samples/make_demo.py STAMP BACKGROUND SOUNDFONT OUT

On Debian: STAMP /usr/share/tuxpaint/stamps/hobbies/music/string/guitar_electric.png, BACKGROUND
/usr/share/tuxpaint/starters/skyline-sf-dusk-back.jpeg, SOUNDFONT /usr/share/sounds/sf2/FluidR3_GM.sf2. It needs
`fluidsynth` and the `train` extra. README.md beside this file names sources and licences.
"""

import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np
from PIL import Image

from avgn.data.material import Material
from avgn.data.plan import Background, Look, Piece, Scene, Sound
from avgn.data.scenes import encode
from avgn.files import write_file

RATE = 32_000
LABEL = "electric_guitar"
PROGRAM = 27  # General MIDI: electric guitar (clean)
NOTES = (40, 47, 52, 56, 59, 64, 59, 56, 57, 52, 49, 45)  # a broken chord or two
IMAGE, PHRASE, PLACE, NOISE = (
    f"images/{LABEL}/guitar.png",
    f"sounds/{LABEL}/phrase.wav",
    "backgrounds/city.jpg",
    "noise/wind.wav",
)


def midi() -> bytes:
    """The phrase as a standard MIDI file of one track, 480 ticks a quarter at 120 quarters a minute."""
    events = bytes([0, 0xC0, PROGRAM])
    for note in NOTES:
        events += bytes([0, 0x90, note, 100, 0x81, 0x70, 0x80, note, 0])  # 240 ticks each
    events += bytes([0x83, 0x60, 0xFF, 0x2F, 0])
    return b"MThd" + bytes([0, 0, 0, 6, 0, 0, 0, 1, 1, 0xE0]) + b"MTrk" + len(events).to_bytes(4, "big") + events


def write_wave(path: Path, samples: np.ndarray) -> None:
    """Mono PCM16."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def prepare(folder: Path, stamp: Path, background: Path, soundfont: Path) -> Material:
    """Lay out a material folder of one class: the stamp on paper, the phrase, the background, a noise like wind."""
    for name in (IMAGE, PHRASE, PLACE, NOISE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    guitar = Image.open(stamp).convert("RGBA").rotate(-55, Image.Resampling.BICUBIC, expand=True)
    guitar = guitar.crop(guitar.getbbox())
    paper = Image.new("RGBA", (guitar.width + 30, guitar.height + 60), (246, 244, 240, 255))
    paper.alpha_composite(guitar, (15, 30))
    paper.convert("RGB").save(folder / IMAGE)
    Image.open(background).convert("RGB").save(folder / PLACE)
    (folder / "phrase.mid").write_bytes(midi())
    render = [
        "fluidsynth",
        "-ni",
        "-q",
        "-F",
        str(folder / PHRASE),
        "-r",
        str(RATE),
        str(soundfont),
        str(folder / "phrase.mid"),
    ]
    subprocess.run(render, check=True)
    wind = np.cumsum(np.random.default_rng(1).normal(0, 1, 8 * RATE))
    wind -= np.convolve(wind, np.ones(2001) / 2001, "same")
    write_wave(folder / NOISE, 0.5 * wind / np.abs(wind).max())
    one = {LABEL: (IMAGE,)}
    return Material(folder, "all", RATE, (LABEL,), one, {LABEL: (PHRASE,)}, (PLACE,), (NOISE,))


def scene(material: Material) -> Scene:
    """The plan of the clip."""
    size, interval = material.picture(IMAGE).size, (3.0, 6.5)
    path = ((0.62, 0.3), (0.4, 0.5), (0.58, 0.68))
    return Scene(
        seed=0,
        kind="both",
        label=LABEL,
        frames=120,
        fps=15,
        shape=(360, 480),
        interval=interval,
        background=Background(PLACE, (0.1, 0.0, 1.5), (0.8, 1.0, 1.3), Look()),
        pieces=(Piece(IMAGE, LABEL, interval, path, (0.45, 0.5), size[0] / size[1], Look()),),
        sounds=(Sound(PHRASE, LABEL, interval, 0.0, 1.0, 0.0),),
        noise=NOISE,
        noise_offset=0.0,
        snr_db=10.0,
        level_db=-22.0,
    )


def main() -> None:
    """See the module."""
    stamp, background, soundfont, out = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        material = prepare(Path(folder), stamp, background, soundfont)
        write_file(out, encode(scene(material), material))


if __name__ == "__main__":
    main()
