"""Output folders without a run, and outcomes summed up for a page."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import msgspec
from PIL import Image
from records import outcome

from venice_batch.gallery.overview import Contents
from venice_batch.gallery.timeline import Timeline, TimelineBuilder
from venice_batch.model import ImageFile, Outcome
from venice_batch.report.tables import Report, ReportBuilder


def image_bytes(width: int = 64, height: int = 48, image_format: str = "PNG", colour: object = (30, 90, 120)) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(made, image_format)
    return made.getvalue()


def noise_bytes(width: int = 320, height: int = 240, image_format: str = "PNG") -> bytes:
    """Return an image large enough to get a thumbnail."""
    made = io.BytesIO()
    Image.effect_noise((width, height), 90).convert("RGB").save(made, image_format)
    return made.getvalue()


def file(path: str, data: bytes, width: int = 64, height: int = 48, image_format: str = "png") -> ImageFile:
    return ImageFile(path, len(data), hashlib.sha256(data).hexdigest(), image_format, width, height)


def put(root: Path, path: str, data: bytes, width: int = 64, height: int = 48) -> ImageFile:
    """Write an image into the folder; returns its entry for a record."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(data)
    return file(path, data, width, height)


def record(
    root: Path, job_id: str, *, prompt: str = "a gondola", data: bytes | None = None, **changes: object
) -> Outcome:
    """Return the record of a job that succeeded, with its image on disk."""
    data = data or image_bytes()
    request = {"model": changes.get("lane", "venice-sd35"), "prompt": prompt, **changes.pop("request", {})}
    return outcome(job_id, files=(put(root, f"images/{job_id}.png", data),), request=request, **changes)


def write(root: Path, *outcomes: Outcome) -> Path:
    """Write a manifest of these outcomes; returns the folder."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "manifest.jsonl").write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in outcomes))
    return root


def report(outcomes: Iterable[Outcome]) -> Report:
    builder = ReportBuilder()
    for one in outcomes:
        builder.add(one)
    return builder.report()


def contents(outcomes: Iterable[Outcome]) -> Contents:
    counted = Contents()
    for one in outcomes:
        counted.add(one)
    return counted


def timeline(outcomes: Iterable[Outcome]) -> Timeline:
    builder = TimelineBuilder()
    for one in outcomes:
        builder.add(one)
    return builder.timeline()
