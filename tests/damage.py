"""Damaged copies of a file, for tests that must survive them: seeded, so that a failure can be made again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def variants(data: bytes, count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """`count` pairs of (what was done, damaged bytes); the kinds of damage take turns."""
    kinds = (truncated, bits_flipped, zeroed, blocks_swapped, header_flipped, names_swapped, block_repeated, cut_out)
    for index in range(count):
        kind = kinds[index % len(kinds)]
        yield f"{kind.__name__} {seed}/{index}", kind(bytearray(data), np.random.default_rng((seed, index)))


def truncated(data: bytearray, random: np.random.Generator) -> bytes:
    """Ends somewhere."""
    return bytes(data[: random.integers(1, len(data))])


def bits_flipped(data: bytearray, random: np.random.Generator) -> bytes:
    """From one to some thousand bits turned, anywhere."""
    for _ in range(int(10 ** random.uniform(0, 3.3))):
        data[random.integers(len(data))] ^= 1 << int(random.integers(8))
    return bytes(data)


def zeroed(data: bytearray, random: np.random.Generator) -> bytes:
    """A range of zeros, up to a third of the file."""
    first, length = random.integers(len(data)), random.integers(1, len(data) // 3)
    data[first : first + length] = bytes(len(data[first : first + length]))
    return bytes(data)


def blocks_swapped(data: bytearray, random: np.random.Generator) -> bytes:
    """Two blocks of one size change places, as lost and reordered disk blocks do."""
    size = int(random.choice((16, 512, 4096)))
    first, second = (int(random.integers(max(1, len(data) // size))) * size for _ in range(2))
    one, other = bytes(data[first : first + size]), bytes(data[second : second + size])
    if len(one) == len(other):
        data[first : first + size], data[second : second + size] = other, one
    return bytes(data)


def header_flipped(data: bytearray, random: np.random.Generator) -> bytes:
    """Bytes changed near the beginning and the end, where containers keep their tables."""
    for _ in range(int(random.integers(1, 12))):
        place = int(random.integers(min(2048, len(data))))
        data[place if random.random() < 0.5 else len(data) - 1 - place] = int(random.integers(256))
    return bytes(data)


def names_swapped(data: bytearray, random: np.random.Generator) -> bytes:
    """Streams take each other's names: codecs, handlers and boxes of MP4 under a wrong tag."""
    names = [name for name in (b"avc1", b"mp4a", b"vide", b"soun", b"trak", b"stts", b"stsz", b"stco") if name in data]
    if len(names) < 2:
        return bits_flipped(data, random)
    one, other = random.choice(len(names), 2, replace=False)
    swapped = bytes(data).replace(names[one], b"\0\1\2\3").replace(names[other], names[one])
    return bits_flipped(bytearray(swapped.replace(b"\0\1\2\3", names[other])), random)


def block_repeated(data: bytearray, random: np.random.Generator) -> bytes:
    """A block comes again in place of what follows it."""
    size = int(random.integers(1, max(2, len(data) // 4)))
    first = int(random.integers(max(1, len(data) - 2 * size)))
    data[first + size : first + 2 * size] = data[first : first + size]
    return bytes(data)


def cut_out(data: bytearray, random: np.random.Generator) -> bytes:
    """A piece is missing; what follows moves up."""
    first, length = random.integers(len(data)), random.integers(1, max(2, len(data) // 4))
    del data[first : first + length]
    return bytes(data) or b"\0"
