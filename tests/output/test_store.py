import errno
import hashlib
import io
import os

import pytest
from PIL import Image

from venice_batch.names import short_name
from venice_batch.output import store as store_module
from venice_batch.output.orders import Done, Drop, NoImage, Place, Taken, Trouble, Write
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
    return tmp_path


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
    assert "<html>" in ending.why
    assert one.carry_out(Drop((".p",))) == Done()
    assert os.listdir(images) == []


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
