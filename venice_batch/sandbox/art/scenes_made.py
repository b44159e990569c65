"""Motifs made by people: towns and still lifes."""

from __future__ import annotations

import math
import random

from PIL import Image

from venice_batch.sandbox.art.canvas import Canvas, pixel
from venice_batch.sandbox.art.palettes import Colour, Palette, along, mix


def city(c: Canvas, p: Palette, rng: random.Random) -> None:
    """Draw a skyline with lit windows in several depths."""
    c.sky(p.sky, 0, 0.85)
    c.sky((p.sky[-1], p.layers[1]), 0.85, 1)
    x, y = c.w * rng.uniform(0.2, 0.8), c.h * rng.uniform(0.16, 0.32)
    if "night" in p.moods:
        c.stars(150, 0.5, p.light, lambda at: along(p.sky, at / 0.85), rng)
    c.glow(x, y, c.s * 0.45, p.light, 0.55)
    c.disc(x, y, c.s * rng.uniform(0.05, 0.09), p.light)
    for row in range(4):
        share = row / 3
        colour = along(p.layers, share)
        left = -c.s * 0.02
        while left < c.w:
            width = c.s * rng.uniform(0.055, 0.115) * (0.8 + 0.5 * share)
            top = c.h * (0.86 + 0.06 * share) - c.s * rng.uniform(0.16, 0.46 - 0.18 * share) * (1.15 - 0.2 * share)
            _tower(c, left, top, width, mix(colour, p.sky[-1], 0.25 * (1 - share)), p, share, rng)
            left += width * rng.uniform(0.95, 1.3)


def _tower(
    c: Canvas, left: float, top: float, width: float, colour: Colour, p: Palette, share: float, rng: random.Random
) -> None:
    mist = mix(colour, p.sky[-1], 0.5 * (1 - share))
    for step in range(12):
        low = top + (c.h - top) * step / 12
        c.pen.rectangle((left, low, left + width, c.h), fill=mix(colour, mist, step / 12))
    middle = left + width / 2
    roof = rng.randrange(5)
    if roof == 0:
        c.pen.polygon([(left, top), (middle, top - width * 0.5), (left + width, top)], fill=colour)
    elif roof == 1:
        c.pen.rectangle((left + width * 0.2, top - width * 0.25, left + width * 0.8, top), fill=colour)
        c.pen.line((middle, top - width, middle, top), fill=colour, width=max(2, int(c.s * 0.003)))
    elif roof == 2:
        c.pen.ellipse((left, top - width / 2, left + width, top + width / 2), fill=colour)
    if share < 0.3:
        return
    columns = rng.randint(3, 5)
    pitch = width / (columns + 0.6)
    lit = rng.uniform(0.15, 0.5)
    lamp = mix(colour, rng.choice((p.light, p.accents[0], p.accents[1], p.accents[2])), 0.45 + 0.45 * share)
    y = top + pitch
    while y < c.h * 0.97:
        for column in range(columns):
            if rng.random() < lit:
                x = left + pitch * (0.5 + column)
                c.pen.rectangle((x, y, x + pitch * 0.55, y + pitch * 0.7), fill=lamp)
        y += pitch * 1.35


def canal(c: Canvas, p: Palette, rng: random.Random) -> None:
    """Draw a row of palaces mirrored in a canal, with a gondola in front of them."""
    water = 0.62
    c.sky(p.sky, 0, water)
    if "night" in p.moods:
        c.stars(140, 0.4, p.light, lambda at: along(p.sky, at / water), rng)
    x, y = c.w * rng.uniform(0.25, 0.75), c.h * rng.uniform(0.1, 0.2)
    c.glow(x, y, c.s * 0.4, p.light, 0.6)
    c.disc(x, y, c.s * 0.045, p.light)
    left = -c.s * 0.03
    bell = rng.uniform(0.2, 0.7) * c.w
    _campanile(c, bell, c.h * water, p)
    while left < c.w:
        width = c.s * rng.uniform(0.17, 0.27)
        _palace(c, left, width, c.h * water, c.s * rng.uniform(0.24, 0.37), p, rng)
        left += width
    _mirror(c, water, p, rng)
    if rng.random() < 0.9:
        _gondola(c, c.w * rng.uniform(0.34, 0.62), c.h * rng.uniform(0.74, 0.8), c.s * 0.2, p)


def _campanile(c: Canvas, x: float, foot: float, p: Palette) -> None:
    half, top = c.s * 0.032, foot - c.s * 0.5
    body = mix(p.layers[1], p.accents[0], 0.3)
    c.pen.rectangle((x - half, top, x + half, foot), fill=body)
    c.pen.rectangle((x - half * 1.2, top, x + half * 1.2, top + half * 0.3), fill=mix(body, p.light, 0.5))
    c.pen.polygon([(x - half, top), (x, top - half * 2.6), (x + half, top)], fill=p.layers[2])


def _palace(c: Canvas, left: float, width: float, foot: float, height: float, p: Palette, rng: random.Random) -> None:
    wall = mix(mix(rng.choice(p.accents), p.layers[1], 0.5), p.layers[2], rng.uniform(0.0, 0.3))
    top = foot - height
    c.pen.rectangle((left, top, left + width, foot), fill=wall)
    c.pen.rectangle((left, top, left + width, top + height * 0.035), fill=mix(wall, p.light, 0.4))
    c.pen.polygon([(left, top), (left + width * 0.12, top - height * 0.07), (left + width * 0.88, top - height * 0.07),
                   (left + width, top)], fill=mix(p.accents[0], p.layers[-1], 0.6))  # fmt: skip
    columns, floors = rng.randint(3, 4), rng.randint(3, 4)
    pitch, storey = width / columns, height / (floors + 0.3)
    frame = mix(wall, p.light, 0.55)
    for floor in range(floors):
        for column in range(columns):
            lit = rng.random() < (0.6 if "night" in p.moods else 0.25)
            pane = mix(p.light, p.accents[1], 0.5) if lit else mix(p.layers[-1], wall, 0.25)
            x0, y0 = left + pitch * (column + 0.28), top + storey * (floor + 0.42)
            x1, y1 = x0 + pitch * 0.44, y0 + storey * 0.52
            edge = pitch * 0.05
            for grow, fill in ((edge, frame), (0.0, pane)):
                c.pen.rectangle((x0 - grow, y0, x1 + grow, y1), fill=fill)
                arch = (x1 - x0) / 2 + grow
                c.pen.pieslice((x0 - grow, y0 - arch, x1 + grow, y0 + arch), 180, 360, fill=fill)
    c.pen.rectangle((left, foot - height * 0.03, left + width, foot), fill=mix(wall, p.layers[-1], 0.6))


def _mirror(c: Canvas, water: float, p: Palette, rng: random.Random) -> None:
    edge = int(c.h * water)
    depth = c.h - edge
    # Shrunk and stretched again: reflections are blurred, and this blur costs almost nothing.
    above = c.image.resize(
        (max(1, c.w // 6), max(1, depth // 24)), Image.Resampling.BOX, (0, max(0, edge - depth), c.w, edge)
    ).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    tint = Image.new("RGB", above.size, mix(p.layers[2], p.sky[0], 0.4))
    c.image.paste(Image.blend(above, tint, 0.42).resize((c.w, depth), Image.Resampling.BILINEAR), (0, edge))
    for _ in range(300):
        share = rng.random() ** 1.4
        y, x = edge + depth * share, rng.random() * c.w
        length, thick = c.s * (0.01 + 0.06 * share), c.s * (0.0006 + 0.0026 * share)
        behind = pixel(c.image, int(x), min(c.h - 1, int(y)))
        fill = mix(behind, p.light if rng.random() < 0.45 else p.layers[-1], 0.2)
        c.pen.ellipse((x - length, y - thick, x + length, y + thick), fill=fill)


def _gondola(c: Canvas, x: float, y: float, size: float, p: Palette) -> None:
    dark = mix(p.layers[-1], (0, 0, 0), 0.35)
    for row in range(9):
        half = size * (0.8 - 0.07 * row)
        top = y + size * (0.06 + 0.035 * row)
        c.pen.ellipse((x - half, top, x + half, top + size * 0.02), fill=mix(dark, p.layers[2], 0.35 + 0.05 * row))
    upper = [(x + size * (t / 10 - 1), y - size * 0.34 * (abs(t / 10 - 1) ** 4) + size * 0.0) for t in range(21)]
    lower = [
        (x + size * (t / 10 - 1) * 0.9, y + size * 0.1 - size * 0.3 * (abs(t / 10 - 1) ** 3)) for t in range(20, -1, -1)
    ]
    c.pen.polygon(upper + lower, fill=dark)
    c.pen.line((x - size, y - size * 0.34, x - size * 1.03, y - size * 0.46), fill=dark, width=max(2, int(size * 0.03)))
    man = x + size * 0.62
    c.pen.line(
        (man - size * 0.42, y + size * 0.25, man + size * 0.08, y - size * 0.5),
        fill=dark,
        width=max(2, int(size * 0.018)),
    )
    c.pen.polygon(
        [
            (man - size * 0.05, y - size * 0.04),
            (man - size * 0.06, y - size * 0.36),
            (man + size * 0.05, y - size * 0.36),
            (man + size * 0.06, y - size * 0.04),
        ],
        fill=p.accents[-1],
    )
    c.pen.rectangle((man - size * 0.05, y - size * 0.2, man + size * 0.055, y - size * 0.02), fill=dark)
    c.disc(man, y - size * 0.42, size * 0.05, mix(p.accents[1], dark, 0.4))
    c.pen.ellipse((man - size * 0.1, y - size * 0.475, man + size * 0.1, y - size * 0.445), fill=p.accents[1])
    c.pen.rectangle((x - size * 0.22, y - size * 0.1, x + size * 0.12, y + size * 0.02), fill=p.accents[0])


def still(c: Canvas, p: Palette, rng: random.Random) -> None:
    """Draw vases, bowls and fruit on a table in front of an arch."""
    wall = mix(p.accents[-1], p.sky[-1], 0.55)
    c.sky((mix(wall, p.sky[1], 0.25), wall), 0, 0.72)
    half, x = c.s * 0.3, c.w * rng.uniform(0.42, 0.58)
    arch = mix(rng.choice(p.accents[:4]), wall, 0.45)
    c.pen.rectangle((x - half, c.h * 0.42, x + half, c.h * 0.72), fill=arch)
    c.disc(x, c.h * 0.42, half, arch)
    for step in range(24):
        c.disc(x, c.h * 0.42, half * (0.94 - 0.035 * step), mix(arch, p.light, 0.018 * step))
    c.sky((p.layers[1], p.layers[2]), 0.72, 1)
    places = [-0.29, -0.1, 0.11, 0.3]
    rng.shuffle(places)
    for index, place in enumerate(sorted(places[:3], key=abs, reverse=True)):
        fill = rng.choice(p.accents[:4])
        _vessel(
            c,
            c.w / 2 + place * c.s * 1.05,
            c.h * (0.78 + 0.035 * index),
            c.s * rng.uniform(0.28, 0.44),
            mix(fill, p.layers[-1], 0.12),
            p,
            rng,
        )
    for _ in range(rng.randint(3, 5)):
        fx, fy, size = (
            c.w / 2 + rng.uniform(-0.4, 0.4) * c.s,
            c.h * rng.uniform(0.85, 0.91),
            c.s * rng.uniform(0.035, 0.05),
        )
        c.pen.ellipse(
            (fx - size, fy + size * 0.7, fx + size * 2.3, fy + size * 1.1), fill=mix(p.layers[2], (0, 0, 0), 0.25)
        )
        fill = rng.choice(p.accents[:3])
        c.disc(fx, fy, size, fill)
        c.shine(fx - size * 0.35, fy - size * 0.35, size * 0.9, p.light, 0.55)


def _vessel(c: Canvas, x: float, foot: float, height: float, fill: Colour, p: Palette, rng: random.Random) -> None:
    belly, neck, low = rng.uniform(0.2, 0.34), rng.uniform(0.05, 0.13), rng.uniform(0.25, 0.5)
    right = []
    for step in range(31):
        share = step / 30
        swell = math.exp(-(((share - low) / 0.24) ** 2)) * belly
        lip = 0.05 * max(0.0, share - 0.88) / 0.12
        right.append((height * (neck + swell + lip), foot - height * share))
    shadow = height * 0.95
    c.pen.polygon(
        [
            (x - height * 0.12, foot),
            (x + shadow, foot + height * 0.13),
            (x + shadow * 0.9, foot + height * 0.2),
            (x - height * 0.05, foot + height * 0.05),
        ],
        fill=mix(p.layers[2], (0, 0, 0), 0.25),
    )
    bands = 24
    for band in range(bands):
        tone = mix(mix(fill, p.light, 0.35), mix(fill, p.layers[-1], 0.5), band / bands)
        first, last = 2 * band / bands - 1, 2 * (band + 1) / bands - 1
        outline = [(x + half * first, y) for half, y in right]
        c.pen.polygon([*outline, *((x + half * last + 1, y) for half, y in reversed(right))], fill=tone)
    rim = right[-1][0]
    top = foot - height
    c.pen.ellipse((x - rim, top - rim * 0.22, x + rim, top + rim * 0.22), fill=mix(fill, p.layers[-1], 0.65))
