"""Draw `docs/gallery.webp`: the gallery of a real run against the sandbox, as Chromium shows it.

    python -m tools.gallery

Needs the test group's playwright, and Chromium.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
JOBS = ROOT / "jobs" / "four-seasons.jsonl"
PICTURE = ROOT / "docs" / "gallery.webp"
WIDTH, HEIGHT = 1280, 830


def photograph(page: Path) -> Image.Image:
    """Return the first screen of an HTML page, once its images are there."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        shown = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        shown.goto(page.as_uri(), wait_until="networkidle")
        shot = shown.screenshot()
        browser.close()
    return Image.open(io.BytesIO(shot))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        output = Path(name, "four-seasons")
        command = [sys.executable, "-m", "venice_batch", str(JOBS), "--sandbox", "--gallery", "-q", "-o", str(output)]
        subprocess.run(command, check=True)  # noqa: S603 - this program's own words
        photograph(output / "gallery.html").save(PICTURE, quality=80, method=6)
