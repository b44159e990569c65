"""The key is nowhere in what a run leaves, wherever the server puts it."""

import base64
import io
import json
import os
import re
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from anyio.from_thread import start_blocking_portal
from PIL import Image
from raw_server import chunked, framed, raw_server, until_closed

from venice_batch.cli.main import main

KEY = "vn-SECRETKEY0123456789abcdefghijKLMNOPqrst"
PIECES = {KEY[at : at + 8].lower() for at in range(len(KEY) - 7)}
JSON = b"Content-Type: application/json"
PNG = b"Content-Type: image/png"


def image():
    out = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(out, "PNG")
    return out.getvalue()


def said(error, status, before=0):
    return framed(json.dumps({"error": "x" * before + error}).encode(), JSON, status=status)


FORMS = {
    "plain": KEY,
    "lower": KEY.lower(),
    "upper": KEY.upper(),
    "percent": "".join(f"%{ord(char):02X}" for char in KEY),
    "twice percent": quote("".join(f"%{ord(char):02x}" for char in KEY)),
    "base64": base64.b64encode(f"Bearer {KEY}".encode()).decode(),
}


def answers(key):
    """What a server can say with the key in it, by the place where it stands."""
    raw = key.encode()
    document = json.dumps({"images": [base64.b64encode(image()).decode()], "id": key, "request": {"key": key}})
    places = {
        "header values": framed(
            image(),
            PNG,
            b"CF-RAY: " + raw,
            b"x-venice-model-id: " + raw,
            b"x-venice-enhanced-prompt: " + raw,
            b"x-venice-model-deprecation-warning: " + raw,
            b"x-venice-deprecated-replacement: " + raw,
            b"x-venice-model-deprecation-date: " + raw,
            b"Retry-After: " + raw,
            b"Date: " + raw,
            b"Server: " + raw,
        ),
        "beside an image in JSON": framed(document.encode(), JSON),
        "image body": framed(raw, PNG),
        "image body behind text": framed(b"a" * 6 + raw, PNG),
        "unlabelled body": framed(raw),
        "media type": framed(b"hi", b"Content-Type: text/" + raw),
        "image type": framed(b"hi", b"Content-Type: image/" + raw),
        "JSON that is none": framed(b'{"' + raw + b'": 1}', JSON),
        "base64 that is none": framed(json.dumps({"images": [key]}).encode(), JSON),
        "link": framed(json.dumps({"data": [{"url": f"http://x/{key}"}]}).encode(), JSON),
        "page": framed(b"<html><title>" + raw + b"</title></html>", b"Content-Type: text/html"),
        "words without end": until_closed(b"w" * 480 + raw, b"Content-Type: text/plain"),
        "a body cut": chunked(b"w" * 20 + raw, b"Content-Type: text/plain")[:-20],
        "redirect": framed(b"", b"Location: https://x/?" + b"y" * 190 + raw, status=307),
        "another success": framed(raw, status=202),
        "reason": b"HTTP/1.1 500 " + raw + b"\r\nContent-Length: 0\r\n\r\n",
        "no status": b"HTTP/1.1 abc" + raw + b"\r\n\r\n",
        "no HTTP": raw + b"\r\n\r\n",
        "a broken chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + raw + b"\r\n",
        "a broken length": b"HTTP/1.1 200 OK\r\nContent-Length: " + raw + b"\r\n\r\n",
    }
    for before in (0, 50, 60, 66, 90, 95, 408, 440, 480):
        places[f"header's name after {before}"] = b"HTTP/1.1 200 OK\r\nBad\x01" + b"A" * before + raw + b": y\r\n\r\n"
        places[f"endless header after {before}"] = b"HTTP/1.1 200 OK\r\nX: " + b"A" * before + raw * 9000 + b"\r\n\r\n"
    for before in (0, 60, 90, 160, 180, 195, 470, 490, 65_500):
        places[f"an error of a 200 after {before}"] = said(key, 200, before)
        for status in (400, 422, 500, 503):
            places[f"a {status} after {before}"] = said(key, status, before)
    for status in (407, 413, 429, 502, 524):
        places[f"a {status}"] = said(key, status)
        places[f"words with {status}"] = framed(raw, status=status)
    return places


STOPPING = ("redirect", "a 407", "words with 407")


def leaks(text):
    """The pieces of the key in `text`, percent signs resolved."""
    return sorted(piece for piece in PIECES if piece in unquote(unquote(text)).lower() or piece in text.lower())


@contextmanager
def serving(answer):
    """The server in a thread: a run wants the main one, for its signals."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(raw_server(answer)) as url:
        yield url


def write(name, text):
    Path(name).write_text(text)


def left(root):
    """All that the files below `root` hold or are called."""
    return {f"{path}": path.read_bytes().decode("utf-8", "replace") for path in Path(root).rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VENICE_API_KEY", KEY)


@pytest.mark.no_cover
@pytest.mark.parametrize("form", FORMS)
def test_no_part_of_the_key_reaches_a_record_a_log_a_page_or_the_terminal(form, capfd):
    places = answers(FORMS[form])
    lines = {place: {"id": f"j{at}", "model": f"m{at}", "prompt": place} for at, place in enumerate(places)}
    # What may stop a run has one to itself, and no run has so many errors that it waits for others to be forgotten.
    going = [line for place, line in lines.items() if place not in STOPPING]
    files = [*(going[at : at + 12] for at in range(0, len(going), 12)), *([lines[place]] for place in STOPPING)]

    def answer(path, request, head):
        return places[request["prompt"]] if "prompt" in request else said(FORMS[form], 500)

    with serving(answer) as url:
        for some in files:
            write("jobs.jsonl", "".join(json.dumps(line) + "\n" for line in some))
            # JUnit has the jobs of its file alone; the gallery has all that are in the folder.
            more = ["--gallery"] if some is files[-1] else []
            command = [
                "run", "jobs.jsonl", "-o", "out", "--offline", "--allow-unknown", "--base-url", url,
                "--max-attempts", "1", "--log-format", "json", "--junit", "junit.xml", *more,
            ]  # fmt: skip
            main(command)
    shown = capfd.readouterr()
    assert leaks(shown.out + shown.err) == []
    main(["export", "out", "--csv", "table.csv"])
    made = left(".") | left(os.environ["XDG_CACHE_HOME"])
    assert {"out/manifest.jsonl", "out/gallery.html", "out/summary.json", "junit.xml", "table.csv"} < made.keys()
    recorded = {json.loads(line)["id"] for line in made["out/manifest.jsonl"].splitlines()}
    assert recorded >= {line["id"] for line in going}
    for name, text in made.items():
        assert leaks(text) == [], name


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("command", ["models", "styles", "limits"])
def test_no_part_of_the_key_reaches_a_listing_or_what_is_stored_of_it(form, command, capfd):
    key = FORMS[form]
    model = {"id": key, "type": "image", "model_spec": {"name": key, "pricing": {"generation": {"usd": 1}}}}
    rates = [{"apiModelId": key, "rateLimits": [{"type": "RPM", "amount": 20}]}]
    tier = {"id": key, "isCharged": True}
    limits = {"data": {"apiTier": tier, "accessPermitted": True, "balances": {key: 20}, "rateLimits": rates}}

    def answer(path, request, head):
        if "models" in path:
            return framed(json.dumps({"data": [model]}).encode(), JSON)
        return framed(json.dumps({"data": [key]} if "styles" in path else limits).encode(), JSON)

    with serving(answer) as url:
        for more in ([], ["--json"]):
            main([command, "--base-url", url, *more])
    shown = capfd.readouterr()
    assert re.search(r"\*\*\*|20", shown.out)
    assert leaks(shown.out + shown.err) == []
    for name, text in left(os.environ["XDG_CACHE_HOME"]).items():
        assert leaks(text) == [], name
