"""How long a gallery of many images takes to write, to open in Chromium and to scroll through, and its memory there.

    python benchmarks/gallery.py [--images 10000]

Needs Pillow, the test group's playwright, and a Chromium on the path.
"""

from __future__ import annotations

import argparse
import io
import resource
import shutil
import tempfile
import time
from pathlib import Path

import msgspec
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from venice_batch.gallery import write_gallery
from venice_batch.model import SCHEMA, Attempt, Endpoint, Flags, ImageFile, Outcome, Status, Timing

SHAPES = ((1024, 1024), (1280, 720), (720, 1280), (1024, 768), (768, 1024))


def main() -> None:
    """Make a folder, its page, and look at it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    images = parser.parse_args().images
    with tempfile.TemporaryDirectory(prefix="venice-batch-gallery-") as name:
        root = Path(name)
        make_folder(root, images)
        before_s = time.perf_counter()
        page = write_gallery(root).path
        wrote_s = time.perf_counter() - before_s
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{images:,} images: page of {page.stat().st_size / 1e6:.1f} MB in {wrote_s:.1f} s, {peak_mb:.0f} MB peak"
        )
        look(page)


def make_folder(root: Path, images: int) -> None:
    """Records and small files of `images` jobs, each of its own colour."""
    (root / "images").mkdir()
    data = []
    for hue in range(50):
        file = io.BytesIO()
        Image.new("HSV", (96, 96), (hue * 5, 160, 200)).convert("RGB").save(file, "WEBP")
        data.append(file.getvalue())
    with (root / "manifest.jsonl").open("wb") as manifest:
        for number in range(images):
            body = data[number % len(data)]
            path = f"images/job-{number:06}.webp"
            (root / path).write_bytes(body)
            manifest.write(msgspec.json.encode(_outcome(number, path, len(body))) + b"\n")


def _outcome(number: int, path: str, size: int) -> Outcome:
    width, height = SHAPES[number % len(SHAPES)]
    model = f"model-{number % 5}"
    at = f"2026-01-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}.000Z"
    prompt = f"A canal at hour {number}, seen from a bridge " + "in the rain " * (number % 20)
    request = {"model": model, "prompt": prompt, "width": width, "height": height, "seed": number}
    return Outcome(
        schema=SCHEMA,
        run_id="20260101T000000Z-abc123",
        id=f"job-{number:06}",
        request_hash=f"{number:032x}",
        status=Status.SUCCEEDED,
        lane=model,
        files=(ImageFile(path, size, f"{number:064x}", "webp", width, height),),
        endpoint=Endpoint.GENERATE,
        request=request,
        metadata={"set": number % 7},
        attempts=(Attempt(200, None, 0.0, None, "8f-FRA", 2.0),),
        error=None,
        flags=Flags(),
        cost_usd=0.01,
        timing=Timing(at, 0.1, 5.0, 0.0, 1.9, 0.1, 0.01, 7.1),
    )


SCROLL = """step => new Promise(done => {
    const times = [];
    let last = performance.now();
    scrollTo(0, 0);
    const frame = now => {
        times.push(now - last);
        last = now;
        scrollBy(0, step);
        if (times.length < 400) requestAnimationFrame(frame);
        else done(times.slice(1));
    };
    requestAnimationFrame(frame);
})"""
"""Scrolls down by `step` pixels a frame; resolves to the durations of the frames in ms."""


def page_memory_mb(browser: Browser) -> float:
    """Return the memory of the largest renderer: what it holds alone, and its share of what several hold (Linux)."""
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    sizes = []
    for process in processes:
        if process["type"] == "renderer":
            lines = Path(f"/proc/{process['id']}/smaps_rollup").read_text().splitlines()
            sizes += [int(line.split()[1]) for line in lines if line.startswith("Pss:")]
    return max(sizes) / 1024


def look(page: Path) -> None:
    """Open `page` as from a double click, and scroll from its top to its end."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1360, "height": 900})
        before_s = time.perf_counter()
        tab.goto(page.as_uri(), wait_until="load")
        tab.locator(".shot img").first.evaluate("image => image.decode()")
        opened_s = time.perf_counter() - before_s
        first_paint_ms = tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        frames = {step: sorted(tab.evaluate(SCROLL, step)) for step in (0, 60, 600)}
        memory_mb = page_memory_mb(browser)
        nodes = tab.evaluate("document.querySelectorAll('*').length")
        before_s = time.perf_counter()
        tab.locator("[name=q]").fill("hour 77 rain")
        tab.locator(".shot").first.wait_for()
        filtered_s = time.perf_counter() - before_s
        browser.close()
    print(f"first paint after {first_paint_ms / 1000:.2f} s, first image after {opened_s:.2f} s")
    for step, times in frames.items():
        p50, p95, p99 = (times[int(len(times) * share)] for share in (0.5, 0.95, 0.99))
        print(f"{len(times)} frames, {step} px each: p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms")
    print(f"after scrolling: {nodes:,} elements, {memory_mb:.0f} MB in the page's process")
    print(f"filtered in {filtered_s * 1000:.0f} ms")


if __name__ == "__main__":
    main()
