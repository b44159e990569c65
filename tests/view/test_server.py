"""The server of the live page: what it serves, to whom, and that marks are on disk when it says so."""

import asyncio
import os
import threading
from contextlib import asynccontextmanager

import aiohttp
import anyio
import msgspec
import pytest
from gallery.made import image_bytes, noise_bytes, put, record, write
from records import failed, outcome
from yarl import URL

from venice_batch.errors import FolderError
from venice_batch.gallery.thumbnails import thumbnail_name
from venice_batch.output import folder
from venice_batch.output.annotations import Annotation, AnnotationsFile
from venice_batch.output.marks import NAME, read_marks
from venice_batch.view import serve
from venice_batch.view import server as module
from venice_batch.view.images import OpenImage
from venice_batch.view.server import open_server

ODD = "images/100% #1? é & b.png"
ENCODED = "images/100%25%20%231%3F%20%C3%A9%20%26%20b.png"


@pytest.fixture
def root(tmp_path):
    """A folder with an image that gets a thumbnail, one with an odd name, and a job without image."""
    root = tmp_path / "out"
    large = record(root, "large", data=noise_bytes())
    return write(root, large, outcome("odd", files=(put(root, ODD, image_bytes()),)), failed("none"))


def outcome_of(root, job_id):
    lines = (root / "manifest.jsonl").read_bytes().splitlines()
    return next(one for one in map(msgspec.json.decode, lines) if one["id"] == job_id)


class Client:
    def __init__(self, server, session):
        self.server, self.session = server, session

    def ask(self, path="", *, method="GET", below=True, **given):
        address = self.server.address if below else f"http://127.0.0.1:{self.server.port}/"
        return self.session.request(method, URL(address + path, encoded=True), allow_redirects=False, **given)

    async def status(self, path="", **given):
        async with self.ask(path, **given) as answer:
            return answer.status

    async def data(self):
        """Return the data of the page."""
        async with self.ask() as answer:
            text = await answer.text()
        return msgspec.json.decode(text.partition('id="data">')[2].partition("</script>")[0])

    async def say(self, *marks, **given):
        headers = {"Content-Type": "application/json", **given.pop("headers", {})}
        async with self.ask(
            "marks", method="POST", data=msgspec.json.encode(marks), headers=headers, **given
        ) as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def serving(root, **given):
    async with open_server(root, every_s=0.01, **given) as server, aiohttp.ClientSession() as session:
        with anyio.fail_after(60):
            yield Client(server, session)


async def until(client, is_so):
    """Load the page until its data is so: the folder is looked at a hundred times a second."""
    while not is_so(await client.data()):  # noqa: ASYNC110 - it is another program's view
        await asyncio.sleep(0.01)


async def events(answer):
    """Yield (name, data, id) of each event; a comment is ("", text, "")."""
    fields = {}
    async for line in answer.content:
        name, colon, value = line.decode().rstrip("\n").partition(": ")
        if name == "" and not colon:
            if fields:
                yield fields.get("event", ""), msgspec.json.decode(fields["data"]), fields.get("id", "")
            fields = {}
        elif name == "":
            yield "", value, ""
        else:
            fields[name] = value


def said(root, job_id="large", **changes):
    file = outcome_of(root, job_id)["files"][0]
    return {"sha256": file["sha256"], "id": job_id, "image": 1, "mark": "picked", "rating": None, **changes}


def append(root, *outcomes):
    with (root / "manifest.jsonl").open("ab") as file:
        file.writelines(msgspec.json.encode(one) + b"\n" for one in outcomes)


async def test_the_page_is_the_gallery_with_a_link_to_its_server(root):
    async with serving(root) as client:
        async with client.ask() as answer:
            text = await answer.text()
            assert answer.status == 200
            assert answer.content_type == "text/html"
        assert '<body data-live="1">' in text
        data = await client.data()
    assert len(data["jobs"]) == 3
    assert data["marks"] == []
    assert not (root / "gallery.html").exists()


async def test_every_answer_says_that_nothing_else_may_use_it(root):
    async with serving(root) as client:
        for path in ("", "images/large.png", "no-such"):
            async with client.ask(path) as answer:
                assert answer.headers["Referrer-Policy"] == "no-referrer"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
                assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
                assert "aiohttp" not in answer.headers["Server"]
        async with client.ask() as answer:
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"


async def test_images_are_those_that_the_page_names(root):
    async with serving(root) as client:
        sources = [picture["src"] for job in (await client.data())["jobs"] for picture in job.get("pictures", ())]
        assert sources[1].startswith(f"{ENCODED}?v=")
        for source, path in zip(sources, ("images/large.png", ODD), strict=True):
            async with client.ask(source) as answer:
                assert await answer.read() == (root / path).read_bytes()
                assert answer.content_type == "image/png"
                assert "immutable" in answer.headers["Cache-Control"]
        async with client.ask(ENCODED) as answer:
            assert answer.headers["Cache-Control"] == "no-cache"
            tag = answer.headers["ETag"]
        assert await client.status(ENCODED, headers={"If-None-Match": tag}) == 304
        async with client.ask(ENCODED, method="HEAD") as answer:
            assert (answer.status, await answer.read()) == (200, b"")
            assert answer.headers["Content-Length"] == str((root / ODD).stat().st_size)


async def test_an_image_that_was_changed_is_not_kept_by_the_browser(root):
    async with serving(root) as client:
        source = (await client.data())["jobs"][0]["pictures"][0]["src"]
        (root / "images/large.png").write_bytes(image_bytes())
        async with client.ask(source) as answer:
            assert answer.headers["Cache-Control"] == "no-cache"
            assert await answer.read() == image_bytes()
        (root / "images/large.png").unlink()
        assert await client.status(source) == 404


async def test_thumbnails_are_made_when_they_are_asked_for_and_kept(root):
    async with serving(root) as client:
        thumb = (await client.data())["jobs"][0]["pictures"][0]["thumb"]
        answers = []
        for _ in range(2):
            async with client.ask(thumb) as answer:
                assert answer.content_type == "image/webp"
                assert "immutable" in answer.headers["Cache-Control"]
                answers.append(await answer.read())
    assert answers[0] == answers[1] == (root / thumb).read_bytes()
    assert answers[0][8:12] == b"WEBP"


async def test_thumbnails_of_new_images_are_made_before_anybody_asks(root):
    async with serving(root):
        new = record(root, "new", data=noise_bytes(300, 300))
        append(root, new)
        while not (root / "thumbnails" / thumbnail_name(new.files[0])).exists():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.01)


async def test_an_image_that_cannot_be_scaled_is_its_own_thumbnail(tmp_path):
    torn = put(tmp_path, "images/torn.png", noise_bytes()[:30_000])
    write(tmp_path, outcome("torn", files=(torn,)))
    async with serving(tmp_path) as client, client.ask(f"thumbnails/{thumbnail_name(torn)}") as answer:
        assert await answer.read() == (tmp_path / "images/torn.png").read_bytes()
        assert answer.headers["Cache-Control"] == "no-cache"


async def test_a_link_in_the_place_of_the_thumbnails_is_not_written_through(root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (root / "thumbnails").symlink_to(tmp_path / "elsewhere")
    async with serving(root) as client:
        thumb = (await client.data())["jobs"][0]["pictures"][0]["thumb"]
        assert await client.status(thumb) == 200
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    "path",
    [
        "manifest.jsonl",
        ".lock",
        NAME,
        "gallery.html",
        "images",
        "images/",
        "images/../manifest.jsonl",
        "images/%2e%2e/manifest.jsonl",
        "..%2f..%2fetc/passwd",
        "../secret.png",
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
        "images/large.png/",
        "images//large.png",
        "images/large.png%00",
        "images%5clarge.png",
        "thumbnails/",
        "thumbnails/../images/large.png",
        "thumbnails/0000.webp",
        "marks",
        "%ff",
        "page",
    ],
)
async def test_nothing_but_what_records_name_is_served(root, path):
    (root.parent / "secret.png").write_bytes(image_bytes())
    async with serving(root) as client, client.ask(path) as answer:
        assert (answer.status, await answer.read()) == (404, b"")


async def test_records_that_lead_out_of_the_folder_are_not_followed(root, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(image_bytes())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/x.png").write_bytes(image_bytes())
    (root / "images/link.png").symlink_to(secret)
    (root / "images/folder").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(root / "images/pipe.png")
    named = [
        "../secret.png",
        str(secret),
        "images/link.png",
        "images/folder/x.png",
        "images/pipe.png",
        "",
        ".",
        "images",
    ]
    file = put(root, "images/x.png", image_bytes())
    append(
        root, *(outcome(f"bad{at}", files=(msgspec.structs.replace(file, path=path),)) for at, path in enumerate(named))
    )
    async with serving(root) as client:
        jobs = (await client.data())["jobs"]
        assert [job["pictures"][0]["state"] for job in jobs[3:]] == ["missing"] * len(named)
        paths = [
            "../secret.png",
            "%2e%2e/secret.png",
            str(secret),
            "images/link.png",
            "images/folder/x.png",
            "images/pipe.png",
        ]
        assert [await client.status(path) for path in paths] == [404] * len(paths)


async def test_a_file_that_is_no_image_is_only_downloaded(root):
    page = put(root, "images/page.html", b"<script>alert(1)</script>" * 10)
    append(root, outcome("page", files=(page,)))
    async with serving(root) as client:
        await client.data()
        async with client.ask("images/page.html") as answer:
            assert answer.content_type == "application/octet-stream"
            assert "sandbox" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
async def test_requests_from_elsewhere_get_and_change_nothing(root, headers):
    async with serving(root) as client:
        for path in ("", "events", "images/large.png"):
            async with client.ask(path, headers=headers) as answer:
                assert (answer.status, await answer.read()) == (404, b"")
        assert await client.say(said(root), headers=headers) == (404, "")
    assert read_marks(root) == {}


@pytest.mark.parametrize("path", ["", "x/", "images/large.png", "events", "marks", "favicon.ico", "%2e%2e/"])
async def test_without_the_token_there_is_nothing(root, path):
    async with serving(root) as client, client.ask(path, below=False) as answer:
        assert (answer.status, await answer.read()) == (404, b"")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_other_methods_are_refused(root, method):
    async with serving(root) as client:
        assert [await client.status(path, method=method) for path in ("", "marks", "images/large.png")] == [404] * 3


async def test_requests_that_are_no_http_get_no_traceback(root, capfd):
    async with serving(root) as client:
        for text in (b"GARBAGE\r\n\r\n", b"GET / HTTP/1.1\r\nHost\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n"):
            stream = await anyio.connect_tcp("127.0.0.1", client.server.port)
            async with stream:
                await stream.send(text)
                assert b" 400 " in await stream.receive()
    assert capfd.readouterr().err == ""


async def test_an_address_for_a_command_line_works_once(root):
    async with serving(root) as client:
        address = client.server.address_to_open()
        assert client.server.address not in address
        async with client.session.get(address, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, f"/{client.server.address.split('/')[3]}/")
        async with client.session.get(address) as answer:
            assert answer.status == 404


async def test_marks_are_on_disk_when_they_are_acknowledged(root):
    async with serving(root) as client:
        await client.data()
        assert await client.say(said(root), said(root, "odd", mark=None, rating=4)) == (204, "")
        assert [(one.id, one.mark, one.rating) for one in read_marks(root).values()] == [
            ("large", "picked", None),
            ("odd", None, 4),
        ]
        assert await client.say(said(root, mark=None)) == (204, "")
        assert await client.say() == (204, "")
        assert [one.id for one in read_marks(root).values()] == ["odd"]
        await until(client, lambda data: len(data["marks"]) == 1)


async def test_marks_go_to_the_file_that_is_in_its_place(root):
    async with serving(root) as client:
        await client.data()
        await client.say(said(root))
        (root / NAME).rename(root / "away")
        await client.say(said(root, "odd"))
    assert [one.id for one in read_marks(root).values()] == ["odd"]


async def test_marks_that_cannot_be_taken_are_refused_with_the_reason(root, monkeypatch):
    monkeypatch.setattr(module, "MARKS_BYTES", 1000)
    async with serving(root) as client:
        await client.data()
        assert await client.say(said(root), said(root, id="x")) == (
            400,
            '{"error": "the folder has no image 1 of \'x\' with this sha256; reload the page"}',
        )
        status, text = await client.say(said(root), headers={"Content-Type": "text/plain"})
        assert (status, text) == (415, '{"error": "send marks as application/json"}')
        status, text = await client.say(*[said(root)] * 20)
        assert (status, text) == (413, '{"error": "these are too many bytes for one request"}')
    assert not (root / NAME).exists()


async def test_marks_that_cannot_be_written_are_not_acknowledged(root):
    async with serving(root) as client:
        await client.data()
        (root / NAME).mkdir()
        status, text = await client.say(said(root))
    assert status == 500
    assert "marks.jsonl: is not a plain file" in text


async def test_pages_hear_of_new_jobs_marks_and_the_state(root):
    async with serving(root) as client:
        await client.data()
        async with client.ask("events") as answer:
            assert answer.content_type == "text/event-stream"
            heard = events(answer)
            name, data, position = await anext(heard)
            assert (name, data) == ("state", {"running": False, "done": 3, "jobs": None, "pending": None})
            append(root, record(root, "new"))
            name, data, _ = await anext(heard)
            assert (name, [msgspec.json.decode(job["line"])["id"] for job in data]) == ("jobs", ["new"])
            name, data, later = await anext(heard)
            assert (name, data["done"]) == ("state", 4)
            assert int(later) > int(position)
            await client.say(said(root))
            name, data, _ = await anext(heard)
            assert (name, [mark["mark"] for mark in data]) == ("marks", ["picked"])
            with folder.hold(root):
                assert (await anext(heard))[:2] == (
                    "state",
                    {"running": True, "done": 4, "jobs": None, "pending": None},
                )
            assert (await anext(heard))[1]["running"] is False


async def test_pages_hear_of_annotations(root, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 1)
    async with serving(root) as client:
        await client.data()
        async with client.ask("events") as answer:
            heard = events(answer)
            await anext(heard)
            with AnnotationsFile(root) as file:
                file.append(Annotation("ab" * 32, name, 1, {"score": 0.5}, "") for name in ("one", "two"))
            found = [await anext(heard) for _ in range(2)]
    rows = [["one", 1, "ab" * 8, {"score": 0.5}]], [["two", 1, "ab" * 8, {"score": 0.5}]]
    assert [(name, data, bool(position)) for name, data, position in found] == [
        ("annotations", rows[0], False),
        ("annotations", rows[1], True),
    ]


async def test_a_broken_connection_goes_on_where_it_was(root):
    async with serving(root) as client:
        await client.data()
        async with client.ask("events") as answer:
            *_, position = await anext(events(answer))
        await client.data()  # the page that the second one below stands for
        append(root, record(root, "meanwhile"))
        await until(client, lambda data: len(data["jobs"]) == 4)
        for headers in ({"Last-Event-ID": position}, {"Last-Event-ID": "9" * 5000}):
            async with client.ask("events", headers=headers) as answer:
                name, data, _ = await anext(events(answer))
                assert (name, len(data)) == ("jobs", 1)


async def test_a_page_misses_nothing_between_its_loading_and_its_first_event(root):
    async with serving(root) as client:
        await client.data()  # one page
        append(root, record(root, "meanwhile"))
        await until(client, lambda data: len(data["jobs"]) == 4)  # others
        for _ in range(2):  # whichever of them asks first
            async with client.ask("events") as answer:
                name, data, _ = await anext(events(answer))
                assert (name, len(data)) == ("jobs", 1)


async def test_a_program_that_loaded_no_page_gets_everything(root):
    async with serving(root) as client, client.ask("events") as answer:
        name, data, _ = await anext(events(answer))
        assert (name, len(data)) == ("jobs", 3)


async def test_many_new_jobs_come_in_several_events_and_only_the_last_has_an_id(root, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    async with serving(root) as client:
        await client.data()
        async with client.ask("events", headers={"Last-Event-ID": "0"}) as answer:
            heard = events(answer)
            found = [await anext(heard) for _ in range(3)]
    assert [(name, bool(position)) for name, _, position in found] == [
        ("jobs", False),
        ("jobs", False),
        ("state", True),
    ]


async def test_a_silent_connection_gets_a_sign_of_life(root):
    async with serving(root, heartbeat_s=0.05) as client:
        await client.data()
        async with client.ask("events") as answer:
            heard = events(answer)
            await anext(heard)
            assert (await anext(heard))[1] == "nothing new"


async def test_it_serves_before_all_thumbnails_are_made(root, monkeypatch):
    may_scale = threading.Event()
    monkeypatch.setattr("venice_batch.view.images.thumbnail", lambda *given: may_scale.wait(60) and None)
    async with serving(root) as client:
        data = await client.data()
        assert len(data["jobs"]) == 3
        assert await client.say(said(root)) == (204, "")
        may_scale.set()


async def test_an_image_that_shrinks_while_it_is_sent_ends_the_connection(root, monkeypatch):
    class Shrunk(OpenImage):
        async def portions(self):
            yield b"half"

    monkeypatch.setattr("venice_batch.view.images.OpenImage", Shrunk)
    async with serving(root) as client, client.ask("images/large.png") as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_an_exception_of_the_block_comes_out_as_it_is(root):
    with pytest.raises(KeyError, match="mine"):
        async with open_server(root):
            raise KeyError("mine")


async def test_a_port_that_is_taken_is_an_error(root):
    async with serve(root) as server:
        with pytest.raises(OSError, match="address already in use"):
            async with serve(root, port=server.port):
                pass


async def test_a_folder_without_records_is_refused_before_anything_is_served(tmp_path):
    with pytest.raises(FolderError, match="holds no manifest"):
        serve(tmp_path)
