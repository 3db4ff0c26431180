"""Material: which files belong to which split, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_material import RATE, draw_material, tone, write_picture, write_wav
from hypothesis import given
from hypothesis import strategies as st

from avgn.data.material import load_material, split_of
from avgn.errors import InputError, UsageError

PARTS = ("train", "val", "test")
plain_names = st.lists(st.from_regex(r"[a-z]{1,3}_\d{1,4}", fullmatch=True), unique=True, max_size=60)
esc_names = st.lists(
    st.builds("{}-{}-{}".format, st.integers(1, 5), st.integers(1, 30), st.sampled_from("ABC")), unique=True
)


@pytest.fixture
def folder(tmp_path):
    return draw_material(tmp_path / "material")


def files_of(material):
    groups = [*material.images.values(), *material.sounds.values(), material.backgrounds, material.noise]
    return {name for group in groups for name in group}


@given(plain_names, st.randoms())
def test_names_without_folds_are_shared_out_whatever_their_order(names, random):
    parts = split_of(names)
    shuffled = random.sample(names, len(names))
    assert split_of(shuffled) == parts and set(parts) == set(names)
    counts = [list(parts.values()).count(part) for part in PARTS]
    if len(names) >= 3:
        assert counts[1] == counts[2] == max(round(0.15 * len(names)), 1) and counts[0] >= 1


@given(esc_names)
def test_folds_decide_and_takes_of_one_recording_stay_together(names):
    parts = split_of(names)
    by_recording = {}
    for name in names:
        by_recording.setdefault(name.split("-")[1], []).append(name)
    for takes in by_recording.values():
        assert len({parts[take] for take in takes}) == 1
        fold = min(int(take[0]) for take in takes)
        assert parts[takes[0]] == {1: "train", 2: "train", 3: "val", 4: "test", 5: "test"}[fold]


def test_splits_are_disjoint_and_all_is_everything(folder):
    found = {split: files_of(load_material(folder, split)) for split in (*PARTS, "train+val", "all")}
    assert not found["train"] & found["val"] and not found["train"] & found["test"] and not found["val"] & found["test"]
    assert found["train"] | found["val"] == found["train+val"]
    assert found["train+val"] | found["test"] == found["all"]
    on_disk = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found["all"] == on_disk


def test_one_picture_in_two_formats_falls_into_one_split(folder):
    for name in ("red-0", "red-1", "red-2", "red-3"):
        write_picture(folder / "images" / "red" / f"{name}.jpg", (220, 20, 30))
    splits = {split: load_material(folder, split).images["red"] for split in PARTS}
    stems = {split: {name.rsplit(".", 1)[0] for name in names} for split, names in splits.items()}
    assert all(len(splits[split]) == 2 * len(stems[split]) for split in PARTS)


def test_classes_are_those_with_pictures_and_sounds_and_other_files_are_passed_over(folder):
    write_picture(folder / "images" / "mute" / "a.png", (0, 0, 0))
    write_wav(folder / "sounds" / "unseen" / "a.wav", tone(300, 1))
    (folder / "images" / "red" / "notes.txt").write_text("not a picture")
    (folder / "images" / "red" / ".hidden.png").write_text("not a picture")
    material = load_material(folder)
    assert material.classes == ("amber", "blue", "green", "red")
    material.preload()


@pytest.mark.parametrize("name", ["images", "sounds", "backgrounds", "noise"])
def test_a_missing_folder_is_named(folder, name):
    (folder / name).rename(folder / "elsewhere")
    with pytest.raises(InputError, match=name):
        load_material(folder)


def test_too_few_classes_or_files_are_refused(folder):
    with pytest.raises(UsageError, match="dev"):
        load_material(folder, "dev")
    for path in (folder / "sounds" / "blue").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="blue"):
        load_material(folder)
    write_wav(folder / "sounds" / "blue" / "only.wav", tone(900, 1))
    load_material(folder, "train")
    with pytest.raises(InputError, match=r"blue.*split 'test'"):
        load_material(folder, "test")
    for name in ("blue", "red"):
        (folder / "sounds" / name).rename(folder / name)
    with pytest.raises(InputError, match="at least 3"):
        load_material(folder)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_files_that_are_not_what_they_claim_are_named(folder, content):
    (folder / "images" / "red" / "bad.png").write_bytes(content)
    (folder / "sounds" / "red" / "bad.wav").write_bytes(content)
    material = load_material(folder)
    with pytest.raises(InputError, match=r"images/red/bad\.png"):
        material.picture("images/red/bad.png")
    with pytest.raises(InputError, match=r"sounds/red/bad\.wav"):
        material.wave("sounds/red/bad.wav")


@pytest.mark.parametrize("samples", [np.zeros(RATE), tone(400, 0.05), np.zeros(0)])
def test_silence_and_scraps_are_refused(folder, samples):
    write_wav(folder / "sounds" / "red" / "void.wav", samples)
    with pytest.raises(InputError, match="silent or shorter"):
        load_material(folder).wave("sounds/red/void.wav")


def test_recordings_have_a_loud_part_of_rms_one_and_the_asked_rate(folder):
    material = load_material(folder, rate=16_000)
    for name in material.sounds["green"]:
        wave = material.wave(name)
        assert wave.dtype == np.float32 and len(wave) == 48_000
        assert np.sqrt((wave[1000:-1000] ** 2).mean()) == pytest.approx(1.0, rel=0.02)
        assert np.argmax(np.abs(np.fft.rfft(wave))) * 16_000 / len(wave) == pytest.approx(2000, abs=1)


def test_any_excerpt_of_a_recording_with_long_pauses_can_be_heard(folder):
    barks = np.concatenate([tone(700, 0.2), np.zeros(2 * RATE), tone(700, 0.2), np.zeros(4 * RATE)])
    write_wav(folder / "sounds" / "red" / "barks.wav", barks)
    wave = load_material(folder).wave("sounds/red/barks.wav")
    assert len(wave) < 2.6 * RATE
    ring, size = np.concatenate([wave, wave]), round(2.5 * RATE)
    energies = [np.square(ring[start : start + size]).sum() for start in range(0, len(wave), 800)]
    assert min(energies) > 0.15 * RATE  # 0.2 s of RMS 1 are 0.2 * RATE


def test_pictures_are_upright_opaque_and_small(folder):
    from PIL import Image

    picture = Image.new("RGBA", (2000, 1000), (0, 0, 0, 0))
    picture.save(folder / "backgrounds" / "clear.png")
    turned = Image.new("RGB", (50, 30), (9, 9, 9))
    exif = turned.getexif()
    exif[0x0112] = 6  # a camera held upright
    turned.save(folder / "images" / "red" / "turned.jpg", exif=exif)
    material = load_material(folder)
    clear = material.picture("backgrounds/clear.png")
    assert clear.size == (640, 320) and clear.getpixel((5, 5)) == (255, 255, 255)
    assert material.picture("images/red/turned.jpg").size == (30, 50)
