"""Images to files: whole under their names, or not at all."""

import errno
import hashlib
import io
import os

import anyio
import pytest
from fakes import job
from PIL import Image

from venice_batch.api.decode import Piece
from venice_batch.errors import BodyError, FolderError, UnrecognisedError
from venice_batch.output import atomic_file, images
from venice_batch.output.image_part import BUFFER_BYTES
from venice_batch.output.images import ImageFolder
from venice_batch.output.naming import short_name


def picture(kind="PNG", size=(40, 30), noise=0):
    image = Image.effect_noise(size, 90).convert("RGB") if noise else Image.new("RGB", size, "teal")
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images").mkdir()
    return tmp_path


def names(root):
    return sorted(os.listdir(root / "images"))


async def store(sink, one, *pictures, chunk=1000, all_came=True):
    writer = sink.writer(one)
    for number, data in enumerate(pictures):
        for start in range(0, len(data), chunk):
            await writer.write(Piece(number, data[start : start + chunk]))
        await writer.write(Piece(number, b"", last=True))
    try:
        return await writer.commit(all_came=all_came)
    finally:
        await writer.discard()


@pytest.mark.parametrize(("kind", "extension"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")])
async def test_an_image_stands_under_its_name_with_its_own_extension_size_and_hash(root, kind, extension):
    data = picture(kind)
    (file,) = await store(ImageFolder(root, prefix="r"), job("a"), data)
    assert file.path == f"images/a.{extension}"
    assert (file.width, file.height, file.format) == (40, 30, kind.lower())
    assert file.bytes == len(data)
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert (root / file.path).read_bytes() == data
    assert names(root) == [f"a.{extension}"]


async def test_an_image_larger_than_the_buffer_is_written_on_the_way(root):
    data = picture("PNG", (1000, 1000), noise=1)
    assert len(data) > 2 * BUFFER_BYTES
    sink = ImageFolder(root, prefix="r")
    writer = sink.writer(job("a"))
    await writer.write(Piece(0, data[: BUFFER_BYTES + 1]))
    (part,) = names(root)
    assert (root / "images" / part).stat().st_size == BUFFER_BYTES + 1
    await writer.write(Piece(0, data[BUFFER_BYTES + 1 :], last=True))
    (file,) = await writer.commit()
    assert (root / file.path).read_bytes() == data


async def test_variants_are_numbered_even_when_only_one_came(root):
    sink = ImageFolder(root, prefix="r")
    files = await store(sink, job("a", variants=2), picture(), picture("WEBP"))
    assert [file.path for file in files] == ["images/a-1.png", "images/a-2.webp"]
    (only,) = await store(sink, job("b", variants=2), picture())
    assert only.path == "images/b-1.png"


@pytest.mark.parametrize("data", [b"<html>502</html>", b"\x89PNG\r\n\x1a\n half an image", picture()[:-20], b"x"])
async def test_what_is_no_whole_image_leaves_no_file(root, data):
    writer = ImageFolder(root, prefix="r").writer(job("a"))
    await writer.write(Piece(0, data, last=True))
    with pytest.raises(BodyError):
        await writer.commit()
    await writer.discard()
    assert names(root) == []


async def test_one_broken_variant_leaves_none_of_the_others(root):
    writer = ImageFolder(root, prefix="r").writer(job("a", variants=2))
    await writer.write(Piece(0, picture(), last=True))
    await writer.write(Piece(1, b"nothing", last=True))
    with pytest.raises(BodyError):
        await writer.commit()
    await writer.discard()
    assert names(root) == []


async def test_an_answer_without_images_is_no_success(root):
    with pytest.raises(BodyError):
        await ImageFolder(root, prefix="r").writer(job("a")).commit()


async def test_an_image_whose_end_never_came_is_no_image(root):
    writer = ImageFolder(root, prefix="r").writer(job("a"))
    await writer.write(Piece(0, picture()))
    with pytest.raises(BodyError):
        await writer.commit()


async def test_a_foreign_file_in_the_way_is_left_alone(root):
    (root / "images" / "a.png").write_text("mine")
    (file,) = await store(ImageFolder(root, prefix="r"), job("a"), picture())
    assert file.path == "images/a~1.png"
    assert (root / "images" / "a.png").read_text() == "mine"


async def test_a_symlink_in_the_way_is_neither_followed_nor_replaced(root, tmp_path):
    target = tmp_path / "precious"
    (root / "images" / "a.png").symlink_to(target)
    sink = ImageFolder(root, prefix="r", replaceable=lambda job_id: ["images/a.png"])
    (file,) = await store(sink, job("a"), picture())
    assert file.path == "images/a~1.png"
    assert not target.exists()


async def test_an_earlier_image_of_the_same_id_is_replaced(root):
    (root / "images" / "a.png").write_bytes(b"earlier")
    sink = ImageFolder(root, prefix="r", replaceable=lambda job_id: ["images/a.png"] if job_id == "a" else [])
    (file,) = await store(sink, job("a"), picture())
    assert file.path == "images/a.png"
    assert names(root) == ["a.png"]


async def test_a_folder_where_an_earlier_image_was_is_left_alone(root):
    (root / "images" / "a.png").mkdir()
    sink = ImageFolder(root, prefix="r", replaceable=lambda job_id: ["images/a.png"])
    (file,) = await store(sink, job("a"), picture())
    assert file.path == "images/a~1.png"


async def test_an_id_cannot_leave_the_folder(root):
    (file,) = await store(ImageFolder(root, prefix="r"), job("../../etc/passwd"), picture())
    assert (root / file.path).resolve().parent == (root / "images").resolve()


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
async def test_a_file_system_without_links_takes_images_and_still_overwrites_nothing(root, monkeypatch, number):
    def refuse(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic_file.os, "link", refuse)
    (root / "images" / "a.png").write_text("mine")
    (file,) = await store(ImageFolder(root, prefix="r"), job("a"), picture())
    assert file.path == "images/a~1.png"
    assert (root / file.path).read_bytes() == picture()
    assert (root / "images" / "a.png").read_text() == "mine"
    assert names(root) == ["a.png", "a~1.png"]


async def test_discarding_after_a_commit_keeps_the_images(root):
    sink = ImageFolder(root, prefix="r")
    writer = sink.writer(job("a"))
    await writer.write(Piece(0, picture(), last=True))
    await writer.commit()
    await writer.discard()
    assert names(root) == ["a.png"]


async def test_a_cancelled_discard_still_leaves_no_trace(root):
    writer = ImageFolder(root, prefix="r").writer(job("a"))
    await writer.write(Piece(0, b"x" * (BUFFER_BYTES + 1)))
    assert len(names(root)) == 1
    with anyio.CancelScope() as scope:
        scope.cancel()
        await writer.discard()
    assert names(root) == []


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EMFILE, "too many open files"), (errno.EIO, "output")]
)
async def test_a_disk_that_refuses_is_told_in_one_line(root, monkeypatch, number, words):
    def refuse(part, data):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(images.ImagePart, "write", refuse)
    with pytest.raises(FolderError, match=words) as caught:
        await store(ImageFolder(root, prefix="r"), job("a"), picture())
    assert "\n" not in str(caught.value)


async def test_a_full_disk_while_a_large_image_arrives_is_told_too(root, monkeypatch):
    def refuse(part, data):
        raise OSError(errno.ENOSPC, "no space")

    writer = ImageFolder(root, prefix="r").writer(job("a"))
    monkeypatch.setattr(images.ImagePart, "write", refuse)
    with pytest.raises(FolderError):
        await writer.write(Piece(0, b"x" * BUFFER_BYTES))
    monkeypatch.undo()
    await writer.discard()
    assert names(root) == []


async def test_durable_images_are_synced_with_their_folder_before_commit_returns(root, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        images.os, "fsync", lambda file: (synced.append(os.readlink(f"/proc/self/fd/{file}")), real(file))
    )
    await store(ImageFolder(root, prefix="r", durable=True), job("a"), picture())
    assert synced[0].endswith(".part")
    assert synced[-1] == str(root / "images")


UNKNOWN = bytes(range(200))


def kept(root):
    folder = root / "unrecognised"
    return {f"{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("durable", [True, False])
async def test_unknown_bytes_are_kept_beside_the_images_folder_and_no_file_there_is_replaced(root, durable):
    (root / "images" / "sub").mkdir()
    folder = ImageFolder(
        root, prefix="r", durable=durable, stem=lambda job: "sub/a", replaceable=lambda job_id: ["images/sub/a.bin"]
    )
    for number, mark in enumerate(("", "~1", "~2")):
        with pytest.raises(UnrecognisedError) as caught:
            await store(folder, job("a"), UNKNOWN)
        assert caught.value.paths == (f"unrecognised/sub/a{mark}.bin",)
        assert kept(root) == {f"sub/a{mark}.bin": UNKNOWN for mark in ("", "~1", "~2")[: number + 1]}
    assert os.listdir(root / "images" / "sub") == []


async def test_with_one_unknown_part_all_are_kept_and_none_is_an_image(root):
    with pytest.raises(UnrecognisedError) as caught:
        await store(ImageFolder(root, prefix="r"), job("a"), picture(), UNKNOWN)
    assert caught.value.paths == ("unrecognised/a-1.png", "unrecognised/a-2.bin")
    assert kept(root) == {"a-1.png": picture(), "a-2.bin": UNKNOWN}
    assert names(root) == []


async def test_where_nothing_can_be_kept_the_folder_cannot_be_used(root):
    (root / "unrecognised").write_bytes(b"a file")
    with pytest.raises(FolderError):
        await store(ImageFolder(root, prefix="r"), job("a"), UNKNOWN)
    assert names(root) == []


async def test_what_may_be_cut_needs_its_own_end(root):
    folder = ImageFolder(root, prefix="r")
    await store(folder, job("a"), picture() + b"more", all_came=False)
    with pytest.raises(BodyError):
        await store(folder, job("b"), picture()[:-30], all_came=False)
    assert names(root) == ["a.png"]


async def test_an_image_without_any_byte_is_none(root):
    with pytest.raises(BodyError, match="0 bytes"):
        await store(ImageFolder(root, prefix="r"), job("a"), b"")
    assert names(root) == []


async def test_what_stands_under_the_name_of_a_temporary_file_is_not_followed(root):
    (root / "images" / "other").write_bytes(b"mine")
    (root / "images" / ".r-1-0.part").symlink_to("other")
    with pytest.raises(FolderError):
        await store(ImageFolder(root, prefix="r"), job("a"), picture())
    assert (root / "images" / "other").read_bytes() == b"mine"


async def test_with_the_second_name_taken_only_the_second_image_gets_another(root):
    (root / "images" / "a-2.png").write_bytes(b"mine")
    files = await store(ImageFolder(root, prefix="r"), job("a"), picture(), picture())
    assert [file.path for file in files] == ["images/a-1.png", "images/a-2~1.png"]
    assert names(root) == ["a-1.png", "a-2.png", "a-2~1.png"]


async def test_a_refusal_for_the_second_image_leaves_neither_in_place(root, monkeypatch):
    real, calls = os.link, []

    def link(*args, **kwargs):
        calls.append(args)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "no space")
        real(*args, **kwargs)

    monkeypatch.setattr(atomic_file.os, "link", link)
    with pytest.raises(FolderError, match="disk is full"):
        await store(ImageFolder(root, prefix="r"), job("a"), picture(), picture())
    assert names(root) == []


async def test_discarding_goes_on_past_a_file_that_is_gone(root):
    writer = ImageFolder(root, prefix="r").writer(job("a"))
    for number in range(2):
        await writer.write(Piece(number, b"x" * BUFFER_BYTES))
    (root / "images" / ".r-1-0.part").unlink()
    assert names(root) == [".r-1-1.part"]
    await writer.discard()
    assert names(root) == []


async def test_who_owns_a_name_is_asked_only_where_it_is_taken(root):
    asked = []
    folder = ImageFolder(root, prefix="r", replaceable=lambda job_id: asked.append(job_id) or ())
    await store(folder, job("a"), picture())
    assert asked == []
    await store(folder, job("a"), picture())
    assert asked == ["a"]
    assert names(root) == ["a.png", "a~1.png"]


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

        monkeypatch.setattr(atomic_file.os, call, asked)


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
async def test_a_name_that_the_disk_refuses_gives_way_to_a_short_one_with_a_digest(
    root, monkeypatch, number, stem, is_refused
):
    (root / "images" / "inner").mkdir()
    refuse_names(monkeypatch, number, is_refused)
    folder, slash, name = stem.rpartition("/")
    owned, paths = [], []
    at = ImageFolder(root, prefix="r", stem=lambda job: stem, replaceable=lambda job_id: owned)
    for owned in ([], [], ["images/none"]):  # noqa: B007  (seen by `replaceable`)
        (file,) = await store(at, job("a"), picture())
        paths.append(file.path)
    expected = f"images/{folder}{slash}{short_name(name)}"
    assert paths == [f"{expected}.png", f"{expected}~1.png", f"{expected}~2.png"]
    assert all((root / path).read_bytes() == picture() for path in paths)
    # Made again, it takes the place of its earlier one.
    owned = [paths[0]]
    (file,) = await store(at, job("a"), picture())
    assert file.path == paths[0]


async def test_with_every_name_refused_the_first_refusal_is_told(root, monkeypatch):
    refuse_names(monkeypatch, errno.EACCES, lambda name: name.endswith(".png"))
    with pytest.raises(FolderError, match="cannot write here"):
        await store(ImageFolder(root, prefix="r"), job("a"), picture())
    assert names(root) == []
