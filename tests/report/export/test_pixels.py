"""Images as PNG and grids: the same pixels."""

import io

import pytest
from pictures import picture
from PIL import Image, ImageChops

from venice_batch.report.export import pixels
from venice_batch.report.export.pixels import UndecodableError, UnlikeError, as_png, grid


def opened(data):
    return Image.open(io.BytesIO(data))


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def noise(mode="RGB", size=(40, 24)):
    return Image.merge(mode, [Image.effect_noise(size, 60) for _ in mode])


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("WEBP", "RGB", {"quality": 60}), ("WEBP", "RGBA", {"lossless": True}), ("JPEG", "RGB", {}), ("JPEG", "L", {}),
        ("BMP", "RGB", {}), ("TIFF", "RGB", {}), ("PNG", "RGBA", {}),
    ],
)  # fmt: skip
def test_png_has_the_same_pixels(kind, mode, options):
    data = encoded(noise(mode), kind, **options)
    before, after = opened(data), opened(as_png(data))
    assert (after.format, after.mode, after.size) == ("PNG", before.mode, before.size)
    assert ImageChops.difference(before.convert("RGBA"), after.convert("RGBA")).getbbox(alpha_only=False) is None


def test_colour_profile_and_exif_data_stay():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    after = opened(as_png(encoded(noise(), "JPEG", icc_profile=b"profile", exif=exif)))
    assert after.info["icc_profile"] == b"profile"
    assert after.getexif()[0x0112] == 6


def test_colours_for_print_become_rgb():
    data = encoded(noise("CMYK"), "JPEG", icc_profile=b"of four colours")
    after = opened(as_png(data))
    assert (after.mode, after.info.get("icc_profile")) == ("RGB", None)


def test_the_same_image_makes_the_same_bytes():
    data = encoded(noise(), "WEBP")
    assert as_png(data) == as_png(data)


COLOURS = ["#ff0000", "#00ff00", "#0000ff", "#ffff00"]


@pytest.mark.parametrize(("count", "size"), [(1, (32, 24)), (2, (64, 24)), (3, (64, 48)), (4, (64, 48))])
def test_a_grid_is_filled_row_by_row(count, size):
    kinds = ["PNG", "WEBP", "PNG", "PNG"]
    made = grid(
        [picture(32, 24, kind=kind, colour=colour) for kind, colour in zip(kinds, COLOURS, strict=True)][:count]
    )
    whole = opened(made.png)
    assert (made.width, made.height, whole.size, whole.mode) == (32, 24, size, "RGB")
    corners = [(0, 0), (32, 0), (0, 24), (32, 24)][:count]
    found = [whole.getpixel(corner) for corner in corners]
    wanted = [tuple(bytes.fromhex(colour[1:])) for colour in COLOURS[:count]]
    assert all(abs(a - b) < 3 for pair in zip(found, wanted, strict=True) for a, b in zip(*pair, strict=True))


def test_images_of_different_sizes_make_no_grid():
    with pytest.raises(UnlikeError):
        grid([picture(32, 24), picture(24, 32)])


@pytest.mark.parametrize("data", [b"", b"no image", picture()[:200], b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_a_damaged_image_is_an_error_of_ours(data):
    with pytest.raises(UndecodableError, match="cannot be decoded"):
        as_png(data)
    with pytest.raises(UndecodableError):
        grid([data])


def test_an_image_that_is_too_large_is_not_decoded(monkeypatch):
    monkeypatch.setattr(pixels, "MOST_PIXELS", 32 * 24 - 1)
    with pytest.raises(UndecodableError, match="more than 767 pixels"):
        as_png(picture(32, 24))
