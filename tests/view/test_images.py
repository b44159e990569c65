"""Images and thumbnails of the live page: each thumbnail is made once, those that somebody waits for first."""

import asyncio
import errno
import threading

import anyio
import pytest
from gallery.made import noise_bytes, record, write

from venice_batch.view import images as module
from venice_batch.view.images import Images
from venice_batch.view.live import LiveFolder


@pytest.fixture
def root(tmp_path):
    """A folder with three images that get thumbnails."""
    return write(tmp_path, *(record(tmp_path, name, data=noise_bytes(320 + at)) for at, name in enumerate("abc")))


@pytest.fixture
def folder(root):
    folder = LiveFolder(root)
    folder.update()
    return folder


@pytest.fixture
def images(root, folder):
    images = Images(root, folder)
    yield images
    images.close()


class Scaling:
    """Takes the place of `thumbnail`; each call waits until `may_go` is set."""

    def __init__(self, monkeypatch):
        self.may_go = threading.Event()
        self.begun = []
        monkeypatch.setattr(module, "thumbnail", self)

    def __call__(self, root, image):
        self.begun.append(image.path)
        assert self.may_go.wait(60)
        return image.path.encode()


async def test_several_who_ask_for_a_thumbnail_wait_for_the_same(images, folder, monkeypatch):
    scaling = Scaling(monkeypatch)
    name = folder.thumbnails()[0]
    asking = [asyncio.create_task(images.thumbnail(name)) for _ in range(3)]
    await asyncio.sleep(0)
    asking[0].cancel()
    scaling.may_go.set()
    assert await asyncio.gather(*asking[1:]) == [b"images/a.png"] * 2
    assert scaling.begun == ["images/a.png"]
    assert asking[0].cancelled()


async def test_missing_thumbnails_wait_for_those_that_somebody_asks_for(images, folder, root, monkeypatch):
    scaling = Scaling(monkeypatch)
    (root / "thumbnails").mkdir()
    (root / "thumbnails" / folder.thumbnails()[1]).write_bytes(b"there")
    wait = asyncio.wait

    async def wait_once_it_may_go(futures):
        scaling.may_go.set()
        await wait(futures)

    monkeypatch.setattr(module.asyncio, "wait", wait_once_it_may_go)
    asked = asyncio.create_task(images.thumbnail(folder.thumbnails()[2]))
    await asyncio.sleep(0)
    with anyio.fail_after(60):
        await asyncio.gather(asked, images.make_missing())
        await images.make_missing()  # nothing is new
    assert scaling.begun == ["images/c.png", "images/a.png", "images/c.png"]


async def test_a_thumbnail_of_no_image_is_none(images):
    assert await images.thumbnail("0" * 32 + ".webp") is None


async def test_an_image_that_cannot_be_read_is_none(images, monkeypatch):
    assert await images.open("images/no-such.png") is None

    def broken(start):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module, "format_of", broken)
    assert await images.open("images/a.png") is None


async def test_an_image_comes_in_portions_and_whole(images, root, monkeypatch):
    monkeypatch.setattr(module, "_PORTION_BYTES", 1000)
    opened = await images.open("images/a.png")
    portions = [portion async for portion in opened.portions()]
    assert b"".join(portions) == (root / "images/a.png").read_bytes()
    assert (opened.type, max(map(len, portions))) == ("image/png", 1000)
    opened.close()
