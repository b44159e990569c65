"""Abstract motifs and planets."""

from __future__ import annotations

import math
import random

from PIL import Image, ImageDraw

from venice_batch.sandbox.art.canvas import Canvas
from venice_batch.sandbox.art.palettes import Palette, along, mix


def bauhaus(c: Canvas, p: Palette, rng: random.Random) -> None:
    """Draw a grid of circles, arcs and quarters."""
    rows = rng.choice((3, 4, 4, 5))
    cell = c.h / rows if c.h <= c.w else c.w / rows
    columns, lines = math.ceil(c.w / cell), math.ceil(c.h / cell)
    colours = [*p.accents[:4], p.layers[-1], p.layers[1], p.accents[-1], p.accents[-1]]
    for row in range(lines):
        for column in range(columns):
            x, y = column * cell, row * cell
            ground, first, second = rng.sample(colours, 3)
            c.pen.rectangle((x, y, x + cell, y + cell), fill=ground)
            _tile(c, x, y, cell, first, second, rng.randrange(8), rng.randrange(4))


def _tile(
    c: Canvas, x: float, y: float, cell: float, first: tuple[int, int, int], second: tuple[int, int, int], kind: int,
    turn: int,
) -> None:  # fmt: skip
    corner = (x + cell * (turn in (1, 2)), y + cell * (turn in (2, 3)))
    middle = (x + cell / 2, y + cell / 2)
    if kind <= 1:
        c.disc(*middle, cell * 0.4, first)
        c.disc(*middle, cell * (0.2 if kind else 0.1), second)
    elif kind <= 3:
        start = turn * 90
        for ring, fill in enumerate((first, second, first, second)[: 1 + 3 * (kind - 2)]):
            reach = cell * (1 - ring * 0.24)
            box = (corner[0] - reach, corner[1] - reach, corner[0] + reach, corner[1] + reach)
            c.pen.pieslice(box, start, start + 90, fill=fill)
    elif kind == 4:
        c.pen.pieslice((x, y, x + cell, y + cell), turn * 90, turn * 90 + 180, fill=first)
    elif kind == 5:
        for stripe in range(4):
            low = y + cell * (stripe * 2 + 0.5) / 8
            c.pen.rectangle((x, low, x + cell, low + cell / 8), fill=first if stripe % 2 else second)
    elif kind == 6:
        corners = [(x, y), (x + cell, y), (x + cell, y + cell), (x, y + cell)]
        c.pen.polygon([corners[turn], corners[(turn + 1) % 4], corners[(turn + 2) % 4]], fill=first)
    else:
        for across in (0.25, 0.75):
            for down in (0.25, 0.75):
                c.disc(x + cell * across, y + cell * down, cell * 0.15, first if across == down else second)


def ribbons(c: Canvas, p: Palette, rng: random.Random) -> None:
    """Draw bands of colour that flow across."""
    stops = [p.sky[0], p.accents[3], p.accents[0], p.accents[1], p.accents[2], p.accents[-1]]
    if rng.random() < 0.5:
        stops = [*p.layers[::-1], *p.sky[1:], p.light]
    bands = 34
    waves = [
        (rng.uniform(0.4, 1.5), rng.uniform(0, math.tau), rng.uniform(0.05, 0.16), rng.uniform(1, 4)) for _ in range(3)
    ]
    tilt = rng.uniform(-0.35, 0.35)
    c.image.paste(stops[0], (0, 0, c.w, c.h))
    before: list[tuple[float, float]] = []
    for band in range(bands):
        share = band / bands
        edge = []
        for step in range(65):
            at = step / 64
            swing = sum(
                size * math.sin(math.tau * rate * at + phase + turn * share) for rate, phase, size, turn in waves
            )
            edge.append((at * c.w, c.h * (-0.25 + 1.5 * share + swing + tilt * (at - 0.5))))
        if before:
            fill = along(stops, (share * 1.15 + 0.04 * math.sin(band * 1.7)) % 1.0001)
            below = [(c.w, c.h), (0, c.h)] if band == bands - 1 else [(x, y + c.h * 0.02) for x, y in reversed(edge)]
            c.pen.polygon([*before, *below], fill=fill)
            if band % 3 == 0:
                c.pen.line(before, fill=mix(fill, p.light, 0.5), width=max(1, int(c.s * 0.0022)))
        before = edge


def mosaic(c: Canvas, p: Palette, rng: random.Random) -> None:
    """Draw leaded glass: panes with colours in rings around a light."""
    step = c.s / rng.randint(9, 12)
    columns, rows = int(c.w / step) + 3, int(c.h / step) + 3
    nodes = {
        (i, j): ((i - 1 + rng.uniform(-0.36, 0.36) + 0.5 * (j % 2)) * step, (j - 1 + rng.uniform(-0.36, 0.36)) * step)
        for i in range(-1, columns + 1)
        for j in range(-1, rows + 1)
    }
    focus = (c.w * rng.uniform(0.3, 0.7), c.h * rng.uniform(0.25, 0.55))
    stops = [p.light, p.accents[1], p.accents[0], p.accents[3], p.sky[1], p.layers[-1]]
    lead, width = mix(p.layers[-1], (0, 0, 0), 0.5), max(2, int(c.s * 0.0055))
    for i in range(-1, columns):
        for j in range(-1, rows):
            a, b, d, e = nodes[i, j], nodes[i + 1, j], nodes[i + 1, j + 1], nodes[i, j + 1]
            panes = [(a, b, d, e)] if rng.random() < 0.45 else [(a, b, d), (a, d, e)]
            for pane in panes:
                x, y = sum(q[0] for q in pane) / len(pane), sum(q[1] for q in pane) / len(pane)
                far = math.dist((x, y), focus) / (c.s * 0.95)
                fill = mix(along(stops, far + rng.uniform(-0.09, 0.09)), rng.choice(p.accents), rng.uniform(0, 0.3))
                c.pen.polygon(pane, fill=fill)
                c.pen.line((*pane, pane[0]), fill=lead, width=width)
    c.glow(*focus, c.s * 0.6, p.light, 0.35)


def planet(c: Canvas, p: Palette, rng: random.Random) -> None:
    """Draw a banded planet with its ring in front of stars."""
    deep = mix(p.layers[-1], (4, 5, 16), 0.6)
    glow = mix(deep, p.sky[1], 0.5)
    c.sky((deep, glow, deep), 0, 1)
    for _ in range(4):
        c.glow(rng.random() * c.w, rng.random() * c.h, c.s * rng.uniform(0.3, 0.55), rng.choice(p.accents[:4]), 0.2)
    c.stars(330, 1.0, p.light, lambda _: glow, rng)
    x, y, radius = c.w * rng.uniform(0.38, 0.62), c.h * rng.uniform(0.38, 0.55), c.s * rng.uniform(0.2, 0.29)
    c.glow(x, y, radius * 1.7, p.accents[1], 0.14)
    across = int(radius * 2)
    globe = Canvas(across, across)
    stops = [*p.accents[:3], p.sky[-1], p.accents[1], p.layers[0]]
    rng.shuffle(stops)
    globe.sky(stops)
    bands = 11
    for band in range(bands):
        low, phase, swing = across * band / bands, rng.uniform(0, 6), across * rng.uniform(0.004, 0.018)
        edge = [(across * t / 24, low + math.sin(t / 3 + phase) * swing) for t in range(25)]
        lower = [(ex, ey + across * rng.uniform(0.035, 0.05)) for ex, ey in reversed(edge)]
        globe.pen.polygon(edge + lower, fill=mix(along(stops, band / bands), p.accents[-1], rng.uniform(0.1, 0.3)))
    # Night side: the globe is darkened outside discs that shrink towards the light; the small mask makes it soft.
    small = max(2, across // 12)
    mask = Image.new("L", (small, small), 150)
    for step in range(8):
        reach, lit = small * (0.72 - 0.035 * step), small * 0.34
        box = (lit - reach, lit - reach, lit + reach, lit + reach)
        ImageDraw.Draw(mask).ellipse(box, fill=int(130 * (1 - step / 7)))
    globe.image.paste(deep, (0, 0), mask.resize((across, across), Image.Resampling.BILINEAR))
    tilt = rng.uniform(0.16, 0.3)
    _ring(c, p, (x, y), radius, tilt, 180)
    disc = Image.new("L", (across, across))
    ImageDraw.Draw(disc).ellipse((1, 1, across - 2, across - 2), fill=255)
    c.image.paste(globe.image, (int(x - radius), int(y - radius)), disc)
    _ring(c, p, (x, y), radius, tilt, 0)
    mx, my = x + radius * rng.choice((-1.6, 1.6)), y - radius * rng.uniform(0.8, 1.2)
    c.disc(mx, my, radius * 0.16, p.accents[-1])
    c.disc(mx + radius * 0.06, my + radius * 0.04, radius * 0.13, mix(deep, p.accents[-1], 0.25))


def _ring(c: Canvas, p: Palette, middle: tuple[float, float], radius: float, tilt: float, start: int) -> None:
    for index in range(9):
        reach = radius * (1.35 + 0.06 * index)
        box = (middle[0] - reach, middle[1] - reach * tilt, middle[0] + reach, middle[1] + reach * tilt)
        fill = mix(p.light, p.accents[index % 3], 0.25 + 0.06 * index)
        c.pen.arc(box, start, start + 180, fill=fill, width=max(2, int(radius * 0.03 * (1 if index % 4 else 0.5))))
