import contextlib
import errno
import hashlib
import io
import os

import anyio
import pytest
from fakes import job
from PIL import Image

from venice_batch.api.decode import Piece
from venice_batch.errors import BodyError, FolderError
from venice_batch.output import atomic_file as placing
from venice_batch.output import store as image_store
from venice_batch.output.memory import BUFFER_BYTES
from venice_batch.output.sink import DiskSink


def picture(kind="PNG", size=(40, 30), noise=0):
    image = Image.effect_noise(size, 90).convert("RGB") if noise else Image.new("RGB", size, "teal")
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images").mkdir()
    return tmp_path


@pytest.fixture(params=["threads", "process"])
async def disk(request, root):
    """Makes a sink whose images threads write, then one whose images a process writes."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(**options):
            sink = await stack.enter_async_context(DiskSink(root, run_id="r", **options))
            if request.param == "process":
                await sink.workers.process.start()
                with anyio.fail_after(30):
                    await sink.workers.process.greeted.wait()
            return sink

        yield make


def names(root):
    return sorted(os.listdir(root / "images"))


async def store(sink, one, *images, chunk=1000):
    writer = sink.writer(one)
    for number, data in enumerate(images):
        for start in range(0, len(data), chunk):
            await writer.write(Piece(number, data[start : start + chunk]))
        await writer.write(Piece(number, b"", last=True))
    return await writer.commit()


@pytest.mark.parametrize(("kind", "extension"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")])
async def test_an_image_stands_under_its_name_with_its_own_extension_size_and_hash(root, kind, extension, disk):
    data = picture(kind)
    (file,) = await store(await disk(), job("a"), data)
    assert file.path == f"images/a.{extension}"
    assert (file.width, file.height, file.format) == (40, 30, kind.lower())
    assert file.bytes == len(data)
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert (root / file.path).read_bytes() == data
    assert names(root) == [f"a.{extension}"]


async def test_an_image_larger_than_the_buffer_is_written_on_the_way(root, disk):
    data = picture("PNG", (1000, 1000), noise=1)
    assert len(data) > 2 * BUFFER_BYTES
    sink = await disk()
    writer = sink.writer(job("a"))
    await writer.write(Piece(0, data[: BUFFER_BYTES + 1]))
    (part,) = names(root)
    assert (root / "images" / part).stat().st_size == BUFFER_BYTES
    await writer.write(Piece(0, data[BUFFER_BYTES + 1 :], last=True))
    (file,) = await writer.commit()
    assert (root / file.path).read_bytes() == data


@pytest.mark.parametrize("disk", ["process"], indirect=True)
@pytest.mark.parametrize("written", [10, BUFFER_BYTES, BUFFER_BYTES + 10])
async def test_an_image_survives_the_process_that_was_writing_it(root, disk, written):
    data = picture("PNG", (1000, 1000), noise=1)
    sink = await disk()
    writer = sink.writer(job("a"))
    await writer.write(Piece(0, data[:written]))
    sink.workers.process._process.kill()
    await writer.write(Piece(0, data[written:], last=True))
    (file,) = await writer.commit()
    assert (root / file.path).read_bytes() == data
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert names(root) == ["a.png"]
    await store(sink, job("b"), picture())
    assert names(root) == ["a.png", "b.png"]


@pytest.mark.parametrize("disk", ["process"], indirect=True)
async def test_what_a_process_has_left_of_an_image_is_removed_with_it(root, disk):
    sink = await disk()
    writer = sink.writer(job("a"))
    await writer.write(Piece(0, b"x" * BUFFER_BYTES))
    assert names(root) != []
    sink.workers.process._process.kill()
    await writer.discard()
    assert names(root) == []


async def test_variants_are_numbered_even_when_only_one_came(root, disk):
    sink = await disk()
    files = await store(sink, job("a", variants=2), picture(), picture("WEBP"))
    assert [file.path for file in files] == ["images/a-1.png", "images/a-2.webp"]
    (only,) = await store(sink, job("b", variants=2), picture())
    assert only.path == "images/b-1.png"


@pytest.mark.parametrize("data", [b"<html>502</html>", b"\x89PNG\r\n\x1a\n half an image", picture()[:-20], b"x"])
async def test_what_is_no_whole_image_leaves_no_file(root, data, disk):
    writer = (await disk()).writer(job("a"))
    await writer.write(Piece(0, data, last=True))
    with pytest.raises(BodyError):
        await writer.commit()
    await writer.discard()
    assert names(root) == []


async def test_one_broken_variant_leaves_none_of_the_others(root, disk):
    writer = (await disk()).writer(job("a", variants=2))
    await writer.write(Piece(0, picture(), last=True))
    await writer.write(Piece(1, b"nothing", last=True))
    with pytest.raises(BodyError):
        await writer.commit()
    await writer.discard()
    assert names(root) == []


async def test_an_answer_without_images_is_no_success(root, disk):
    with pytest.raises(BodyError):
        await (await disk()).writer(job("a")).commit()


async def test_an_image_whose_end_never_came_is_no_image(root, disk):
    writer = (await disk()).writer(job("a"))
    await writer.write(Piece(0, picture()))
    with pytest.raises(BodyError):
        await writer.commit()


async def test_a_foreign_file_in_the_way_is_left_alone(root, disk):
    (root / "images" / "a.png").write_text("mine")
    (file,) = await store(await disk(), job("a"), picture())
    assert file.path == "images/a~1.png"
    assert (root / "images" / "a.png").read_text() == "mine"


async def test_a_symlink_in_the_way_is_neither_followed_nor_replaced(root, tmp_path, disk):
    target = tmp_path / "precious"
    (root / "images" / "a.png").symlink_to(target)
    sink = await disk(replaceable=lambda job_id: ["images/a.png"])
    (file,) = await store(sink, job("a"), picture())
    assert file.path == "images/a~1.png"
    assert not target.exists()


async def test_an_earlier_image_of_the_same_id_is_replaced(root, disk):
    (root / "images" / "a.png").write_bytes(b"earlier")
    sink = await disk(replaceable=lambda job_id: ["images/a.png"] if job_id == "a" else [])
    (file,) = await store(sink, job("a"), picture())
    assert file.path == "images/a.png"
    assert names(root) == ["a.png"]


async def test_a_folder_where_an_earlier_image_was_is_left_alone(root, disk):
    (root / "images" / "a.png").mkdir()
    sink = await disk(replaceable=lambda job_id: ["images/a.png"])
    (file,) = await store(sink, job("a"), picture())
    assert file.path == "images/a~1.png"


async def test_an_id_cannot_leave_the_folder(root, disk):
    (file,) = await store(await disk(), job("../../etc/passwd"), picture())
    assert (root / file.path).resolve().parent == (root / "images").resolve()


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
async def test_a_file_system_without_links_takes_images_and_still_overwrites_nothing(root, monkeypatch, number):
    def refuse(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(placing.os, "link", refuse)
    (root / "images" / "a.png").write_text("mine")
    (file,) = await store(DiskSink(root, run_id="r"), job("a"), picture())
    assert file.path == "images/a~1.png"
    assert (root / file.path).read_bytes() == picture()
    assert (root / "images" / "a.png").read_text() == "mine"
    assert names(root) == ["a.png", "a~1.png"]


async def test_discarding_after_a_commit_keeps_the_images(root, disk):
    sink = await disk()
    writer = sink.writer(job("a"))
    await writer.write(Piece(0, picture(), last=True))
    await writer.commit()
    await writer.discard()
    assert names(root) == ["a.png"]


async def test_a_cancelled_discard_still_leaves_no_trace(root, disk):
    writer = (await disk()).writer(job("a"))
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
    def refuse(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(image_store.os, "write", refuse)
    with pytest.raises(FolderError, match=words) as caught:
        await store(DiskSink(root, run_id="r"), job("a"), picture())
    assert "\n" not in str(caught.value)


async def test_a_full_disk_while_a_large_image_arrives_is_told_too(root, monkeypatch):
    def refuse(*args):
        raise OSError(errno.ENOSPC, "no space")

    writer = DiskSink(root, run_id="r").writer(job("a"))
    monkeypatch.setattr(image_store.os, "write", refuse)
    with pytest.raises(FolderError):
        await writer.write(Piece(0, b"x" * BUFFER_BYTES))
    monkeypatch.undo()
    await writer.discard()
    assert names(root) == []


async def test_durable_images_are_synced_with_their_folder_before_commit_returns(root, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        image_store.os, "fsync", lambda file: (synced.append(os.readlink(f"/proc/self/fd/{file}")), real(file))
    )
    await store(DiskSink(root, run_id="r", durable=True), job("a"), picture())
    assert synced[0].endswith(".part")
    assert synced[-1] == str(root / "images")
