"""The live page in a browser: its policy lets it reach its server, and no other page can."""

import shutil
import subprocess
import sys
from contextlib import contextmanager

import msgspec
import pytest
from anyio.from_thread import start_blocking_portal
from gallery.made import noise_bytes, record, write

from venice_batch.output.marks import read_marks
from venice_batch.view import serve

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

SAY = """async ([address, mark]) => {
    const headers = { "Content-Type": "application/json" };
    try {
        return (await fetch(address, { method: "POST", headers, body: JSON.stringify([mark]) })).status;
    } catch (error) { return String(error); }
}"""
HEAR = """async () => {
    const source = new EventSource("events");
    const jobs = new Promise((done) => source.addEventListener("jobs", done));
    window.heard = jobs.then((event) => JSON.parse(event.data).length);
    await new Promise((done) => source.addEventListener("state", done, { once: true }));
}"""


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on the path")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


@contextmanager
def served(root):
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(root)) as server:
        yield server.address


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "out", record(tmp_path / "out", "100% #1?", data=noise_bytes()))


def mark_of(root):
    made = msgspec.json.decode((root / "manifest.jsonl").read_bytes().splitlines()[0])
    return {"sha256": made["files"][0]["sha256"], "id": made["id"], "image": 1, "mark": "picked", "rating": None}


def test_the_page_shows_its_images_marks_them_and_hears_of_new_ones(root, browser):
    complaints = []
    with served(root) as address, browser.new_context() as context:
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(address)
        page.locator("html.ready").wait_for()
        page.wait_for_selector(".shot img")
        assert page.evaluate(
            "async () => { const image = document.querySelector('.shot img'); await image.decode(); return image.src }"
        ).startswith(address)
        page.evaluate(HEAR)
        assert page.evaluate(SAY, [f"{address}marks", mark_of(root)]) == 204
        with (root / "manifest.jsonl").open("ab") as manifest:
            manifest.write(msgspec.json.encode(record(root, "new")) + b"\n")
        assert page.evaluate("() => window.heard") == 1
    assert [one.mark for one in read_marks(root).values()] == ["picked"]
    assert complaints == []


def test_another_page_cannot_reach_it_even_with_the_address(root, browser, tmp_path):
    other = write(tmp_path / "other", record(tmp_path / "other", "a"))
    with served(root) as address, served(other) as elsewhere, browser.new_context() as context:
        page = context.new_page()
        page.route("**/stranger.html", lambda route: route.fulfill(content_type="text/html", body="<h1>hello</h1>"))
        page.goto(f"{elsewhere.rsplit('/', 2)[0]}/stranger.html")
        assert "Failed to fetch" in page.evaluate(SAY, [f"{address}marks", mark_of(root)])
        shown = "src => { const image = new Image(); image.src = src; return image.decode().then(() => 1, () => 0) }"
        assert page.evaluate(shown, f"{address}images/100%25%20%231%3F.png") == 0
    assert read_marks(root) == {}


def typed(*words, stdin=""):
    """Return what a command prints; in another process, because the browser's driver runs a loop in this one."""
    command = [sys.executable, "-m", "venice_batch", *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout


def test_twelve_images_picked_by_keyboard_become_twelve_finals(browser, tmp_path, monkeypatch):
    """The way of the tutorial: make, view, pick, jobs-from, run."""
    monkeypatch.chdir(tmp_path)
    ideas = [f"A {what} {where}" for what in ("fox", "gondola", "lion", "bridge", "heron") for where in "abcdefghij"]
    (tmp_path / "ideas.txt").write_text("".join(f"{idea}\n" for idea in ideas))
    sandbox = ["--sandbox", "--sandbox-latency", "0", "--sandbox-rpm", "0"]
    image = ["--set", "model=venice-sd35", "--set", "width=256", "--set", "height=256"]
    made = typed("ideas.txt", *sandbox, "--sandbox-draw", "plain", *image, "--set", "variants=4")
    assert "50 jobs: 50 succeeded; 200 images" in made
    root = tmp_path / "output/ideas"
    with served(root) as address, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{address}#order=id")
        page.locator("html.ready").wait_for()
        page.locator("button.shot").first.focus()
        for _ in range(12):
            for key in ("p", "ArrowRight", "x", "ArrowRight", "3", "ArrowRight", "ArrowRight"):
                page.keyboard.press(key)
        for _ in range(1000):
            if len(read_marks(root)) == 36:
                break
            page.wait_for_timeout(20)
    said = [mark.mark or mark.rating for mark in read_marks(root).values()]
    assert (said.count("picked"), said.count("rejected"), said.count(3)) == (12, 12, 12)
    jobs = typed("jobs-from", "output/ideas", "--picked", "--upscale", "2")
    assert "12 jobs: 12 succeeded" in typed("-", *sandbox, stdin=jobs)
    finals = sorted(path.name for path in (tmp_path / "output/stdin/images").iterdir())
    assert len(finals) == 12
    assert all(any(idea.lower().replace(" ", "-") in name for idea in ideas) for name in finals)
