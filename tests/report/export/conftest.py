"""An output folder with images, for the exports that write them."""

import hashlib

import msgspec
import pytest
from records import outcome

from venice_batch.model import ImageFile
from venice_batch.output.marks import Mark, MarksFile


class OutputFolder:
    """An output folder below a path, to which jobs can be added."""

    def __init__(self, path):
        self.root = path
        (path / "images").mkdir(parents=True)
        (path / "manifest.jsonl").touch()
        self.latest = {}

    def add(self, job_id, *contents, paths=None, width=8, height=8, **changes):
        """Record a job with images of these contents; return the record."""
        names = paths or [
            f"images/{job_id}{f'-{number}' if len(contents) > 1 else ''}.webp" for number in range(1, len(contents) + 1)
        ]
        files = []
        for path, data in zip(names, contents, strict=True):
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).unlink(missing_ok=True)  # as a run does: a new file, never the old one changed
            (self.root / path).write_bytes(data)
            file_format = path.rpartition(".")[2]
            files.append(ImageFile(path, len(data), hashlib.sha256(data).hexdigest(), file_format, width, height))
        return self.record(outcome(job_id, files=tuple(files), **changes))

    def record(self, record):
        """Append a record."""
        with (self.root / "manifest.jsonl").open("ab") as file:
            file.write(msgspec.json.encode(record) + b"\n")
        self.latest[record.id] = record
        return record

    def mark(self, job_id, number, mark="rejected"):
        """Mark an image."""
        sha256 = self.latest[job_id].files[number - 1].sha256
        with MarksFile(self.root) as marks:
            marks.append([Mark(sha256, job_id, number, mark, None, "2026-01-01T00:00:00Z")])


@pytest.fixture
def out(tmp_path):
    return OutputFolder(tmp_path / "out")


@pytest.fixture(scope="session")
def new_folder():
    return OutputFolder


def shown(target):
    """{path: content} of what a folder shows: everything that is not hidden."""
    found = (path.relative_to(target) for path in target.rglob("*") if path.is_file())
    return {path.as_posix(): (target / path).read_bytes() for path in found if not path.parts[0].startswith(".")}


@pytest.fixture(name="shown")
def _shown():
    return shown
