"""Motifs from nature."""

from __future__ import annotations

import math
import random

from venice_batch.sandbox.art.canvas import RIDGE_POINTS, Canvas, Point, ridge
from venice_batch.sandbox.art.palettes import Colour, Palette, along, mix


def hills(c: Canvas, p: Palette, rng: random.Random) -> None:
    """Draw ranges of misty hills behind each other, under a sun or moon."""
    c.sky(p.sky, 0, 0.8)
    c.sky((p.sky[-1], p.layers[0]), 0.8, 1)
    _sun(c, p, rng, rng.uniform(0.22, 0.4))
    count = rng.randint(5, 6)
    roughness = rng.uniform(0.42, 0.6)
    for layer in range(count):
        share = layer / (count - 1)
        base = c.h * (0.48 + 0.43 * share**1.15)
        colour = along(p.layers, share)
        outline = ridge(c.w, base, c.s * (0.13 - 0.05 * share), roughness, rng)
        haze = mix(colour, p.sky[-1], 0.5 * (1 - share))
        c.ground(outline, colour, haze, c.h * 0.2)
        if share > 0.7 and rng.random() < 0.8:
            _pines_on(c, outline, colour, rng)
    _birds(c, p, rng)


def sea(c: Canvas, p: Palette, rng: random.Random) -> None:
    """Draw a calm sea that reflects the light, sometimes with a sail on it."""
    horizon = rng.uniform(0.5, 0.6)
    c.sky(p.sky, 0, horizon)
    x, radius = c.w * rng.uniform(0.3, 0.7), c.s * rng.uniform(0.07, 0.13)
    y = c.h * horizon - radius * rng.uniform(0.1, 2.2)
    c.glow(x, y, c.s * 0.55, p.light, 0.75)
    c.disc(x, y, radius, p.light)
    c.sky((mix(p.sky[-1], p.layers[1], 0.55), p.layers[2], p.layers[3]), horizon, 1)
    far = ridge(c.w, c.h * horizon, c.s * 0.05, 0.55, rng)
    side = rng.choice((-1, 1))
    slope = [(px, min(c.h * horizon, py + side * (px / c.w - 0.5) * c.s * 0.25)) for px, py in far]
    c.pen.polygon([*slope, (c.w, c.h * horizon), (0, c.h * horizon)], fill=mix(p.layers[0], p.sky[-1], 0.35))
    for _ in range(420):
        depth = rng.random() ** 1.5
        wy = c.h * (horizon + 0.004 + (0.995 - horizon) * depth)
        near_light = rng.random() < 0.55
        spread = radius * (0.9 + 2.4 * depth)
        wx = rng.gauss(x, spread) if near_light else rng.random() * c.w
        length = c.s * (0.012 + 0.07 * depth) * rng.uniform(0.4, 1.2)
        thick = c.s * (0.0008 + 0.004 * depth)
        behind = along((p.sky[-1], p.layers[2], p.layers[3]), depth)
        fill = mix(behind, p.light, 0.8 - 0.4 * depth) if near_light else mix(behind, p.sky[-2], 0.22)
        c.pen.ellipse((wx - length, wy - thick, wx + length, wy + thick), fill=fill)
    if rng.random() < 0.75:
        _sail(c, p, rng, horizon)
    _birds(c, p, rng)


def forest(c: Canvas, p: Palette, rng: random.Random) -> None:
    """Draw rows of firs that fade into mist."""
    c.sky(p.sky, 0, 1)
    _sun(c, p, rng, rng.uniform(0.2, 0.34))
    rows = 5
    for row in range(rows):
        share = row / (rows - 1)
        colour = along(p.layers, share**0.8)
        outline = ridge(c.w, c.h * (0.58 + 0.36 * share), c.s * 0.06, 0.45, rng)
        height = c.s * (0.1 + 0.32 * share**1.4)
        mist = mix(colour, p.sky[-1], 0.55 * (1 - share) + 0.12)
        step = height * 0.3
        x = -step
        while x < c.w + step:
            y = outline[min(RIDGE_POINTS, max(0, int(x / c.w * RIDGE_POINTS)))][1]
            _fir(c, (x, y + height * 0.12), height * rng.uniform(0.65, 1.2), colour, mist, rng)
            x += step * rng.uniform(0.6, 1.5) * (1 + 1.3 * share * share)
        c.ground(outline, mist, mix(mist, p.sky[-1], 0.4 * (1 - share)), c.h * 0.12)
    if "winter" in p.moods or "night" in p.moods:
        for _ in range(260):
            c.disc(rng.random() * c.w, rng.random() * c.h, c.s * rng.choice((0.001, 0.002, 0.0035)), p.light)


def fronds(c: Canvas, p: Palette, rng: random.Random) -> None:
    """Draw leafy branches in front of a pale disc, like a botanical print."""
    paper = mix(p.accents[-1], p.sky[-1], 0.3)
    c.sky((paper, mix(paper, p.sky[-1], 0.45)), 0, 1)
    c.disc(c.w * rng.uniform(0.35, 0.65), c.h * rng.uniform(0.35, 0.5), c.s * rng.uniform(0.24, 0.34),
           mix(rng.choice(p.accents[:3]), paper, 0.25))  # fmt: skip
    count = rng.randint(7, 9)
    for index in range(count):
        share = index / (count - 1)
        tone = mix(along(p.layers, 0.15 + 0.8 * share), p.accents[3], rng.uniform(0.0, 0.3))
        x = c.w * (0.06 + 0.88 * ((index * 0.618 + rng.uniform(-0.05, 0.05)) % 1))
        lean = (c.w / 2 - x) / c.w + rng.uniform(-0.5, 0.5)
        _branch(c, (x, c.h * 1.03), lean, c.h * rng.uniform(0.5, 0.86), tone, rng)


def bloom(c: Canvas, p: Palette, rng: random.Random) -> None:
    """Draw large flowers with many petals on a soft background."""
    dark = "night" in p.moods
    ground = (p.layers[-1], p.layers[-2]) if dark else (p.accents[-1], mix(p.sky[-1], p.accents[-1], 0.4))
    c.sky(ground, 0, 1)
    places = [(0.5, 0.46, 0.36), (0.13, 0.82, 0.22), (0.88, 0.8, 0.25), (0.9, 0.14, 0.17), (0.1, 0.16, 0.19)]
    for x, y, size in reversed(places):
        for _ in range(5):
            _leaf(
                c,
                (c.w * x, c.h * y),
                rng.uniform(0, math.tau),
                c.s * size * 1.25,
                0.22,
                mix(p.layers[2], p.accents[3], rng.random() * 0.4),
            )
        _flower(c, (c.w * (x + rng.uniform(-0.04, 0.04)), c.h * (y + rng.uniform(-0.03, 0.03))), c.s * size, p, rng)


def _sun(c: Canvas, p: Palette, rng: random.Random, height: float) -> None:
    x, y, radius = c.w * rng.uniform(0.25, 0.75), c.h * height, c.s * rng.uniform(0.05, 0.1)
    if "night" in p.moods:
        c.stars(170, 0.6, p.light, lambda at: along(p.sky, at / 0.8), rng)
    c.glow(x, y, c.s * 0.5, p.light, 0.6)
    c.disc(x, y, radius, p.light)


def _birds(c: Canvas, p: Palette, rng: random.Random) -> None:
    if "night" in p.moods or rng.random() < 0.4:
        return
    x, y = c.w * rng.uniform(0.2, 0.7), c.h * rng.uniform(0.14, 0.3)
    for _ in range(rng.randint(3, 6)):
        bx, by, size = x + rng.gauss(0, c.s * 0.06), y + rng.gauss(0, c.s * 0.03), c.s * rng.uniform(0.008, 0.014)
        wing = [
            (bx - size, by - size * 0.5),
            (bx - size * 0.3, by - size * 0.45),
            (bx, by),
            (bx + size * 0.3, by - size * 0.45),
            (bx + size, by - size * 0.5),
        ]
        c.pen.line(wing, fill=p.layers[-1], width=max(1, int(c.s * 0.0025)), joint="curve")


def _pines_on(c: Canvas, outline: list[Point], colour: Colour, rng: random.Random) -> None:
    start = rng.randint(0, 80)
    for x, y in outline[start : start + 36]:
        if rng.random() < 0.6:
            _fir(c, (x, y + c.s * 0.006), c.s * rng.uniform(0.025, 0.065), colour, colour, rng)


def _fir(c: Canvas, foot: Point, height: float, tip: Colour, mist: Colour, rng: random.Random) -> None:
    x, y = foot
    tiers = 4
    for tier in reversed(range(tiers)):
        top = y - height * (1 - tier * 0.2)
        low = top + height * 0.42
        half = height * (0.07 + 0.055 * tier) * rng.uniform(0.9, 1.1)
        c.pen.polygon([(x, top), (x + half, low), (x - half, low)], fill=mix(tip, mist, tier / tiers))


def _sail(c: Canvas, p: Palette, rng: random.Random, horizon: float) -> None:
    x, y, size = c.w * rng.uniform(0.2, 0.8), c.h * (horizon + rng.uniform(0.05, 0.16)), c.s * rng.uniform(0.09, 0.15)
    c.pen.polygon([(x, y - size * 1.5), (x, y - size * 0.12), (x - size * 0.6, y - size * 0.12)], fill=p.accents[-1])
    c.pen.polygon(
        [(x + size * 0.05, y - size * 1.25), (x + size * 0.05, y - size * 0.12), (x + size * 0.48, y - size * 0.12)],
        fill=p.accents[0],
    )
    c.pen.polygon(
        [
            (x - size * 0.7, y - size * 0.07),
            (x + size * 0.6, y - size * 0.07),
            (x + size * 0.4, y + size * 0.1),
            (x - size * 0.5, y + size * 0.1),
        ],
        fill=p.layers[-1],
    )
    for row in range(7):
        width = size * (0.55 - 0.06 * row) * rng.uniform(0.7, 1.1)
        ry = y + size * (0.16 + row * 0.1)
        c.pen.ellipse((x - width, ry, x + width, ry + size * 0.03), fill=mix(p.layers[2], p.accents[-1], 0.35))


def _branch(c: Canvas, root: Point, lean: float, length: float, tone: Colour, rng: random.Random) -> None:
    joints = 13
    curl = rng.uniform(-0.9, 0.9)
    leaf = length * rng.uniform(0.17, 0.3)
    slim = rng.uniform(0.1, 0.19)
    x, y = root
    stem = [root]
    for joint in range(joints):
        share = joint / joints
        angle = -math.pi / 2 + lean * 0.5 + curl * share
        x, y = x + math.cos(angle) * length / joints, y + math.sin(angle) * length / joints
        stem.append((x, y))
        if joint > 2:
            size = leaf * math.sin(math.pi * (0.18 + 0.75 * share)) * rng.uniform(0.9, 1.1)
            for side in (-1, 1):
                _leaf(
                    c,
                    (x, y),
                    angle + side * (0.95 - 0.35 * share),
                    size,
                    slim,
                    mix(tone, (255, 255, 255), 0.06 + 0.06 * side),
                )
    _leaf(c, (x, y), angle, leaf * 0.8, slim, tone)
    c.pen.line(stem, fill=mix(tone, (0, 0, 0), 0.2), width=max(2, int(c.s * 0.004)), joint="curve")


def _leaf(c: Canvas, root: Point, angle: float, length: float, slim: float, fill: Colour) -> None:
    along_x, along_y = math.cos(angle) * length, math.sin(angle) * length
    outline = []
    for side in (1, -1):
        for step in range(9):
            share = step / 8 if side == 1 else 1 - step / 8
            bulge = math.sin(math.pi * share**0.8) * slim * side
            outline.append((root[0] + along_x * share - along_y * bulge, root[1] + along_y * share + along_x * bulge))
    c.pen.polygon(outline, fill=fill)
    tip = (root[0] + along_x * 0.86, root[1] + along_y * 0.86)
    c.pen.line((root, tip), fill=mix(fill, (0, 0, 0), 0.13), width=max(1, int(c.s * 0.0018)))


def _flower(c: Canvas, middle: Point, radius: float, p: Palette, rng: random.Random) -> None:
    outer, inner = rng.sample(p.accents[:3], 2)
    rings = 6
    for ring in range(rings):
        share = ring / rings
        petals = 17 - 2 * ring
        fill = mix(outer, inner, share)
        turn = rng.uniform(0, math.tau)
        for petal in range(petals):
            shade = mix(fill, p.layers[-1] if petal % 2 else p.light, 0.13)
            _leaf(c, middle, turn + math.tau * petal / petals, radius * (1 - share * 0.82), 0.3 + 0.05 * ring, shade)
    c.disc(*middle, radius * 0.11, mix(inner, p.layers[-1], 0.55))
    for _ in range(30):
        angle, far = rng.uniform(0, math.tau), radius * 0.1 * rng.random() ** 0.5
        c.disc(middle[0] + math.cos(angle) * far, middle[1] + math.sin(angle) * far, radius * 0.012, p.light)
