"""Thumbnails: made once, whole or not at all."""

import os

import msgspec
import pytest
from gallery.made import image_bytes, noise_bytes, put
from PIL import Image

from venice_batch.errors import FolderError
from venice_batch.gallery import thumbnails
from venice_batch.gallery.thumbnails import (
    BOX,
    FOLDER,
    make_thumbnails,
    missing_thumbnails,
    thumbnail,
    thumbnail_name,
)


def there(root):
    return sorted(os.listdir(root / FOLDER))


@pytest.mark.parametrize(("image_format", "suffix"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")])
def test_a_thumbnail_is_a_small_webp_of_the_same_shape(tmp_path, image_format, suffix):
    image = put(tmp_path, f"images/a.{suffix}", noise_bytes(640, 480, image_format), 640, 480)
    names = make_thumbnails(tmp_path, [image])
    assert names == {thumbnail_name(image)}
    assert there(tmp_path) == sorted(names)
    with Image.open(tmp_path / FOLDER / thumbnail_name(image)) as small:
        assert small.format == "WEBP"
        assert small.size == (341, 256)


@pytest.mark.parametrize("mode", ["P", "L", "CMYK", "RGBA", "LA", "I;16"])
def test_any_kind_of_pixels_will_do(tmp_path, mode):
    noise = Image.effect_noise((600, 600), 90)
    suffix = "jpg" if mode == "CMYK" else "png"
    made = noise.convert("I").convert("I;16") if mode == "I;16" else noise.convert(mode)
    (tmp_path / "images").mkdir()
    made.save(tmp_path / f"images/a.{suffix}")
    image = put(tmp_path, f"images/a.{suffix}", (tmp_path / f"images/a.{suffix}").read_bytes(), 600, 600)
    assert len(make_thumbnails(tmp_path, [image])) == 1


def test_a_small_file_is_its_own_thumbnail(tmp_path):
    image = put(tmp_path, "images/a.png", image_bytes())
    assert thumbnail_name(image) is None
    assert make_thumbnails(tmp_path, [image]) == frozenset()


@pytest.mark.parametrize("change", [{"width": 100_000, "height": 100_000}, {"width": 0}, {"sha256": "../../x"}])
def test_a_record_with_impossible_values_gets_no_thumbnail(tmp_path, change):
    image = msgspec.structs.replace(put(tmp_path, "images/a.png", noise_bytes()), **change)
    assert thumbnail_name(image) is None


def test_an_existing_thumbnail_is_not_made_again(tmp_path, monkeypatch):
    image = put(tmp_path, "images/a.png", noise_bytes())
    first = make_thumbnails(tmp_path, [image])
    monkeypatch.setattr(thumbnails, "_small", lambda path: pytest.fail("made again"))
    assert make_thumbnails(tmp_path, [image]) == first


def test_the_same_image_twice_has_one_thumbnail(tmp_path):
    data = noise_bytes()
    images = [put(tmp_path, f"images/{name}.png", data) for name in "ab"]
    assert len(make_thumbnails(tmp_path, images)) == 1
    assert len(there(tmp_path)) == 1


def test_thumbnails_of_images_no_longer_shown_are_removed_and_nothing_else(tmp_path):
    old, new = (put(tmp_path, f"images/{name}.png", noise_bytes()) for name in "ab")
    make_thumbnails(tmp_path, [old])
    (tmp_path / FOLDER / "mine.webp").write_bytes(b"x")
    (tmp_path / FOLDER / f".{'0' * 32}.webp.a1b2c3d4.part").write_bytes(b"torn")
    names = make_thumbnails(tmp_path, [new])
    assert there(tmp_path) == sorted(["mine.webp", *names])


def test_a_damaged_image_has_none_and_keeps_no_other_from_having_one(tmp_path):
    torn = put(tmp_path, "images/torn.png", noise_bytes()[:30_000])
    text = put(tmp_path, "images/text.png", b"no image at all " * 4000)
    good = put(tmp_path, "images/good.png", noise_bytes())
    gone = put(tmp_path, "images/gone.png", noise_bytes())
    (tmp_path / "images/gone.png").unlink()
    assert make_thumbnails(tmp_path, [torn, text, gone, good]) == {thumbnail_name(good)}
    assert there(tmp_path) == [thumbnail_name(good)]


def test_progress_is_reported(tmp_path):
    reported = []
    images = [put(tmp_path, f"images/{name}.png", noise_bytes()) for name in "abc"]
    make_thumbnails(tmp_path, images, on_progress=lambda made, of: reported.append((made, of)))
    assert reported == [(1, 3), (2, 3), (3, 3)]


def test_an_interrupt_does_not_wait_for_the_other_images(tmp_path):
    def interrupt(made, of):
        raise KeyboardInterrupt

    images = [put(tmp_path, f"images/{name}.png", noise_bytes()) for name in "abc"]
    with pytest.raises(KeyboardInterrupt):
        make_thumbnails(tmp_path, images, on_progress=interrupt)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / FOLDER).write_bytes(b"a file")
    with pytest.raises(FolderError, match="thumbnails"):
        make_thumbnails(tmp_path, [])


def test_rows_of_the_page_are_no_higher_than_thumbnails():
    """Otherwise thumbnails would be enlarged in the default view."""
    from importlib.resources import files

    layout = files("venice_batch.gallery").joinpath("templates/script/sheet.js").read_text()
    assert f"BIGGER_THAN_THUMBNAILS = {BOX[1]};" in layout


def test_a_folder_of_thumbnails_that_is_a_link_is_left_alone(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / ".download.part").touch()
    (other / f"{'0' * 32}.webp").touch()
    root = tmp_path / "out"
    image = put(root, "images/a.png", noise_bytes())
    (root / FOLDER).symlink_to(other)
    with pytest.raises(FolderError, match="is a link, which is not followed; remove it"):
        make_thumbnails(root, [image])
    assert sorted(os.listdir(other)) == [".download.part", f"{'0' * 32}.webp"]


def test_only_left_overs_of_thumbnails_are_removed(tmp_path):
    (tmp_path / FOLDER).mkdir()
    theirs = [".download.part", ".x.webp.part", "notes.part"]
    for name in (*theirs, f".{'0' * 32}.webp.0123abcd.part", f"{'0' * 32}.webp"):
        (tmp_path / FOLDER / name).touch()
    make_thumbnails(tmp_path, [])
    assert there(tmp_path) == sorted(theirs)


@pytest.mark.parametrize("kind", ["link", "pipe", "outside"])
def test_no_thumbnail_is_made_of_anything_but_a_plain_file_of_the_folder(tmp_path, kind):
    private = put(tmp_path, "private.png", noise_bytes())
    root = tmp_path / "out"
    (root / "images").mkdir(parents=True)
    path = "../private.png" if kind == "outside" else "images/a.png"
    if kind == "link":
        (root / path).symlink_to("../../private.png")
    elif kind == "pipe":
        os.mkfifo(root / path)
    assert make_thumbnails(root, [msgspec.structs.replace(private, path=path)]) == frozenset()
    assert there(root) == []


def test_an_image_larger_than_its_record_says_is_not_made_small(tmp_path, monkeypatch):
    image = put(tmp_path, "images/a.png", noise_bytes(640, 480), 64, 48)
    monkeypatch.setattr(thumbnails, "MOST_PIXELS", 64 * 48)
    assert make_thumbnails(tmp_path, [image]) == frozenset()


def test_a_thumbnail_that_is_a_link_is_replaced_by_one(tmp_path):
    image = put(tmp_path, "images/a.png", noise_bytes())
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / thumbnail_name(image)).symlink_to(tmp_path / "target")
    assert make_thumbnails(tmp_path, [image]) == {thumbnail_name(image)}
    assert not (tmp_path / FOLDER / thumbnail_name(image)).is_symlink()
    assert not (tmp_path / "target").exists()


def test_one_thumbnail_is_made_once_and_kept(tmp_path):
    image = put(tmp_path, "images/a.png", noise_bytes())
    name = thumbnail_name(image)
    assert missing_thumbnails(tmp_path, [name]) == [name]
    made = thumbnail(tmp_path, image)
    assert made == (tmp_path / FOLDER / name).read_bytes()
    assert missing_thumbnails(tmp_path, [name, "other"]) == ["other"]
    (tmp_path / "images/a.png").unlink()
    assert thumbnail(tmp_path, image) == made


def test_one_thumbnail_of_an_image_that_needs_none_or_is_broken_is_not_made(tmp_path):
    small = put(tmp_path, "images/small.png", image_bytes())
    broken = put(tmp_path, "images/broken.png", noise_bytes()[:30_000])
    assert [thumbnail(tmp_path, small), thumbnail(tmp_path, broken)] == [None, None]
    assert not (tmp_path / FOLDER).exists()


@pytest.mark.parametrize(
    "make", [lambda path, aside: path.write_bytes(b""), lambda path, aside: path.symlink_to(aside)]
)
def test_one_thumbnail_that_cannot_be_kept_is_still_made(tmp_path, make):
    image = put(tmp_path, "images/a.png", noise_bytes())
    aside = tmp_path / "aside"
    aside.mkdir()
    make(tmp_path / FOLDER, aside)
    assert thumbnail(tmp_path, image)[8:12] == b"WEBP"
    assert list(aside.iterdir()) == []


def test_a_large_file_in_the_place_of_a_thumbnail_is_not_read(tmp_path):
    image = put(tmp_path, "images/a.png", noise_bytes())
    (tmp_path / FOLDER).mkdir()
    with (tmp_path / FOLDER / thumbnail_name(image)).open("wb") as file:
        file.truncate(1 << 40)
    assert thumbnail(tmp_path, image) is None


def test_a_deleted_image_keeps_no_thumbnail(tmp_path):
    image = put(tmp_path, "images/a.png", noise_bytes())
    assert make_thumbnails(tmp_path, [image]) != frozenset()
    assert make_thumbnails(tmp_path, [msgspec.structs.replace(image, pruned="deleted")]) == frozenset()
    assert there(tmp_path) == []
