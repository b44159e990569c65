import errno
import hashlib
import io
import os

import pytest
from PIL import Image

from venice_batch.output import store as store_module
from venice_batch.output.naming import short_name
from venice_batch.output.orders import Done, Drop, NoImage, Place, Taken, Trouble, Unrecognised, Write
from venice_batch.output.store import ImageStore


def picture(kind="PNG"):
    out = io.BytesIO()
    Image.new("RGB", (4, 3), "teal").save(out, kind)
    return out.getvalue()


class Contents:
    """Buffers whose contents a test sets."""

    def __init__(self, *contents):
        self.contents = contents

    def __call__(self, number):
        return memoryview(self.contents[number] + b"left over from an earlier image")


@pytest.fixture
def images(tmp_path):
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def store(images, *contents):
    return ImageStore(str(images), Contents(*contents))


def write(part, number, data):
    return Write(part, number, len(data))


def test_parts_of_several_orders_become_one_image(images):
    data = picture()
    one = store(images, data[:30], data[30:])
    assert one.carry_out(write(".p", 0, data[:30])) == Done()
    ending = one.carry_out(Place((".p",), ("a",), write(".p", 1, data[30:])))
    assert isinstance(ending, Done)
    (file,) = ending.files
    assert (file.path, file.bytes, file.width, file.height) == ("images/a.png", len(data), 4, 3)
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert (images / "a.png").read_bytes() == data
    assert os.listdir(images) == ["a.png"]


def test_a_part_that_another_store_has_begun_is_gone_on_with(images):
    data = picture()
    assert store(images, data).carry_out(Write(".p", 0, 40)) == Done()  # of which ten have not been asked for
    ending = store(images, data[30:]).carry_out(Place((".p",), ("a",), Write(".p", 0, len(data) - 30, at=30)))
    assert isinstance(ending, Done)
    assert (images / "a.png").read_bytes() == data
    assert ending.files[0].sha256 == hashlib.sha256(data).hexdigest()
    assert os.listdir(images) == ["a.png"]


def test_a_part_that_another_store_has_written_is_placed(images):
    data = picture()
    assert store(images, data).carry_out(write(".p", 0, data)) == Done()
    ending = store(images).carry_out(Place((".p",), ("a",)))
    assert isinstance(ending, Done)
    assert ending.files[0].sha256 == hashlib.sha256(data).hexdigest()
    assert os.listdir(images) == ["a.png"]


def test_an_order_that_another_store_has_half_carried_out_is_carried_out(images):
    data = picture()
    store(images, data).carry_out(write(".p", 0, data[:20]))
    ending = store(images, data).carry_out(Place((".p",), ("a",), write(".p", 0, data)))
    assert isinstance(ending, Done)
    assert (images / "a.png").read_bytes() == data
    # It had the image placed, and only its own name for it was left to be removed.
    os.link(images / "a.png", images / ".q")
    ending = store(images, data).carry_out(Place((".q",), ("a",), write(".q", 0, data)))
    assert isinstance(ending, Done)
    assert ending.files[0].path == "images/a.png"
    assert os.listdir(images) == ["a.png"]


def test_of_a_part_that_another_store_has_begun_nothing_may_be_missing(images):
    (images / ".p").write_bytes(b"abc")
    one = store(images, b"x")
    assert one.carry_out(Write(".p", 0, 1, at=4)) == Trouble(errno.EIO, "what was written of an image is gone")
    assert isinstance(one.carry_out(Write(".q", 0, 1, at=4)), Trouble)
    assert isinstance(one.carry_out(Place((".q",), ("a",))), NoImage)


def test_what_stands_under_the_name_of_a_part_is_not_followed(images):
    (images / "other").write_bytes(b"mine")
    (images / ".p").symlink_to("other")
    assert isinstance(store(images, b"x").carry_out(Write(".p", 0, 1)), Trouble)
    assert (images / "other").read_bytes() == b"mine"


def test_a_part_that_another_store_has_begun_can_be_dropped(images):
    store(images, b"x").carry_out(Write(".p", 0, 1))
    assert store(images).carry_out(Drop((".p",))) == Done()
    assert os.listdir(images) == []


def test_what_is_no_image_is_told_and_can_be_dropped(images):
    one = store(images, b"<html>")
    ending = one.carry_out(Place((".p",), ("a",), write(".p", 0, b"<html>")))
    assert isinstance(ending, NoImage)
    assert ending.why == "6 bytes that are no image"
    assert one.carry_out(Drop((".p",))) == Done()
    assert os.listdir(images) == []


UNKNOWN = bytes(range(200))


def kept(images):
    root = images.parent / "unrecognised"
    return {f"{path.relative_to(root)}": path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("durable", [True, False])
def test_unknown_bytes_are_kept_beside_the_images_folder_and_no_file_there_is_replaced(images, durable):
    for number, mark in enumerate(("", "~1", "~2")):
        one = store(images, UNKNOWN)
        place = Place((".p",), ("sub/a",), write(".p", 0, UNKNOWN), owned=("images/sub/a.bin",), durable=durable)
        assert one.carry_out(place) == Unrecognised((f"unrecognised/sub/a{mark}.bin",))
        assert kept(images) == {f"sub/a{mark}.bin": UNKNOWN for mark in ("", "~1", "~2")[: number + 1]}
        assert one.carry_out(Drop((".p",))) == Done()
    assert os.listdir(images) == []


def test_with_one_unknown_part_all_are_kept_and_none_is_an_image(images):
    one = store(images, picture(), UNKNOWN)
    for number, part in enumerate((".p", ".q")):
        one.carry_out(write(part, number, (picture(), UNKNOWN)[number]))
    ending = one.carry_out(Place((".p", ".q"), ("a-1", "a-2")))
    assert ending == Unrecognised(("unrecognised/a-1.png", "unrecognised/a-2.bin"))
    assert kept(images) == {"a-1.png": picture(), "a-2.bin": UNKNOWN}
    assert os.listdir(images) == []


def test_what_another_store_has_kept_already_is_not_kept_twice(images):
    one = store(images, UNKNOWN)
    one.carry_out(write(".p", 0, UNKNOWN))
    (images.parent / "unrecognised").mkdir()
    os.link(images / ".p", images.parent / "unrecognised" / "a.bin")
    assert store(images).carry_out(Place((".p",), ("a",))) == Unrecognised(("unrecognised/a.bin",))
    assert os.listdir(images) == []


def test_where_nothing_can_be_kept_the_system_is_told_of(images):
    (images.parent / "unrecognised").write_bytes(b"a file")
    ending = store(images, UNKNOWN).carry_out(Place((".p",), ("a",), write(".p", 0, UNKNOWN)))
    assert isinstance(ending, Trouble)


def test_what_may_be_cut_needs_its_own_end(images):
    data = picture() + b"more"
    one = store(images, data)
    assert isinstance(one.carry_out(Place((".p",), ("a",), write(".p", 0, data), all_came=False)), Done)
    one = store(images, data[:-30])
    ending = one.carry_out(Place((".q",), ("b",), write(".q", 0, data[:-30]), all_came=False))
    assert isinstance(ending, NoImage)
    assert one.carry_out(Drop((".q",))) == Done()
    assert os.listdir(images) == ["a.png"]


def test_an_image_without_any_byte_is_none(images):
    assert isinstance(store(images).carry_out(Place((".p",), ("a",))), NoImage)
    assert os.listdir(images) == []


def test_a_name_that_is_taken_is_told_and_then_avoided_or_replaced_as_the_owner_wishes(images):
    data = picture()
    (images / "a.png").write_bytes(b"mine")
    one = store(images, data)
    assert one.carry_out(Place((".p",), ("a",), write(".p", 0, data))) == Taken()
    assert (images / "a.png").read_bytes() == b"mine"
    ending = one.carry_out(Place((".p",), ("a",), owned=()))
    assert isinstance(ending, Done)
    assert ending.files[0].path == "images/a~1.png"
    one.carry_out(write(".q", 0, data))
    assert isinstance(one.carry_out(Place((".q",), ("a",), owned=("images/a.png",))), Done)
    assert (images / "a.png").read_bytes() == data


def test_with_the_second_name_taken_the_first_image_is_not_placed_either(images):
    data = picture()
    (images / "a-2.png").write_bytes(b"mine")
    one = store(images, data)
    for part in (".p", ".q"):
        one.carry_out(write(part, 0, data))
    assert one.carry_out(Place((".p", ".q"), ("a-1", "a-2"))) == Taken()
    assert sorted(os.listdir(images)) == [".p", ".q", "a-2.png"]
    ending = one.carry_out(Place((".p", ".q"), ("a-1", "a-2"), owned=()))
    assert isinstance(ending, Done)
    assert [file.path for file in ending.files] == ["images/a-1.png", "images/a-2~1.png"]


def test_a_refusal_of_the_system_is_told_by_its_number_and_leaves_no_image(images, monkeypatch):
    data = picture()
    one = store(images, data)
    real, calls = os.link, []

    def link(*args, **kwargs):
        calls.append(args)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "no space")
        real(*args, **kwargs)

    for part in (".p", ".q"):
        one.carry_out(write(part, 0, data))
    monkeypatch.setattr(store_module.os, "link", link)
    assert one.carry_out(Place((".p", ".q"), ("a", "b"))) == Trouble(errno.ENOSPC, "no space")
    assert one.carry_out(Drop((".p", ".q"))) == Done()
    assert os.listdir(images) == []


def test_dropping_what_was_never_written_does_nothing(images):
    assert store(images).carry_out(Drop((".p",))) == Done()


def test_dropping_goes_on_past_a_part_that_cannot_be_removed(images):
    one = store(images, b"x")
    for part in (".p", ".q"):
        one.carry_out(write(part, 0, b"x"))
    (images / ".p").unlink()
    assert one.carry_out(Drop((".p", ".q"))) == Done()
    assert os.listdir(images) == []


LONG = "a" * 150
STRANGE = "caf\u00e9"


def refuse_names(monkeypatch, number, is_refused):
    """Have the disk refuse to give some names, whichever way it is asked to."""
    for call, of_target in (("link", 1), ("open", 0)):
        real = getattr(os, call)

        def asked(*args, real=real, of_target=of_target, **options):
            name = os.path.basename(os.fsdecode(args[of_target]))
            if is_refused(name):
                raise OSError(number, os.strerror(number))
            return real(*args, **options)

        monkeypatch.setattr(store_module.os, call, asked)


@pytest.mark.parametrize(
    ("number", "stem", "is_refused"),
    [
        (errno.ENAMETOOLONG, LONG, lambda name: len(os.fsencode(name)) > 143),
        (errno.ENAMETOOLONG, LONG, lambda name: len(os.fsencode(name)) > 70),
        (errno.EILSEQ, STRANGE, lambda name: not name.isascii()),
        (errno.EINVAL, STRANGE, lambda name: not name.isascii()),
        (errno.EACCES, "aux", lambda name: name.startswith("aux.")),
        (errno.EIO, "inner/aux", lambda name: name.startswith("aux.")),
    ],
)
def test_a_name_that_the_disk_refuses_gives_way_to_a_short_one_with_a_digest(
    images, monkeypatch, number, stem, is_refused
):
    data = picture()
    (images / "inner").mkdir()
    refuse_names(monkeypatch, number, is_refused)
    folder, slash, name = stem.rpartition("/")
    part = f"{folder}{slash}.p"
    paths = []
    for owned in (None, (), ("images/none",)):
        one = store(images, data)
        ending = one.carry_out(Place((part,), (stem,), write(part, 0, data), owned))
        assert isinstance(ending, Done)
        paths.append(ending.files[0].path)
    expected = f"images/{folder}{slash}{short_name(name)}"
    assert paths == [f"{expected}.png", f"{expected}~1.png", f"{expected}~2.png"]
    assert all((images.parent / images.name / path.removeprefix("images/")).read_bytes() == data for path in paths)
    # Made again, it takes the place of its earlier one.
    ending = store(images, data).carry_out(Place((part,), (stem,), write(part, 0, data), (paths[0],)))
    assert ending.files[0].path == paths[0]


def test_with_every_name_refused_the_first_refusal_is_told(images, monkeypatch):
    data = picture()
    one = store(images, data)
    one.carry_out(write(".p", 0, data))
    refuse_names(monkeypatch, errno.EACCES, lambda name: name.endswith(".png"))
    assert one.carry_out(Place((".p",), ("a",))) == Trouble(errno.EACCES, "Permission denied")
    assert os.listdir(images) == [".p"]
