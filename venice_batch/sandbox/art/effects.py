"""Style presets as visible effects on a finished image."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping
from hashlib import blake2b

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from venice_batch.sandbox.art.canvas import pixel
from venice_batch.sandbox.art.palettes import mix

Effect = Callable[[Image.Image], Image.Image]


def apply(image: Image.Image, style: str) -> Image.Image:
    """Return the image in this style: with the effect of its family, else with a tint from the hash of its name."""
    effect = _FAMILIES.get(style)
    return effect(image) if effect else _tint(image, style)


def _poster(image: Image.Image) -> Image.Image:
    smooth = image.filter(ImageFilter.BoxBlur(1))
    flat = ImageOps.posterize(ImageEnhance.Color(smooth).enhance(1.45), 3)
    flat = ImageEnhance.Brightness(flat).enhance(1.12)
    lines = _edges(smooth, 5).point(lambda v: 255 if v > 150 else 40)
    return ImageChops.multiply(flat, lines.convert("RGB"))


def _comic(image: Image.Image) -> Image.Image:
    poster = _poster(image)
    dots = Image.new("L", (8, 8), 255)
    for x, y in ((1, 1), (2, 1), (1, 2), (2, 2), (5, 5), (6, 5), (5, 6), (6, 6)):
        dots.putpixel((x, y), 205)
    screen = _tiled(_tiled(dots, (128, 128)), image.size)
    return ImageChops.multiply(poster, screen.convert("RGB"))


def _line_art(image: Image.Image) -> Image.Image:
    lines = ImageOps.autocontrast(_edges(image, 4)).filter(ImageFilter.SMOOTH)
    return ImageOps.colorize(lines, black="#22242c", white="#fbf9f3")


def _pixels(image: Image.Image) -> Image.Image:
    across = max(40, image.width // 12)
    small = image.resize((across, max(1, round(across * image.height / image.width))), Image.Resampling.BOX)
    small = ImageEnhance.Color(small).enhance(1.25).quantize(28, dither=Image.Dither.NONE).convert("RGB")
    return small.resize(image.size, Image.Resampling.NEAREST)


def _mono(image: Image.Image) -> Image.Image:
    return ImageOps.autocontrast(image.convert("L"), cutoff=1).convert("RGB")


def _noir(image: Image.Image) -> Image.Image:
    grey = ImageEnhance.Contrast(ImageOps.autocontrast(image.convert("L"))).enhance(1.2).convert("RGB")
    return _vignette(grey, 0.75)


def _film(image: Image.Image) -> Image.Image:
    faded = Image.blend(ImageEnhance.Color(image).enhance(0.75), Image.new("RGB", image.size, "#e0b37a"), 0.2)
    return _vignette(faded, 0.45)


def _cinema(image: Image.Image) -> Image.Image:
    graded = ImageOps.colorize(image.convert("L"), black="#06202b", mid="#7d7f6d", white="#ffe9c4")
    image = _vignette(ImageEnhance.Contrast(Image.blend(image, graded, 0.45)).enhance(1.15), 0.5)
    bar = round(image.height * 0.07)
    image.paste("#000000", (0, 0, image.width, bar))
    image.paste("#000000", (0, image.height - bar, image.width, image.height))
    return image


def _watercolour(image: Image.Image) -> Image.Image:
    soft = Image.blend(image.filter(ImageFilter.BoxBlur(7)), image.filter(ImageFilter.BoxBlur(2)), 0.45)
    pale = Image.blend(ImageEnhance.Color(soft).enhance(1.4), Image.new("RGB", image.size, "#fbf6ea"), 0.3)
    edges = _edges(soft, 1.4).convert("RGB")
    paper = ImageOps.colorize(_paper(image.size), black="#e9e2d2", white="#ffffff")
    return ImageChops.multiply(
        ImageChops.multiply(pale, Image.blend(edges, Image.new("RGB", image.size, "white"), 0.6)), paper
    )


def _neon(image: Image.Image) -> Image.Image:
    lines = ImageOps.invert(_edges(image, 4))
    dark = ImageOps.colorize(image.convert("L"), black="#05030f", mid="#3a0f5c", white="#1fb6c9")
    glow = lines.resize((max(1, image.width // 8), max(1, image.height // 8)), Image.Resampling.BOX).resize(image.size)
    neon = ImageOps.colorize(glow, black="#000000", mid="#c2187a", white="#ff5fd0")
    return ImageChops.screen(ImageChops.screen(dark, neon), ImageOps.colorize(lines, black="#000000", white="#7ff6ff"))


def _facets(image: Image.Image) -> Image.Image:
    step = max(12, max(image.size) // 30)
    across, down = image.width // step + 3, image.height // step + 3
    colours = image.resize((across * 2, down), Image.Resampling.BOX)
    shift = blake2b(b"facets").digest()

    def node(x: int, y: int) -> tuple[int, int]:
        return (
            x * step + shift[(x * 7 + y * 3) % 64] % step - step,
            y * step + shift[(x * 5 + y * 11) % 64] % step - step,
        )

    out = Image.new("RGB", image.size)
    pen = ImageDraw.Draw(out)
    for y in range(down):
        for x in range(across):
            a, b, c, d = node(x, y), node(x + 1, y), node(x + 1, y + 1), node(x, y + 1)
            halves = ((a, b, c), (a, c, d)) if (x + y) % 2 else ((a, b, d), (b, c, d))
            for index, facet in enumerate(halves):
                middle = sum(q[0] for q in facet) / 3 / image.width, sum(q[1] for q in facet) / 3 / image.height
                column = min(across * 2 - 1, max(0, int(middle[0] * across * 2)))
                tone = pixel(colours, column, min(down - 1, max(0, int(middle[1] * down))))
                pen.polygon(facet, fill=mix(tone, (255, 255, 255) if index else (0, 0, 0), 0.05))
    return ImageEnhance.Color(out).enhance(1.3)


def _relief(image: Image.Image) -> Image.Image:
    flat = ImageOps.posterize(image.filter(ImageFilter.BoxBlur(1)), 4)
    height = flat.convert("L").filter(ImageFilter.BoxBlur(3))
    lit = ImageChops.add(height, ImageChops.invert(ImageChops.offset(height, 7, 7)), 1, -128)
    shade = ImageOps.colorize(
        lit.point(lambda v: max(0, min(255, 128 + (v - 127) * 3))), black="#5a4c46", white="#ffffff", mid="#e8e4de"
    )
    return ImageEnhance.Brightness(ImageChops.multiply(flat, shade)).enhance(1.22)


def _silhouette(image: Image.Image) -> Image.Image:
    return ImageOps.colorize(
        ImageOps.equalize(image.convert("L")).point(lambda v: 0 if v < 105 else v),
        black="#0a0a14",
        mid="#d8693c",
        white="#ffe7b0",
    )


def _vivid(image: Image.Image) -> Image.Image:
    return ImageEnhance.Contrast(ImageEnhance.Color(image).enhance(1.6)).enhance(1.2)


def _pop(image: Image.Image) -> Image.Image:
    return ImageOps.posterize(ImageEnhance.Color(ImageOps.autocontrast(image, cutoff=3)).enhance(2.4), 2)


def _tint(image: Image.Image, style: str) -> Image.Image:
    hue = blake2b(style.encode(), digest_size=2).digest()
    red, green, blue = colorsys.hls_to_rgb(hue[0] / 256, 0.56, 0.6)
    colour = f"#{int(red * 255):02x}{int(green * 255):02x}{int(blue * 255):02x}"
    tone = ImageOps.colorize(image.convert("L"), black="#14121c", mid=colour, white="#fff9ee")
    return _vignette(Image.blend(image, tone, 0.45 + hue[1] / 256 * 0.3), 0.3)


def _edges(image: Image.Image, gain: float) -> Image.Image:
    """Return dark lines on white where brightness changes."""
    grey = image.convert("L").filter(ImageFilter.BoxBlur(1))
    across = ImageChops.difference(grey, ImageChops.offset(grey, 2, 0))
    down = ImageChops.difference(grey, ImageChops.offset(grey, 0, 2))
    lines = ImageChops.add(across, down).point(lambda v: 255 - min(255, int(v * gain)))
    # The offsets wrap around: without this the opposite edge would show as a line.
    lines.paste(255, (0, 0, lines.width, 2))
    lines.paste(255, (0, 0, 2, lines.height))
    return lines


def _vignette(image: Image.Image, strength: float) -> Image.Image:
    mask = Image.radial_gradient("L").point(lambda v: int(max(0, v - 90) / 165 * 255 * strength))
    return Image.composite(Image.new("RGB", image.size, "#07060c"), image, mask.resize(image.size))


def _paper(size: tuple[int, int]) -> Image.Image:
    # A fixed tile: the same request must give the same bytes every time.
    seed = blake2b(b"paper").digest()
    tile = Image.frombytes("L", (64, 64), b"".join(blake2b(seed + bytes((n,))).digest() for n in range(64)))
    return _tiled(tile.filter(ImageFilter.BoxBlur(1)), size)


def _tiled(tile: Image.Image, size: tuple[int, int]) -> Image.Image:
    whole = Image.new(tile.mode, size)
    for y in range(0, size[1], tile.height):
        for x in range(0, size[0], tile.width):
            whole.paste(tile, (x, y))
    return whole


_FAMILIES: Mapping[str, Effect] = {
    **dict.fromkeys(("Anime", "Pokemon", "Legend of Zelda", "Flat Papercut"), _poster),
    **dict.fromkeys(("Comic Book", "Street Fighter", "Fighting Game", "GTA"), _comic),
    **dict.fromkeys(("Line Art", "Zentangle", "Architectural", "Kirigami"), _line_art),
    **dict.fromkeys(("Pixel Art", "Retro Arcade", "Retro Game", "Minecraft", "Super Mario"), _pixels),
    **dict.fromkeys(("Monochrome", "Minimalist"), _mono),
    **dict.fromkeys(("Film Noir", "Gothic", "Horror"), _noir),
    **dict.fromkeys(("Analog Film", "Grunge", "Renaissance"), _film),
    "Cinematic": _cinema,
    **dict.fromkeys(("Watercolor", "Impressionist", "Dreamscape"), _watercolour),
    **dict.fromkeys(("Neon Punk", "Neon Noir", "Disco", "Alien"), _neon),
    **dict.fromkeys(("Lowpoly", "Cubist", "Origami", "Stained Glass"), _facets),
    **dict.fromkeys(
        ("3D Model", "Craft Clay", "Paper Mache", "Papercut Shadow Box", "Stacked Papercut", "Thick Layered Papercut"),
        _relief,
    ),
    "Silhouette": _silhouette,
    **dict.fromkeys(("HDR", "Enhance", "Photographic", "Hyperrealism", "Digital Art"), _vivid),
    **dict.fromkeys(("Pop Art", "Psychedelic", "Graffiti"), _pop),
}
