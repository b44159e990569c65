import json
from contextlib import contextmanager

import msgspec
import pytest
from records import failed, outcome

from venice_batch.jobfile import Defaults, JobIndex, open_source
from venice_batch.output.resume import Resume

IMAGE = b"image"


class Stage:
    """A jobs file, and an output folder with records of some of its jobs."""

    def __init__(self, path, index):
        self.path = path
        self.index = index
        self.jobs = {job.id: job for job in index.jobs_in_order()}
        (path / "out" / "images").mkdir(parents=True, exist_ok=True)
        (path / "out" / "images" / "a.webp").write_bytes(IMAGE)

    def record(self, *records):
        lines = [msgspec.json.encode(record) + b"\n" for record in records]
        (self.path / "out" / "manifest.jsonl").write_bytes(b"".join(lines))
        return Resume(self.index, self.path / "out", sandbox=False, keep_all=True)

    def done(self, job_id, **changes):
        return outcome(job_id, **{"request_hash": self.jobs[job_id].request_hash, **changes})

    def failed(self, job_id, **changes):
        return failed(job_id, request_hash=self.jobs[job_id].request_hash, **changes)


@pytest.fixture
def stage(tmp_path):
    """stage("a", "b") has jobs of these ids, one a line, of the models m0 and m1 in turn.

    With `form="array"` they are an array on one line, with "folder" they are texts in the folder `jobs`.
    """

    @contextmanager
    def of(*ids, form="lines"):
        lines = [{"id": job_id, "model": f"m{number % 2}", "prompt": "p"} for number, job_id in enumerate(ids)]
        path = tmp_path / "jobs.jsonl"
        if form == "folder":
            path = tmp_path / "jobs"
            path.mkdir()
            for job_id in ids:
                (path / f"{job_id}.txt").write_text("p")
        else:
            path.write_text(json.dumps(lines) if form == "array" else "".join(json.dumps(x) + "\n" for x in lines))
        with open_source(path) as source:
            yield Stage(tmp_path, JobIndex.build(source, defaults=Defaults({"model": "m0"})))

    return of
