"""Draw `docs/terminal.svg`: the live display of a real run against the sandbox, as a terminal shows it.

    python -m tools.terminal

Needs the test group's pexpect and pyte.
"""

from __future__ import annotations

import copy
import json
import re
import sys
import tempfile
from pathlib import Path

import pexpect
import pyte
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

PICTURE = Path(__file__).parent.parent / "docs" / "terminal.svg"

COLUMNS, LINES = 100, 20
MODELS = {
    "venice-sd35": 60,
    "lustify-sdxl": 45,
    "z-image-turbo": 50,
    "chroma": 25,
    "lustify-v8": 30,
    "wai-Illustrious": 18,
    "krea-2-turbo": 12,
    "gpt-image-2": 8,
}
OPTIONS = "--sandbox --sandbox-speed 4 --sandbox-fault-rate 0.04 --sandbox-capacity 4 --sandbox-set retry_after_503_s=4"
STATES = ("open, ", "next window in ", "gate until ", "held back ", "  done")
"""States of a model; the picture shows the first moment with most of them, while most models are still at work."""


def jobs() -> str:
    """Return a jobs file; its model refuses one of the jobs."""
    sized = {"width": 512, "height": 512}
    return "".join(
        json.dumps(
            {
                "id": f"{model}-{number:02}",
                "model": model,
                "prompt": "a forbidden view" if (model, number) == ("chroma", 7) else f"Venice, view {number}",
                **({} if model in ("gpt-image-2", "krea-2-turbo") else sized),
            }
        )
        + "\n"
        for model, count in MODELS.items()
        for number in range(1, count + 1)
    )


def screen(folder: str) -> pyte.Screen:
    """Return the terminal at the run's most telling moment."""
    emulated = best = pyte.Screen(COLUMNS, LINES)
    most = 0
    stream = pyte.ByteStream(emulated)
    process = pexpect.spawn(
        sys.executable,
        ["-m", "venice_batch", "jobs.jsonl", *OPTIONS.split()],
        cwd=folder,
        dimensions=(LINES, COLUMNS),
        env={"TERM": "xterm-256color", "HOME": folder, "PATH": "/usr/bin:/bin"},
        timeout=60,
    )
    while True:
        try:
            stream.feed(process.read_nonblocking(65536))
        except pexpect.EOF:
            return best
        if (telling := _telling(emulated)) > most:
            best, most = copy.deepcopy(emulated), telling


def _telling(emulated: pyte.Screen) -> int:
    text = "\n".join(emulated.display)
    # A frame that was read only in part lacks its last line.
    return sum(state in text for state in STATES) if list(MODELS)[-1] in text else 0


def picture(emulated: pyte.Screen) -> str:
    """Return the screen as SVG, in fonts that every reader has."""
    console = Console(width=COLUMNS, record=True, file=open("/dev/null", "w"), force_terminal=True)  # noqa: SIM115
    console.print(Text("$ venice-batch jobs.jsonl --sandbox …", "bold"))
    for row in range(emulated.lines):
        line = Text()
        for column in range(emulated.columns):
            cell = emulated.buffer[row][column]
            line.append(cell.data, Style(color=_colour(cell.fg), bold=cell.bold))
        line.rstrip()
        if line or row < emulated.cursor.y:
            console.print(line, no_wrap=True)
    console.print()
    svg = console.export_svg(title="venice-batch", theme=SVG_EXPORT_THEME, unique_id="venice-batch")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace")


def _colour(name: str) -> str:
    return {"default": "default", "brown": "yellow", "brightblack": "bright_black"}.get(name, name)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "jobs.jsonl").write_text(jobs())
        drawn = picture(screen(folder))
    PICTURE.write_text(drawn)
