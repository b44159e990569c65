"""Hand-picked palettes, and the mixing of colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of one mood: sky from top to bottom, light of sun or moon, layers from far to near, accents."""

    moods: frozenset[str]
    sky: tuple[Colour, ...]
    light: Colour
    layers: tuple[Colour, ...]
    accents: tuple[Colour, ...]


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return a mix of two colours; `share` (0 to 1) is the second one's part."""
    rest = 1 - share
    return (
        int(first[0] * rest + second[0] * share + 0.5),
        int(first[1] * rest + second[1] * share + 0.5),
        int(first[2] * rest + second[2] * share + 0.5),
    )


def along(stops: Sequence[Colour], share: float) -> Colour:
    """Return the colour at `share` (0 to 1) of the way through evenly spaced stops."""
    position = min(max(share, 0.0), 1.0) * (len(stops) - 1)
    index = min(int(position), len(stops) - 2)
    return mix(stops[index], stops[index + 1], position - index)


def _palette(moods: str, sky: str, light: str, layers: str, accents: str) -> Palette:
    return Palette(frozenset(moods.split()), _colours(sky), _colours(light)[0], _colours(layers), _colours(accents))


def _colours(codes: str) -> tuple[Colour, ...]:
    return tuple((int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16)) for code in codes.split())


PALETTES: tuple[Palette, ...] = (
    _palette("dawn warm pink", "3d3a63 8a5a83 e08a7f f9c89b", "fff1d0", "c98b8b 8f6580 5d4a70 2f2b4e",
             "f26b5b f9a66c ffd98e 7b5ea7 fff4e2"),
    _palette("night blue", "0b1030 16235a 2c4a8c 5b7fb8", "f4efd9", "3d5a94 2a4175 1b2b55 0c1430",
             "f7c873 e8875b 7fb2e5 b9d7f2 f2f0e4"),
    _palette("day blue fresh", "4a90c2 83bcdc bfe0e8 f3efdc", "fffbe8", "9cc3c9 6a9fae 3f7688 1f4a5f",
             "f25f5c ffe066 247ba0 70c1b3 fdf8ec"),
    _palette("autumn warm orange", "7a3b2e c2693a eba552 f8dca0", "fff3c9", "c98a4b a1592f 6f3826 3a201c",
             "d9482b f0a202 f6d186 5d7052 fbf1dc"),
    _palette("green spring fresh", "6fa8a0 a5cfb5 d9e8c5 f7f3d8", "fffbdf", "a3c39b 6e9f7d 3f755f 1c4440",
             "ef8354 f5cb5c 4c9f70 8fd0a8 fdfbef"),
    _palette("winter pale cold", "7d95b5 aebfd4 d8e1e9 f5f2ee", "ffffff", "b9c8d8 8ea5bd 5d7796 33496b",
             "c8553d 588b8b 93b7be e8e2d5 ffffff"),
    _palette("red dramatic", "2b0f1e 6a1b30 b8383b f08a4b", "ffe3b3", "a63a3a 762437 4a162c 23091a",
             "e63946 f4a261 ffd6a5 8d2f4b fff0e0"),
    _palette("gold desert warm", "c9733f e3a15a f2cd8a fbebc7", "fff8e1", "dca066 bd7a4a 8c5136 52302a",
             "c8452e e9b44c 9b2915 50a2a7 fcf2dd"),
    _palette("night purple neon", "120a2e 2f1158 6b1f86 d64a8e", "ffd0ec", "5a2a86 3c1a68 240f48 0f0724",
             "ff4f9a 33d6d0 ffc94d 8a5cf6 f7e8ff"),
    _palette("teal sea", "0f3b4c 1f6673 4fa3a0 c7e3cf", "fff6d6", "4d9694 2f7079 1b4c5a 0b2a38",
             "ff8a5b ffd166 06aed5 9be3c4 f4fbf5"),
    _palette("sunset pink", "2f2a5c 7c3f7c d8607a ffb08a", "fff0c2", "a34f7c 743a70 48285a 231640",
             "ff6f69 ffcc5c 88d8b0 6a4c93 fff5e6"),
    _palette("monochrome pale minimal", "b7b3ab cfcbc2 e4e0d7 f4f1ea", "fffdf7", "bdb7ab 948d82 625c55 2f2c2a",
             "c44536 2f2c2a 8d99ae d9c5a0 f4f1ea"),
    _palette("night green aurora", "061a26 0b3a3f 137a63 7fd6a0", "effff1", "1b5a58 124348 0a2c36 051720",
             "5ef2b0 b6f09c 5bc0eb f5f749 e9fff4"),
    _palette("lavender spring pink", "8f86c4 b9a8d8 e3c9e0 fbeadf", "fffaf0", "a993c4 8070ab 5b4f8c 342f5e",
             "f48fb1 ffd3a5 9fa8ff 7ad1b9 fff8f3"),
)  # fmt: skip
